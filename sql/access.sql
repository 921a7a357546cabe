-- Who may use what, now.

CREATE TYPE billing.access AS (
    allowed boolean,
    level text,
    reason text,
    plan text,
    tokens_remaining bigint,
    expires_at timestamptz,
    message text
);
COMMENT ON TYPE billing.access IS 'The answer of check_access.';
COMMENT ON COLUMN billing.access.allowed IS 'Whether it may be done.';
COMMENT ON COLUMN billing.access.level IS 'full: a bought plan is in force for the app; limited: only the free plan; none: nothing.';
COMMENT ON COLUMN billing.access.reason IS 'allowed, or the first reason why not.';
COMMENT ON COLUMN billing.access.plan IS 'The plan that answers: the one that grants and lasts longest, else the free plan.';
COMMENT ON COLUMN billing.access.tokens_remaining IS 'Tokens left for the permission''s app, without a permission in all; never NULL.';
COMMENT ON COLUMN billing.access.expires_at IS 'When the answering plan ends; NULL: it does not.';
COMMENT ON COLUMN billing.access.message IS 'The reason in words, and what to do.';

CREATE FUNCTION billing.plan_is_active(account_id uuid, app text DEFAULT NULL, plan text DEFAULT NULL) RETURNS boolean
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_plan_is_active';
COMMENT ON FUNCTION billing.plan_is_active(uuid, text, text) IS
'Whether a bought plan is in force at the statement''s start. app and plan, where given, must match the same subscription. False for a NULL or unknown account, an unknown app, an unknown or free plan. Raises nothing; runs on a hot standby.';

CREATE FUNCTION billing.check_access(account_id uuid, permission text DEFAULT NULL, user_id uuid DEFAULT NULL)
RETURNS billing.access
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_check_access';
COMMENT ON FUNCTION billing.check_access(uuid, text, uuid) IS
'Whether the account, and the user if one is given, may do what the permission (app:name) names; without a permission, whether a bought plan is in force. Denial is data, with one reason. Call it in FROM: (f()).* would call it once per column. Raises nothing; runs on a hot standby.';

CREATE FUNCTION billing.user_permissions(user_id uuid) RETURNS SETOF text
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_user_permissions';
COMMENT ON FUNCTION billing.user_permissions(uuid) IS
'What the user may do now: the permissions of the plans in force and of the free plan, as far as the role keeps them; app:* stands for all of an app. No row for a NULL, unknown, disabled, removed or over-limit user and in a suspended account. Raises nothing.';
