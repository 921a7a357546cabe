-- The schema may have been there before: then it must be a superuser's, and empty. From here on no
-- name below can be anybody else's, whatever the schema of another extension holds.
SET LOCAL search_path = pg_catalog, billing, pg_temp;
CREATE FUNCTION billing.check_schema() RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'billing_check_schema';
SELECT billing.check_schema();
DROP FUNCTION billing.check_schema();

REVOKE ALL ON SCHEMA billing FROM PUBLIC;

COMMENT ON SCHEMA billing IS
'Plans, tokens, seats, orders and payments. Functions enforce the rules, views show them; grant access with billing.grant_usage_to, nothing is granted to PUBLIC.';
