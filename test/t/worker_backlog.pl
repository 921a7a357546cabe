# Very many holds of one account that are over cost as much each as few of them, and keep neither the
# worker nor the other accounts waiting, whether the account is free or somebody's.

use strict;
use warnings;

use Billing::Worker;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = worker_cluster('backlog', "billing.worker_naptime = 1h\nbilling.worker = off\n");
worker_setup($node, 'postgres');
$node->safe_psql('postgres', q{
    SELECT billing.create_plan('priced', 'subscription', price => billing.amount(10, 'USD'), duration => '30 days');});

sub worker_is
{
    my ($value) = @_;
    $node->append_conf('postgresql.conf', "billing.worker = $value");
    $node->reload;
    ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM billing.worker_databases()
            JOIN pg_database d ON d.oid = database
            WHERE datname = 'postgres' AND state <> 'off'}), 'the worker is off') if $value eq 'off';
    return;
}

# Makes an account of that name all of whose tokens are held, one by one, for no time at all.
sub overdue
{
    my ($name, $holds) = @_;
    my $account = $node->safe_psql('postgres', "SELECT billing.create_account('$name')");
    $node->safe_psql('postgres', "SELECT billing.grant_tokens('$account', $holds)");
    $node->safe_psql('postgres',
        "SELECT count(billing.hold_tokens('$account', 1, '1 ms')) FROM generate_series(1, $holds)");
    return $account;
}

sub lapsed
{
    my ($account) = @_;
    return $node->safe_psql('postgres',
        "SELECT count(*) FROM billing.hold_end WHERE account_id = '$account' AND kind = 'lapsed'");
}

sub is_sound
{
    my ($account, $tokens) = @_;
    is($node->safe_psql('postgres', "SELECT billing.tokens_remaining('$account')"), $tokens, 'all tokens are back');
    is($node->safe_psql('postgres', "SELECT problem FROM billing.verify_ledger('$account')"), '', 'the ledger is sound');
    return;
}

# What a statement reads of the tables concerned, for each of the holds that it lets lapse.
sub reads
{
    my ($statement, $holds) = @_;
    return $node->safe_psql('postgres', qq{
        BEGIN;
        DO \$\$BEGIN $statement; END\$\$;
        SELECT (sum(pg_stat_get_xact_tuples_returned(oid)) / $holds)::int FROM pg_class
         WHERE relnamespace = 'billing'::regnamespace AND (relname ~ '^(ledger|hold|checkpoint)_'
            OR relname IN ('ledger', 'hold', 'hold_end', 'checkpoint'));
        COMMIT;});
}

# Whoever needs the tokens.
foreach ([ 'from shared memory', '' ],
    [ 'through a trigger', 'CREATE TRIGGER watch BEFORE INSERT ON billing.ledger FOR EACH ROW EXECUTE FUNCTION watch()' ])
{
    my ($how, $watch) = @$_;
    $node->safe_psql('postgres', qq{
        CREATE OR REPLACE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';}) if $watch;
    my $account = overdue($how, 1000);
    $node->safe_psql('postgres', $watch) if $watch;
    cmp_ok(reads("PERFORM billing.consume_tokens('$account', 1)", 1000), '<', 30, "$how: few rows are read for each hold");
    is(lapsed($account), 1000, 'all have lapsed');
    is_sound($account, 999);
    $node->safe_psql('postgres', 'DROP TRIGGER watch ON billing.ledger') if $watch;
}
my $account = overdue('by hand', 1000);
cmp_ok(reads('PERFORM billing.expire_due()', 1000), '<', 30, 'by hand: few rows are read for each hold');
is(lapsed($account), 1000, 'all have lapsed');
is_sound($account, 1000);
is($node->safe_psql('postgres', q{SELECT count(*) FROM billing.hold_end WHERE answer IS NOT NULL}), 0,
    'nobody was told what remained');

# The worker.
my $many = overdue('many', 2000);
my $behind = overdue('behind', 1);
worker_is('on');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM billing.hold WHERE NOT ended}), 'the worker lets all lapse');
cmp_ok($node->safe_psql('postgres', "SELECT count(DISTINCT xmin::text) FROM billing.hold_end WHERE account_id = '$many'"), '>=', 10,
    'in several transactions');
is($node->safe_psql('postgres', "SELECT (SELECT max(age(xmin)) FROM billing.hold_end WHERE account_id = '$behind')
        > (SELECT min(age(xmin)) FROM billing.hold_end WHERE account_id = '$many')"), 't', 'an account behind them comes in between');
is_sound($many, 2000);

# More of them than the worker lists at once, of an account that is somebody's.
worker_is('off');
my $locked = overdue('locked', 5001);
$behind = overdue('behind, too', 1);
$node->safe_psql('postgres', subscribe_for('subscriber', '1 ms'));
my $holder = $node->background_psql('postgres', on_error_stop => 1);
$holder->query_safe("BEGIN; SELECT billing.order_plan('$locked', 'priced')");
worker_is('on');
happened($node, 'postgres', 'subscriber', 1, 'a plan ends beside them');
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM billing.hold_end WHERE account_id = '$behind'"), 'a hold lapses');
$node->safe_psql('postgres', subscribe_for('subscriber, later', '100 ms'));
happened($node, 'postgres', 'subscriber, later', 1, 'so does a plan that ends later');
is(lapsed($locked), 0, 'the account itself is waited for');
my $commits = q{SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'};
my $before = $node->safe_psql('postgres', $commits);
$node->safe_psql('postgres', 'SELECT pg_sleep(2)');
cmp_ok($node->safe_psql('postgres', $commits) - $before, '<', 200, 'not by looking all the time');
$holder->query_safe('ROLLBACK');
$holder->quit;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM billing.hold WHERE NOT ended}), 'it is done when it is free');
is_sound($locked, 5001);
is(unexplained($node), '', 'nothing went wrong');

$node->stop;
done_testing();
