/*
 * expiry.h
 *	  Writing down what time has already brought about.
 */
#ifndef BILLING_EXPIRY_H
#define BILLING_EXPIRY_H

#include "account.h"
#include "event.h"
#include "plan.h"

/*
 * Whether the subscription under that alias is followed without a gap, as the view
 * expiring_soon has it: by one of the same kind that covers its apps, begins after
 * it did and no later than it ends, and lasts longer.
 */
#define EXPIRY_FOLLOWED(alias)                                                                     \
	"EXISTS (SELECT FROM billing.subscription_period e JOIN billing.subscription_period f "        \
	"ON f.account_id = e.account_id JOIN billing.subscription n ON n.account_id = f.account_id "   \
	"AND n.subscription_id = f.subscription_id WHERE e.account_id = " alias                        \
	".account_id AND e.subscription_id = " alias ".subscription_id AND e.expires_at = " alias      \
	".expires_at AND NOT e.void AND NOT f.void AND f.kind = e.kind "                               \
	"AND (f.apps IS NULL OR e.apps <@ f.apps) AND f.effective_at <= " alias                        \
	".expires_at AND f.expires_at > " alias ".expires_at AND n.effective_at > " alias              \
	".effective_at)"

extern int64 expiry_run_account(const Account *account, TimestampTz now);
extern void expiry_free_plan_assigned(const Account *account, TimestampTz at, const char *why);
extern bool expiry_any_in_force(const Account *account, TimestampTz at);
extern void expiry_plan_lost(const Account *account, TimestampTz at, const char *why);
extern void
expiry_describe_loss(EventDetail *detail, const PlanVersion *free_plan, const char *why);
extern void
expiry_describe_subscription(EventDetail *detail, const pg_uuid_t *id, const char *plan);

/* expiry_batch.c */
extern int64
expiry_run_simple(const pg_uuid_t *accounts, int count, TimestampTz now, bool *finished);

#endif /* BILLING_EXPIRY_H */
