-- Downgrades, what is scheduled, and cancelling, on a frozen clock.
BEGIN;

SELECT no_plan();
\ir helper/order.psql

SELECT billing.create_app('mail', 'Mail');
SELECT billing.create_plan('free', 'free');
SELECT billing.create_plan('small', 'subscription', price => '10 USD', duration => '30 days', app => 'mail', tokens => 10);
SELECT billing.create_plan('medium', 'subscription', price => '20 USD', duration => '30 days', app => 'mail', tokens => 20);
SELECT billing.create_plan('large', 'subscription', price => '30 USD', duration => '1 month', app => 'mail');
SELECT billing.create_plan('euro', 'subscription', price => '90 EUR', duration => '30 days', app => 'mail');
SELECT billing.create_plan('pack', 'token', price => '7 USD', tokens => 100, duration => '10 days', app => 'mail');
SELECT billing.create_plan('tiny', 'token', price => '3 USD', tokens => 30, duration => '10 days', app => 'mail');

CREATE FUNCTION pg_temp.events(n int) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(kind || ' ' || (occurred_at - '2100-01-01')::text, ', ' ORDER BY event_id)
      FROM billing.event WHERE account_id = pg_temp.account(n)
       AND kind IN ('subscription_started', 'subscription_scheduled', 'subscription_replaced', 'subscription_expired', 'free_plan_assigned',
                    'subscription_canceled', 'order_lapsed', 'order_closed')
$$;
CREATE FUNCTION pg_temp.credit(n int) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(balance::text, ' ' ORDER BY currency) FROM billing.account_credit_balance WHERE account_id = pg_temp.account(n)
$$;
CREATE FUNCTION pg_temp.subscription(n int, code text) RETURNS uuid LANGUAGE sql AS $$
    SELECT subscription_id FROM billing.subscription WHERE account_id = pg_temp.account(n) AND plan = code ORDER BY created_at DESC, subscription_id DESC LIMIT 1
$$;
CREATE FUNCTION pg_temp.conserved(n int) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT ok(NOT EXISTS (SELECT FROM billing.payment_conservation WHERE account_id = pg_temp.account(n) AND billing.minor_units(difference) <> 0), 'money is conserved')
$$;

-- a cheaper plan follows at the end
SELECT pg_temp.open(1);
SELECT is(pg_temp.pay(1, 'large', '1a', '30 USD'), 'accepted', 'large');
SELECT is(pg_temp.quote(1, 'small'), 'downgrade | 10.00 USD | 0.00 USD | 10.00 USD | 2100-02-01 00:00:00 | 2100-03-03 00:00:00', 'a cheaper plan');
SELECT is(pg_temp.pay(1, 'small', '1b', '10 USD'), 'accepted', 'paid');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(1)', ARRAY['large 1 0 31 30.00 USD', 'small 1 31 61 10.00 USD'], 'is scheduled');
SELECT ok(billing.plan_is_active(pg_temp.account(1), plan => 'large') AND NOT billing.plan_is_active(pg_temp.account(1), plan => 'small'), 'and not yet in force');
SELECT is(billing.tokens_remaining(pg_temp.account(1), 'mail'), 0::bigint, 'neither are its tokens');
SELECT is(pg_temp.quote(1, 'large'), 'renew | 30.00 USD | 0.00 USD | 30.00 USD | 2100-02-01 00:00:00 | 2100-03-01 00:00:00', 'the old plan can be renewed');
SELECT is(pg_temp.pay(1, 'large', '1c', '30 USD'), 'accepted', 'paid');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(1)', ARRAY['large 1 0 31 30.00 USD', 'large 2 31 59 30.00 USD', 'small 1 59 89 10.00 USD'],
    'which moves what is scheduled');
SELECT is((SELECT (effective_at::date - '2100-01-01') || ' ' || (expires_at::date - '2100-01-01') FROM billing.token_grant WHERE account_id = pg_temp.account(1)), '59 89',
    'its tokens too');
SELECT is(pg_temp.pay(1, 'small', '1d', '10 USD'), 'accepted', 'the scheduled one is renewed');
SELECT lives_ok($$SELECT billing.subscribe(pg_temp.account(1), 'large')$$, 'the old one is renewed once more, by an administrator');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(1)',
    ARRAY['large 1 0 31 30.00 USD', 'large 2 31 59 30.00 USD', 'large 3 59 90', 'small 1 90 120 10.00 USD', 'small 2 120 150 10.00 USD'], 'both periods move');
SELECT billing.set_test_clock(pg_temp.account(1), '2100-01-01 UTC'::timestamptz + interval '100 days');
SELECT ok(billing.plan_is_active(pg_temp.account(1), plan => 'small') AND NOT billing.plan_is_active(pg_temp.account(1), plan => 'large'), 'at its time it is in force');
SELECT is(billing.tokens_remaining(pg_temp.account(1), 'mail'), 10::bigint, 'with its tokens');
SELECT billing.set_test_clock(pg_temp.account(1), '2100-01-01 UTC'::timestamptz + interval '200 days');
SELECT is(pg_temp.events(1),
    'subscription_started 00:00:00, subscription_scheduled 00:00:00, subscription_replaced 90 days, subscription_started 90 days, '
    'subscription_expired 150 days, free_plan_assigned 150 days', 'events are dated at their due time');
SELECT pg_temp.conserved(1);

-- upgrading while a downgrade is scheduled: both are credited
SELECT pg_temp.open(2);
SELECT is(pg_temp.pay(2, 'medium', '2a', '20 USD'), 'accepted', 'medium');
SELECT is(pg_temp.pay(2, 'small', '2b', '10 USD'), 'accepted', 'small is scheduled');
SELECT billing.advance_test_clock(pg_temp.account(2), '15 days');
SELECT is(pg_temp.quote(2, 'large'), 'upgrade | 30.00 USD | 20.00 USD | 10.00 USD | 2100-01-16 00:00:00 | 2100-02-16 00:00:00',
    'half of the one and all of the other');
CREATE TEMPORARY TABLE other AS SELECT billing.order_plan(pg_temp.account(2), 'medium') AS order_id;
SELECT is(pg_temp.pay(2, 'large', '2c', '10 USD'), 'accepted', 'upgraded');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(2)', ARRAY['medium 1 0 15 20.00 USD', 'small 1 30 60 10.00 USD void', 'large 1 15 46 30.00 USD'], 'both are gone');
SELECT is(billing.tokens_remaining(pg_temp.account(2), 'mail'), 0::bigint, 'their tokens too');
SELECT is((SELECT r.reason FROM other, billing.record_payment(order_id, 'psp', '2d', '20 USD') r), 'order_closed', 'renewing what was replaced meanwhile');
SELECT is(pg_temp.credit(2), '20.00 USD', 'is account credit');
SELECT pg_temp.conserved(2);

-- credit beyond the price is account credit
SELECT pg_temp.open(3);
SELECT pg_temp.pay(3, 'medium', '3' || i, '20 USD') FROM generate_series(1, 3) i;
SELECT is(pg_temp.quote(3, 'large'), 'upgrade | 30.00 USD | 60.00 USD | 0.00 USD | 2100-01-01 00:00:00 | 2100-02-01 00:00:00', 'three unfinished periods');
SELECT billing.order_plan(pg_temp.account(3), 'large');
SELECT is(pg_temp.credit(3), '30.00 USD', 'the excess');
SELECT is((SELECT concat_ws(' ', paid, used, credited, refunded, account_credit, unapplied, difference) FROM billing.payment_conservation WHERE account_id = pg_temp.account(3)),
    '60.00 USD 0.00 USD 30.00 USD 0.00 USD 30.00 USD 0.00 USD 0.00 USD', 'and where the money is');

-- another downgrade takes the place of the first
SELECT pg_temp.open(4);
SELECT is(pg_temp.pay(4, 'large', '4a', '30 USD'), 'accepted', 'large');
SELECT is(pg_temp.pay(4, 'medium', '4b', '20 USD'), 'accepted', 'then medium');
SELECT is(pg_temp.quote(4, 'small'), 'downgrade | 10.00 USD | 20.00 USD | 0.00 USD | 2100-02-01 00:00:00 | 2100-03-03 00:00:00', 'no, small');
SELECT billing.order_plan(pg_temp.account(4), 'small');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(4)', ARRAY['large 1 0 31 30.00 USD', 'medium 1 31 61 20.00 USD void', 'small 1 31 61 10.00 USD'], 'small follows');
SELECT is(pg_temp.credit(4), '10.00 USD', 'the difference is account credit');
SELECT is((SELECT status FROM billing.account_package WHERE account_id = pg_temp.account(4) AND plan = 'small'), 'scheduled', 'as the package says');

-- cancelling drops what is scheduled
SELECT lives_ok($$SELECT billing.cancel_subscription(pg_temp.subscription(4, 'large'))$$, 'cancel at the end');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(4)', ARRAY['large 1 0 31 30.00 USD', 'medium 1 31 61 20.00 USD void', 'small 1 31 61 10.00 USD void'], 'nothing follows');
SELECT is(pg_temp.credit(4), '20.00 USD', 'its price is account credit');
SELECT ok(billing.plan_is_active(pg_temp.account(4), plan => 'large'), 'the plan stays in force to its end');
SELECT lives_ok($$SELECT billing.cancel_subscription(pg_temp.subscription(4, 'large'))$$, 'again: nothing happens');
SELECT is((SELECT canceled FROM billing.expiring_soon WHERE account_id = pg_temp.account(4)), NULL, 'not expiring soon');
SELECT billing.advance_test_clock(pg_temp.account(4), '25 days');
SELECT is((SELECT canceled FROM billing.expiring_soon WHERE account_id = pg_temp.account(4)), true, 'now it is');
SELECT is(pg_temp.pay(4, 'large', '4c', '10 USD'), 'accepted', 'renewing');
SELECT is((SELECT canceled_at FROM billing.subscription WHERE account_id = pg_temp.account(4) AND plan = 'large'), NULL, 'takes it back');
SELECT is((SELECT count(*) FROM billing.expiring_soon WHERE account_id = pg_temp.account(4)), 0::bigint, 'it is not expiring soon any more');
SELECT pg_temp.conserved(4);

-- cancelling now
SELECT pg_temp.open(5);
SELECT is(pg_temp.pay(5, 'medium', '5a', '20 USD'), 'accepted', 'medium');
SELECT billing.advance_test_clock(pg_temp.account(5), '1 day');
CREATE TEMPORARY TABLE late AS SELECT billing.order_plan(pg_temp.account(5), 'large') AS order_id;
SELECT lives_ok($$SELECT billing.cancel_subscription(pg_temp.subscription(5, 'medium'), false)$$, 'cancel now');
SELECT ok(NOT billing.plan_is_active(pg_temp.account(5)), 'ends it');
SELECT is(billing.tokens_remaining(pg_temp.account(5), 'mail'), 0::bigint, 'voids its tokens');
SELECT is(pg_temp.credit(5), NULL, 'moves no money');
SELECT is(pg_temp.events(5), 'subscription_started 00:00:00, order_closed 1 day, subscription_canceled 1 day, free_plan_assigned 1 day', 'and is told');
SELECT is((SELECT r.reason FROM late, billing.record_payment(order_id, 'psp', '5b', '10.67 USD') r), 'order_closed', 'an order that counted on its credit is closed');
SELECT lives_ok($$SELECT billing.cancel_subscription(pg_temp.subscription(5, 'medium'), false)$$, 'again: nothing happens');
SELECT is((SELECT status FROM billing.account_package WHERE account_id = pg_temp.account(5)), 'cancelled', 'as the package says');
SELECT pg_temp.conserved(5);

-- cancelling now what another plan was to follow, and what is only scheduled
SELECT pg_temp.open(6);
SELECT is(pg_temp.pay(6, 'large', '6a', '30 USD'), 'accepted', 'large');
SELECT is(pg_temp.pay(6, 'small', '6b', '10 USD'), 'accepted', 'then small');
SELECT billing.advance_test_clock(pg_temp.account(6), '1 day');
SELECT billing.cancel_subscription(pg_temp.subscription(6, 'large'), false);
SELECT pg_temp.same('SELECT * FROM pg_temp.days(6)', ARRAY['large 1 0 1 30.00 USD', 'small 1 1 31 10.00 USD'], 'small begins now');
SELECT ok(billing.plan_is_active(pg_temp.account(6), plan => 'small'), 'and is in force');
SELECT is(billing.tokens_remaining(pg_temp.account(6), 'mail'), 10::bigint, 'with its tokens');
SELECT is(pg_temp.events(6), 'subscription_started 00:00:00, subscription_scheduled 00:00:00, subscription_canceled 1 day, subscription_started 1 day', 'nothing was lost');
SELECT is(pg_temp.pay(6, 'large', '6c', '20 USD'), 'accepted', 'an upgrade');
SELECT is(pg_temp.pay(6, 'medium', '6d', '20 USD'), 'accepted', 'then medium is scheduled');
SELECT billing.cancel_subscription(pg_temp.subscription(6, 'medium'));
SELECT is((SELECT replaced_by FROM billing.subscription WHERE subscription_id = pg_temp.subscription(6, 'large')), NULL, 'dropped by itself');
SELECT is(pg_temp.credit(6), '20.00 USD', 'with its price as account credit');
SELECT pg_temp.conserved(6);

-- period_end by choice; another currency
SELECT pg_temp.open(7);
SELECT is(pg_temp.pay(7, 'small', '7a', '10 USD'), 'accepted', 'small');
SELECT is(pg_temp.quote(7, 'large', 'period_end'), 'upgrade | 30.00 USD | 0.00 USD | 30.00 USD | 2100-01-31 00:00:00 | 2100-02-28 00:00:00', 'a better plan, later');
SELECT throws_ok($$SELECT pg_temp.quote(7, 'euro')$$, 'PB015', NULL, 'another currency at once');
SELECT is(pg_temp.pay(7, 'euro', '7b', '90 EUR', 'period_end'), 'accepted', 'another currency at the end');
SELECT throws_ok($$SELECT pg_temp.quote(7, 'large')$$, 'PB015', NULL, 'what is scheduled in another currency cannot be credited');
SELECT is(pg_temp.pay(7, 'medium', '7c', '20 USD', 'period_end'), 'accepted', 'but be replaced');
SELECT is(pg_temp.credit(7), '90.00 EUR', 'its price is account credit in its own currency');
SELECT pg_temp.conserved(7);

-- token plans with an end
SELECT pg_temp.open(8);
SELECT is(pg_temp.pay(8, 'pack', '8a', '7 USD'), 'accepted', 'a token plan with an end');
SELECT is(pg_temp.quote(8, 'tiny'), 'downgrade | 3.00 USD | 0.00 USD | 3.00 USD | 2100-01-11 00:00:00 | 2100-01-21 00:00:00', 'a cheaper one');
SELECT is(pg_temp.pay(8, 'tiny', '8b', '3 USD'), 'accepted', 'is scheduled');
SELECT is(billing.tokens_remaining(pg_temp.account(8), 'mail'), 130::bigint, 'its tokens are usable at once');
SELECT is(pg_temp.pay(8, 'pack', '8c', '7 USD'), 'accepted', 'the old one is renewed');
SELECT is((SELECT string_agg(g.tokens || ' ' || (g.effective_at::date - '2100-01-01') || ' ' || (g.expires_at::date - '2100-01-01'), ', ' ORDER BY g.expires_at)
             FROM billing.token_grant g WHERE account_id = pg_temp.account(8)), '100 0 10, 100 0 20, 30 0 30', 'tokens end with their periods');
SELECT billing.consume_tokens(pg_temp.account(8), 215, 'mail');
SELECT billing.cancel_subscription(pg_temp.subscription(8, 'tiny'));
SELECT is(pg_temp.credit(8), '1.50 USD', 'a dropped token plan gives credit for its unused tokens');
SELECT pg_temp.conserved(8);

-- an order made in the last second of a period, paid in the next one
SELECT pg_temp.open(9);
SELECT is(pg_temp.pay(9, 'medium', '9a', '20 USD'), 'accepted', 'medium');
SELECT billing.advance_test_clock(pg_temp.account(9), '29 days 23 hours 59 minutes 59 seconds');
SELECT is(pg_temp.quote(9, 'large'), 'upgrade | 30.00 USD | 0.00 USD | 30.00 USD | 2100-01-30 23:59:59 | 2100-02-28 23:59:59', 'in the last second there is nothing to credit');
CREATE TEMPORARY TABLE last_second AS SELECT billing.order_plan(pg_temp.account(9), 'large') AS order_id;
SELECT billing.advance_test_clock(pg_temp.account(9), '2 seconds');
SELECT is((SELECT r.reason FROM last_second, billing.record_payment(order_id, 'psp', '9b', '30 USD') r), 'accepted', 'paid after the end');
SELECT is((SELECT string_agg(plan || ' ' || (effective_at - '2100-01-01') || ' ' || (expires_at - '2100-01-01'), ', ' ORDER BY effective_at)
             FROM billing.subscription_period WHERE account_id = pg_temp.account(9)),
    'medium 00:00:00 30 days, large 30 days 00:00:01 58 days 00:00:01', 'it starts at payment');
SELECT pg_temp.conserved(9);

-- what was ordered cannot be had any more: the money is there all the same
SELECT pg_temp.open(10);
SELECT is(pg_temp.pay(10, 'large', '10a', '30 USD'), 'accepted', 'a plan');
SELECT is(pg_temp.pay(10, 'small', '10b', '10 USD'), 'accepted', 'and a cheaper one that follows it');
CREATE TEMPORARY TABLE barred AS SELECT billing.order_plan(pg_temp.account(10), 'large') AS order_id;
SELECT lives_ok($$SELECT billing.subscribe(pg_temp.account(10), 'small', '2100-03-12 UTC', '2100-04-11 UTC')$$, 'an administrator gives it for later as well');
SELECT is((SELECT r.reason FROM barred, billing.record_payment(order_id, 'psp', '10c', '30 USD') r), 'order_closed', 'a renewal for which it would have to move there');
SELECT is((SELECT string_agg(r::text, ' ') FROM (SELECT r.accepted, r.reason, r.subscription_id, r.replayed FROM billing.plan_order o
             JOIN billing.payment p USING (account_id, order_id), billing.record_payment(o.order_id, 'psp', '10c', '30 USD') r WHERE p.provider_ref = '10c') r),
    '(f,order_closed,,t)', 'has the same receipt again');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(10)', ARRAY['large 1 0 31 30.00 USD', 'small 1 31 61 10.00 USD', 'small 1 70 100'], 'changes no period');
SELECT is(pg_temp.credit(10), '30.00 USD', 'and is account credit');
SELECT is(pg_temp.events(10), 'subscription_started 00:00:00, subscription_scheduled 00:00:00, subscription_scheduled 00:00:00, order_closed 00:00:00', 'its order is closed');
SELECT pg_temp.conserved(10);
SELECT throws_like(call, '%"small", scheduled to follow, cannot move%', 'so it is neither quoted, ordered nor given: ' || call) FROM unnest(ARRAY[
    $$SELECT billing.quote_plan(pg_temp.account(10), 'large')$$, $$SELECT billing.order_plan(pg_temp.account(10), 'large')$$, $$SELECT billing.order_plan(pg_temp.account(10), 'large', 'period_end')$$,
    $$SELECT billing.subscribe(pg_temp.account(10), 'large')$$]) call;
SELECT throws_ok($$SELECT billing.order_plan(pg_temp.account(10), 'large')$$, '23P01', NULL, 'as what overlaps');
SELECT is(pg_temp.quote(10, 'small', 'period_end'), 'renew | 10.00 USD | 10.00 USD | 0.00 USD | 2100-04-11 00:00:00 | 2100-05-11 00:00:00', 'behind what was given there is room');

-- a plan that would have no end any more cannot have one to follow
SELECT pg_temp.open(23);
SELECT is(pg_temp.pay(23, 'pack', '23a', '7 USD'), 'accepted', 'tokens for ten days');
SELECT is(pg_temp.pay(23, 'tiny', '23b', '3 USD'), 'accepted', 'and fewer that follow');
SAVEPOINT endless;
SELECT billing.revise_plan('pack', unset => '{duration}');
SELECT throws_like($$SELECT billing.order_plan(pg_temp.account(23), 'pack')$$, '%"tiny", scheduled to follow, would never begin%', 'cannot be renewed without end');
SELECT throws_ok($$SELECT billing.order_plan(pg_temp.account(23), 'pack')$$, '22023', NULL, 'as what has no end');
ROLLBACK TO endless;

-- credit is promised for a plan that would not go
SELECT billing.create_plan('basic', 'subscription', price => '5 USD', duration => '30 days', app => 'mail');
SELECT billing.create_plan('mini', 'subscription', price => '8 USD', duration => '30 days', app => 'mail');
SELECT pg_temp.open(n) FROM generate_series(11, 12) n;
SELECT is(pg_temp.pay(n, 'large', n || 'a', '30 USD'), 'accepted', 'a plan') FROM generate_series(11, 12) n;
SELECT is(pg_temp.pay(n, 'basic', n || 'b', '5 USD'), 'accepted', 'and a cheaper one that follows it') FROM generate_series(11, 12) n;
SELECT billing.cancel_subscription(pg_temp.subscription(12, 'basic'));
CREATE TEMPORARY TABLE promised AS SELECT n, billing.order_plan(pg_temp.account(n), 'mini') AS order_id FROM generate_series(11, 12) n;
SELECT is((SELECT string_agg(concat_ws(' ', action, credit, account_credit, due), ', ' ORDER BY n) FROM promised JOIN billing.plan_order USING (order_id)),
    'downgrade 5.00 USD 0.00 USD 3.00 USD, downgrade 0.00 USD 5.00 USD 3.00 USD', 'a third one instead: with credit for the second, or account credit');
SELECT lives_ok($$SELECT billing.subscribe(pg_temp.account(n), 'mini') FROM generate_series(11, 12) n$$, 'which an administrator gives meanwhile');
SELECT is((SELECT r.reason FROM promised, billing.record_payment(order_id, 'psp', '11c', '3 USD') r WHERE n = 11), 'order_closed', 'the second one stays, so nothing can be credited');
SELECT is(pg_temp.credit(11), '3.00 USD', 'what was paid is account credit');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(11)', ARRAY['large 1 0 31 30.00 USD', 'basic 1 31 61 5.00 USD', 'mini 1 0 30'], 'no period is bought');
SELECT pg_temp.conserved(11);
SELECT billing.cancel_subscription(pg_temp.subscription(11, 'basic'));
SELECT is(pg_temp.credit(11), '8.00 USD', 'and the second gives its price once');
SELECT pg_temp.conserved(11);
SELECT is((SELECT r.reason FROM promised, billing.record_payment(order_id, 'psp', '12c', '3 USD') r WHERE n = 12), 'accepted', 'without credit for another plan it is renewed');
SELECT pg_temp.conserved(12);

-- what an administrator gives for later does not stand between the buyer and access now
SELECT pg_temp.open(n) FROM generate_series(13, 19) n;
CREATE TEMPORARY TABLE later AS SELECT n, CASE n WHEN 13 THEN date '2100-04-01' ELSE '2100-02-01' END AS begins FROM generate_series(13, 14) n;
SELECT is(pg_temp.pay(n, 'medium', n || 'a', '20 USD'), 'accepted', 'a plan') FROM later;
SELECT billing.advance_test_clock(pg_temp.account(n), '15 days') FROM later;
CREATE TEMPORARY TABLE upgrade AS SELECT n, billing.order_plan(pg_temp.account(n), 'large') AS order_id FROM later;
SELECT lives_ok($$SELECT billing.subscribe(pg_temp.account(n), 'large', begins::timestamptz) FROM later$$, 'the plan of an open upgrade is given for later');
SELECT is((SELECT string_agg(r.reason, ' ' ORDER BY n) FROM upgrade, billing.record_payment(order_id, 'psp', n || 'b', '20 USD') r), 'accepted order_closed', 'paid: before that, if there is room');
SELECT ok(billing.plan_is_active(pg_temp.account(13), plan => 'large'), 'then it is in force at once');
SELECT pg_temp.same($$SELECT * FROM pg_temp.days(13) d ORDER BY split_part(d, ' ', 3)::int$$, ARRAY['medium 1 0 15 20.00 USD', 'large 1 15 46 30.00 USD', 'large 1 90 120'], 'and ends before the one given');
SELECT ok(billing.plan_is_active(pg_temp.account(14), plan => 'medium'), 'else the old one stays');
SELECT is(pg_temp.credit(14), '20.00 USD', 'and what was paid is account credit');
SELECT pg_temp.conserved(n) FROM later;

SELECT lives_ok($$SELECT billing.subscribe(pg_temp.account(15), 'small', '2100-04-01')$$, 'without any other plan: given for later');
SELECT is(pg_temp.quote(15, 'small'), 'buy | 10.00 USD | 0.00 USD | 10.00 USD | 2100-01-01 00:00:00 | 2100-01-31 00:00:00', 'it is bought for now');
SELECT is(pg_temp.pay(15, 'small', '15a', '10 USD'), 'accepted', 'paid');
SELECT ok(billing.plan_is_active(pg_temp.account(15)), 'the account is active');
SELECT is(pg_temp.quote(15, 'small'), 'renew | 10.00 USD | 0.00 USD | 10.00 USD | 2100-01-31 00:00:00 | 2100-03-02 00:00:00', 'and renewed from its end');
SELECT is(pg_temp.pay(15, 'small', '15' || c, '10 USD'), 'accepted', 'as long as there is room') FROM unnest(ARRAY['b', 'c']) c;
SELECT is(pg_temp.quote(15, 'small'), 'renew | 10.00 USD | 0.00 USD | 10.00 USD | 2100-05-01 00:00:00 | 2100-05-31 00:00:00', 'then from the end of the one given');
SELECT is(pg_temp.pay(15, 'small', '15d', '10 USD'), 'accepted', 'paid');
SELECT pg_temp.same($$SELECT * FROM pg_temp.days(15) d ORDER BY split_part(d, ' ', 3)::int$$,
    ARRAY['small 1 0 30 10.00 USD', 'small 2 30 60 10.00 USD', 'small 3 60 90 10.00 USD', 'small 1 90 120', 'small 2 120 150 10.00 USD'], 'none is locked out');

SELECT lives_ok($$SELECT billing.subscribe(pg_temp.account(16), 'small', '2100-01-11')$$, 'given for soon');
SELECT throws_ok($$SELECT pg_temp.quote(16, 'small')$$, '23P01', NULL, 'there is no room for a period before it');
SELECT throws_ok($$SELECT billing.order_plan(pg_temp.account(16), 'small')$$, '23P01', NULL, 'so it cannot be ordered at once');
SELECT is(pg_temp.quote(16, 'small', 'period_end'), 'renew | 10.00 USD | 0.00 USD | 10.00 USD | 2100-02-10 00:00:00 | 2100-03-12 00:00:00', 'but for later');
SELECT is(pg_temp.pay(16, 'small', '16a', '10 USD', 'period_end'), 'accepted', 'paid');
SELECT pg_temp.same($$SELECT * FROM pg_temp.days(16) d ORDER BY split_part(d, ' ', 3)::int$$, ARRAY['small 1 10 40', 'small 2 40 70 10.00 USD'], 'behind the one given');

SELECT is(pg_temp.pay(n, 'medium', n || 'a', '20 USD'), 'accepted', 'a plan') FROM generate_series(17, 18) n;
SELECT lives_ok($$SELECT billing.subscribe(pg_temp.account(17), 'small', '2100-04-01'), billing.subscribe(pg_temp.account(18), 'small', '2100-02-10')$$, 'a cheaper one is given for later');
SELECT is(pg_temp.quote(17, 'small'), 'downgrade | 10.00 USD | 0.00 USD | 10.00 USD | 2100-01-31 00:00:00 | 2100-03-02 00:00:00', 'it can follow before that');
SELECT throws_ok($$SELECT pg_temp.quote(18, 'small')$$, '23P01', NULL, 'unless there is no room');
SELECT is(pg_temp.pay(17, 'small', '17b', '10 USD'), 'accepted', 'paid');
SELECT is(pg_temp.quote(17, 'small'), 'renew | 10.00 USD | 0.00 USD | 10.00 USD | 2100-03-02 00:00:00 | 2100-04-01 00:00:00', 'what is scheduled is renewed');
SELECT is(pg_temp.pay(17, 'medium', '17c', '20 USD'), 'accepted', 'renewing what it follows');
SELECT pg_temp.same($$SELECT * FROM pg_temp.days(17) d ORDER BY split_part(d, ' ', 3)::int$$, ARRAY['medium 1 0 30 20.00 USD', 'medium 2 30 60 20.00 USD', 'small 1 60 90 10.00 USD', 'small 1 90 120'], 'moves it up to the one given');

SELECT is(pg_temp.pay(19, 'small', '19a', '10 USD'), 'accepted', 'a plan');
CREATE TEMPORARY TABLE renewal AS SELECT billing.order_plan(pg_temp.account(19), 'small') AS order_id;
SELECT lives_ok($$SELECT billing.subscribe(pg_temp.account(19), 'small', '2100-04-01')$$, 'is given for later before its renewal is paid');
SELECT is((SELECT r.reason FROM renewal, billing.record_payment(order_id, 'psp', '19b', '10 USD') r), 'accepted', 'which renews what is in force');
SELECT pg_temp.same($$SELECT * FROM pg_temp.days(19) d ORDER BY split_part(d, ' ', 3)::int$$, ARRAY['small 1 0 30 10.00 USD', 'small 2 30 60 10.00 USD', 'small 1 90 120'], 'without a gap');
SELECT pg_temp.conserved(n) FROM generate_series(15, 19) n;

-- credit is for what an upgrade replaces: once that is over there is nothing to credit
SELECT billing.create_plan('daily', 'subscription', price => '10 USD', duration => '1 day', app => 'mail');
SELECT billing.create_plan('better', 'subscription', price => '11 USD', duration => '1 day', app => 'mail');
SELECT pg_temp.open(n) FROM generate_series(20, 21) n;
SELECT is(pg_temp.pay(n, 'daily', n || 'a', '10 USD'), 'accepted', 'a day') FROM generate_series(20, 21) n;
SELECT is(pg_temp.pay(21, 'daily', '21b', '10 USD'), 'accepted', 'and another');
SELECT billing.advance_test_clock(pg_temp.account(n), '2 seconds') FROM generate_series(20, 21) n;
SELECT is(pg_temp.quote(20, 'better'), 'upgrade | 11.00 USD | 9.99 USD | 1.01 USD | 2100-01-01 00:00:02 | 2100-01-02 00:00:02', 'an upgrade credits the rest of it');
CREATE TEMPORARY TABLE overdue AS SELECT n, billing.order_plan(pg_temp.account(n), 'better') AS order_id FROM generate_series(20, 21) n;
SELECT billing.set_test_clock(pg_temp.account(n), '2100-01-02 00:00:01 UTC') FROM generate_series(20, 21) n;
SELECT is((SELECT r.reason || ' ' || r.accepted FROM overdue, billing.record_payment(order_id, 'psp', '20b', '1.01 USD') r WHERE n = 20), 'order_closed false', 'paid when the day is over it is not kept');
SELECT is((SELECT status FROM overdue JOIN billing.plan_order USING (order_id) WHERE n = 20), 'closed', 'the order is closed');
SELECT is(pg_temp.credit(20), '1.01 USD', 'the money is account credit');
SELECT is((SELECT count(credited) FROM billing.subscription_period WHERE account_id = pg_temp.account(20)), 0::bigint, 'nothing is credited for a day that was used');
SELECT is((SELECT count(*) FROM billing.event WHERE account_id = pg_temp.account(20) AND kind = 'subscription_upgraded'), 0::bigint, 'nothing was upgraded');
SELECT is((SELECT status FROM billing.account_package WHERE account_id = pg_temp.account(20)), 'expired', 'what is over stays expired');
SELECT is((SELECT due::text FROM overdue JOIN billing.plan_order USING (order_id) WHERE n = 21), '0.00 USD', 'an order that credit pays is done at once');
SELECT pg_temp.conserved(n) FROM generate_series(20, 21) n;

-- without credit the plan is bought, and nothing upgraded
SELECT billing.create_plan('gift', 'subscription', duration => '1 day', app => 'mail');
SELECT pg_temp.open(22);
SELECT billing.subscribe(pg_temp.account(22), 'gift');
SELECT billing.advance_test_clock(pg_temp.account(22), '2 seconds');
CREATE TEMPORARY TABLE free_upgrade AS SELECT billing.order_plan(pg_temp.account(22), 'better') AS order_id;
SELECT billing.set_test_clock(pg_temp.account(22), '2100-01-02 00:00:01 UTC');
SELECT is((SELECT r.reason FROM free_upgrade, billing.record_payment(order_id, 'psp', '22a', '11 USD') r), 'accepted', 'what was to be replaced is over and not missed');
SELECT is((SELECT string_agg(kind, ' ' ORDER BY event_id) FROM billing.event WHERE account_id = pg_temp.account(22) AND occurred_at = '2100-01-02 00:00:01 UTC'),
    'payment_recorded subscription_started order_paid', 'it is begun, not upgraded to');
SELECT is((SELECT string_agg(plan || ' ' || status, ', ' ORDER BY plan) FROM billing.account_package WHERE account_id = pg_temp.account(22)), 'better active, gift expired', 'the old one is expired, not replaced');

SELECT throws_ok('SELECT billing.cancel_subscription(NULL)', '22004', NULL, 'NULL');
SELECT throws_ok($$SELECT billing.cancel_subscription(pg_temp.account(1))$$, 'PB016', NULL, 'an unknown subscription');

SELECT is((SELECT count(*) FROM billing.verify_ledger()), 0::bigint, 'the ledger is sound');

SELECT * FROM finish();
ROLLBACK;
