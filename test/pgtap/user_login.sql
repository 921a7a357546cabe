-- Logins: clients a user is known by, renewed hashes, imported hashes, erased users, restored rows.
BEGIN;

SELECT plan(51);

SET billing.password_memory = '19MB';
SET billing.login_attempts = 2;
SET billing.login_lockout = '10min';
SELECT billing.create_plan('free', 'free', user_limit => 2);
SELECT billing.create_plan('month', 'subscription', duration => '30 days', user_limit => 4);
SELECT billing.create_account('A') AS a \gset
SELECT billing.subscribe(:'a', 'month');
SELECT billing.add_user_within_limit(:'a', 'ada@example.com', 'correct horse battery', 'admin') AS ada \gset
SELECT billing.add_user_within_limit(:'a', 'bob@example.com', 'staple battery horse') AS bob \gset
SELECT billing.add_user_within_limit(:'a', 'cyd@example.com', NULL) AS cyd \gset

CREATE FUNCTION pg_temp.login(address text, password text, client text DEFAULT NULL) RETURNS text LANGUAGE sql AS
    $$SELECT CASE WHEN user_id IS NULL THEN '' ELSE 'in: ' END || reason FROM billing.authenticate_user(address, password, client)$$;
CREATE FUNCTION pg_temp.hash(id uuid) RETURNS text LANGUAGE sql AS
    'SELECT password_hash FROM billing.account_user WHERE user_id = id';

-- One row, whatever is asked
SELECT results_eq($$SELECT count(*), count(user_id), count(account_id), count(role), bool_or(allowed), min(reason)
    FROM billing.authenticate_user('x@example.com', 'y')$$,
    $$VALUES (1::bigint, 0::bigint, 0::bigint, 0::bigint, false, 'invalid_credentials')$$, 'an unknown address');
SELECT results_eq(format($$SELECT user_id, account_id, role, allowed, reason FROM billing.authenticate_user('ADA@Example.com', 'correct horse battery')$$),
    format($$VALUES (%L::uuid, %L::uuid, 'admin', true, 'allowed')$$, :'ada', :'a'), 'a login');
SELECT is(pg_temp.login(NULL, NULL), 'invalid_credentials', 'NULL is nobody');
SELECT is(pg_temp.login('ada@example.com', repeat('correct horse battery', 100)), 'invalid_credentials', 'a password longer than any');
SELECT is(pg_temp.login(repeat('a', 100000), repeat('b', 1000000)), 'invalid_credentials', 'megabytes are nobody''s');
SELECT is(pg_temp.login('cyd@example.com', ''), 'invalid_credentials', 'who has no password has no empty one');

-- Expiry and seats
SELECT is(pg_temp.login('bob@example.com', 'staple battery horse'), 'in: allowed', 'while the plan is in force');
SELECT billing.advance_test_clock(:'a', '31 days');
SELECT is(pg_temp.login('bob@example.com', 'staple battery horse'), 'in: package_expired', 'an expired package is said, and the ids are given');
UPDATE billing.account_user SET added_at = now() - interval '1 year' WHERE user_id = :'cyd';
SELECT is(pg_temp.login('bob@example.com', 'staple battery horse'), 'in: user_over_limit', 'who has no seat is told so');
SELECT is(pg_temp.login('bob@example.com', 'wrong password'), 'invalid_credentials', 'but only who knows the password');
SELECT is(pg_temp.login('bob@example.com', 'staple battery horse'), 'in: user_over_limit', 'which ends the count');
SELECT billing.remove_user(:'cyd');

-- Known clients
SELECT is(pg_temp.login('ada@example.com', 'correct horse battery', 'laptop'), 'in: package_expired', 'a login from a client');
SELECT is((SELECT count(*) FROM billing.login_client WHERE user_id = :'ada'), 1::bigint, 'the client is known now');
SELECT is_empty($$SELECT * FROM billing.login_client WHERE client::text ~ 'laptop'$$, 'by a digest');
SELECT is(pg_temp.login('ada@example.com', 'wrong ' || i), 'invalid_credentials', 'somebody guesses') FROM generate_series(1, 3) i;
SELECT is(pg_temp.login('ada@example.com', 'correct horse battery'), 'invalid_credentials', 'the user is locked out');
SELECT is(pg_temp.login('ada@example.com', 'correct horse battery', 'phone'), 'invalid_credentials', 'from an unknown client too');
SELECT is(pg_temp.login('ada@example.com', 'correct horse battery', 'laptop'), 'in: package_expired', 'but not from the known one');
SELECT is(pg_temp.login('ada@example.com', 'correct horse battery'), 'invalid_credentials', 'which ends nothing elsewhere');
SELECT is(pg_temp.login('ada@example.com', 'wrong ' || i, 'laptop'), 'invalid_credentials', 'the known one guesses') FROM generate_series(1, 2) i;
SELECT is(pg_temp.login('ada@example.com', 'correct horse battery', 'laptop'), 'invalid_credentials', 'and is locked out by itself');
SELECT billing.set_user_password(:'ada', 'horse correct battery');
SELECT is(pg_temp.login('ada@example.com', 'horse correct battery', 'laptop'), 'in: package_expired', 'a new password ends all lock-outs');
SELECT is(pg_temp.login('ada@example.com', 'horse correct battery'), 'in: package_expired', 'of every client');
SELECT is(pg_temp.login('bob@example.com', 'staple battery horse', 'client ' || i), 'in: package_expired', 'client ' || i) FROM generate_series(1, 3) i;
INSERT INTO billing.login_client SELECT :'a', :'bob', gen_random_uuid(), now() - i * interval '1 day' FROM generate_series(1, 20) i;
SELECT pg_temp.login('bob@example.com', 'staple battery horse', 'one more');
SELECT is((SELECT count(*) FROM billing.login_client WHERE user_id = :'bob'), 10::bigint, 'ten clients of a user are kept');
SELECT throws_ok($$SELECT * FROM billing.authenticate_user('a', 'b', repeat('c', 256))$$, '22001', 'client is too long');
SELECT throws_ok($$SELECT * FROM billing.authenticate_user('a', 'b', '')$$, '22023', 'client must not be empty');

-- Hashes whose cost has been raised are renewed, silently, once
SELECT pg_temp.hash(:'bob') AS before \gset
SET billing.password_memory = '20MB';
SELECT is(pg_temp.login('bob@example.com', 'wrong'), 'invalid_credentials', 'a wrong password renews nothing');
SELECT is(pg_temp.hash(:'bob'), :'before', 'nothing');
SELECT pg_temp.login('bob@example.com', 'staple battery horse');
SELECT matches(pg_temp.hash(:'bob'), '^\$argon2id\$v=19\$m=20480,t=2,p=1\$', 'a login renews the hash');
SELECT pg_temp.hash(:'bob') AS before \gset
SET billing.password_memory = '19MB';
SELECT is(pg_temp.login('bob@example.com', 'staple battery horse'), 'in: package_expired', 'the new hash is of the same password');
SELECT is(pg_temp.hash(:'bob'), :'before', 'a lower cost weakens nothing');
SELECT is_empty(format('SELECT 1 FROM billing.event WHERE kind = ''password_changed'' AND detail->>''user_id'' = %L', :'bob'),
    'a renewed hash is no new password');
SELECT isnt_empty(format('SELECT 1 FROM billing.event WHERE kind = ''password_changed'' AND detail->>''user_id'' = %L', :'ada'),
    'a new password is one');

-- Erasing
SELECT billing.grant_tokens(:'a', 10);
SELECT billing.consume_tokens(:'a', 1, user_id => :'bob');
SELECT min(client::text) AS client FROM billing.login_client WHERE user_id = :'bob' \gset
ANALYZE;
SELECT lives_ok(format('SELECT billing.erase_user(%L)', :'bob'), 'a person is erased');
CREATE FUNCTION pg_temp.sampled(what text) RETURNS SETOF text LANGUAGE sql AS
    'SELECT format(''%s.%s'', tablename, attname) FROM pg_stats WHERE schemaname = ''billing''
        AND strpos(concat_ws('' '', most_common_vals::text, histogram_bounds::text, most_common_elems::text), what) > 0';
SELECT isnt_empty(format('SELECT pg_temp.sampled(%L)', :'bob'), 'what was sampled of its rows can be found');
SELECT is_empty(format('SELECT pg_temp.sampled(w) FROM unnest(ARRAY[''bob@example.com'', %L, %L]) w', :'before', :'client'),
    'nor has the planner kept its address, hash or clients');
SELECT is((SELECT to_jsonb(u) - 'account_id' - 'user_id' - 'added_at' - 'removed_at' FROM billing.account_user u WHERE user_id = :'bob'),
    '{"role": "member", "email": null, "added_by": null, "email_key": null, "disabled_at": null, "password_hash": null}', 'nothing is left of it');
SELECT is_empty(format('SELECT 1 FROM billing.login_client WHERE user_id = %L', :'bob'), 'nor of its clients');
SELECT isnt_empty(format('SELECT 1 FROM billing.ledger WHERE user_id = %L', :'bob'), 'the ledger stays');
SELECT lives_ok(format('SELECT billing.erase_user(%L)', :'cyd'), 'a removed user as well');
SELECT throws_ok('SELECT billing.erase_user(gen_random_uuid())', 'PB013', 'user does not exist');
SELECT throws_ok('SELECT billing.erase_user(NULL)', '22004', 'user_id must not be null');

-- A restore takes users in any order, over the limit and without an admin
SET check_function_bodies = off;
SELECT lives_ok(format('INSERT INTO billing.account_user (account_id, user_id, email, email_key, role)
    SELECT %L, gen_random_uuid(), ''r'' || i || ''@example.com'', ''r'' || i || ''@example.com'', ''member'' FROM generate_series(1, 5) i', :'a'),
    'restored rows are not counted');
SELECT throws_ok(format('SELECT billing.add_user_within_limit(%L, %L, NULL)', :'a', 'x@example.com'), 'PB007', NULL, 'functions are still held to the limit');
RESET check_function_bodies;
SELECT throws_ok(format('INSERT INTO billing.account_user (account_id, email, role) VALUES (%L, %L, %L)', :'a', 'x@example.com', 'member'),
    'PB007', NULL, 'so are the owner''s rows without the setting');

SELECT finish();
ROLLBACK;
