-- What can be bought: apps, plans and their versions.

CREATE TABLE billing.app (
    code       text COLLATE "C" NOT NULL PRIMARY KEY,
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT app_code_check CHECK (code ~ '^[a-z][a-z0-9_-]{0,62}$' AND code <> 'billing')
);
COMMENT ON TABLE billing.app IS 'A product whose use is gated; the first half of every permission.';
COMMENT ON COLUMN billing.app.code IS 'Lower-case code, at most 63 characters, not folded; "billing" is reserved for the built-in permission.';
COMMENT ON COLUMN billing.app.name IS 'Name for people.';
COMMENT ON COLUMN billing.app.created_at IS 'When the app was added.';

CREATE TABLE billing.plan (
    code         text COLLATE "C" NOT NULL PRIMARY KEY,
    kind         text COLLATE "C" NOT NULL,
    is_free_plan boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    retired_at   timestamptz,
    CONSTRAINT plan_code_check CHECK (code ~ '^[a-z][a-z0-9_-]{0,62}$'),
    CONSTRAINT plan_kind_check CHECK (kind IN ('free', 'subscription', 'token')),
    CONSTRAINT plan_free_check CHECK (NOT is_free_plan OR (kind = 'free' AND retired_at IS NULL))
);
CREATE UNIQUE INDEX plan_free_key ON billing.plan (is_free_plan) WHERE is_free_plan;
COMMENT ON TABLE billing.plan IS 'A catalogue entry; what it contains stands in its versions.';
COMMENT ON COLUMN billing.plan.code IS 'Lower-case code, at most 63 characters, not folded.';
COMMENT ON COLUMN billing.plan.kind IS 'free, subscription (works for a time) or token (works until its tokens are used); fixed for ever.';
COMMENT ON COLUMN billing.plan.is_free_plan IS 'The one plan in force whenever nothing bought is.';
COMMENT ON COLUMN billing.plan.created_at IS 'When the plan was created.';
COMMENT ON COLUMN billing.plan.retired_at IS 'Since when it can no longer be ordered; NULL while it can.';

CREATE TABLE billing.plan_version (
    plan        text COLLATE "C" NOT NULL REFERENCES billing.plan (code),
    version     integer NOT NULL,
    kind        text COLLATE "C" NOT NULL,
    name        text,
    price       billing.amount,
    duration    interval,
    tokens      bigint,
    user_limit  bigint,
    permissions text[] COLLATE "C" NOT NULL DEFAULT '{}',
    app         text COLLATE "C" REFERENCES billing.app (code),
    apps        text[] COLLATE "C",
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (plan, version),
    CONSTRAINT plan_version_version_check CHECK (version > 0),
    CONSTRAINT plan_version_tokens_check CHECK (tokens > 0),
    CONSTRAINT plan_version_user_limit_check CHECK (user_limit >= 0),
    CONSTRAINT plan_version_kind_check CHECK (
        CASE kind
            WHEN 'free' THEN price IS NULL AND duration IS NULL AND tokens IS NULL
            WHEN 'subscription' THEN duration IS NOT NULL
            WHEN 'token' THEN tokens IS NOT NULL
            ELSE false
        END)
);
COMMENT ON TABLE billing.plan_version IS 'What a plan contains. Rows never change: a subscription pins the version it was bought with.';
COMMENT ON COLUMN billing.plan_version.plan IS 'The plan.';
COMMENT ON COLUMN billing.plan_version.version IS 'Counts from 1; the highest is what is sold now.';
COMMENT ON COLUMN billing.plan_version.kind IS 'The kind of the plan, repeated so that a check reads one row.';
COMMENT ON COLUMN billing.plan_version.name IS 'Name for people; NULL: the code.';
COMMENT ON COLUMN billing.plan_version.price IS 'Price of one period; NULL: not for sale by order; zero must be written.';
COMMENT ON COLUMN billing.plan_version.duration IS 'Length of a period, calendar units in the account''s time zone; NULL for a token plan without an end.';
COMMENT ON COLUMN billing.plan_version.tokens IS 'Tokens granted with every period; NULL: none.';
COMMENT ON COLUMN billing.plan_version.user_limit IS 'Users the account may have; NULL: no limit for free and subscription plans, nothing said by token plans.';
COMMENT ON COLUMN billing.plan_version.permissions IS 'app:name or app:*; empty: all of its apps for a bought plan, none for a free one.';
COMMENT ON COLUMN billing.plan_version.app IS 'The app its tokens are for and that it covers besides those of its permissions; NULL: none in particular.';
COMMENT ON COLUMN billing.plan_version.apps IS 'The apps it covers, from app and permissions, sorted; NULL: every app. The built-in permission is of none.';
COMMENT ON COLUMN billing.plan_version.created_at IS 'When this version was written.';

CREATE TABLE billing.role (
    role        text COLLATE "C" NOT NULL PRIMARY KEY,
    permissions text[] COLLATE "C" NOT NULL,
    withheld    text[] COLLATE "C" NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT role_role_check CHECK (role ~ '^[a-z][a-z0-9_-]{0,62}$')
);
COMMENT ON TABLE billing.role IS 'Roles of account users, the same for all accounts; a role narrows what the plan grants.';
COMMENT ON COLUMN billing.role.role IS 'Lower-case code, at most 63 characters.';
COMMENT ON COLUMN billing.role.permissions IS 'app:name, app:* or *: what of the plan the role keeps.';
COMMENT ON COLUMN billing.role.withheld IS 'Permissions the role never keeps, whatever permissions says.';
COMMENT ON COLUMN billing.role.created_at IS 'When the role was created.';

INSERT INTO billing.role (role, permissions, withheld) VALUES
    ('admin', '{*}', '{}'),
    ('member', '{*}', '{billing:manage_users}');

CREATE FUNCTION billing.create_app(code text, name text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_create_app';
COMMENT ON FUNCTION billing.create_app(text, text) IS
'Adds a product to the catalogue. code: lower-case code, not "billing". name: 1 to 255 characters.
Errors: 22004 NULL; 22023 malformed or reserved code, empty name; 22001 too long; 23505 the code exists.';

CREATE FUNCTION billing.create_plan(
    code text,
    kind text,
    name text DEFAULT NULL,
    price billing.amount DEFAULT NULL,
    duration interval DEFAULT NULL,
    tokens bigint DEFAULT NULL,
    user_limit bigint DEFAULT NULL,
    permissions text[] DEFAULT '{}',
    app text DEFAULT NULL
) RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_create_plan';
COMMENT ON FUNCTION billing.create_plan(text, text, text, billing.amount, interval, bigint, bigint, text[], text) IS
'Creates a plan; returns its version, 1. kind: free, subscription (needs a duration, may carry tokens) or token (needs tokens, may have a duration); the first free one is the free plan. price: zero or more; NULL: not for sale by order. duration: every field 0 or more, more than nothing in all. tokens: 1 or more with every period. user_limit: 0 or more; NULL: no limit for free and subscription plans, nothing said by token plans. permissions: app:name or app:*; empty: all of its apps for a bought plan, none for a free one. app: the app its tokens are for; with no app and no permissions it covers every app.
Errors: 22004 NULL code or kind; 22023 out of range; 22001 too long; PB015 negative price; PB016 unknown app; 23505 the code exists.';

CREATE FUNCTION billing.revise_plan(
    code text,
    name text DEFAULT NULL,
    price billing.amount DEFAULT NULL,
    duration interval DEFAULT NULL,
    tokens bigint DEFAULT NULL,
    user_limit bigint DEFAULT NULL,
    permissions text[] DEFAULT NULL,
    app text DEFAULT NULL,
    unset text[] DEFAULT '{}'
) RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_revise_plan';
COMMENT ON FUNCTION billing.revise_plan(text, text, billing.amount, interval, bigint, bigint, text[], text, text[]) IS
'Writes and returns the next version of a plan. NULL keeps what the newest version has; unset names what becomes NULL (permissions: empty). Who bought an earlier version keeps it, and so does an open order.
Errors: 22004 NULL code; PB011 unknown or retired plan; the others are those of create_plan.';

CREATE FUNCTION billing.retire_plan(code text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_retire_plan';
COMMENT ON FUNCTION billing.retire_plan(text) IS
'Takes a plan out of sale; who holds it keeps it to its end. Retiring the free plan makes the next oldest free plan the free plan. Again: nothing happens.
Errors: 22004 NULL; PB011 unknown plan.';

CREATE FUNCTION billing.create_role(role text, permissions text[]) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_create_role';
COMMENT ON FUNCTION billing.create_role(text, text[]) IS
'Creates a role, the same for all accounts. permissions: app:name, app:* or *, what of the plan the role keeps. The roles admin and member exist.
Errors: 22004 NULL; 22023 malformed; PB016 unknown app; 23505 the role exists.';
