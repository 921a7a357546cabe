# Who shares an account with others who spend stays with that: what would be decided under the exclusive
# lock waits for everybody who has consumed, and two that go from the one to the other wait in a ring.

use strict;
use warnings;

use Billing::Pause qw(pause_landing);
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

sub sessions
{
    my ($count) = @_;
    my @sessions = map { Billing::Session->new($node) } 1 .. $count;
    $_->query("SET statement_timeout = '60s'") for @sessions;
    return @sessions;
}

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

sub batch
{
    my ($tokens, @ids) = @_;
    my $list = join ', ', map { "'$_'" } @ids;
    return "SELECT string_agg(concat_ws(' ', granted, tokens_remaining), ', ' ORDER BY ordinal) FROM billing.consume_tokens_batch("
      . "ARRAY[$list]::uuid[], array_fill($tokens, ARRAY[" . scalar(@ids) . ']))';
}

# Batches that are let in at the same moment: until then somebody has the accounts for himself.
sub at_once
{
    my ($what, $setting, @batches) = @_;
    my ($gate, @clients) = sessions(1 + @batches);
    my %ids = map { $_ => 1 } map { /'([0-9a-f-]{36})'/g } @batches;
    $gate->query('BEGIN');
    $gate->query("UPDATE billing.account SET name = name WHERE account_id = '$_'") for sort keys %ids;
    for my $i (0 .. $#batches)
    {
        $clients[$i]->query($setting);
        $clients[$i]->send($batches[$i]);
        $node->poll_query_until('postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $clients[$i]{backend}") or die;
    }
    $gate->query('COMMIT');
    my @answers = map { $_->answer } @clients;
    sound($what, $_) for sort keys %ids;
    $_->close for $gate, @clients;
    return join ' | ', sort @answers;
}

my %limits = ('one by one' => 'RESET billing.batch_lock_limit', 'all at once' => 'SET billing.batch_lock_limit = 1');

# More than all grants have, whatever becomes of others: also where the slots do not show every grant.
sub short_for_certain
{
    for my $how (sort keys %limits)
    {
        my @ids = map { account((10) x 6) } 1 .. 2;
        is(at_once("short, locked $how", $limits{$how}, (batch(61, @ids)) x 2), 'f 60, f 60 | f 60, f 60', "locked $how: two batches are short of tokens");
    }
    my $id = account((10) x 6);
    my ($one, $two) = sessions(2);
    $_->query('BEGIN') for $one, $two;
    is($one->query(batch(1, $id)), 't 59', 'the one has consumed');
    is($two->query(batch(1, $id)), 't 58', 'the other too');
    $_->query("SET lock_timeout = '500ms'") for $one, $two;
    is($one->query(batch(60, $id)), 'f 58', 'what the other might give back would not be enough');
    is($two->query(take($id, 60)), 'f|58', 'to the other neither');
    is($two->query(take($id, 59)), 'ERROR:  55P03', 'what might be enough is not denied');
    $_->query('ROLLBACK') for $one, $two;
    is($two->query(take($id, 60)), 't|0', 'and it is there');
    sound('short for certain', $id);
    $_->close for $one, $two;
    return;
}

# More than the slots have, but not more than there is: the ledger decides, for one after the other.
sub beyond_the_slots
{
    for my $round (1 .. 3)
    {
        my @ids = map { account((10) x 6) } 1 .. 3;
        is(at_once('beyond the slots', $limits{'one by one'}, batch(45, @ids), batch(45, reverse @ids)), 'f 15, f 15, f 15 | t 15, t 15, t 15',
            'of two batches that need the ledger one comes first, at every account');
    }
    return;
}

# Two batches whose accounts are in different orders are both held up after their first take.
sub waits_in_one_order
{
    pause_landing($node);
    my @ids = map { account(10) } 1 .. 2;
    my ($gate, @clients) = sessions(3);
    $gate->query('SELECT pg_advisory_lock(1)');
    for my $client (@clients)
    {
        (my $batch = batch(6, @ids)) =~ s/\)$/, NULL, NULL, ARRAY['pause', NULL])/;
        $client->send($batch);
        $node->poll_query_until('postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $client->{backend}") or die;
        @ids = reverse @ids;
    }
    $gate->query('SELECT pg_advisory_unlock(1)');
    is(join(' | ', sort map { $_->answer } @clients), 'f 4, f 4 | t 4, t 4', 'two batches in different orders: one comes first, at every account');
    $node->safe_psql('postgres', 'DROP INDEX billing.pause');
    sound('in one order', $_) for @ids;
    $_->close for $gate, @clients;
    return;
}

# What is taken from a grant without a slot is undecided like any other.
sub undecided_beyond_the_slots
{
    my $id = account((10) x 4);
    my ($one, $two) = sessions(2);
    $one->query('BEGIN');
    is($one->query(take($id, 35)), 't|5', 'taken from four grants');
    # drawn on before them: now they have no slots, or not all
    $two->query("SELECT billing.grant_tokens('$id', 2, priority => -1) FROM generate_series(1, 4)");
    is($two->query(take($id, 1)), 't|12', 'others are drawn on first');
    is($two->query(take($id, 48)), 'f|12', 'more than there could be is denied');
    $two->query("SET lock_timeout = '200ms'");
    is($two->query(take($id, 47)), 'ERROR:  55P03', 'as much as there could be is not');
    $one->query('ROLLBACK');
    is($two->query(take($id, 47)), 't|0', 'and is there when the other is rolled back');
    sound('undecided beyond the slots', $id);
    $_->close for $one, $two;
    return;
}

sub batches_under_a_trigger
{
    watch();
    for my $how (sort keys %limits)
    {
        my @ids = map { account(100) } 1 .. 2;
        is(at_once("watched, locked $how", $limits{$how}, (batch(1, @ids)) x 3), 't 97, t 97 | t 98, t 98 | t 99, t 99',
            "locked $how: batches of which somebody watches each row");
    }
    unwatch();
    return;
}

lapse_beside_a_consumer('one grant', 100);
lapse_beside_a_consumer('grants without a slot', (10) x 3, (20) x 6);
two_returns('two holds', 'release_hold(\'HOLD\')', 'capture_hold(\'HOLD\', 4)');
two_returns('two refunds', "refund_tokens('ACCOUNT', '1')", "refund_tokens('ACCOUNT', '2')");
lapse_under_a_trigger();
batches_under_a_trigger();
short_for_certain();
beyond_the_slots();
waits_in_one_order();
undecided_beyond_the_slots();
$node->stop;
done_testing();
