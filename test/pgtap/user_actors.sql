-- Who may change an account's users: by function as the application, and by plain DML as a role
-- that may write the table but is no administrator.
BEGIN;

SELECT plan(32);

SET billing.password_memory = '19MB';
SELECT billing.create_app('crm', 'CRM');
SELECT billing.create_role('manager', '{billing:manage_users, crm:*}');
SELECT billing.create_plan('team', 'subscription', duration => '30 days', user_limit => 4);
SELECT billing.create_account('A', '11111111-1111-4111-8111-1111111111aa') AS a \gset
SELECT billing.create_account('B', '22222222-2222-4222-8222-2222222222bb') AS b \gset
SELECT billing.create_account('C', '33333333-3333-4333-8333-3333333333cc') AS c \gset
SELECT billing.subscribe(:'a', 'team'), billing.subscribe(:'b', 'team');

CREATE ROLE app;
GRANT USAGE ON SCHEMA billing TO app;
GRANT EXECUTE ON FUNCTION billing.add_user_within_limit, billing.remove_user, billing.set_user_role, billing.disable_user,
    billing.enable_user, billing.authenticate_user TO app;
GRANT INSERT (account_id, email, role, added_by, disabled_at), UPDATE (role) ON billing.account_user TO app;
GRANT SELECT (account_id, user_id, email, role) ON billing.account_user TO app;
-- pgTAP's functions write temporary tables and sequences
DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO app', pg_my_temp_schema()::regnamespace); END $$;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO app;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO app;

PREPARE add(uuid, text, text, uuid) AS SELECT billing.add_user_within_limit($1, $2, NULL, $3, $4);
PREPARE plain(uuid, text, text, uuid) AS INSERT INTO billing.account_user (account_id, email, role, added_by) VALUES ($1, $2, $3, $4);
CREATE FUNCTION pg_temp.id(address text) RETURNS uuid LANGUAGE sql AS
    'SELECT user_id FROM billing.account_user WHERE email = address';

SET ROLE app;

-- The first user
SELECT throws_ok(format('EXECUTE add(%L, %L, %L, NULL)', :'a', 'one@example.com', 'member'), 'PB006',
    'the first user of an account must have the role admin', 'function: no member first');
SELECT throws_ok(format('EXECUTE plain(%L, %L, %L, NULL)', :'a', 'one@example.com', 'member'), 'PB006',
    'the first user of an account must have the role admin', 'INSERT: no member first');
SELECT throws_ok(format('INSERT INTO billing.account_user (account_id, email, role) VALUES (%L, ''x@example.com'', ''admin''),
    (%1$L, ''y@example.com'', ''admin'')', :'a'), 'PB006', NULL, 'INSERT: not two at once');
SELECT lives_ok(format('EXECUTE add(%L, %L, %L, NULL)', :'a', 'ada@example.com', 'admin'), 'function: an admin');
SELECT lives_ok(format('EXECUTE plain(%L, %L, %L, NULL)', :'b', 'ben@example.com', 'admin'), 'INSERT: an admin');
SELECT throws_ok(format('EXECUTE add(%L, %L, %L, NULL)', :'a', 'two@example.com', 'admin'), 'PB006',
    'added_by must name a user who may manage the account''s users', 'function: the second is no first');
SELECT throws_ok(format('EXECUTE plain(%L, %L, %L, NULL)', :'b', 'two@example.com', 'admin'), 'PB006',
    'added_by must name a user who may manage the account''s users', 'INSERT: the second is no first');

-- By whom others are added
SELECT pg_temp.id('ada@example.com') AS ada, pg_temp.id('ben@example.com') AS ben \gset
SELECT lives_ok(format('EXECUTE add(%L, %L, %L, %L)', :'a', 'bob@example.com', 'member', :'ada'), 'function: by the admin');
SELECT lives_ok(format('EXECUTE plain(%L, %L, %L, %L)', :'a', 'eve@example.com', 'manager', :'ada'), 'INSERT: by the admin');
SELECT pg_temp.id('bob@example.com') AS bob, pg_temp.id('eve@example.com') AS eve \gset
SELECT throws_ok(format('EXECUTE plain(%L, %L, %L, %L)', :'a', 'x@example.com', 'member', :'bob'), 'PB006',
    'user may not manage the users of the account', 'INSERT: not by a member');
SELECT throws_ok(format('EXECUTE plain(%L, %L, %L, %L)', :'b', 'x@example.com', 'member', :'ada'), 'PB006',
    NULL, 'INSERT: not by another account''s admin');
SELECT throws_ok(format('INSERT INTO billing.account_user (account_id, email, role, added_by)
    SELECT %L, ''z@example.com'', ''admin'', user_id FROM (SELECT gen_random_uuid() AS user_id) u', :'a'), 'PB006', NULL, 'INSERT: not by nobody');
SELECT lives_ok(format('EXECUTE add(%L, %L, %L, %L)', :'a', 'fay@example.com', 'member', :'eve'),
    'a role that keeps billing:manage_users is enough');
SELECT throws_ok(format('EXECUTE add(%L, %L, %L, %L)', :'a', 'gus@example.com', 'member', :'ada'), 'PB007', NULL, 'the limit holds for the application');

-- On whose behalf users are changed
SELECT throws_ok(format('SELECT billing.disable_user(%L)', :'bob'), 'PB006',
    'acting_user must name a user who may manage the account''s users', 'disable_user: nobody named');
SELECT throws_ok(format('SELECT billing.enable_user(%L)', :'bob'), 'PB006', NULL, 'enable_user: nobody named');
SELECT throws_ok(format('SELECT billing.remove_user(%L)', :'bob'), 'PB006', NULL, 'remove_user: nobody named');
SELECT throws_ok(format('SELECT billing.set_user_role(%L, %L)', :'bob', 'admin'), 'PB006', NULL, 'set_user_role: nobody named');
SELECT throws_ok(format('SELECT billing.set_user_role(%L, %L, %1$L)', :'bob', 'admin'), 'PB006', NULL, 'nobody promotes himself');
SELECT throws_ok(format('SELECT billing.disable_user(%L, %L)', :'bob', :'ben'), 'PB006', NULL, 'nor acts in another account');
SELECT lives_ok(format('SELECT billing.disable_user(%L, %L)', :'bob', :'ada'), 'the admin acts');
SELECT throws_ok(format('SELECT billing.enable_user(%L, %1$L)', :'bob'), 'PB006', NULL, 'a disabled user does not');
SELECT lives_ok(format('SELECT billing.enable_user(%L, %L)', :'bob', :'eve'), 'a manager acts');
SELECT throws_ok(format('UPDATE billing.account_user SET role = %L WHERE user_id = %L', 'member', :'ada'), 'PB017', NULL,
    'a manager is no admin: the last one stays');

-- An acting user needs access, too
RESET ROLE;
SELECT billing.advance_test_clock(:'a', '31 days');
SET ROLE app;
SELECT throws_ok(format('SELECT billing.remove_user(%L, %L)', :'bob', :'eve'), 'PB006', NULL, 'who has lost the seat acts no more');
SELECT throws_ok(format('SELECT billing.remove_user(%L, %L)', :'bob', :'ada'), 'PB006', NULL, 'without any plan nobody does');
RESET ROLE;
SELECT billing.create_plan('free', 'free', user_limit => 1);
SET ROLE app;
SELECT throws_ok(format('SELECT billing.remove_user(%L, %L)', :'bob', :'eve'), 'PB006', NULL, 'on the free plan the seat is still lost');
SELECT lives_ok(format('SELECT billing.remove_user(%L, %L)', :'bob', :'ada'), 'the admin, who has the one seat, makes room');
RESET ROLE;
SELECT billing.suspend_account(:'a', 'unpaid');
SET ROLE app;
SELECT throws_ok(format('SELECT billing.remove_user(%L, %L)', :'eve', :'ada'), 'PB006', NULL, 'nobody acts in a suspended account');

-- What the application cannot read
SELECT throws_ok('SELECT password_hash FROM billing.account_user', '42501', NULL, 'hashes are not for the application');
SELECT throws_ok('SELECT * FROM billing.login_failure', '42501', NULL, 'nor who is locked out');
RESET ROLE;
SELECT is_empty(format('SELECT 1 FROM billing.account_user WHERE account_id = %L', :'c'), 'the third account was left alone');

SELECT finish();
ROLLBACK;
