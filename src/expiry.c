/*
 * expiry.c
 *	  Writing down what time has already brought about.
 *
 * Checks derive access from time and balance; what happens here only makes it
 * visible: subscription_expired or subscription_replaced for every subscription
 * whose time is over, tokens_exhausted for every token plan that was lost when a
 * grant of its own ended, free_plan_assigned once per loss of the last plan in
 * force, subscription_started for what was scheduled, order_lapsed for what was not
 * paid, each in due order and dated at the instant it was due.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/snapmgr.h"

#include "event.h"
#include "exhaustion.h"
#include "expiry.h"
#include "grant_end.h"
#include "holding.h"
#include "order.h"
#include "query.h"
#include "settings.h"

/* The kinds of what is due, in the order in which they come at the same instant. */
#define DUE_ANNOUNCE 0
#define DUE_END      1
#define DUE_GRANT    2
#define DUE_START    3
#define DUE_LAPSE    4

#define ANNOUNCED_AT "greatest(expires_at, " SETTINGS_FIRST_TIME " + $3) - $3"

static SqlQuery select_due_of_account = {
	.sql =
		"SELECT 1 AS kind, subscription_id AS id, plan, expires_at AS at, "
		"replaced_by IS NOT NULL FROM billing.subscription "
		"WHERE account_id = $1 AND ended_at IS NULL AND NOT void AND expires_at <= $2 "
		"UNION ALL SELECT 2, subscription_id, plan, grant_ends_at, false FROM billing.subscription "
		"WHERE account_id = $1 AND ended_at IS NULL AND NOT void AND grant_ends_at <= $2 "
		"UNION ALL SELECT 3, subscription_id, plan, effective_at, false FROM billing.subscription "
		"WHERE account_id = $1 AND started_at IS NULL AND NOT void AND effective_at <= $2 "
		"UNION ALL SELECT 4, order_id, plan, expires_at, false FROM billing.plan_order "
		"WHERE account_id = $1 AND status = 'open' AND expires_at <= $2 "
		"UNION ALL SELECT 0, subscription_id, plan, " ANNOUNCED_AT
		", false FROM billing.subscription s "
		"WHERE account_id = $1 AND ended_at IS NULL AND NOT void AND replaced_by IS NULL "
		"AND announced IS DISTINCT FROM expires_at AND $3 > interval '0' AND isfinite(expires_at) "
		"AND " ANNOUNCED_AT " > effective_at "
		"AND expires_at <= least($2, " SETTINGS_LAST_TIME " - $3) + $3 "
		"AND NOT " EXPIRY_FOLLOWED("s") " "
										"ORDER BY at, kind, id LIMIT 1",
	.nargs = 3,
	.argtypes = {UUIDOID, TIMESTAMPTZOID, INTERVALOID}};

static SqlQuery mark_started = {
	.sql = "UPDATE billing.subscription SET started_at = effective_at WHERE account_id = $1 AND "
		   "subscription_id = $2",
	.nargs = 2,
	.argtypes = {UUIDOID, UUIDOID}};

static SqlQuery mark_announced = {
	.sql = "UPDATE billing.subscription SET announced = expires_at WHERE account_id = $1 AND "
		   "subscription_id = $2",
	.nargs = 2,
	.argtypes = {UUIDOID, UUIDOID}};

static SqlQuery mark_ended = {
	.sql = "UPDATE billing.subscription SET ended_at = expires_at WHERE account_id = $1 AND "
		   "subscription_id = $2",
	.nargs = 2,
	.argtypes = {UUIDOID, UUIDOID}};

/*
 * Whether a subscription of the account was in force at the instant. Being
 * suspended is not a loss of the plan.
 */
bool
expiry_any_in_force(const Account *account, TimestampTz at)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Account unsuspended = *account;
	Holdings holdings;
	bool found;

	unsuspended.suspended = false;
	holding_load_past(&holdings, &unsuspended, at, snapshot);
	found = holding_any_in_force(&holdings, NULL, NULL);
	UnregisterSnapshot(snapshot);
	return found;
}

/*
 * Whether the subscription was in force at the instant, or has been lost before and
 * that is not told of: then it is now. A token plan that was empty before its end
 * was lost when it became empty.
 */
static bool
was_in_force(const Account *account, const pg_uuid_t *subscription_id, TimestampTz at,
			 bool or_untold)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Account unsuspended = *account;
	Holdings holdings;
	bool found = false;

	unsuspended.suspended = false;
	holding_load_past(&holdings, &unsuspended, at, snapshot);
	for (int i = 0; i < holdings.count; i++)
		if (memcmp(holdings.items[i].subscription_id.data, subscription_id->data, UUID_LEN) == 0)
			found = holdings.items[i].in_force ||
					(or_untold && exhaustion_is_untold(&holdings, subscription_id));
	UnregisterSnapshot(snapshot);
	return found;
}

/* Of the event free_plan_assigned; free_plan NULL: there is none in the catalogue. */
void
expiry_describe_loss(EventDetail *detail, const PlanVersion *free_plan, const char *why)
{
	event_detail_begin(detail);
	event_detail_text(detail, "plan", free_plan == NULL ? NULL : free_plan->code);
	event_detail_text(detail, "because", why);
}

/* Of the events of a subscription that starts or ends. */
void
expiry_describe_subscription(EventDetail *detail, const pg_uuid_t *id, const char *plan)
{
	event_detail_begin(detail);
	event_detail_uuid(detail, "subscription_id", id);
	event_detail_text(detail, "plan", plan);
}

void
expiry_free_plan_assigned(const Account *account, TimestampTz at, const char *why)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	PlanVersion *free_plan = plan_free(snapshot);
	EventDetail detail;

	UnregisterSnapshot(snapshot);
	expiry_describe_loss(&detail, free_plan, why);
	event_write(&account->id, "free_plan_assigned", at, &detail);
}

/* free_plan_assigned, unless another plan is in force at that instant. */
void
expiry_plan_lost(const Account *account, TimestampTz at, const char *why)
{
	if (!expiry_any_in_force(account, at))
		expiry_free_plan_assigned(account, at, why);
}

/* One thing that is due. */
typedef struct Due
{
	int kind;
	pg_uuid_t id; /* of the subscription or the order */
	char *plan;
	TimestampTz at;
	bool replaced;
} Due;

static bool
next_due(Due *due, const Account *account, TimestampTz now)
{
	Interval ahead = {.time = settings_expiry_ahead * USECS_PER_SEC};

	if (query_execute(&select_due_of_account,
					  (NullableDatum[]){arg_uuid(&account->id), arg_time(now),
										arg_datum(IntervalPGetDatum(&ahead))}) == 0)
		return false;
	due->kind = query_int32(0, 1);
	due->id = query_uuid(0, 2);
	due->plan = query_text(0, 3);
	due->at = query_time(0, 4);
	due->replaced = query_bool(0, 5);
	return true;
}

static void
write_event(const Account *account, const char *kind, const Due *due)
{
	EventDetail detail;

	expiry_describe_subscription(&detail, &due->id, due->plan);
	event_write(&account->id, kind, due->at, &detail);
}

/* Returns whether the plan was in force until then. */
static bool
end_subscription(const Account *account, const Due *due)
{
	bool was = was_in_force(account, &due->id, due->at - 1, true);

	query_execute(&mark_ended, (NullableDatum[]){arg_uuid(&account->id), arg_uuid(&due->id)});
	write_event(account, due->replaced ? "subscription_replaced" : "subscription_expired", due);
	if (due->replaced)
		order_close_overtaken(&account->id, &due->id, NULL, due->at);
	return was;
}

/* Returns whether the plan was lost by it. */
static bool
end_grant(const Account *account, const Due *due)
{
	bool lost = was_in_force(account, &due->id, due->at - 1, true) &&
				!was_in_force(account, &due->id, due->at, false);

	grant_end_passed(&account->id, &due->id, due->at);
	if (lost)
	{
		write_event(account, "tokens_exhausted", due);
		exhaustion_told(&account->id, &due->id);
	}
	return lost;
}

/* Once for each end: a renewal moves it. */
static void
announce_end(const Account *account, const Due *due)
{
	EventDetail detail;

	query_execute(&mark_announced, (NullableDatum[]){arg_uuid(&account->id), arg_uuid(&due->id)});
	expiry_describe_subscription(&detail, &due->id, due->plan);
	event_detail_time(&detail, "expires_at", due->at + settings_expiry_ahead * USECS_PER_SEC);
	event_write(&account->id, "subscription_expiring", due->at, &detail);
}

static void
start_subscription(const Account *account, const Due *due)
{
	query_execute(&mark_started, (NullableDatum[]){arg_uuid(&account->id), arg_uuid(&due->id)});
	write_event(account, "subscription_started", due);
}

static void
write_due(const Account *account, const Due *due)
{
	if (due->kind == DUE_START)
		start_subscription(account, due);
	else if (due->kind == DUE_ANNOUNCE)
		announce_end(account, due);
	else
		order_lapsed(&account->id, &due->id, due->at);
}

/*
 * Everything of one account that is due by now, in due order. The caller is
 * inside a call and holds the account's plan lock. Returns the number of rows.
 */
int64
expiry_run_account(const Account *account, TimestampTz now)
{
	int64 done = 0;
	TimestampTz lost_at = DT_NOBEGIN;
	const char *lost_by = NULL;
	Due due;

	while (next_due(&due, account, now))
	{
		bool may_lose = due.kind == DUE_END || due.kind == DUE_GRANT;

		/* several that end at one instant are one loss */
		if (lost_by != NULL && (due.at > lost_at || !may_lose))
		{
			expiry_plan_lost(account, lost_at, lost_by);
			lost_by = NULL;
		}
		if (!may_lose)
			write_due(account, &due);
		else if (due.kind == DUE_END ? end_subscription(account, &due) : end_grant(account, &due))
		{
			lost_by = due.kind == DUE_END ? "package_expired" : "tokens_exhausted";
			lost_at = due.at;
		}
		done++;
	}
	if (lost_by != NULL)
		expiry_plan_lost(account, lost_at, lost_by);
	return done;
}
