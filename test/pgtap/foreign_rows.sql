-- Somebody's triggers and constraints on the tables of tokens: all see what billing writes, and none makes
-- it say something else.
BEGIN;

SELECT plan(32);

\set a '''9a000006-0000-4000-8000-0000000000a1'''
SELECT billing.create_account('A', :a);
SELECT billing.grant_tokens(:a, 1000) AS grant \gset

CREATE FUNCTION public.suppress() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
CREATE FUNCTION public.change() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.tokens := 1; RETURN NEW; END$$;
CREATE FUNCTION pg_temp.consume(tokens bigint, key text DEFAULT NULL, action text DEFAULT NULL) RETURNS text LANGUAGE sql AS
$$ SELECT format('SELECT billing.consume_tokens(%L, %s, NULL, %L, %L)', '9a000006-0000-4000-8000-0000000000a1', tokens, key, action) $$;
CREATE FUNCTION pg_temp.entries() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM billing.ledger WHERE account_id = '9a000006-0000-4000-8000-0000000000a1' $$;

-- the ledger
SAVEPOINT s;
CREATE TRIGGER suppress BEFORE INSERT ON billing.ledger FOR EACH ROW EXECUTE FUNCTION public.suppress();
SELECT throws_ok(pg_temp.consume(6), 'PB019', 'a trigger on billing.ledger suppressed a row that billing writes', 'a consumption is not suppressed');
SELECT throws_ok(pg_temp.consume(6, 'k'), 'PB019', NULL, 'nor one with a key');
SELECT throws_ok(format('SELECT billing.hold_tokens(%L, 6)', :a), 'PB019', NULL, 'nor a hold');
SELECT throws_ok(format('SELECT billing.void_grant(%L)', :'grant'), 'PB019', NULL, 'nor what takes a grant back');
SELECT is(billing.tokens_remaining(:a), 1000::bigint, 'nothing was taken');
DROP TRIGGER suppress ON billing.ledger;
CREATE TRIGGER change BEFORE INSERT ON billing.ledger FOR EACH ROW EXECUTE FUNCTION public.change();
SELECT throws_ok(pg_temp.consume(50), 'PB019', 'a trigger on billing.ledger changed a row that billing writes', 'nor made cheaper');
SELECT lives_ok(pg_temp.consume(1), 'one that leaves it as it is may stay');
ROLLBACK TO s;

-- columns of his own are his
CREATE FUNCTION public.annotate() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.note := 'seen'; RETURN NEW; END$$;
ALTER TABLE billing.ledger ADD COLUMN note text;
CREATE TRIGGER annotate BEFORE INSERT ON billing.ledger FOR EACH ROW EXECUTE FUNCTION public.annotate();
SELECT lives_ok(pg_temp.consume(3), 'a trigger sets a column of its own');
SELECT is(note, 'seen', 'which is stored') FROM billing.ledger WHERE account_id = :a;
ROLLBACK TO s;

-- on statements, with the rows or without; in the extension's own schema, too
CREATE TABLE public.seen (what text, entry_no bigint, tokens bigint);
CREATE FUNCTION public.capture() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.seen SELECT 'rows', entry_no, tokens FROM captured; RETURN NULL; END$$;
CREATE FUNCTION public.count_before() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.seen VALUES (TG_WHEN || ' ' || TG_LEVEL); RETURN NULL; END$$;
CREATE FUNCTION billing.in_our_schema() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.seen VALUES ('ours?', NEW.entry_no, NEW.tokens); RETURN NULL; END$$;
CREATE TRIGGER capture AFTER INSERT ON billing.ledger REFERENCING NEW TABLE AS captured FOR EACH STATEMENT EXECUTE FUNCTION public.capture();
SELECT billing.grant_tokens(:a, 10, priority => 1);
SELECT lives_ok(pg_temp.consume(16), 'a consumption from two grants under a trigger on statements');
SELECT bag_eq('SELECT what, tokens FROM seen', $$VALUES ('rows', 10::bigint), ('rows', 6)$$, 'which has all its rows');
SELECT billing.release_hold(billing.hold_tokens(:a, 7));
SELECT bag_eq('SELECT what, tokens FROM seen OFFSET 2', $$VALUES ('rows', 7::bigint), ('rows', -7)$$, 'a hold and its end');
SELECT count(*) FROM billing.consume_tokens_batch(array_fill(:a::uuid, '{3}'), '{1,2,3}');
SELECT is(sum(tokens), 22::numeric, 'a batch') FROM seen;
TRUNCATE seen;
DROP TRIGGER capture ON billing.ledger;
CREATE TRIGGER before AFTER INSERT ON billing.ledger FOR EACH STATEMENT EXECUTE FUNCTION public.count_before();
CREATE TRIGGER after BEFORE INSERT ON billing.ledger FOR EACH STATEMENT EXECUTE FUNCTION public.count_before();
SELECT lives_ok(pg_temp.consume(1), 'triggers on statements without rows');
SELECT throws_ok(pg_temp.consume(100000), 'PB004', NULL, 'and a denial');
SELECT bag_eq('SELECT what FROM seen', $$VALUES ('BEFORE STATEMENT'), ('AFTER STATEMENT')$$, 'fire once for what is written');
TRUNCATE seen;
DROP TRIGGER before ON billing.ledger;
DROP TRIGGER after ON billing.ledger;
CREATE TRIGGER ours AFTER INSERT ON billing.ledger FOR EACH ROW EXECUTE FUNCTION billing.in_our_schema();
SELECT lives_ok(pg_temp.consume(2), 'a trigger function in our schema');
SELECT results_eq('SELECT what, tokens FROM seen', $$VALUES ('ours?', 2::bigint)$$, 'is not one of ours');
ROLLBACK TO s;

-- constraints
SELECT pg_temp.consume(1);
ALTER TABLE billing.ledger ADD CONSTRAINT mine CHECK (action IS DISTINCT FROM 'forbidden');
SELECT throws_ok(pg_temp.consume(6, NULL, 'forbidden'), '23514', NULL, 'a CHECK is held');
SELECT lives_ok(pg_temp.consume(6, NULL, 'allowed'), 'and lets pass what it allows');
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE billing.ledger DROP CONSTRAINT mine;
SELECT lives_ok(pg_temp.consume(6, NULL, 'forbidden'), 'while it is there');
ROLLBACK TO s;
CREATE TABLE public.known_action (action text COLLATE "C" PRIMARY KEY);
INSERT INTO public.known_action VALUES ('allowed');
ALTER TABLE billing.ledger ADD CONSTRAINT known FOREIGN KEY (action) REFERENCES public.known_action;
SELECT throws_ok(pg_temp.consume(6, NULL, 'forbidden'), '23503', NULL, 'a foreign key is held');
SELECT lives_ok(pg_temp.consume(6, NULL, 'allowed'), 'and lets pass what it knows');
ROLLBACK TO s;
ALTER TABLE billing.ledger ALTER action SET NOT NULL;
SELECT throws_ok(pg_temp.consume(6), '23502', NULL, 'NOT NULL is held');
SELECT lives_ok(pg_temp.consume(6, NULL, 'allowed'), 'and lets pass what has a value');
ROLLBACK TO s;

-- holds
CREATE TRIGGER suppress BEFORE INSERT ON billing.hold FOR EACH ROW EXECUTE FUNCTION public.suppress();
SELECT throws_ok(format('SELECT billing.hold_tokens(%L, 5)', :a), 'PB019', 'a trigger on billing.hold suppressed a row that billing writes', 'a hold is not suppressed');
ROLLBACK TO s;
SELECT billing.hold_tokens(:a, 5) AS hold \gset
CREATE TRIGGER suppress BEFORE UPDATE ON billing.hold FOR EACH ROW EXECUTE FUNCTION public.suppress();
SELECT throws_ok(format('SELECT billing.release_hold(%L)', :'hold'), 'PB019', 'a trigger on billing.hold suppressed the end of a hold', 'nor its end');
DROP TRIGGER suppress ON billing.hold;
CREATE TRIGGER suppress BEFORE INSERT ON billing.hold_end FOR EACH ROW EXECUTE FUNCTION public.suppress();
SELECT throws_ok(format('SELECT billing.release_hold(%L)', :'hold'), 'PB019', 'a trigger on billing.hold_end suppressed the end of a hold', 'nor how it ended');
DROP TRIGGER suppress ON billing.hold_end;
CREATE TRIGGER change BEFORE INSERT ON billing.hold_end FOR EACH ROW EXECUTE FUNCTION public.change();
SELECT throws_ok(format('SELECT billing.release_hold(%L); SET CONSTRAINTS ALL IMMEDIATE', :'hold'), '23514', NULL, 'nor is that changed');
DROP TRIGGER change ON billing.hold_end;
SELECT billing.release_hold(:'hold');
SELECT is(billing.tokens_remaining(:a), 1000::bigint, 'without them its tokens return');
SELECT is_empty(format('SELECT * FROM billing.verify_ledger(%L)', :a), 'verify_ledger() is silent');
SELECT is(pg_temp.entries(), 2::bigint, 'all of it is in the ledger');

SELECT finish();

ROLLBACK;
