/*
 * holding.c
 *	  The plans an account holds at one instant, and which of them are in force.
 *
 * A plan is in force when effective_at <= now < expires_at, the account is not
 * suspended, and, for a token plan, while a grant of its own has tokens neither
 * used nor held.
 */
#include "postgres.h"

#include "held.h"
#include "holding.h"
#include "probe.h"

static Holding *
find_subscription(Holdings *holdings, const pg_uuid_t *id)
{
	for (int i = 0; i < holdings->count; i++)
		if (memcmp(holdings->items[i].subscription_id.data, id->data, UUID_LEN) == 0)
			return &holdings->items[i];
	return NULL;
}

static void
add_holding(Holdings *holdings, Probe *probe)
{
	Holding *item;
	char *kind;

	if (holdings->items == NULL)
		holdings->items = palloc(sizeof(Holding));
	else
		holdings->items = repalloc(holdings->items, sizeof(Holding) * (holdings->count + 1));
	item = &holdings->items[holdings->count++];
	memset(item, 0, sizeof(*item));
	item->subscription_id = probe_uuid(probe, PERIOD_SUBSCRIPTION_ID);
	item->plan = probe_text(probe, PERIOD_PLAN);
	item->version = DatumGetInt32(probe_datum(probe, PERIOD_VERSION));
	kind = probe_text(probe, PERIOD_KIND);
	if (!plan_kind_from_name(kind, &item->kind))
		elog(ERROR, "a period has the unknown kind \"%s\"", kind);
	item->covers_every_app = probe_is_null(probe, PERIOD_APPS);
	if (!item->covers_every_app)
		item->apps = permission_set_from_array(probe_datum(probe, PERIOD_APPS));
	item->effective_at = probe_time(probe, PERIOD_EFFECTIVE_AT);
	item->expires_at = probe_time(probe, PERIOD_EXPIRES_AT);
}

static void
decide_in_force(Holdings *holdings)
{
	for (int i = 0; i < holdings->count; i++)
	{
		Holding *item = &holdings->items[i];

		item->in_force = !holdings->account->suspended &&
						 (item->kind == PLAN_SUBSCRIPTION ||
						  balance_has_tokens_of(holding_balances(holdings), &item->subscription_id,
												holdings->now));
	}
}

/*
 * Reads the periods that end after now, by their ends: the one that covers now
 * comes before its renewals, which only move the subscription's end.
 */
static void
load_periods(Holdings *holdings)
{
	Probe probe;
	ScanKeyData keys[2];

	probe_key_uuid(&keys[0], 1, &holdings->account->id);
	probe_key_time(&keys[1], 2, BTGreaterStrategyNumber, holdings->now);
	probe_begin(&probe, INDEX_PERIOD_TIME, holdings->snapshot, keys, 2);
	while (probe_next(&probe))
	{
		pg_uuid_t id = probe_uuid(&probe, PERIOD_SUBSCRIPTION_ID);
		Holding *known = find_subscription(holdings, &id);

		if (probe_bool(&probe, PERIOD_VOID))
			continue;
		if (known != NULL)
			known->expires_at = probe_time(&probe, PERIOD_EXPIRES_AT);
		else if (probe_time(&probe, PERIOD_EFFECTIVE_AT) <= holdings->now)
			add_holding(holdings, &probe);
	}
	probe_end(&probe);
}

static void
begin(Holdings *holdings, const Account *account, TimestampTz now, Snapshot snapshot)
{
	memset(holdings, 0, sizeof(*holdings));
	holdings->account = account;
	holdings->now = now;
	holdings->snapshot = snapshot;
}

void
holding_load(Holdings *holdings, const Account *account, TimestampTz now, Snapshot snapshot)
{
	begin(holdings, account, now, snapshot);
	load_periods(holdings);
	decide_in_force(holdings);
}

/* The same as if all that is due by then were written down: holds that are over keep nothing. */
void
holding_load_due(Holdings *holdings, const Account *account, TimestampTz now, Snapshot snapshot)
{
	begin(holdings, account, now, snapshot);
	holdings->overdue_returned = true;
	load_periods(holdings);
	decide_in_force(holdings);
}

/*
 * The same as it was at an instant, whatever was used or came back since. Of an account
 * whose test clock was taken back nobody can tell which of its rows came later.
 */
void
holding_load_past(Holdings *holdings, const Account *account, TimestampTz at, Snapshot snapshot)
{
	begin(holdings, account, at, snapshot);
	holdings->overdue_returned = true;
	holdings->past = account->has_test_clock || !account->is_test;
	load_periods(holdings);
	decide_in_force(holdings);
}

/* From now on as holding_load_due() has it: for who asked without, which costs less, and was told no. */
void
holding_return_overdue(Holdings *holdings)
{
	holdings->overdue_returned = true;
	if (holdings->balances_loaded)
		held_return_overdue(&holdings->balances, &holdings->account->id, holdings->now,
							holdings->snapshot);
	decide_in_force(holdings);
}

/* The same with tokens that others are taking, in transactions still in progress, counted as taken. */
void
holding_load_undecided(Holdings *holdings, const Account *account, TimestampTz now,
					   Snapshot snapshot)
{
	begin(holdings, account, now, snapshot);
	balance_load_undecided(&holdings->balances, &account->id, now);
	holdings->balances_loaded = true;
	load_periods(holdings);
	decide_in_force(holdings);
}

static void
load_balances(Holdings *holdings)
{
	const Account *account = holdings->account;

	balance_load(&holdings->balances, &account->id, holdings->now, holdings->snapshot);
	if (holdings->past)
		balance_rewind(&holdings->balances, &account->id, holdings->now, !account->has_test_clock,
					   holdings->snapshot);
	if (holdings->overdue_returned)
		held_return_overdue(&holdings->balances, &account->id, holdings->now, holdings->snapshot);
}

/* Balances of the grants that have not expired, read when first asked for. */
const Balances *
holding_balances(Holdings *holdings)
{
	if (!holdings->balances_loaded)
		load_balances(holdings);
	holdings->balances_loaded = true;
	return &holdings->balances;
}

/* app NULL: any. */
bool
holding_covers(const Holding *holding, const char *app)
{
	return permission_apps_cover(holding->covers_every_app, &holding->apps, app);
}

/* app and plan, where given, must match the same holding. */
bool
holding_any_in_force(const Holdings *holdings, const char *app, const char *plan)
{
	for (int i = 0; i < holdings->count; i++)
	{
		const Holding *item = &holdings->items[i];

		if (item->in_force && holding_covers(item, app) &&
			(plan == NULL || strcmp(item->plan, plan) == 0))
			return true;
	}
	return false;
}

/* Whether the subscription is in its time and not in force. */
bool
holding_is_empty(const Holdings *holdings, const pg_uuid_t *subscription)
{
	for (int i = 0; i < holdings->count; i++)
		if (memcmp(holdings->items[i].subscription_id.data, subscription->data, UUID_LEN) == 0)
			return !holdings->items[i].in_force;
	return false;
}

/* The one in force that lasts longest, then by code; NULL: none. */
const Holding *
holding_longest(const Holdings *holdings, const char *app)
{
	const Holding *best = NULL;

	for (int i = 0; i < holdings->count; i++)
	{
		const Holding *item = &holdings->items[i];

		if (!item->in_force || !holding_covers(item, app))
			continue;
		if (best == NULL || item->expires_at > best->expires_at ||
			(item->expires_at == best->expires_at && strcmp(item->plan, best->plan) < 0))
			best = item;
	}
	return best;
}

static bool
any_expired(const Holdings *holdings, const char *app)
{
	Probe probe;
	ScanKeyData keys[2];
	bool found = false;

	probe_key_uuid(&keys[0], 1, &holdings->account->id);
	probe_key_time(&keys[1], 2, BTLessEqualStrategyNumber, holdings->now);
	probe_begin(&probe, INDEX_PERIOD_TIME, holdings->snapshot, keys, 2);
	probe.direction = BackwardScanDirection;
	while (!found && probe_next(&probe))
	{
		bool every = probe_is_null(&probe, PERIOD_APPS);
		PermissionSet apps = {0};

		if (!every)
			apps = permission_set_from_array(probe_datum(&probe, PERIOD_APPS));
		found = !probe_bool(&probe, PERIOD_VOID) && permission_apps_cover(every, &apps, app);
	}
	probe_end(&probe);
	return found;
}

/* Why no plan that covers the app is in force, when none is. */
Reason
holding_why_none(Holdings *holdings, const char *app)
{
	for (int i = 0; i < holdings->count; i++)
		if (!holdings->items[i].in_force && holding_covers(&holdings->items[i], app))
			return REASON_TOKENS_EXHAUSTED;
	return any_expired(holdings, app) ? REASON_PACKAGE_EXPIRED : REASON_NO_ACTIVE_PLAN;
}

PlanVersion *
holding_version(const Holdings *holdings, const Holding *holding)
{
	PlanVersion *plan = plan_version_read(holding->plan, holding->version, holdings->snapshot);

	if (plan == NULL)
		elog(ERROR, "version %d of plan \"%s\" does not exist", holding->version, holding->plan);
	return plan;
}
