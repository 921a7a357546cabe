/*
 * grant_end.h
 *	  When the grants end that keep a token plan in force.
 */
#ifndef BILLING_GRANT_END_H
#define BILLING_GRANT_END_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

extern void
grant_end_passed(const pg_uuid_t *account, const pg_uuid_t *subscription, TimestampTz through);

#endif /* BILLING_GRANT_END_H */
