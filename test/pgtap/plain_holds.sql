-- Holds and their endings by plain DML: what would keep tokens for good, or return them twice, is refused.
BEGIN;

SELECT plan(20);

\set a '''9a000005-0000-4000-8000-0000000000a1'''
SELECT billing.create_account('A', :a);
SELECT billing.grant_tokens(:a, 100) AS grant \gset
SELECT billing.hold_tokens(:a, 5) AS h \gset
SELECT billing.hold_tokens(:a, 5) AS done \gset
SELECT billing.release_hold(:'done');
SET CONSTRAINTS ALL IMMEDIATE;
SET CONSTRAINTS ALL DEFERRED;

-- SQLSTATE of the statement, or of the commit after it
CREATE FUNCTION pg_temp.refused(what text, sql text, message text DEFAULT 'a hold must agree with its ending and with the ledger')
RETURNS text LANGUAGE sql AS
$$ SELECT throws_ok(sql || '; SET CONSTRAINTS ALL IMMEDIATE', '23514', message, what) $$;

SELECT pg_temp.refused('ended, and nothing more', format('UPDATE billing.hold SET ended = true WHERE hold_id = %L', :'h'));
SELECT pg_temp.refused('an ending, and nothing more', format('INSERT INTO billing.hold_end VALUES (%L, %L, ''captured'', 5, 5, now())', :a, :'h'));
SELECT pg_temp.refused('both, of fewer tokens than are kept', format('UPDATE billing.hold SET ended = true WHERE hold_id = %L;
    INSERT INTO billing.hold_end VALUES (%L, %L, ''captured'', 4, 5, now())', :'h', :a, :'h'));
SELECT pg_temp.refused('a hold that took nothing', format('INSERT INTO billing.hold VALUES (%L, gen_random_uuid(), 5, NULL, now(), ''infinity'')', :a));
SELECT pg_temp.refused('one that has ended already', format('INSERT INTO billing.hold VALUES (%L, gen_random_uuid(), 5, NULL, now(), ''infinity'', true)', :a));
SELECT pg_temp.refused('an entry that returns tokens of an open hold', format('INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens, kind, hold_id) VALUES (%L, 100, %L, -5, ''release'', %L)', :a, :'grant', :'h'));
SELECT pg_temp.refused('and of one that has ended', format('INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens, kind, hold_id) VALUES (%L, 100, %L, 5, ''hold'', %L)', :a, :'grant', :'done'));
SELECT throws_ok(format('INSERT INTO billing.hold_end VALUES (%L, %L, ''captured'', 5, 5, now())', :a, :'done'), '23505', NULL, 'a second ending');
SELECT lives_ok(format('UPDATE billing.hold SET ended = true WHERE hold_id = %L;
    INSERT INTO billing.hold_end VALUES (%L, %L, ''captured'', 5, 5, now()); SET CONSTRAINTS ALL IMMEDIATE', :'h', :a, :'h'), 'a whole ending');
SELECT is(billing.capture_hold(:'h'), 5::bigint, 'is one as any other');
SELECT is_empty(format('SELECT * FROM billing.verify_ledger(%L)', :a), 'verify_ledger() is silent');

-- a restore or a replica may leave half of one behind
SELECT billing.hold_tokens(:a, 6) AS late, billing.hold_tokens(:a, 6) AS half \gset
SET LOCAL session_replication_role = replica;
UPDATE billing.hold SET ended = true WHERE hold_id = :'half';
INSERT INTO billing.hold_end VALUES (:a, :'late', 'captured', 6, 5, now());
SET LOCAL session_replication_role = origin;
SELECT throws_ok(format('SELECT billing.release_hold(%L)', :'half'), 'PB009', 'hold does not agree with its ending', 'ended without an ending');
SELECT throws_ok(format('SELECT billing.release_hold(%L)', :'late'), 'PB009', 'hold does not agree with its ending', 'an ending of an open one');
SELECT is(count(*), 2::bigint, 'verify_ledger() finds both') FROM billing.verify_ledger(:a);
SELECT is(billing.tokens_remaining(:a), 83::bigint, 'what they keep stays kept');
SELECT lives_ok(format('SELECT billing.consume_tokens(%L, 83)', :a), 'and the rest can be used');

-- rows that arrive from elsewhere come in any order: the ending before what the ledger kept until then
SELECT billing.create_account('B', '9a000005-0000-4000-8000-0000000000b2') AS b, billing.grant_tokens('9a000005-0000-4000-8000-0000000000b2', 100) AS grant \gset
SET LOCAL session_replication_role = replica;
SELECT gen_random_uuid() AS arrived \gset
INSERT INTO billing.hold VALUES (:'b', :'arrived', 7, NULL, now(), 'infinity', true);
INSERT INTO billing.hold_end VALUES (:'b', :'arrived', 'released', 0, 100, now());
SELECT lives_ok(format('INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens, kind, hold_id) VALUES (%L, 1, %L, 7, ''hold'', %L);
    SET CONSTRAINTS ALL IMMEDIATE', :'b', :'grant', :'arrived'), 'an entry that arrives after the ending of its hold');
INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens, kind, hold_id) VALUES (:'b', 2, :'grant', -7, 'release', :'arrived');
SET LOCAL session_replication_role = origin;
SELECT is_empty(format('SELECT * FROM billing.verify_ledger(%L)', :'b'), 'is sound when all has arrived');

-- our own are not judged when they are half done: somebody's trigger has constraints checked as rows are written
CREATE FUNCTION pg_temp.nothing() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
CREATE TRIGGER somebody AFTER INSERT ON billing.ledger FOR EACH ROW EXECUTE FUNCTION pg_temp.nothing();
CREATE TRIGGER somebody AFTER INSERT ON billing.hold_end FOR EACH ROW EXECUTE FUNCTION pg_temp.nothing();
SET CONSTRAINTS ALL IMMEDIATE;
SELECT is(billing.capture_hold(billing.hold_tokens(:'b', 7), 3), 97::bigint, 'a capture under immediate constraints');
SELECT pg_temp.refused('plain entries are judged there as well', format('INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens, kind, hold_id) VALUES (%L, 100, %L, 5, ''hold'', %L)', :'b', :'grant', :'arrived'));

SELECT finish();

ROLLBACK;
