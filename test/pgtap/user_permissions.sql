-- What a user may do: the permissions of the plans in force and of the free plan, as far as the role
-- keeps them. Whatever is listed is allowed, and what is not listed is not.
BEGIN;

SELECT plan(25);

\set a '''9a000008-0000-4000-8000-0000000000a1'''
\set b '''9a000008-0000-4000-8000-0000000000b2'''
\set admin '''9a000008-0000-7000-8000-0000000001a1'''
\set member '''9a000008-0000-7000-8000-0000000002a1'''
\set reader '''9a000008-0000-7000-8000-0000000003a1'''
\set writer '''9a000008-0000-7000-8000-0000000004a1'''
\set nothing '''9a000008-0000-7000-8000-0000000005a1'''
\set manager '''9a000008-0000-7000-8000-0000000006a1'''
\set other '''9a000008-0000-7000-8000-0000000001b2'''

SELECT billing.create_app('docs', 'Docs'), billing.create_app('mail', 'Mail'), billing.create_app('chat', 'Chat');
SELECT billing.create_plan('docs', 'subscription', duration => '10 days', app => 'docs');
SELECT billing.create_plan('send', 'subscription', duration => '20 days', permissions => '{mail:send,mail:read,docs:read}', user_limit => 50);
SELECT billing.create_plan('every', 'subscription', duration => '1 day');
SELECT billing.create_plan('pack', 'token', tokens => 1, permissions => '{chat:talk}');
SELECT billing.create_role('reader', '{docs:read,mail:read}'), billing.create_role('writer', '{docs:*,mail:send,chat:*}'), billing.create_role('nothing', '{}'), billing.create_role('manager', '{billing:manage_users,docs:*}');
SELECT billing.create_account('A', :a), billing.create_account('B', :b);
SELECT billing.set_test_clock(id, '2040-01-01') FROM unnest(ARRAY[:a, :b]::uuid[]) AS id;

CREATE FUNCTION public.may(who uuid) RETURNS text LANGUAGE sql STABLE AS $$SELECT coalesce(string_agg(p, ' ' ORDER BY n), '') FROM billing.user_permissions(who) WITH ORDINALITY AS x(p, n)$$;
-- What check_access says of every permission that could matter, of those that the list grants and of
-- the others; no row: they agree.
CREATE FUNCTION public.disagreement(account uuid) RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT u.role || ' ' || p FROM billing.account_user AS u,
        (SELECT app || ':' || name AS p FROM unnest('{docs,mail,chat,nosuch}'::text[]) AS app, unnest('{read,write,send,talk,x}'::text[]) AS name UNION ALL VALUES ('billing:manage_users'), ('billing:x')) AS v,
        billing.check_access(account, p, u.user_id) AS c
    WHERE u.account_id = account AND c.allowed IS DISTINCT FROM
        EXISTS (SELECT FROM billing.user_permissions(u.user_id) AS x WHERE x = p OR x = split_part(p, ':', 1) || ':*')
$$;

-- Seven users, of whom all have a seat while a plan without a limit is in force.
SELECT billing.subscribe(:a, 'every');
INSERT INTO billing.account_user (account_id, user_id, email, email_key, role, added_at) VALUES (:a, :admin, 'admin@u.example', 'admin@u.example', 'admin', '2040-01-01');
INSERT INTO billing.account_user (account_id, user_id, email, email_key, role, added_at)
SELECT :a, id::uuid, role || '@u.example', role || '@u.example', role, '2040-01-01'::timestamptz + n * interval '1 minute'
FROM (VALUES (1, :member, 'member'), (2, :reader, 'reader'), (3, :writer, 'writer'), (4, :nothing, 'nothing'), (5, :manager, 'manager')) AS v(n, id, role);
INSERT INTO billing.account_user (account_id, user_id, email, email_key, role) VALUES (:b, :other, 'admin@o.example', 'admin@o.example', 'admin');

SELECT is(public.may(:admin), 'billing:manage_users chat:* docs:* mail:*', 'a plan for every app: all of every app there is');
SELECT is(public.may(:member), 'chat:* docs:* mail:*', 'a member: all but managing users');
SELECT is(public.may(:reader), 'docs:read mail:read', 'a role that keeps names');
SELECT is(public.may(:writer), 'chat:* docs:* mail:send', 'a role that keeps names and apps');
SELECT is(public.may(:nothing), '', 'a role that keeps nothing');
SELECT is(public.may(:manager), 'billing:manage_users docs:*', 'a role that manages users');
SELECT is_empty(format('SELECT public.disagreement(%L)', :a), 'check_access agrees');

SELECT billing.subscribe(:a, 'docs'), billing.subscribe(:a, 'send'), billing.subscribe(:a, 'pack');
SELECT billing.advance_test_clock(:a, '1 day');
SELECT is(public.may(:admin), 'billing:manage_users chat:talk docs:* docs:read mail:read mail:send', 'what several plans grant, together');
SELECT is(public.may(:reader), 'docs:read mail:read', 'narrowed: pattern by name');
SELECT is(public.may(:writer), 'chat:talk docs:* docs:read mail:send', 'narrowed: name by pattern');
SELECT is_empty(format('SELECT public.disagreement(%L)', :a), 'check_access agrees');

SELECT billing.consume_tokens(:a, 1);
SELECT is(public.may(:admin), 'billing:manage_users docs:* docs:read mail:read mail:send', 'a token plan that is empty grants nothing');
SELECT billing.advance_test_clock(:a, '10 days');
SELECT is(public.may(:admin), 'billing:manage_users docs:read mail:read mail:send', 'an expired one neither');
SELECT is_empty(format('SELECT public.disagreement(%L)', :a), 'check_access agrees');

-- Who gets no permission at all
SELECT is(public.may(NULL), '', 'no user');
SELECT is(public.may('9a000008-0000-7000-8000-0000000099a1'), '', 'an unknown user');
SELECT is(public.may(:other), '', 'without any plan, not even the built-in one');
UPDATE billing.account_user SET disabled_at = '2040-01-02' WHERE user_id = :member;
SELECT is(public.may(:member), '', 'a disabled user');
UPDATE billing.account_user SET removed_at = '2040-01-02', email = NULL, email_key = NULL WHERE user_id = :reader;
SELECT is(public.may(:reader), '', 'a removed user');
SELECT billing.suspend_account(:a, 'test');
SELECT is(public.may(:admin), '', 'in a suspended account nobody');
SELECT billing.reinstate_account(:a);

-- The free plan adds its own, and is all there is at last
SELECT billing.create_plan('free', 'free', permissions => '{chat:*}', user_limit => 2);
SELECT is(public.may(:admin), 'billing:manage_users chat:* docs:read mail:read mail:send', 'the free plan counts beside what is bought');
SELECT billing.advance_test_clock(:a, '1 year');
SELECT is(public.may(:admin), 'billing:manage_users chat:*', 'and alone');
SELECT is(public.may(:writer), 'chat:*', 'for those who have a seat');
SELECT is(public.may(:manager), '', 'not for those over the limit');
SELECT is_empty(format('SELECT public.disagreement(%L)', :a), 'check_access agrees');

SELECT finish();

ROLLBACK;
