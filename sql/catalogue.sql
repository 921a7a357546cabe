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
    created_at   timestamptz NOT NULL DEFAULT now(),
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
COMMENT ON COLUMN billing.plan_version.apps IS 'The apps it covers, from app and permissions, sorted; NULL: every app.';
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
