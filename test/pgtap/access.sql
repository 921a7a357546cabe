-- Who may use what: every reason of a denial in its order, what a plan covers and grants, levels,
-- messages, filters.
BEGIN;

SELECT plan(163);

\set a '''9a000004-0000-4000-8000-0000000000a1'''
\set b '''9a000004-0000-4000-8000-0000000000b2'''
\set c '''9a000004-0000-4000-8000-0000000000c3'''
\set d '''9a000004-0000-4000-8000-0000000000d4'''
\set nobody '''9a000004-0000-4000-8000-00000000ffff'''
\set admin '''9a000004-0000-7000-8000-0000000001a1'''
\set member '''9a000004-0000-7000-8000-0000000002a1'''
\set reader '''9a000004-0000-7000-8000-0000000003a1'''
\set late '''9a000004-0000-7000-8000-0000000004a1'''
\set disabled '''9a000004-0000-7000-8000-0000000005a1'''
\set removed '''9a000004-0000-7000-8000-0000000006a1'''
\set stranger '''9a000004-0000-7000-8000-0000000001b2'''

SELECT billing.create_app('docs', 'Docs'), billing.create_app('mail', 'Mail'), billing.create_app('chat', 'Chat');
SELECT billing.create_plan('free', 'free', permissions => '{docs:read}', user_limit => 3);
SELECT billing.create_plan('docs', 'subscription', duration => '30 days', app => 'docs');
SELECT billing.create_plan('send', 'subscription', duration => '30 days', permissions => '{mail:send,mail:read}', user_limit => 2);
SELECT billing.create_plan('both', 'subscription', duration => '60 days', app => 'docs', permissions => '{mail:*}', user_limit => 6);
SELECT billing.create_plan('every', 'subscription', duration => '10 days');
SELECT billing.create_plan('pack', 'token', tokens => 10, duration => '20 days');
SELECT billing.create_plan('chats', 'token', tokens => 10, app => 'chat');
SELECT billing.create_plan('seats', 'subscription', duration => '1 day', app => 'chat');
SELECT billing.create_role('reader', '{docs:*,mail:read}');

SELECT billing.create_account('A', :a), billing.create_account('B', :b), billing.create_account('C', :c), billing.create_account('D', :d);
SELECT billing.set_test_clock(id, '2040-01-01') FROM unnest(ARRAY[:a, :b, :c, :d]::uuid[]) AS id;

CREATE FUNCTION public.answer(account uuid, permission text DEFAULT NULL, who uuid DEFAULT NULL) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT concat_ws(' ', CASE WHEN allowed THEN 'yes' ELSE 'no' END, level, reason, coalesce(plan, '-'), tokens_remaining, coalesce(to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'), '-'))
    FROM billing.check_access(account, permission, who)
$$;
CREATE FUNCTION public.reason(account uuid, permission text DEFAULT NULL, who uuid DEFAULT NULL) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN allowed = (reason = 'allowed') THEN reason ELSE 'inconsistent' END FROM billing.check_access(account, permission, who)
$$;

-- Unknown accounts
SELECT is(public.answer(:nobody), 'no none account_not_found - 0 -', 'unknown account');
SELECT is(public.answer(NULL), 'no none account_not_found - 0 -', 'no account');
SELECT is(public.answer(NULL, 'docs:read', :admin), 'no none account_not_found - 0 -', 'no account, with all the rest');
SELECT is(public.reason(:nobody, 'docs:read', :nobody), 'account_not_found', 'before the user is looked at');
SELECT is(billing.plan_is_active(:nobody), false, 'no plan of an unknown account');
SELECT is(billing.plan_is_active(NULL), false, 'nor of none');

-- The free plan alone
SELECT is(public.answer(:a), 'no limited no_active_plan free 0 -', 'nothing bought: limited, by the free plan');
SELECT is(public.answer(:a, 'docs:read'), 'yes limited allowed free 0 -', 'the free plan grants what it names');
SELECT is(public.answer(:a, 'docs:write'), 'no limited no_active_plan free 0 -', 'and nothing else');
SELECT is(public.answer(:a, 'mail:send'), 'no limited no_active_plan free 0 -', 'nor another app');
SELECT is(public.answer(:a, 'billing:manage_users'), 'yes limited allowed free 0 -', 'the built-in permission comes with every plan');
SELECT is(billing.plan_is_active(:a), false, 'the free plan is not a bought plan');
SELECT is(billing.plan_is_active(:a, plan => 'free'), false, 'not even when asked for');

-- What a bought plan without permissions covers and grants
SELECT billing.subscribe(:a, 'docs');
SELECT is(public.answer(:a), 'yes full allowed docs 0 2040-01-31', 'bought: full, until its end');
SELECT is(public.answer(:a, p), 'yes full allowed docs 0 2040-01-31', 'every permission of its app: ' || p) FROM unnest('{docs:read,docs:write,docs:x,docs:*,billing:manage_users}'::text[]) AS p;
SELECT is(public.answer(:a, p), 'no limited no_active_plan free 0 -', 'nothing of another: ' || p) FROM unnest('{mail:send,chat:x}'::text[]) AS p;
SELECT is(billing.plan_is_active(:a), true, 'in force');
SELECT is(billing.plan_is_active(:a, app), active, 'covers ' || app) FROM (VALUES ('docs', true), ('mail', false), ('chat', false), ('nosuch', false), ('', false), ('DOCS', false), ('billing', false), (repeat('x', 100000), false)) AS v(app, active);
SELECT is(billing.plan_is_active(:a, plan => plan), active, 'is ' || plan) FROM (VALUES ('docs', true), ('send', false), ('nosuch', false), ('', false), ('Docs', false)) AS v(plan, active);

-- With permissions: those, of the apps they name
SELECT billing.subscribe(:b, 'send');
SELECT is(public.answer(:b, 'mail:send'), 'yes full allowed send 0 2040-01-31', 'named');
SELECT is(public.answer(:b, 'mail:delete'), 'no full permission_not_in_plan send 0 2040-01-31', 'not named, of an app it covers');
SELECT is(public.answer(:b, 'docs:write'), 'no limited no_active_plan free 0 -', 'of an app it does not cover');
SELECT is(public.answer(:b, 'docs:read'), 'yes limited allowed free 0 -', 'the free plan still grants its own');
SELECT is(public.answer(:b, 'mail:*'), 'no full permission_not_in_plan send 0 2040-01-31', 'not all of the app');
SELECT is(billing.plan_is_active(:b, app), active, 'covers ' || app) FROM (VALUES ('mail', true), ('docs', false)) AS v(app, active);

-- app and permissions: the apps of both, the permissions named
SELECT billing.subscribe(:c, 'both');
SELECT is(billing.plan_is_active(:c, app), active, 'covers ' || app) FROM (VALUES ('mail', true), ('docs', true), ('chat', false)) AS v(app, active);
SELECT is(public.answer(:c, 'mail:anything'), 'yes full allowed both 0 2040-03-01', 'app:* grants all of the app');
SELECT is(public.answer(:c, 'docs:write'), 'no full permission_not_in_plan both 0 2040-03-01', 'covered, but not named');
SELECT is(public.answer(:c, 'docs:read'), 'yes full allowed free 0 -', 'covered, granted by the free plan only');

-- Neither: every app there is
SELECT billing.subscribe(:d, 'every');
SELECT is(public.answer(:d, p), 'yes full allowed every 0 2040-01-11', 'every app: ' || p) FROM unnest('{docs:x,mail:send,chat:x,billing:manage_users}'::text[]) AS p;
SELECT is(billing.plan_is_active(:d, app), active, 'every app there is: ' || app) FROM (VALUES ('docs', true), ('mail', true), ('nosuch', false), ('', false), ('billing', false), ('DOCS', false)) AS v(app, active);
SELECT is(public.reason(:d, p), 'no_active_plan', 'but none that does not exist: ' || p) FROM unnest('{nosuch:x,:x,DOCS:x}'::text[]) AS p;
SELECT is(public.reason(:d, p), 'permission_not_in_plan', 'and nothing that is no permission: ' || left(p, 20)) FROM (VALUES ('docs:'), ('docs'), (''), (':'), ('*'), ('docs:X'), ('docs:a b'), ('docs:read:'), ('billing:x'), ('docs:' || repeat('x', 64)), (repeat('x', 100000))) AS v(p) WHERE p <> ':';
SELECT is(billing.plan_is_active(:d, 'docs', 'every'), true, 'app and plan match the same subscription');

-- Several plans: the one that grants and lasts longest answers, then by code
SELECT billing.subscribe(:d, 'docs'), billing.subscribe(:d, 'send');
SELECT is(public.answer(:d), 'yes full allowed docs 0 2040-01-31', 'equally long: by code');
SELECT is(public.answer(:d, 'mail:send'), 'yes full allowed send 0 2040-01-31', 'the longer one that grants');
SELECT is(public.answer(:d, 'mail:delete'), 'yes full allowed every 0 2040-01-11', 'a shorter one, if only it grants');
SELECT is(public.answer(:d, 'docs:write'), 'yes full allowed docs 0 2040-01-31', 'not one that covers another app');
SELECT billing.subscribe(:d, 'send');
SELECT is(public.answer(:d), 'yes full allowed send 0 2040-03-01', 'renewed: its last period counts');
SELECT is(billing.plan_is_active(:d, app, plan), active, 'both filters: ' || app || ', ' || plan)
FROM (VALUES ('docs', 'docs', true), ('mail', 'docs', false), ('mail', 'send', true), ('docs', 'send', false), ('chat', 'every', true), ('chat', 'docs', false), ('nosuch', 'every', false)) AS v(app, plan, active);

-- Any version counts; what was bought is what is granted
SELECT billing.revise_plan('send', permissions => '{chat:x}');
SELECT is(billing.plan_is_active(:b, 'mail', 'send'), true, 'an earlier version is the same plan');
SELECT is(public.reason(:b, 'mail:send'), 'allowed', 'and keeps what was bought');
SELECT is(public.reason(:b, 'chat:x'), 'no_active_plan', 'no more than that');
SELECT billing.advance_test_clock(:b, '31 days');
SELECT billing.subscribe(:b, 'send');
SELECT is(public.reason(:b, 'chat:x'), 'allowed', 'bought again: the newest version');
SELECT is(public.reason(:b, 'mail:send'), 'package_expired', 'and that only; the earlier one has expired');
SELECT billing.retire_plan('send');
SELECT is(public.reason(:b, 'chat:x'), 'allowed', 'a retired plan is kept to its end');

-- A renewal may bring another version: each holds in its own period
SELECT billing.create_plan('turn', 'subscription', duration => '10 days', permissions => '{mail:old}');
SELECT billing.subscribe(:c, 'turn');
SELECT billing.revise_plan('turn', permissions => '{mail:new}');
SELECT billing.subscribe(:c, 'turn');
CREATE FUNCTION public.grants_turn(permission text) RETURNS boolean LANGUAGE sql STABLE AS
    $$SELECT billing.plan_is_active('9a000004-0000-4000-8000-0000000000c3', 'mail', 'turn') AND plan = 'turn' FROM billing.check_access('9a000004-0000-4000-8000-0000000000c3', permission)$$;
UPDATE billing.subscription SET expires_at = '2041-01-01' WHERE account_id = :c AND plan = 'turn';
UPDATE billing.subscription_period SET expires_at = '2041-01-01' WHERE account_id = :c AND plan = 'turn' AND period_no = 2;
SELECT is(public.grants_turn('mail:old'), true, 'the version bought first, in its period');
SELECT is(public.grants_turn('mail:new'), false, 'not yet the one of the renewal');
SELECT billing.advance_test_clock(:c, '10 days');
SELECT is(public.grants_turn('mail:old'), false, 'in the next period no longer');
SELECT is(public.grants_turn('mail:new'), true, 'but the new one');

-- Expired, scheduled
SELECT billing.advance_test_clock(:a, '30 days');
SELECT is(public.answer(:a), 'no limited package_expired free 0 -', 'expired');
SELECT is(public.answer(:a, 'docs:write'), 'no limited package_expired free 0 -', 'expired, for its app');
SELECT is(public.answer(:a, 'mail:send'), 'no limited no_active_plan free 0 -', 'never bought for this one');
SELECT is(public.answer(:a, 'docs:read'), 'yes limited allowed free 0 -', 'the free plan goes on');
SELECT billing.subscribe(:a, 'docs', effective_at => '2040-03-01');
SELECT is(public.answer(:a, 'docs:write'), 'no limited package_expired free 0 -', 'bought for later: not in force yet');
SELECT billing.subscribe(:a, 'chats', effective_at => '2040-03-01');
SELECT is(public.reason(:a, 'chat:x'), 'no_active_plan', 'nothing that was in force before: no active plan');
SELECT is(billing.plan_is_active(:a, plan => 'docs'), false, 'no plan in force before its start');
SELECT billing.set_test_clock(:a, '2040-03-01');
SELECT is(billing.plan_is_active(:a, plan => 'docs'), true, 'from its very start');

-- Token plans: while a grant of their own has tokens
SELECT billing.subscribe(:a, 'pack');
SELECT billing.set_test_clock(:a, '2040-04-01');
SELECT billing.subscribe(:a, 'pack');
SELECT is(public.answer(:a), 'yes full allowed chats 20 -', 'a token plan without an end lasts longest');
SELECT is(public.answer(:a, 'docs:write'), 'yes full allowed pack 10 2040-04-21', 'a token plan of every app');
SELECT billing.grant_tokens(:a, 5, priority => 1);
SELECT billing.consume_tokens(:a, 5);
SELECT is(public.reason(:a, 'docs:write'), 'allowed', 'tokens of another grant were used: its own are there');
SELECT billing.consume_tokens(:a, 9);
SELECT is(public.reason(:a, 'docs:write'), 'allowed', 'one token left');
SELECT billing.consume_tokens(:a, 1);
SELECT is(public.answer(:a, 'docs:write'), 'no limited tokens_exhausted free 0 -', 'none: exhausted, with time left');
SELECT is(public.answer(:a, 'chat:x'), 'yes full allowed chats 10 -', 'the other token plan goes on');
SELECT billing.grant_tokens(:a, 5);
SELECT is(public.answer(:a, 'docs:write'), 'no limited tokens_exhausted free 5 -', 'tokens given on their own put no plan in force');
SELECT is(billing.plan_is_active(:a, 'docs'), false, 'none');
SELECT billing.consume_tokens(:a, 2, 'docs');
SELECT is(billing.tokens_remaining(:a, 'docs'), 3::bigint, 'but can be consumed');
SELECT billing.grant_tokens(:a, 1, subscription_id => subscription_id) FROM billing.subscription WHERE account_id = :a AND plan = 'pack' AND expires_at > '2040-04-01';
SELECT is(public.answer(:a, 'docs:write'), 'yes full allowed pack 4 2040-04-21', 'given to its subscription they do');
SELECT billing.advance_test_clock(:a, '30 days');
SELECT is(public.reason(:a, 'docs:write'), 'package_expired', 'in force no longer than its time');
-- a time plan stays in force at zero tokens
SELECT billing.create_plan('mixed', 'subscription', duration => '10 days', tokens => 3, app => 'mail');
SELECT billing.subscribe(:a, 'mixed');
SELECT billing.consume_tokens(:a, 3, 'mail');
SELECT is(public.reason(:a, 'mail:send'), 'allowed', 'a time plan stays in force at zero tokens');
-- exhausted and expired, for the same app: the one in its time comes first
SELECT billing.subscribe(:a, 'every', effective_at => '2040-01-01', expires_at => '2040-01-02');
SELECT billing.consume_tokens(:a, 10, 'chat');
SELECT is(public.reason(:a, 'chat:x'), 'tokens_exhausted', 'exhausted comes before expired');

-- Users
SELECT billing.subscribe(:b, 'both');
INSERT INTO billing.account_user (account_id, user_id, email, email_key, role) VALUES (:b, :stranger, 'stranger@b.example', 'stranger@b.example', 'admin');
SELECT billing.subscribe(:a, 'both'), billing.subscribe(:a, 'seats');
INSERT INTO billing.account_user (account_id, user_id, email, email_key, role, added_at) VALUES (:a, :admin, 'admin@a.example', 'admin@a.example', 'admin', '2040-01-05');
INSERT INTO billing.account_user (account_id, user_id, email, email_key, role, added_at) VALUES
    (:a, :member, 'member@a.example', 'member@a.example', 'member', '2040-01-01'),
    (:a, :reader, 'reader@a.example', 'reader@a.example', 'reader', '2040-01-02'),
    (:a, :late, 'late@a.example', 'late@a.example', 'member', '2040-01-04'),
    (:a, :disabled, 'disabled@a.example', 'disabled@a.example', 'member', '2040-01-01'),
    (:a, :removed, 'removed@a.example', 'removed@a.example', 'member', '2040-01-01');
UPDATE billing.account_user SET disabled_at = '2040-01-06' WHERE user_id = :disabled;
UPDATE billing.account_user SET removed_at = '2040-01-06', email = NULL, email_key = NULL WHERE user_id = :removed;
SELECT is(public.reason(:a, 'mail:send', who), expected, 'of ' || name)
FROM (VALUES ('an admin', :admin::uuid, 'allowed'), ('a member', :member, 'allowed'), ('one whose role keeps less', :reader, 'permission_not_in_role'),
    ('an unknown user', :nobody, 'user_not_found'), ('another account''s user', :stranger, 'user_not_found'), ('a removed user', :removed, 'user_not_found'),
    ('a disabled user', :disabled, 'user_disabled')) AS v(name, who, expected);
SELECT is(public.reason(:a, p, :reader), expected, 'the role keeps ' || p)
FROM (VALUES ('mail:read', 'allowed'), ('docs:read', 'allowed'), ('mail:send', 'permission_not_in_role'), ('billing:manage_users', 'permission_not_in_role')) AS v(p, expected);
SELECT is(public.reason(:a, 'docs:write', :reader), 'permission_not_in_plan', 'not in the plan comes before not in the role');
SELECT is(public.reason(:a, 'mail:*', :member), 'allowed', 'a member keeps all of the plan');
SELECT is(public.reason(:a, 'billing:manage_users', who), expected, 'but managing users')
FROM (VALUES (:admin::uuid, 'allowed'), (:member, 'permission_not_in_role')) AS v(who, expected);
SELECT is(public.reason(:a, NULL, who), expected, 'without a permission: ' || name)
FROM (VALUES ('a member', :member::uuid, 'allowed'), ('disabled', :disabled, 'user_disabled'), ('unknown', :nobody, 'user_not_found')) AS v(name, who, expected);
SELECT is(public.answer(:a, 'mail:send', :disabled), 'no full user_disabled both 3 2040-06-30', 'the level tells what is in force, allowed or not');
-- Seats shrink: admins first, then the earliest added
UPDATE billing.account_user SET disabled_at = NULL WHERE user_id = :disabled;
SELECT billing.advance_test_clock(:a, '1 day');
SELECT is(public.reason(:a, 'mail:send', who), 'allowed', 'six seats: ' || name) FROM (VALUES ('late', :late::uuid), ('admin', :admin), ('enabled', :disabled)) AS v(name, who);
SELECT billing.advance_test_clock(:a, '60 days');
SELECT is(public.reason(:a, 'docs:read', who), expected, 'three seats: ' || name)
FROM (VALUES ('the admin, added last', :admin::uuid, 'allowed'), ('first member', :member, 'allowed'), ('first as well, by id', :disabled, 'allowed'),
    ('third', :reader, 'user_over_limit'), ('fourth', :late, 'user_over_limit'), ('removed', :removed, 'user_not_found')) AS v(name, who, expected);
SELECT is(public.reason(:a, 'mail:send', :late), 'user_over_limit', 'over the limit comes before expired');
SELECT is(public.reason(:a, 'mail:send', :member), 'package_expired', 'expired, for those who have a seat');

-- Suspended: before the user, after the account
SELECT billing.subscribe(:d, 'both');
SELECT billing.suspend_account(:d, 'test');
SELECT is(public.reason(:d, p, who), 'account_suspended', 'suspended') FROM (VALUES (NULL, NULL::uuid), ('docs:read', NULL), ('mail:send', :nobody), ('nosuch:x', NULL), ('billing:manage_users', NULL)) AS v(p, who);
SELECT is((SELECT level FROM billing.check_access(:d)), 'none', 'suspended: nothing is in force');
SELECT is(billing.plan_is_active(:d), false, 'no plan');
SELECT billing.reinstate_account(:d);
SELECT is(public.reason(:d, 'mail:send'), 'allowed', 'reinstated');
SELECT billing.close_account(:d);
SELECT is(public.reason(:d, 'docs:read'), 'account_suspended', 'closed is suspended for good');

-- No free plan in the catalogue
SELECT billing.retire_plan('free');
SELECT is(public.answer(:a), 'no none tokens_exhausted - 3 -', 'without a free plan the level is none');
SELECT is(public.answer(:a, 'docs:read'), 'no none package_expired - 3 -', 'and nothing is granted');
SELECT is(public.answer(:a, 'billing:manage_users'), 'no none tokens_exhausted - 3 -', 'not even what is built in');
SELECT is(public.reason(:a, NULL, :member), 'user_over_limit', 'and one seat is left');
SELECT is(public.reason(:a, NULL, :admin), 'tokens_exhausted', 'the admin''s, who can pay');
-- A free plan without permissions grants none, and one without a limit sets none
SELECT billing.create_plan('bare', 'free');
SELECT is(public.answer(:a, 'docs:read'), 'no limited package_expired bare 3 -', 'a free plan without permissions grants none');
SELECT is(public.answer(:a, 'billing:manage_users'), 'yes limited allowed bare 3 -', 'but what is built in');
SELECT is(public.reason(:a, 'billing:manage_users', :late), 'permission_not_in_role', 'without a limit all have a seat');

-- Messages
SELECT results_eq($$SELECT DISTINCT reason, message ~ '^[A-Z].*\.$' AND length(message) BETWEEN 10 AND 300 FROM unnest(ARRAY['9a000004-0000-4000-8000-0000000000a1', NULL, '9a000004-0000-4000-8000-0000000000c3', '9a000004-0000-4000-8000-0000000000d4']::uuid[]) AS a,
    unnest(ARRAY[NULL, 'docs:read', 'mail:send', 'docs:write', 'billing:manage_users', 'chat:x']) AS p, unnest(ARRAY[NULL, '9a000004-0000-7000-8000-0000000003a1', '9a000004-0000-7000-8000-0000000001a1', '9a000004-0000-7000-8000-0000000001b2']::uuid[]) AS u, billing.check_access(a, p, u) ORDER BY 1$$,
    $$VALUES ('account_not_found', true), ('account_suspended', true), ('allowed', true), ('no_active_plan', true), ('package_expired', true), ('permission_not_in_plan', true), ('permission_not_in_role', true), ('tokens_exhausted', true), ('user_not_found', true)$$,
    'every reason has a sentence for people');

SELECT finish();

ROLLBACK;
