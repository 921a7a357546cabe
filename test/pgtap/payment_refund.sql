-- Money that is paid back, with and without ending access, on a frozen clock.
BEGIN;

SELECT no_plan();
\ir helper/order.psql

SELECT billing.create_app('mail', 'Mail');
SELECT billing.create_plan('free', 'free');
SELECT billing.create_plan('small', 'subscription', price => '10 USD', duration => '30 days', app => 'mail', tokens => 10);
SELECT billing.create_plan('large', 'subscription', price => '30 USD', duration => '1 month', app => 'mail');

CREATE FUNCTION pg_temp.payment(ref text) RETURNS uuid LANGUAGE sql AS
    $$SELECT payment_id FROM billing.payment WHERE provider = 'psp' AND provider_ref = ref$$;
CREATE FUNCTION pg_temp.refund(payment text, ref text, amount billing.amount, end_access boolean DEFAULT false) RETURNS uuid LANGUAGE sql AS
    $$SELECT billing.record_refund(pg_temp.payment(payment), 'psp', ref, amount, end_access)$$;
CREATE FUNCTION pg_temp.money(n int) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('paid %s used %s credited %s refunded %s left %s unapplied %s', paid::numeric, used::numeric, credited::numeric, refunded::numeric,
                             account_credit::numeric, unapplied::numeric)
                      || CASE WHEN billing.minor_units(difference) <> 0 THEN ' WRONG' ELSE '' END, '; ' ORDER BY currency)
      FROM billing.payment_conservation WHERE account_id = pg_temp.account(n)
$$;

-- access goes on
SELECT pg_temp.open(1);
SELECT pg_temp.pay(1, 'small', '1a', '10 USD');
SELECT billing.advance_test_clock(pg_temp.account(1), '15 days');
CREATE TEMPORARY TABLE refunded AS SELECT pg_temp.refund('1a', 'r1', '4 USD') AS refund_id;
SELECT is(pg_temp.refund('1a', 'r1', '4 USD'), refund_id, 'the same refund again is the same') FROM refunded;
SELECT throws_ok($$SELECT pg_temp.refund('1a', 'r1', '5 USD')$$, 'PB008', NULL, 'another amount is not');
SELECT throws_ok($$SELECT pg_temp.refund('1a', 'r2', '6.01 USD')$$, 'PB015', NULL, 'more than what was paid');
SELECT throws_ok($$SELECT pg_temp.refund('1a', 'r2', '6 EUR')$$, 'PB015', NULL, 'another currency');
SELECT throws_ok($$SELECT pg_temp.refund('1a', 'r2', '0 USD')$$, 'PB015', NULL, 'nothing');
SELECT throws_ok($$SELECT pg_temp.refund('1a', 'r2', '-1 USD')$$, 'PB015', NULL, 'less than nothing');
SELECT throws_ok($$SELECT billing.record_refund(pg_temp.account(1), 'psp', 'r2', '1 USD')$$, 'PB016', NULL, 'an unknown payment');
SELECT throws_ok($$SELECT billing.record_refund(NULL, 'psp', 'r2', '1 USD')$$, '22004', NULL, 'NULL');
SELECT throws_ok($$SELECT pg_temp.refund('1a', 'r2', '1 USD', NULL)$$, '22004', NULL, 'NULL end_access');
SELECT ok(billing.plan_is_active(pg_temp.account(1)), 'the plan is still in force');
SELECT is(pg_temp.money(1), 'paid 10.00 used 6.00 credited 0.00 refunded 4.00 left 0.00 unapplied 0.00', 'the money is told');
SELECT is(pg_temp.quote(1, 'large'), 'upgrade | 30.00 USD | 3.00 USD | 27.00 USD | 2100-01-16 00:00:00 | 2100-02-16 00:00:00', 'credit is for what was not paid back');
SELECT is((SELECT refunded::text FROM billing.payment_history WHERE account_id = pg_temp.account(1)), '4.00 USD', 'and in the history');

-- an order that counts on credit for it is closed
CREATE TEMPORARY TABLE counting AS SELECT billing.order_plan(pg_temp.account(1), 'large') AS order_id;
SELECT pg_temp.refund('1a', 'r3', '1 USD');
SELECT is((SELECT status FROM counting JOIN billing.plan_order USING (order_id)), 'closed', 'an open upgrade is closed');

-- access ends
SELECT pg_temp.refund('1a', 'r4', '5 USD', true);
SELECT ok(NOT billing.plan_is_active(pg_temp.account(1)), 'the period ends now');
SELECT is(billing.tokens_remaining(pg_temp.account(1), 'mail'), 0::bigint, 'its tokens are voided');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(1)', ARRAY['small 1 0 15 10.00 USD'], 'the row says so');
SELECT is((SELECT string_agg(kind, ' ' ORDER BY event_id) FROM billing.event WHERE account_id = pg_temp.account(1) AND event_id >
    (SELECT max(event_id::text)::uuid FROM billing.event WHERE account_id = pg_temp.account(1) AND kind = 'order_closed')),
    'payment_refunded grant_voided access_ended free_plan_assigned', 'so do the events');
SELECT is(pg_temp.money(1), 'paid 10.00 used 0.00 credited 0.00 refunded 10.00 left 0.00 unapplied 0.00', 'nothing is left');

-- of several periods the one that was paid for, the later ones move up
SELECT pg_temp.open(2);
SELECT pg_temp.pay(2, 'small', '2' || i, '10 USD') FROM generate_series(1, 4) i;
SELECT billing.advance_test_clock(pg_temp.account(2), '10 days');
SELECT pg_temp.refund('22', 'r5', '10 USD', true);
SELECT pg_temp.same('SELECT * FROM pg_temp.days(2)', ARRAY['small 1 0 30 10.00 USD', 'small 2 30 60 10.00 USD void', 'small 3 30 60 10.00 USD', 'small 4 60 90 10.00 USD'],
    'one that has not begun is dropped');
SELECT pg_temp.refund('21', 'r6', '10 USD', true);
SELECT pg_temp.same('SELECT * FROM pg_temp.days(2)', ARRAY['small 1 0 10 10.00 USD', 'small 2 30 60 10.00 USD void', 'small 3 10 40 10.00 USD', 'small 4 40 70 10.00 USD'],
    'the current one ends, the next begins');
SELECT is(billing.tokens_remaining(pg_temp.account(2), 'mail'), 10::bigint, 'with its tokens');
SELECT ok(billing.plan_is_active(pg_temp.account(2)), 'the plan stays in force');
SELECT pg_temp.refund('24', 'r7', '10 USD', true);
SELECT pg_temp.pay(2, 'small', '25', '10 USD');
SELECT pg_temp.same($$SELECT d FROM pg_temp.days(2) d WHERE d NOT LIKE '%void'$$, ARRAY['small 1 0 10 10.00 USD', 'small 3 10 40 10.00 USD', 'small 5 40 70 10.00 USD'], 'the last one is dropped, the next follows without a gap');
SELECT is(pg_temp.money(2), 'paid 50.00 used 20.00 credited 0.00 refunded 30.00 left 0.00 unapplied 0.00', 'the money is told');

-- what is scheduled to follow moves up too
SELECT pg_temp.open(3);
SELECT pg_temp.pay(3, 'large', '3a', '30 USD'), pg_temp.pay(3, 'small', '3b', '10 USD');
SELECT billing.advance_test_clock(pg_temp.account(3), '10 days');
SELECT pg_temp.refund('3a', 'r8', '20 USD', true);
SELECT pg_temp.same('SELECT * FROM pg_temp.days(3)', ARRAY['large 1 0 10 30.00 USD', 'small 1 10 40 10.00 USD'], 'the downgrade begins');
SELECT is((SELECT count(*) FROM billing.event WHERE account_id = pg_temp.account(3) AND kind = 'free_plan_assigned'), 0::bigint, 'the last plan was not lost');

-- a payment that paid for nothing
SELECT pg_temp.open(4);
SELECT is(pg_temp.pay(4, 'small', '4a', '11 USD'), 'payment_mismatch', 'too much');
SELECT is(pg_temp.money(4), 'paid 11.00 used 0.00 credited 0.00 refunded 0.00 left 0.00 unapplied 11.00', 'is not applied');
SELECT pg_temp.refund('4a', 'r9', '11 USD', true);
SELECT is(pg_temp.money(4), 'paid 11.00 used 0.00 credited 0.00 refunded 11.00 left 0.00 unapplied 0.00', 'and paid back');

-- account credit: what it paid for gives, then open orders that count on it are closed
SELECT pg_temp.open(5);
SELECT is(pg_temp.pay(5, 'small', '5a', '10 USD'), 'accepted', 'one payment');
SELECT is((SELECT r.reason FROM billing.plan_order, billing.record_payment(order_id, 'psp', '5b', '10 USD') r WHERE account_id = pg_temp.account(5)), 'order_closed', 'and another');
CREATE TEMPORARY TABLE reserving AS SELECT billing.order_plan(pg_temp.account(5), 'large') AS order_id;
SELECT is((SELECT due::text FROM reserving JOIN billing.plan_order USING (order_id)), '10.00 USD', 'price less credit less account credit');
SELECT pg_temp.refund('5b', 'r10', '4 USD');
SELECT is((SELECT status FROM reserving JOIN billing.plan_order USING (order_id)), 'closed', 'the order is closed');
SELECT is(pg_temp.money(5), 'paid 20.00 used 10.00 credited 0.00 refunded 4.00 left 6.00 unapplied 0.00', 'the rest is left');
SELECT is(pg_temp.pay(5, 'large', '5c', '14 USD'), 'accepted', 'upgraded with it');
SELECT is(pg_temp.money(5), 'paid 34.00 used 14.00 credited 16.00 refunded 4.00 left 0.00 unapplied 0.00', 'the money moved');
SELECT pg_temp.refund('5b', 'r11', '6 USD');
SELECT is(pg_temp.money(5), 'paid 34.00 used 8.00 credited 16.00 refunded 10.00 left 0.00 unapplied 0.00', 'a refund of what was spent takes from what it was spent on');
SELECT pg_temp.refund('5a', 'r12', '10 USD', true);
SELECT is(pg_temp.money(5), 'paid 34.00 used 0.00 credited 14.00 refunded 20.00 left 0.00 unapplied 0.00', 'so does one of what was credited');
SELECT ok(billing.plan_is_active(pg_temp.account(5), plan => 'large'), 'the period it had bought is over already, the other one goes on');
SELECT pg_temp.refund('5c', 'r13', '14 USD', true);
SELECT is(pg_temp.money(5), 'paid 34.00 used 0.00 credited 0.00 refunded 34.00 left 0.00 unapplied 0.00', 'everything is paid back');
SELECT ok(NOT billing.plan_is_active(pg_temp.account(5)), 'and nothing in force');

-- token plans: the tokens that the payment bought, wherever they are, and no others
SELECT billing.create_plan('pack', 'token', price => '10 USD', tokens => 1000, app => 'mail');
SELECT billing.create_plan('crate', 'token', price => '20 USD', tokens => 3000, app => 'mail');
SELECT billing.create_plan('week', 'token', price => '10 USD', tokens => 100, duration => '7 days', app => 'mail');
CREATE FUNCTION pg_temp.tokens(n int) RETURNS text LANGUAGE sql AS $$
    SELECT billing.tokens_remaining(pg_temp.account(n), 'mail') || CASE WHEN billing.plan_is_active(pg_temp.account(n)) THEN ' active' ELSE ' inactive' END
$$;

-- the first of two, whose period ended when the second was bought
SELECT pg_temp.open(6);
SELECT pg_temp.pay(6, 'pack', '6a', '10 USD');
SELECT billing.advance_test_clock(pg_temp.account(6), '1 day');
SELECT pg_temp.pay(6, 'pack', '6b', '10 USD');
SELECT billing.advance_test_clock(pg_temp.account(6), '1 day');
SELECT pg_temp.refund('6a', 'r14', '10 USD', true);
SELECT is(pg_temp.tokens(6), '1000 active', 'a renewed token plan: the tokens of the first payment are voided, those of the second stay');
SELECT is((SELECT count(*) FROM billing.token_grant WHERE account_id = pg_temp.account(6) AND voided_at IS NOT NULL), 1::bigint, 'one grant is voided');
SELECT is((SELECT string_agg(kind, ' ' ORDER BY event_id) FROM billing.event WHERE account_id = pg_temp.account(6) AND occurred_at = '2100-01-03 UTC'),
    'payment_refunded grant_voided access_ended', 'as the events say');
SELECT pg_temp.refund('6b', 'r15', '10 USD', true);
SELECT is(pg_temp.tokens(6), '0 inactive', 'of the second as well: nothing is left');
SELECT ok((SELECT bool_and(expires_at <= '2100-01-03 UTC') FROM billing.subscription WHERE account_id = pg_temp.account(6)), 'and it is over');
SELECT is(pg_temp.money(6), 'paid 20.00 used 0.00 credited 0.00 refunded 20.00 left 0.00 unapplied 0.00', 'all money is paid back');

-- the second of two: what the first one bought stays usable
SELECT pg_temp.open(7);
SELECT pg_temp.pay(7, 'pack', '7a', '10 USD'), billing.advance_test_clock(pg_temp.account(7), '1 day');
SELECT pg_temp.pay(7, 'pack', '7b', '10 USD'), billing.advance_test_clock(pg_temp.account(7), '1 day');
SELECT pg_temp.refund('7b', 'r16', '10 USD', true);
SELECT is(pg_temp.tokens(7), '1000 active', 'the tokens of the first payment stay usable');
SELECT ok((SELECT allowed FROM billing.check_access(pg_temp.account(7))), 'access is granted');
SELECT is((SELECT count(*) FROM billing.event WHERE account_id = pg_temp.account(7) AND kind = 'free_plan_assigned'), 0::bigint, 'no plan was lost');
SELECT is(billing.consume_tokens(pg_temp.account(7), 400, 'mail'), 600::bigint, 'and are used');
SELECT pg_temp.refund('7a', 'r17', '10 USD', true);
SELECT is(pg_temp.tokens(7), '0 inactive', 'until they are paid back too');
SELECT is((SELECT detail ->> 'because' FROM billing.event WHERE account_id = pg_temp.account(7) AND kind = 'free_plan_assigned'), 'payment_refunded', 'then the plan is lost');

-- used up or only held
SELECT pg_temp.open(8), pg_temp.open(9);
SELECT pg_temp.pay(8, 'pack', '8a', '10 USD'), pg_temp.pay(9, 'pack', '9a', '10 USD');
SELECT billing.consume_tokens(pg_temp.account(8), 999, 'mail'), billing.hold_tokens(pg_temp.account(9), 1000, '30 days', 'mail');
SELECT billing.advance_test_clock(pg_temp.account(n), '1 day') FROM generate_series(8, 9) n;
SELECT pg_temp.pay(8, 'pack', '8b', '10 USD'), pg_temp.pay(9, 'pack', '9b', '10 USD');
SELECT billing.consume_tokens(pg_temp.account(8), 1, 'mail');
SELECT billing.advance_test_clock(pg_temp.account(n), '1 day') FROM generate_series(8, 9) n;
SELECT pg_temp.refund('8b', 'r18', '10 USD', true), pg_temp.refund('9b', 'r19', '10 USD', true);
SELECT is(pg_temp.tokens(8), '0 inactive', 'with the tokens of the first payment used up nothing is left');
SELECT ok((SELECT expires_at <= '2100-01-03 UTC' FROM billing.subscription WHERE account_id = pg_temp.account(8)), 'and the subscription is over');
SELECT billing.release_hold(hold_id) FROM billing.hold WHERE account_id = pg_temp.account(9);
SELECT is(pg_temp.tokens(9), '1000 active', 'tokens that were held are usable when they return');

-- tokens that moved to a dearer plan
SELECT pg_temp.open(n) FROM generate_series(10, 11) n;
SELECT pg_temp.pay(n, 'pack', n || 'a', '10 USD'), billing.advance_test_clock(pg_temp.account(n), '1 day') FROM generate_series(10, 11) n;
SELECT pg_temp.pay(n, 'crate', n || 'b', '20 USD'), billing.advance_test_clock(pg_temp.account(n), '1 day') FROM generate_series(10, 11) n;
SELECT pg_temp.refund('10a', 'r20', '10 USD', true), pg_temp.refund('11b', 'r21', '20 USD', true);
SELECT is(pg_temp.tokens(10), '3000 active', 'those of the replaced plan are voided where they are now');
SELECT is(pg_temp.tokens(11), '1000 active', 'those of the replaced plan stay usable when the dearer one is paid back');

-- with an end the tokens of the first period need no more than that
SELECT pg_temp.open(12);
SELECT pg_temp.pay(12, 'week', '12a', '10 USD'), pg_temp.pay(12, 'week', '12b', '10 USD');
SELECT billing.advance_test_clock(pg_temp.account(12), '1 day');
SELECT pg_temp.refund('12b', 'r22', '10 USD', true);
SELECT is(pg_temp.tokens(12), '100 active', 'the first period goes on');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(12)', ARRAY['week 1 0 7 10.00 USD', 'week 2 7 14 10.00 USD void'], 'the second is dropped');
SELECT is((SELECT string_agg(n || pg_temp.money(n), '' ORDER BY n) FROM generate_series(6, 12) n WHERE pg_temp.money(n) LIKE '%WRONG%'), NULL, 'money is conserved');

-- what is scheduled to follow has no room where it would move: it stays where it is, with a gap
SELECT pg_temp.open(n) FROM generate_series(13, 16) n;
SELECT pg_temp.pay(n, 'large', n || 'a', '30 USD'), pg_temp.pay(n, 'small', n || 'b', '10 USD') FROM generate_series(13, 16) n;
SELECT billing.subscribe(pg_temp.account(n), 'small', '2100-01-04', '2100-01-07') FROM generate_series(13, 15) n;
SELECT lives_ok($$SELECT pg_temp.refund('13a', 'r23', '30 USD', true)$$, 'a refund is recorded where the plan to follow cannot move up');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(13)', ARRAY['large 1 0 31 30.00 USD void', 'small 1 31 61 10.00 USD', 'small 1 3 6'], 'it stays where it was, what was given too');
SELECT is((SELECT string_agg(kind, ' ' ORDER BY event_id) FROM billing.event WHERE account_id = pg_temp.account(13) AND event_id >
    (SELECT max(event_id::text)::uuid FROM billing.event WHERE account_id = pg_temp.account(13) AND kind = 'subscription_scheduled')),
    'payment_refunded access_ended free_plan_assigned', 'and is told of as not moved');
SELECT lives_ok($$SELECT billing.cancel_subscription(subscription_id, false) FROM billing.subscription WHERE account_id = pg_temp.account(14) AND plan = 'large'$$,
    'so is the plan before it cancelled');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(14)', ARRAY['large 1 0 31 30.00 USD void', 'small 1 31 61 10.00 USD', 'small 1 3 6'], 'with the same gap');
SELECT billing.advance_test_clock(pg_temp.account(n), '1 day') FROM generate_series(13, 16) n;
SELECT lives_ok($$SELECT pg_temp.refund('15a', 'r24', '30 USD', true)$$, 'a day later as well');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(15)', ARRAY['large 1 0 1 30.00 USD', 'small 1 31 61 10.00 USD', 'small 1 3 6'], 'from then on there is a gap');
SELECT is(billing.plan_is_active(pg_temp.account(15)), false, 'nothing is in force in it');
SELECT pg_temp.refund('16a', 'r25', '30 USD', true);
SELECT pg_temp.same('SELECT * FROM pg_temp.days(16)', ARRAY['large 1 0 1 30.00 USD', 'small 1 1 31 10.00 USD'], 'with room it moves up');
SELECT billing.set_test_clock(pg_temp.account(n), '2100-04-01 UTC') FROM generate_series(13, 16) n;
SELECT is((SELECT count(*) FROM billing.event WHERE account_id = pg_temp.account(13) AND kind = 'subscription_started'), 3::bigint, 'each begins at its time');

-- periods that move up stay on the calendar of those before them: the last day of a month is not lost
SELECT pg_temp.open(n) FROM generate_series(17, 19) n;
SELECT billing.set_test_clock(pg_temp.account(n), '2100-01-31 10:00 UTC') FROM generate_series(17, 19) n;
SELECT pg_temp.pay(n, 'large', n || '-' || i, '30 USD') FROM generate_series(17, 19) n, generate_series(1, 4) i;
SELECT pg_temp.same('SELECT * FROM pg_temp.days(17)', ARRAY['large 1 30 58 30.00 USD', 'large 2 58 89 30.00 USD', 'large 3 89 119 30.00 USD', 'large 4 119 150 30.00 USD'], 'from the end of January');
SELECT pg_temp.refund('17-2', 'r26', '30 USD', true);
SELECT pg_temp.same($$SELECT d FROM pg_temp.days(17) d WHERE d NOT LIKE '%void'$$, ARRAY['large 1 30 58 30.00 USD', 'large 3 58 89 30.00 USD', 'large 4 89 119 30.00 USD'], 'without the second the others end at the ends of their months');
SELECT pg_temp.pay(17, 'large', '17-5', '30 USD');
SELECT pg_temp.same($$SELECT d FROM pg_temp.days(17) d WHERE d NOT LIKE '%void'$$, ARRAY['large 1 30 58 30.00 USD', 'large 3 58 89 30.00 USD', 'large 4 89 119 30.00 USD', 'large 5 119 150 30.00 USD'], 'so does one bought then');
SELECT pg_temp.refund('17-4', 'r27', '30 USD', true), pg_temp.refund('17-3', 'r28', '30 USD', true);
SELECT pg_temp.same($$SELECT d FROM pg_temp.days(17) d WHERE d NOT LIKE '%void'$$, ARRAY['large 1 30 58 30.00 USD', 'large 5 58 89 30.00 USD'], 'and after two more');
SELECT billing.advance_test_clock(pg_temp.account(18), '10 days');
SELECT pg_temp.refund('18-1', 'r29', '30 USD', true);
SELECT pg_temp.same($$SELECT d FROM pg_temp.days(18) d WHERE d NOT LIKE '%void'$$, ARRAY['large 1 30 40 30.00 USD', 'large 2 40 68 30.00 USD', 'large 3 68 99 30.00 USD', 'large 4 99 129 30.00 USD'], 'a cut in the middle of a period begins a new calendar');
SELECT pg_temp.refund('19-1', 'r30', '30 USD', true);
SELECT pg_temp.same($$SELECT d FROM pg_temp.days(19) d WHERE d NOT LIKE '%void'$$, ARRAY['large 2 30 58 30.00 USD', 'large 3 58 89 30.00 USD', 'large 4 89 119 30.00 USD'], 'one that has just begun gives its start to the next');

-- also of one of another duration, bought in between
SELECT pg_temp.open(20), billing.set_test_clock(pg_temp.account(20), '2100-01-31 10:00 UTC');
SELECT pg_temp.pay(20, 'large', '20-' || i, '30 USD') FROM generate_series(1, 4) i;
SELECT billing.revise_plan('large', duration => '10 days');
SELECT pg_temp.pay(20, 'large', '20-5', '30 USD');
SELECT pg_temp.refund('20-2', 'r31', '30 USD', true);
SELECT pg_temp.same($$SELECT d FROM pg_temp.days(20) d WHERE d NOT LIKE '%void'$$, ARRAY['large 1 30 58 30.00 USD', 'large 3 58 89 30.00 USD', 'large 4 89 119 30.00 USD', 'large 5 119 129 30.00 USD'], 'what has another duration is counted from where they end');
SELECT pg_temp.pay(20, 'large', '20-6', '30 USD');
SELECT pg_temp.same($$SELECT d FROM pg_temp.days(20) d WHERE d LIKE '% 6 %'$$, ARRAY['large 6 129 139 30.00 USD'], 'and goes on');

-- what is over does not end again
CREATE FUNCTION pg_temp.ended(n int) RETURNS bigint LANGUAGE sql AS
    $$SELECT count(*) FROM billing.event WHERE account_id = pg_temp.account(n) AND kind = 'access_ended'$$;
SELECT billing.revise_plan('large', duration => '1 month');
SELECT pg_temp.open(n) FROM generate_series(21, 22) n;
SELECT pg_temp.pay(21, 'small', '21a', '10 USD'), pg_temp.pay(21, 'large', '21b', '20 USD');
SELECT pg_temp.refund('21a', 'r32', '10 USD', true);
SELECT is(pg_temp.ended(21), 0::bigint, 'a refund of what an upgrade replaced ends nothing');
SELECT ok(billing.plan_is_active(pg_temp.account(21), plan => 'large'), 'the plan stays in force');
SELECT pg_temp.refund('21b', 'r33', '20 USD', true);
SELECT is(pg_temp.ended(21), 1::bigint, 'one of the plan in force does');
SELECT pg_temp.pay(22, 'small', '22a', '10 USD'), billing.advance_test_clock(pg_temp.account(22), '40 days'), pg_temp.pay(22, 'large', '22b', '30 USD');
SELECT pg_temp.refund('22a', 'r34', '10 USD', true);
SELECT is(pg_temp.ended(22), 0::bigint, 'nor does one of a period long over');

SELECT is((SELECT count(*) FROM billing.verify_ledger()), 0::bigint, 'the ledger is sound');
SELECT throws_ok($$UPDATE billing.payment_refund SET amount = '1 USD'$$, 'PB012', NULL, 'refunds do not change');

SELECT * FROM finish();
ROLLBACK;
