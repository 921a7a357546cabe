-- verify_ledger() finds what somebody changed, below a checkpoint or of the money, who could: the superuser, with the
-- triggers disabled. Until then the triggers refuse it, in a replica's session too.
BEGIN;

SELECT plan(33);

\set a '''9a000003-0000-4000-8000-0000000000a1'''
\set b '''9a000003-0000-4000-8000-0000000000b2'''
SELECT billing.create_account(n, id) FROM (VALUES ('A', :a::uuid), ('B', :b)) v (n, id);
SELECT billing.grant_tokens(id, 100) FROM (VALUES (:a::uuid), (:b)) v (id);
SELECT billing.consume_tokens(id, t) FROM (VALUES (:a::uuid), (:b)) v (id), generate_series(1, 5) t;
-- a number that was never used, as a rolled-back entry leaves behind
SELECT billing.consume_tokens(:a, 50);
SELECT billing.consume_tokens(:a, 7, NULL, 'key');
ALTER TABLE billing.ledger DISABLE TRIGGER USER;
DELETE FROM billing.ledger WHERE account_id = :a AND entry_no = 6;
ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER immutable;
SELECT billing.refund_tokens(:a, 'key', 2);
SELECT billing.hold_tokens(:a, 9) AS hold \gset
SELECT billing.capture_hold(:'hold', 4);
SELECT is(billing.write_checkpoint(:a) > 0 AND billing.write_checkpoint(:b) > 0, true, 'both have a checkpoint');
SELECT billing.consume_tokens(:a, 1);
SELECT is_empty(format('SELECT * FROM billing.verify_ledger(%L)', id), 'sound') FROM (VALUES (:a::uuid), (:b)) v (id);

SET session_replication_role = replica;
SELECT throws_ok(format('UPDATE billing.ledger SET tokens = tokens - 1 WHERE account_id = %L', :a), 'PB012', NULL, 'no change');
SELECT throws_ok(format('DELETE FROM billing.ledger WHERE account_id = %L', :a), 'PB012', NULL, 'no deletion');
SELECT throws_ok(format('UPDATE billing.checkpoint SET consumed = 0 WHERE account_id = %L', :a), 'PB012', NULL, 'no change of a checkpoint');
SET session_replication_role = origin;

ALTER TABLE billing.ledger DISABLE TRIGGER USER;
ALTER TABLE billing.checkpoint DISABLE TRIGGER USER;

-- what somebody does, what verify_ledger says then; undone each time
CREATE FUNCTION pg_temp.found(what text, problem text, sql text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    problems text;
    others bigint;
BEGIN
    BEGIN
        EXECUTE sql;
        SELECT string_agg(v.problem, E'\n'), count(*) FILTER (WHERE account_id <> '9a000003-0000-4000-8000-0000000000a1')
            INTO problems, others FROM billing.verify_ledger() v;
        RAISE 'undo' USING ERRCODE = 'ZZ001';
    EXCEPTION WHEN SQLSTATE 'ZZ001' THEN NULL;
    END;
    RETURN NEXT matches(problems, problem, what);
    RETURN NEXT is(others, 0::bigint, what || ': of this account only');
END $$;
SELECT pg_temp.found('a changed entry', 'checkpoint of grant .* through entry \d+ says 24 tokens in 9 entries; the ledger has 25 in 9',
    format('UPDATE billing.ledger SET tokens = tokens + 1 WHERE account_id = %L AND entry_no = 2', :a));
SELECT pg_temp.found('a changed entry with what was asked', 'says 24 tokens in 9 entries; the ledger has 23 in 9',
    format('UPDATE billing.ledger SET tokens = tokens - 1, asked = asked - 1 WHERE account_id = %L AND entry_no = 2', :a));
SELECT pg_temp.found('a deleted entry', 'says 24 tokens in 9 entries; the ledger has 22 in 8',
    format('DELETE FROM billing.ledger WHERE account_id = %L AND entry_no = 2', :a));
SELECT pg_temp.found('two changed entries that make up for each other: moved to another grant', 'grant .* of entry \d+ does not exist',
    format('ALTER TABLE billing.ledger DROP CONSTRAINT ledger_account_id_grant_id_fkey; UPDATE billing.ledger SET grant_id = gen_random_uuid() WHERE account_id = %L AND entry_no = 2', :a));
SELECT pg_temp.found('an inserted entry', 'says 24 tokens in 9 entries; the ledger has 27 in 10',
    format('INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens, asked) SELECT account_id, 6, grant_id, 3, 3 FROM billing.token_grant WHERE account_id = %L', :a));
SELECT pg_temp.found('a checkpoint that says too much', 'says 25 tokens in 9 entries; the ledger has 24 in 9',
    format('UPDATE billing.checkpoint SET consumed = consumed + 1 WHERE account_id = %L', :a));
SELECT pg_temp.found('a checkpoint of other entries', 'says 24 tokens in 8 entries; the ledger has 24 in 9',
    format('UPDATE billing.checkpoint SET entries = entries - 1 WHERE account_id = %L', :a));
SELECT pg_temp.found('a checkpoint too many', 'says 3 tokens in 1 entries; the ledger has',
    format('INSERT INTO billing.checkpoint SELECT account_id, grant_id, 2, 3, 1, now() FROM billing.token_grant WHERE account_id = %L', :a));

-- the money, and the periods it paid for
SELECT billing.create_plan('month', 'subscription', price => '30 USD', duration => '1 month');
SELECT billing.create_plan('none', 'subscription', price => '0 USD', duration => '1 month');
SELECT count(billing.record_payment(billing.order_plan(:a, 'month'), 'psp', ref, amount::billing.amount)) FROM (VALUES ('1', '30 USD'), ('2', '29 USD'), ('3', '1 EUR'), ('4', '30 USD')) v (ref, amount);
SELECT billing.record_refund(payment_id, 'psp', provider_ref, billing.amount(1, billing.currency(amount))) FROM billing.payment WHERE account_id = :a;
SELECT count(billing.record_payment(order_id, 'psp', '5', '30 USD')) FROM billing.plan_order WHERE account_id = :a AND status = 'paid' LIMIT 1;
SELECT billing.order_plan(:a, 'none'), billing.subscribe(:b, 'month');
SELECT is_empty('SELECT * FROM billing.verify_ledger()', 'sound with money');
ALTER TABLE billing.subscription_period DISABLE TRIGGER USER;
ALTER TABLE billing.payment DISABLE TRIGGER USER;
SELECT pg_temp.found('a period that was paid more', 'payments of \d+ USD in minor units, of which \d+ are somewhere',
    format($$UPDATE billing.subscription_period SET paid = '1000 USD' WHERE account_id = %L AND plan = 'month' AND period_no = 1$$, :a));
SELECT pg_temp.found('a deleted period', 'payments of \d+ USD in minor units', format($$DELETE FROM billing.subscription_period WHERE account_id = %L AND plan = 'month' AND period_no = 2$$, :a));
SELECT pg_temp.found('a deleted period that cost nothing', 'order .* is paid, but its period does not exist', format($$DELETE FROM billing.subscription_period WHERE account_id = %L AND plan = 'none'$$, :a));
SELECT pg_temp.found('a subscription without one', 'subscription .* has no period', format($$UPDATE billing.subscription_period SET void = true WHERE account_id = %L AND plan = 'none'$$, :a));
SELECT pg_temp.found('a payment of another amount', 'payments of 200 EUR in minor units, of which 100 are somewhere',
    format($$UPDATE billing.payment SET amount = '2 EUR', reason = 'order_closed' WHERE account_id = %L AND billing.currency(amount) = 'EUR'$$, :a));

SELECT finish();
ROLLBACK;
