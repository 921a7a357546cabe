-- The catalogue: kinds, versions, unset, retirement, apps and roles.
SET search_path = billing, public;
SET intervalstyle = 'postgres';
\set VERBOSITY sqlstate
\pset null (null)

SELECT create_app('ct-docs', 'Docs'), create_app('ct-mail', repeat('ä', 255)), create_app('a', 'Short'), create_app('z-_09' || repeat('x', 58), 'Long');
SELECT create_app('ct-docs', 'Again');
SELECT create_app('billing', 'Reserved');
SELECT code, length(name) FROM app WHERE code LIKE 'ct-%' OR length(code) = 63 ORDER BY code;
-- The codes that are refused, by function and by plain DML
DO $$
DECLARE
    bad text;
    statement text;
BEGIN
    FOREACH bad IN ARRAY ARRAY['', '1a', '_a', '-a', 'A', 'aB', 'a b', 'a.b', 'a:b', 'ä', 'aä', ' a', 'a ', E'a\n', E'a\nb', repeat('a', 64), repeat('a', 100000)] LOOP
        FOREACH statement IN ARRAY ARRAY['SELECT billing.create_app($1, ''x'')', 'SELECT billing.create_plan($1, ''free'')', 'SELECT billing.create_role($1, ''{}'')',
            'INSERT INTO billing.app (code, name) VALUES ($1, ''x'')', 'INSERT INTO billing.plan (code, kind) VALUES ($1, ''token'')', 'INSERT INTO billing.role (role, permissions) VALUES ($1, ''{}'')'] LOOP
            BEGIN
                EXECUTE statement USING bad;
                RAISE NOTICE 'accepted: % by %', left(bad, 70), statement;
            EXCEPTION WHEN invalid_parameter_value OR string_data_right_truncation OR check_violation THEN NULL;
            END;
        END LOOP;
    END LOOP;
END $$;

-- Kinds: what each needs and what it may not have
SELECT create_plan('ct-free', 'free', user_limit => 0, permissions => '{ct-docs:read}');
SELECT create_plan('ct-sub', 'subscription', 'Everything', '12.50 USD', '1 month', 100, 5, '{ct-docs:read,ct-docs:*,ct-mail:send}', 'ct-mail');
SELECT create_plan('ct-tok', 'token', price => '0 JPY', tokens => 9223372036854775807, duration => '720 hours', user_limit => 9223372036854775807);
SELECT create_plan('ct-bare', 'subscription', duration => '1 microsecond');
SELECT create_plan('ct-bad', 'free', price => '0 USD');
SELECT create_plan('ct-bad', 'free', duration => '1 day');
SELECT create_plan('ct-bad', 'free', tokens => 1);
SELECT create_plan('ct-bad', 'subscription');
SELECT create_plan('ct-bad', 'subscription', tokens => 1);
SELECT create_plan('ct-bad', 'token');
SELECT create_plan('ct-bad', 'token', duration => '1 day');
SELECT create_plan('ct-bad', 'trial');
SELECT create_plan('ct-bad', 'Free');
SELECT create_plan('ct-bad', 'token', tokens => 0);
SELECT create_plan('ct-bad', 'token', tokens => -1);
SELECT create_plan('ct-bad', 'token', tokens => 1, user_limit => -1);
SELECT create_plan('ct-bad', 'token', tokens => 1, price => '-0.01 USD');
SELECT create_plan('ct-bad', 'subscription', duration => '0');
SELECT create_plan('ct-bad', 'subscription', duration => '-1 day');
SELECT create_plan('ct-bad', 'subscription', duration => '1 month -1 day');
SELECT create_plan('ct-bad', 'subscription', duration => '2 days -00:00:01');
SELECT create_plan('ct-bad', 'free', permissions => '{ct-docs}');
SELECT create_plan('ct-bad', 'free', permissions => '{*}');
SELECT create_plan('ct-bad', 'free', permissions => '{ct-docs:}');
SELECT create_plan('ct-bad', 'free', permissions => '{:read}');
SELECT create_plan('ct-bad', 'free', permissions => '{ct-docs:Read}');
SELECT create_plan('ct-bad', 'free', permissions => '{ct-docs:re*}');
SELECT create_plan('ct-bad', 'free', permissions => '{ct-docs:read:more}');
SELECT create_plan('ct-bad', 'free', permissions => '{""}');
SELECT create_plan('ct-bad', 'free', permissions => '{ct-docs:read,NULL}');
SELECT create_plan('ct-bad', 'free', permissions => '{ct-nosuch:read}');
SELECT create_plan('ct-bad', 'free', permissions => '{billing:other}');
SELECT create_plan('ct-bad', 'free', app => 'ct-nosuch');
SELECT create_plan('ct-bad', 'free', app => 'billing');
SELECT create_plan('ct-sub', 'free');
SELECT count(*) FROM plan WHERE code = 'ct-bad';
SELECT plan, version, kind, name, price, duration, tokens, user_limit, permissions, app, apps FROM plan_version WHERE plan LIKE 'ct-%' ORDER BY plan;

-- Versions: NULL keeps, unset takes away, the kind is fixed
SELECT revise_plan('ct-sub');
SELECT revise_plan('ct-sub', 'Less', '10.00 EUR', '30 days', 50, 3, '{ct-docs:read}', 'ct-docs');
SELECT revise_plan('ct-sub', unset => '{name}'), revise_plan('ct-sub', unset => '{price}'), revise_plan('ct-sub', unset => '{tokens}'), revise_plan('ct-sub', unset => '{user_limit}'),
    revise_plan('ct-sub', unset => '{permissions}'), revise_plan('ct-sub', unset => '{app}');
SELECT revise_plan('ct-sub', name => 'All of them', price => '1.00 USD', unset => '{tokens,user_limit,tokens}');
-- a plan of the built-in permission alone covers no app
SELECT revise_plan('ct-sub', permissions => '{}'), revise_plan('ct-sub', permissions => '{billing:manage_users}');
SELECT revise_plan('ct-sub', unset => '{duration}');
SELECT revise_plan('ct-tok', unset => '{tokens}');
SELECT revise_plan('ct-free', price => '1.00 USD');
SELECT revise_plan('ct-sub', unset => '{kind}');
SELECT revise_plan('ct-sub', unset => '{Name}');
SELECT revise_plan('ct-sub', unset => '{""}');
SELECT revise_plan('ct-sub', unset => '{NULL}');
SELECT revise_plan('ct-sub', price => '-1.00 USD');
SELECT revise_plan('ct-nosuch');
SELECT revise_plan('ct-tok', unset => '{duration,price}');
SELECT revise_plan('ct-sub', unset => NULL);
SELECT version, kind, name, price, duration, tokens, user_limit, permissions, app, apps FROM plan_version WHERE plan = 'ct-sub' ORDER BY version;

-- Retired: no longer revised, retired again without ado
SELECT retire_plan('ct-bare'), retire_plan('ct-bare');
SELECT revise_plan('ct-bare', name => 'x');
SELECT retire_plan('ct-nosuch');
SELECT retired_at IS NOT NULL AS retired FROM plan WHERE code = 'ct-bare';

-- Roles
SELECT create_role('ct-none', '{}'), create_role('ct-some', '{ct-docs:read,ct-mail:*,billing:manage_users}'), create_role('ct-all', '{*}');
SELECT create_role('ct-none', '{}');
SELECT create_role('admin', '{}');
SELECT create_role('ct-bad', '{ct-nosuch:read}');
SELECT create_role('ct-bad', '{read}');
SELECT create_role('ct-bad', '{*,**}');
SELECT create_role('ct-bad', '{NULL}');
SELECT role, permissions, withheld FROM role WHERE role LIKE 'ct-%' OR role IN ('admin', 'member') ORDER BY role;

-- The database is shared.
SELECT retire_plan('ct-free');
