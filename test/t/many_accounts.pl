# One transaction goes over 50,000 accounts, by plain DML, by functions and as a restore does: the lock
# table has no room for a lock on each. Afterwards, and meanwhile, others consume.

use strict;
use warnings;

use Billing::Session;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $accounts = 50_000;
my $dir = PostgreSQL::Test::Utils::tempdir();

# What a client was told, in the transaction that told it.
append_to_file("$dir/consume.sql", <<'SQL');
\set n random(1, 50)
INSERT INTO told SELECT granted FROM many, billing.try_consume_tokens(id, 1) WHERE n = :n;
SQL

for my $preload ('billing', '')
{
    my $name = $preload ? 'preloaded' : 'plain';
    my $node = PostgreSQL::Test::Cluster->new("many_accounts_$name");
    $node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
    $node->append_conf('postgresql.conf',
        "shared_preload_libraries = '$preload'\nmax_connections = 20\nbilling.worker = off\njit = off\n");
    $node->start;
    $node->safe_psql('postgres', <<"SQL");
SET client_min_messages = warning;
CREATE EXTENSION billing CASCADE;
CREATE TABLE many AS SELECT n, (substr(m, 1, 12) || '4' || substr(m, 14, 3) || '8' || substr(m, 18, 15))::uuid AS id
    FROM generate_series(1, $accounts) n, md5(n::text) m;
CREATE UNIQUE INDEX ON many (n);
CREATE TABLE told (granted boolean);
SQL
    my $ask = sub { return $node->safe_psql('postgres', $_[0]) };
    my $session = Billing::Session->new($node);
    my $do = sub {
        my ($what, $sql, $wanted) = @_;
        is($session->query($sql), $wanted // '', "$name: $what");
        return;
    };
    my $all_granted = sub {
        my ($what, $tokens) = @_;
        $do->($what, "SELECT count(*), count(*) FILTER (WHERE granted) FROM many, billing.try_consume_tokens(id, $tokens)",
            "$accounts|$accounts");
        return;
    };

    $do->('accounts by INSERT', "INSERT INTO billing.account (account_id, name, created_at) SELECT id, n, now() FROM many");
    $do->('grants by INSERT', 'INSERT INTO billing.token_grant (account_id, grant_id, tokens, effective_at, granted_at) '
          . 'SELECT id, gen_random_uuid(), 10, now(), now() FROM many');
    $all_granted->('consumed from', 3);
    $do->('granted by function', 'SELECT count(billing.grant_tokens(id, 5)) FROM many', $accounts);
    $all_granted->('consumed from', 11);
    $do->('entries by INSERT', 'INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens) '
          . 'SELECT id, 1000, grant_id, 1 FROM many JOIN billing.token_grant ON account_id = id AND tokens = 5');
    $do->('a batch is denied: all is used up', 'SELECT count(*) FROM billing.consume_tokens_batch('
          . "(SELECT array_agg(id) FROM many), array_fill(1::bigint, ARRAY[$accounts])) WHERE granted", 0);
    $session->query('BEGIN');
    $do->('granted again', 'SELECT count(billing.grant_tokens(id, 100)) FROM many', $accounts);
    $all_granted->('and consumed in the same transaction', 40);
    $session->query('ROLLBACK');
    is($ask->('SELECT * FROM billing.verify_ledger()'), '', "$name: the ledger is sound");
    is($ask->('SELECT sum(billing.tokens_remaining(id)) FROM many'), 0, "$name: and nothing is left");

    # While others consume: each of these takes every account, and the odd ones are rolled back.
    $ask->('SELECT billing.grant_tokens(id, 50) FROM many WHERE n <= 50');
    my $before = $ask->('SELECT sum(tokens) FROM billing.ledger');
    my ($out, $err) = ('', '');
    my $clients = IPC::Run::start([ 'pgbench', '-n', '-c', 6, '-j', 2, '-t', 300, '-f', "$dir/consume.sql",
            $node->connstr('postgres') ], '>', \$out, '2>', \$err);
    for my $round (0 .. 2)
    {
        my $grant = 'INSERT INTO billing.token_grant (account_id, grant_id, tokens, effective_at, granted_at) '
          . 'SELECT id, gen_random_uuid(), 2, now(), now() FROM many WHERE n <= 5000';
        my $entry = 'INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens, action) '
          . "SELECT account_id, ${round}000000 + 1000000, grant_id, 1, 'plain' FROM g";
        my $end = $round == 1 ? 'ROLLBACK' : 'COMMIT';
        for my $sql ('SELECT count(billing.grant_tokens(id, 1)) FROM many WHERE n <= 5000',
            "WITH g AS ($grant RETURNING *), e AS ($entry RETURNING *) SELECT count(*) FROM e")
        {
            is($session->query("BEGIN; $sql; $end"), 5000, "$name: while others consume: " . substr $sql, 0, 6);
        }
    }
    ok(IPC::Run::finish($clients), "$name: no consumer met an error") or diag $err;
    is($ask->("SELECT sum(tokens) - $before FROM billing.ledger WHERE action IS DISTINCT FROM 'plain'"),
        $ask->('SELECT count(*) FROM told WHERE granted'), "$name: as many tokens as the consumers were told");
    is($ask->('SELECT * FROM billing.verify_ledger()'), '', "$name: the ledger is sound at the end");
    $do->('what is left can be taken', 'SELECT count(*) FROM (SELECT id FROM many WHERE n <= 5000 OFFSET 0) m, billing.tokens_remaining(id) t, '
          . 'billing.try_consume_tokens(id, greatest(t, 1)) c WHERE c.granted <> (t > 0) OR c.tokens_remaining <> 0', 0);
    $session->close;
    $node->stop;
}
done_testing();
