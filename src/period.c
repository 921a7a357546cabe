/*
 * period.c
 *		When billing periods end: calendar arithmetic in an account's time zone.
 *
 * Every end is computed from the anchor, never from the end before it: an end that a short month
 * or a skipped hour moved must not move those behind it.
 */
#include "postgres.h"

#include "common/int.h"
#include "fmgr.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "period.h"

static char *
period_duration_text(const Interval *duration)
{
	return DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(duration)));
}

/*
 * A duration that is not negative in any field, for with one month less 30 days the ends would not
 * rise from period to period. PostgreSQL 17 and later spell "infinity" as the three largest values;
 * before, these are merely a duration that nothing can hold.
 */
void
period_check_duration(const Interval *duration)
{
	if (duration->month < 0 || duration->day < 0 || duration->time < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("duration must not be negative"),
				 errdetail("The duration is %s.", period_duration_text(duration)),
				 errhint("Give months, days and time that are all zero or more.")));
	if (duration->month == 0 && duration->day == 0 && duration->time == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("duration must be longer than zero"),
						errdetail("The duration is %s.", period_duration_text(duration)),
						errhint("Give a duration such as 1 month or 30 days.")));
	if (duration->month == PG_INT32_MAX && duration->day == PG_INT32_MAX &&
		duration->time == PG_INT64_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("duration must be finite"),
						errdetail("The duration is %s.", period_duration_text(duration)),
						errhint("Give a duration such as 1 month or 30 days.")));
}

/*
 * Is this name, "canonical" as pg_tzset spells it, one that means the same on every machine?
 *
 * pg_tzset falls back to POSIX formulas and gives those back in capitals, while the database's
 * names have small letters, except for some leftovers such as EST5EDT that are also formulas.
 * "localtime", "posixrules" and the directories of some systems are not the database's either.
 */
static bool
period_time_zone_is_iana(const char *name, const char *canonical)
{
	if (pg_strcasecmp(name, canonical) != 0)
		return false;
	if (strcmp(canonical, "UTC") == 0 || strcmp(canonical, "GMT") == 0)
		return true;
	if (strpbrk(canonical, "abcdefghijklmnopqrstuvwxyz") == NULL)
		return false;
	return strcmp(canonical, "localtime") != 0 && strcmp(canonical, "posixrules") != 0 &&
		   strcmp(canonical, "Factory") != 0 && strncmp(canonical, "posix/", 6) != 0 &&
		   strncmp(canonical, "right/", 6) != 0;
}

static pg_tz *
period_load_time_zone(const char *name)
{
	pg_tz *zone;

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("time zone must not be null"),
				 errhint("Give an IANA time zone such as Europe/Berlin or UTC.")));
	if (strlen(name) > TZ_STRLEN_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("time zone name is too long"),
				 errdetail("The name has %zu bytes; at most %d are possible.", strlen(name),
						   TZ_STRLEN_MAX),
				 errhint("Give an IANA time zone such as Europe/Berlin or UTC.")));
	zone = pg_tzset(name);
	if (zone == NULL || !pg_tz_acceptable(zone) ||
		!period_time_zone_is_iana(name, pg_get_timezone_name(zone)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown time zone \"%s\"", name),
				 errdetail("Only names of the IANA time zone database are accepted, neither "
						   "abbreviations nor formulas with an offset."),
				 errhint("Give a name such as Europe/Berlin or UTC; the view pg_timezone_names "
						 "lists them.")));
	return zone;
}

/* The name as the time zone database spells it, valid for the backend's life. */
const char *
period_check_time_zone(const char *name)
{
	return pg_get_timezone_name(period_load_time_zone(name));
}

/* False: the result is past the range of timestamps. */
static bool
period_set_local(TimestampTz *at, struct pg_tm *tm, fsec_t fsec, pg_tz *zone)
{
	int offset = DetermineTimeZoneOffset(tm, zone);

	return tm2timestamp(tm, fsec, &offset, at) == 0;
}

/* On the same day of a later month, or that month's last day when it is shorter. */
static bool
period_add_months(TimestampTz *at, int64 months, pg_tz *zone)
{
	struct pg_tm tm;
	fsec_t fsec;
	int offset;
	int64 month;
	int64 year;

	if (timestamp2tm(*at, &offset, &tm, &fsec, NULL, zone) != 0)
		return false;
	if (pg_add_s64_overflow(tm.tm_mon - 1, months, &month))
		return false;
	year = tm.tm_year + month / MONTHS_PER_YEAR;
	if (year > JULIAN_MAXYEAR)
		return false;
	tm.tm_year = (int) year;
	tm.tm_mon = (int) (month % MONTHS_PER_YEAR) + 1;
	tm.tm_mday = Min(tm.tm_mday, day_tab[isleap(tm.tm_year)][tm.tm_mon - 1]);
	return period_set_local(at, &tm, fsec, zone);
}

/* At the same wall time of a later day. */
static bool
period_add_days(TimestampTz *at, int64 days, pg_tz *zone)
{
	struct pg_tm tm;
	fsec_t fsec;
	int offset;
	int64 julian;

	if (timestamp2tm(*at, &offset, &tm, &fsec, NULL, zone) != 0)
		return false;
	if (pg_add_s64_overflow(date2j(tm.tm_year, tm.tm_mon, tm.tm_mday), days, &julian) ||
		julian > TIMESTAMP_END_JULIAN)
		return false;
	j2date((int) julian, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	return period_set_local(at, &tm, fsec, zone);
}

/*
 * anchor + n × duration as PostgreSQL adds intervals: months, then days, then exact time. False
 * when that is past the range of timestamps.
 */
static bool
period_compute_end(TimestampTz anchor, const Interval *duration, int64 n, pg_tz *zone,
				   TimestampTz *end)
{
	int64 months;
	int64 days;
	int64 microseconds;

	if (pg_mul_s64_overflow(duration->month, n, &months) ||
		pg_mul_s64_overflow(duration->day, n, &days) ||
		pg_mul_s64_overflow(duration->time, n, &microseconds))
		return false;
	*end = anchor;
	if (months != 0 && !period_add_months(end, months, zone))
		return false;
	if (days != 0 && !period_add_days(end, days, zone))
		return false;
	return !pg_add_s64_overflow(*end, microseconds, end) && IS_VALID_TIMESTAMP(*end);
}

static void
period_check_finite(const char *what, TimestampTz at)
{
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must be finite", what),
				 errdetail("It is %s.", timestamptz_to_str(at)), errhint("Give a point in time.")));
}

static pg_tz *
period_check_arguments(TimestampTz anchor, const Interval *duration, int64 n, const char *time_zone)
{
	period_check_finite("anchor", anchor);
	period_check_duration(duration);
	if (n < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("period number must not be negative"),
						errdetail("The number is %lld.", (long long) n),
						errhint("Give 1 for the period that starts at the anchor.")));
	return period_load_time_zone(time_zone);
}

static void
period_raise_overflow(TimestampTz anchor, const Interval *duration, int64 n)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("period end out of range"),
			 errdetail("Period %lld of %s from %s ends after the last possible timestamp.",
					   (long long) n, period_duration_text(duration), timestamptz_to_str(anchor)),
			 errhint("Give a shorter duration or a smaller period number.")));
}

TimestampTz
period_end(TimestampTz anchor, const Interval *duration, int64 n, const char *time_zone)
{
	pg_tz *zone = period_check_arguments(anchor, duration, n, time_zone);
	TimestampTz end;

	if (!period_compute_end(anchor, duration, n, zone, &end))
		period_raise_overflow(anchor, duration, n);
	return end;
}

/* An end past the range is later than any point in time. */
static bool
period_ends_after(TimestampTz anchor, const Interval *duration, int64 n, pg_tz *zone,
				  TimestampTz after)
{
	TimestampTz end;

	return !period_compute_end(anchor, duration, n, zone, &end) || end > after;
}

/*
 * Doubling steps, then halving them, find the number in a logarithm of it, so that neither a short
 * duration nor a distant "after" takes long. Ends never fall from one number to the next.
 */
TimestampTz
period_end_after(TimestampTz anchor, const Interval *duration, int64 *n, TimestampTz after,
				 const char *time_zone)
{
	pg_tz *zone = period_check_arguments(anchor, duration, *n, time_zone);
	int64 early = *n;
	int64 late = *n;
	TimestampTz end;

	period_check_finite("after", after);
	for (uint64 step = 1; !period_ends_after(anchor, duration, late, zone, after); step *= 2)
	{
		if (late == PG_INT64_MAX)
			period_raise_overflow(anchor, duration, late);
		early = late;
		late = step > (uint64) (PG_INT64_MAX - early) ? PG_INT64_MAX : early + (int64) step;
	}
	while (late - early > 1)
	{
		int64 middle = early + (late - early) / 2;

		if (period_ends_after(anchor, duration, middle, zone, after))
			late = middle;
		else
			early = middle;
	}
	if (!period_compute_end(anchor, duration, late, zone, &end))
		period_raise_overflow(anchor, duration, late);
	*n = late;
	return end;
}

static void
period_require_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", name),
				 errdetail("Of the arguments only after may be null."),
				 errhint("Give a value for %s.", name)));
}

/*
 * billing.period_end(anchor timestamptz, duration interval, n bigint, time_zone text,
 *					  after timestamptz) → timestamptz
 *
 * anchor: start of period 1, finite. duration: length of a period, no field negative, more than
 * zero, finite. n: period number, 0 or more; 0 gives the anchor. time_zone: IANA name. after: NULL,
 * or a point in time; then the first period from n on that ends later is meant.
 *
 * Result: anchor + n × duration in that zone, as PostgreSQL adds intervals (timestamptz_pl_interval
 * in its timestamp.c): months first, clamped to the month's end, then days of the calendar at the
 * same wall time, then hours and below as exact time. A wall time that a zone skips counts with
 * the offset before the change, one that occurs twice means the second
 * (DetermineTimeZoneOffset in its datetime.c).
 *
 * Errors: 22004 a required argument is NULL; 22023 bad duration, negative n, infinite anchor or
 * after, unknown time zone; 22008 the end is past the range of timestamps.
 */
PG_FUNCTION_INFO_V1(billing_period_end);

Datum
billing_period_end(PG_FUNCTION_ARGS)
{
	TimestampTz anchor;
	Interval *duration;
	int64 n;
	char *time_zone;

	period_require_argument(fcinfo, 0, "anchor");
	period_require_argument(fcinfo, 1, "duration");
	period_require_argument(fcinfo, 2, "n");
	period_require_argument(fcinfo, 3, "time_zone");
	anchor = PG_GETARG_TIMESTAMPTZ(0);
	duration = PG_GETARG_INTERVAL_P(1);
	n = PG_GETARG_INT64(2);
	time_zone = text_to_cstring(PG_GETARG_TEXT_PP(3));
	if (PG_ARGISNULL(4))
		PG_RETURN_TIMESTAMPTZ(period_end(anchor, duration, n, time_zone));
	PG_RETURN_TIMESTAMPTZ(
		period_end_after(anchor, duration, &n, PG_GETARG_TIMESTAMPTZ(4), time_zone));
}
