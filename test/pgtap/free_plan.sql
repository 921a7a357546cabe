-- Which plan is the free plan, and what becomes of it.
BEGIN;

SELECT plan(22);

CREATE FUNCTION public.free_plan() RETURNS text LANGUAGE sql STABLE AS 'SELECT code FROM billing.plan WHERE is_free_plan';
\set a '''9a000007-0000-4000-8000-0000000000a1'''

SELECT billing.create_app('docs', 'Docs'), billing.create_account('A', :a);
SELECT is(plan, NULL, 'no free plan: no plan answers') FROM billing.check_access(:a);
SELECT is(level, 'none', 'no free plan: level none') FROM billing.check_access(:a);
SELECT billing.create_plan('bought', 'subscription', duration => '1 day');
SELECT is(public.free_plan(), NULL, 'a bought plan is not the free plan');
SELECT billing.create_plan('zebra', 'free');
SELECT is(public.free_plan(), 'zebra', 'the first plan of kind free is');
SELECT billing.create_plan('yak', 'free'), billing.create_plan('ant', 'free', permissions => '{docs:read}');
SELECT is(public.free_plan(), 'zebra', 'further ones change nothing');
SELECT is(plan, 'zebra', 'it answers') FROM billing.check_access(:a);
SELECT is(level, 'limited', 'with it the level is limited') FROM billing.check_access(:a);
SELECT is(allowed, false, 'it grants nothing that it does not name') FROM billing.check_access(:a, 'docs:read');

SELECT billing.revise_plan('zebra', permissions => '{docs:*}');
SELECT is(allowed, true, 'a new version of the free plan holds at once') FROM billing.check_access(:a, 'docs:read');

SELECT billing.retire_plan('bought');
SELECT is(public.free_plan(), 'zebra', 'retiring a bought plan changes nothing');
SELECT billing.retire_plan('zebra');
SELECT is(public.free_plan(), 'yak', 'retired: the next oldest takes over, whatever its code');
SELECT is(allowed, false, 'and what it grants') FROM billing.check_access(:a, 'docs:read');
SELECT billing.retire_plan('zebra');
SELECT is(public.free_plan(), 'yak', 'retired again: nothing happens');
SELECT billing.retire_plan('ant');
SELECT is(public.free_plan(), 'yak', 'one that was waiting is retired');
SELECT billing.retire_plan('yak');
SELECT is(public.free_plan(), NULL, 'none is left');
SELECT is(level, 'none', 'level none again') FROM billing.check_access(:a);
SELECT billing.create_plan('cat', 'free');
SELECT is(public.free_plan(), 'cat', 'the first one after that');

-- By plain DML
SELECT throws_ok($$INSERT INTO billing.plan (code, kind, is_free_plan) VALUES ('second', 'free', true)$$, '23505', NULL, 'there is one free plan at most');
SELECT throws_ok($$INSERT INTO billing.plan (code, kind, is_free_plan) VALUES ('paid', 'token', true)$$, '23514', NULL, 'of kind free');
SELECT throws_ok($$UPDATE billing.plan SET is_free_plan = true WHERE code = 'zebra'$$, '23514', NULL, 'and not retired');
SELECT throws_ok(format('SELECT billing.subscribe(%L, %L)', :a, 'cat'), '22023', NULL, 'it cannot be subscribed to');
SELECT is_empty('SELECT 1 FROM billing.subscription', 'it is no subscription');

SELECT finish();

ROLLBACK;
