-- Tokens: what is drawn on in which order, scopes, keys, denials, batches, checkpoints.
SET search_path = billing, public;
\set VERBOSITY sqlstate
\pset null (null)
\set a '''9a000005-0000-4000-8000-0000000000a1'''
\set b '''9a000005-0000-4000-8000-0000000000b2'''
\set c '''9a000005-0000-4000-8000-0000000000c3'''
\set d '''9a000005-0000-4000-8000-0000000000d4'''
\set e '''9a000005-0000-4000-8000-0000000000e5'''
\set nobody '''9a000005-0000-4000-8000-00000000ffff'''

SELECT create_app('tk-docs', 'Docs'), create_app('tk-mail', 'Mail');
SELECT create_plan('tk-pack', 'token', tokens => 100, duration => '10 days');
SELECT create_plan('tk-month', 'subscription', duration => '30 days', tokens => 100);
SELECT create_plan('tk-mail', 'token', tokens => 100, app => 'tk-mail');
SELECT count(create_account('Tokens', id)) FROM unnest(ARRAY[:a, :b, :c, :d, :e]::uuid[]) AS id;
SELECT count(set_test_clock(id, '2040-01-01')) FROM unnest(ARRAY[:a, :b, :c, :d, :e]::uuid[]) AS id;

CREATE VIEW pg_temp.movement AS
SELECT l.account_id, row_number() OVER (PARTITION BY l.account_id ORDER BY l.entry_no) AS n, g.reason AS "from", l.tokens, l.kind, l.app, l.action, l.idempotency_key AS key, l.asked, l.answer, l.part_of, l.occurred_at
FROM ledger AS l JOIN token_grant AS g USING (account_id, grant_id);
CREATE FUNCTION pg_temp.left_of(account uuid) RETURNS TABLE (reason text, "left" bigint) LANGUAGE sql STABLE AS $$
    SELECT g.reason, (g.tokens - coalesce(sum(l.tokens), 0))::bigint
    FROM billing.token_grant AS g LEFT JOIN billing.ledger AS l USING (account_id, grant_id)
    WHERE g.account_id = account GROUP BY g.account_id, g.grant_id ORDER BY g.reason
$$;

-- The order: priority, then expires_at with NULL last, then granted_at, then grant_id. Each grant
-- differs from the one before it in one respect; they are made out of order.
SELECT count(grant_tokens(:a, 10, reason => '7 as 6, later made', priority => 5, expires_at => '2041-01-01')) FROM (SELECT set_test_clock(:a, '2040-01-02')) AS s;
SELECT count(grant_tokens(:a, 10, reason => '9 no end, lower priority', priority => 6));
SELECT count(grant_tokens(:a, 10, reason => '8 no end', priority => 5));
SELECT count(grant_tokens(:a, 10, reason => '5 ends first', priority => 5, expires_at => '2040-06-01'));
SELECT count(grant_tokens(:a, 10, reason => '1 first priority, no end', priority => -9223372036854775808));
SELECT count(grant_tokens(:a, 10, reason => '10 last priority, ends first', priority => 9223372036854775807, expires_at => '2040-02-01'));
-- What two grants of the same instant differ in is their id alone; and one that was granted before the others.
INSERT INTO token_grant (account_id, grant_id, tokens, priority, effective_at, expires_at, granted_at, reason) VALUES
    (:a, '9a000005-0000-7000-8000-0000000003a1', 10, 1, '2040-01-01', 'infinity', '2040-01-01', '4 greater id'),
    (:a, '9a000005-0000-7000-8000-0000000002a1', 10, 1, '2040-01-01', 'infinity', '2040-01-01', '3 id'),
    (:a, '9a000005-0000-7000-8000-0000000004a1', 10, 1, '2039-12-31', 'infinity', '2039-12-31', '2 granted before'),
    (:a, '9a000005-0000-7000-8000-0000000005a1', 10, 5, '2040-01-01', '2041-01-01', '2040-01-01', '6 granted before');
SELECT tokens_remaining(:a);
SELECT consume_tokens(:a, 1), consume_tokens(:a, 14), consume_tokens(:a, 1), consume_tokens(:a, 1), consume_tokens(:a, 83);
SELECT n, "from", tokens, asked, part_of IS NULL AS first FROM pg_temp.movement WHERE account_id = :a ORDER BY n;
-- Expired, voided, not yet effective, exhausted ones are passed over.
SELECT count(grant_tokens(:b, 10, reason => 'a ends', priority => 1, expires_at => '2040-01-02')), count(grant_tokens(:b, 10, reason => 'b voided', priority => 2)), count(grant_tokens(:b, 10, reason => 'd good', priority => 9));
UPDATE token_grant SET voided_at = '2040-01-01' WHERE account_id = :b AND reason = 'b voided';
INSERT INTO token_grant (account_id, grant_id, tokens, priority, effective_at, granted_at, reason) VALUES
    (:b, '9a000005-0000-7000-8000-0000000001b2', 10, 3, '2040-01-02 00:00:00.000001', '2040-01-01', 'c begins');
SELECT tokens_remaining(:b);
SELECT set_test_clock(:b, '2040-01-01 23:59:59.999999+00');
SELECT consume_tokens(:b, 1);
SELECT set_test_clock(:b, '2040-01-02');
SELECT consume_tokens(:b, 1);
SELECT set_test_clock(:b, '2040-01-02 00:00:00.000001');
SELECT consume_tokens(:b, 12);
SELECT * FROM pg_temp.left_of(:b);

-- Scopes: with an app, its grants and those of no app, in one order; without, those of no app only.
SELECT count(grant_tokens(:c, 10, reason => 'docs', app => 'tk-docs', priority => 2)), count(grant_tokens(:c, 10, reason => 'none', priority => 1)), count(grant_tokens(:c, 10, reason => 'mail', app => 'tk-mail', priority => 0));
SELECT tokens_remaining(:c), tokens_remaining(:c, 'tk-docs'), tokens_remaining(:c, 'tk-mail');
SELECT consume_tokens(:c, 12, 'tk-docs');
SELECT * FROM pg_temp.left_of(:c);
SELECT consume_tokens(:c, 1);
\set VERBOSITY default
SELECT consume_tokens(:c, 1);
\set VERBOSITY sqlstate
SELECT consume_tokens(:c, 9, 'tk-docs');
SELECT consume_tokens(:c, 8, 'tk-docs');
SELECT consume_tokens(:c, 10, 'tk-mail');
SELECT * FROM pg_temp.left_of(:c);
SELECT tokens_remaining(:c), tokens_remaining(:c, 'tk-docs'), tokens_remaining(:nobody), tokens_remaining(NULL), tokens_remaining(NULL, 'tk-docs');

-- Grants of plans: a token plan's are usable at once, a subscription plan's from their period's
-- start; both end with their period, whatever is renewed.
SELECT count(subscribe(:d, 'tk-pack')), count(subscribe(:d, 'tk-month'));
SELECT tokens_remaining(:d);
SELECT count(subscribe(:d, 'tk-pack')), count(subscribe(:d, 'tk-month')), count(subscribe(:d, 'tk-mail', effective_at => '2040-02-01'));
SELECT tokens_remaining(:d), tokens_remaining(:d, 'tk-mail'), plan_is_active(:d, plan => 'tk-mail');
SELECT plan, g.reason, g.app, g.tokens, g.effective_at, g.expires_at, g.granted_at FROM token_grant AS g JOIN subscription USING (account_id, subscription_id)
WHERE g.account_id = :d ORDER BY plan, g.expires_at;
SELECT set_test_clock(:d, '2040-01-10 23:59:59.999999Z');
SELECT tokens_remaining(:d);
SELECT set_test_clock(:d, '2040-01-11');
SELECT tokens_remaining(:d);
SELECT set_test_clock(:d, '2040-01-31');
SELECT tokens_remaining(:d);
SELECT set_test_clock(:d, '2040-03-01');
SELECT tokens_remaining(:d), tokens_remaining(:d, 'tk-mail');
-- A grant given to a subscription ends with it, unless its own end is given.
SELECT subscribe(:e, 'tk-pack', tokens => 7) AS pack \gset
SELECT count(grant_tokens(:e, 10, subscription_id => :'pack', reason => 'given')), count(grant_tokens(:e, 10, subscription_id => :'pack', reason => 'given with an end', expires_at => '2040-01-05')),
    count(grant_tokens(:e, 10, subscription_id => :'pack', reason => 'given with key', idempotency_key => 'g')), count(grant_tokens(:e, 10, subscription_id => :'pack', reason => 'given with key', idempotency_key => 'g'));
SELECT grant_tokens(:e, 10, subscription_id => :'pack', reason => 'given with key', idempotency_key => 'g', expires_at => '2040-01-06');
SELECT grant_tokens(:a, 10, subscription_id => :'pack');
SELECT grant_tokens(:e, 10, subscription_id => :nobody);
SELECT reason, tokens, expires_at FROM token_grant WHERE account_id = :e ORDER BY reason, grant_id;
SELECT set_test_clock(:e, '2040-01-11');
SELECT tokens_remaining(:e);
SELECT grant_tokens(:e, 10, subscription_id => :'pack');

-- Keys: the stored first answer, whatever became of the account since; another payload is an error.
SELECT grant_tokens(:b, 100, reason => 'e keys', priority => 200) AS gb \gset
SELECT * FROM try_consume_tokens(:b, 30, 'tk-docs', 'key 1', 'render');
SELECT * FROM try_consume_tokens(:b, 5);
SELECT * FROM try_consume_tokens(:b, 30, 'tk-docs', 'key 1', 'render');
SELECT consume_tokens(:b, 30, 'tk-docs', 'key 1', 'render');
SELECT consume_tokens(:b, 31, 'tk-docs', 'key 1', 'render');
SELECT consume_tokens(:b, 30, 'tk-mail', 'key 1', 'render');
SELECT consume_tokens(:b, 30, NULL, 'key 1', 'render');
SELECT consume_tokens(:b, 30, 'tk-docs', 'key 1', 'print');
SELECT consume_tokens(:b, 30, 'tk-docs', 'key 1');
SELECT consume_tokens(:b, 30, 'tk-docs', 'key 1', 'render', '9a000005-0000-7000-8000-0000000009b2');
SELECT * FROM try_consume_tokens(:b, 31, 'tk-docs', 'key 1', 'render');
SELECT * FROM consume_tokens_batch(ARRAY[:b]::uuid[], '{31}', '{tk-docs}', '{key 1}', '{render}');
SELECT tokens_remaining(:b), count(*) FROM ledger WHERE account_id = :b;
-- one namespace per account, for a single consumption and a batch alike; another one for grants
SELECT * FROM consume_tokens_batch(ARRAY[:b]::uuid[], '{30}', '{tk-docs}', '{key 1}', '{render}');
SELECT * FROM consume_tokens_batch(ARRAY[:b, :b, :b]::uuid[], '{2,2,2}', NULL, '{key 2,key 2,key 3}');
SELECT * FROM try_consume_tokens(:b, 2, NULL, 'key 3');
SELECT * FROM try_consume_tokens(:c, 8, 'tk-docs', 'key 1');
SELECT grant_tokens(:b, 1, idempotency_key => 'key 1', reason => 'f key') AS g1 \gset
SELECT grant_tokens(:b, 1, idempotency_key => 'key 1', reason => 'f key') = :'g1' AS same;
SELECT grant_tokens(:b, 2, idempotency_key => 'key 1', reason => 'f key');
SELECT grant_tokens(:b, 1, idempotency_key => 'key 1', reason => 'f key', priority => 1);
SELECT grant_tokens(:b, 1, idempotency_key => 'key 1', reason => 'f key', app => 'tk-docs');
SELECT grant_tokens(:b, 1, idempotency_key => 'key 1', reason => 'f key', expires_at => '2050-01-01');
SELECT grant_tokens(:b, 1, idempotency_key => 'key 1');
-- a spanning consumption is one request
SELECT * FROM try_consume_tokens(:b, 62, NULL, 'key 4');
SELECT * FROM try_consume_tokens(:b, 62, NULL, 'key 4');
SELECT "from", tokens, key, asked, answer, part_of IS NULL AS first FROM pg_temp.movement WHERE account_id = :b AND n >= (SELECT n FROM pg_temp.movement WHERE account_id = :b AND key = 'key 4') ORDER BY n;
SELECT tokens_remaining(:b);
-- denials claim no key, errors neither
SELECT * FROM try_consume_tokens(:b, 8, NULL, 'key 5');
SELECT consume_tokens(:b, 8, NULL, 'key 5');
SELECT consume_tokens(:b, 1, 'tk-nosuch', 'key 5');
SELECT count(grant_tokens(:b, 50));
SELECT * FROM try_consume_tokens(:b, 2, 'tk-docs', 'key 5');
-- after suspension the stored answer, and nothing else
SELECT suspend_account(:b, 'test');
SELECT * FROM try_consume_tokens(:b, 2, 'tk-docs', 'key 5');
SELECT consume_tokens(:b, 30, 'tk-docs', 'key 1', 'render');
SELECT consume_tokens(:b, 3, 'tk-docs', 'key 5');
SELECT granted, reason FROM try_consume_tokens(:b, 2, 'tk-docs', 'key 6');
SELECT consume_tokens(:b, 2, 'tk-docs', 'key 6');
SELECT grant_tokens(:b, 2);
SELECT grant_tokens(:b, 1, idempotency_key => 'key 1', reason => 'f key') = :'g1' AS same;
SELECT reinstate_account(:b);
SELECT * FROM try_consume_tokens(:b, 2, 'tk-docs', 'key 6');
-- keys differ by case and blanks, and are long
SELECT count(*), bool_or(replayed) FROM consume_tokens_batch(ARRAY[:b, :b, :b, :b]::uuid[], '{1,1,1,1}', NULL, ARRAY['k', 'K', ' k', repeat('k', 255)]);
SELECT consume_tokens(:b, 1, NULL, repeat('ä', 128));
SELECT consume_tokens(:b, 1, NULL, '');

-- What a denial is called
SELECT * FROM try_consume_tokens(:nobody, 1);
SELECT consume_tokens(:nobody, 1);
SELECT create_account('Denied', '9a000005-0000-4000-8000-0000000001f6') AS f \gset
SELECT set_test_clock(:'f', '2040-01-01');
SELECT * FROM try_consume_tokens(:'f', 1);
SELECT consume_tokens(:'f', 1);
SELECT subscribe(:'f', 'tk-pack') AS fp \gset
SELECT * FROM try_consume_tokens(:'f', 101);
SELECT * FROM try_consume_tokens(:'f', 100);
SELECT * FROM try_consume_tokens(:'f', 1);
SELECT consume_tokens(:'f', 1);
SELECT set_test_clock(:'f', '2040-02-01');
SELECT * FROM try_consume_tokens(:'f', 1);
SELECT consume_tokens(:'f', 1);
SELECT count(subscribe(:'f', 'tk-month', tokens => 1)), consume_tokens(:'f', 1);
SELECT * FROM try_consume_tokens(:'f', 1);
SELECT * FROM try_consume_tokens(:'f', 1, user_id => :nobody);
SELECT consume_tokens(:'f', 1, user_id => :nobody);
SELECT consume_tokens(:'f', 1, 'tk-nosuch');

-- Batches: an answer per item, in input order; a denial among them is data.
SELECT create_account('Batch', '9a000005-0000-4000-8000-0000000002a7') AS g, create_account('Batch', '9a000005-0000-4000-8000-0000000003b8') AS h \gset
SELECT count(grant_tokens(:'g', 10)), count(grant_tokens(:'h', 10, app => 'tk-docs'));
SELECT * FROM consume_tokens_batch(ARRAY[:'h', :'g', :nobody, :'g', :'h', :'g', :'h']::uuid[], '{4,6,1,5,1,4,6}', '{tk-docs,NULL,NULL,NULL,tk-mail,tk-docs,tk-docs}', '{k,k,k,NULL,NULL,k2,k3}', NULL, '{70,-1,0,9223372036854775807,70,4,3}');
SELECT tokens_remaining(:'g'), tokens_remaining(:'h', 'tk-docs');
SELECT * FROM consume_tokens_batch(ARRAY[:'h', :'g', :'h']::uuid[], '{4,6,6}', '{tk-docs,NULL,tk-docs}', '{k,k,k3}');
SELECT * FROM consume_tokens_batch('{}', '{}');
SELECT * FROM consume_tokens_batch('{}', '{}', '{}', '{}', '{}', '{}');
SELECT * FROM consume_tokens_batch('[7:8]={9a000005-0000-4000-8000-00000000ffff,9a000005-0000-4000-8000-00000000fffe}', '[-1:0]={1,2}');
-- one bad item, none done
SELECT count(grant_tokens(:'g', 10));
SELECT * FROM consume_tokens_batch(ARRAY[:'g', :'g']::uuid[], '{1,0}');
SELECT * FROM consume_tokens_batch(ARRAY[:'g', :'g']::uuid[], '{1,1}', '{NULL,tk-nosuch}');
SELECT * FROM consume_tokens_batch(ARRAY[:'g', :'g']::uuid[], '{1,2}', NULL, '{same,same}');
SELECT tokens_remaining(:'g');

-- Rolled back is not taken
BEGIN;
SELECT consume_tokens(:'g', 3, NULL, 'sp');
SAVEPOINT s;
SELECT consume_tokens(:'g', 7, NULL, 'sp2');
SELECT consume_tokens(:'g', 1);
ROLLBACK TO s;
SELECT * FROM try_consume_tokens(:'g', 6, NULL, 'sp2');
RELEASE s;
COMMIT;
SELECT tokens_remaining(:'g');
BEGIN;
SELECT consume_tokens(:'g', 1, NULL, 'rolled back');
ROLLBACK;
SELECT * FROM try_consume_tokens(:'g', 1, NULL, 'rolled back');

-- The largest numbers there are
SELECT create_account('Many', '9a000005-0000-4000-8000-0000000004c9') AS i \gset
SELECT count(grant_tokens(:'i', 9223372036854775807)), count(grant_tokens(:'i', 9223372036854775807));
SELECT tokens_remaining(:'i');
SELECT granted, reason FROM try_consume_tokens(:'i', 9223372036854775807);
SELECT granted, reason FROM try_consume_tokens(:'i', 9223372036854775806);
SELECT tokens_remaining(:'i');
SELECT * FROM try_consume_tokens(:'i', 9223372036854775807);
SELECT * FROM try_consume_tokens(:'i', 1);

-- Checkpoints change no balance: three accounts with the same script, one never summed, one all the time.
CREATE PROCEDURE pg_temp.script(account uuid) LANGUAGE plpgsql AS $$
DECLARE
    n int;
BEGIN
    PERFORM billing.set_test_clock(account, '2040-01-01');
    PERFORM billing.grant_tokens(account, 50, priority => p, reason => p::text, app => CASE WHEN p % 3 = 0 THEN 'tk-docs' END, expires_at => '2040-01-01'::timestamptz + p * interval '1 day') FROM generate_series(1, 9) AS p;
    FOR i IN 1..60 LOOP
        -- every other one has a key; after thirty they begin to come again
        n := CASE i % 2 WHEN 0 THEN i % 30 ELSE i END;
        PERFORM billing.try_consume_tokens(account, n % 23 + 1, CASE WHEN n % 4 = 0 THEN 'tk-docs' END, CASE i % 2 WHEN 0 THEN 'k' || n END);
        IF i % 7 = 0 THEN
            PERFORM billing.advance_test_clock(account, '1 day');
        END IF;
        IF i % 20 = 0 THEN
            INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens, kind, occurred_at)
            SELECT account, (SELECT max(entry_no) + 1 FROM billing.ledger WHERE account_id = account), l.grant_id, -l.tokens, 'refund', billing.now(account) FROM billing.ledger AS l
            WHERE l.account_id = account ORDER BY l.entry_no DESC LIMIT 1;
        END IF;
    END LOOP;
END $$;
SELECT create_account('Tail', '9a000005-0000-4000-8000-0000000005da') AS j, create_account('Summed', '9a000005-0000-4000-8000-0000000006eb') AS k, create_account('Summed', '9a000005-0000-4000-8000-0000000007fc') AS l \gset
SET billing.checkpoint_entries = 1000000;
CALL pg_temp.script(:'j');
SET billing.checkpoint_entries = 1;
CALL pg_temp.script(:'k');
SET billing.checkpoint_entries = 3;
CALL pg_temp.script(:'l');
RESET billing.checkpoint_entries;
SELECT account_id = :'j' AS unsummed, count(DISTINCT through_entry_no) > 5 AS checkpoints FROM checkpoint WHERE account_id IN (:'j', :'k', :'l') GROUP BY 1;
SELECT count(*), count(DISTINCT (r, docs)) AS answers FROM (SELECT tokens_remaining(id) AS r, tokens_remaining(id, 'tk-docs') AS docs FROM unnest(ARRAY[:'j', :'k', :'l']::uuid[]) AS id) AS s;
SELECT count(*) > 40 AS enough, bool_and(copies = 3) AS same FROM (
    SELECT count(*) AS copies FROM pg_temp.movement WHERE account_id IN (:'j', :'k', :'l')
    GROUP BY n, "from", tokens, kind, app, key, asked, answer, part_of IS NULL, occurred_at) AS s;
-- and every one of them is the sum of what is below it
SELECT count(*) FROM checkpoint AS c,
    LATERAL (SELECT sum(tokens) AS tokens, count(*) AS entries FROM ledger AS l WHERE l.account_id = c.account_id AND l.grant_id = c.grant_id AND l.entry_no <= c.through_entry_no) AS s
WHERE c.account_id IN (:'j', :'k', :'l') AND (s.tokens IS DISTINCT FROM c.consumed OR s.entries IS DISTINCT FROM c.entries);
