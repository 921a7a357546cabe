/*
 * expiry.h
 *	  Writing down what time has already brought about.
 */
#ifndef BILLING_EXPIRY_H
#define BILLING_EXPIRY_H

#include "account.h"
#include "event.h"
#include "plan.h"

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
