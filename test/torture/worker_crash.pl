# Nothing is expired twice and nothing is missed, whatever dies, stops, is promoted, or sets the
# clock.
#
# Minutes: 2

use strict;
use warnings;

use Billing::Worker;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = worker_cluster('primary', "billing.worker_batch = 3\nrestart_after_crash = on\n");
worker_setup($node, 'postgres');

my $round = 0;

# Forty that fall due during what is done to the server; a few that do later.
sub fill
{
    $round++;
    $node->safe_psql('postgres', qq{
        SELECT count(billing.subscribe(billing.create_account('round$round'), 'pro',
            effective_at => now() - interval '1 day',
            expires_at => clock_timestamp() + g * interval '10 ms')) FROM generate_series(1, 40) g});
    return;
}

sub check
{
    my ($name) = @_;
    happened($node, 'postgres', "round$round", 40, "$name: nothing is missed");
    is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT FROM billing.event
            WHERE kind IN ('subscription_expired', 'free_plan_assigned')
            GROUP BY account_id, kind HAVING count(*) > 1) twice}), 0, "$name: nothing twice");
    is($node->safe_psql('postgres', q{SELECT count(*) FROM billing.event WHERE kind = 'free_plan_assigned'
            AND account_id IN (SELECT account_id FROM billing.account)}), 40 * $round, "$name: each event");
    return;
}

sub worker_pid
{
    my ($type) = @_;
    for (1 .. 1000)
    {
        my $pid = $node->safe_psql('postgres',
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'billing $type' LIMIT 1");
        return $pid if $pid ne '';
    }
    return;
}

# Ends a process of the server; false: it was gone already.
sub signal
{
    my ($signal, $pid) = @_;
    return defined $pid && kill $signal, $pid;
}

for my $type (qw(worker launcher))
{
    fill();
    ok(signal('KILL', worker_pid($type)), "SIGKILL of the $type");
    $node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
    check("SIGKILL of the $type");

    fill();
    ok(signal('TERM', worker_pid($type)), "SIGTERM of the $type");
    check("SIGTERM of the $type");
}
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity
        WHERE backend_type = 'billing launcher'}), 'one launcher');

for my $mode (qw(immediate fast))
{
    fill();
    $node->stop($mode);
    $node->start;
    check("$mode shutdown");
}

# A standby shows what the primary wrote and writes nothing itself; promoted, it goes on.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
is(launcher_pid($standby), '', 'no launcher on a standby');
$node->safe_psql('postgres', subscribe_for('seen', '100 ms'));
happened($node, 'postgres', 'seen', 1, 'the primary expires');
$node->wait_for_catchup($standby);
happened($standby, 'postgres', 'seen', 1, 'the standby shows it');
$node->safe_psql('postgres', subscribe_for('between', '1 s'));
$node->wait_for_catchup($standby);
$node->stop('immediate');
select undef, undef, undef, 1.5;
is($standby->safe_psql('postgres', q{SELECT billing.plan_is_active(account_id) FROM billing.account
        WHERE name = 'between'}), 'f', 'access ends on the standby');
$standby->promote;
happened($standby, 'postgres', 'between', 1, 'promoted, it writes down what fell due meanwhile');
$standby->stop;

# The clock is set: what falls due by it is found within a nap, once.
my $day = 86400;
my $clock = PostgreSQL::Test::Cluster->new('clock');
$clock->init;
$clock->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\nbilling.worker_naptime = 1s");
clock_start($clock);
worker_setup($clock, 'postgres');
$clock->safe_psql('postgres', subscribe_for('tomorrow', '1 day'));
$clock->safe_psql('postgres', subscribe_for('next week', '7 days'));
set_clock(2 * $day);
happened($clock, 'postgres', 'tomorrow', 1, 'the clock set forward');
set_clock(-2 * $day);
$clock->safe_psql('postgres', subscribe_for('yesterday', '200 ms'));
happened($clock, 'postgres', 'yesterday', 1, 'set back: what falls due by it');
is($clock->safe_psql('postgres', q{SELECT count(*), count(DISTINCT account_id) FROM billing.event
        WHERE kind = 'subscription_expired'}), '2|2', 'nothing twice, nothing early');
set_clock(8 * $day);
happened($clock, 'postgres', 'next week', 1, 'and forward again');
is($clock->safe_psql('postgres', q{SELECT count(*) FROM billing.event
        WHERE kind = 'subscription_expired'}), 3, 'each once');
$clock->stop;

done_testing();
