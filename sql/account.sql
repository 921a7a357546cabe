-- Accounts: the tenants that buy.

CREATE TABLE billing.account (
    account_id       uuid NOT NULL PRIMARY KEY,
    name             text NOT NULL,
    reference        text,
    time_zone        text NOT NULL DEFAULT 'UTC',
    metadata         jsonb NOT NULL DEFAULT '{}',
    created_at       timestamptz NOT NULL,
    suspended_at     timestamptz,
    suspended_reason text,
    closed_at        timestamptz,
    test_clock       timestamptz,
    is_test          boolean NOT NULL DEFAULT false,
    CONSTRAINT account_metadata_check CHECK (jsonb_typeof(metadata) = 'object'),
    CONSTRAINT account_closed_check CHECK (closed_at IS NULL OR suspended_at IS NOT NULL),
    CONSTRAINT account_test_check CHECK (test_clock IS NULL OR is_test)
);
CREATE INDEX account_reference_idx ON billing.account (reference) WHERE reference IS NOT NULL;
CREATE INDEX account_test_clock_idx ON billing.account (account_id) WHERE test_clock IS NOT NULL;
COMMENT ON TABLE billing.account IS 'The tenant that buys: the billing account.';
COMMENT ON COLUMN billing.account.account_id IS 'Uuid of version 4 or 7; its last byte stands again in every id of the account''s rows and names its bucket.';
COMMENT ON COLUMN billing.account.name IS 'Name for people.';
COMMENT ON COLUMN billing.account.reference IS 'The account''s key in another system, for look-ups; not unique.';
COMMENT ON COLUMN billing.account.time_zone IS 'IANA name of the zone in which its periods are counted.';
COMMENT ON COLUMN billing.account.metadata IS 'A JSON object of the application''s own.';
COMMENT ON COLUMN billing.account.created_at IS 'When the account was created.';
COMMENT ON COLUMN billing.account.suspended_at IS 'Since when it is suspended; NULL: it is not.';
COMMENT ON COLUMN billing.account.suspended_reason IS 'Why it is suspended.';
COMMENT ON COLUMN billing.account.closed_at IS 'Since when it is closed for good; a closed account is also suspended.';
COMMENT ON COLUMN billing.account.test_clock IS 'The frozen time that stands for now; NULL: real time.';
COMMENT ON COLUMN billing.account.is_test IS 'Whether it ever had a test clock; test accounts stay outside revenue reports for ever.';
