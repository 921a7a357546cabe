/*
 * period.h
 *		When billing periods end: calendar arithmetic in an account's time zone.
 */
#ifndef BILLING_PERIOD_H
#define BILLING_PERIOD_H

#include "datatype/timestamp.h"

/* Both raise an error unless the value may be stored; doc/periods.md gives the rules. */
extern void period_check_duration(const Interval *duration);
extern const char *period_check_time_zone(const char *name);

/* Period 1 starts at the anchor; period n ends at anchor + n × duration, period 0 at the anchor. */
extern TimestampTz
period_end(TimestampTz anchor, const Interval *duration, int64 n, const char *time_zone);

/*
 * The end of the first period, from number *n on, that ends later than "after"; *n becomes its
 * number. Whoever renews asks with the current end, for where a zone skipped a calendar day two
 * successive ends are one instant, and no period may be empty.
 */
extern TimestampTz period_end_after(TimestampTz anchor, const Interval *duration, int64 *n,
									TimestampTz after, const char *time_zone);

#endif
