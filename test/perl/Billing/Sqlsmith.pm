# sqlsmith sends what it makes up to a database with a row of every kind, as the administrator level and
# as the application level at once. Nobody sends as superuser: what sqlsmith calls would stop the server
# without any fault of ours. The functions it sees are the extension's and some simple ones, by a pg_proc
# of its own; billing is in the path, as it sends operators without a schema.
#
# BILLING_SEED repeats what is sent, BILLING_TEST_SECONDS is how long.

package Billing::Sqlsmith;

use strict;
use warnings;

use Billing::EveryKind;
use Billing::Invariants;
use Billing::Session;
use Exporter 'import';
use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(sqlsmith_test);

my %level = (every_kind_app => 'application', smith_admin => 'administrator');
my @roles = sort keys %level;
my $db = 'smith';

# sqlsmith_test(name, seconds)
sub sqlsmith_test
{
    my ($name, $seconds) = @_;
    $seconds = $ENV{BILLING_TEST_SECONDS} // $seconds;
    my $seed = $ENV{BILLING_SEED} // int rand 1_000_000;
    note "BILLING_SEED=$seed BILLING_TEST_SECONDS=$seconds";
    my $node = new_server($name);
    my $over = over_limit($node, $db);
    is(broken($node, $db), '', 'before: the rules hold');
    my $started = 'SELECT pg_postmaster_start_time()';
    my $began = $node->safe_psql($db, $started);
    my $watcher = Billing::Session->new($node, $db);
    my $dir = PostgreSQL::Test::Utils::tempdir();
    is(send_for($node, $dir, $seed, $seconds), '', 'sqlsmith ran until the end');
    is($node->safe_psql($db, $started), $began, 'the server is the one that was started');
    is($watcher->query('SELECT 1'), 1, 'a session from before lives');
    $watcher->close;
    judge_log($node);
    is(crashes($node), '', 'no crash');
    is(broken($node, $db), '', 'afterwards: the rules hold');
    is(over_limit($node, $db), $over, 'and nobody has more users');
    judge_calls($node, $dir, $seconds);
    $node->stop;
    done_testing();
    return;
}

sub new_server
{
    my ($name) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    $node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
    $node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'billing'
jit = off
log_error_verbosity = verbose
log_line_prefix = '%m [%p] %u '
log_statement = none
log_temp_files = -1
temp_file_limit = 200MB
CONF
    $node->start;
    $node->safe_psql('postgres', 'CREATE ROLE every_kind_app LOGIN; CREATE ROLE every_kind_report; CREATE ROLE smith_admin LOGIN; '
          . "CREATE DATABASE $db");
    $node->safe_psql($db, 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
    every_kind($node, $db);
    $node->safe_psql($db, <<'SQL');
SELECT billing.grant_usage_to('smith_admin', 'administrator');
CREATE SCHEMA smith;
-- of PostgreSQL's own the simple ones, so that ours are no needle among thousands
CREATE VIEW smith.pg_proc AS SELECT * FROM pg_catalog.pg_proc
WHERE pronamespace = 'billing'::regnamespace OR pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'i' AND prorettype IN
    ('uuid'::regtype, 'text'::regtype, 'int8'::regtype, 'bool'::regtype, 'interval'::regtype, 'numeric'::regtype, 'jsonb'::regtype, 'text[]'::regtype, 'timestamptz'::regtype)
    AND proname !~ '^(interval$|repeat|lpad|rpad|byteain|pow|exp|factorial)' AND NOT 'internal'::regtype = ANY (proargtypes);
GRANT USAGE ON SCHEMA smith TO PUBLIC;
GRANT SELECT ON smith.pg_proc TO PUBLIC;
SQL
    return $node;
}

sub start_as
{
    my ($node, $dir, $seed, $role) = @_;
    my $connection = $node->connstr($db) . " user=$role options='-csearch_path=smith,pg_catalog,billing'";
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    open STDOUT, '>', "$dir/$role.out" or die $!;
    open STDERR, '>', "$dir/$role.err" or die $!;
    exec 'sqlsmith', '--verbose', '--dump-all-queries', '--exclude-catalog', '--seed=' . ($seed + length $role), "--target=$connection";
    die "sqlsmith: $!";
}

# Who of them ended before the time was over, and what they said.
sub send_for
{
    my ($node, $dir, $seed, $seconds) = @_;
    my %pid = map { $_ => start_as($node, $dir, $seed, $_) } @roles;
    my %early;
    my $end = time + $seconds;
    while (time < $end && keys %early < keys %pid)
    {
        sleep 0.5;
        for my $role (grep { !$early{$_} } @roles)
        {
            $early{$role} = "$role: $?\n" if waitpid($pid{$role}, 1) == $pid{$role};
        }
    }
    for my $role (grep { !$early{$_} } @roles)
    {
        kill 'TERM', $pid{$role};
        waitpid $pid{$role}, 0;
    }
    # A session that is still busy looks at the connection when its statement is over.
    $node->poll_query_until($db, "SELECT count(pg_terminate_backend(pid)) = 0 FROM pg_stat_activity WHERE usename IN ('"
          . join("', '", @roles) . "')");
    return join '', map { $early{$_} . slurp_file("$dir/$_.err") } sort keys %early;
}

# In the log: an error, its place, what was sent.
sub judge_log
{
    my ($node) = @_;
    my %ours = map { basename($_) => 1 } glob "$ENV{BILLING_ROOT}/src/*.[ch]";
    ok(scalar keys %ours, 'source files are known');
    my (%count, %state, %internal, $last);
    open my $log, '<', $node->logfile or die $!;
    while (my $line = <$log>)
    {
        if ($line =~ /^\S+ \S+ \S+ \[(\d+)\] (\w+) (?:ERROR|FATAL|PANIC):  ([0-9A-Z]{5}): (.*)/)
        {
            $last = { role => $2, state => $3, message => $4 };
            next if !$level{$2};
            $count{$2}++;
            $state{$3}++;
        }
        elsif ($last && $line =~ /^\S+ \S+ \S+ \[\d+\] \w+ (CONTEXT|LOCATION):  (.*)/)
        {
            $last->{$1} = $2;
            next if $1 ne 'LOCATION' || $last->{state} !~ /^XX/;
            my ($file) = $2 =~ /([\w.]+):\d+$/;
            $internal{"$last->{state} $last->{message} ($last->{LOCATION}; " . ($last->{CONTEXT} // '') . ')'} =
              ($file && $ours{$file}) || ($last->{CONTEXT} // '') =~ /billing/ ? 'ours' : 'not ours';
        }
    }
    close $log;
    is(join("\n", grep { $internal{$_} eq 'ours' } sort keys %internal), '', 'no internal error from the extension');
    diag "PostgreSQL's own: $_" for grep { $internal{$_} ne 'ours' } sort keys %internal;
    diag 'errors: ' . join(', ', map { "$_ $state{$_}" } sort { $state{$b} <=> $state{$a} || $a cmp $b } keys %state);
    is(join(' ', grep { !$count{$_} } @roles), '', 'both levels sent');
    return;
}

# That enough was sent, and to us.
sub judge_calls
{
    my ($node, $dir, $seconds) = @_;
    my $sent = $node->safe_psql($db, "SELECT xact_rollback FROM pg_stat_database WHERE datname = '$db'");
    my %called;
    for my $role (@roles)
    {
        open my $out, '<', "$dir/$role.out" or die $!;
        while (my $line = <$out>)
        {
            $called{$1}++ while $line =~ /\bbilling\.(\w+)\(/g;
        }
        close $out;
    }
    diag "$sent statements in $seconds s, with calls of " . keys(%called) . ' functions: '
      . join(', ', map { "$_ $called{$_}" } sort { $called{$b} <=> $called{$a} || $a cmp $b } keys %called);
    cmp_ok($sent, '>', $seconds, 'statements were sent');
    cmp_ok(scalar keys %called, '>', 10, 'with calls of the functions of the extension');
    return;
}

1;
