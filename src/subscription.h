/*
 * subscription.h
 *	  Beginning, extending and ending subscriptions. The caller is inside a call
 *	  (call.h) and holds the account's locks (lock.h).
 */
#ifndef BILLING_SUBSCRIPTION_H
#define BILLING_SUBSCRIPTION_H

#include "storage/lockdefs.h"

#include "account.h"
#include "plan.h"

/* What one period is bought with. */
typedef struct PeriodTerms
{
	const PlanVersion *plan;
	TimestampTz effective_at; /* 0 of has_effective_at: now, or the current end */
	bool has_effective_at;
	TimestampTz expires_at; /* only with has_expires_at: instead of the plan's duration */
	bool has_expires_at;
	int64 tokens;              /* 0: the plan's */
	const Amount *paid;        /* NULL: given without an order */
	const pg_uuid_t *order_id; /* NULL: given without an order */
	const char *key;           /* NULL: none */
} PeriodTerms;

typedef struct Subscription
{
	pg_uuid_t account_id;
	pg_uuid_t subscription_id;
	char *plan;
	PlanKind kind;
	TimestampTz effective_at;
	TimestampTz expires_at;
	TimestampTz anchor;
	bool has_anchor_duration;
	Interval anchor_duration;
	int64 anchor_periods;
	bool canceled;
	bool voided;
	bool ended; /* its end is written as an event */
	int32 periods;
	bool has_successor; /* replaced by it, or followed by it once its time is over */
	pg_uuid_t successor_id;
} Subscription;

extern bool subscription_read(Subscription *subscription, const pg_uuid_t *subscription_id);
extern bool subscription_held(Subscription *subscription, const pg_uuid_t *account,
							  const char *plan, TimestampTz now);
extern bool subscription_to_renew(Subscription *held, const Account *account, TimestampTz now,
								  const PeriodTerms *terms);
extern bool
subscription_in_the_way(const Account *account, const char *plan, TimestampTz effective_at,
						TimestampTz expires_at, const pg_uuid_t *but, TimestampTz *begins);
extern LOCKMODE subscription_token_mode(const Account *account, const char *plan);
extern void subscription_begin(pg_uuid_t *subscription_id, const Account *account, TimestampTz now,
							   const PeriodTerms *terms);
extern void subscription_renew(Subscription *subscription, const Account *account, TimestampTz now,
							   const PeriodTerms *terms);
extern void subscription_expected_time(const Account *account, TimestampTz now,
									   const Subscription *held, const PeriodTerms *terms,
									   TimestampTz *effective_at, TimestampTz *expires_at);

#endif /* BILLING_SUBSCRIPTION_H */
