-- Entries and checkpoints by plain INSERT: what balances would not see is refused. And columns that the
-- library does not know.
BEGIN;

SELECT plan(34);

\set a '''9a000004-0000-4000-8000-0000000000a1'''
SELECT billing.create_account('A', :a);
SELECT billing.grant_tokens(:a, 100) AS grant \gset
SELECT billing.consume_tokens(:a, 1) FROM generate_series(1, 10);
SELECT max(entry_no) + 3 AS gap FROM billing.ledger WHERE account_id = :a \gset
INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens) VALUES (:a, :gap + 1, :'grant', 1);
SELECT billing.consume_tokens(:a, 1) FROM generate_series(1, 9);
SELECT max(entry_no) AS last FROM billing.ledger WHERE account_id = :a \gset

SELECT is(count(*), 0::bigint, 'a number is free') FROM billing.ledger WHERE account_id = :a AND entry_no = :gap;
SELECT billing.write_checkpoint(:a);
SELECT is(through_entry_no, :last::bigint, 'all of it is summed') FROM billing.checkpoint WHERE account_id = :a;

PREPARE entry(bigint, bigint) AS INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens) VALUES (:a, $1, :'grant', $2);
SELECT throws_ok(format('EXECUTE entry(%s, 80)', :gap), 'PB012', format('the ledger is closed through entry %s', :last), 'no entry below the checkpoint');
SELECT throws_ok(format('EXECUTE entry(%s, 80)', :last), 'PB012', NULL, 'nor at its end');
SELECT throws_ok('EXECUTE entry(9223372036854775807, 1)', '22003', 'entry number 9223372036854775807 is out of range', 'none after which numbers would wrap');
SELECT throws_ok('EXECUTE entry(NULL, 1)', '23502', NULL, 'none without a number');
SELECT lives_ok(format('EXECUTE entry(%s, 30)', :last + 1000), 'above, any number');
SELECT is(billing.tokens_remaining(:a), 50::bigint, 'and it counts');
SELECT is(billing.consume_tokens(:a, 1), 49::bigint, 'what comes after as well');
SELECT ok(max(entry_no) > :last + 1000, 'under a number above') FROM billing.ledger WHERE account_id = :a;

PREPARE sum(bigint, bigint, bigint) AS INSERT INTO billing.checkpoint VALUES (:a, :'grant', $1, $2, $3, now());
SELECT throws_ok(format('EXECUTE sum(%s, 0, 21)', :last + 1000), '23514', 'a checkpoint must be what the ledger adds up to', 'no checkpoint that fills a grant again');
SELECT throws_ok(format('EXECUTE sum(%s, 50, 22)', :last + 1000), '23514', NULL, 'nor one of other entries');
SELECT throws_ok('EXECUTE sum(1000000000000, 51, 22)', '23514', NULL, 'nor one that goes beyond them');
SELECT throws_ok('EXECUTE sum(NULL, 51, 22)', '23502', NULL, 'nor one without an end');
SELECT lives_ok(format('EXECUTE sum(%s, 50, 21)', :last + 1000), 'a right one');
SELECT is_empty(format('SELECT * FROM billing.verify_ledger(%L)', :a), 'verify_ledger() is silent');

-- balances start behind the newest checkpoint, whichever grant it is of
\set b '''9a000004-0000-4000-8000-0000000000b1'''
SELECT billing.create_account('B', :b);
SELECT billing.grant_tokens(:b, 10, priority => 1) AS first \gset
SELECT billing.grant_tokens(:b, 10, priority => 2) AS second \gset
SELECT billing.consume_tokens(:b, 15);
PREPARE one(uuid, bigint, bigint) AS INSERT INTO billing.checkpoint VALUES (:b, $1, $2, $3, 1, now());
SELECT throws_ok(format('EXECUTE one(%L, 2, 5)', :'second'), '23514', 'a checkpoint must not go past entries of grants that have none', 'no checkpoint past entries of another grant');
SELECT is(billing.tokens_remaining(:b), 5::bigint, 'nothing is filled again');
SELECT lives_ok(format('INSERT INTO billing.checkpoint SELECT account_id, grant_id, 2, tokens, 1, now() FROM billing.ledger WHERE account_id = %L', :b), 'of all grants in one statement, in any order');
SELECT billing.consume_tokens(:b, 3);
SELECT lives_ok(format('EXECUTE one(%L, 1, 10)', :'first'), 'one that goes less far');
SELECT lives_ok(format('INSERT INTO billing.checkpoint VALUES (%L, %L, 3, 8, 2, now())', :b, :'second'), 'one past others that have not moved since');
SELECT is(billing.tokens_remaining(:b), 2::bigint, 'all count');
SELECT is_empty(format('SELECT * FROM billing.verify_ledger(%L)', :b), 'and verify_ledger() is silent');
SAVEPOINT replica;
SELECT billing.consume_tokens(:b, 2);
SET LOCAL session_replication_role = replica;
INSERT INTO billing.checkpoint VALUES (:b, :'first', 4, 10, 1, now());
SET LOCAL session_replication_role = origin;
SELECT matches(problem, 'has entries through 4, below the account''s checkpoint', 'one that came as a replica''s is found') FROM billing.verify_ledger(:b);
ROLLBACK TO replica;

-- a restore or a replica may bring a number after which there is none
SELECT billing.consume_tokens(:b, 1, NULL, 'before');
SELECT billing.hold_tokens(:b, 1) AS hold \gset
SELECT billing.grant_tokens(:b, 100) AS third \gset
SET LOCAL session_replication_role = replica;
INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens, asked) VALUES (:b, 9223372036854775807, :'third', 1, 1);
SET LOCAL session_replication_role = origin;
SELECT throws_ok(format('SELECT billing.consume_tokens(%L, 1)', :b), '22003', 'the ledger of an account has no number for another entry', 'after the last number nothing is consumed');
SELECT throws_ok(format('SELECT billing.hold_tokens(%L, 1)', :b), '22003', NULL, 'nor held');
SELECT throws_ok(format('SELECT billing.release_hold(%L)', :'hold'), '22003', NULL, 'nor released');
SELECT throws_ok(format('SELECT billing.refund_tokens(%L, %L)', :b, 'before'), '22003', NULL, 'nor refunded');
SELECT throws_ok(format('SELECT billing.void_grant(%L)', :'third'), '22003', NULL, 'nor taken back');
SELECT is(billing.tokens_remaining(:b), 99::bigint, 'checks answer');
SELECT matches(problem, 'entry 9223372036854775807 leaves no number', 'verify_ledger() tells') FROM billing.verify_ledger(:b);
SET CONSTRAINTS ALL IMMEDIATE;
-- somebody's, or a later version's
ALTER TABLE billing.ledger ADD COLUMN note text;
SELECT is(billing.consume_tokens(:a, 2, NULL, 'key'), 47::bigint, 'an unknown column stays empty');
ALTER TABLE billing.ledger ADD COLUMN kept text NOT NULL DEFAULT 'x';
SELECT throws_ok(format('SELECT billing.consume_tokens(%L, 2)', :a), '55000', NULL, 'one that must not be is refused');
SELECT is(billing.tokens_remaining(:a), 47::bigint, 'nothing was taken');

SELECT finish();

ROLLBACK;
