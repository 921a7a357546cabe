-- Binding a transaction to one account.

CREATE TABLE billing.binding_key (
    single     boolean NOT NULL PRIMARY KEY DEFAULT true,
    key        bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT binding_key_single_check CHECK (single),
    CONSTRAINT binding_key_key_check CHECK (octet_length(key) = 32)
);
COMMENT ON TABLE billing.binding_key IS 'The key that binding tokens are authenticated with, made when the first is issued. Not dumped: a copy of the database takes none of the original''s tokens.';
COMMENT ON COLUMN billing.binding_key.single IS 'True: there is one row.';
COMMENT ON COLUMN billing.binding_key.key IS 'Random; nobody but the owner can read it.';
COMMENT ON COLUMN billing.binding_key.created_at IS 'When it was made.';

CREATE FUNCTION billing.issue_binding(account_id uuid, valid_for interval DEFAULT '15 minutes', role name DEFAULT NULL)
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_issue_binding';
COMMENT ON FUNCTION billing.issue_binding(uuid, interval, name) IS
'A token by which bind_account binds a transaction to the account. It can be used any number of times while it is valid. valid_for: more than nothing, at most a day. role: the only database role whose sessions may use it; NULL: any.
Errors: 22004 NULL account or valid_for; 22023 valid_for out of range; 42704 unknown role; PB001 unknown account; PB006 in a bound transaction.';

CREATE FUNCTION billing.bind_account(token text) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_bind_account';
COMMENT ON FUNCTION billing.bind_account(text) IS
'Binds the transaction to the account of a token of issue_binding: until its end every function and view answers for that account alone, others are as if they did not exist. Only the end of the transaction, or a rollback to a savepoint set before, undoes it. Returns the account, so that the call can stand where a function takes its account: its arguments are evaluated first. Give the token as a bind parameter, so that no log shows it. Works on a hot standby.
Errors: 22004 NULL; PB006 a token that is malformed, forged, expired or for another role, or a transaction bound to another account.';

CREATE FUNCTION billing.rotate_binding_key() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_rotate_binding_key';
COMMENT ON FUNCTION billing.rotate_binding_key() IS
'Makes a new key for binding tokens: all that were issued before are void from its commit on.
Errors: PB006 in a bound transaction.';

CREATE FUNCTION billing.plan_visible(internal) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE STRICT AS 'MODULE_PATHNAME', 'billing_plan_visible';
COMMENT ON FUNCTION billing.plan_visible(internal) IS
'What the planner asks about visible and shown: where a session may see one account at most, visible is a range of every index that begins with the account, and shown is a column of no index.';

CREATE FUNCTION billing.visible(account_id uuid) RETURNS boolean
LANGUAGE c STABLE PARALLEL SAFE SUPPORT billing.plan_visible AS 'MODULE_PATHNAME', 'billing_visible';
COMMENT ON FUNCTION billing.visible(uuid) IS
'Whether this transaction may see the account: always, unless it is bound to another one, or to none although its role must be. What the views filter by. False for NULL. Raises nothing.';

CREATE FUNCTION billing.first_visible() RETURNS uuid
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_first_visible';
COMMENT ON FUNCTION billing.first_visible() IS
'The least id of an account that this transaction may see: of the one it is bound to that one''s. In plans of the views.';

CREATE FUNCTION billing.last_visible() RETURNS uuid
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_last_visible';
COMMENT ON FUNCTION billing.last_visible() IS
'The greatest id of an account that this transaction may see; the nil uuid, which no account has, where it may see none. In plans of the views.';

CREATE FUNCTION billing.shown(account_id uuid, value uuid) RETURNS uuid
LANGUAGE c STABLE PARALLEL SAFE SUPPORT billing.plan_visible AS 'MODULE_PATHNAME', 'billing_shown';
COMMENT ON FUNCTION billing.shown(uuid, uuid) IS
'The value where this transaction may see every account or this one, else NULL. For the columns of views that are the first of an index: what is looked for in them must not be looked for among all accounts.';

CREATE FUNCTION billing.shown(account_id uuid, value text) RETURNS text
LANGUAGE c STABLE PARALLEL SAFE SUPPORT billing.plan_visible AS 'MODULE_PATHNAME', 'billing_shown';
COMMENT ON FUNCTION billing.shown(uuid, text) IS
'The value where this transaction may see every account or this one, else NULL. For the columns of views that are the first of an index: what is looked for in them must not be looked for among all accounts.';

CREATE FUNCTION billing.shown(account_id uuid, value timestamptz) RETURNS timestamptz
LANGUAGE c STABLE PARALLEL SAFE SUPPORT billing.plan_visible AS 'MODULE_PATHNAME', 'billing_shown';
COMMENT ON FUNCTION billing.shown(uuid, timestamptz) IS
'The value where this transaction may see every account or this one, else NULL. For the columns of views that are the first of an index: what is looked for in them must not be looked for among all accounts.';
