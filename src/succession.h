/*
 * succession.h
 *	  Subscriptions that end early, take another one's place or follow it. The
 *	  caller is inside a call (call.h) and holds the account's plan lock and its
 *	  token lock exclusively (lock.h).
 */
#ifndef BILLING_SUCCESSION_H
#define BILLING_SUCCESSION_H

#include "subscription.h"

/* A subscription and those scheduled to follow it, one after the other. */
typedef struct SubscriptionLine
{
	int count;
	Subscription *items;
} SubscriptionLine;

extern void succession_line(SubscriptionLine *line, const Subscription *first, int from);
extern void
succession_end(const Account *account, const Subscription *subscription, TimestampTz now);
extern void succession_replace(const Account *account, const Subscription *old,
							   const pg_uuid_t *new_id, TimestampTz now);
extern void
succession_set(const pg_uuid_t *account, const pg_uuid_t *subscription, const pg_uuid_t *successor);
extern void succession_shift(const Account *account, const pg_uuid_t *subscription_id,
							 int32 from_period, TimestampTz start, TimestampTz now);
extern void succession_require_room(const Account *account, const pg_uuid_t *subscription_id,
									TimestampTz start);
extern void succession_unlink(const pg_uuid_t *account, const pg_uuid_t *subscription);
extern bool succession_end_period(const Account *account, const pg_uuid_t *subscription_id,
								  int32 period_no, TimestampTz now);
extern void
succession_void_tokens(const Account *account, const pg_uuid_t *subscription, TimestampTz now);

#endif /* BILLING_SUCCESSION_H */
