# The whole server is killed by SIGKILL at random moments while clients consume. Afterwards: what was
# acknowledged is there, nothing else is there but what was on its way, nothing is half there, balances
# agree with the ledger, and keys are known. BILLING_KILLS=… kills more often.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $kills = $ENV{BILLING_KILLS} // 10;
my $seed = $ENV{BILLING_SEED} // int(rand(1_000_000));
note "BILLING_SEED=$seed";
srand($seed);

my $clients = 6;
my $account = 'c4a50000-0000-4000-8000-0000000000a1';
my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('crash');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'billing'
restart_after_crash = off
max_prepared_transactions = 10
log_min_messages = fatal
CONF
$node->start;
$node->safe_psql('postgres', <<"SQL");
SET client_min_messages = warning;
CREATE EXTENSION billing CASCADE;
ALTER DATABASE postgres SET billing.checkpoint_entries = 20;
SELECT billing.create_account('Crash', '$account');
SELECT count(billing.grant_tokens('$account', 100000, priority => p)) FROM generate_series(1, 400) AS p;
SQL

# Each transaction consumes twice under keys that tell run, client and number: both or neither is there.
# One in three does it in a batch, in one statement.
PostgreSQL::Test::Utils::append_to_file("$dir/work.sql", <<'SQL');
\set n :n + 1
\set size random(1, 30)
\if :n % 3
BEGIN;
SELECT billing.consume_tokens(:account, :size, NULL, concat(:run, ' ', :client_id, ' ', :n, ' a'));
SELECT billing.consume_tokens(:account, :size + 1, NULL, concat(:run, ' ', :client_id, ' ', :n, ' b'));
COMMIT;
\else
SELECT count(*) FROM billing.consume_tokens_batch(ARRAY[:account, :account]::uuid[], ARRAY[:size, :size + 1], NULL, ARRAY[concat(:run, ' ', :client_id, ' ', :n, ' a'), concat(:run, ' ', :client_id, ' ', :n, ' b')]);
\endif
SQL

# A zombie is dead, though nobody may have come for it yet.
sub alive
{
    my ($pid) = @_;
    open my $fh, '<', "/proc/$pid/stat" or return 0;
    my $stat = <$fh> // '';
    return $stat =~ /^\d+ \(.*\) [^ZX]/;
}

# Kills the postmaster and everything that it started, and waits until they are gone.
sub kill_server
{
    my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
    kill 'STOP', $postmaster;
    my @processes = ($postmaster, grep { /^\d+$/ } split ' ', `ps -o pid= --ppid $postmaster`);
    kill 'KILL', @processes;
    for (1 .. 200)
    {
        last unless grep { alive($_) } @processes;
        sleep 0.05;
    }
    # the lock files of a zombie would count
    unlink $node->data_dir . '/postmaster.pid', $node->host . '/.s.PGSQL.' . $node->port . '.lock';
    $node->{_pid} = undef;
    return scalar @processes;
}

# A client's lines in the log are the transactions that were acknowledged to it, numbered from 1.
sub acknowledged
{
    my ($run) = @_;
    my %count;
    for my $file (glob "$dir/log$run.*")
    {
        /^(\d+) / && $count{$1}++ for split /\n/, slurp_file($file);
    }
    return %count;
}

my ($transactions, $lost, $torn, $strange, $in_progress) = (0, 0, 0, 0, 0);
for my $run (1 .. $kills)
{
    my $pgbench = IPC::Run::start(
        [   'pgbench', '-n', '-c', $clients, '-j', 2, '-T', 60, '-l', "--log-prefix=$dir/log$run", '-D', "account='$account'", '-D', "run=$run", '-D', 'n=0',
            '-f', "$dir/work.sql", '-h', $node->host, '-p', $node->port, 'postgres' ],
        '>', \my $out, '2>', \my $err);
    sleep 0.4 + rand(0.8);
    kill_server();
    $pgbench->finish;
    $node->start;

    my %count = acknowledged($run);
    my $values = join ', ', map { "($_, " . ($count{$_} // 0) . ')' } 0 .. $clients - 1;
    my ($missing, $half, $beyond, $began) = split /\|/, $node->safe_psql('postgres', <<"SQL");
CREATE TEMP TABLE entry AS
    SELECT entry_no, part_of, idempotency_key, tokens, asked FROM billing.ledger
    WHERE account_id = '$account' AND coalesce(idempotency_key, '$run ') LIKE '$run %';
CREATE TEMP TABLE part AS SELECT part_of, sum(tokens) AS tokens FROM entry WHERE part_of IS NOT NULL GROUP BY 1;
CREATE TEMP TABLE found AS
    SELECT split_part(idempotency_key, ' ', 2)::int AS c, split_part(idempotency_key, ' ', 3)::int AS n, count(*) AS keys,
        bool_and(e.asked = e.tokens + coalesce(p.tokens, 0)) AS whole
    FROM entry AS e LEFT JOIN part AS p ON p.part_of = e.entry_no WHERE idempotency_key IS NOT NULL GROUP BY 1, 2;
CREATE TEMP TABLE sent AS
    SELECT c, acknowledged FROM (VALUES $values) AS client(c, acknowledged);
ANALYZE found;
SELECT (SELECT count(*) FROM (SELECT c, n FROM sent, generate_series(1, acknowledged) AS n EXCEPT SELECT c, n FROM found) AS missing),
    (SELECT count(*) FROM found WHERE keys <> 2 OR NOT whole),
    (SELECT count(*) FROM found JOIN sent USING (c) WHERE n > acknowledged + 1),
    (SELECT count(*) FROM found JOIN sent USING (c) WHERE n = acknowledged + 1)
SQL
    $transactions += $_ for values %count;
    $lost += $missing;
    $torn += $half;
    $strange += $beyond;
    $in_progress += $began;
    is("$missing $half $beyond", '0 0 0', "kill $run: $values; $began committed without a word");

    my $sound = $node->safe_psql('postgres', <<"SQL");
CREATE TEMP TABLE drawn AS SELECT grant_id, sum(tokens) AS tokens FROM billing.ledger WHERE account_id = '$account' GROUP BY 1;
CREATE TEMP TABLE counted AS
    SELECT grant_id, through_entry_no, sum(l.tokens) AS tokens, count(*) AS entries
    FROM billing.checkpoint AS c JOIN billing.ledger AS l USING (account_id, grant_id)
    WHERE account_id = '$account' AND l.entry_no <= c.through_entry_no GROUP BY 1, 2;
SELECT billing.tokens_remaining('$account') = (SELECT sum(tokens) FROM billing.token_grant WHERE account_id = '$account') - (SELECT sum(tokens) FROM drawn),
    NOT EXISTS (SELECT FROM billing.token_grant AS g JOIN drawn AS d USING (grant_id) WHERE g.account_id = '$account' AND g.tokens < d.tokens),
    NOT EXISTS (SELECT FROM billing.checkpoint AS c LEFT JOIN counted AS d USING (grant_id, through_entry_no)
        WHERE c.account_id = '$account' AND (c.consumed, c.entries) IS DISTINCT FROM (d.tokens, d.entries))
SQL
    is($sound, 't|t|t', "kill $run: balance, grants and checkpoints agree with the ledger");
    my ($client) = sort { ($count{$b} // 0) <=> ($count{$a} // 0) } 0 .. $clients - 1;
    is( $node->safe_psql('postgres', "SELECT bool_and(c.replayed AND c.tokens_remaining = l.answer) FROM billing.ledger AS l, billing.try_consume_tokens(l.account_id, l.asked, NULL, l.idempotency_key) AS c WHERE l.account_id = '$account' AND l.idempotency_key = '$run $client $count{$client} b'"),
        't', "kill $run: the last acknowledged request is answered as before") if $count{$client};
}
note "$kills kills, $transactions transactions acknowledged, $lost lost, $torn torn, $strange that nobody sent, $in_progress committed but not acknowledged";
cmp_ok($transactions, '>', 20 * $kills, 'there was load');

$node->stop;
done_testing();
