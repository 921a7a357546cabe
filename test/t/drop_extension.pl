# Calls that wait for a table while somebody drops the extension say that it is not there any more. (Of a
# function that returns a row type PostgreSQL itself waits for the type, and says XX000.)

use strict;
use warnings;

use Billing::Session;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %says = map { $_ => 1 } qw(42P01 42883 3F000 42704);

for my $mode ('preloaded', 'plain')
{
    my $node = PostgreSQL::Test::Cluster->new("drop_$mode");
    $node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
    $node->append_conf('postgresql.conf', ($mode eq 'preloaded' ? "shared_preload_libraries = 'billing'\nbilling.worker = off\n" : '') . "max_connections = 40\n");
    $node->start;
    $node->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
    my $id = $node->safe_psql('postgres', "SELECT billing.create_account('drop')");
    my $grant = $node->safe_psql('postgres', "SELECT billing.grant_tokens('$id', 1000)");
    $node->safe_psql('postgres', "SELECT billing.create_plan('drop', 'subscription', duration => '30 days')");
    $node->safe_psql('postgres', "SELECT billing.consume_tokens('$id', 1, NULL, 'k')");
    my $hold = $node->safe_psql('postgres', "SELECT billing.hold_tokens('$id', 1)");
    my @calls = (
        "billing.consume_tokens('$id', 1)", "billing.consume_tokens('$id', 1, NULL, 'l')",
        "billing.consume_tokens_batch(ARRAY['$id']::uuid[], '{1}')", "billing.hold_tokens('$id', 1)", "billing.capture_hold('$hold', 1)",
        "billing.release_hold('$hold')", "billing.refund_tokens('$id', 'k')", "billing.grant_tokens('$id', 1)", "billing.void_grant('$grant')",
        "billing.tokens_remaining('$id')", "billing.write_checkpoint('$id')", "billing.verify_ledger('$id')", "billing.subscribe('$id', 'drop')",
        "billing.plan_is_active('$id', 'drop')", "billing.set_test_clock('$id', now())", "billing.suspend_account('$id', 'x')",
        "billing.create_account('other')");
    my @sessions = map { Billing::Session->new($node) } @calls;
    my $dropper = Billing::Session->new($node);
    for my $session (@sessions)
    {
        $session->query("SET statement_timeout = '60s'");
        $session->query("SELECT billing.tokens_remaining('$id')");
    }
    $dropper->query('SET client_min_messages = warning');
    $dropper->query('BEGIN');
    is($dropper->query('DROP EXTENSION billing CASCADE'), '', "$mode: dropped");
    $sessions[$_]->send("SELECT count(*) FROM $calls[$_]") for 0 .. $#calls;
    my $pids = join ', ', map { $_->{backend} } @sessions;
    $node->poll_query_until('postgres', "SELECT count(*) = " . @calls . " FROM pg_stat_activity WHERE pid IN ($pids) AND wait_event_type = 'Lock'") or die;
    $dropper->query('COMMIT');
    for my $i (0 .. $#calls)
    {
        my ($state) = $sessions[$i]->answer =~ /^ERROR:  (\w+)$/;
        ok($says{ $state // 'none' }, "$mode: $calls[$i] says " . ($state // 'nothing'));
        $sessions[$i]->close;
    }
    # made anew, it is found anew
    $dropper->query('CREATE EXTENSION billing CASCADE');
    like($dropper->query("SELECT billing.create_account('new')"), qr/^[0-9a-f-]{36}$/, "$mode: made anew");
    $dropper->close;
    $node->stop;
}
done_testing();
