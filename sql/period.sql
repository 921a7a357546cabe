-- When billing periods end.

-- STABLE, not IMMUTABLE: an update of the time zone data changes results, and an index over them
-- would then be wrong.
CREATE FUNCTION billing.period_end(
    anchor timestamptz,
    duration interval,
    n bigint,
    time_zone text DEFAULT 'UTC',
    after timestamptz DEFAULT NULL
) RETURNS timestamptz
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'billing_period_end';

REVOKE ALL ON FUNCTION billing.period_end(timestamptz, interval, bigint, text, timestamptz) FROM PUBLIC;

COMMENT ON FUNCTION billing.period_end(timestamptz, interval, bigint, text, timestamptz) IS
'End of billing period n: anchor + n × duration in the time zone, always computed from the anchor.
anchor: start of period 1, finite. duration: length of one period, no field negative, more than zero, finite; months are clamped to the month''s end, days are calendar days at the same wall time, hours and below are exact. n: period number, 0 or more; 0 gives the anchor. time_zone: IANA name such as Europe/Berlin. after: NULL, or a point in time: then the end of the first period from number n on that ends later than it.
A wall time that the zone skips counts with the offset before the change; one that occurs twice means the second. Ends rise with n, except that two may be the same instant where a zone skipped a whole calendar day; after passes over that empty period.
Errors: 22004 anchor, duration, n or time_zone is NULL; 22023 negative, zero or infinite duration, negative n, infinite anchor or after, unknown time zone; 22008 the end is past the range of timestamps.';
