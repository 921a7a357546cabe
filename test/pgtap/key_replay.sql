-- A key answers with its first answer whatever became of the account, and whether or not the session
-- expects it: a session whose last key was new finds out from the insertion, one whose last key had an
-- answer looks first.

BEGIN;

SET LOCAL client_min_messages = warning;

SELECT no_plan();

\set account '''6e900000-0000-4000-8000-000000000001'''
\set other '''6e900000-0000-4000-8000-000000000002'''

SELECT billing.create_app('ai', 'AI');
SELECT billing.create_plan('free', 'free', user_limit => 5);
SELECT billing.create_account('One', :account), billing.create_account('Two', :other);
SELECT billing.grant_tokens(:account, 100), billing.grant_tokens(:other, 1000);
SELECT billing.add_user_within_limit(:account, 'a@example.com', NULL) AS user_id \gset

SELECT billing.consume_tokens(:account, 7, NULL, 'k', 'render', :'user_id') AS first \gset
SELECT billing.hold_tokens(:account, 5, interval '1 hour', NULL, 'h') AS hold \gset

-- the session's last key was new; it had an answer
CREATE FUNCTION pg_temp.new_before() RETURNS bigint LANGUAGE sql AS
    $$SELECT billing.consume_tokens('6e900000-0000-4000-8000-000000000002', 1, NULL, gen_random_uuid()::text)$$;
CREATE FUNCTION pg_temp.answer_before() RETURNS bigint LANGUAGE sql AS $$
    SELECT billing.consume_tokens('6e900000-0000-4000-8000-000000000002', 1, NULL, 'same');
    SELECT billing.consume_tokens('6e900000-0000-4000-8000-000000000002', 1, NULL, 'same')$$;

CREATE FUNCTION pg_temp.rows() RETURNS bigint LANGUAGE sql AS
    $$SELECT count(*) FROM billing.ledger WHERE account_id = '6e900000-0000-4000-8000-000000000001'$$;

CREATE FUNCTION pg_temp.replays(state text, first bigint, hold uuid, user_id uuid) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    account uuid := '6e900000-0000-4000-8000-000000000001';
    before bigint := pg_temp.rows();
    left_before bigint := billing.tokens_remaining(account);
    call text;
BEGIN
    FOREACH call IN ARRAY '{new_before,answer_before}'::text[] LOOP
        EXECUTE format('SELECT pg_temp.%I()', call);
        RETURN NEXT is(t, (true, 'allowed', first, true)::billing.consumption, format('%s, %s: the first answer', state, call))
           FROM billing.try_consume_tokens(account, 7, NULL, 'k', 'render', user_id) t;
        EXECUTE format('SELECT pg_temp.%I()', call);
        RETURN NEXT is(billing.consume_tokens(account, 7, NULL, 'k', 'render', user_id), first, format('%s, %s: of consume_tokens too', state, call));
        EXECUTE format('SELECT pg_temp.%I()', call);
        RETURN NEXT is(billing.hold_tokens(account, 5, interval '1 hour', NULL, 'h'), hold, format('%s, %s: the first hold', state, call));
        EXECUTE format('SELECT pg_temp.%I()', call);
        RETURN NEXT throws_ok(format('SELECT billing.consume_tokens(%L, 8, NULL, ''k'', ''render'', %L)', account, user_id),
            'PB008', NULL, format('%s, %s: another request', state, call));
        EXECUTE format('SELECT pg_temp.%I()', call);
        RETURN NEXT throws_ok(format('SELECT billing.consume_tokens(%L, 1000, NULL, ''k'', ''render'', %L)', account, user_id),
            'PB008', NULL, format('%s, %s: another request for more than there is', state, call));
    END LOOP;
    RETURN NEXT is(pg_temp.rows(), before, state || ': no row of the ledger is left');
    RETURN NEXT is(billing.tokens_remaining(account), left_before, state || ': no token was taken');
    RETURN NEXT is_empty(format('SELECT * FROM billing.verify_ledger(%L)', account), state || ': the ledger is sound');
END $$;

SELECT pg_temp.replays('tokens are left', :first, :'hold', :'user_id');
SAVEPOINT sound;
SELECT billing.consume_tokens(:account, billing.tokens_remaining(:account));
SELECT pg_temp.replays('exhausted', :first, :'hold', :'user_id');
ROLLBACK TO sound;
SELECT billing.disable_user(:'user_id');
SELECT pg_temp.replays('the user is disabled', :first, :'hold', :'user_id');
ROLLBACK TO sound;
SELECT billing.suspend_account(:account, 'test');
SELECT pg_temp.replays('suspended', :first, :'hold', :'user_id');
ROLLBACK TO sound;
SELECT billing.void_grant(grant_id) FROM billing.token_grant WHERE account_id = :account;
SELECT pg_temp.replays('the grant is void', :first, :'hold', :'user_id');

SELECT finish();

ROLLBACK;
