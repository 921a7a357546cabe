# A mixed load that goes on for a long time: what it does to throughput, to the memory of the processes
# and to the tables and indexes, sample after sample. At the end all of it must be level.

package Billing::Steady;

use strict;
use warnings;

use Billing::Memory;
use Exporter 'import';
use IPC::Run;
use List::Util qw(max sum0);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(steady);

my $accounts = 500;
my $clients = 8;

# Weight and transaction; :a is an account, :k a key of its own.
my @mix = (
    [ 40, 'SELECT granted FROM billing.try_consume_tokens(account(:a), 1 + :a % 7);' ],
    [ 20, 'SELECT granted FROM billing.try_consume_tokens(account(1), 1);' ],
    [ 10, "SELECT granted FROM billing.try_consume_tokens(account(:a), 3, NULL, key(:k));\n"
          . 'SELECT replayed FROM billing.try_consume_tokens(account(:a), 3, NULL, key(:k));' ],
    [ 4, "SELECT billing.consume_tokens(account(:a), 5, NULL, key(:k));\n"
          . 'SELECT billing.refund_tokens(account(:a), key(:k), 2);' ],
    [ 3, 'SELECT count(*) FROM billing.consume_tokens_batch(ARRAY(SELECT account(i) FROM generate_series(:a, :a + 9) i), '
          . 'array_fill(1::bigint, \'{10}\'));' ],
    [ 5, "SELECT billing.hold_tokens(account(:a), 10) AS h \\gset\nSELECT billing.capture_hold(:h, 4);" ],
    [ 3, "SELECT billing.hold_tokens(account(:a), 10) AS h \\gset\nSELECT billing.release_hold(:h);" ],
    [ 1, 'SELECT billing.hold_tokens(account(:a), 10, \'5 seconds\');' ],
    [ 1, "SELECT billing.add_user_within_limit(account(:a), key(:k) || '\@example.com', NULL) AS u \\gset\nSELECT billing.remove_user(:u);" ],
    [ 1, 'SELECT (billing.record_payment(billing.order_plan(account(:a), \'pro\'), \'bank\', key(:k), \'9 USD\')).accepted;' ],
    [ 2, 'SELECT billing.subscribe(billing.create_account(\'passing\'), \'pro\', effective_at => now(), '
          . 'expires_at => clock_timestamp() + interval \'3 seconds\');' ],
    [ 2, 'SELECT acked(event_id) FROM (SELECT event_id FROM billing.next_events(\'mailer\', 200) ORDER BY event_id DESC LIMIT 1) e;' ],
    [ 15, 'SELECT billing.plan_is_active(account(:a)), (billing.check_access(account(:a))).allowed;' ],
    [ 3, 'SELECT * FROM billing.account_status WHERE account_id = account(:a);' ]);

my @tables = qw(account subscription_period token_grant hold plan_order account_user event_consumer);

sub set_up
{
    my ($name, $o) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    $node->init;
    $node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\nmax_connections = 40\n"
          . "autovacuum_naptime = $o->{naptime}s\nlog_statement = none\nlog_min_messages = warning\nmax_wal_size = 1GB\n");
    $node->start;
    $node->safe_psql('postgres', qq{
        SET client_min_messages = warning;
        CREATE EXTENSION billing CASCADE;
        CREATE EXTENSION pgstattuple;
        CREATE FUNCTION account(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
            \$\$SELECT ('57ead000-0000-4000-8000-' || lpad(to_hex((n - 1) % $accounts), 12, '0'))::uuid\$\$;
        CREATE FUNCTION key(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS \$\$SELECT 'k' || n\$\$;
        CREATE FUNCTION acked(through uuid) RETURNS void LANGUAGE sql AS
            \$\$SELECT billing.ack_events('mailer', through)\$\$;
        SELECT billing.create_plan('free', 'free');
        SELECT billing.create_plan('pro', 'subscription', duration => '1 second', price => '9 USD');
        SELECT billing.create_account('steady', account(n)), billing.grant_tokens(account(n), 1000000000000)
          FROM generate_series(1, $accounts) n;
        SELECT * FROM billing.next_events('mailer', 1);});
    return $node;
}

sub start_load
{
    my ($node, $o) = @_;
    my $dir = PostgreSQL::Test::Utils::tempdir();
    my @scripts;
    for my $n (0 .. $#mix)
    {
        my ($weight, $sql) = @{ $mix[$n] };
        append_to_file("$dir/$n.sql", "\\set a random(1, $accounts)\n\\set k random(1, 9000000000000000000)\n$sql\n");
        push @scripts, '-f', "$dir/$n.sql\@$weight";
    }
    my @rate = $o->{rate} ? ('-R', $o->{rate}) : ();
    my ($out, $err) = ('', '');
    my $load = IPC::Run::start([ 'pgbench', '-n', '-M', 'prepared', '--max-tries=20', '-c', $clients, '-j', 2, '-T', $o->{seconds}, @rate,
            @scripts, $node->connstr('postgres') . ' application_name=steady' ], '>', \$out, '2>', \$err);
    return { handle => $load, out => \$out, err => \$err };
}

# Kilobytes that are a process's own.
sub own_memory
{
    my ($pid) = @_;
    open(my $status, '<', "/proc/$pid/status") or return 0;
    my ($kb) = join('', <$status>) =~ /^RssAnon:\s+(\d+)/m;
    return $kb // 0;
}

sub memory_of
{
    my ($node, $condition) = @_;
    return max(0, map { own_memory($_) } split /\n/, $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE $condition"));
}

sub dead_percent
{
    my ($node) = @_;
    return $node->safe_psql('postgres', 'SELECT round((100 * sum(dead_tuple_len) / sum(table_len))::numeric, 2) FROM unnest(ARRAY['
          . join(',', map { "'billing.$_'" } @tables) . ']::regclass[]) t, pgstattuple_approx(t)');
}

# What is not used of the leaves of the indexes of those tables.
sub empty_leaf_percent
{
    my ($node) = @_;
    return $node->safe_psql('postgres', 'SELECT round((100 - sum(avg_leaf_density * leaf_pages) / sum(leaf_pages))::numeric, 2) '
          . 'FROM pg_index i JOIN pg_class c ON c.oid = indexrelid AND relam = (SELECT oid FROM pg_am WHERE amname = \'btree\'), '
          . 'pgstatindex(indexrelid::regclass) WHERE leaf_pages > 0 AND indrelid = ANY (ARRAY['
          . join(',', map { "'billing.$_'" } @tables) . ']::regclass[])');
}


sub sample
{
    my ($node, $start) = @_;
    my ($commits, $rows, $ledger) = $node->safe_psql('postgres', q{SELECT xact_commit, pg_stat_get_tuples_inserted('billing.ledger'::regclass),
        pg_total_relation_size('billing.ledger') FROM pg_stat_database WHERE datname = 'postgres'}) =~ /\d+/g;
    return {
        at => time - $start,
        commits => $commits,
        backend => memory_of($node, q{application_name = 'steady'}),
        worker => memory_of($node, q{backend_type = 'billing worker'}),
        launcher => memory_of($node, q{backend_type = 'billing launcher'}),
        dead => dead_percent($node),
        leaf => empty_leaf_percent($node),
        row => $rows ? $ledger / $rows : 0 };
}

my @columns = qw(at per_second backend worker launcher dead leaf row);

sub write_samples
{
    my ($file, @samples) = @_;
    open(my $out, '>', $file) or die "$file: $!";
    print $out "# seconds, transactions a second, kB of the largest backend, of the worker, of the launcher, "
      . "percent of dead rows, of empty leaves, bytes a ledger row\n";
    printf $out "%.0f,%.0f,%d,%d,%d,%s,%s,%.1f\n", @$_{@columns} foreach @samples;
    close $out;
    note "samples: $file";
    return;
}

sub mean { return sum0(@_) / @_; }

# The last quarter beside the one before it. Throughput is shown and not judged: what else the machine
# does is not known here.
sub level
{
    my ($column, $limit, $slack, @samples) = @_;
    my $quarter = int(@samples / 4);
    my $before = mean(map { $_->{$column} } @samples[ -2 * $quarter .. -$quarter - 1 ]);
    my $last = mean(map { $_->{$column} } @samples[ -$quarter .. -1 ]);
    cmp_ok($last, '<=', $before * $limit + $slack, sprintf('%s is level: %.1f, then %.1f', $column, $before, $last));
    return;
}

# steady(name, seconds => how long, samples => how many, rate => transactions a second, 0: as many as
# can be, grows => how much more room a ledger row may take from one quarter to the next).
# BILLING_TEST_SECONDS and BILLING_TEST_RATE take their place. The samples are kept in
# build/NAME.csv.
sub steady
{
    my ($name, %o) = @_;
    $o{seconds} = $ENV{BILLING_TEST_SECONDS} // $o{seconds};
    $o{rate} = $ENV{BILLING_TEST_RATE} // $o{rate} // 0;
    $o{naptime} = max(1, int($o{seconds} / 120));
    my $node = set_up($name, \%o);
    my $load = start_load($node, \%o);
    my ($start, @samples) = (time);
    my $before = { at => 0, commits => 0 };
    for my $n (1 .. $o{samples})
    {
        my $next = $start + $n * $o{seconds} / ($o{samples} + 1);
        sleep max(0, $next - time);
        my $sample = sample($node, $start);
        $sample->{per_second} = ($sample->{commits} - $before->{commits}) / ($sample->{at} - $before->{at});
        $before = $sample;
        push @samples, $sample;
    }
    ok($load->{handle}->finish, 'no client failed') or diag ${ $load->{err} };
    diag map { "$_\n" } grep { /^(?:number of transactions|tps|latency average)/ } split /\n/, ${ $load->{out} };
    mkdir "$ENV{BILLING_RUN}/result";
    write_samples("$ENV{BILLING_RUN}/result/$name.csv", @samples);
    judge($node, $o{grows} // 1.02, @samples);
    $node->stop;
    return;
}

sub judge
{
    my ($node, $grows, @samples) = @_;
    if (resident_is_known())
    {
        level($_, 1.05, 200, @samples) for qw(backend worker launcher);
    }
    level('dead', 1.2, 5, @samples);
    level('leaf', 1.1, 5, @samples);
    level('row', $grows, 5, @samples);
    is($node->safe_psql('postgres', 'SELECT count(*) FROM billing.verify_ledger()'), '0', 'verify_ledger() is clean');
    ok($node->poll_query_until('postgres', 'SELECT max(lag) = \'0\' FROM billing.worker_status'), 'nothing is late');
    return;
}

1;
