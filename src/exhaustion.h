/*
 * exhaustion.h
 *	  Writing down that a token plan has lost its last token.
 */
#ifndef BILLING_EXHAUSTION_H
#define BILLING_EXHAUSTION_H

#include "holding.h"

extern void exhaustion_suspected(const Account *account, TimestampTz now);
extern int64 exhaustion_tell(const Account *account, TimestampTz now, bool *again);
extern bool exhaustion_is_untold(Holdings *holdings, const pg_uuid_t *subscription);
extern void exhaustion_told(const pg_uuid_t *account, const pg_uuid_t *subscription);

#endif /* BILLING_EXHAUSTION_H */
