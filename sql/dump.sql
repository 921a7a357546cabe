-- What pg_dump takes along: the rows of every table, but for
--   binding_key       a copy of the database takes none of the original's tokens,
--   login_failure     unlogged: a crash forgets it as well,
--   low_balance_mark  of this server: a copy passes all accounts once,
--   privilege         the script's own rows, which the library of that version reads.
-- Roles are created by CREATE EXTENSION too, so those two are not dumped.
SELECT pg_catalog.pg_extension_config_dump('billing.app', '');
SELECT pg_catalog.pg_extension_config_dump('billing.plan', '');
SELECT pg_catalog.pg_extension_config_dump('billing.plan_version', '');
SELECT pg_catalog.pg_extension_config_dump('billing.role', $$WHERE role NOT IN ('admin', 'member')$$);
SELECT pg_catalog.pg_extension_config_dump('billing.account', '');
SELECT pg_catalog.pg_extension_config_dump('billing.account_user', '');
SELECT pg_catalog.pg_extension_config_dump('billing.login_client', '');
SELECT pg_catalog.pg_extension_config_dump('billing.subscription', '');
SELECT pg_catalog.pg_extension_config_dump('billing.subscription_period', '');
SELECT pg_catalog.pg_extension_config_dump('billing.token_grant', '');
SELECT pg_catalog.pg_extension_config_dump('billing.ledger', '');
SELECT pg_catalog.pg_extension_config_dump('billing.checkpoint', '');
SELECT pg_catalog.pg_extension_config_dump('billing.low_balance', '');
SELECT pg_catalog.pg_extension_config_dump('billing.hold', '');
SELECT pg_catalog.pg_extension_config_dump('billing.hold_end', '');
SELECT pg_catalog.pg_extension_config_dump('billing.plan_order', '');
SELECT pg_catalog.pg_extension_config_dump('billing.order_credit', '');
SELECT pg_catalog.pg_extension_config_dump('billing.payment', '');
SELECT pg_catalog.pg_extension_config_dump('billing.payment_refund', '');
SELECT pg_catalog.pg_extension_config_dump('billing.account_credit', '');
SELECT pg_catalog.pg_extension_config_dump('billing.event', '');
SELECT pg_catalog.pg_extension_config_dump('billing.event_consumer', '');
SELECT pg_catalog.pg_extension_config_dump('billing.audit', '');
SELECT pg_catalog.pg_extension_config_dump('billing.worker_failure', '');
SELECT pg_catalog.pg_extension_config_dump('billing.usage_level', 'WHERE role IN (SELECT oid FROM pg_catalog.pg_roles)');
