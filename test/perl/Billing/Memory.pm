# What the background worker's processes take of memory, round after round.

package Billing::Memory;

use strict;
use warnings;

use Billing::Worker;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(memory_stays resident_is_known);

# AddressSanitizer keeps what was freed, so as to see who still uses it.
sub resident_is_known { return ($ENV{BILLING_MEMORY} // '') ne 'sanitizer' }

sub pid_of
{
    my ($node, $type) = @_;
    return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'billing $type'");
}

# Kilobytes of the process's own, and bytes in all its memory contexts, which it tells the log: the
# least of several times, since it may be in the middle of something.
sub measure
{
    my ($node, $pid) = @_;
    my %least;
    for (1 .. 5)
    {
        my $offset = -s $node->logfile;
        $node->safe_psql('postgres', "SELECT pg_log_backend_memory_contexts($pid)");
        $node->wait_for_log(qr/\[$pid\].*Grand total: \d+ bytes.*used/, $offset);
        my ($total, $used) = slurp_file($node->logfile, $offset) =~
            /\[$pid\].*Grand total: (\d+) bytes in .*; (\d+) used/;
        my ($resident) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m;
        my %now = (resident => $resident, total => $total, used => $used);
        for (keys %now)
        {
            $least{$_} = $now{$_} if !defined $least{$_} || $now{$_} < $least{$_};
        }
    }
    return \%least;
}

sub compare
{
    my ($name, $rounds, $first, $last) = @_;
    diag(sprintf '%s, after 100 rounds: %d kB resident, contexts of %d bytes, %d used; after %d: %d kB, '
          . '%d bytes, %d used', $name, @$first{qw(resident total used)}, $rounds,
        @$last{qw(resident total used)});
    cmp_ok($last->{total}, '<=', $first->{total}, "$name: no more in memory contexts");
    # malloc's own pages; a leak of ten bytes a round would be more in the long form
    cmp_ok($last->{resident}, '<=', $first->{resident} + 100, "$name: no more resident") if resident_is_known();
    return;
}

sub set_up
{
    my $node = worker_cluster('memory', "billing.worker_naptime = 1h\nautovacuum = off\nfsync = off\n"
          . "log_line_prefix = '%m [%p] '\n");
    worker_setup($node, 'postgres');
    $node->safe_psql('postgres', q{
        CREATE FUNCTION runs() RETURNS bigint LANGUAGE sql AS $$
            SELECT runs FROM billing.worker_status WHERE database = current_database();
        $$;
        CREATE PROCEDURE rounds(n bigint) LANGUAGE plpgsql AS $$
        DECLARE
            before bigint;
        BEGIN
            FOR i IN 1 .. n LOOP
                before := runs();
                PERFORM billing.subscribe(billing.create_account('round'), 'pro',
                    effective_at => now() - interval '1 day', expires_at => now());
                COMMIT;
                WHILE runs() = before LOOP PERFORM pg_sleep(0.0005); END LOOP;
            END LOOP;
        END $$;
        CREATE PROCEDURE starts(n bigint) LANGUAGE plpgsql AS $$
        DECLARE
            worker integer;
        BEGIN
            FOR i IN 1 .. n LOOP
                CALL rounds(1);
                LOOP
                    SELECT pid INTO worker FROM billing.worker_status WHERE database = current_database();
                    EXIT WHEN worker IS NULL;
                    PERFORM pg_terminate_backend(worker) FROM pg_stat_activity WHERE pid = worker;
                    COMMIT;
                    PERFORM pg_sleep(0.0005);
                END LOOP;
            END LOOP;
        END $$;
        CREATE PROCEDURE fill(n bigint, gap interval) LANGUAGE plpgsql AS $$
        DECLARE
            start timestamptz := clock_timestamp() + interval '3 s' + n * interval '3 ms';
        BEGIN
            FOR i IN 1 .. n LOOP
                PERFORM billing.subscribe(billing.create_account('round'), 'pro',
                    effective_at => start - interval '1 day', expires_at => start + i * gap);
                COMMIT;
            END LOOP;
        END $$;});
    return $node;
}

# Each round starts a worker, which is told to leave.
sub launcher_rounds
{
    my ($node, $rounds) = @_;
    my $launcher = pid_of($node, 'launcher');
    $node->safe_psql('postgres', 'CALL starts(100)');
    my $first = measure($node, $launcher);
    $node->safe_psql('postgres', "CALL starts($rounds - 100)");
    compare('launcher', $rounds, $first, measure($node, $launcher));
    is(pid_of($node, 'launcher'), $launcher, 'one launcher all the time');
    return;
}

# A worker stays while the next due time is near: one every 100 ms keeps it here, and each round is one
# more.
sub worker_rounds
{
    my ($node, $rounds) = @_;
    my $fill = $rounds > 2000 ? $rounds : 2000;
    my $before = $node->safe_psql('postgres', 'SELECT runs()');
    $node->safe_psql('postgres', "CALL fill($fill, '100 ms')");
    $node->poll_query_until('postgres', "SELECT runs() > $before") or die 'no runs';
    $node->safe_psql('postgres', 'CALL rounds(100)');
    my $worker = pid_of($node, 'worker');
    my $first = measure($node, $worker);
    $node->safe_psql('postgres', "CALL rounds($rounds - 100)");
    compare('worker', $rounds, $first, measure($node, $worker));
    is(pid_of($node, 'worker'), $worker, 'one worker all the time');
    return;
}

# memory_stays(rounds of each)
sub memory_stays
{
    my ($rounds) = @_;
    my $node = set_up();
    launcher_rounds($node, $rounds);
    worker_rounds($node, $rounds);
    $node->stop;
    return;
}

1;
