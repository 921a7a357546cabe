-- Periods through subscribe: counted from the anchor, renewed early, late and twice, explicit times,
-- overlap, keys.
SET search_path = billing, public;
SET timezone = 'UTC';
SET datestyle = 'ISO';
\set VERBOSITY sqlstate
\pset null (null)
\set a '''9a000006-0000-4000-8000-0000000000a1'''
\set b '''9a000006-0000-4000-8000-0000000000b2'''
\set c '''9a000006-0000-4000-8000-0000000000c3'''
\set d '''9a000006-0000-4000-8000-0000000000d4'''
\set e '''9a000006-0000-4000-8000-0000000000e5'''
\set f '''9a000006-0000-4000-8000-0000000000f6'''
\set g '''9a000006-0000-4000-8000-0000000001a7'''
\set nobody '''9a000006-0000-4000-8000-00000000ffff'''

SELECT create_app('sb-app', 'App');
SELECT create_plan('sb-month', 'subscription', duration => '1 month', price => '10.00 USD');
SELECT create_plan('sb-days', 'subscription', duration => '30 days', tokens => 5, app => 'sb-app');
SELECT create_plan('sb-hours', 'subscription', duration => '720 hours');
SELECT create_plan('sb-pack', 'token', tokens => 10, duration => '1 month');
SELECT create_plan('sb-endless', 'token', tokens => 10);
SELECT create_plan('sb-free', 'free');
SELECT count(create_account('Periods', id)) FROM unnest(ARRAY[:a, :b, :c, :d, :e, :f, :g]::uuid[]) AS id;

CREATE VIEW pg_temp.period AS
SELECT p.account_id, dense_rank() OVER (PARTITION BY p.account_id, p.plan ORDER BY s.effective_at, s.subscription_id) AS nth, p.plan, p.version AS v, p.period_no AS no,
    p.effective_at, p.expires_at, p.price, p.paid, g.tokens, s.expires_at = max(p.expires_at) OVER (PARTITION BY p.account_id, p.subscription_id) AS ends_with_last
FROM subscription_period AS p JOIN subscription AS s USING (account_id, subscription_id) LEFT JOIN token_grant AS g ON g.account_id = p.account_id AND g.grant_id = p.grant_id;

-- 31 January, 28 February, 31 March: renewed early, in time, in the last microsecond, several times.
SELECT set_test_clock(:a, '2041-01-31 10:00');
SELECT subscribe(:a, 'sb-month') AS s \gset
SELECT subscribe(:a, 'sb-month') = :'s' AS same;
SELECT set_test_clock(:a, '2041-03-30 12:00');
SELECT subscribe(:a, 'sb-month') = :'s' AS same, subscribe(:a, 'sb-month') = :'s' AS same, subscribe(:a, 'sb-month') = :'s' AS same;
SELECT set_test_clock(:a, '2041-06-30 09:59:59.999999');
SELECT subscribe(:a, 'sb-month') = :'s' AS same;
SELECT nth, no, effective_at, expires_at, price, paid, ends_with_last FROM pg_temp.period WHERE account_id = :a ORDER BY nth, no;
-- Bought after the end, from that instant on: a new subscription with a new anchor.
SELECT set_test_clock(:a, '2041-07-31 10:00');
SELECT subscribe(:a, 'sb-month') = :'s' AS same;
SELECT set_test_clock(:a, '2041-09-29 12:00');
SELECT subscribe(:a, 'sb-month') = :'s' AS same;
SELECT nth, no, effective_at, expires_at FROM pg_temp.period WHERE account_id = :a AND nth > 1 ORDER BY nth, no;

-- Another duration: the old end becomes the anchor; the same one again begins anew from there.
SELECT set_test_clock(:b, '2041-01-31');
SELECT count(subscribe(:b, 'sb-month'));
SELECT revise_plan('sb-month', duration => '10 days');
SELECT count(subscribe(:b, 'sb-month')), count(subscribe(:b, 'sb-month'));
SELECT revise_plan('sb-month', duration => '1 month');
SELECT count(subscribe(:b, 'sb-month')), count(subscribe(:b, 'sb-month')), count(subscribe(:b, 'sb-month'));
-- 30 days are another duration than a month, and than 720 hours, even where they are as long.
SELECT revise_plan('sb-month', duration => '30 days');
SELECT count(subscribe(:b, 'sb-month')), count(subscribe(:b, 'sb-month'));
SELECT anchor, anchor_duration, anchor_periods FROM subscription WHERE account_id = :b;
SELECT revise_plan('sb-month', duration => '720 hours');
SELECT count(subscribe(:b, 'sb-month'));
SELECT revise_plan('sb-month', duration => '1 month');
SELECT v, no, effective_at, expires_at FROM pg_temp.period WHERE account_id = :b ORDER BY no;
SELECT anchor, anchor_duration, anchor_periods FROM subscription WHERE account_id = :b;

-- Another time zone counts for the periods bought from then on; the change to summer time there.
SELECT update_account(:c, time_zone => 'Europe/Berlin');
SELECT set_test_clock(:c, '2041-02-28 10:00 Europe/Berlin');
SELECT count(subscribe(:c, 'sb-month')), count(subscribe(:c, 'sb-month')), count(subscribe(:c, 'sb-days')), count(subscribe(:c, 'sb-days')), count(subscribe(:c, 'sb-hours')), count(subscribe(:c, 'sb-hours'));
SELECT update_account(:c, time_zone => 'America/New_York');
SELECT count(subscribe(:c, 'sb-month'));
SELECT plan, no, effective_at, expires_at FROM pg_temp.period WHERE account_id = :c ORDER BY plan, no;

-- Explicit times. Without effective_at the plan held is renewed.
SELECT set_test_clock(:d, '2041-01-01');
SELECT subscribe(:d, 'sb-days', effective_at => '2041-01-31') AS later \gset
SELECT count(subscribe(:d, 'sb-days', effective_at => '2041-01-01', expires_at => '2041-01-31'));
SELECT subscribe(:d, 'sb-days', effective_at => '2041-01-30 23:59:59.999999', expires_at => '2041-02-15');
SELECT subscribe(:d, 'sb-days', effective_at => '2040-12-01', expires_at => '2041-01-01 00:00:00.000001');
SELECT subscribe(:d, 'sb-days', effective_at => '2041-02-01');
SELECT count(subscribe(:d, 'sb-days', effective_at => '2041-03-02', expires_at => '2041-03-03'));
SELECT subscribe(:d, 'sb-days') = (SELECT subscription_id FROM subscription WHERE account_id = :d AND effective_at = '2041-03-02') AS renews_the_last;
SELECT count(subscribe(:d, 'sb-days', expires_at => '2041-05-01')), count(subscribe(:d, 'sb-days', tokens => 77));
SELECT subscribe(:d, 'sb-days', expires_at => '2041-05-31');
SELECT subscribe(:d, 'sb-days', effective_at => '2041-06-01', expires_at => '2041-06-01');
SELECT subscribe(:d, 'sb-days', effective_at => '2042-06-01', expires_at => '2042-05-31');
-- another plan may overlap
SELECT count(subscribe(:d, 'sb-hours', effective_at => '2041-01-15'));
-- in the past, and partly
SELECT count(subscribe(:d, 'sb-hours', effective_at => '2039-01-01', expires_at => '2039-02-01')), count(subscribe(:d, 'sb-month', effective_at => '2040-12-15'));
SELECT nth, plan, no, effective_at, expires_at, tokens, ends_with_last FROM pg_temp.period WHERE account_id = :d ORDER BY plan, nth, no;
SELECT plan_is_active(:d, plan => 'sb-month') AS month, plan_is_active(:d, plan => 'sb-hours') AS hours;
-- plain DML cannot overlap either, nor turn a period round
INSERT INTO subscription (account_id, subscription_id, plan, kind, effective_at, expires_at, anchor, created_at) VALUES (:d, '9a000006-0000-7000-8000-0000000000d4', 'sb-days', 'subscription', '2041-01-01', '2041-01-02', '2041-01-01', now());
INSERT INTO subscription (account_id, subscription_id, plan, kind, effective_at, expires_at, anchor, created_at) VALUES (:d, '9a000006-0000-7000-8000-0000000000d4', 'sb-days', 'subscription', '2050-01-02', '2050-01-02', '2050-01-01', now());
UPDATE subscription SET effective_at = effective_at - interval '1 microsecond' WHERE subscription_id = :'later';
UPDATE subscription_period SET expires_at = expires_at + interval '1 microsecond' WHERE account_id = :d AND plan = 'sb-days' AND period_no = 1 AND effective_at = '2041-01-01';

-- Token plans. Without an end: renewed where they stand, and without an end still, whatever the
-- newest version says.
SELECT set_test_clock(:e, '2041-01-01');
SELECT count(subscribe(:e, 'sb-endless')), count(subscribe(:e, 'sb-pack'));
SELECT set_test_clock(:e, '2041-01-10');
SELECT count(subscribe(:e, 'sb-endless')), count(subscribe(:e, 'sb-endless')), count(subscribe(:e, 'sb-pack'));
SELECT revise_plan('sb-endless', duration => '30 days');
SELECT count(subscribe(:e, 'sb-endless'));
SELECT plan, nth, v, no, effective_at, expires_at, tokens, ends_with_last FROM pg_temp.period WHERE account_id = :e ORDER BY plan, nth, no;
SELECT plan, g.effective_at, g.expires_at FROM token_grant AS g JOIN subscription USING (account_id, subscription_id) WHERE g.account_id = :e ORDER BY plan, g.granted_at, g.grant_id;
SELECT set_test_clock(:e, '2049-01-01');
SELECT plan_is_active(:e, plan => 'sb-endless'), plan_is_active(:e, plan => 'sb-pack'), tokens_remaining(:e);
-- An explicit end ends it.
SELECT count(subscribe(:e, 'sb-endless', expires_at => '2049-02-01'));
SELECT expires_at FROM subscription WHERE account_id = :e AND plan = 'sb-endless';
SELECT set_test_clock(:e, '2049-02-01');
SELECT plan_is_active(:e, plan => 'sb-endless');
-- What has an end and is renewed by a version without one has none after that end.
SELECT count(subscribe(:e, 'sb-pack'));
SELECT revise_plan('sb-pack', unset => '{duration}');
SELECT count(subscribe(:e, 'sb-pack'));
SELECT no, effective_at, expires_at FROM pg_temp.period WHERE account_id = :e AND plan = 'sb-pack' AND nth = 2 ORDER BY no;

-- Keys: the same request again is the same subscription, also when much has changed since.
SELECT set_test_clock(:f, '2041-01-01');
SELECT subscribe(:f, 'sb-days', idempotency_key => 'k') AS s \gset
SELECT subscribe(:f, 'sb-days', idempotency_key => 'k') = :'s' AS same, subscribe(:f, 'sb-days', idempotency_key => 'k2') = :'s' AS same;
SELECT set_test_clock(:f, '2042-01-01');
SELECT suspend_account(:f, 'test');
SELECT subscribe(:f, 'sb-days', idempotency_key => 'k') = :'s' AS same;
SELECT subscribe(:f, 'sb-hours', idempotency_key => 'k');
SELECT subscribe(:f, 'sb-days', tokens => 6, idempotency_key => 'k');
SELECT subscribe(:f, 'sb-days', effective_at => '2041-01-02', idempotency_key => 'k');
SELECT subscribe(:f, 'sb-days', expires_at => '2041-01-02', idempotency_key => 'k');
SELECT subscribe(:f, 'sb-days', idempotency_key => 'k3');
SELECT reinstate_account(:f);
SELECT retire_plan('sb-days');
SELECT subscribe(:f, 'sb-days', idempotency_key => 'k') = :'s' AS same;
SELECT count(*), max(expires_at) FROM pg_temp.period WHERE account_id = :f;
-- another account's key is another one; what failed claims none
SELECT subscribe(:g, 'sb-days', idempotency_key => 'k');
SELECT set_test_clock(:g, '2041-01-01');
SELECT count(subscribe(:g, 'sb-hours', idempotency_key => 'k'));

-- Refused
SELECT subscribe(:nobody, 'sb-hours');
SELECT subscribe(:g, 'sb-nosuch');
SELECT subscribe(:g, 'sb-days');
SELECT subscribe(:g, 'sb-free');
SELECT revise_plan('sb-hours', duration => '293000 years');
SELECT subscribe(:g, 'sb-hours');
SELECT subscribe(:g, 'sb-month', effective_at => '290000-01-01', expires_at => 'infinity');
SELECT count(subscribe(:g, 'sb-month', effective_at => '290000-01-01', expires_at => '294276-12-31'));
SELECT count(*) FROM subscription WHERE account_id = :g;

-- The events
SELECT kind, detail - 'subscription_id' AS detail, occurred_at FROM event WHERE account_id = :b AND kind LIKE 'subscription%' ORDER BY event_id LIMIT 3;

-- The database is shared.
SELECT retire_plan('sb-free');
