-- A hold that is over keeps no tokens, whether that is written or not: orders, credits and events do
-- not depend on who came first. Within this transaction no worker sees the holds.
BEGIN;

SELECT no_plan();
\ir helper/order.psql

SELECT billing.create_app('mail', 'Mail');
SELECT billing.create_plan('free', 'free');
SELECT billing.create_plan('small', 'subscription', price => '10 USD', duration => '30 days', app => 'mail', tokens => 10);
SELECT billing.create_plan('medium', 'subscription', price => '20 USD', duration => '30 days', app => 'mail', tokens => 20);
SELECT billing.create_plan('large', 'subscription', price => '30 USD', duration => '30 days', app => 'mail');
SELECT billing.create_plan('pack', 'token', price => '7 USD', tokens => 100, duration => '10 days', app => 'mail');
SELECT billing.create_plan('tiny', 'token', price => '3 USD', tokens => 30, duration => '10 days', app => 'mail');
SELECT billing.create_plan('endless', 'token', price => '5 USD', tokens => 10, app => 'mail');

CREATE FUNCTION pg_temp.hold(n int, tokens bigint) RETURNS text LANGUAGE sql AS $$
    SELECT ok(billing.hold_tokens(pg_temp.account(n), tokens, '2 days', 'mail') IS NOT NULL, 'tokens are held')
$$;
CREATE FUNCTION pg_temp.open_holds(n int) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM billing.hold WHERE account_id = pg_temp.account(n) AND NOT ended
$$;
CREATE FUNCTION pg_temp.credit(n int) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(balance::text, ' ' ORDER BY currency) FROM billing.account_credit_balance WHERE account_id = pg_temp.account(n)
$$;
CREATE FUNCTION pg_temp.ends(n int) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(kind || ' ' || extract(day FROM occurred_at - '2100-01-01'), ', ' ORDER BY event_id)
      FROM billing.event WHERE account_id = pg_temp.account(n) AND kind IN ('subscription_expired', 'free_plan_assigned')
$$;
CREATE FUNCTION pg_temp.conserved(n int) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT ok(NOT EXISTS (SELECT FROM billing.payment_conservation WHERE account_id = pg_temp.account(n) AND billing.minor_units(difference) <> 0), 'money is conserved')
$$;

-- which plan is replaced
SELECT pg_temp.open(n) FROM generate_series(1, 2) n;
SELECT is(pg_temp.pay(n, 'pack', n || 'a', '7 USD'), 'accepted', 'a token plan') FROM generate_series(1, 2) n;
SELECT pg_temp.hold(n, 100) FROM generate_series(1, 2) n;
SELECT billing.advance_test_clock(pg_temp.account(n), interval '47:59:59.999999') FROM generate_series(1, 2) n;
SELECT is(pg_temp.quote(1, 'tiny'), 'buy | 3.00 USD | 0.00 USD | 3.00 USD | 2100-01-02 23:59:59.999999 | 2100-01-12 23:59:59.999999', 'all its tokens are held: nothing to replace');
SELECT billing.advance_test_clock(pg_temp.account(n), '1 microsecond') FROM generate_series(1, 2) n;
SELECT is(pg_temp.open_holds(1), 1::bigint, 'the hold is over, which nobody has written');
SELECT is(pg_temp.quote(1, 'tiny'), 'downgrade | 3.00 USD | 0.00 USD | 3.00 USD | 2100-01-11 00:00:00 | 2100-01-21 00:00:00', 'it is in force again, and followed');
SELECT is(pg_temp.pay(1, 'tiny', '1b', '3 USD'), 'accepted', 'ordered and paid');
SELECT is(pg_temp.open_holds(1), 1::bigint, 'which needs none of the tokens');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(1)', ARRAY['pack 1 0 10 7.00 USD', 'tiny 1 10 20 3.00 USD'], 'it is scheduled');
SELECT cmp_ok(billing.expire_due(), '>=', 2::bigint, 'the lapse is written');
SELECT is(pg_temp.open_holds(2), 0::bigint, 'of the other account too');
SELECT is(pg_temp.quote(2, 'tiny'), 'downgrade | 3.00 USD | 0.00 USD | 3.00 USD | 2100-01-11 00:00:00 | 2100-01-21 00:00:00', 'which changes nothing');
SELECT pg_temp.conserved(1);

-- what is credited
SELECT pg_temp.open(n) FROM generate_series(3, 4) n;
SELECT is(pg_temp.pay(n, 'medium', n || 'a', '20 USD'), 'accepted', 'a time plan with tokens') FROM generate_series(3, 4) n;
SELECT pg_temp.hold(n, 15) FROM generate_series(3, 4) n;
SELECT billing.advance_test_clock(pg_temp.account(n), '1 day') FROM generate_series(3, 4) n;
SELECT is(pg_temp.quote(3, 'large'), 'upgrade | 30.00 USD | 5.00 USD | 25.00 USD | 2100-01-02 00:00:00 | 2100-02-01 00:00:00', 'what is held counts as used');
SELECT billing.advance_test_clock(pg_temp.account(n), '2 days') FROM generate_series(3, 4) n;
SELECT is(pg_temp.quote(3, 'large'), 'upgrade | 30.00 USD | 18.00 USD | 12.00 USD | 2100-01-04 00:00:00 | 2100-02-03 00:00:00', 'what is held no more does not');
CREATE TEMPORARY TABLE ordered AS SELECT billing.order_plan(pg_temp.account(3), 'large') AS order_id;
SELECT is((SELECT credit::text FROM billing.plan_order JOIN ordered USING (order_id)), '18.00 USD', 'in the order as in the quote');
SELECT is(pg_temp.open_holds(3), 1::bigint, 'although it is not written');
SELECT is((SELECT r.reason FROM ordered, billing.record_payment(order_id, 'psp', '3b', '12 USD') r), 'accepted', 'paid');
SELECT is((SELECT credited::text FROM billing.subscription_period WHERE account_id = pg_temp.account(3) AND plan = 'medium'), '18.00 USD', 'credited');
SELECT is(billing.tokens_remaining(pg_temp.account(3), 'mail'), 0::bigint, 'for tokens that are voided');
SELECT is(pg_temp.open_holds(3), 0::bigint, 'those that were held too');
SELECT cmp_ok(billing.expire_due(), '>=', 1::bigint, 'the lapse is written');
SELECT is(pg_temp.quote(4, 'large'), 'upgrade | 30.00 USD | 18.00 USD | 12.00 USD | 2100-01-04 00:00:00 | 2100-02-03 00:00:00', 'the same with the lapse written');
SELECT pg_temp.conserved(3);

-- what is given back for a plan that is dropped
SELECT pg_temp.open(n) FROM generate_series(5, 6) n;
SELECT is(pg_temp.pay(n, plan, n || plan, price), 'accepted', 'a token plan, and one to follow')
  FROM generate_series(5, 6) n, (VALUES ('pack', '7 USD'::billing.amount), ('tiny', '3 USD')) p (plan, price);
SELECT is(billing.consume_tokens(pg_temp.account(n), 99, 'mail'), 31::bigint, 'most tokens of the first are used') FROM generate_series(5, 6) n;
SELECT pg_temp.hold(n, 16) FROM generate_series(5, 6) n;
SELECT billing.advance_test_clock(pg_temp.account(n), CASE n WHEN 5 THEN interval '1 day' ELSE '3 days' END) FROM generate_series(5, 6) n;
SELECT lives_ok($$SELECT billing.cancel_subscription((SELECT subscription_id FROM billing.subscription WHERE account_id = pg_temp.account(n) AND plan = 'tiny')) FROM generate_series(5, 6) n$$,
    'what is to follow is dropped');
SELECT is(pg_temp.credit(5), '1.50 USD', 'half its tokens are held: half its price');
SELECT is(pg_temp.credit(6), '3.00 USD', 'held no more: all of it');
SELECT pg_temp.conserved(n) FROM generate_series(5, 6) n;

-- what is in force when another plan ends
SELECT pg_temp.open(n) FROM generate_series(7, 8) n;
SELECT is(pg_temp.pay(n, plan, n || plan, price), 'accepted', 'a plan that ends and one that does not')
  FROM generate_series(7, 8) n, (VALUES ('small', '10 USD'::billing.amount), ('endless', '5 USD')) p (plan, price);
SELECT pg_temp.hold(n, 20) FROM generate_series(7, 8) n;
SELECT billing.advance_test_clock(pg_temp.account(7), '5 days');
SELECT cmp_ok(billing.expire_due(), '>=', 1::bigint, 'of one account the lapse is written in time');
SELECT is(pg_temp.open_holds(7), 0::bigint, 'it is');
SELECT billing.set_test_clock(pg_temp.account(n), '2100-02-10 UTC') FROM generate_series(7, 8) n;
SELECT is(pg_temp.ends(7), 'subscription_expired 30', 'a plan is still in force: no free plan');
SELECT is(pg_temp.ends(8), pg_temp.ends(7), 'nor where the lapse was not written');

-- what was in force just before it ended
SELECT pg_temp.open(n) FROM generate_series(9, 10) n;
SELECT is(pg_temp.pay(n, 'pack', n || 'a', '7 USD'), 'accepted', 'a token plan') FROM generate_series(9, 10) n;
SELECT pg_temp.hold(n, 100) FROM generate_series(9, 10) n;
SELECT billing.advance_test_clock(pg_temp.account(9), '5 days');
SELECT cmp_ok(billing.expire_due(), '>=', 1::bigint, 'of one account the lapse is written in time');
SELECT billing.set_test_clock(pg_temp.account(n), '2100-01-20 UTC') FROM generate_series(9, 10) n;
SELECT ok(pg_temp.ends(9) LIKE '%subscription_expired 10, free_plan_assigned 10', 'the end takes the last plan');
SELECT is(pg_temp.ends(10), pg_temp.ends(9), 'also where the lapse was not written');

SELECT is((SELECT count(*) FROM billing.verify_ledger()), 0::bigint, 'the ledger is sound');

SELECT * FROM finish();
ROLLBACK;
