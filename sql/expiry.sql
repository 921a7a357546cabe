-- Writing down what time has already brought about.

CREATE FUNCTION billing.expire_due(max_rows bigint DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_expire_due';
COMMENT ON FUNCTION billing.expire_due(bigint) IS
'Writes down what is due: subscriptions whose end is to be announced (billing.expiry_ahead), subscriptions that ended, token plans whose last grant with tokens ended, and the assignment of the free plan, scheduled subscriptions that started, orders and holds that lapsed, grants that ran low; returns how many. max_rows: 1 or more, an account being finished once begun; NULL: all. Safe by hand, at any time, from several sessions. Access never waits for it.
Errors: 22023 max_rows not positive.';
