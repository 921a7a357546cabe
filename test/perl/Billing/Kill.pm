# Kills a whole server at one moment, and says what that moment was: where the log of changes ended and
# which transactions were open.

package Billing::Kill;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep);

our @EXPORT = qw(kill_server);

# A zombie is dead, though nobody may have come for it yet.
sub alive
{
    my ($pid) = @_;
    open my $fh, '<', "/proc/$pid/stat" or return 0;
    my $stat = <$fh> // '';
    return $stat =~ /^\d+ \(.*\) [^ZX]/;
}

# What a process of the server says that it does.
sub title
{
    my ($pid) = @_;
    open my $fh, '<', "/proc/$pid/cmdline" or return '';
    local $/ = "\0";
    return (<$fh> // '') =~ s/[\0 ]+$//r;
}

# Stops the postmaster and everything that it started, looks, and kills them all. Returns lsn (the end of
# what reached the log), open (sessions within a transaction), unfinished (transactions that wrote to
# the log and did not end in it) and prepared.
sub kill_server
{
    my ($node) = @_;
    my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
    kill 'STOP', $postmaster;
    my @children = grep { /^\d+$/ } split ' ', `ps -o pid= --ppid $postmaster`;
    kill 'STOP', @children;
    my @titles = map { title($_) } @children;
    kill 'KILL', $postmaster, @children;
    for (1 .. 400)
    {
        last unless grep { alive($_) } $postmaster, @children;
        sleep 0.02;
    }
    # the lock files of a zombie would count
    unlink $node->data_dir . '/postmaster.pid', $node->host . '/.s.PGSQL.' . $node->port . '.lock';
    $node->{_pid} = undef;
    my $open = grep { /\[local\] (?!idle$|startup|authentication)\w/ } @titles;
    return { open => $open, %{ end_of_log($node) } };
}

# Reads the log from the last checkpoint's redo point to its end.
sub end_of_log
{
    my ($node) = @_;
    my $data = $node->data_dir;
    my ($redo) = `pg_controldata -D '$data'` =~ /REDO location:\s+(\S+)/;
    my ($timeline) = `pg_controldata -D '$data'` =~ /TimeLineID:\s+(\d+)/;
    my (%unfinished, %prepared);
    my $lsn = $redo;
    # it ends with an error, where the log does
    for (split /\n/, `pg_waldump -p '$data/pg_wal' -t $timeline -s $redo 2>/dev/null`)
    {
        my ($rmgr, $xid, $at, $what) = /^rmgr: (\w+).*? tx:\s+(\d+), lsn: ([0-9A-F\/]+),.*? desc: (.*)/ or next;
        $lsn = $at;
        $unfinished{$xid} = 1 if $xid;
        next if $rmgr ne 'Transaction';
        # those of others, of subtransactions and of prepared ones
        my @ended = $what =~ /subxacts: ([\d ]+)/ ? split(' ', $1) : ();
        push @ended, $xid if $what =~ /^(?:COMMIT|ABORT|PREPARE)\b/;
        push @ended, $1 if $what =~ /^(?:COMMIT|ABORT)_PREPARED (\d+)/;
        delete @unfinished{@ended};
        $prepared{$xid} = 1 if $what =~ /^PREPARE\b/;
        delete @prepared{@ended} if $what =~ /^(?:COMMIT|ABORT)_PREPARED/;
    }
    return { lsn => $lsn, unfinished => scalar keys %unfinished, prepared => scalar keys %prepared };
}

1;
