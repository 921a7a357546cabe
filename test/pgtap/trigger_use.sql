-- Our trigger functions on a table of somebody's, and on our own for an event that they are not for.
BEGIN;

SELECT plan(6);

CREATE TABLE public.somebodys (a int);
INSERT INTO public.somebodys VALUES (1), (2);
CREATE VIEW public.seen AS SELECT * FROM public.somebodys;
-- of the extension's schema, but not the extension's
CREATE TABLE billing.beside (a int);
INSERT INTO billing.beside VALUES (1), (2);

\set a '''9a000007-0000-4000-8000-0000000000a1'''
SELECT billing.create_account('A', :a);
SELECT billing.grant_tokens(:a, 100) AS grant \gset

-- What comes of it when a trigger fires.
CREATE FUNCTION pg_temp.fire(at text, function name, relation text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER a_somebodys %s ON %s %s EXECUTE FUNCTION billing.%I(%s)', regexp_replace(at, ' FOR .*', ''), relation,
                   regexp_replace(at, '.* FOR ', 'FOR '), function, CASE function WHEN 'note_due' THEN quote_literal('a') ELSE '' END);
    EXECUTE statement;
    SET CONSTRAINTS ALL IMMEDIATE;
    RAISE 'nothing';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;

CREATE TEMPORARY TABLE ours AS SELECT proname FROM pg_proc WHERE pronamespace = 'billing'::regnamespace AND prorettype = 'trigger'::regtype;
SELECT cmp_ok(count(*), '>=', 12::bigint, 'there are trigger functions') FROM ours;

CREATE TEMPORARY TABLE event AS
    SELECT format('%s %s FOR EACH %s', timing, op, level) AS at, op
        FROM unnest('{BEFORE,AFTER}'::text[]) timing, unnest('{INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) op, unnest('{ROW,STATEMENT}'::text[]) level
        WHERE (op, level) <> ('TRUNCATE', 'ROW');
CREATE FUNCTION pg_temp.statement(op text, relation text) RETURNS text LANGUAGE sql AS
    $$SELECT CASE op WHEN 'INSERT' THEN 'INSERT INTO ' || relation || ' VALUES (3)' WHEN 'UPDATE' THEN 'UPDATE ' || relation || ' SET a = a + 1'
                     WHEN 'DELETE' THEN 'DELETE FROM ' || relation ELSE 'TRUNCATE ' || relation END$$;

SELECT is_empty($$SELECT proname, at, state FROM ours, event, pg_temp.fire(at, proname, 'public.somebodys', pg_temp.statement(op, 'public.somebodys')) state
    WHERE state <> '39P01'$$, 'on a table of somebody''s they refuse every event');
SELECT is_empty($$SELECT proname, op, state FROM ours, unnest('{INSERT,UPDATE,DELETE}'::text[]) op,
    pg_temp.fire('INSTEAD OF ' || op || ' FOR EACH ROW', proname, 'public.seen', pg_temp.statement(op, 'public.seen')) state
    WHERE state <> '39P01'$$, 'on a view as well');
SELECT is_empty($$SELECT proname, at, state FROM ours, event, pg_temp.fire(at, proname, 'billing.beside', pg_temp.statement(op, 'billing.beside')) state
    WHERE state <> '39P01' AND proname NOT IN ('guard_immutable', 'guard_restore')$$, 'and on one beside ours');
-- these two know the schema only
SELECT is(string_agg(format('%s %s %s', proname, state, n), ', ' ORDER BY proname, state),
    'guard_immutable 39P01 9, guard_immutable PB012 5, guard_restore 39P01 12, guard_restore P0001 2', 'which two do without columns')
    FROM (SELECT proname, state, count(*) AS n FROM ours, event, pg_temp.fire(at, proname, 'billing.beside', pg_temp.statement(op, 'billing.beside')) state
          WHERE proname IN ('guard_immutable', 'guard_restore') GROUP BY 1, 2) s;

CREATE TEMPORARY TABLE cases AS SELECT n, at, function, relation, format(statement, :'grant', :a) AS statement FROM (VALUES
    (1, 'AFTER UPDATE FOR EACH ROW', 'guard_balance', 'billing.token_grant', 'UPDATE billing.token_grant SET voided_at = now() WHERE grant_id = %1$L'),
    (2, 'BEFORE INSERT FOR EACH ROW', 'guard_grant', 'billing.token_grant', 'SELECT billing.grant_tokens(%2$L, 1)'),
    (3, 'BEFORE UPDATE FOR EACH STATEMENT', 'guard_grant', 'billing.token_grant', 'UPDATE billing.token_grant SET voided_at = now() WHERE grant_id = %1$L'),
    (4, 'BEFORE INSERT FOR EACH ROW', 'guard_hold', 'billing.hold', 'INSERT INTO billing.hold (account_id, hold_id, tokens, expires_at) VALUES (%2$L, gen_random_uuid(), 1, now())'),
    (5, 'BEFORE INSERT FOR EACH ROW', 'guard_balance', 'billing.ledger', 'INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens) VALUES (%2$L, 100, %1$L, 1)'),
    (6, 'AFTER UPDATE FOR EACH ROW', 'guard_engine', 'billing.account', $$UPDATE billing.account SET name = 'B'$$),
    (7, 'BEFORE UPDATE FOR EACH STATEMENT', 'guard_engine', 'billing.account', $$UPDATE billing.account SET name = 'B'$$),
    (8, 'BEFORE UPDATE FOR EACH ROW', 'guard_immutable', 'billing.account', $$UPDATE billing.account SET name = 'B'$$),
    (9, 'BEFORE INSERT FOR EACH ROW', 'guard_immutable', 'billing.app', $$INSERT INTO billing.app (code, name) VALUES ('a', 'A')$$),
    (10, 'BEFORE DELETE FOR EACH ROW', 'guard_order', 'billing.account', 'DELETE FROM billing.account')) v(n, at, function, relation, statement);
SELECT results_eq('SELECT n, pg_temp.fire(at, function, relation, statement) FROM cases ORDER BY n',
    $$SELECT n, CASE n WHEN 8 THEN 'PB012' ELSE '39P01' END FROM generate_series(1, 10) n$$, 'on our own tables they refuse what they are not for');

SELECT finish();

ROLLBACK;
