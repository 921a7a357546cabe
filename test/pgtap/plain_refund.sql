-- A refund by plain INSERT, which says neither what was asked for nor what was answered.
BEGIN;

SELECT plan(5);

\set a '''9a000008-0000-4000-8000-0000000000a1'''
SELECT billing.create_account('A', :a);
SELECT billing.grant_tokens(:a, 100) AS grant \gset
SELECT billing.consume_tokens(:a, 30, NULL, 'key');
SELECT entry_no AS entry FROM billing.ledger WHERE account_id = :a AND idempotency_key = 'key' \gset

INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens, kind, refund_of) VALUES (:a, :entry + 1, :'grant', -20, 'refund', :entry);
SET CONSTRAINTS ALL IMMEDIATE;
SELECT is(billing.tokens_remaining(:a), 90::bigint, 'it counts');
SELECT is(billing.refund_tokens(:a, 'key', 20), 0::bigint, 'the same again is a replay; no answer is known');
SELECT throws_ok(format('SELECT billing.refund_tokens(%L, %L)', :a, 'key'), 'PB008', NULL, 'another amount is a conflict');
SELECT is(billing.tokens_remaining(:a), 90::bigint, 'nothing returns twice');
SELECT is_empty(format('SELECT * FROM billing.verify_ledger(%L)', :a), 'verify_ledger() is silent');

SELECT finish();

ROLLBACK;
