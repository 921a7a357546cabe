# Databases and the extension may be dropped, renamed, copied and created while workers run,
# without waiting and without a line in the log.

use strict;
use warnings;

use Billing::Worker;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = worker_cluster('databases', "billing.worker_naptime = 1s\n");
my $longest = 0;

# How long a process of ours was in a statement's way: connected to a database that it wants for
# itself, or holding a lock that it waits for, from the first time that is seen to the last. What else
# the statement has to do, or the machine, does not count.
$node->safe_psql('postgres', q{
    CREATE TABLE in_the_way (pid integer, query_start timestamptz, query text, since timestamptz, until timestamptz,
        PRIMARY KEY (pid, query_start));
    CREATE TABLE watching ();
    CREATE PROCEDURE watch() LANGUAGE plpgsql AS $$
    BEGIN
        WHILE to_regclass('watching') IS NOT NULL LOOP
            PERFORM pg_stat_clear_snapshot();
            INSERT INTO in_the_way
            SELECT DISTINCT ON (d.pid) d.pid, d.query_start, d.query, clock_timestamp(), clock_timestamp()
              FROM pg_stat_activity d JOIN pg_stat_activity w ON w.backend_type LIKE 'billing %'
             WHERE d.state = 'active' AND d.backend_type = 'client backend' AND d.pid <> pg_backend_pid()
               AND (d.query ~ ('^(CREATE|ALTER|DROP) DATABASE .*\m' || w.datname || '\M')
                    OR w.pid = ANY (pg_blocking_pids(d.pid)))
            ON CONFLICT (pid, query_start) DO UPDATE SET until = excluded.until;
            COMMIT;
            PERFORM pg_sleep(0.005);
        END LOOP;
    END $$;});
my $watcher = $node->background_psql('postgres', on_error_stop => 1);
$watcher->{stdin} .= "CALL watch();\n";
$watcher->{run}->pump_nb;

# Runs a statement that wants a database for itself.
sub timed
{
    my ($sql) = @_;
    my $start = time;
    $node->safe_psql('postgres', $sql);
    my $took = time - $start;
    $longest = $took if $took > $longest;
    return;
}

# Rows that keep falling due for some seconds.
sub fill
{
    my ($database) = @_;
    worker_setup($node, $database);
    more($database);
    return;
}

sub more
{
    my ($database) = @_;
    $node->safe_psql($database, q{
        SELECT count(billing.subscribe(billing.create_account('x'), 'pro',
            effective_at => now() - interval '1 day',
            expires_at => clock_timestamp() + g * interval '20 ms')) FROM generate_series(1, 500) g});
    return;
}

$node->safe_psql('postgres', 'CREATE DATABASE source');
fill('source');
for my $round (1 .. 12)
{
    # A copy is busy at once; source itself is when it has been filled anew.
    timed('CREATE DATABASE copy TEMPLATE source');
    select undef, undef, undef, 0.02 * $round;
    timed('ALTER DATABASE copy RENAME TO renamed');
    select undef, undef, undef, 0.3 - 0.02 * $round;
    timed('DROP DATABASE renamed');
    more('source') if $round % 4 == 0;
}
note(sprintf 'longest wait: %.3f s', $longest);

$longest = 0;
$node->safe_psql('postgres', 'CREATE DATABASE again');
for my $round (1 .. 10)
{
    fill('again');
    select undef, undef, undef, 0.05 * $round;
    my $start = time;
    $node->safe_psql('again', 'SET client_min_messages = warning; DROP EXTENSION billing CASCADE; '
          . 'DROP SCHEMA IF EXISTS billing');
    my $took = time - $start;
    $longest = $took if $took > $longest;
}
note(sprintf 'longest DROP EXTENSION: %.3f s', $longest);

my $in_the_way = $node->safe_psql('postgres', 'SELECT count(*), coalesce(max(extract(epoch FROM until - since)), 0) FROM in_the_way');
my ($times, $seconds) = split /\|/, $in_the_way;
note("a process of ours was seen in the way of $times statements, for $seconds s at most");
cmp_ok($times, '>', 0, 'workers were in the way of some statements');
cmp_ok($seconds, '<', 2, 'of none for two seconds');
$node->safe_psql('postgres', 'DROP TABLE watching');
$watcher->quit;

# Dropped, and taken back.
fill('again');
$node->safe_psql('again', 'BEGIN; DROP EXTENSION billing CASCADE; SELECT pg_sleep(0.5); ROLLBACK');
$node->safe_psql('again', subscribe_for('after', '100 ms'));
happened($node, 'again', 'after', 1, 'a DROP EXTENSION that is rolled back changes nothing');

is(unexplained($node), '', 'nothing in the log that one would have to explain');

# Those who close the door are respected.
$node->safe_psql('postgres', 'CREATE DATABASE closed');
worker_setup($node, 'closed');
$node->safe_psql('closed', subscribe_for('closed', '1 s'));
$node->safe_psql('postgres', 'ALTER DATABASE closed ALLOW_CONNECTIONS false');
select undef, undef, undef, 2.5;
is(unexplained($node), '', 'no line about a database that allows no connections');
$node->safe_psql('postgres', 'ALTER DATABASE closed ALLOW_CONNECTIONS true');
happened($node, 'closed', 'closed', 1, 'it is served when it allows them again');

# A copy of a database with something due is found without anybody telling.
$node->safe_psql('postgres', 'ALTER SYSTEM SET billing.worker = off');
$node->reload;
$node->safe_psql('postgres', 'CREATE DATABASE origin');
worker_setup($node, 'origin');
$node->safe_psql('origin', subscribe_for('copied', '10 ms'));
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE origin');
$node->safe_psql('postgres', 'DROP DATABASE origin; ALTER SYSTEM RESET billing.worker');
$node->reload;
happened($node, 'copy', 'copied', 1, 'a copied database is found');

# Many databases, some with the extension, and too few processes.
$node->safe_psql('postgres', "CREATE DATABASE many$_") for 1 .. 30;
worker_setup($node, "many$_") for 1 .. 10;
$node->safe_psql("many$_", subscribe_for('many', '500 ms')) for 1 .. 10;
happened($node, "many$_", 'many', 1, "served: many$_") for 1 .. 10;

$node->safe_psql('postgres', 'ALTER SYSTEM SET max_worker_processes = 2');
# What was said before does not count: a busy machine is late to give back the places of workers that
# have ended. The launchers of logical replication and of billing take both.
$node->stop;
my $before = -s $node->logfile;
$node->start;
$node->safe_psql("many$_", subscribe_for('scarce', '100 ms')) for 1 .. 3;
ok($node->wait_for_log(qr/billing could not start a background worker/, $before),
    'max_worker_processes exhausted: said');
select undef, undef, undef, 4;
my @said = slurp_file($node->logfile, $before) =~ /billing could not start a background worker/g;
is(scalar @said, 1, 'once');
$node->safe_psql('postgres', 'ALTER SYSTEM SET max_worker_processes = 8');
$node->restart;
happened($node, "many$_", 'scarce', 1, "served late: many$_") for 1 .. 3;

$node->stop;
done_testing();
