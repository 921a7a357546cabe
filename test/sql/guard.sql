-- Triggers that hold the rules against plain DML. The session is the superuser's: what it may not
-- do, nobody may.
SET search_path = billing, public;
\set VERBOSITY sqlstate
SET client_min_messages = warning;
\set a '''9a000001-0000-4000-8000-0000000000a1'''
\set b '''9a000001-0000-4000-8000-0000000000b2'''

SELECT create_plan('guard-plan', 'token', tokens => 1000);
SELECT revise_plan('guard-plan', tokens => 2000);
SELECT create_account('Guard A', :a), create_account('Guard B', :b);
SELECT grant_tokens(:a, 1000) AS ga \gset
SELECT grant_tokens(:b, 1000) AS gb \gset
SELECT consume_tokens(:a, 100, idempotency_key => 'k');
SELECT consume_tokens(:b, 100), consume_tokens(:b, 100);
SELECT write_checkpoint(:b);
\set c '''9a000001-0000-4000-8000-0000000000c3'''
SELECT create_account('Guard C', :c) AS guard_c \gset
SELECT grant_tokens(:c, 1000) AS gc \gset
-- The functions for holds have tests of their own.
BEGIN;
INSERT INTO hold (account_id, hold_id, tokens, created_at, expires_at) VALUES
    (:c, '9a000001-0000-7000-8000-0000000001a1', 10, now(), now() + interval '1 hour'),
    (:c, '9a000001-0000-7000-8000-0000000002a1', 10, now(), now() + interval '1 hour');
INSERT INTO ledger (account_id, entry_no, grant_id, tokens, kind, hold_id, asked) VALUES
    (:c, 1, :'gc', 10, 'hold', '9a000001-0000-7000-8000-0000000001a1', 10),
    (:c, 2, :'gc', 10, 'hold', '9a000001-0000-7000-8000-0000000002a1', 10);
COMMIT;
SELECT hold_tokens(:c, 10) AS ended \gset
SELECT release_hold(:'ended');

-- Append-only tables: neither a column nor a row changes, nor is the table emptied.
CREATE FUNCTION pg_temp.sqlstate_of(sql text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE sql;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;

SELECT t.name, s.statement, pg_temp.sqlstate_of(format(s.sql, t.name, t.column)) AS refused
FROM (VALUES ('plan_version', 'plan'), ('ledger', 'tokens'), ('checkpoint', 'consumed'), ('token_grant', 'tokens'),
        ('hold', 'tokens'), ('hold_end', 'answer'), ('event', 'occurred_at')) AS t(name, "column"),
    (VALUES (1, 'update', 'UPDATE %1$s SET %2$s = %2$s'), (2, 'delete', 'DELETE FROM %1$s'), (3, 'truncate', 'TRUNCATE %1$s CASCADE')) AS s(n, statement, sql)
WHERE NOT (t.name IN ('hold', 'token_grant') AND s.statement = 'update')
ORDER BY t.name, s.n;

-- Of these two tables one column may change once, and no other.
SELECT count(*) > 15 AS enough, count(*) FILTER (WHERE refused <> 'PB012') AS accepted
FROM pg_attribute AS a, pg_temp.sqlstate_of(format('UPDATE %s SET %I = %s WHERE account_id = %L', a.attrelid::regclass, a.attname,
        CASE a.atttypid WHEN 'uuid'::regtype THEN $$'9a000001-0000-7000-8000-00000000ffa1'$$
            WHEN 'bigint'::regtype THEN '7' WHEN 'boolean'::regtype THEN 'false'
            WHEN 'timestamptz'::regtype THEN $$'2100-01-01'$$ ELSE $$'x'$$ END, :c)) AS refused
WHERE a.attrelid IN ('hold'::regclass, 'token_grant'::regclass) AND a.attnum > 0 AND NOT a.attisdropped
    AND a.attname NOT IN ('voided_at', 'ended');

UPDATE hold SET ended = false WHERE hold_id = '9a000001-0000-7000-8000-0000000001a1';
BEGIN;
UPDATE hold SET ended = true WHERE hold_id = '9a000001-0000-7000-8000-0000000001a1';
INSERT INTO hold_end VALUES (:c, '9a000001-0000-7000-8000-0000000001a1', 'captured', 10, 980, now());
COMMIT;
UPDATE hold SET ended = true WHERE hold_id = '9a000001-0000-7000-8000-0000000001a1';
UPDATE hold SET ended = false WHERE hold_id = '9a000001-0000-7000-8000-0000000001a1';
UPDATE hold SET ended = true, tokens = 1 WHERE hold_id = '9a000001-0000-7000-8000-0000000002a1';
BEGIN;
UPDATE token_grant SET voided_at = now() WHERE grant_id = :'ga';
SELECT tokens_remaining(:a);
SAVEPOINT s;
UPDATE token_grant SET voided_at = voided_at + interval '1 second' WHERE grant_id = :'ga';
ROLLBACK TO s;
UPDATE token_grant SET voided_at = NULL WHERE grant_id = :'ga';
ROLLBACK;

-- What leads to the rows cannot go either.
SELECT pg_temp.sqlstate_of(sql) FROM (VALUES
    ('DELETE FROM account WHERE name = ''Guard A'''),
    ('UPDATE account SET account_id = ''9a000001-0000-4000-8000-00000000ffa1'' WHERE name = ''Guard A'''),
    ('TRUNCATE account CASCADE'),
    ('DELETE FROM plan WHERE code = ''guard-plan'''),
    ('TRUNCATE plan CASCADE')) AS v(sql);

-- Nothing overdraws a grant, whenever it is looked at.
INSERT INTO ledger (account_id, entry_no, grant_id, tokens) VALUES (:a, 2, :'ga', 900);
SELECT tokens_remaining(:a);
INSERT INTO ledger (account_id, entry_no, grant_id, tokens) VALUES (:a, 3, :'ga', 1);
BEGIN;
INSERT INTO ledger (account_id, entry_no, grant_id, tokens) VALUES (:a, 3, :'ga', 1);
SELECT tokens_remaining(:a);
COMMIT;
BEGIN;
SET CONSTRAINTS ALL IMMEDIATE;
INSERT INTO ledger (account_id, entry_no, grant_id, tokens) VALUES (:a, 3, :'ga', 1);
ROLLBACK;
INSERT INTO ledger (account_id, entry_no, grant_id, tokens, kind) VALUES (:a, 3, :'ga', -1001, 'refund');
INSERT INTO ledger (account_id, entry_no, grant_id, tokens, kind) VALUES
    (:a, 3, :'ga', -1000, 'refund'), (:a, 4, :'ga', -1, 'refund');
SELECT tokens_remaining(:a);
-- Behind a checkpoint.
INSERT INTO ledger (account_id, entry_no, grant_id, tokens) VALUES (:b, 3, :'gb', 801);
INSERT INTO ledger (account_id, entry_no, grant_id, tokens) VALUES (:b, 3, :'gb', 800);
SELECT tokens_remaining(:b);
-- More than a bigint.
INSERT INTO ledger (account_id, entry_no, grant_id, tokens) VALUES
    (:b, 4, :'gb', 9223372036854775807), (:b, 5, :'gb', 9223372036854775807);

-- In transactions that overdraw for a while only.
BEGIN;
INSERT INTO ledger (account_id, entry_no, grant_id, tokens) VALUES (:a, 3, :'ga', 50);
INSERT INTO ledger (account_id, entry_no, grant_id, tokens, kind) VALUES (:a, 4, :'ga', -50, 'release');
COMMIT;
SELECT tokens_remaining(:a);

-- A check that failed before, or whose ground was rolled back, does not stand for the one at commit.
BEGIN;
INSERT INTO ledger (account_id, entry_no, grant_id, tokens) VALUES (:a, 5, :'ga', 5000);
SAVEPOINT s;
SET CONSTRAINTS ALL IMMEDIATE;
ROLLBACK TO s;
COMMIT;
BEGIN;
INSERT INTO ledger (account_id, entry_no, grant_id, tokens) VALUES (:a, 5, :'ga', 500);
SAVEPOINT s;
INSERT INTO ledger (account_id, entry_no, grant_id, tokens, kind) VALUES (:a, 6, :'ga', -600, 'refund');
SET CONSTRAINTS ALL IMMEDIATE;
ROLLBACK TO s;
COMMIT;
SELECT tokens_remaining(:a);

-- Several accounts in one command: each is looked at.
INSERT INTO ledger (account_id, entry_no, grant_id, tokens)
SELECT v.account_id::uuid, v.n, v.grant_id::uuid, 1 FROM (VALUES (:b, 9, :'gb'), (:a, 9, :'ga'), (:b, 10, :'gb')) AS v(account_id, n, grant_id);

-- Where rows arrive by replication the triggers fire all the same, and foreign keys are not looked at.
SET session_replication_role = replica;
SELECT t.name, s.statement, pg_temp.sqlstate_of(format(s.sql, t.name, t.column)) AS refused
FROM (VALUES ('plan_version', 'plan'), ('ledger', 'tokens'), ('checkpoint', 'consumed'), ('token_grant', 'tokens'),
        ('hold', 'tokens'), ('hold_end', 'answer'), ('event', 'occurred_at')) AS t(name, "column"),
    (VALUES (1, 'update', 'UPDATE %1$s SET %2$s = DEFAULT'), (2, 'delete', 'DELETE FROM %1$s'), (3, 'truncate', 'TRUNCATE %1$s CASCADE')) AS s(n, statement, sql)
ORDER BY t.name, s.n;
INSERT INTO ledger (account_id, entry_no, grant_id, tokens) VALUES (:a, 5, :'ga', 5000);
BEGIN;
SET CONSTRAINTS ALL IMMEDIATE;
INSERT INTO ledger (account_id, entry_no, grant_id, tokens) VALUES (:a, 5, :'ga', 5000);
ROLLBACK;
RESET session_replication_role;

-- A restore may bring rows in any order; what it brought is judged later. It is the owner's session
-- with the setting that pg_dump's scripts begin with, and nobody else's.
CREATE ROLE guard_writer;
GRANT USAGE ON SCHEMA billing TO guard_writer;
GRANT INSERT, SELECT ON ledger TO guard_writer;
BEGIN;
SET LOCAL check_function_bodies = off;
SET LOCAL ROLE guard_writer;
INSERT INTO ledger (account_id, entry_no, grant_id, tokens) VALUES (:a, 5, :'ga', 5000);
COMMIT;
BEGIN;
SET LOCAL check_function_bodies = off;
INSERT INTO ledger (account_id, entry_no, grant_id, tokens) VALUES (:a, 5, :'ga', 5000);
SET CONSTRAINTS ALL IMMEDIATE;
SELECT 'accepted' AS restore;
UPDATE ledger SET tokens = 1 WHERE account_id = :a;
ROLLBACK;
REVOKE ALL ON ledger FROM guard_writer;
REVOKE ALL ON SCHEMA billing FROM guard_writer;
DROP ROLE guard_writer;

-- Called otherwise than as a trigger.
SELECT guard_immutable();
SELECT guard_grant();
SELECT guard_hold();
SELECT guard_period();
SELECT guard_hold_end();
SELECT guard_balance();
SELECT guard_checkpoint();
SELECT tokens_remaining(:a), tokens_remaining(:b);
