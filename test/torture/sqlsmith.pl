# sqlsmith sends what it makes up to a database with a row of every kind, as the administrator level and
# as the application level at once. Nobody sends as superuser: what sqlsmith calls would stop the server
# without any fault of ours. The functions it sees are the extension's and some
# simple ones, by a pg_proc of its own; billing is in the path, as it sends operators without a schema.
#
# BILLING_SEED repeats what is sent, BILLING_TEST_SECONDS is how long.

use strict;
use warnings;

use Billing::EveryKind;
use Billing::Invariants;
use Billing::Session;
use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{BILLING_TEST_SECONDS} // 600;
my $seed = $ENV{BILLING_SEED} // int rand 1_000_000;
note "BILLING_SEED=$seed BILLING_TEST_SECONDS=$seconds";

my %level = (every_kind_app => 'application', smith_admin => 'administrator');
my %ours = map { basename($_) => 1 } glob "$ENV{BILLING_ROOT}/src/*.[ch] $ENV{BILLING_ROOT}/src/*/*.[ch]";
ok(scalar keys %ours, 'source files are known');

my $node = PostgreSQL::Test::Cluster->new('sqlsmith');
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
$node->safe_psql('postgres', 'CREATE ROLE every_kind_app LOGIN; CREATE ROLE every_kind_report; CREATE ROLE smith_admin LOGIN; CREATE DATABASE smith');
$node->safe_psql('smith', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
every_kind($node, 'smith');
$node->safe_psql('smith', <<'SQL');
SELECT billing.grant_usage_to('smith_admin', 'administrator');
CREATE SCHEMA smith;
-- of PostgreSQL's own the simple ones, so that ours are no needle among thousands
CREATE VIEW smith.pg_proc AS SELECT * FROM pg_catalog.pg_proc
WHERE pronamespace = 'billing'::regnamespace OR pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'i' AND prorettype IN
    ('uuid'::regtype, 'text'::regtype, 'int8'::regtype, 'bool'::regtype, 'interval'::regtype, 'numeric'::regtype, 'jsonb'::regtype, 'text[]'::regtype, 'timestamptz'::regtype)
    AND proname !~ '^(repeat|lpad|rpad|byteain|pow|exp|factorial)' AND NOT 'internal'::regtype = ANY (proargtypes);
GRANT USAGE ON SCHEMA smith TO PUBLIC;
GRANT SELECT ON smith.pg_proc TO PUBLIC;
SQL
my $over = over_limit($node, 'smith');
is(broken($node, 'smith'), '', 'before: the rules hold');

my $started = 'SELECT pg_postmaster_start_time()';
my $began = $node->safe_psql('smith', $started);
my $watcher = Billing::Session->new($node, 'smith');
my %pid;
my $dir = PostgreSQL::Test::Utils::tempdir();
for my $role (sort keys %level)
{
    my $connection = $node->connstr('smith') . " user=$role options='-csearch_path=smith,pg_catalog,billing'";
    $pid{$role} = fork // die "fork: $!";
    next if $pid{$role};
    open STDOUT, '>', "$dir/$role.out" or die $!;
    open STDERR, '>', "$dir/$role.err" or die $!;
    exec 'sqlsmith', '--verbose', '--dump-all-queries', '--exclude-catalog', '--seed=' . ($seed + length $role), "--target=$connection";
    die "sqlsmith: $!";
}
my $end = time + $seconds;
my %early;
while (time < $end)
{
    sleep 0.5;
    for my $role (sort keys %pid)
    {
        next if exists $early{$role} || waitpid($pid{$role}, 1) != $pid{$role};
        $early{$role} = $?;
    }
    last if keys %early == keys %pid;
}
for my $role (sort keys %pid)
{
    next if exists $early{$role};
    kill 'TERM', $pid{$role};
    waitpid $pid{$role}, 0;
}
is(join(' ', %early), '', 'sqlsmith ran until the end')
  or diag map { slurp_file("$dir/$_.err") } sort keys %early;

# A session that is still busy looks at the connection when its statement is over.
$node->poll_query_until('smith', qq{SELECT count(pg_terminate_backend(pid)) = 0 FROM pg_stat_activity WHERE usename IN ('every_kind_app', 'smith_admin')});
is($node->safe_psql('smith', $started), $began, 'the server is the one that was started');
is($watcher->query('SELECT 1'), 1, 'a session from before lives');
$watcher->close;

# In the log: an error, its place, what was sent.
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
note "PostgreSQL's own: $_" for grep { $internal{$_} ne 'ours' } sort keys %internal;
is(crashes($node), '', 'no crash');
is(broken($node, 'smith'), '', 'afterwards: the rules hold');
is(over_limit($node, 'smith'), $over, 'and nobody has more users');

my $sent = $node->safe_psql('smith', q{SELECT xact_rollback FROM pg_stat_database WHERE datname = 'smith'});
diag "$sent statements in $seconds s";
diag 'errors: ' . join(', ', map { "$_ $state{$_}" } sort { $state{$b} <=> $state{$a} || $a cmp $b } keys %state);
diag "errors of $level{$_}: $count{$_}" for sort keys %count;
cmp_ok($sent, '>', 5 * $seconds, 'statements were sent');
is(join(' ', grep { !$count{$_} } sort keys %level), '', 'by both levels');
my %called;
for my $role (sort keys %level)
{
    open my $out, '<', "$dir/$role.out" or die $!;
    while (my $line = <$out>)
    {
        $called{$1}++ while $line =~ /\bbilling\.(\w+)\(/g;
    }
    close $out;
}
diag 'calls: ' . join(', ', map { "$_ $called{$_}" } sort { $called{$b} <=> $called{$a} || $a cmp $b } keys %called);
cmp_ok(scalar keys %called, '>', 10, 'with calls of the functions of the extension');
$node->stop;
done_testing();
