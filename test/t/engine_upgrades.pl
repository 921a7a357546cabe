# Who shares an account with others who spend stays with that: what would be decided under the exclusive
# lock waits for everybody who has consumed, and two that go from the one to the other wait in a ring.

use strict;
use warnings;

use Billing::Session;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('engine_upgrades');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\nbilling.worker = off\njit = off\ndeadlock_timeout = 20ms\n");
$node->start;
$node->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');

# A new account with so many tokens a grant.
sub account
{
    my (@grants) = @_;
    my $id = $node->safe_psql('postgres', 'SELECT billing.create_account(\'upgrades\')');
    $node->safe_psql('postgres', "SELECT billing.grant_tokens('$id', $_)") for @grants;
    return $id;
}

sub sessions { return map { Billing::Session->new($node) } 1 .. $_[0]; }

sub take { my ($id, $tokens) = @_; return "SELECT granted, tokens_remaining FROM billing.try_consume_tokens('$id', $tokens)"; }

sub sound
{
    my ($what, $id) = @_;
    is($node->safe_psql('postgres', "SELECT problem FROM billing.verify_ledger('$id')"), '', "$what: the ledger is sound");
    return;
}

# Holds that are over lapse while somebody has consumed and is idle, and nobody notices.
sub lapse_beside_a_consumer
{
    my ($what, @grants) = @_;
    my $id = account(@grants);
    my ($idle, $lapse, $other) = sessions(3);
    $other->query("SELECT billing.hold_tokens('$id', 10, interval '1 millisecond')") for 1 .. 3;
    $other->query('SELECT pg_sleep(0.01)');
    $idle->query('BEGIN');
    is($idle->query("SELECT count(billing.consume_tokens('$id', 1))"), 1, "$what: somebody consumes, and is idle");
    $lapse->query("SET lock_timeout = '500ms'");
    $lapse->query('BEGIN');
    $lapse->query('SELECT billing.expire_due()');
    is($lapse->query("SELECT count(*) FROM billing.hold_end WHERE account_id = '$id' AND kind = 'lapsed'"), 3, "$what: all holds lapse");
    $other->query("SET lock_timeout = '500ms'");
    like($other->query(take($id, 1)), qr/^t/, "$what: who consumes does not wait");
    $lapse->query('COMMIT');
    $idle->query('ROLLBACK');
    my $all = eval join '+', @grants, -1;
    is($other->query(take($id, $all + 1)), "f|$all", "$what: every token is there again, and none twice");
    is($other->query(take($id, $all)), 't|0', "$what: and can be taken");
    sound($what, $id);
    $_->close for $idle, $lapse, $other;
    return;
}

# The same by hand, twice in one transaction.
sub two_returns
{
    my ($what, @calls) = @_;
    my $id = account(100);
    my ($one, $other) = sessions(2);
    my @holds = map { $one->query("SELECT billing.hold_tokens('$id', 10)") } 1 .. 2;
    $one->query("SELECT billing.consume_tokens('$id', 10, NULL, '$_')") for 1 .. 2;
    $other->query('BEGIN');
    $other->query(take($id, 1));
    $one->query("SET lock_timeout = '500ms'");
    $one->query('BEGIN');
    for my $i (0 .. 1)
    {
        my $call = $calls[$i];
        $call =~ s/HOLD/$holds[$i]/;
        $call =~ s/ACCOUNT/$id/;
        is($one->query("SELECT count(billing.$call)"), 1, "$what: $call beside who has consumed");
    }
    $one->query('COMMIT');
    $other->query('COMMIT');
    sound($what, $id);
    $_->close for $one, $other;
    return;
}

# Where somebody's trigger makes the exclusive lock necessary, it is left for later.
sub lapse_under_a_trigger
{
    my $id = account(100);
    $node->safe_psql('postgres', 'CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$');
    my ($idle, $lapse) = sessions(2);
    $idle->query("SELECT billing.hold_tokens('$id', 10, interval '1 millisecond')");
    $idle->query('SELECT pg_sleep(0.01)');
    watch();
    $idle->query('BEGIN');
    $idle->query(take($id, 1));
    $lapse->query("SET lock_timeout = '500ms'");
    unlike($lapse->query('SELECT count(billing.expire_due())'), qr/ERROR/, 'somebody watches the ledger: a lapse does not wait for who has consumed');
    $idle->query('COMMIT');
    $lapse->query('SELECT billing.expire_due()');
    is($lapse->query("SELECT count(*) FROM billing.hold_end WHERE account_id = '$id'"), 1, 'somebody watches the ledger: it is done later');
    unwatch();
    sound('a lapse under a trigger', $id);
    $_->close for $idle, $lapse;
    return;
}

sub watch { $node->safe_psql('postgres', 'CREATE TRIGGER see AFTER INSERT ON billing.ledger FOR EACH ROW EXECUTE FUNCTION public.see()'); return; }
sub unwatch { $node->safe_psql('postgres', 'DROP TRIGGER see ON billing.ledger'); return; }

lapse_beside_a_consumer('one grant', 100);
lapse_beside_a_consumer('grants without a slot', (10) x 3, (20) x 6);
two_returns('two holds', 'release_hold(\'HOLD\')', 'capture_hold(\'HOLD\', 4)');
two_returns('two refunds', "refund_tokens('ACCOUNT', '1')", "refund_tokens('ACCOUNT', '2')");
lapse_under_a_trigger();
$node->stop;
done_testing();
