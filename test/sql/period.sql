-- When billing periods end.
SET datestyle = 'ISO, YMD';
SET intervalstyle = postgres;
SET timezone = 'UTC';

-- The month's end: every end comes from the anchor, so 31 January is back in March.
SELECT n, billing.period_end('2026-01-31 09:00+00', '1 month', n) FROM generate_series(0, 5) AS n;
SELECT n, billing.period_end('2024-02-29 09:00+00', '12 months', n) FROM generate_series(1, 4) AS n;

-- In the account's zone: the first of the month in Auckland is still the month before in UTC.
SELECT billing.period_end('2026-01-30 11:30+00', '1 month', 1, 'Pacific/Auckland') AS auckland,
    billing.period_end('2026-01-30 11:30+00', '1 month', 1, 'UTC') AS utc,
    billing.period_end('2026-01-31 11:30+00', '1 month', 1, 'Pacific/Auckland') AS auckland_1_february,
    billing.period_end('2026-01-31 11:30+00', '1 month', 1, 'UTC') AS utc_31_january;

-- 30 days are calendar days, 720 hours are exact; between them lies a change of the clocks.
SELECT d, billing.period_end('2026-03-15 12:00+01', d, 1, 'Europe/Berlin') AT TIME ZONE 'Europe/Berlin' AS berlin
FROM unnest('{30 days,720 hours}'::interval[]) AS d;

-- A wall time that is skipped: the offset before the change; the next end is back at 02:30.
SELECT n, e, e AT TIME ZONE 'Europe/Berlin' AS berlin
FROM generate_series(0, 2) AS n, billing.period_end('2026-03-28 01:30+00', '1 day', n, 'Europe/Berlin') AS e;
-- One that occurs twice: the second; a start in the first is kept as it is.
SELECT n, e, e AT TIME ZONE 'Europe/Berlin' AS berlin
FROM generate_series(0, 2) AS n, billing.period_end('2026-10-24 00:30+00', '1 day', n, 'Europe/Berlin') AS e;
SELECT n, e, e AT TIME ZONE 'Europe/Berlin' AS berlin
FROM generate_series(0, 1) AS n, billing.period_end('2026-10-25 00:30+00', '1 day', n, 'Europe/Berlin') AS e;

-- Samoa had no 30 December 2011: that period is empty, and "after" passes over it.
SELECT n, billing.period_end('2011-12-28 10:00-10', '1 day', n, 'Pacific/Apia') AT TIME ZONE 'Pacific/Apia' AS samoa,
    billing.period_end('2011-12-28 10:00-10', '1 day', n, 'Pacific/Apia',
        after => billing.period_end('2011-12-28 10:00-10', '1 day', n - 1, 'Pacific/Apia')) AT TIME ZONE 'Pacific/Apia' AS not_empty
FROM generate_series(1, 4) AS n;

-- "after": the end of the period that holds a point in time, also far away and with short periods.
SELECT billing.period_end('2024-01-31 00:00+00', '1 month', 1, after => '2026-02-28 00:00+00') AS at_the_end,
    billing.period_end('2024-01-31 00:00+00', '1 month', 1, after => '2026-02-27 23:59:59.999999+00') AS before_it,
    billing.period_end('2024-01-31 00:00+00', '1 month', 5, after => '2000-01-01 00:00+00') AS not_before_5,
    billing.period_end('2024-01-31 00:00+00', '1 microsecond', 0, after => '3024-01-31 00:00+00') AS a_millennium;
SELECT count(*) AS ends, count(*) FILTER (WHERE e IS DISTINCT FROM (
        SELECT min(x) FROM generate_series(k, 60) AS n, billing.period_end(a, d, n, 'America/New_York') AS x WHERE x > t)) AS wrong
FROM unnest('{2023-12-31 05:00+00,2024-03-09 07:30+00}'::timestamptz[]) AS a, unnest('{1 day,1 month,1 month 12:00,7 hours}'::interval[]) AS d,
    generate_series(0, 50, 7) AS k, generate_series(0, 20) AS m,
    LATERAL (SELECT a + m * d + (m % 3 - 1) * interval '1 second' AS t) AS t, billing.period_end(a, d, k, 'America/New_York', t) AS e;

-- The same as PostgreSQL's own addition in a session of that zone, fields mixed, fractions kept.
CREATE FUNCTION pg_temp.differences(zone text) RETURNS TABLE (ends bigint, different bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('timezone', zone, false);
    RETURN QUERY
    SELECT count(*), count(*) FILTER (WHERE billing.period_end(a, d, n, zone) <> a + d * n)
    FROM generate_series(0, 400) AS s, generate_series(0, 30) AS n,
        LATERAL (SELECT timestamptz '1999-12-25 00:00+00' + s * interval '13 days 05:17:31.123457' AS a) AS a,
        unnest('{1 day,1 month,1 month 1 day,1 month 1 day 00:00:01.5,1 year 90 minutes,1 microsecond,10 days 36 hours}'::interval[]) AS d;
    PERFORM set_config('timezone', 'UTC', false);
END $$;
SELECT zone, d.* FROM unnest('{Europe/Berlin,America/St_Johns,Australia/Lord_Howe,Pacific/Apia,UTC}'::text[]) AS zone, pg_temp.differences(zone) AS d;

-- The session's zone does not matter.
SET timezone = 'America/New_York';
SELECT billing.period_end('2026-01-31 09:00+00', '1 month', 1) = timestamptz '2026-02-28 09:00+00' AS same;
SET timezone = 'UTC';

-- Before Christ, and up to the last timestamp.
SELECT billing.period_end('0001-01-31 00:00+00 BC', '1 month', n) FROM generate_series(1, 2) AS n;
SELECT billing.period_end('4713-01-01 00:00+00 BC', '1 day', 2, 'Asia/Kolkata');
SELECT z, billing.period_end('294276-11-30 23:59:59.999999+00', '1 month', 1, z) AS month, billing.period_end('294276-12-30 23:59:59.999999+00', '1 day', 1, z) AS day
FROM unnest('{UTC,Pacific/Kiritimati,Pacific/Pago_Pago}'::text[]) AS z;
SELECT billing.period_end('294276-12-01 00:00+00', '1 month', 1);
SELECT billing.period_end('294276-12-31 00:00+00', '1 day', 1);
SELECT billing.period_end('294276-12-31 23:59:59.999999+00', '1 microsecond', 1);
SELECT billing.period_end('2026-01-31 09:00+00', '1 month', 1, after => '294276-12-31 09:00+00');

-- Overflow of n times a field is as far out of range.
\set VERBOSITY sqlstate
SELECT billing.period_end('2026-01-31 09:00+00', '1 month', 9223372036854775807);
SELECT billing.period_end('2026-01-31 09:00+00', '2 months', 9223372036854775807);
SELECT billing.period_end('2026-01-31 09:00+00', '1 day', 9223372036854775807);
SELECT billing.period_end('2026-01-31 09:00+00', '2 days', 9223372036854775807);
SELECT billing.period_end('2026-01-31 09:00+00', '1 microsecond', 9223372036854775807);
SELECT billing.period_end('2026-01-31 09:00+00', '2 microseconds', 9223372036854775807);
SELECT billing.period_end('2026-01-31 09:00+00', '1 day', 4294967296);
SELECT billing.period_end('2026-01-31 09:00+00', '1 month', 4294967296);
SELECT billing.period_end('2026-01-31 09:00+00', make_interval(months => 2147483647), 1);
SELECT billing.period_end('2026-01-31 09:00+00', make_interval(days => 2147483647), 1);
SELECT billing.period_end('4713-11-24 00:00+00 BC', '1 microsecond', 0, after => '294276-12-31 23:59:59.999999+00');
\set VERBOSITY default

-- Bad arguments.
SELECT billing.period_end(NULL, '1 month', 1);
SELECT billing.period_end('2026-01-31 09:00+00', NULL, 1);
SELECT billing.period_end('2026-01-31 09:00+00', '1 month', NULL);
SELECT billing.period_end('2026-01-31 09:00+00', '1 month', 1, NULL);
SELECT billing.period_end('2026-01-31 09:00+00', '1 month', 1, after => NULL);
SELECT billing.period_end('2026-01-31 09:00+00', '1 month', -1);
SELECT billing.period_end('infinity', '1 month', 1);
SELECT billing.period_end('-infinity', '1 month', 1);
SELECT billing.period_end('2026-01-31 09:00+00', '1 month', 1, after => 'infinity');
SELECT billing.period_end('2026-01-31 09:00+00', '1 month', 1, after => '-infinity');
SELECT billing.period_end('2026-01-31 09:00+00', '0', 1);
SELECT billing.period_end('2026-01-31 09:00+00', '-1 month', 1);
SELECT billing.period_end('2026-01-31 09:00+00', '1 month -1 day', 1);
SELECT billing.period_end('2026-01-31 09:00+00', '1 month -00:00:00.000001', 1);
-- What PostgreSQL 17 calls infinity.
\set VERBOSITY sqlstate
SELECT billing.period_end('2026-01-31 09:00+00', (CASE WHEN current_setting('server_version_num')::integer >= 170000
    THEN 'infinity' ELSE '2147483647 months 2147483647 days 2562047788:00:54.775807' END)::interval, 1);
\set VERBOSITY default

-- Names of the time zone database in any case; nothing that stands for something else.
SELECT z, billing.period_end('2026-03-15 12:00+00', '1 month', 1, z)
FROM unnest('{UTC,utc,GMT,Europe/Berlin,europe/BERLIN,America/Argentina/Ushuaia,Etc/GMT+5}'::text[]) AS z;
SELECT billing.period_end('2026-01-31 09:00+00', '1 month', 1, 'Mars/Olympus');
SELECT billing.period_end('2026-01-31 09:00+00', '1 month', 1, '');
SELECT billing.period_end('2026-01-31 09:00+00', '1 month', 1, repeat('x', 256));
CREATE FUNCTION pg_temp.refused(zone text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN billing.period_end('2026-01-31 09:00+00', '1 month', 1, zone);
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN sqlerrm;
END $$;
SELECT pg_temp.refused(z) FROM unnest(ARRAY[
    'FOO+3', 'foo3', '<x>-3', 'EST5EDT', 'EST5EDT,M3.2.0,M11.1.0', 'EST', 'CET', 'CEST', '+02', '02:00', '2', 'Europe/Berlin3',
    'localtime', 'posixrules', 'Factory', 'posix/Europe/Berlin', 'right/Europe/Berlin', 'Europe', 'Europe/', '/Europe/Berlin',
    '../zoneinfo/Europe/Berlin', 'Europe/../Europe/Berlin', '.', ' ', 'Europe/Berlin ', ':Europe/Berlin', 'zone.tab', 'Europe/Zürich',
    E'\n', 'default', 'local', 'now', '%s%n']) AS z;

-- Nobody may call it unless granted.
SELECT provolatile, proparallel, proisstrict, has_function_privilege('pg_monitor', oid, 'EXECUTE') AS granted
FROM pg_proc WHERE oid = 'billing.period_end(timestamptz, interval, bigint, text, timestamptz)'::regprocedure;
SELECT obj_description('billing.period_end(timestamptz, interval, bigint, text, timestamptz)'::regprocedure) IS NOT NULL AS commented;
