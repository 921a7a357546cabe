-- A hold that is over keeps no tokens, whether that is written or not: every check and every view says
-- what a consumption then does, served from the ledger. Within this transaction no worker sees the holds.
-- From the engine's memory, and on a hot standby: test/t/standby.pl.
BEGIN;

SELECT no_plan();
\ir helper/overdue.psql

SELECT overdue_make(clock) FROM generate_series(1, 2) clock;
SELECT overdue_hold(clock) FROM generate_series(1, 2) clock;

SELECT is(overdue_open(overdue_account(clock, n)), 1::bigint, format('account %s, clock %s: a hold is over, which nobody has written', n, clock))
  FROM generate_series(1, 2) clock, unnest(ARRAY[1, 2, 3, 4, 6, 7, 11, 12]) n;
SELECT is(overdue_said(clock, n), e, format('account %s, clock %s: what is said', n, clock))
  FROM overdue_expected e, generate_series(1, 2) clock;
CREATE TABLE said AS
SELECT overdue_account(clock, n) AS account, overdue_everything_said(overdue_account(clock, n)) AS said
  FROM generate_series(1, 2) clock, generate_series(1, 12) n;
SELECT is(overdue_takes(overdue_account(clock, n), app), 'what is said', format('account %s, clock %s: what is taken for %s', n, clock, coalesce(app, 'no app')))
  FROM generate_series(1, 2) clock, generate_series(1, 12) n, unnest(ARRAY['mail', 'chat', NULL]) app
 WHERE n <> 6;
SELECT is(overdue_open(overdue_account(clock, 1)), 1::bigint, 'which is undone') FROM generate_series(1, 2) clock;

-- seats
SELECT is(billing.seats_allowed(overdue_account(clock, 7)), 3::bigint, 'the plan allows more users than the free plan') FROM generate_series(1, 2) clock;
SELECT is((SELECT string_agg(status, ' ') FROM billing.account_member WHERE account_id = overdue_account(clock, 7)), 'active active', 'each has a seat') FROM generate_series(1, 2) clock;
SELECT is((SELECT string_agg(p, ' ') FROM billing.account_user u, billing.user_permissions(u.user_id) p WHERE u.email LIKE 'member' || clock || '@%'), 'mail:send', 'and may do what the plan grants') FROM generate_series(1, 2) clock;
SAVEPOINT seats;
SELECT ok(billing.add_user_within_limit(overdue_account(clock, 7), 'third' || clock || '@example.org', NULL, 'member',
        (SELECT user_id FROM billing.account_user WHERE email = 'admin' || clock || '@example.org')) IS NOT NULL, 'one more is taken') FROM generate_series(1, 2) clock;
SELECT throws_ok(format('SELECT billing.add_user_within_limit(%L, ''fourth@example.org'', NULL, ''member'')', overdue_account(clock, 7)), 'PB007', NULL, 'but not two') FROM generate_series(1, 2) clock;
SELECT is((SELECT c.reason FROM billing.account_user u, billing.try_consume_tokens(u.account_id, 1, 'mail', user_id => u.user_id) c
        WHERE u.email = 'third' || clock || '@example.org'), 'allowed', 'who may consume') FROM generate_series(1, 2) clock;
ROLLBACK TO seats;

-- a hold that ended is not returned once more
SELECT overdue_account(1, 1) AS one, overdue_account(2, 3) AS three \gset
SAVEPOINT ending;
SELECT is(billing.release_hold((SELECT hold_id FROM billing.hold WHERE account_id = :'one')), 100::bigint, 'released after its end');
SELECT is(billing.tokens_remaining(:'one', 'mail'), 100::bigint, 'the tokens are there once');
SAVEPOINT running;
SELECT is(billing.release_hold((SELECT hold_id FROM billing.open_hold WHERE account_id = :'three')), 90::bigint, 'the answer of a release counts what another hold kept');
SELECT is(billing.tokens_remaining(:'three', 'mail'), 90::bigint, 'as the check does');
ROLLBACK TO running;
SELECT is(billing.consume_tokens(:'three', 30, 'mail'), 0::bigint, 'taken with what lapses');
SELECT is(billing.tokens_remaining(:'three', 'mail'), 0::bigint, 'nothing is left');
SELECT is(billing.plan_is_active(:'three'), false, 'and no plan in force');
ROLLBACK TO ending;

-- The same once it is written
SELECT cmp_ok(billing.expire_due(), '>=', 17::bigint, 'the lapses are written');
SELECT is(sum(overdue_open(account)), 0::numeric, 'all of them') FROM said;
SELECT is(overdue_everything_said(account), said, format('account %s: nothing is said differently', account)) FROM said;
SELECT is((SELECT count(*) FROM billing.verify_ledger()), 0::bigint, 'the ledger is sound');

SELECT * FROM finish();
ROLLBACK;
