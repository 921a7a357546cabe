-- Who may use what: three levels, given and taken back by functions. Nothing is granted to PUBLIC.
-- Comes last: it names everything above.

-- The one place where every object of the schema is classified; grant_usage_to refuses to work
-- while one is missing.
CREATE TABLE billing.privilege (
    object        text COLLATE "C" NOT NULL,
    name          text COLLATE "C" NOT NULL,
    application   boolean NOT NULL,
    administrator boolean NOT NULL,
    reporting     boolean NOT NULL,
    secret        text[] COLLATE "C" NOT NULL DEFAULT '{}',
    PRIMARY KEY (object, name),
    CONSTRAINT privilege_object_check CHECK (object IN ('function', 'relation', 'type')),
    CONSTRAINT privilege_application_check CHECK (administrator OR NOT application),
    CONSTRAINT privilege_secret_check CHECK (object = 'relation' OR secret = '{}')
);
COMMENT ON TABLE billing.privilege IS 'What each level may use: EXECUTE on functions, SELECT on tables and views, USAGE on types. Read by grant_usage_to.';
COMMENT ON COLUMN billing.privilege.object IS 'function, relation (table or view) or type.';
COMMENT ON COLUMN billing.privilege.name IS 'Its name in the schema billing; of a function, with any arguments.';
COMMENT ON COLUMN billing.privilege.application IS 'Whether the application level may use it.';
COMMENT ON COLUMN billing.privilege.administrator IS 'Whether the administrator level may use it.';
COMMENT ON COLUMN billing.privilege.reporting IS 'Whether the reporting level may use it.';
COMMENT ON COLUMN billing.privilege.secret IS 'Columns that no level may read.';

CREATE TABLE billing.usage_level (
    role  regrole NOT NULL,
    level text COLLATE "C" NOT NULL,
    PRIMARY KEY (role, level),
    CONSTRAINT usage_level_level_check CHECK (level IN ('application', 'administrator', 'reporting'))
);
COMMENT ON TABLE billing.usage_level IS 'Which role was given which level; the privileges themselves stand in the catalog. A dropped role''s rows go with the next grant_usage_to or revoke_usage_from, and are not dumped.';
COMMENT ON COLUMN billing.usage_level.role IS 'The database role.';
COMMENT ON COLUMN billing.usage_level.level IS 'application, administrator or reporting.';

CREATE FUNCTION billing.grant_usage_to(role name, level text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_grant_usage_to';
COMMENT ON FUNCTION billing.grant_usage_to(name, text) IS
'Lets a database role use what its level needs, as far as the schema has it: application (checks, token verbs, user verbs, orders, views of accounts), administrator (everything but what is internal), reporting (views). Again: grants what has been added since. Administrators may give application and reporting, the extension''s owner every level.
Errors: 22004 NULL; 22023 unknown level, or a role that owns the extension; 22001 level too long; 42704 unknown role; PB006 the administrator level by anybody but the owner.';

CREATE FUNCTION billing.revoke_usage_from(role name, level text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_revoke_usage_from';
COMMENT ON FUNCTION billing.revoke_usage_from(name, text) IS
'Takes a level back from a database role; what another of its levels gives is left as it is. Nothing happens to a role that does not have it. What roles inherit from others is not touched.
Errors: those of grant_usage_to.';

INSERT INTO billing.privilege (object, name, application, administrator, reporting) VALUES
    -- checks
    ('function', 'plan_is_active', true, true, false),
    ('function', 'check_access', true, true, true),
    ('function', 'user_permissions', true, true, false),
    ('function', 'tokens_remaining', true, true, false),
    ('function', 'now', true, true, false),
    ('function', 'period_end', true, true, false),
    -- tokens
    ('function', 'consume_tokens', true, true, false),
    ('function', 'try_consume_tokens', true, true, false),
    ('function', 'consume_tokens_batch', true, true, false),
    ('function', 'hold_tokens', true, true, false),
    ('function', 'capture_hold', true, true, false),
    ('function', 'release_hold', true, true, false),
    ('function', 'refund_tokens', true, true, false),
    ('function', 'grant_tokens', false, true, false),
    ('function', 'void_grant', false, true, false),
    -- users
    ('function', 'add_user_within_limit', true, true, false),
    ('function', 'remove_user', true, true, false),
    ('function', 'set_user_role', true, true, false),
    ('function', 'disable_user', true, true, false),
    ('function', 'enable_user', true, true, false),
    ('function', 'set_user_password', true, true, false),
    ('function', 'erase_user', false, true, false),
    ('function', 'authenticate_user', true, true, false),
    -- orders; whoever records a payment decides what is paid
    ('function', 'quote_plan', true, true, false),
    ('function', 'order_plan', true, true, false),
    ('function', 'record_payment', false, true, false),
    ('function', 'record_refund', false, true, false),
    ('function', 'subscribe', false, true, false),
    ('function', 'cancel_subscription', false, true, false),
    -- accounts and catalogue
    ('function', 'create_account', false, true, false),
    ('function', 'update_account', false, true, false),
    ('function', 'suspend_account', false, true, false),
    ('function', 'reinstate_account', false, true, false),
    ('function', 'close_account', false, true, false),
    ('function', 'set_test_clock', false, true, false),
    ('function', 'advance_test_clock', false, true, false),
    ('function', 'create_app', false, true, false),
    ('function', 'create_plan', false, true, false),
    ('function', 'revise_plan', false, true, false),
    ('function', 'retire_plan', false, true, false),
    ('function', 'create_role', false, true, false),
    -- operation
    ('function', 'next_events', true, true, false),
    ('function', 'ack_events', true, true, false),
    ('function', 'expire_due', false, true, false),
    ('function', 'verify_ledger', false, true, false),
    ('function', 'write_checkpoint', false, true, false),
    ('function', 'engine_counters', false, true, true),
    ('function', 'worker_databases', false, true, true),
    ('function', 'grant_usage_to', false, true, false),
    ('function', 'revoke_usage_from', false, true, false),
    -- binding
    ('function', 'issue_binding', false, true, false),
    ('function', 'bind_account', true, true, true),
    ('function', 'rotate_binding_key', false, true, false),
    -- what the views call: PostgreSQL asks who reads the view for EXECUTE
    ('function', 'visible', true, true, true),
    ('function', 'first_visible', true, true, true),
    ('function', 'last_visible', true, true, true),
    ('function', 'shown', true, true, true),
    ('function', 'plan_visible', false, false, false),
    ('function', 'seats_allowed', true, true, true),
    ('function', 'roster', true, true, true),
    ('function', 'packages', true, true, true),
    -- triggers
    ('function', 'guard_immutable', false, false, false),
    ('function', 'guard_grant', false, false, false),
    ('function', 'guard_hold', false, false, false),
    ('function', 'guard_hold_end', false, false, false),
    ('function', 'guard_balance', false, false, false),
    ('function', 'guard_checkpoint', false, false, false),
    ('function', 'guard_engine', false, false, false),
    ('function', 'guard_order', false, false, false),
    ('function', 'guard_period', false, false, false),
    ('function', 'guard_user', false, false, false),
    ('function', 'guard_event', false, false, false),
    ('function', 'guard_restore', false, false, false),
    ('function', 'prepare_user', false, false, false),
    ('function', 'note_due', false, false, false),
    ('function', 'note_grant_end', false, false, false),
    -- money
    ('type', 'amount', true, true, true),
    ('function', 'amount', true, true, true),
    ('function', 'amount_to_numeric', true, true, true),
    ('function', 'currency', true, true, true),
    ('function', 'currency_decimals', true, true, true),
    ('function', 'minor_units', true, true, true),
    ('function', 'amount_add', true, true, true),
    ('function', 'amount_subtract', true, true, true),
    ('function', 'amount_plus', true, true, true),
    ('function', 'amount_negate', true, true, true),
    ('function', 'abs', true, true, true),
    ('function', 'amount_multiply', true, true, true),
    ('function', 'amount_divide', true, true, true),
    ('function', 'amount_ratio', true, true, true),
    ('function', 'amount_eq', true, true, true),
    ('function', 'amount_ne', true, true, true),
    ('function', 'amount_lt', true, true, true),
    ('function', 'amount_le', true, true, true),
    ('function', 'amount_ge', true, true, true),
    ('function', 'amount_gt', true, true, true),
    ('function', 'amount_order_lt', true, true, true),
    ('function', 'amount_order_le', true, true, true),
    ('function', 'amount_order_ge', true, true, true),
    ('function', 'amount_order_gt', true, true, true),
    ('function', 'amount_order_cmp', true, true, true),
    ('function', 'amount_hash', true, true, true),
    ('function', 'amount_hash_extended', true, true, true),
    ('function', 'amount_smaller', true, true, true),
    ('function', 'amount_larger', true, true, true),
    ('function', 'sum', true, true, true),
    ('function', 'min', true, true, true),
    ('function', 'max', true, true, true),
    -- the server calls these itself, without asking
    ('function', 'amount_in', false, false, false),
    ('function', 'amount_out', false, false, false),
    ('function', 'amount_recv', false, false, false),
    ('function', 'amount_send', false, false, false),
    ('function', 'amount_sum_add', false, false, false),
    ('function', 'amount_sum_remove', false, false, false),
    ('function', 'amount_sum_combine', false, false, false),
    ('function', 'amount_sum_serialize', false, false, false),
    ('function', 'amount_sum_deserialize', false, false, false),
    ('function', 'amount_sum_final', false, false, false),
    -- answers
    ('type', 'access', true, true, true),
    ('type', 'consumption', true, true, false),
    ('type', 'receipt', false, true, false),
    -- views
    ('relation', 'account_status', true, true, true),
    ('relation', 'account_package', true, true, true),
    ('relation', 'account_member', true, true, true),
    ('relation', 'plan_catalogue', true, true, true),
    ('relation', 'usage_daily', true, true, true),
    ('relation', 'payment_history', true, true, true),
    ('relation', 'account_credit_balance', true, true, true),
    ('relation', 'payment_conservation', false, true, true),
    ('relation', 'expiring_soon', false, true, true),
    ('relation', 'exhausting_soon', false, true, true),
    ('relation', 'revenue_monthly', false, true, true),
    ('relation', 'worker_status', false, true, true),
    ('relation', 'engine_status', false, true, true),
    -- tables, for support and audits; nobody writes them but the functions
    ('relation', 'account', false, true, false),
    ('relation', 'app', false, true, false),
    ('relation', 'plan', false, true, false),
    ('relation', 'plan_version', false, true, false),
    ('relation', 'role', false, true, false),
    ('relation', 'subscription', false, true, false),
    ('relation', 'subscription_period', false, true, false),
    ('relation', 'token_grant', false, true, false),
    ('relation', 'ledger', false, true, false),
    ('relation', 'checkpoint', false, true, false),
    ('relation', 'hold', false, true, false),
    ('relation', 'hold_end', false, true, false),
    ('relation', 'event', false, true, false),
    ('relation', 'event_consumer', false, true, false),
    ('relation', 'plan_order', false, true, false),
    ('relation', 'order_credit', false, true, false),
    ('relation', 'payment', false, true, false),
    ('relation', 'payment_refund', false, true, false),
    ('relation', 'account_credit', false, true, false),
    ('relation', 'binding_key', false, false, false),
    ('relation', 'worker_failure', false, true, false),
    ('relation', 'low_balance', false, true, false),
    ('relation', 'low_balance_mark', false, true, false),
    ('relation', 'audit', false, true, false),
    ('relation', 'privilege', false, true, false),
    ('relation', 'usage_level', false, true, false),
    ('relation', 'login_client', false, false, false),
    ('relation', 'login_failure', false, false, false);
INSERT INTO billing.privilege (object, name, application, administrator, reporting, secret) VALUES
    ('relation', 'account_user', false, true, false, '{password_hash}');

REVOKE ALL ON ALL ROUTINES IN SCHEMA billing FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA billing FROM PUBLIC;
REVOKE ALL ON TYPE billing.amount FROM PUBLIC;
REVOKE ALL ON TYPE billing.access FROM PUBLIC;
REVOKE ALL ON TYPE billing.consumption FROM PUBLIC;
REVOKE ALL ON TYPE billing.receipt FROM PUBLIC;
REVOKE ALL ON SCHEMA billing FROM PUBLIC;

-- Row types too: a column of one in somebody's table would forbid us to alter ours.
REVOKE ALL ON TYPE
    billing.account, billing.app, billing.plan, billing.plan_version, billing.role,
    billing.subscription, billing.subscription_period, billing.token_grant, billing.ledger,
    billing.checkpoint, billing.hold, billing.hold_end, billing.event, billing.account_user, billing.login_failure,
    billing.event_consumer, billing.login_client,
    billing.plan_order, billing.order_credit, billing.payment, billing.payment_refund,
    billing.account_credit, billing.worker_failure, billing.low_balance, billing.low_balance_mark,
    billing.audit, billing.binding_key, billing.privilege, billing.usage_level,
    billing.account_status, billing.account_package, billing.account_member,
    billing.plan_catalogue, billing.usage_daily, billing.engine_status,
    billing.payment_history, billing.account_credit_balance, billing.payment_conservation,
    billing.revenue_monthly, billing.expiring_soon, billing.exhausting_soon, billing.worker_status
    FROM PUBLIC;

COMMENT ON SCHEMA billing IS
'Plans, tokens, seats, orders and payments. Functions enforce the rules, views show them; grant access with billing.grant_usage_to, nothing is granted to PUBLIC.';

-- pg_dump cannot tell what became of a row type's rights, and would warn of each at every dump.
DELETE FROM pg_catalog.pg_init_privs
 WHERE classoid = 'pg_catalog.pg_type'::pg_catalog.regclass
   AND objoid IN (SELECT t.oid
                    FROM pg_catalog.pg_type t
                    JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
                   WHERE t.typnamespace = 'billing'::pg_catalog.regnamespace AND c.relkind <> 'c');
