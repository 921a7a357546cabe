-- Buying, renewing and upgrading by order and payment, on a frozen clock.
BEGIN;

SELECT no_plan();

SELECT billing.create_app('mail', 'Mail'), billing.create_app('drive', 'Drive');
SELECT billing.create_plan('free', 'free');
SELECT billing.create_plan('basic', 'subscription', price => '10 USD', duration => '30 days', app => 'mail');
SELECT billing.create_plan('pro', 'subscription', price => '30 USD', duration => '30 days', app => 'mail');
SELECT billing.create_plan('drive', 'subscription', price => '5 USD', duration => '30 days', app => 'drive');
SELECT billing.create_plan('gift', 'subscription', price => '0 USD', duration => '30 days', app => 'drive', tokens => 5);
SELECT billing.create_plan('euro', 'subscription', price => '50 EUR', duration => '30 days', app => 'mail');
SELECT billing.create_plan('unpriced', 'subscription', duration => '30 days', app => 'mail');
SELECT billing.create_plan('both', 'subscription', price => '20 USD', duration => '30 days', app => 'mail', tokens => 100);
SELECT billing.create_plan('pack', 'token', price => '7 USD', tokens => 100, app => 'mail');
SELECT billing.create_plan('bigpack', 'token', price => '20 USD', tokens => 500, app => 'mail');

\ir helper/order.psql

-- buy
SELECT pg_temp.open(1);
SELECT is(pg_temp.quote(1, 'basic'), 'buy | 10.00 USD | 0.00 USD | 10.00 USD | 2100-01-01 00:00:00 | 2100-01-31 00:00:00',
    'a plan that is not held is bought');
CREATE TEMPORARY TABLE first_order AS
    SELECT billing.order_plan(pg_temp.account(1), 'basic', idempotency_key => 'k1') AS order_id;
SELECT ok(NOT billing.plan_is_active(pg_temp.account(1)), 'an order alone puts nothing in force');
SELECT is(billing.order_plan(pg_temp.account(1), 'basic', idempotency_key => 'k1'), order_id, 'the same key returns the same order')
  FROM first_order;
SELECT throws_ok($$SELECT billing.order_plan(pg_temp.account(1), 'pro', idempotency_key => 'k1')$$, 'PB008', NULL,
    'the key for another plan is refused');
SELECT is((SELECT concat_ws(' ', action, plan, version, price, credit, account_credit, due, status, expires_at - created_at)
             FROM billing.plan_order JOIN first_order USING (order_id)),
    'buy basic 1 10.00 USD 0.00 USD 0.00 USD 10.00 USD open 1 day', 'the order is there, once');

-- mismatches are recorded and activate nothing
SELECT pg_temp.same(
    $$SELECT accepted, reason, subscription_id, replayed, payment_id IS NOT NULL
        FROM first_order, billing.record_payment(order_id, 'psp', 'a', '9.99 USD')$$,
    $$VALUES (false, 'payment_mismatch', NULL::uuid, false, true)$$, 'another amount is not accepted');
SELECT pg_temp.same(
    $$SELECT accepted, reason FROM first_order, billing.record_payment(order_id, 'psp', 'b', '10 EUR')$$,
    $$VALUES (false, 'payment_mismatch')$$, 'another currency is not accepted');
SELECT is((SELECT count(*) FROM billing.payment WHERE account_id = pg_temp.account(1)), 2::bigint, 'both are recorded');
SELECT ok(NOT billing.plan_is_active(pg_temp.account(1)), 'and nothing is in force');
SELECT pg_temp.same(
    $$SELECT accepted, reason, replayed FROM first_order, billing.record_payment(order_id, 'psp', 'a', '9.99 USD')$$,
    $$VALUES (false, 'payment_mismatch', true)$$, 'the same mismatch again answers the same');

-- the payment
CREATE TEMPORARY TABLE receipt AS
    SELECT r.* FROM first_order, billing.record_payment(order_id, 'psp', 'c', '10 USD', '1.60 USD') r;
SELECT pg_temp.same('SELECT accepted, reason, replayed FROM receipt', $$VALUES (true, 'accepted', false)$$, 'the amount due is accepted');
SELECT ok(billing.plan_is_active(pg_temp.account(1), 'mail', 'basic'), 'and the plan is in force');
SELECT pg_temp.same(
    $$SELECT r.payment_id, r.accepted, r.reason, r.subscription_id, r.replayed
        FROM first_order, billing.record_payment(order_id, 'psp', 'c', '10 USD') r$$,
    'SELECT payment_id, accepted, reason, subscription_id, true FROM receipt', 'the same notice again changes nothing and answers the same');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(1)', ARRAY['basic 1 0 30 10.00 USD'], 'one period');
SELECT pg_temp.same(
    $$SELECT payment_id, accepted, reason, subscription_id, replayed FROM first_order, billing.record_payment(order_id, 'psp', 'c', '11 USD')$$,
    $$VALUES (NULL::uuid, false, 'reference_reused', NULL::uuid, false)$$, 'another notice with the reference records nothing');
SELECT pg_temp.same(
    $$SELECT accepted, reason FROM first_order, billing.record_payment(order_id, 'psp', 'd', '10 USD')$$,
    $$VALUES (false, 'order_closed')$$, 'a second payment finds the order closed');
SELECT pg_temp.same(
    $$SELECT amount::text, reason FROM billing.account_credit WHERE account_id = pg_temp.account(1)$$,
    $$VALUES ('10.00 USD', 'order_closed')$$, 'and becomes account credit');

-- which the next order uses
SELECT is(pg_temp.quote(1, 'drive'), 'buy | 5.00 USD | 5.00 USD | 0.00 USD | 2100-01-01 00:00:00 | 2100-01-31 00:00:00',
    'account credit pays first');
SELECT lives_ok($$SELECT billing.order_plan(pg_temp.account(1), 'drive')$$, 'an order with nothing due');
SELECT ok(billing.plan_is_active(pg_temp.account(1), 'drive', 'drive'), 'is in force at once, alongside');
SELECT is(pg_temp.quote(1, 'basic'), 'renew | 10.00 USD | 5.00 USD | 5.00 USD | 2100-01-31 00:00:00 | 2100-03-02 00:00:00',
    'the rest of the credit is for the one after');
CREATE TEMPORARY TABLE reserving AS SELECT billing.order_plan(pg_temp.account(1), 'basic') AS order_id;
SELECT is(pg_temp.quote(1, 'basic'), 'renew | 10.00 USD | 0.00 USD | 10.00 USD | 2100-01-31 00:00:00 | 2100-03-02 00:00:00',
    'an open order sets it aside');
SELECT billing.advance_test_clock(pg_temp.account(1), '24 hours');
SELECT is((SELECT status || ' ' || (closed_at - created_at)::text FROM billing.plan_order JOIN reserving USING (order_id)), 'lapsed 1 day', 'it lapses at its time');
SELECT is(pg_temp.quote(1, 'basic'), 'renew | 10.00 USD | 5.00 USD | 5.00 USD | 2100-01-31 00:00:00 | 2100-03-02 00:00:00',
    'and gives it back');
SELECT is(pg_temp.pay(1, 'basic', 'e', '5 USD'), 'accepted', 'renewed early');
SELECT is(pg_temp.pay(1, 'basic', 'f', '10 USD'), 'accepted', 'and once more');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(1)',
    ARRAY['basic 1 0 30 10.00 USD', 'drive 1 0 30 5.00 USD', 'basic 2 30 60 10.00 USD', 'basic 3 60 90 10.00 USD'], 'periods follow without a gap');
SELECT is((SELECT r.reason FROM reserving, billing.record_payment(order_id, 'psp', 'g', '5 USD') r), 'order_closed', 'a payment for the lapsed order');
SELECT is((SELECT billing.sum(amount)::text FROM billing.account_credit WHERE account_id = pg_temp.account(1)), '5.00 USD', 'is account credit');
SELECT billing.advance_test_clock(pg_temp.account(1), '90 days');
SELECT is(pg_temp.pay(1, 'basic', 'h', '5 USD'), 'accepted', 'bought again after expiry');
SELECT is((SELECT count(DISTINCT subscription_id) FROM billing.subscription_period WHERE account_id = pg_temp.account(1) AND plan = 'basic'), 2::bigint,
    'is a new subscription');
SELECT ok(billing.plan_is_active(pg_temp.account(1), 'mail'), 'in force now');

-- upgrade with credit
SELECT pg_temp.open(2);
SELECT is(pg_temp.pay(2, 'basic', '2a', '10 USD'), 'accepted', 'basic');
SELECT billing.advance_test_clock(pg_temp.account(2), '10 days 8 hours');
SELECT is(pg_temp.quote(2, 'pro'), 'upgrade | 30.00 USD | 6.55 USD | 23.45 USD | 2100-01-11 08:00:00 | 2100-02-10 08:00:00',
    'credit is the floor of the time left');
CREATE TEMPORARY TABLE upgrade AS SELECT billing.order_plan(pg_temp.account(2), 'pro') AS order_id;
SELECT billing.revise_plan('pro', price => '99 USD'), billing.retire_plan('pro');
SELECT billing.advance_test_clock(pg_temp.account(2), '16 hours');
SELECT is((SELECT r.reason FROM upgrade, billing.record_payment(order_id, 'psp', '2b', '23.45 USD') r), 'accepted',
    'price and credit are those of the order, though the plan was revised and retired since');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(2)', ARRAY['basic 1 0 11 10.00 USD', 'pro 1 11 41 30.00 USD'], 'the old period ends where the new one begins');
SELECT pg_temp.same(
    $$SELECT plan, billing.plan_is_active(account_id, 'mail', plan), replaced_by IS NOT NULL
        FROM billing.subscription WHERE account_id = pg_temp.account(2) ORDER BY plan$$,
    $$VALUES ('basic', false, true), ('pro', true, false)$$, 'one took the place of the other');
SELECT is((SELECT credited::text FROM billing.subscription_period WHERE account_id = pg_temp.account(2) AND plan = 'basic'), '6.55 USD', 'the credit is booked');
SELECT is((SELECT string_agg(kind, ' ' ORDER BY event_id) FROM billing.event WHERE account_id = pg_temp.account(2)),
    'account_created order_created payment_recorded subscription_started order_paid '
    || 'order_created payment_recorded subscription_started subscription_upgraded order_paid', 'events tell the story');
SELECT throws_ok($$SELECT pg_temp.quote(2, 'basic', 'sometime')$$, '22023', NULL, 'unknown timing');
SELECT throws_ok($$SELECT pg_temp.quote(2, 'pro')$$, 'PB011', NULL, 'a retired plan');
SELECT throws_ok($$SELECT pg_temp.quote(2, 'unpriced')$$, 'PB011', NULL, 'a plan without a price');
SELECT throws_ok($$SELECT pg_temp.quote(2, 'free')$$, '22023', NULL, 'the free plan');
SELECT throws_ok($$SELECT pg_temp.quote(2, 'euro')$$, 'PB015', NULL, 'another currency at once');
SELECT throws_ok($$SELECT pg_temp.quote(99, 'basic')$$, 'PB001', NULL, 'an unknown account');
SELECT throws_ok($$SELECT billing.record_payment(pg_temp.account(2), 'psp', 'x', '1 USD')$$, 'PB016', NULL, 'an unknown order');
SELECT throws_ok($$SELECT billing.record_payment(NULL, 'psp', 'x', '1 USD')$$, '22004', NULL, 'a NULL order');
SELECT throws_ok($$SELECT billing.record_payment(order_id, 'psp', 'x', NULL) FROM upgrade$$, '22004', NULL, 'a NULL amount');
SELECT throws_ok($$SELECT billing.record_payment(order_id, '', 'x', '1 USD') FROM upgrade$$, '22023', NULL, 'an empty provider');
SELECT throws_ok($$SELECT billing.record_payment(order_id, 'psp', 'x', '-1 USD') FROM upgrade$$, 'PB015', NULL, 'a negative amount');
SELECT throws_ok($$SELECT billing.record_payment(order_id, 'psp', 'x', '1 USD', '2 USD') FROM upgrade$$, 'PB015', NULL, 'more tax than amount');

-- two upgrades: the second finds its subject replaced
SELECT pg_temp.open(3);
SELECT is(pg_temp.pay(3, 'basic', '3a', '10 USD'), 'accepted', 'basic');
CREATE TEMPORARY TABLE two AS
    SELECT n, billing.order_plan(pg_temp.account(3), 'both') AS order_id FROM generate_series(1, 2) n;
SELECT is((SELECT r.reason FROM two, billing.record_payment(order_id, 'psp', '3b', '10 USD') r WHERE n = 1), 'accepted', 'the first upgrade');
SELECT is((SELECT status FROM two JOIN billing.plan_order USING (order_id) WHERE n = 2), 'closed', 'closes the second');
SELECT is((SELECT r.reason FROM two, billing.record_payment(order_id, 'psp', '3c', '10 USD') r WHERE n = 2), 'order_closed', 'whose payment is account credit');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(3)', ARRAY['basic 1 0 30 10.00 USD void', 'both 1 0 30 20.00 USD'],
    'a period that began this very instant is void');
SELECT ok((SELECT void FROM billing.subscription WHERE account_id = pg_temp.account(3) AND plan = 'basic'), 'so is its subscription');

-- the share of tokens counts, and what is left of them is voided
SELECT billing.consume_tokens(pg_temp.account(3), 90, 'mail');
SELECT billing.advance_test_clock(pg_temp.account(3), '15 days');
SELECT billing.create_plan('max', 'subscription', price => '40 USD', duration => '30 days', app => 'mail', tokens => 1000);
SELECT is(pg_temp.quote(3, 'max'), 'upgrade | 40.00 USD | 12.00 USD | 28.00 USD | 2100-01-16 00:00:00 | 2100-02-15 00:00:00',
    'half the time but a tenth of the tokens left: 2 of 20 USD, and 10 USD of account credit');
SELECT is(pg_temp.pay(3, 'max', '3d', '28 USD'), 'accepted', 'upgraded');
SELECT is(billing.tokens_remaining(pg_temp.account(3), 'mail'), 1000::bigint, 'the old tokens are gone');
SELECT pg_temp.same(
    $$SELECT l.kind, l.tokens, g.voided_at IS NOT NULL FROM billing.ledger l JOIN billing.token_grant g USING (account_id, grant_id)
       WHERE account_id = pg_temp.account(3) ORDER BY entry_no$$,
    $$VALUES ('consume', 90::bigint, true), ('void', 10, true)$$, 'by an entry of the ledger');

-- token plans: no credit, the tokens move
SELECT pg_temp.open(4);
SELECT is(pg_temp.pay(4, 'pack', '4a', '7 USD'), 'accepted', 'a token plan');
SELECT billing.consume_tokens(pg_temp.account(4), 40, 'mail');
SELECT billing.order_plan(pg_temp.account(4), 'gift');
SELECT is(pg_temp.quote(4, 'bigpack'), 'upgrade | 20.00 USD | 0.00 USD | 20.00 USD | 2100-01-01 00:00:00', 'a better token plan: no credit');
SELECT is(pg_temp.pay(4, 'bigpack', '4b', '20 USD'), 'accepted', 'upgraded');
SELECT is(billing.tokens_remaining(pg_temp.account(4), 'mail'), 560::bigint, 'the tokens are still there');
SELECT is((SELECT string_agg(s.plan || ' ' || g.tokens, ', ' ORDER BY g.tokens) FROM billing.token_grant g JOIN billing.subscription s USING (account_id, subscription_id)
            WHERE g.account_id = pg_temp.account(4)), 'gift 5, bigpack 100, bigpack 500', 'in the new subscription; other plans are untouched');
SELECT is(pg_temp.pay(4, 'bigpack', '4c', '20 USD'), 'accepted', 'renewed');
SELECT is(billing.tokens_remaining(pg_temp.account(4), 'mail'), 1060::bigint, 'a renewal''s tokens are usable at once');
SELECT is(pg_temp.quote(4, 'pack'), 'buy | 7.00 USD | 0.00 USD | 7.00 USD | 2100-01-01 00:00:00',
    'a plan without end cannot be replaced at its end: a cheaper one is bought alongside');
SELECT throws_ok($$SELECT pg_temp.quote(4, 'pack', 'period_end')$$, '22023', NULL, 'and not at a period''s end');

-- suspended and closed
SELECT pg_temp.open(5);
SELECT is(pg_temp.pay(5, 'basic', '5a', '10 USD'), 'accepted', 'basic');
SELECT billing.suspend_account(pg_temp.account(5), 'unpaid');
SELECT is(pg_temp.quote(5, 'both'), 'upgrade | 20.00 USD | 10.00 USD | 10.00 USD | 2100-01-01 00:00:00 | 2100-01-31 00:00:00', 'a suspended account can be quoted');
SELECT is(pg_temp.pay(5, 'both', '5b', '10 USD'), 'accepted', 'and pay');
CREATE TEMPORARY TABLE late AS SELECT billing.order_plan(pg_temp.account(5), 'drive') AS order_id;
SELECT billing.close_account(pg_temp.account(5));
SELECT throws_ok($$SELECT billing.order_plan(pg_temp.account(5), 'basic')$$, 'PB002', NULL, 'a closed one cannot order');
SELECT is((SELECT r.reason FROM late, billing.record_payment(order_id, 'psp', '5c', '5 USD') r), 'order_closed', 'a payment for its order');
SELECT is((SELECT billing.sum(amount)::text FROM billing.account_credit WHERE account_id = pg_temp.account(5)), '5.00 USD', 'is account credit');

-- revising and retiring change nothing for those who hold an earlier version
SELECT pg_temp.open(6);
SELECT billing.create_plan('old', 'subscription', price => '10 USD', duration => '30 days', app => 'mail', tokens => 10, permissions => '{mail:send}', user_limit => 3);
SELECT is(pg_temp.pay(6, 'old', '6a', '10 USD'), 'accepted', 'a plan');
CREATE TEMPORARY TABLE renewal AS SELECT billing.order_plan(pg_temp.account(6), 'old') AS order_id;
CREATE FUNCTION pg_temp.everything(n int) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(E'\n', (SELECT string_agg(s::text, E'\n' ORDER BY s::text) FROM billing.subscription s WHERE account_id = pg_temp.account(n)),
        (SELECT string_agg(p::text, E'\n' ORDER BY p::text) FROM billing.subscription_period p WHERE account_id = pg_temp.account(n)),
        (SELECT string_agg(g::text, E'\n' ORDER BY g::text) FROM billing.token_grant g WHERE account_id = pg_temp.account(n)),
        (SELECT string_agg(o::text, E'\n' ORDER BY o::text) FROM billing.plan_order o WHERE account_id = pg_temp.account(n)),
        (SELECT a::text FROM billing.account_status a WHERE account_id = pg_temp.account(n)),
        (SELECT string_agg(c::text, E'\n') FROM unnest('{mail:send,mail:read,drive:read}'::text[]) q, billing.check_access(pg_temp.account(n), q) c))
$$;
CREATE TEMPORARY TABLE before AS SELECT pg_temp.everything(6) AS everything;
SELECT billing.revise_plan('old', price => '99 USD', duration => '1 day', tokens => 1, user_limit => 1, permissions => '{drive:read}', app => 'drive');
SELECT is(pg_temp.everything(6), everything, 'revised: nothing changes for those who hold the plan') FROM before;
SELECT billing.retire_plan('old');
SELECT is(pg_temp.everything(6), everything, 'retired: the same') FROM before;
SELECT is((SELECT r.reason FROM renewal, billing.record_payment(order_id, 'psp', '6b', '10 USD') r), 'accepted', 'the open order is paid at its price');
SELECT pg_temp.same('SELECT * FROM pg_temp.days(6)', ARRAY['old 1 0 30 10.00 USD', 'old 2 30 60 10.00 USD'], 'for the version and duration it was made for');
SELECT is((SELECT string_agg(version::text, ' ') FROM billing.subscription_period WHERE account_id = pg_temp.account(6)), '1 1', 'both periods are of version 1');
SELECT throws_ok($$SELECT billing.order_plan(pg_temp.account(6), 'old')$$, 'PB011', NULL, 'a new order of a retired plan is refused');

-- another time zone: what is bought from then on is as long as the calendar there says
SELECT billing.create_plan('month', 'subscription', price => '30 USD', duration => '1 month', app => 'drive');
SELECT billing.create_account('moves', pg_temp.account(41), time_zone => 'Asia/Tokyo'), billing.set_test_clock(pg_temp.account(41), '2101-02-28 22:30 UTC');
SELECT billing.create_account('stays', pg_temp.account(42), time_zone => 'Europe/Berlin'), billing.set_test_clock(pg_temp.account(42), '2101-01-31 09:00 UTC');
SELECT is(pg_temp.pay(n, 'month', n || 'a', '30 USD'), 'accepted', 'a month') FROM generate_series(41, 42) n;
SELECT billing.update_account(pg_temp.account(41), time_zone => 'UTC'), billing.update_account(pg_temp.account(42), time_zone => 'Europe/Paris');
SELECT is(pg_temp.quote(41, 'month'), 'renew | 30.00 USD | 0.00 USD | 30.00 USD | 2101-03-31 22:30:00 | 2101-04-30 22:30:00', 'where the zones have other days the end so far is the anchor');
SELECT is(pg_temp.pay(n, 'month', n || 'b', '30 USD'), 'accepted', 'renewed') FROM generate_series(41, 42) n;
SELECT is((SELECT string_agg(expires_at::text, ', ' ORDER BY period_no) FROM billing.subscription_period WHERE account_id = pg_temp.account(41)), '2101-03-31 22:30:00+00, 2101-04-30 22:30:00+00', 'as quoted');
SELECT is(pg_temp.pay(41, 'month', '41c', '30 USD'), 'accepted', 'renewed once more');
SELECT is((SELECT max(expires_at)::text FROM billing.subscription_period WHERE account_id = pg_temp.account(41)), '2101-05-31 22:30:00+00', 'counted on from the new anchor');
SELECT is((SELECT string_agg(expires_at::text, ', ' ORDER BY period_no) FROM billing.subscription_period WHERE account_id = pg_temp.account(42)), '2101-02-28 09:00:00+00, 2101-03-31 08:00:00+00', 'where they agree counting goes on');

-- amounts that no sum can hold are facts as well: recorded, and the views stay readable
SELECT pg_temp.open(n) FROM generate_series(43, 44) n;
CREATE TEMPORARY TABLE absurd AS SELECT n, billing.order_plan(pg_temp.account(n), 'month') AS order_id FROM generate_series(43, 44) n;
CREATE FUNCTION pg_temp.notice(n int, ref text, amount billing.amount) RETURNS text LANGUAGE sql AS
    $$SELECT r.reason FROM absurd, billing.record_payment(order_id, 'psp', ref, amount) r WHERE absurd.n = notice.n$$;
CREATE FUNCTION pg_temp.pay_back(refs text, end_access boolean) RETURNS SETOF uuid LANGUAGE sql AS
    $$SELECT billing.record_refund(payment_id, 'psp', 'back ' || provider_ref, amount, end_access) FROM billing.payment WHERE provider_ref LIKE refs ORDER BY provider_ref$$;
SELECT is(pg_temp.notice(43, '43' || ref, '92233720368547758.07 USD'), 'payment_mismatch', 'an absurd payment') FROM unnest('{a,b,c}'::text[]) ref;
SELECT is(pg_temp.notice(43, '43d', '9223372036854775807 JPY'), 'payment_mismatch', 'and one in another currency');
SELECT is(pg_temp.notice(43, '43e', '30 USD'), 'accepted', 'what is due is paid all the same');
SELECT is((SELECT string_agg(concat_ws(' ', paid, used, unapplied, difference), ', ' ORDER BY currency) FROM billing.payment_conservation WHERE account_id = pg_temp.account(43)),
    '9223372036854775807 JPY 0 JPY 9223372036854775807 JPY 0 JPY, 92233720368547758.07 USD 30.00 USD 92233720368547758.07 USD 0.00 USD', 'a sum past the range is the largest amount, and nothing is missing');
SELECT lives_ok($$SELECT pg_temp.pay_back('43_', true)$$, 'it is paid back');
SELECT is((SELECT string_agg(concat_ws(' ', used, refunded, unapplied, difference), ', ' ORDER BY currency) FROM billing.payment_conservation WHERE account_id = pg_temp.account(43)),
    '0 JPY 9223372036854775807 JPY 0 JPY 0 JPY, 0.00 USD 92233720368547758.07 USD 0.00 USD 0.00 USD', 'and nothing is missing then');
SELECT is(pg_temp.notice(44, '44a', '30 USD'), 'accepted', 'an order is paid');
SELECT is(pg_temp.notice(44, '44' || ref, '92233720368547758.07 USD'), 'order_closed', 'and paid again') FROM unnest('{b,c,d}'::text[]) ref;
SELECT is((SELECT concat_ws(' ', balance, reserved, available) FROM billing.account_credit_balance WHERE account_id = pg_temp.account(44)), '92233720368547758.07 USD 0.00 USD 92233720368547758.07 USD', 'the account credit can be read');
SELECT is(pg_temp.quote(44, 'month'), 'renew | 30.00 USD | 30.00 USD | 0.00 USD | 2100-02-01 00:00:00 | 2100-03-01 00:00:00', 'pays for a renewal');
SELECT lives_ok($$SELECT billing.order_plan(pg_temp.account(44), 'month')$$, 'and is spent');
SELECT lives_ok($$SELECT pg_temp.pay_back('44_', false)$$, 'and paid back, with what it was spent on');
SELECT is((SELECT concat_ws(' ', paid, used, credited, refunded, account_credit, unapplied, difference) FROM billing.payment_conservation WHERE account_id = pg_temp.account(44)),
    '92233720368547758.07 USD 0.00 USD 0.00 USD 92233720368547758.07 USD 0.00 USD 0.00 USD 0.00 USD', 'to the last cent');
SELECT is((SELECT balance::text FROM billing.account_credit_balance WHERE account_id = pg_temp.account(44)), '0.00 USD', 'nothing is left');

-- rows do not change
SELECT throws_ok($$UPDATE billing.payment SET amount = '1 USD' WHERE account_id = pg_temp.account(1)$$, 'PB012', NULL, 'payments');
SELECT throws_ok($$DELETE FROM billing.account_credit WHERE account_id = pg_temp.account(1)$$, 'PB012', NULL, 'account credit');
SELECT throws_ok($$UPDATE billing.plan_order SET price = '1 USD', due = '1 USD' WHERE account_id = pg_temp.account(1)$$, 'PB012', NULL, 'orders');
SELECT throws_ok($$UPDATE billing.plan_order SET status = 'open', closed_at = NULL, subscription_id = NULL WHERE account_id = pg_temp.account(1) AND status = 'paid'$$, 'PB012', NULL, 'orders that are over');
SELECT throws_ok(format('UPDATE billing.subscription_period SET %s WHERE account_id = pg_temp.account(6)', change), 'PB012', NULL, 'of a period: ' || change) FROM unnest(ARRAY[
    $$paid = '1000 USD'$$, $$paid = NULL$$, $$price = '1 USD'$$, 'version = 2', 'plan = plan || 1', $$kind = 'token'$$, $$apps = '{drive}'$$, 'order_id = NULL', 'grant_id = gen_random_uuid()',
    'period_no = period_no + 10', 'subscription_id = gen_random_uuid()', $$idempotency_key = 'x'$$, 'created_at = now()']) change;
SELECT throws_ok('DELETE FROM billing.subscription_period WHERE account_id = pg_temp.account(6)', 'PB012', NULL, 'periods stay');
SET LOCAL client_min_messages = warning;
SELECT throws_ok('TRUNCATE billing.subscription_period CASCADE', 'PB012', NULL, 'all of them');
RESET client_min_messages;
SELECT lives_ok($$UPDATE billing.subscription_period SET credited = '1 USD', refunded = '2 USD', void = true, expires_at = expires_at - interval '1 day' WHERE account_id = pg_temp.account(6) AND period_no = 2$$, 'what happens to a period may be written');
SELECT lives_ok($$UPDATE billing.subscription_period SET refunded = '3 USD', effective_at = effective_at + interval '1 day' WHERE account_id = pg_temp.account(6) AND period_no = 2$$, 'more may be paid back');
SELECT throws_ok(format('UPDATE billing.subscription_period SET %s WHERE account_id = pg_temp.account(6) AND period_no = 2', change), 'PB012', NULL, 'but not taken back: ' || change) FROM unnest(ARRAY[
    $$credited = '2 USD'$$, 'credited = NULL', $$refunded = '2.99 USD'$$, 'refunded = NULL', 'void = false']) change;
SELECT throws_ok('TRUNCATE billing.order_credit', 'PB012', NULL, 'promised credit');
SELECT throws_ok($$UPDATE billing.token_grant SET expires_at = now() + interval '1 year' WHERE account_id = pg_temp.account(4)$$, 'PB012', NULL, 'the end of a grant');
SELECT throws_ok($$UPDATE billing.token_grant SET subscription_id = NULL WHERE account_id = pg_temp.account(4)$$, 'PB012', NULL, 'whose a grant is');

SELECT * FROM finish();
ROLLBACK;
