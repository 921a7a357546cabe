-- The rules of access and tokens once more, in plain SQL over the rows alone: no function of the
-- extension, no stored coverage, no checkpoint is used. PL/pgSQL for its cached plans only.
CREATE SCHEMA model;
SET search_path = model;

-- What every plan version covers and grants. Its kind is the plan's.
CREATE VIEW version AS
SELECT v.plan, v.version, p.kind, p.is_free_plan, v.user_limit, v.permissions,
    v.app IS NULL AND v.permissions = '{}' AS every_app,
    ARRAY(SELECT DISTINCT a FROM unnest(v.app || ARRAY(SELECT split_part(x, ':', 1) FROM unnest(v.permissions) AS x)) AS a
          WHERE a IS NOT NULL AND a <> 'billing') AS apps
FROM billing.plan_version AS v JOIN billing.plan AS p ON p.code = v.plan;

-- The newest version of the free plan.
CREATE VIEW free_plan AS
SELECT v, plan, user_limit FROM version AS v WHERE is_free_plan ORDER BY version DESC LIMIT 1;

CREATE FUNCTION covers(v version, asked text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (
    SELECT CASE WHEN asked IS NULL OR asked = 'billing' THEN true
        WHEN NOT EXISTS (SELECT FROM billing.app WHERE code = asked) THEN false
        ELSE v.every_app OR asked = ANY (v.apps) END);
END $$;

CREATE FUNCTION grants(v version, permission text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (
    SELECT permission ~ '^[a-z][a-z0-9_-]{0,62}:(\*|[a-z][a-z0-9_-]{0,62})$' AND (
        permission = 'billing:manage_users' OR permission = ANY (v.permissions) OR split_part(permission, ':', 1) || ':*' = ANY (v.permissions)
        OR (v.kind <> 'free' AND v.permissions = '{}' AND permission NOT LIKE 'billing:%' AND covers(v, split_part(permission, ':', 1)))));
END $$;

CREATE VIEW grant_left AS
SELECT g.*, g.tokens - coalesce((SELECT sum(l.tokens) FROM billing.ledger AS l WHERE l.account_id = g.account_id AND l.grant_id = g.grant_id), 0) AS "left"
FROM billing.token_grant AS g;

CREATE FUNCTION usable(tenant uuid, at timestamptz) RETURNS SETOF grant_left LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN QUERY
    SELECT * FROM grant_left WHERE account_id = tenant AND voided_at IS NULL AND effective_at <= at AND at < expires_at;
END $$;

CREATE FUNCTION remaining(tenant uuid, app_asked text, every_app boolean, at timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (
    SELECT coalesce(sum("left"), 0)::bigint FROM usable(tenant, at) WHERE every_app OR app IS NULL OR app = app_asked);
END $$;

-- The plans in their time, and whether they are in force. ends: the end of the subscription's last period.
CREATE TYPE holding AS (plan text, v version, ends timestamptz, in_force boolean);
CREATE FUNCTION held(tenant uuid, at timestamptz) RETURNS SETOF holding LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN QUERY
    SELECT p.plan, v, (SELECT max(q.expires_at) FROM billing.subscription_period AS q WHERE q.subscription_id = p.subscription_id AND NOT q.void),
        a.suspended_at IS NULL AND (v.kind = 'subscription' OR EXISTS (SELECT FROM usable(tenant, at) AS g WHERE g.subscription_id = p.subscription_id AND g."left" > 0))
    FROM billing.account AS a JOIN billing.subscription_period AS p USING (account_id) JOIN version AS v ON (v.plan, v.version) = (p.plan, p.version)
    WHERE a.account_id = tenant AND NOT p.void AND p.effective_at <= at AND at < p.expires_at;
END $$;

CREATE FUNCTION active(tenant uuid, app text, plan_asked text, at timestamptz) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (
    SELECT EXISTS (SELECT FROM held(tenant, at) AS h WHERE in_force AND covers(h.v, app) AND (plan_asked IS NULL OR plan = plan_asked) AND app IS DISTINCT FROM 'billing'));
END $$;

-- Seats: NULL is no limit.
CREATE FUNCTION seats(tenant uuid, at timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (
    SELECT CASE WHEN bool_or((v).kind = 'subscription' AND (v).user_limit IS NULL) THEN NULL
        WHEN max((v).user_limit) IS NOT NULL THEN max((v).user_limit)
        WHEN EXISTS (SELECT FROM free_plan) THEN (SELECT user_limit FROM free_plan) ELSE 1 END
    FROM held(tenant, at) WHERE in_force);
END $$;

CREATE FUNCTION why_none(tenant uuid, app text, at timestamptz) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (
    SELECT CASE WHEN EXISTS (SELECT FROM held(tenant, at) AS h WHERE NOT in_force AND covers(h.v, app)) THEN 'tokens_exhausted'
        WHEN EXISTS (SELECT FROM billing.subscription_period AS p JOIN version AS v ON (v.plan, v.version) = (p.plan, p.version)
            WHERE p.account_id = tenant AND NOT p.void AND p.expires_at <= at AND covers(v, app)) THEN 'package_expired'
        ELSE 'no_active_plan' END);
END $$;

-- NULL: nothing is wrong with the user.
CREATE FUNCTION user_reason(tenant uuid, who uuid, at timestamptz) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (
    SELECT CASE WHEN who IS NULL THEN NULL
        WHEN NOT EXISTS (SELECT FROM billing.account_user WHERE account_id = tenant AND user_id = who AND removed_at IS NULL) THEN 'user_not_found'
        WHEN EXISTS (SELECT FROM billing.account_user WHERE user_id = who AND disabled_at IS NOT NULL) THEN 'user_disabled'
        WHEN who IN (SELECT user_id FROM billing.account_user WHERE account_id = tenant AND removed_at IS NULL AND disabled_at IS NULL
            ORDER BY role <> 'admin', added_at, user_id OFFSET seats(tenant, at)) AND seats(tenant, at) IS NOT NULL THEN 'user_over_limit' END);
END $$;

CREATE FUNCTION role_keeps(who uuid, permission text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (
    SELECT who IS NULL OR EXISTS (SELECT FROM billing.account_user AS u JOIN billing.role AS r USING (role) WHERE u.user_id = who
        AND ('*' = ANY (r.permissions) OR permission = ANY (r.permissions) OR split_part(permission, ':', 1) || ':*' = ANY (r.permissions))
        AND permission <> ALL (r.withheld)));
END $$;

CREATE FUNCTION access_reason(tenant uuid, permission text, who uuid, at timestamptz) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (
    SELECT CASE
        WHEN a.account_id IS NULL THEN 'account_not_found'
        WHEN a.suspended_at IS NOT NULL THEN 'account_suspended'
        WHEN user_reason(tenant, who, at) IS NOT NULL THEN user_reason(tenant, who, at)
        WHEN permission IS NULL THEN CASE WHEN active(tenant, NULL, NULL, at) THEN 'allowed' ELSE why_none(tenant, NULL, at) END
        WHEN EXISTS (SELECT FROM held(tenant, at) AS h WHERE in_force AND grants(h.v, permission)) OR EXISTS (SELECT FROM free_plan AS f WHERE grants(f.v, permission))
            THEN CASE WHEN role_keeps(who, permission) THEN 'allowed' ELSE 'permission_not_in_role' END
        WHEN EXISTS (SELECT FROM held(tenant, at) AS h WHERE in_force AND covers(h.v, app)) THEN 'permission_not_in_plan'
        ELSE why_none(tenant, app, at) END
    FROM (SELECT CASE WHEN permission LIKE '%:%' THEN split_part(permission, ':', 1) END AS app) AS x LEFT JOIN billing.account AS a ON a.account_id = tenant);
END $$;

-- The answer of check_access without its message; plan and expires_at where the rules name them.
CREATE FUNCTION access(tenant uuid, permission text, who uuid, at timestamptz) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (
    SELECT concat_ws(' ', reason = 'allowed', reason,
        CASE WHEN reason IN ('account_not_found', 'account_suspended') THEN 'none'
            WHEN EXISTS (SELECT FROM held(tenant, at) AS h WHERE in_force AND covers(h.v, app)) THEN 'full'
            WHEN EXISTS (SELECT FROM free_plan) THEN 'limited' ELSE 'none' END,
        remaining(tenant, app, app IS NULL, at),
        CASE WHEN reason = 'allowed' THEN coalesce((SELECT concat_ws(' ', plan, nullif(ends, 'infinity')::text) FROM held(tenant, at) AS h
            WHERE in_force AND covers(h.v, app) AND (permission IS NULL OR grants(h.v, permission)) ORDER BY ends DESC, plan COLLATE "C" LIMIT 1), (SELECT plan FROM free_plan)) END)
    FROM (SELECT access_reason(tenant, permission, who, at) AS reason, CASE WHEN permission LIKE '%:%' THEN split_part(permission, ':', 1) END AS app) AS x);
END $$;

-- The answer of a consumption without a key: granted, reason, what remains.
CREATE FUNCTION consumption(tenant uuid, asked bigint, app_asked text, who uuid, at timestamptz) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (
    SELECT concat_ws(' ', reason = 'allowed', reason, CASE WHEN reason = 'account_suspended' THEN NULL WHEN reason = 'allowed' THEN r - asked ELSE r END)
    FROM (SELECT r, CASE
            WHEN EXISTS (SELECT FROM billing.account WHERE account_id = tenant AND suspended_at IS NOT NULL) THEN 'account_suspended'
            WHEN user_reason(tenant, who, at) IS NOT NULL THEN user_reason(tenant, who, at)
            WHEN r >= asked THEN 'allowed'
            WHEN r > 0 OR active(tenant, app_asked, NULL, at) OR EXISTS (SELECT FROM usable(tenant, at) WHERE app IS NULL OR app = app_asked) THEN 'tokens_exhausted'
            ELSE why_none(tenant, app_asked, at) END AS reason
        FROM remaining(tenant, app_asked, false, at) AS r) AS x);
END $$;

-- From which grants it takes how many.
CREATE FUNCTION draws(tenant uuid, asked bigint, app_asked text, at timestamptz) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (
    SELECT string_agg(grant_id || ' ' || taken, ', ' ORDER BY n) FROM (
        SELECT row_number() OVER w AS n, grant_id, least("left", asked - coalesce(sum("left") OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)) AS taken
        FROM usable(tenant, at) WHERE "left" > 0 AND (app IS NULL OR app = app_asked)
        WINDOW w AS (ORDER BY priority, nullif(expires_at, 'infinity') NULLS LAST, granted_at, grant_id)) AS x
    WHERE taken > 0);
END $$;
