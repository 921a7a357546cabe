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

CREATE FUNCTION billing.create_account(
    name text,
    account_id uuid DEFAULT NULL,
    reference text DEFAULT NULL,
    time_zone text DEFAULT 'UTC',
    metadata jsonb DEFAULT '{}'
) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_create_account';
COMMENT ON FUNCTION billing.create_account(text, uuid, text, text, jsonb) IS
'Creates an account and returns its id. name: 1 to 255 characters. account_id: version 4 or 7; NULL: a new one. reference: the account''s key in another system. time_zone: IANA name, in which periods are counted. metadata: a JSON object. Safe to retry: the same account_id with the same values is returned.
Errors: 22004 NULL name, time_zone or metadata; 22023 out of range; 22001 too long; PB008 the account exists with other values.';

CREATE FUNCTION billing.update_account(
    account_id uuid,
    name text DEFAULT NULL,
    reference text DEFAULT NULL,
    time_zone text DEFAULT NULL,
    metadata jsonb DEFAULT NULL
) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_update_account';
COMMENT ON FUNCTION billing.update_account(uuid, text, text, text, jsonb) IS
'Changes what is not NULL. A new time zone counts for periods bought from then on.
Errors: 22004 NULL account; PB001 unknown account; the others are those of create_account.';

CREATE FUNCTION billing.suspend_account(account_id uuid, reason text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_suspend_account';
COMMENT ON FUNCTION billing.suspend_account(uuid, text) IS
'Nothing is allowed until the account is reinstated; time runs on. reason: 1 to 2,000 characters.
Errors: 22004 NULL; 22023 empty reason; 22001 too long; PB001 unknown account; PB002 closed account.';

CREATE FUNCTION billing.reinstate_account(account_id uuid) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_reinstate_account';
COMMENT ON FUNCTION billing.reinstate_account(uuid) IS
'Ends a suspension; an account that is not suspended stays as it is.
Errors: 22004 NULL; PB001 unknown account; PB002 closed account.';

CREATE FUNCTION billing.close_account(account_id uuid) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_close_account';
COMMENT ON FUNCTION billing.close_account(uuid) IS
'Suspends the account for good; its records stay. Again: nothing happens.
Errors: 22004 NULL; PB001 unknown account.';

CREATE FUNCTION billing.now(account_id uuid) RETURNS timestamptz
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_now';
COMMENT ON FUNCTION billing.now(uuid) IS
'What checks take as now for this account: its test clock, or the start of the statement; the latter for a NULL or unknown account. Raises nothing.';

CREATE FUNCTION billing.set_test_clock(account_id uuid, at timestamptz) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_set_test_clock';
COMMENT ON FUNCTION billing.set_test_clock(uuid, timestamptz) IS
'Freezes the account''s now at a time not earlier than it is; NULL: real time again. Marks the account as a test account for ever. What falls due on the way is written down, in due order.
Errors: 22004 NULL account; 22023 earlier or infinite time; PB001 unknown account.';

CREATE FUNCTION billing.advance_test_clock(account_id uuid, by interval) RETURNS timestamptz
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_advance_test_clock';
COMMENT ON FUNCTION billing.advance_test_clock(uuid, interval) IS
'Moves the account''s test clock forward, from real now if it has none, counted in the account''s time zone; returns the new now.
Errors: 22004 NULL; 22023 an interval that is not positive; 22008 out of range; PB001 unknown account.';
