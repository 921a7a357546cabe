/*
 * holding.h
 *	  The plans an account holds at one instant, and which of them are in force.
 */
#ifndef BILLING_HOLDING_H
#define BILLING_HOLDING_H

#include "account.h"
#include "balance.h"
#include "plan.h"
#include "reason.h"

typedef struct Holding
{
	pg_uuid_t subscription_id;
	char *plan;
	int32 version;
	PlanKind kind;
	bool covers_every_app;
	PermissionSet apps;
	TimestampTz effective_at; /* of the period that covers now */
	TimestampTz expires_at;   /* of the subscription: its last period's end */
	bool in_force;
} Holding;

typedef struct Holdings
{
	const Account *account;
	TimestampTz now;
	Snapshot snapshot;
	bool past; /* balances are as they were then */
	int count;
	Holding *items; /* whose time covers now, in force or empty */
	bool balances_loaded;
	bool overdue_returned; /* in the balances: holds that are over keep nothing, written or not */
	Balances balances;
} Holdings;

extern void
holding_load(Holdings *holdings, const Account *account, TimestampTz now, Snapshot snapshot);
extern void
holding_load_due(Holdings *holdings, const Account *account, TimestampTz now, Snapshot snapshot);
extern void holding_return_overdue(Holdings *holdings);
extern void holding_load_undecided(Holdings *holdings, const Account *account, TimestampTz now,
								   Snapshot snapshot);
extern void
holding_load_past(Holdings *holdings, const Account *account, TimestampTz at, Snapshot snapshot);
extern const Balances *holding_balances(Holdings *holdings);
extern bool holding_covers(const Holding *holding, const char *app);
extern bool holding_any_in_force(const Holdings *holdings, const char *app, const char *plan);
extern bool holding_is_empty(const Holdings *holdings, const pg_uuid_t *subscription);
extern const Holding *holding_longest(const Holdings *holdings, const char *app);
extern Reason holding_why_none(Holdings *holdings, const char *app);
extern PlanVersion *holding_version(const Holdings *holdings, const Holding *holding);

#endif /* BILLING_HOLDING_H */
