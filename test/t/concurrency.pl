# 32 clients on one account: never more is granted than there is, and every denial is proved right by
# the ledger, read after it with nobody else in progress. With the library preloaded and without.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 32;
my $dir = PostgreSQL::Test::Utils::tempdir();

sub script
{
    my ($name, $sql) = @_;
    PostgreSQL::Test::Utils::append_to_file("$dir/$name", $sql);
    return "$dir/$name";
}

# Requests share an advisory lock for as long as they are in progress; who was denied takes it alone.
# One in eight is rolled back.
my $consume = script('consume.sql', <<'SQL');
\set size random(0, 1) * 6 + 1
\set undo random(1, 8)
BEGIN;
SELECT pg_advisory_xact_lock_shared(1);
SELECT granted::int AS granted, tokens_remaining AS answer, quote_literal(reason) AS reason FROM billing.try_consume_tokens(:account, :size) \gset
\if :granted
\if :undo = 1
ROLLBACK;
\else
INSERT INTO answer (account_id, size, granted, answer) VALUES (:account, :size, true, :answer);
COMMIT;
\endif
\else
COMMIT;
BEGIN;
SELECT pg_advisory_xact_lock(1);
INSERT INTO answer (account_id, size, granted, answer, reason, proof) SELECT :account, :size, false, :answer, :reason, 1000 - sum(tokens) FROM billing.ledger WHERE account_id = :account;
COMMIT;
\endif
SQL

# The same in batches of three, each item one answer.
my $batch = script('batch.sql', <<'SQL');
BEGIN;
SELECT pg_advisory_xact_lock_shared(1);
INSERT INTO answer (account_id, size, granted, answer) SELECT :account, CASE ordinal WHEN 2 THEN 7 ELSE 1 END, granted, tokens_remaining
    FROM billing.consume_tokens_batch(ARRAY[:account, :account, :account]::uuid[], '{1,7,1}') WHERE granted;
COMMIT;
SQL

# One key, sent by everybody.
my $key = script('key.sql', <<'SQL');
INSERT INTO answer (account_id, size, granted, answer, reason) SELECT :account, 7, granted, tokens_remaining, replayed::text FROM billing.try_consume_tokens(:account, 7, NULL, 'the key');
SQL

sub run
{
    my ($node, $account, $transactions, @scripts) = @_;
    # pgbench quotes nothing: the literal is part of the variable
    my $result = PostgreSQL::Test::Utils::system_log(
        'pgbench', '-n', '-c', $clients, '-j', 2, '-t', $transactions, '-D', "account='$account'",
        (map { ('-f', $_) } @scripts), '-h', $node->host, '-p', $node->port, 'postgres');
    is($result, 0, "$clients clients ran to their end");
    return;
}

for my $preload ('', 'billing')
{
    my $name = $preload ? 'preloaded' : 'plain';
    my $node = PostgreSQL::Test::Cluster->new("concurrency_$name");
    $node->init;
    $node->append_conf('postgresql.conf', "shared_preload_libraries = '$preload'\nmax_connections = 50\n");
    $node->start;
    $node->safe_psql('postgres', <<'SQL');
SET client_min_messages = warning;
CREATE EXTENSION billing CASCADE;
CREATE TABLE answer (account_id uuid, size bigint, granted boolean, answer bigint, reason text, proof bigint);
SELECT billing.create_account('One', 'c0000000-0000-4000-8000-0000000000a1'), billing.create_account('Two', 'c0000000-0000-4000-8000-0000000000b2'), billing.create_account('Three', 'c0000000-0000-4000-8000-0000000000c3');
SELECT billing.grant_tokens('c0000000-0000-4000-8000-0000000000a1', 300), billing.grant_tokens('c0000000-0000-4000-8000-0000000000a1', 700, priority => 1),
    billing.grant_tokens('c0000000-0000-4000-8000-0000000000b2', 1000), billing.grant_tokens('c0000000-0000-4000-8000-0000000000c3', 1000);
SQL
    my $ask = sub { my ($sql) = @_; return $node->safe_psql('postgres', $sql) };
    my $check = sub {
        my ($account, $what) = @_;
        is($ask->("SELECT sum(tokens) FROM billing.ledger WHERE account_id = '$account'"),
            '1000', "$name, $what: all tokens granted, not one more");
        is($ask->("SELECT sum(size) FROM answer WHERE account_id = '$account' AND granted"),
            '1000', "$name, $what: as many as the clients were told");
        is($ask->("SELECT billing.tokens_remaining('$account')"), '0', "$name, $what: none remains");
        return;
    };

    my $one = 'c0000000-0000-4000-8000-0000000000a1';
    run($node, $one, 15, $consume);
    $check->($one, 'one by one');
    is($ask->(q{SELECT count(*) FROM answer WHERE NOT granted AND (reason <> 'tokens_exhausted' OR answer >= size)}),
        '0', "$name: denials say that too few are left");
    is($ask->(q{SELECT string_agg(DISTINCT size::text, ' ') FROM answer WHERE NOT granted}),
        '1 7', "$name: both sizes were denied");
    is($ask->(q{SELECT count(*) FROM answer WHERE NOT granted AND proof >= size}),
        '0', "$name: every denial is proved right (" . $ask->('SELECT count(*) FROM answer WHERE NOT granted') . ' of them)');
    is($ask->("SELECT count(DISTINCT grant_id) FROM billing.ledger WHERE account_id = '$one'"), '2', "$name: from both grants");

    my $two = 'c0000000-0000-4000-8000-0000000000b2';
    run($node, $two, 20, $batch, $consume);
    $check->($two, 'single ones and batches');

    my $three = 'c0000000-0000-4000-8000-0000000000c3';
    run($node, $three, 3, $key);
    is($ask->("SELECT billing.tokens_remaining('$three')"), '993', "$name: one key, one effect");
    is( $ask->("SELECT count(*) FILTER (WHERE reason = 'false'), count(*), min(answer), max(answer) FROM answer WHERE account_id = '$three'"),
        '1|96|993|993', "$name: and as many equal answers as requests");
    $node->stop;
}

done_testing();
