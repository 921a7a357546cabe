-- No name below can be anybody else's, whatever another extension's schema holds.
SET LOCAL search_path = pg_catalog, pg_temp;

REVOKE ALL ON SCHEMA billing FROM PUBLIC;

COMMENT ON SCHEMA billing IS
'Plans, tokens, seats, orders and payments. Functions enforce the rules, views show them; grant access with billing.grant_usage_to, nothing is granted to PUBLIC.';
