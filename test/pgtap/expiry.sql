-- Clocks, and what falls due on the way: in due order, dated at its due time, once.
BEGIN;

SELECT plan(82);

\set a '''9a000003-0000-4000-8000-0000000000a1'''
\set b '''9a000003-0000-4000-8000-0000000000b2'''
\set c '''9a000003-0000-4000-8000-0000000000c3'''
\set d '''9a000003-0000-4000-8000-0000000000d4'''
\set e '''9a000003-0000-4000-8000-0000000000e5'''
\set f '''9a000003-0000-4000-8000-0000000000f6'''
\set g '''9a000003-0000-4000-8000-0000000001a7'''
\set h '''9a000003-0000-4000-8000-0000000001b8'''
\set i '''9a000003-0000-4000-8000-0000000001c9'''
\set j '''9a000003-0000-4000-8000-0000000001da'''
\set k '''9a000003-0000-4000-8000-0000000001eb'''
\set l '''9a000003-0000-4000-8000-0000000002a7'''
\set m '''9a000003-0000-4000-8000-0000000002b8'''
\set n '''9a000003-0000-4000-8000-0000000002c9'''
\set x '''9a000003-0000-4000-8000-0000000004a7'''
\set o '''9a000003-0000-4000-8000-0000000002da'''
\set p '''9a000003-0000-4000-8000-0000000002eb'''
\set q '''9a000003-0000-4000-8000-0000000002fc'''
\set r '''9a000003-0000-4000-8000-0000000003a7'''
\set s '''9a000003-0000-4000-8000-0000000003b8'''
\set t '''9a000003-0000-4000-8000-0000000003c9'''
\set u '''9a000003-0000-4000-8000-0000000003da'''
\set v '''9a000003-0000-4000-8000-0000000003eb'''
\set w '''9a000003-0000-4000-8000-0000000003fc'''

SELECT billing.create_plan('free', 'free');
SELECT billing.create_plan('month', 'subscription', duration => '1 month');
SELECT billing.create_plan('days', 'subscription', duration => '30 days');
SELECT billing.create_plan('other', 'subscription', duration => '30 days');
SELECT billing.create_plan('pack', 'token', tokens => 10, duration => '30 days');
SELECT billing.create_plan('endless', 'token', tokens => 10);
SELECT billing.create_account('Clock', id) FROM unnest(ARRAY[:a, :b, :c, :d, :e, :f]::uuid[]) AS id;

CREATE FUNCTION public.events(account uuid, skip int DEFAULT 0) RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT (kind || coalesce(' ' || (detail ->> 'plan'), '') || ' ' || (occurred_at AT TIME ZONE 'UTC')::text) COLLATE "default" FROM (
        SELECT * FROM billing.event WHERE account_id = account AND kind IN ('subscription_expired', 'free_plan_assigned')
        ORDER BY event_id OFFSET skip) AS e ORDER BY event_id
$$;

-- The clock
SELECT is(billing.now(:a), statement_timestamp(), 'without a test clock now is the start of the statement');
SELECT is(billing.now('9a000003-0000-4000-8000-00000000ffff'), statement_timestamp(), 'also for an unknown account');
SELECT is(billing.now(NULL), statement_timestamp(), 'and for none');
SELECT is(is_test, false, 'no test account yet') FROM billing.account WHERE account_id = :a;
SELECT throws_ok(format('SELECT billing.set_test_clock(%L, statement_timestamp() - interval ''1 microsecond'')', :a), '22023', NULL,
    'the clock does not begin in the past');
SELECT lives_ok(format('SELECT billing.set_test_clock(%L, clock_timestamp())', :a), 'it may begin now');
SELECT is(is_test, true, 'that makes it a test account') FROM billing.account WHERE account_id = :a;
SELECT billing.set_test_clock(:a, '2040-01-31 10:00Z');
SELECT is(billing.now(:a), '2040-01-31 10:00Z', 'it is frozen');
SELECT throws_ok(format('SELECT billing.set_test_clock(%L, ''2040-01-31 09:59:59.999999Z'')', :a), '22023', NULL, 'it only moves forward');
SELECT lives_ok(format('SELECT billing.set_test_clock(%L, ''2040-01-31 10:00Z'')', :a), 'to where it is, is forward');
SELECT throws_ok(format('SELECT billing.set_test_clock(%L, %L)', :a, t), '22023', NULL, t || ' is no time') FROM unnest('{infinity,-infinity}'::text[]) AS t;
SELECT throws_ok(format('SELECT billing.advance_test_clock(%L, %L)', :a, t), '22023', NULL, 'not forward: ' || t)
FROM unnest('{0,-1 second,1 month -1 day,-1 day 48:00}'::text[]) AS t;
SELECT throws_ok(format('SELECT billing.advance_test_clock(%L, ''300000 years'')', :a), '22008', NULL, 'past the end of time');
SELECT is(billing.now(:a), '2040-01-31 10:00Z', 'what was refused moved nothing');
SELECT is(billing.advance_test_clock(:a, '1 month'), '2040-02-29 10:00Z', 'advancing clamps to the month''s end');
SELECT billing.update_account(:b, time_zone => 'Europe/Berlin');
SELECT billing.set_test_clock(:b, '2040-03-24 12:00 Europe/Berlin');
SELECT is(billing.advance_test_clock(:b, '1 day'), '2040-03-25 12:00 Europe/Berlin', 'a day is one of the account''s zone');
SELECT is(billing.advance_test_clock(:b, '24 hours'), '2040-03-26 12:00 Europe/Berlin', 'hours are exact');
SELECT billing.set_test_clock(:b, NULL);
SELECT is(billing.now(:b), statement_timestamp(), 'NULL is real time again');
SELECT is(is_test, true, 'a test account for ever') FROM billing.account WHERE account_id = :b;

-- In due order, at due time
SELECT billing.set_test_clock(:c, '2040-01-01');
SELECT billing.subscribe(:c, 'month'), billing.subscribe(:c, 'days'), billing.subscribe(:c, 'pack', expires_at => '2040-01-21');
SELECT billing.advance_test_clock(:c, '10 days');
SELECT is_empty(format('SELECT public.events(%L)', :c), 'nothing was due');
SELECT billing.advance_test_clock(:c, '1 year');
SELECT results_eq(format('SELECT public.events(%L)', :c), $$VALUES
    ('subscription_expired pack 2040-01-21 00:00:00'), ('subscription_expired days 2040-01-31 00:00:00'),
    ('subscription_expired month 2040-02-01 00:00:00'), ('free_plan_assigned free 2040-02-01 00:00:00')$$,
    'one jump over three ends: each at its time, the free plan after the last');
SELECT billing.advance_test_clock(:c, '1 year');
SELECT is((SELECT count(*) FROM public.events(:c)), 4::bigint, 'once');
SELECT results_eq(format('SELECT plan COLLATE "default", ended_at = expires_at FROM billing.subscription WHERE account_id = %L ORDER BY plan', :c),
    $$VALUES ('days', true), ('month', true), ('pack', true)$$, 'the rows say when they ended');

-- The last instant and the next one
SELECT billing.subscribe(:c, 'days');
SELECT billing.set_test_clock(:c, expires_at - interval '1 microsecond') FROM billing.subscription WHERE account_id = :c AND ended_at IS NULL;
SELECT is(billing.plan_is_active(:c), true, 'in force in the last microsecond');
SELECT is((SELECT count(*) FROM public.events(:c, 4)), 0::bigint, 'nothing written yet');
SELECT billing.set_test_clock(:c, billing.now(:c) + interval '1 microsecond');
SELECT is(billing.plan_is_active(:c), false, 'not in force at the instant of its end');
SELECT is((SELECT count(*) FROM public.events(:c, 4)), 2::bigint, 'and that is written');

-- Several plans that end at one instant are one loss
SELECT billing.set_test_clock(:d, '2040-01-01');
SELECT billing.subscribe(:d, 'days'), billing.subscribe(:d, 'other'), billing.subscribe(:d, 'pack');
SELECT billing.set_test_clock(:d, '2041-01-01');
SELECT results_eq(format('SELECT count(*) FILTER (WHERE e LIKE ''subscription_expired%%''), count(*) FILTER (WHERE e = ''free_plan_assigned free 2040-01-31 00:00:00'') FROM public.events(%L) AS e', :d),
    $$VALUES (3::bigint, 1::bigint)$$, 'three ends at one instant: the free plan is assigned once');
SELECT billing.subscribe(:d, 'days');
SELECT billing.advance_test_clock(:d, '1 year');
SELECT is((SELECT count(*) FROM public.events(:d) AS e WHERE e LIKE 'free_plan_assigned%'), 2::bigint, 'again at the next loss');

-- While another plan is in force nothing is lost; suspension is not a loss, and time runs on
SELECT billing.set_test_clock(:e, '2040-01-01');
SELECT billing.subscribe(:e, 'endless'), billing.subscribe(:e, 'days');
SELECT billing.suspend_account(:e, 'test');
SELECT billing.advance_test_clock(:e, '60 days');
SELECT results_eq(format('SELECT public.events(%L)', :e), $$VALUES ('subscription_expired days 2040-01-31 00:00:00')$$,
    'the other plan is in force still');
SELECT is(billing.plan_is_active(:e), false, 'but for the suspension');
SELECT billing.reinstate_account(:e);
SELECT is(billing.plan_is_active(:e), true, 'and is in force again');

-- A renewal moves the end; what is bought after the end is not the same subscription
SELECT billing.set_test_clock(:f, '2040-01-01');
SELECT billing.subscribe(:f, 'days'), billing.subscribe(:f, 'days');
SELECT billing.advance_test_clock(:f, '59 days');
SELECT is_empty(format('SELECT public.events(%L)', :f), 'renewed: nothing ended at the first period''s end');
SELECT billing.advance_test_clock(:f, '2 days');
SELECT results_eq(format('SELECT public.events(%L)', :f), $$VALUES ('subscription_expired days 2040-03-01 00:00:00'), ('free_plan_assigned free 2040-03-01 00:00:00')$$,
    'ended at the second''s');

-- expire_due for accounts whose time is real, and for those whose clock was moved by plain DML
SELECT is(billing.expire_due(), 0::bigint, 'nothing is due');
SELECT billing.create_account('Real', '9a000003-0000-4000-8000-000000000101'), billing.create_account('Real', '9a000003-0000-4000-8000-000000000102');
SELECT billing.subscribe(id, plan, effective_at => statement_timestamp() - length, expires_at => statement_timestamp() - interval '1 hour')
FROM (VALUES ('9a000003-0000-4000-8000-000000000101'::uuid, 'days', interval '3 days'), ('9a000003-0000-4000-8000-000000000101', 'other', '2 days'),
    ('9a000003-0000-4000-8000-000000000102', 'days', '2 days')) AS v(id, plan, length);
UPDATE billing.account SET test_clock = '2050-01-01' WHERE account_id = :e;
SELECT throws_ok(format('SELECT billing.expire_due(%s)', n), '22023', NULL, 'max_rows ' || n) FROM unnest('{0,-1,-9223372036854775808}'::bigint[]) AS n;
SELECT is(billing.expire_due(1), 2::bigint, 'max_rows stops it, but an account begun is finished');
SELECT is(billing.expire_due(), 1::bigint, 'the rest');
SELECT is(billing.expire_due(), 0::bigint, 'and nothing twice');
SELECT is((SELECT count(*) FROM billing.event WHERE account_id IN ('9a000003-0000-4000-8000-000000000101', '9a000003-0000-4000-8000-000000000102') AND kind = 'free_plan_assigned'),
    2::bigint, 'each account lost its last plan once');

-- Bought anew before anybody has written down that the last one is over.
SELECT billing.create_account('Again', id) FROM unnest(ARRAY[:g, :h, :i]::uuid[]) AS id;
SELECT billing.subscribe(:g, 'month', effective_at => clock_timestamp() - interval '1 day', expires_at => clock_timestamp() + interval '10 ms');
SELECT pg_sleep(0.02);
SELECT billing.subscribe(:g, 'other');
SELECT is((SELECT string_agg(kind, ' ' ORDER BY event_id) FROM billing.event WHERE account_id = :g),
    'account_created subscription_started subscription_expired free_plan_assigned subscription_started',
    'what ended is told of before what begins');
-- An import: whether the time between was without a plan is not known before all of it is there.
SELECT billing.subscribe(:h, 'month', effective_at => '2020-01-01', expires_at => '2020-02-01');
SELECT billing.subscribe(:h, 'other', effective_at => '2020-02-01', expires_at => '2020-03-01');
SELECT billing.subscribe(:h, 'month');
SELECT is((SELECT string_agg(kind, ' ' ORDER BY event_id) FROM billing.event WHERE account_id = :h),
    'account_created subscription_started subscription_started subscription_expired subscription_expired free_plan_assigned subscription_started',
    'what began in the past is not a loss of the plan before it');

-- An end is announced unless another subscription follows without a gap.
SET LOCAL billing.expiry_ahead = '5d';
SELECT billing.create_account('Follows', id), billing.set_test_clock(id, '2040-01-01') FROM unnest(ARRAY[:u, :v]::uuid[]) AS id;
SELECT billing.subscribe(:u, 'other'), billing.subscribe(:u, 'month', effective_at => '2040-01-31');
SELECT billing.subscribe(:v, 'other'), billing.subscribe(:v, 'month', effective_at => '2040-02-01');
SELECT billing.set_test_clock(id, '2040-01-30') FROM unnest(ARRAY[:u, :v]::uuid[]) AS id;
SELECT is((SELECT string_agg(detail ->> 'plan', ' ') FROM billing.event WHERE account_id = :u AND kind = 'subscription_expiring'), NULL, 'what is followed is not announced');
SELECT is((SELECT string_agg(detail ->> 'plan', ' ') FROM billing.event WHERE account_id = :v AND kind = 'subscription_expiring'), 'other', 'with a gap it is');
SELECT is(billing.expire_due(), 0::bigint, 'nor is it due');
SELECT billing.cancel_subscription(subscription_id, true) FROM billing.subscription WHERE account_id = :u AND plan = 'month';
SELECT billing.expire_due();
SELECT is((SELECT string_agg(detail ->> 'plan', ' ') FROM billing.event WHERE account_id = :u AND kind = 'subscription_expiring'), 'other', 'and it is when what follows is dropped');

-- Real time again makes what had ended by the test clock last on; renewed, its next end is one more.
SELECT billing.create_account('Back', :w);
SELECT billing.subscribe(:w, 'days');
SELECT billing.advance_test_clock(:w, '31 days');
SELECT billing.set_test_clock(:w, NULL);
SELECT is(billing.plan_is_active(:w), true, 'what had ended is in force again');
SELECT billing.subscribe(:w, 'days');
SELECT billing.advance_test_clock(:w, '61 days');
SELECT is((SELECT count(*) FROM billing.event WHERE account_id = :w AND kind = 'subscription_expired'), 2::bigint, 'renewed, its end is written down');

-- Ends to be announced at the end of time, of what began at its beginning.
SET LOCAL billing.expiry_ahead = '20d';
SELECT billing.subscribe(:i, 'other', effective_at => '4713-01-01 00:00:00+00 BC', expires_at => '294276-12-20 00:00:00+00');
SELECT lives_ok(format('SELECT billing.set_test_clock(%L, ''294276-12-01'')', :i), 'a clock near the end of time');
SELECT is((SELECT occurred_at FROM billing.event WHERE account_id = :i AND kind = 'subscription_expiring'), '294276-11-30 00:00:00+00', 'what has lasted since its beginning is announced');
SELECT lives_ok(format('SELECT billing.set_test_clock(%L, ''294276-12-31'')', :i), 'at the end of time');
SELECT lives_ok('SELECT billing.expire_due()', 'it stops nobody else');

-- A clock far ahead makes nobody read what is due to others before it.
CREATE FUNCTION public.rows_read() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT sum(seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_xact_user_tables
     WHERE schemaname = 'billing' AND relname IN ('subscription', 'plan_order', 'hold')
$$;
SET LOCAL billing.expiry_ahead = '1d';
SELECT billing.subscribe(billing.create_account('Later'), 'month') FROM generate_series(1, 1000);
SELECT billing.expire_due();
SELECT public.rows_read() AS before \gset
SELECT billing.expire_due();
SELECT cmp_ok(public.rows_read() - :before, '<', 500::bigint, 'of a thousand open subscriptions few are read');
-- and what is due by such a clock is found, of every kind
SELECT billing.create_account('Ahead', id) FROM unnest(ARRAY[:j, :k]::uuid[]) AS id;
SELECT billing.create_plan('priced', 'subscription', price => '10 USD', duration => '30 days');
SELECT billing.subscribe(:j, 'days'), billing.subscribe(:j, 'other', effective_at => clock_timestamp() + interval '10 days', expires_at => clock_timestamp() + interval '20 days');
SELECT billing.grant_tokens(:j, 10), billing.hold_tokens(:j, 4, '1 day');
SELECT billing.order_plan(:j, 'priced');
UPDATE billing.account SET test_clock = clock_timestamp() + interval '29 days 12 hours', is_test = true WHERE account_id = :j;
SELECT cmp_ok(billing.expire_due(), '>=', 4::bigint, 'what is due by a clock ahead is found');
SELECT is((SELECT string_agg(kind, ' ' ORDER BY event_id) FROM billing.event WHERE account_id = :j AND kind IN ('subscription_started', 'subscription_expiring', 'order_lapsed')),
    'subscription_started order_lapsed subscription_started subscription_expiring subscription_expiring', 'a start, an order''s lapse and announcements');
SELECT is((SELECT count(*) FROM billing.hold WHERE account_id = :j AND NOT ended), 0::bigint, 'and a hold''s');
UPDATE billing.account SET test_clock = clock_timestamp() + interval '99 days' WHERE account_id = :j;
SELECT billing.expire_due();
SELECT is((SELECT count(*) FROM billing.event WHERE account_id = :j AND kind = 'subscription_expired'), 2::bigint, 'and ends');
-- a clock that real time has left behind
SELECT billing.subscribe(:k, 'days', expires_at => clock_timestamp() + interval '10 ms');
UPDATE billing.account SET test_clock = (SELECT min(expires_at) - interval '5 ms' FROM billing.subscription WHERE account_id = :k), is_test = true WHERE account_id = :k;
SELECT pg_sleep(0.02);
SELECT billing.expire_due();
SELECT is((SELECT count(*) FROM billing.event WHERE account_id = :k AND kind = 'subscription_expired'), 0::bigint, 'a frozen clock reaches nothing');

RESET billing.expiry_ahead;

-- Whether a plan was the last one is asked of the instant of its end, not of what was used or came back since.
SELECT billing.create_plan('blink', 'token', tokens => 5);
SELECT billing.create_account('Past', id) FROM unnest(ARRAY[:l, :m, :n]::uuid[]) AS id;
CREATE FUNCTION public.losses(account uuid) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(concat_ws(' ', kind, detail ->> 'because'), ', ' ORDER BY event_id) FROM billing.event
     WHERE account_id = account AND kind IN ('subscription_expired', 'free_plan_assigned', 'tokens_exhausted')
$$;
SELECT billing.subscribe(:l, 'other', expires_at => clock_timestamp() + interval '50 ms'), billing.subscribe(:l, 'blink');
SELECT billing.subscribe(:m, 'blink', expires_at => clock_timestamp() + interval '50 ms'), billing.consume_tokens(:m, 5, idempotency_key => 'k');
SELECT billing.subscribe(:n, 'other', expires_at => clock_timestamp() + interval '50 ms'), billing.subscribe(:n, 'blink');
SELECT billing.consume_tokens(:n, 5, idempotency_key => 'k');
SELECT pg_sleep(0.06);
SELECT billing.consume_tokens(:l, 5), billing.refund_tokens(:m, 'k'), billing.refund_tokens(:n, 'k');
SELECT billing.expire_due();
SELECT is(public.losses(:l), 'tokens_exhausted, free_plan_assigned tokens_exhausted, subscription_expired',
    'a plan that ended while tokens were left was not the last');
SELECT is(public.losses(:m), 'tokens_exhausted, free_plan_assigned tokens_exhausted, subscription_expired',
    'one that was empty when it ended was lost before, whatever came back since');
SELECT is(public.losses(:n), 'tokens_exhausted, subscription_expired, free_plan_assigned package_expired',
    'one that ended while no tokens were left was the last');
-- a hold that was over by then kept nothing, though its lapse was written later
SELECT billing.create_account('Past', :x);
SELECT billing.subscribe(:x, 'other', expires_at => clock_timestamp() + interval '60 ms'), billing.subscribe(:x, 'blink'), billing.hold_tokens(:x, 5, '20 ms');
SELECT pg_sleep(0.07);
SELECT billing.consume_tokens(:x, 1);
SELECT billing.expire_due();
SELECT is(public.losses(:x), 'tokens_exhausted, subscription_expired', 'nor before a hold that was over had lapsed');
-- the same where the clock is a test's, and for a grant that was taken back since
SELECT billing.create_account('Past', :o);
SELECT billing.set_test_clock(:o, '2040-01-01');
SELECT billing.subscribe(:o, 'other', expires_at => '2040-01-02'), billing.subscribe(:o, 'blink');
UPDATE billing.account SET test_clock = '2040-01-03' WHERE account_id = :o;
SELECT billing.void_grant(grant_id) FROM billing.token_grant WHERE account_id = :o;
SELECT billing.expire_due();
SELECT is(public.losses(:o), 'tokens_exhausted, free_plan_assigned tokens_exhausted, subscription_expired', 'nor before its tokens were taken back');

-- A token plan is lost when the last of its grants with tokens ends, which may be before it does.
SELECT billing.create_account('Grants', id), billing.set_test_clock(id, '2040-01-01') FROM unnest(ARRAY[:p, :q, :r, :s]::uuid[]) AS id;
SELECT billing.grant_tokens(:p, 3, expires_at => '2040-01-03', priority => 200, subscription_id => billing.subscribe(:p, 'blink'));
SELECT billing.consume_tokens(:p, 5);
SELECT billing.set_test_clock(:p, '2040-01-03'::timestamptz - interval '1 microsecond');
SELECT is(public.losses(:p), NULL, 'a grant is left');
SELECT is(billing.plan_is_active(:p), true, 'and keeps the plan in force');
SELECT billing.set_test_clock(:p, '2040-02-01');
SELECT is(public.losses(:p), 'tokens_exhausted, free_plan_assigned tokens_exhausted', 'its end is the loss of the plan');
SELECT is((SELECT array_agg(DISTINCT occurred_at) FROM billing.event WHERE account_id = :p AND kind IN ('tokens_exhausted', 'free_plan_assigned')), '{2040-01-03}', 'at that instant');
SELECT is((SELECT detail FROM billing.event WHERE account_id = :p AND kind = 'tokens_exhausted'),
    (SELECT jsonb_build_object('plan', 'blink', 'subscription_id', subscription_id) FROM billing.subscription WHERE account_id = :p), 'of that subscription');
SELECT is((SELECT grant_ends_at FROM billing.subscription WHERE account_id = :p), NULL, 'nothing more is to be looked at');
-- renewed twice: an end is no loss while tokens are left, and is one when the later grants were taken back
SELECT billing.subscribe(:q, 'pack'), billing.subscribe(:q, 'pack'), billing.subscribe(:q, 'pack');
SELECT billing.set_test_clock(:q, '2040-01-31');
SELECT is(public.losses(:q), NULL, 'the end of a period that was renewed is none');
SELECT billing.void_grant(grant_id) FROM billing.token_grant WHERE account_id = :q AND expires_at = '2040-03-31';
SELECT billing.set_test_clock(:q, '2040-03-01');
SELECT is(public.losses(:q), 'tokens_exhausted, free_plan_assigned tokens_exhausted', 'it is one when no later grant has tokens');
SELECT billing.set_test_clock(:q, '2041-01-01');
SELECT is(public.losses(:q), 'tokens_exhausted, free_plan_assigned tokens_exhausted, subscription_expired', 'the plan''s own end is none then');
-- beside another plan, and together with its end
SELECT billing.grant_tokens(:r, 3, expires_at => '2040-01-03', priority => 200, subscription_id => billing.subscribe(:r, 'blink')), billing.subscribe(:r, 'other');
SELECT billing.consume_tokens(:r, 5);
SELECT billing.set_test_clock(:r, '2040-01-30');
SELECT is(public.losses(:r), 'tokens_exhausted', 'beside another plan it is not the last');
SELECT billing.grant_tokens(:s, 3, expires_at => '2040-01-31', priority => 200, subscription_id => billing.subscribe(:s, 'blink')), billing.subscribe(:s, 'other');
SELECT billing.consume_tokens(:s, 5);
SELECT billing.set_test_clock(:s, '2040-03-01');
SELECT is(public.losses(:s), 'subscription_expired, tokens_exhausted, free_plan_assigned tokens_exhausted', 'both at one instant are one loss');
-- by expire_due, and by plain DML
SELECT billing.create_account('Grants', :t);
SELECT billing.subscribe(:t, 'blink');
INSERT INTO billing.token_grant (account_id, grant_id, subscription_id, tokens, priority, effective_at, expires_at, granted_at)
SELECT account_id, billing.create_account('id'), subscription_id, 3, 200, now(), clock_timestamp() + interval '50 ms', now() FROM billing.subscription WHERE account_id = :t;
SELECT billing.consume_tokens(:t, 5);
SELECT pg_sleep(0.06);
SELECT is(billing.expire_due(), 1::bigint, 'expire_due finds it');
SELECT is(public.losses(:t), 'tokens_exhausted, free_plan_assigned tokens_exhausted', 'and writes it down');

SELECT finish();

ROLLBACK;
