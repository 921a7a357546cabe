-- How often a password may be guessed.
BEGIN;
SET billing.password_memory = '19MB';
SET billing.login_attempts = 3;
SET billing.login_lockout = '2s';
SELECT billing.create_plan('free', 'free', user_limit => 20);
SELECT billing.create_account('A') AS a \gset
SELECT billing.add_user_within_limit(:'a', 'ada@example.com', 'correct horse battery', 'admin') AS ada \gset
SELECT billing.add_user_within_limit(:'a', 'bob@example.com', 'staple battery horse') AS bob \gset
CREATE FUNCTION pg_temp.login(email text, password text) RETURNS text LANGUAGE sql AS
    $$SELECT reason FROM billing.authenticate_user(email, password)$$;

-- A right password begins the count anew
SELECT pg_temp.login('ada@example.com', 'wrong ' || i) FROM generate_series(1, 2) i;
SELECT pg_temp.login('ada@example.com', 'correct horse battery');
SELECT pg_temp.login('ada@example.com', 'wrong ' || i) FROM generate_series(1, 2) i;
SELECT pg_temp.login('ada@example.com', 'correct horse battery');

-- Three in a row lock out, whoever else may come in; it ends by itself
SELECT pg_temp.login('ada@example.com', 'wrong ' || i) FROM generate_series(1, 3) i;
SELECT pg_temp.login('ada@example.com', 'correct horse battery');
SELECT pg_temp.login('bob@example.com', 'staple battery horse');
SELECT pg_sleep(2.1);
SELECT pg_temp.login('ada@example.com', 'correct horse battery');

-- It grows with each further wrong password, not with what is tried while it lasts
SELECT pg_temp.login('ada@example.com', 'wrong ' || i) FROM generate_series(1, 3) i;
SELECT pg_sleep(2.1);
SELECT pg_temp.login('ada@example.com', 'wrong 4');
SELECT pg_sleep(2.1);
SELECT pg_temp.login('ada@example.com', 'correct horse battery');
SELECT pg_temp.login('ada@example.com', 'wrong ' || i) FROM generate_series(5, 9) i;
SELECT pg_sleep(2.1);
SELECT pg_temp.login('ada@example.com', 'correct horse battery');

-- A new password ends it
SELECT pg_temp.login('ada@example.com', 'wrong ' || i) FROM generate_series(1, 3) i;
SELECT pg_temp.login('ada@example.com', 'correct horse battery');
SELECT billing.set_user_password(:'ada', 'horse staple battery');
SELECT pg_temp.login('ada@example.com', 'horse staple battery');

-- In an account under attack one wrong password locks out who got it wrong, and nobody else
SET billing.login_account_attempts = 4;
SELECT billing.create_account('B') AS b \gset
SELECT billing.add_user_within_limit(:'b', 'cyd@example.com', 'correct horse battery', 'admin') AS cyd \gset
SELECT billing.add_user_within_limit(:'b', 'dan@example.com', 'correct horse battery') AS dan \gset
SELECT billing.add_user_within_limit(:'b', 'eve@example.com', 'correct horse battery') AS eve \gset
SELECT pg_temp.login('cyd@example.com', 'wrong ' || i) FROM generate_series(1, 3) i;
SELECT pg_temp.login('dan@example.com', 'wrong 1');
SELECT pg_temp.login('dan@example.com', 'correct horse battery');
SELECT pg_temp.login('eve@example.com', 'correct horse battery');
SELECT pg_temp.login('bob@example.com', 'staple battery horse');
SELECT pg_sleep(2.1);
SELECT pg_temp.login('dan@example.com', 'correct horse battery');

-- Settings have bounds
SET billing.login_attempts = 0;
ROLLBACK;
\set VERBOSITY sqlstate
SET billing.login_lockout_limit = '1d';
