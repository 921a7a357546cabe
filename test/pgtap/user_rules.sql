-- Adding, removing, disabling and promoting users: seats, roles, the last admin, events; by
-- function and by plain DML, as an administrator.
BEGIN;

SELECT plan(78);

SET billing.password_memory = '19MB';
SELECT billing.create_plan('free', 'free', user_limit => 3);
SELECT billing.create_plan('team', 'subscription', duration => '30 days', user_limit => 5);
SELECT billing.create_plan('boundless', 'subscription', duration => '30 days');
SELECT billing.create_plan('calls', 'token', tokens => 10, user_limit => 4);
SELECT billing.create_app('crm', 'CRM');
SELECT billing.create_role('reader', '{crm:*}');
SELECT billing.create_account('A', '11111111-1111-4111-8111-1111111111aa') AS a \gset
SELECT billing.create_account('B', '22222222-2222-4222-8222-2222222222bb') AS b \gset

CREATE FUNCTION pg_temp.id(address text) RETURNS uuid LANGUAGE sql AS
    'SELECT user_id FROM billing.account_user WHERE email = address';
CREATE FUNCTION pg_temp.seats(account uuid) RETURNS bigint LANGUAGE sql AS
    'SELECT count(*) FROM billing.account_user WHERE account_id = account AND disabled_at IS NULL
        AND removed_at IS NULL';
CREATE FUNCTION pg_temp.add(account uuid, address text) RETURNS uuid LANGUAGE sql AS
    'SELECT billing.add_user_within_limit(account, address, NULL)';

-- Adding
SELECT billing.add_user_within_limit(:'a', 'Boss@Example.com', 'correct horse battery', 'admin') AS boss \gset
SELECT is(substr(:'boss', 35), 'aa', 'a user''s id ends in its account''s bucket byte');
CREATE FUNCTION pg_temp.show(id uuid) RETURNS text LANGUAGE sql AS
    'SELECT concat_ws('' '', coalesce(email, ''-''), coalesce(email_key, ''-''), role, CASE WHEN password_hash IS NULL THEN ''no hash'' END,
        ''by '' || added_by, CASE WHEN disabled_at IS NOT NULL THEN ''disabled'' END, CASE WHEN removed_at IS NOT NULL THEN ''removed'' END)
        FROM billing.account_user WHERE user_id = id';
SELECT is(pg_temp.show(:'boss'), 'Boss@Example.com boss@example.com admin', 'the address is stored as given, and by its key');
SELECT matches((SELECT password_hash FROM billing.account_user WHERE user_id = :'boss'),
    '^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$', 'the password is hashed by argon2id');
SELECT billing.add_user_within_limit(:'a', 'm1@example.com', NULL, added_by => :'boss') AS m1 \gset
SELECT is(pg_temp.show(:'m1'), format('m1@example.com m1@example.com member no hash by %s', :'boss'), 'a member without a password, added by the admin');

PREPARE add_wrong(uuid, text, text, text, uuid) AS SELECT billing.add_user_within_limit($1, $2, $3, $4, $5);
SELECT throws_ok(format('EXECUTE add_wrong(NULL, %L, %L, %L, NULL)', 'x@example.com', 'a good password', 'member'),
    '22004', 'account_id must not be null');
SELECT throws_ok(format('EXECUTE add_wrong(%L, NULL, %L, %L, NULL)', :'a', 'a good password', 'member'),
    '22004', 'email must not be null');
SELECT throws_ok(format('EXECUTE add_wrong(%L, %L, %L, NULL, NULL)', :'a', 'x@example.com', 'a good password'),
    '22004', 'role must not be null');
SELECT throws_ok(format('EXECUTE add_wrong(%L, %L, %L, %L, NULL)', :'a', 'x at example.com', 'a good password', 'member'),
    '22023', 'invalid email address');
SELECT throws_ok(format('EXECUTE add_wrong(%L, %L, %L, %L, NULL)', :'a', 'x@example.com', '', 'member'),
    '22023', 'password is too short');
SELECT throws_ok(format('EXECUTE add_wrong(%L, %L, %L, %L, NULL)', :'a', 'x@example.com', 'password', 'member'),
    '22023', 'password is not acceptable');
SELECT throws_ok(format('EXECUTE add_wrong(%L, %L, %L, %L, NULL)', :'a', 'longenough@example.com', 'LongEnough', 'member'),
    '22023', 'password is not acceptable');
SELECT throws_ok(format('EXECUTE add_wrong(%L, %L, repeat(%L, 2000), %L, NULL)', :'a', 'x@example.com', 'ab ', 'member'),
    '22023', 'password is too long');
SELECT throws_ok(format('EXECUTE add_wrong(%L, %L, NULL, %L, NULL)', :'a', 'x@example.com', 'No Role'),
    '22023', 'role "No Role" is not a valid code');
SELECT throws_ok(format('EXECUTE add_wrong(%L, %L, NULL, %L, NULL)', :'a', 'x@example.com', 'nobody'),
    'PB016', 'role does not exist');
SELECT throws_ok(format('EXECUTE add_wrong(%L, %L, NULL, %L, NULL)', gen_random_uuid(), 'x@example.com', 'member'),
    'PB001', 'account does not exist');
SELECT throws_ok(format('EXECUTE add_wrong(%L, %L, NULL, %L, NULL)', :'a', 'BOSS@EXAMPLE.COM', 'member'),
    '23505', 'email address is already in use');
SELECT throws_ok(format('EXECUTE add_wrong(%L, %L, NULL, %L, NULL)', :'b', 'boss@example.com', 'admin'),
    '23505', 'email address is already in use', 'the same message for the address of another account''s user');
SELECT throws_ok(format('EXECUTE add_wrong(%L, %L, NULL, %L, %L)', :'a', 'x@example.com', 'member', :'m1'),
    'PB006', 'user may not manage the users of the account', 'a member adds nobody');
SELECT throws_ok(format('EXECUTE add_wrong(%L, %L, NULL, %L, %L)', :'b', 'x@example.com', 'member', :'boss'),
    'PB006', 'user may not manage the users of the account', 'an admin adds nobody to another account');
SELECT throws_ok(format('EXECUTE add_wrong(%L, %L, NULL, %L, %L)', :'a', 'x@example.com', 'member', gen_random_uuid()),
    'PB006', 'user may not manage the users of the account', 'nobody in particular adds nobody');
SELECT is(pg_temp.seats(:'a'), 2::bigint, 'errors added nobody');

-- The limit of the free plan
SELECT lives_ok(format('SELECT pg_temp.add(%L, %L)', :'a', 'm2@example.com'), 'the third of three seats');
SELECT throws_ok(format('SELECT pg_temp.add(%L, %L)', :'a', 'm3@example.com'), 'PB007', 'user limit reached');
CREATE FUNCTION pg_temp.explain(sql text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE detail text; hint text;
BEGIN
    EXECUTE sql;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN ARRAY[detail, hint];
END $$;
SELECT is(pg_temp.explain(format('SELECT pg_temp.add(%L, %L)', :'a', 'm3@example.com')), ARRAY[
    'The plan "free" allows 3 users; account 11111111-1111-4111-8111-1111111111aa would have 4.',
    'Upgrade to a plan that allows more users, or disable or remove a user.'], 'the error has the figures and says what to do');
PREPARE plain(uuid, text) AS INSERT INTO billing.account_user (account_id, email, role) VALUES ($1, $2, 'member');
SELECT throws_ok(format('EXECUTE plain(%L, %L)', :'a', 'm3@example.com'), 'PB007', 'user limit reached', 'plain INSERT');

-- A larger plan
SELECT billing.subscribe(:'a', 'team');
SELECT throws_ok(format('INSERT INTO billing.account_user (account_id, email, role)
    SELECT %L, ''x'' || i || ''@example.com'', ''member'' FROM generate_series(1, 3) i', :'a'),
    'PB007', 'user limit reached', 'INSERT … SELECT of one too many: none of them');
SELECT is(pg_temp.seats(:'a'), 3::bigint, 'none of them is there');
SELECT lives_ok(format('INSERT INTO billing.account_user (account_id, email, role)
    SELECT %L, ''x'' || i || ''@example.com'', ''member'' FROM generate_series(1, 2) i', :'a'), 'as many as fit');
SELECT is(substr(pg_temp.id('x1@example.com')::text, 35), 'aa', 'plain INSERT gets an id of the account');
SELECT throws_ok(format('EXECUTE plain(%L, %L)', :'a', 'm3@example.com'), 'PB007', 'user limit reached', 'the sixth of five');
SELECT billing.subscribe(:'b', 'calls');
SELECT lives_ok(format('INSERT INTO billing.account_user (account_id, email, role)
    SELECT %L, ''b'' || i || ''@example.com'', ''member'' FROM generate_series(1, 4) i', :'b'), 'the four seats of a token plan');
SELECT billing.consume_tokens(:'b', 10);
SELECT is((pg_temp.explain(format('SELECT pg_temp.add(%L, %L)', :'b', 'b5@example.com')))[1],
    'The plan "free" allows 3 users; account 22222222-2222-4222-8222-2222222222bb would have 5.',
    'without tokens the token plan''s seats are gone');
SELECT billing.subscribe(:'b', 'boundless');
SELECT lives_ok(format('INSERT INTO billing.account_user (account_id, email, role)
    SELECT %L, ''c'' || i || ''@example.com'', ''member'' FROM generate_series(1, 200) i', :'b'), 'a plan without a limit');

-- Disabling frees a seat, enabling takes one
SELECT lives_ok(format('SELECT billing.disable_user(%L, %L)', :'m1', :'boss'), 'the admin disables a user');
SELECT lives_ok(format('SELECT billing.disable_user(%L)', :'m1'), 'again: nothing happens');
SELECT lives_ok(format('EXECUTE plain(%L, %L)', :'a', 'm3@example.com'), 'the seat is free');
SELECT throws_ok(format('SELECT billing.enable_user(%L, %L)', :'m1', :'boss'), 'PB007', 'user limit reached');
SELECT throws_ok(format('UPDATE billing.account_user SET disabled_at = NULL WHERE user_id = %L', :'m1'),
    'PB007', 'user limit reached', 'by plain UPDATE');
SELECT throws_ok(format('INSERT INTO billing.account_user (account_id, email, role, disabled_at)
        VALUES (%L, ''d@example.com'', ''member'', now());
    UPDATE billing.account_user SET disabled_at = NULL WHERE email = ''d@example.com''', :'a'),
    'PB007', 'user limit reached', 'a disabled user takes no seat before being enabled');
SELECT lives_ok(format('UPDATE billing.account_user SET disabled_at = CASE WHEN user_id = %L THEN NULL ELSE now() END
    WHERE user_id IN (%1$L, pg_temp.id(''m3@example.com''))', :'m1'), 'one statement may swap two users');
SELECT billing.remove_user(pg_temp.id('x1@example.com'), :'boss');
SELECT lives_ok(format('SELECT billing.enable_user(pg_temp.id(%L), %L)', 'm3@example.com', :'boss'), 'a removed user''s seat is free');
SELECT is(pg_temp.seats(:'a'), 5::bigint, 'five of five');

-- Removing
SELECT billing.add_user_within_limit(:'b', 'gone@example.com', 'correct horse battery') AS gone \gset
SELECT billing.remove_user(:'gone');
SELECT is(pg_temp.show(:'gone'), '- - member no hash removed', 'the id stays, email and hash are erased');
SELECT throws_ok(format('SELECT billing.remove_user(%L)', :'gone'), 'PB013', 'user does not exist');
SELECT throws_ok(format('SELECT billing.enable_user(%L)', :'gone'), 'PB013', 'user does not exist');
SELECT throws_ok(format('SELECT billing.disable_user(%L)', :'gone'), 'PB013', 'user does not exist');
SELECT throws_ok(format('SELECT billing.set_user_role(%L, %L)', :'gone', 'admin'), 'PB013', 'user does not exist');
SELECT throws_ok(format('SELECT billing.set_user_password(%L, %L)', :'gone', 'a good password'), 'PB013', 'user does not exist');
SELECT throws_ok(format('UPDATE billing.account_user SET removed_at = NULL WHERE user_id = %L', :'gone'),
    'PB013', 'a removed user cannot come back');
SELECT lives_ok(format('SELECT pg_temp.add(%L, %L)', :'b', 'gone@example.com'), 'the address can be used again');
UPDATE billing.account_user SET removed_at = now() WHERE email = 'gone@example.com';
SELECT is(pg_temp.id('gone@example.com'), NULL, 'plain UPDATE erases as well');
SELECT throws_ok('SELECT billing.remove_user(NULL)', '22004', 'user_id must not be null');
SELECT throws_ok('SELECT billing.remove_user(gen_random_uuid())', 'PB013', 'user does not exist');

-- All at once
SELECT throws_ok('TRUNCATE billing.' || t || ' CASCADE', 'PB012', 'rows of billing.account_user cannot be truncated', 'no TRUNCATE of ' || t)
  FROM unnest('{account_user,role}'::text[]) t;

-- The last admin
SELECT throws_ok(format('SELECT billing.remove_user(%L)', :'boss'), 'PB017', 'the last admin of an account must stay while others remain');
SELECT throws_ok(format('SELECT billing.disable_user(%L, %1$L)', :'boss'), 'PB017', NULL, 'cannot be disabled');
SELECT throws_ok(format('SELECT billing.set_user_role(%L, %L)', :'boss', 'member'), 'PB017', NULL, 'cannot be demoted');
SELECT throws_ok(format('DELETE FROM billing.account_user WHERE user_id = %L', :'boss'), 'PB017', NULL, 'cannot be deleted');
SELECT throws_ok(format('UPDATE billing.account_user SET role = %L WHERE account_id = %L', 'member', :'a'), 'PB017', NULL, 'nor in one statement with others');
SELECT throws_ok(format('UPDATE billing.account_user SET disabled_at = now() WHERE account_id = %L', :'a'), 'PB017', NULL, 'nor be disabled with all');
SELECT billing.set_user_role(:'m1', 'admin', :'boss');
SELECT lives_ok(format('SELECT billing.set_user_role(%L, %L, %1$L)', :'boss', 'member'), 'another admin is there');
SELECT throws_ok(format('SELECT billing.set_user_role(%L, %L, %1$L)', :'boss', 'admin'), 'PB006', NULL, 'who is no admin any more promotes nobody');
SELECT throws_ok(format('SELECT billing.set_user_role(%L, %L)', :'boss', 'nobody'), 'PB016', 'role does not exist');
SELECT throws_ok(format('SELECT billing.set_user_role(%L, NULL)', :'boss'), '22004', 'role must not be null');
SELECT lives_ok(format('DELETE FROM billing.account_user WHERE account_id = %L', :'a'), 'all of them at once leave nobody behind');
SELECT billing.add_user_within_limit(:'a', 'alone@example.com', NULL, 'admin') AS alone \gset
SELECT lives_ok(format('SELECT billing.remove_user(%L, %1$L)', :'alone'), 'who is alone may go');

-- Suspension
SELECT billing.create_account('C', '33333333-3333-4333-8333-3333333333cc') AS c \gset
SELECT pg_temp.add(:'c', 'c-one@example.com') AS one, pg_temp.add(:'c', 'c-two@example.com') AS two \gset
SELECT billing.disable_user(:'one');
SELECT billing.suspend_account(:'c', 'unpaid');
SELECT throws_ok(format('SELECT pg_temp.add(%L, %L)', :'c', 'c-three@example.com'), 'PB002', 'account is suspended');
SELECT throws_ok(format('EXECUTE plain(%L, %L)', :'c', 'c-three@example.com'), 'PB002', 'account is suspended');
SELECT throws_ok(format('SELECT billing.enable_user(%L)', :'one'), 'PB002', 'account is suspended');
SELECT lives_ok(format('SELECT billing.remove_user(%L)', :'two'), 'an administrator removes users of a suspended account');

-- What nobody may write
SELECT throws_ok(format('UPDATE billing.account_user SET account_id = %L WHERE user_id = %L', :'b', :'one'),
    '22023', 'account_id, user_id and added_by of a user cannot be changed');
SELECT throws_ok(format('UPDATE billing.account_user SET password_hash = %L WHERE user_id = %L', 'plain text', :'one'),
    '22023', 'password_hash is not an argon2 hash in PHC format');
UPDATE billing.account_user SET email_key = 'other' WHERE user_id = :'one';
SELECT is((SELECT email_key FROM billing.account_user WHERE user_id = :'one'), 'c-one@example.com', 'the key is always computed');
SELECT is(pg_temp.explain(format('INSERT INTO billing.account_user (account_id, email, role, password_hash) VALUES (%L, %L, NULL, %L)',
    :'b', 'r@example.com', '$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA')), ARRAY['', 'Give it a value.'],
    'a missing value is said without quoting the row');

-- Events
SELECT is((SELECT string_agg(kind, ' ' ORDER BY event_id) FROM billing.event WHERE account_id = :'c'),
    'account_created user_added user_added user_disabled account_suspended user_removed', 'one event each');
SELECT results_eq(format($$SELECT detail - 'user_id' FROM billing.event WHERE kind = 'user_role_changed' AND account_id = %L ORDER BY event_id$$, :'a'),
    format($$VALUES ('{"from": "member", "to": "admin", "acting_user": "%s"}'::jsonb), ('{"from": "admin", "to": "member", "acting_user": "%1$s"}')$$, :'boss'),
    'who changed a role from what to what');
SELECT is_empty($$SELECT * FROM billing.event WHERE detail::text ~ '@|argon2|horse'$$, 'no event has an address or a secret');

SELECT finish();
ROLLBACK;
