-- Users and logins, with and without the library preloaded.
BEGIN;
SET billing.password_memory = '19MB';
SELECT billing.create_plan('free', 'free', user_limit => 2);
SELECT billing.create_account('A', '11111111-1111-4111-8111-1111111111aa') AS a \gset
SELECT billing.add_user_within_limit(:'a', 'Ada@Example.com', 'correct horse battery', 'admin') AS ada \gset
SELECT billing.add_user_within_limit(:'a', 'bob@example.com', NULL, added_by => :'ada') AS bob \gset
SAVEPOINT s;
SELECT billing.add_user_within_limit(:'a', 'eve@example.com', 'correct horse battery', added_by => :'ada');
ROLLBACK TO s;
INSERT INTO billing.account_user (account_id, email, role) VALUES (:'a', 'eve@example.com', 'member');
ROLLBACK TO s;

-- What a login answers
CREATE FUNCTION pg_temp.login(email text, password text) RETURNS text LANGUAGE sql AS
    $$SELECT concat_ws(' ', u.email, a.name, l.role, l.allowed, l.reason) FROM billing.authenticate_user(email, password) l
        LEFT JOIN billing.account_user u USING (user_id) LEFT JOIN billing.account a ON a.account_id = l.account_id$$;
SELECT pg_temp.login('ADA@example.com', 'correct horse battery');
SELECT pg_temp.login('ada@example.com', 'Correct horse battery');
SELECT pg_temp.login('nobody@example.com', 'correct horse battery');
SELECT pg_temp.login('bob@example.com', 'correct horse battery');
SELECT pg_temp.login(NULL, 'correct horse battery');
SELECT pg_temp.login('ada@example.com', NULL);
SELECT pg_temp.login('no address', '');
SELECT billing.set_user_password(:'bob', 'staple battery horse');
SELECT pg_temp.login('bob@example.com', 'staple battery horse');
SELECT billing.create_plan('month', 'subscription', duration => '30 days', user_limit => 2);
SELECT billing.subscribe(:'a', 'month') IS NULL AS failed;
SELECT pg_temp.login('bob@example.com', 'staple battery horse');
SELECT billing.disable_user(:'bob', :'ada');
SELECT pg_temp.login('bob@example.com', 'staple battery horse');
SELECT billing.suspend_account(:'a', 'unpaid');
SELECT pg_temp.login('ada@example.com', 'correct horse battery');
SELECT pg_temp.login('ada@example.com', 'incorrect');
SELECT billing.remove_user(:'bob');
SELECT pg_temp.login('bob@example.com', 'staple battery horse');

-- Setting a password
SAVEPOINT s;
SELECT billing.set_user_password(:'ada', NULL);
ROLLBACK TO s;
SELECT billing.set_user_password(NULL, 'staple battery horse');
ROLLBACK TO s;
SELECT billing.set_user_password('00000000-0000-4000-8000-000000000000', 'staple battery horse');
ROLLBACK TO s;
SELECT billing.set_user_password(:'ada', 'ada@EXAMPLE.com');
ROLLBACK;
