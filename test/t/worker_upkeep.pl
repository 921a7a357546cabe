# The background worker sums ledgers whose tails have grown long, whoever else is at work, and who
# consumes does it himself where no worker comes.

use strict;
use warnings;

use Billing::Worker;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# So long a nap that nothing in this test can come of it.
my $node = worker_cluster('upkeep', "billing.worker_naptime = 1h\n");
worker_setup($node, 'postgres');

my %id = map { $_ => sprintf '00000000-0000-4000-8000-%012d', $_ } 1 .. 9;
my ($hot, $idle, $prepared, $locked, $calm, $bad, $off, $alone, $long) = @id{1 .. 9};
$node->safe_psql('postgres', qq{
    SELECT billing.create_account('account', id), billing.grant_tokens(id, 1000000000)
      FROM unnest(ARRAY['$hot', '$idle', '$prepared', '$locked', '$calm', '$bad', '$off', '$alone', '$long']::uuid[]) id;
    CREATE PROCEDURE consume(account uuid, calls int) LANGUAGE plpgsql AS \$\$
    BEGIN
        FOR i IN 1 .. calls LOOP
            PERFORM billing.consume_tokens(account, 1);
            COMMIT;
        END LOOP;
    END \$\$;});

sub consume
{
    my ($account, $calls) = @_;
    return $node->safe_psql('postgres', "CALL consume('$account', $calls)");
}

# Entries behind the newest checkpoint.
sub tail
{
    my ($account) = @_;
    return "(SELECT count(*) FROM billing.ledger WHERE account_id = '$account' AND entry_no > "
      . "(SELECT coalesce(max(through_entry_no), 0) FROM billing.checkpoint WHERE account_id = '$account'))";
}

sub summed
{
    my ($account, $name) = @_;
    ok($node->poll_query_until('postgres', 'SELECT ' . tail($account) . ' < 256'), $name);
    return;
}

# By whom: the transactions that consumed are not the one that summed.
sub summed_by_itself
{
    my ($account) = @_;
    return $node->safe_psql('postgres', qq{SELECT count(*) FROM billing.checkpoint c
        WHERE c.account_id = '$account' AND EXISTS (SELECT FROM billing.ledger l
            WHERE l.account_id = c.account_id AND l.xmin = c.xmin)});
}

sub rows_done
{
    return $node->safe_psql('postgres',
        'SELECT rows_done FROM billing.worker_status WHERE database = current_database()');
}

# Nothing but ledgers wakes the worker here.
my $before = rows_done();
consume($calm, 300);
summed($calm, 'a long tail wakes the worker');
is(summed_by_itself($calm), 0, 'who consumes does not sum');
ok($node->poll_query_until('postgres', "SELECT rows_done > $before FROM billing.worker_status
    WHERE database = current_database()"), 'worker_status: rows done');
is($node->safe_psql('postgres', q{SELECT value > 0 FROM billing.engine_counters() WHERE name = 'checkpoints'}),
    't', 'the engine has counted it');

# One transaction leaves a tail that nobody can sum before it has ended.
$node->safe_psql('postgres', "SELECT billing.consume_tokens('$long', 1) FROM generate_series(1, 3000)");
summed($long, 'the tail of one long transaction, which is over');

# Full rate; a transaction that has consumed and is idle; one that is prepared; an account whose
# lock somebody has, exclusively.
my $runner = $node->background_psql('postgres', on_error_stop => 1);
$runner->{stdin} .= "CALL consume('$hot', 100000000);\n";
$runner->{run}->pump_nb;
my $sleeper = $node->background_psql('postgres', on_error_stop => 1);
$sleeper->query_safe("BEGIN; SELECT billing.consume_tokens('$idle', 1)");
my $changer = $node->background_psql('postgres', on_error_stop => 1);
consume($locked, 250);
$changer->query_safe("BEGIN; SELECT billing.suspend_account('$locked', 'test')");
$node->safe_psql('postgres', "BEGIN; SELECT billing.consume_tokens('$prepared', 1); PREPARE TRANSACTION 'p'");
consume($idle, 600);
consume($prepared, 600);
for my $round (1 .. 3)
{
    my $mark = $node->safe_psql('postgres',
        "SELECT coalesce(max(through_entry_no), 0) FROM billing.checkpoint WHERE account_id = '$hot'");
    consume($calm, 300);
    summed($calm, "beside them the others are summed, round $round");
    ok($node->poll_query_until('postgres', "SELECT max(through_entry_no) > $mark + 256
        FROM billing.checkpoint WHERE account_id = '$hot'"), "so is the hot account, round $round");
    $node->safe_psql('postgres', subscribe_for("beside $round", '50 ms'));
    happened($node, 'postgres', "beside $round", 1, "and plans end, round $round");
}
is(summed_by_itself($hot), 0, 'who consumes at full rate does not sum');
is($node->safe_psql('postgres', "SELECT count(*) FROM billing.checkpoint WHERE account_id IN ('$idle', '$prepared')"),
    0, 'nothing beyond a row in progress is summed');
$sleeper->query_safe('COMMIT');
$sleeper->quit;
summed($idle, 'what was held back is summed when the idle transaction is over, though nobody consumes');
$node->safe_psql('postgres', q{COMMIT PREPARED 'p'});
summed($prepared, 'also when it was a prepared one, whose end nobody tells');
$changer->query_safe('ROLLBACK');
$changer->quit;
consume($locked, 10);
summed($locked, 'so is the account that was locked');
$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL consume%'});
$runner->{run}->kill_kill;

# An account whose checkpoint raises an error.
$node->safe_psql('postgres', qq{
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS \$\$
    BEGIN
        IF NEW.account_id = '$bad' THEN
            RAISE EXCEPTION 'made to fail';
        END IF;
        RETURN NEW;
    END \$\$;
    CREATE TRIGGER fail BEFORE INSERT ON billing.checkpoint FOR EACH ROW EXECUTE FUNCTION fail();});
my $log = -s $node->logfile;
consume($bad, 300);
ok($node->wait_for_log(qr/WARNING:  billing could not sum the ledger of account $bad: made to fail/, $log), 'the log tells of one that fails');
consume($calm, 300);
summed($calm, 'it does not stop the others');
consume($bad, 300);
$node->safe_psql('postgres', 'SELECT pg_sleep(1)');
my @said = slurp_file($node->logfile, $log) =~ /could not sum the ledger/g;
is(scalar @said, 1, 'it is told of once');
$node->safe_psql('postgres', 'DROP TRIGGER fail ON billing.checkpoint');
summed($bad, 'and it is done when that works');

# Where no worker comes.
$node->append_conf('postgresql.conf', 'billing.worker = off');
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT current_setting('billing.worker') = 'off'}), 'off');
consume($off, 600);
is($node->safe_psql('postgres', 'SELECT ' . tail($off) . ' < 256'), 't', 'without the worker the tail is as short');
isnt(summed_by_itself($off), 0, 'by those who consume');
$node->append_conf('postgresql.conf', "billing.worker = on\nmax_worker_processes = 2");
# The launchers of logical replication and of billing take both.
$node->restart;
consume($alone, 1);
ok($node->wait_for_log(qr/billing could not start a background worker/, $log), 'no process is left for a worker');
consume($alone, 300);
$node->safe_psql('postgres', 'SELECT pg_sleep(2.5)');
consume($alone, 300);
is($node->safe_psql('postgres', 'SELECT ' . tail($alone) . ' < 256'), 't', 'where the worker does not come the tail is as short');

is($node->safe_psql('postgres', 'SELECT count(*) FROM billing.verify_ledger()'), 0, 'the ledger is sound');
$node->stop;
done_testing();
