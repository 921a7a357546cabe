# What `pg_restore --data-only` does, COPY by COPY in the order of a dump, into a database whose other
# accounts are being used: nobody meets an error, what is restored is known to the last token from the
# moment it is there, and no entry in memory outlives the rows it was made from.

use strict;
use warnings;

use Billing::Session;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @tables = qw(account subscription subscription_period token_grant ledger checkpoint hold hold_end);
my $dir = PostgreSQL::Test::Utils::tempdir();
append_to_file("$dir/consume.sql", <<'SQL');
\set n random(1, 10)
INSERT INTO told SELECT granted FROM live, billing.try_consume_tokens(id, 1) WHERE n = :n;
SQL

for my $preload ('billing', '')
{
    my $name = $preload ? 'preloaded' : 'plain';
    my $node = PostgreSQL::Test::Cluster->new("restore_live_$name");
    $node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
    $node->append_conf('postgresql.conf',
        "shared_preload_libraries = '$preload'\nmax_connections = 20\nbilling.worker = off\njit = off\n");
    $node->start;
    my $make = "SET client_min_messages = warning; CREATE EXTENSION billing CASCADE; "
      . "SELECT billing.create_plan('plan', 'subscription', duration => '30 days', tokens => 100)";
    $node->safe_psql('postgres', "CREATE DATABASE $_") for qw(old new);
    $node->safe_psql($_, $make) for qw(old new);

    $node->safe_psql('old', <<'SQL');
CREATE TABLE moved AS SELECT n, billing.create_account('moved ' || n) AS id FROM generate_series(1, 2000) n;
SELECT billing.subscribe(id, 'plan'), billing.grant_tokens(id, 50) FROM moved;
SELECT billing.try_consume_tokens(id, 1 + n % 120, NULL, 'key') FROM moved;
SELECT billing.hold_tokens(id, 5) FROM moved;
SELECT billing.write_checkpoint(id) FROM moved WHERE n % 2 = 0;
SELECT billing.refund_tokens(id, 'key', 1) FROM moved;
SELECT billing.release_hold(hold_id) FROM billing.hold JOIN moved ON account_id = id WHERE n % 3 = 0;
SQL
    my $balances = 'SELECT account_id, billing.tokens_remaining(account_id) FROM billing.account WHERE name LIKE \'moved %\' ORDER BY 1';
    my $wanted = $node->safe_psql('old', $balances);
    $node->safe_psql('old', "COPY billing.$_ TO '$dir/$_.$name'") for @tables;

    $node->safe_psql('new', <<'SQL');
CREATE TABLE live AS SELECT n, billing.create_account('live ' || n) AS id FROM generate_series(1, 10) n;
SELECT billing.grant_tokens(id, 60) FROM live;
CREATE TABLE told (granted boolean);
SQL
    my ($out, $err) = ('', '');
    my $clients = IPC::Run::start([ 'pgbench', '-n', '-c', 6, '-j', 2, '-t', 400, '-f', "$dir/consume.sql",
            $node->connstr('new') ], '>', \$out, '2>', \$err);
    my $restore = Billing::Session->new($node, 'new');
    my $other = Billing::Session->new($node, 'new');
    $restore->query('SET check_function_bodies = off');
    for my $table (@tables)
    {
        is($restore->query("COPY billing.$table FROM '$dir/$table.$name'"), '', "$name: COPY $table");
        # makes entries of what is there by now, where there is memory for it
        is($other->query("SELECT count(*) FILTER (WHERE granted) FROM (SELECT account_id FROM billing.account WHERE name LIKE 'moved %' "
                  . 'OFFSET 0) a, billing.try_consume_tokens(account_id, 1000) c'), '0', "$name: too much is too much after $table");
    }
    # the rest in one transaction, with somebody waiting for it
    $restore->query('BEGIN');
    $restore->query("UPDATE billing.account SET name = name WHERE name = 'moved 1'");
    $other->send("SELECT granted FROM billing.account, billing.try_consume_tokens(account_id, 1000) c WHERE name = 'live 1'");
    $node->poll_query_until('new', "SELECT cardinality(pg_blocking_pids($other->{backend})) > 0");
    $restore->query('COMMIT');
    is($other->answer, 'f', "$name: who waits goes on");
    is($other->query($balances), $wanted, "$name: every balance");
    is($other->query('SELECT count(*) FROM billing.account a, billing.tokens_remaining(account_id) t, '
              . "billing.try_consume_tokens(account_id, greatest(t, 1)) c WHERE a.name LIKE 'moved %' AND (c.granted <> (t > 0) OR c.tokens_remaining <> 0)"),
        '0', "$name: and it can be taken to the last token");
    is($other->query("SELECT count(*), bool_and(c.granted AND c.replayed) FROM billing.ledger l, billing.try_consume_tokens(account_id, asked, NULL, 'key') c "
              . "WHERE idempotency_key = 'key'"), '2000|t', "$name: keys are known");
    ok(IPC::Run::finish($clients), "$name: no consumer met an error") or diag $err;
    is($other->query("SELECT sum(tokens) FROM billing.ledger JOIN live ON account_id = id"),
        $other->query('SELECT count(*) FROM told WHERE granted'), "$name: as many tokens as the consumers were told");
    is($other->query('SELECT * FROM billing.verify_ledger()'), '', "$name: the ledger is sound");
    $_->close for $restore, $other;
    $node->stop;
}
done_testing();
