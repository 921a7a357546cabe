# A server on small file systems, which a load of everything fills up, again and again. Whoever needs room is
# told so, reading goes on, and with room again everything does; what was acknowledged is there, nothing is
# half there, and the figures are those of plain SQL over the rows. Billing/full.c does the same table by
# table; here nothing stands between the server and the file system.
#
# BILLING_SEED repeats what clients do, not how they interleave.

package Billing::DiskFull;

use strict;
use warnings;

use Billing::CrashTest;
use Billing::MixedLoad;
use Billing::Session;
use Billing::SmallDisk ();
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(disk_full_test);

use constant CLIENTS => 6;

# Refusals for want of room before there is room again, and how long to wait for them.
use constant REFUSALS => 40;
use constant PATIENCE => 60;

# What reads_sql() is answered.
use constant READS => 't|t|3';

my ($disk, $node, $dir, $seed);
my ($round, %total, %refused) = (0);

# disk_full_test(name => …, rounds => [the data alone, the log alone, both on one], required => it is an error
# that there can be no file systems). They are Billing::SmallDisk's, "data" and "log".
sub disk_full_test
{
    my (%o) = @_;
    if (defined(my $reason = Billing::SmallDisk::reason()))
    {
        $reason = "an ordinary user cannot mount a small file system here: $reason";
        die "$reason\n" if $o{required};
        plan skip_all => "$reason (disk_full.pl does without)";
    }
    $disk = { map { $_ => Billing::SmallDisk::named($_) } qw(data log) };
    $seed = $ENV{BILLING_SEED} // int rand 1_000_000;
    note "BILLING_SEED=$seed";
    srand $seed;
    $dir = PostgreSQL::Test::Utils::tempdir();
    $node = new_server($o{name});
    my ($data, $log, $both) = @{ $o{rounds} };
    # in turn, so that each meets what the others left behind
    while ($data > 0 || $log > 0)
    {
        full('the data', $disk->{data}) if $data-- > 0;
        full('the log of changes', $disk->{log}) if $log-- > 0;
    }
    join_disks();
    full('all on one', $disk->{data}) for 1 .. $both;
    is(Billing::CrashTest::invariants($node, 'true'), '', 'at the end: every account of every round');
    is(worse(), '', 'nothing worse was said');
    cmp_ok($total{'the data, refused'}, '>', 0, 'clients were refused where the log of changes had room');
    notices();
    say_totals();
    $node->stop;
    done_testing();
    return;
}

# The data on one file system and the log of changes on the other. Pages are filled to a tenth, so that every
# table soon needs another one; segments are made when they are needed, so that a full disk is met.
sub new_server
{
    my ($name) = @_;
    my $new = PostgreSQL::Test::Cluster->new($name);
    symlink $disk->{data}->folder . '/pgdata', $new->data_dir or die "symlink: $!";
    mkdir $disk->{data}->folder . '/pgdata' or die "mkdir: $!";
    $new->init(extra => [ '--wal-segsize=1', '--waldir', $disk->{log}->folder . '/pg_wal' ]);
    $new->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'billing'
shared_buffers = 16MB
min_wal_size = 2MB
max_wal_size = 24MB
wal_recycle = off
max_prepared_transactions = 20
log_statement = none
log_error_verbosity = verbose
autovacuum_naptime = 1s
CONF
    $new->start;
    load_setup($new);
    $new->safe_psql('postgres', <<'SQL');
SELECT format('ALTER TABLE %s SET (fillfactor = 10)', oid::regclass) FROM pg_class
WHERE relnamespace = 'billing'::regnamespace AND relkind = 'r' AND relname <> 'ledger' \gexec
CHECKPOINT
SQL
    return $new;
}

sub begin_load
{
    $round++;
    load_begin($node, $round);
    my @pids = map { load_start($node, $dir, $round, $_, $seed) } 1 .. CLIENTS;
    my $until = time + PATIENCE;
    sleep 0.05 while time < $until && served({}) < CLIENTS;
    sleep rand 0.3;
    return @pids;
}

# What clients were refused for want of room, and all that they should not have been told.
sub refusals
{
    my (undef, $errors) = told($dir, $round);
    return (scalar(grep { /: 53100 / } @$errors), grep { !/: 53100 / } @$errors);
}

# The clients that were served something since they had written so much.
sub served
{
    my ($from) = @_;
    my $count = 0;
    for my $client (1 .. CLIENTS)
    {
        my $file = "$dir/client.$round.$client";
        $count++ if -s $file && slurp_file($file, $from->{$client} // 0) =~ /\tok\t/;
    }
    return $count;
}

sub written { return { map { $_ => -s "$dir/client.$round.$_" } 1 .. CLIENTS } }

sub reads_sql
{
    my $account = Billing::MixedLoad::account_id($round, 0);
    return "SELECT billing.plan_is_active('$account'), billing.tokens_remaining('$account') > 0, billing.seats_allowed('$account')";
}

sub running { return -e $node->data_dir . '/postmaster.pid' }

# The load fills what is left of a file system, and goes on until enough was refused while there was no room
# at all, or the server is gone. Returns how much that was, and what reading was answered.
sub press
{
    my ($full) = @_;
    my ($until, $before, $refused, %read) = (time + PATIENCE, undef, 0);
    my $reader = Billing::Session->new($node);
    $full->fill(int rand 300);
    while (running() && time < $until)
    {
        ($refused, my @others) = refusals();
        last if @others || defined $before && $refused >= $before + REFUSALS;
        # what was left over, or given back, is taken as soon as somebody met the limit
        my $left = $refused || $full == $disk->{log} ? $full->fill : 1;
        $before //= $refused if $left == 0;
        $read{ $reader->query(reads_sql()) // 'gone' }++;
        # an application that writes much of its own
        $reader->query("SELECT pg_logical_emit_message(false, 'other', repeat('x', 30000))") if $full == $disk->{log};
        sleep 0.05;
    }
    $reader->close;
    return ($refused - ($before // $refused), join ' ', sort keys %read);
}

# PostgreSQL may want to write down what it knows of its catalog before it lets somebody in, and then does not.
sub new_session
{
    my ($status, $out, $error) = $node->psql('postgres', reads_sql());
    return $out if $status == 0 || $error !~ /FATAL:  could not write init file/;
    $total{'not let in'}++;
    return READS;
}

sub panic
{
    my ($from) = @_;
    my ($why) = slurp_file($node->logfile, $from) =~ /PANIC: (.*)/;
    return $why;
}

# Load, no room, and room again: everybody goes on, unless the server stopped. It does for want of room in the
# log of changes, or for a checkpoint.
sub full
{
    my ($name, $full) = @_;
    my $from = -s $node->logfile;
    my @pids = begin_load();
    my ($refused, $read) = press($full);
    my $new = running() ? new_session() : '';
    $full->room;
    my ($since, $until) = (written(), time + PATIENCE);
    sleep 0.05 while time < $until && !panic($from) && running() && served($since) < CLIENTS;
    my $what = "round $round, $name";
    if (running() && !panic($from))
    {
        cmp_ok($refused, '>=', REFUSALS, "$what: clients are told that there is no room");
        is($read, READS, "$what: reading is answered meanwhile");
        is($new, READS, "$what: also in a new session");
        is(served($since), CLIENTS, "$what: with room again every client is served");
        is(scalar(grep { kill 0, $_ } @pids), CLIENTS, "$what: no connection was lost");
        judge("$what, $refused refused", load_stop(@pids));
        $total{"$name, refused"}++;
    }
    else
    {
        like(stopped($from), qr/^ *53100: .*No space left on device/, "$what: the server stops");
        my $failed = load_stop(@pids);
        my $at = -s $node->logfile;
        $node->start(fail_ok => 1) or BAIL_OUT("$what: no start: " . slurp_file($node->logfile, $at));
        judge("$what, after a start", $failed);
        $total{"$name, stopped"}++;
    }
    return;
}

# Waits for a server that stops by itself; why it did.
sub stopped
{
    my ($from) = @_;
    for (1 .. 400) { last if !running(); sleep 0.05 }
    return 'it runs' if running();
    $node->{_pid} = undef;
    return panic($from) // 'no word of it';
}

# What clients were told against what is there.
sub judge
{
    my ($what, $failed) = @_;
    my ($told, $errors) = told($dir, $round);
    my ($count, @problems) = refusals();
    for (@$errors) { $refused{$1}++ if /: 53100 .*?(billing\.\w+)/ || /: 53100 .*?(PREPARE|COMMIT|public\.\w+)/ }
    $total{refused} += $count;
    push @problems, "a client failed: $failed" if $failed;
    push @problems, 'the worker leaves ends unwritten' if !$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM billing.subscription '
          . "WHERE ended_at IS NULL AND NOT void AND expires_at < clock_timestamp() - interval '100 ms'");
    push @problems, Billing::CrashTest::judge_rows($node, $round, $told);
    is(join("\n", @problems), '', "$what: all is sound");
    return;
}

# Takes an acknowledged consumption of the last round away, which has to be missed: this test can fail.
sub notices
{
    my ($told) = told($dir, $round);
    my ($key) = map { $_->[1] =~ /^k:(.*)/ } grep { $_->[0] eq 'ok' && @$_ == 2 } map { $told->{$_} } sort keys %$told;
    $node->safe_psql('postgres', "ALTER TABLE billing.ledger DISABLE TRIGGER ALL; DELETE FROM billing.ledger WHERE idempotency_key = '$key'");
    like(join("\n", Billing::CrashTest::judge_rows($node, $round, $told)), qr/was acknowledged and lacks k:\Q$key\E/, 'what is gone is missed');
    return;
}

# All on one file system from here on. Checkpoints are often: they need room too.
sub join_disks
{
    my $at = $node->data_dir . '/pg_wal';
    $node->stop;
    unlink $at or die "$at: $!";
    system_or_bail('mv', $disk->{log}->folder . '/pg_wal', $at);
    $node->append_conf('postgresql.conf', "wal_recycle = on\nmax_wal_size = 4MB");
    $node->start;
    return;
}

# What the log must not have, whatever is full.
sub worse
{
    my @found;
    open my $log, '<', $node->logfile or die $node->logfile . ": $!";
    while (<$log>)
    {
        push @found, $_ if /XX\d\d\d:(?!.*could not write init file)|TRAP:|PANIC: (?!.*No space left on device)|terminated by signal (?!6\b)/;
    }
    close $log;
    return join '', @found;
}

sub say_totals
{
    diag join '; ', "$round rounds", map { "$_ $total{$_}" } sort keys %total;
    diag sprintf 'transactions: %d committed, %d refused or rolled back, %d in doubt, of which %d were there as a whole',
        Billing::CrashTest::seen(qw(ok no unanswered whole));
    diag join ', ', 'refused for want of room', map { "$_ $refused{$_}" } sort keys %refused;
    return;
}

1;
