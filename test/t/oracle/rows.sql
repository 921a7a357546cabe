-- Rows at random, valid ones, many of which no function would ever make. The session's seed is set.
SET search_path = public;

CREATE FUNCTION pick(list anyarray) RETURNS anyelement LANGUAGE sql VOLATILE AS 'SELECT list[1 + floor(random() * cardinality(list))]';
CREATE FUNCTION chance(p double precision) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT random() < p';
CREATE FUNCTION upto(n bigint) RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT floor(random() * (n + 1))::bigint';
CREATE FUNCTION day(n double precision) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$SELECT '2040-01-01Z'::timestamptz + n * interval '24 hours'$$;
-- Ids from the session's seed, so that a run can be repeated; they end in the account's byte.
CREATE FUNCTION random_uuid() RETURNS uuid LANGUAGE sql VOLATILE AS $$SELECT overlay(overlay(md5(random()::text) PLACING '7' FROM 13) PLACING 'a' FROM 17)::uuid$$;
CREATE FUNCTION id_of(tenant uuid) RETURNS uuid LANGUAGE sql VOLATILE AS $$SELECT overlay(random_uuid()::text PLACING right(tenant::text, 2) FROM 35)::uuid$$;

CREATE PROCEDURE make_catalogue() LANGUAGE plpgsql AS $$
DECLARE
    permissions text[] := ARRAY['docs:read', 'docs:write', 'docs:*', 'mail:read', 'mail:*', 'chat:talk', 'billing:manage_users'];
    kind text;
BEGIN
    PERFORM billing.create_app(app, app) FROM unnest('{docs,mail,chat}'::text[]) AS app;
    FOR i IN 1..10 LOOP
        kind := CASE WHEN i <= 5 THEN 'subscription' ELSE 'token' END;
        PERFORM billing.create_plan('plan-' || i, kind, duration => CASE WHEN kind = 'subscription' OR chance(0.5) THEN interval '10 days' END, tokens => CASE WHEN kind = 'token' OR chance(0.3) THEN 1 + upto(20) END,
            user_limit => CASE WHEN chance(0.7) THEN upto(5) END, app => CASE WHEN chance(0.4) THEN pick('{docs,mail,chat}'::text[]) END,
            permissions => CASE WHEN chance(0.5) THEN '{}' ELSE ARRAY(SELECT DISTINCT pick(permissions) FROM generate_series(1, 1 + upto(2))) END);
        IF chance(0.5) THEN
            PERFORM billing.revise_plan('plan-' || i, user_limit => upto(5), permissions => ARRAY(SELECT DISTINCT pick(permissions) FROM generate_series(1, upto(2))));
        END IF;
    END LOOP;
    PERFORM billing.create_role('reader', '{docs:read,mail:*}'), billing.create_role('manager', '{billing:manage_users,docs:*}'), billing.create_role('nothing', '{}');
END $$;

CREATE PROCEDURE make_free_plan() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM billing.retire_plan(code) FROM billing.plan WHERE kind = 'free' AND retired_at IS NULL;
    IF chance(0.75) THEN
        PERFORM billing.create_plan('free-' || (SELECT count(*) FROM billing.plan), 'free', user_limit => CASE WHEN chance(0.7) THEN upto(4) END,
            permissions => CASE WHEN chance(0.3) THEN '{}' ELSE ARRAY[pick('{docs:read,mail:*,chat:talk}'::text[])] END);
    END IF;
END $$;

CREATE PROCEDURE make_subscription(tenant uuid, plan_code text, first double precision) LANGUAGE plpgsql AS $$
DECLARE
    subscription uuid := id_of(tenant);
    plan_kind text := (SELECT kind FROM billing.plan WHERE code = plan_code);
    periods int := 1 + upto(2);
    starts double precision := first;
    ends double precision;
    is_void boolean := chance(0.1);
    endless boolean := plan_kind = 'token' AND chance(0.3);
    new_grant uuid;
BEGIN
    INSERT INTO billing.subscription (account_id, subscription_id, plan, kind, effective_at, expires_at, anchor, created_at, void)
    VALUES (tenant, subscription, plan_code, plan_kind, day(first), 'infinity', day(first), day(0), true);
    FOR n IN 1..periods LOOP
        ends := starts + 1 + upto(8);
        new_grant := NULL;
        IF plan_kind = 'token' OR chance(0.4) THEN
            new_grant := id_of(tenant);
            INSERT INTO billing.token_grant (account_id, grant_id, subscription_id, app, tokens, priority, effective_at, expires_at, granted_at, voided_at)
            VALUES (tenant, new_grant, subscription, CASE WHEN chance(0.3) THEN pick('{docs,mail,chat}'::text[]) END, 1 + upto(9), pick('{1,100,100}'::bigint[]),
                day(CASE WHEN chance(0.5) THEN starts ELSE first END), CASE WHEN endless AND n = periods THEN 'infinity' ELSE day(ends) END, day(pick(ARRAY[first, starts])), CASE WHEN chance(0.1) THEN day(starts) END);
        END IF;
        INSERT INTO billing.subscription_period (account_id, subscription_id, period_no, plan, version, kind, apps, effective_at, expires_at, void, grant_id, created_at)
        SELECT tenant, subscription, n, v.plan, v.version, v.kind, v.apps, day(starts), CASE WHEN endless AND n = periods THEN 'infinity' ELSE day(ends) END, is_void, new_grant, day(0)
        FROM billing.plan_version AS v WHERE v.plan = plan_code ORDER BY random() LIMIT 1;
        starts := ends;
    END LOOP;
    UPDATE billing.subscription AS s SET void = is_void, expires_at = (SELECT max(p.expires_at) FROM billing.subscription_period AS p WHERE p.subscription_id = subscription) WHERE s.subscription_id = subscription;
    IF NOT endless AND chance(0.3) THEN
        CALL make_subscription(tenant, plan_code, ends + upto(3));
    END IF;
END $$;

CREATE PROCEDURE make_movements(tenant uuid) LANGUAGE plpgsql AS $$
DECLARE
    g record;
    n bigint := 0;
    taken bigint;
    last bigint := 0;
BEGIN
    FOR i IN 1..3 LOOP
        FOR g IN SELECT x.grant_id, x.tokens - coalesce((SELECT sum(l.tokens) FROM billing.ledger AS l WHERE l.account_id = x.account_id AND l.grant_id = x.grant_id), 0) AS "left"
            FROM billing.token_grant AS x WHERE x.account_id = tenant AND chance(0.6) ORDER BY random() LOOP
            taken := CASE WHEN chance(0.4) THEN g."left" ELSE upto(g."left"::bigint) END;
            CONTINUE WHEN taken = 0;
            n := n + 1 + upto(1);
            INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens, kind, occurred_at) VALUES (tenant, n, g.grant_id, taken, pick('{consume,hold}'::text[]), day(0));
            IF chance(0.2) THEN
                n := n + 1;
                INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens, kind, occurred_at) VALUES (tenant, n, g.grant_id, -(1 + upto(taken - 1)), pick('{release,refund}'::text[]), day(0));
            END IF;
        END LOOP;
        -- A checkpoint sums every grant that moved since the one before it.
        IF n > last AND chance(0.5) THEN
            INSERT INTO billing.checkpoint (account_id, grant_id, through_entry_no, consumed, entries, created_at)
            SELECT tenant, grant_id, n, sum(tokens), count(*), day(0) FROM billing.ledger AS l WHERE account_id = tenant GROUP BY grant_id HAVING max(entry_no) > last;
            last := n;
        END IF;
    END LOOP;
END $$;

CREATE PROCEDURE make_account(n int) LANGUAGE plpgsql AS $$
DECLARE
    tenant uuid := random_uuid();
    plan_code text;
BEGIN
    tenant := billing.create_account('Account ' || n, tenant);
    -- a restore's rows are accepted in any order, whoever is over the limit
    PERFORM set_config('check_function_bodies', 'off', true);
    UPDATE billing.account SET test_clock = day(0), is_test = true, suspended_at = CASE WHEN chance(0.1) THEN day(0) END WHERE account_id = tenant;
    FOR plan_code IN SELECT 'plan-' || p FROM generate_series(1, 10) AS p WHERE chance(0.25) LOOP
        CALL make_subscription(tenant, plan_code, upto(20));
    END LOOP;
    INSERT INTO billing.token_grant (account_id, grant_id, app, tokens, priority, effective_at, expires_at, granted_at)
    SELECT tenant, id_of(tenant), CASE WHEN chance(0.5) THEN pick('{docs,mail,chat}'::text[]) END, 1 + upto(9), pick('{1,100,200}'::bigint[]), day(5 - x), CASE WHEN chance(0.3) THEN 'infinity' ELSE day(6 + upto(20)) END, day(upto(3))
    FROM generate_series(1, upto(4)) AS x;
    CALL make_movements(tenant);
    INSERT INTO billing.account_user (account_id, user_id, email, email_key, role, added_at, disabled_at)
    SELECT tenant, id, id || '@x.example', id || '@x.example', CASE WHEN x = 1 THEN 'admin' ELSE pick('{admin,member,member,reader,manager,nothing}'::text[]) END, day(upto(3)), CASE WHEN x > 1 AND chance(0.15) THEN day(1) END
    FROM generate_series(1, 1 + upto(5)) AS x, LATERAL (SELECT id_of(tenant) AS id WHERE x > 0) AS y;
    UPDATE billing.account_user SET removed_at = day(1), email = NULL, email_key = NULL, password_hash = NULL WHERE account_id = tenant AND disabled_at IS NOT NULL AND chance(0.4);
    PERFORM set_config('check_function_bodies', 'on', true);
END $$;
