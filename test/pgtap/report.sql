-- Revenue, and what needs attention soon.
BEGIN;

SELECT no_plan();
\ir helper/order.psql

SELECT billing.create_app('mail', 'Mail');
SELECT billing.create_plan('month', 'subscription', price => '10 USD', duration => '1 month', app => 'mail');
SELECT billing.create_plan('year', 'subscription', price => '100 USD', duration => '1 year', app => 'mail');
SELECT billing.create_plan('days', 'subscription', price => '30 EUR', duration => '60.87375 days', app => 'mail');
SELECT billing.create_plan('yen', 'token', price => '500 JPY', tokens => 100, app => 'mail');

-- revenue: of real accounts only
CREATE FUNCTION pg_temp.revenue() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(concat_ws(' ', currency, payments, booked::numeric, refunded::numeric, recurring::numeric), ', ' ORDER BY currency)
      FROM billing.revenue_monthly WHERE month = date_trunc('month', now() AT TIME ZONE 'UTC')::date
$$;
SELECT is(pg_temp.revenue(), NULL, 'nothing yet');
SELECT billing.create_account('real', pg_temp.account(1)), billing.create_account('other', pg_temp.account(2)), billing.create_account('third', pg_temp.account(3));
SELECT is(pg_temp.pay(1, 'month', '1a', '10 USD'), 'accepted', 'a month');
SELECT is(pg_temp.pay(1, 'month', '1b', '10 USD'), 'accepted', 'and the next');
SELECT is(pg_temp.pay(2, 'year', '2a', '100 USD'), 'accepted', 'a year');
SELECT is(pg_temp.pay(3, 'days', '3a', '30 EUR'), 'accepted', 'two months in days');
SELECT is(pg_temp.pay(3, 'yen', '3b', '500 JPY'), 'accepted', 'tokens');
SELECT is(pg_temp.pay(3, 'yen', '3c', '400 JPY'), 'payment_mismatch', 'what is not accepted');
SELECT is(pg_temp.revenue(), 'EUR 1 30.00 0.00 15.00, JPY 1 500 0 0, USD 3 120.00 0.00 18.33', 'booked, refunded, recurring');
SELECT billing.record_refund(payment_id, 'psp', 'r', '5 USD') FROM billing.payment WHERE provider_ref = '1b';
SELECT billing.record_refund(payment_id, 'psp', 'm', '400 JPY') FROM billing.payment WHERE provider_ref = '3c';
SELECT is(pg_temp.revenue(), 'EUR 1 30.00 0.00 15.00, JPY 1 500 0 0, USD 3 120.00 5.00 18.33', 'refunds of accepted payments');
SELECT is(pg_temp.pay(1, 'year', '1c', '85.01 USD'), 'accepted', 'an upgrade');
SELECT is(pg_temp.revenue(), 'EUR 1 30.00 0.00 15.00, JPY 1 500 0 0, USD 4 205.01 5.00 16.67', 'two years recur');
SELECT pg_temp.open(4);
SELECT is(pg_temp.pay(4, 'month', '4a', '10 USD'), 'accepted', 'a test account');
SELECT is(pg_temp.revenue(), 'EUR 1 30.00 0.00 15.00, JPY 1 500 0 0, USD 4 205.01 5.00 16.67', 'brings no revenue');
SELECT is((SELECT count(*) FROM billing.revenue_monthly WHERE month > now() + interval '1 month'), 0::bigint, 'in no month');

-- past months, by rows as an import would leave them
INSERT INTO billing.account (account_id, name, created_at) VALUES (pg_temp.account(5), 'old', '2020-01-01');
INSERT INTO billing.subscription (account_id, subscription_id, plan, kind, effective_at, expires_at, anchor, created_at, started_at, ended_at)
VALUES (pg_temp.account(5), pg_temp.account(5), 'month', 'subscription', '2020-01-15', '2020-03-15', '2020-01-15', '2020-01-15', '2020-01-15', '2020-03-15');
INSERT INTO billing.subscription_period (account_id, subscription_id, period_no, plan, version, kind, effective_at, expires_at, price, paid, created_at)
VALUES (pg_temp.account(5), pg_temp.account(5), 1, 'month', 1, 'subscription', '2020-01-15', '2020-02-15', '10 USD', '10 USD', '2020-01-15'),
       (pg_temp.account(5), pg_temp.account(5), 2, 'month', 1, 'subscription', '2020-02-15', '2020-03-15', '10 USD', '10 USD', '2020-01-15');
SELECT pg_temp.same($$SELECT month, recurring FROM billing.revenue_monthly WHERE month < '2021-01-01' ORDER BY month$$,
    ARRAY['2020-01-01,10.00 USD', '2020-02-01,10.00 USD'], 'what was in force at the end of a month recurs in it');
-- calendar months: each period ends in the instant in which its month does
INSERT INTO billing.account (account_id, name, created_at) VALUES (pg_temp.account(6), 'calendar', '2018-01-01');
INSERT INTO billing.subscription (account_id, subscription_id, plan, kind, effective_at, expires_at, anchor, created_at, started_at, ended_at)
VALUES (pg_temp.account(6), pg_temp.account(6), 'month', 'subscription', '2018-01-01Z', '2018-04-01Z', '2018-01-01Z', '2018-01-01Z', '2018-01-01Z', '2018-04-01Z');
INSERT INTO billing.subscription_period (account_id, subscription_id, period_no, plan, version, kind, effective_at, expires_at, price, paid, created_at)
SELECT pg_temp.account(6), pg_temp.account(6), n, 'month', 1, 'subscription', make_timestamptz(2018, n, 1, 0, 0, 0, 'UTC'), make_timestamptz(2018, n + 1, 1, 0, 0, 0, 'UTC'), '10 USD', '10 USD', '2018-01-01Z'
  FROM generate_series(1, 3) n;
SELECT pg_temp.same($$SELECT month, recurring FROM billing.revenue_monthly WHERE month < '2019-01-01' ORDER BY month$$,
    ARRAY['2018-01-01,10.00 USD', '2018-02-01,10.00 USD', '2018-03-01,10.00 USD'], 'what lasts to the last instant of a month recurs in it, once');

-- expiring
SELECT is((SELECT count(*) FROM billing.expiring_soon WHERE account_id = pg_temp.account(4)), 0::bigint, 'a month to go');
SELECT billing.advance_test_clock(pg_temp.account(4), '24 days');
SELECT is((SELECT concat_ws(' ', name, plan, kind, expires_in, canceled) FROM billing.expiring_soon WHERE account_id = pg_temp.account(4)),
    'account 4 month subscription 7 days f', 'seven days to go');
SET LOCAL billing.expiring_soon_days = 6;
SELECT is((SELECT count(*) FROM billing.expiring_soon WHERE account_id = pg_temp.account(4)), 0::bigint, 'as the setting says');
RESET billing.expiring_soon_days;
SELECT is(pg_temp.pay(4, 'month', '4b', '10 USD'), 'accepted', 'renewed');
SELECT is((SELECT count(*) FROM billing.expiring_soon WHERE account_id = pg_temp.account(4)), 0::bigint, 'it is not expiring any more');

-- what is followed without a gap, by the same plan or by one that gives the same, does not
SELECT billing.create_account('follows', pg_temp.account(7));
SELECT billing.subscribe(pg_temp.account(7), 'month', expires_at => now() + interval '2 days'),
       billing.subscribe(pg_temp.account(7), 'month', effective_at => now() + interval '2 days');
SELECT is((SELECT count(*) FROM billing.expiring_soon WHERE account_id = pg_temp.account(7)), 0::bigint, 'the same plan follows without a gap');
SELECT billing.create_account('follows', pg_temp.account(8));
SELECT billing.subscribe(pg_temp.account(8), 'month', expires_at => now() + interval '2 days'),
       billing.subscribe(pg_temp.account(8), 'month', effective_at => now() + interval '3 days');
SELECT is((SELECT plan COLLATE "default" FROM billing.expiring_soon WHERE account_id = pg_temp.account(8)), 'month', 'with a gap it is expiring');
SELECT billing.subscribe(pg_temp.account(8), 'year', effective_at => now() + interval '1 day');
SELECT is((SELECT count(*) FROM billing.expiring_soon WHERE account_id = pg_temp.account(8)), 0::bigint, 'unless another plan that covers its apps lasts over it');
SELECT billing.create_app('other', 'Other'), billing.create_plan('elsewhere', 'subscription', duration => '1 year', app => 'other');
SELECT billing.create_account('follows', pg_temp.account(9));
SELECT billing.subscribe(pg_temp.account(9), 'year'), billing.subscribe(pg_temp.account(9), 'yen', expires_at => now() + interval '2 days');
SELECT billing.subscribe(pg_temp.account(9), 'month', effective_at => now() - interval '1 day', expires_at => now() + interval '2 days');
SELECT is((SELECT string_agg(plan, ' ' ORDER BY plan) FROM billing.expiring_soon WHERE account_id = pg_temp.account(9)), 'yen',
    'a time plan does not follow tokens; what began later does');
SELECT billing.create_account('follows', pg_temp.account(10));
SELECT billing.subscribe(pg_temp.account(10), 'month', expires_at => now() + interval '2 days');
SELECT billing.subscribe(pg_temp.account(10), 'elsewhere', effective_at => now() + interval '2 days');
SELECT is((SELECT string_agg(plan, ' ' ORDER BY plan) FROM billing.expiring_soon WHERE account_id = pg_temp.account(10)), 'month',
    'a plan for other apps is none that follows');
SELECT billing.create_account('follows', pg_temp.account(11));
SELECT billing.subscribe(pg_temp.account(11), 'year', effective_at => now() - interval '2 days');
SELECT billing.subscribe(pg_temp.account(11), 'month', expires_at => now() + interval '2 days');
SELECT is((SELECT string_agg(plan, ' ' ORDER BY plan) FROM billing.expiring_soon WHERE account_id = pg_temp.account(11)), 'month',
    'nor is one that was there before');

-- exhausting
SELECT is((SELECT count(*) FROM billing.exhausting_soon WHERE account_id = pg_temp.account(3)), 0::bigint, 'all tokens left');
SELECT billing.consume_tokens(pg_temp.account(3), 90, 'mail');
SELECT is((SELECT concat_ws(' ', name, plan, kind, tokens_granted, tokens_left) FROM billing.exhausting_soon WHERE account_id = pg_temp.account(3)),
    'third yen token 100 10', 'a tenth left');
SET LOCAL billing.exhausting_soon_percent = 9;
SELECT is((SELECT count(*) FROM billing.exhausting_soon WHERE account_id = pg_temp.account(3)), 0::bigint, 'as the setting says');
RESET billing.exhausting_soon_percent;
SELECT is(pg_temp.pay(3, 'yen', '3d', '500 JPY'), 'accepted', 'renewed');
SELECT is((SELECT count(*) FROM billing.exhausting_soon WHERE account_id = pg_temp.account(3)), 0::bigint, 'more than a tenth left');

-- history
SELECT pg_temp.same($$SELECT provider_ref, amount, accepted, reason, refunded, action, plan, subscription_id IS NOT NULL FROM billing.payment_history
    WHERE account_id = pg_temp.account(3) ORDER BY payment_id$$,
    ARRAY['3a,30.00 EUR,t,accepted,0.00 EUR,buy,days,t', '3b,500 JPY,t,accepted,0 JPY,buy,yen,t', '3c,400 JPY,f,payment_mismatch,400 JPY,renew,yen,f',
          '3d,500 JPY,t,accepted,0 JPY,renew,yen,t'], 'every payment is in the history');

-- each view, filtered by account, is read by indexes
CREATE FUNCTION pg_temp.scans(view text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line text;
    scans text := '';
BEGIN
    FOR line IN EXECUTE format('EXPLAIN (COSTS OFF) SELECT * FROM billing.%I WHERE account_id = %L', view, pg_temp.account(1)) LOOP
        IF line LIKE '%Seq Scan%' AND line NOT LIKE '%Seq Scan on plan_version%' THEN
            scans := scans || line;
        END IF;
    END LOOP;
    RETURN scans;
END
$$;
SET LOCAL enable_seqscan = off;
SELECT is(pg_temp.scans(v), '', v || ': by index')
  FROM unnest('{payment_history,account_credit_balance,payment_conservation,expiring_soon,exhausting_soon}'::text[]) v;

SELECT * FROM finish();
ROLLBACK;
