# What the tests of the background worker share: a cluster and an account to expire.

package Billing::Worker;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use Test::More;

our @EXPORT = qw(worker_cluster worker_setup subscribe_for happened launcher_pid unexplained clock_start set_clock);

# worker_cluster(name, lines for postgresql.conf): started, the library preloaded.
sub worker_cluster
{
    my ($name, $conf) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    $node->init(allows_streaming => 1);
    $node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\n"
          . "max_prepared_transactions = 10\nlog_statement = none\nlog_connections = off\n"
          . "log_disconnections = off\nlog_replication_commands = off\n" . ($conf // ''));
    $node->start;
    return $node;
}

sub worker_setup
{
    my ($node, $database) = @_;
    $node->safe_psql($database, q{
        SET client_min_messages = warning;
        CREATE EXTENSION billing CASCADE;
        SELECT billing.create_plan('free', 'free');
        SELECT billing.create_plan('pro', 'subscription', duration => '30 days');});
    return;
}

# SQL that gives a new account of that name a plan which ends after an interval.
sub subscribe_for
{
    my ($name, $interval) = @_;
    return "SELECT billing.subscribe(billing.create_account('$name'), 'pro', "
      . "effective_at => now() - interval '1 day', "
      . "expires_at => clock_timestamp() + interval '$interval')";
}

# Waits until the accounts whose names are like the pattern have that many events of expiry, and
# says so when it takes longer than any machine should.
sub happened
{
    my ($node, $database, $pattern, $count, $name) = @_;
    my $ok = $node->poll_query_until($database,
        "SELECT count(*) >= $count FROM billing.event JOIN billing.account USING (account_id) "
          . "WHERE kind = 'subscription_expired' AND name LIKE '$pattern'");
    ok($ok, $name);
    return $ok;
}

sub launcher_pid
{
    my ($node) = @_;
    return $node->safe_psql('postgres',
        q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'billing launcher'});
}

# Starts a server whose clock can be set: clock.c says how, and why not by libfaketime.
sub clock_start
{
    my ($node) = @_;
    my $library = "$ENV{TESTDIR}/clock.so";
    system('gcc', '-shared', '-fPIC', '-O2', '-o', $library, "$ENV{BILLING_ROOT}/test/perl/Billing/clock.c") == 0
        or die 'cannot compile clock.c';
    set_clock(0);
    local %ENV = (%ENV, LD_PRELOAD => $library, BILLING_CLOCK => clock_file());
    $node->start;
    return;
}

sub clock_file { return "$ENV{TESTDIR}/clock" }

# So many seconds beside real time, for every process of the server.
sub set_clock
{
    my ($seconds) = @_;
    my $file = clock_file();
    open my $fh, -e $file ? '+<' : '>', $file or die "$file: $!";
    syswrite($fh, pack 'q', $seconds) or die "$file: $!";
    close $fh;
    return;
}

# Lines of the server's log that are no mere information.
sub unexplained
{
    my ($node) = @_;
    my @lines = grep { / (?:WARNING|ERROR|FATAL|PANIC):/ } split /\n/,
        PostgreSQL::Test::Utils::slurp_file($node->logfile);
    return join "\n", @lines;
}

1;
