-- Who did what to which account.

CREATE TABLE billing.audit (
    account_id   uuid NOT NULL,
    audit_id     uuid NOT NULL,
    occurred_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    session_role name NOT NULL,
    role         name NOT NULL,
    acting_user  uuid,
    function     text COLLATE "C" NOT NULL,
    arguments    jsonb NOT NULL,
    PRIMARY KEY (account_id, audit_id)
);
CREATE INDEX audit_time_idx ON billing.audit (occurred_at);
COMMENT ON TABLE billing.audit IS 'Append-only record of the calls that change accounts, users, the catalogue and privileges, each written in the transaction of its call. Tokens that are consumed, held and refunded stand in the ledger.';
COMMENT ON COLUMN billing.audit.account_id IS 'The account that it was done to; all zero: the whole database, as with the catalogue.';
COMMENT ON COLUMN billing.audit.audit_id IS 'Time-ordered uuid that ends in the account''s bucket byte.';
COMMENT ON COLUMN billing.audit.occurred_at IS 'When, by the server''s clock, whatever the account''s test clock says.';
COMMENT ON COLUMN billing.audit.session_role IS 'The database role that had logged in.';
COMMENT ON COLUMN billing.audit.role IS 'The database role that called; another one after SET ROLE or in a SECURITY DEFINER function.';
COMMENT ON COLUMN billing.audit.acting_user IS 'The account user who did it, as the application said.';
COMMENT ON COLUMN billing.audit.function IS 'The function that was called.';
COMMENT ON COLUMN billing.audit.arguments IS 'Its arguments that are not NULL, without passwords and addresses.';

CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing.audit
    FOR EACH ROW EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing.audit
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_immutable();
ALTER TABLE billing.audit ENABLE ALWAYS TRIGGER immutable;
ALTER TABLE billing.audit ENABLE ALWAYS TRIGGER no_truncate;
