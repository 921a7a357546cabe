/*
 * expiry_batch.c
 *	  What is due for many accounts, written down together.
 *
 * Most of what falls due is simple: a subscription ends, and nothing else of its
 * account is in force then, scheduled or due. Those are done together; every
 * other account is left to expiry_run_account(), which writes the same rows.
 */
#include "postgres.h"

#include "utils/snapmgr.h"

#include "event.h"
#include "expiry.h"
#include "hold.h"
#include "outbox.h"
#include "plan.h"
#include "probe.h"
#include "settings.h"
#include "writer.h"

typedef struct SimpleEnd
{
	ItemPointerData row;
	pg_uuid_t account_id;
	pg_uuid_t subscription_id;
	char *plan;
	TimestampTz at;
} SimpleEnd;

typedef struct SimpleEnds
{
	int count;
	SimpleEnd *items;
} SimpleEnds;

/* What an account's row says; reading goes on while it is simple. */
static bool
has_real_clock(const pg_uuid_t *account, Snapshot snapshot)
{
	Account row;

	return account_read(&row, account, snapshot) && !row.has_test_clock;
}

static bool
is_open(Probe *probe)
{
	return !probe_bool(probe, SUBSCRIPTION_VOID) && (probe_is_null(probe, SUBSCRIPTION_ENDED_AT) ||
													 probe_is_null(probe, SUBSCRIPTION_STARTED_AT));
}

static bool
is_announced(Probe *probe)
{
	TimestampTz end = probe_time(probe, SUBSCRIPTION_EXPIRES_AT);

	return settings_expiry_ahead == 0 ||
		   end - settings_expiry_ahead * USECS_PER_SEC <=
			   probe_time(probe, SUBSCRIPTION_EFFECTIVE_AT) ||
		   (!probe_is_null(probe, SUBSCRIPTION_ANNOUNCED) &&
			probe_time(probe, SUBSCRIPTION_ANNOUNCED) == end);
}

static bool
ends_simply(Probe *probe, TimestampTz now)
{
	return probe_time(probe, SUBSCRIPTION_EXPIRES_AT) <= now &&
		   !probe_is_null(probe, SUBSCRIPTION_STARTED_AT) &&
		   probe_is_null(probe, SUBSCRIPTION_REPLACED_BY) && is_announced(probe) &&
		   strcmp(probe_text(probe, SUBSCRIPTION_KIND), "subscription") == 0;
}

/* The account's only subscription that is not written down to its end, if it is a simple one. */
static bool
find_subscription(SimpleEnd *end, TimestampTz now, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	bool simple = true;
	int open = 0;

	probe_key_uuid(&key, 1, &end->account_id);
	probe_begin(&probe, INDEX_SUBSCRIPTION_PKEY, snapshot, &key, 1);
	while (simple && probe_next(&probe))
	{
		if (!is_open(&probe))
			continue;
		simple = ++open == 1 && ends_simply(&probe, now);
		end->row = probe.slot->tts_tid;
		end->subscription_id = probe_uuid(&probe, SUBSCRIPTION_SUBSCRIPTION_ID);
		end->plan = probe_text(&probe, SUBSCRIPTION_PLAN);
		end->at = probe_time(&probe, SUBSCRIPTION_EXPIRES_AT);
	}
	probe_end(&probe);
	return simple && open == 1;
}

/* With no period that ends later nothing is in force after it; a time plan was until then. */
static bool
is_last_period(const SimpleEnd *end, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData keys[2];
	bool found = false;
	bool later = false;

	probe_key_uuid(&keys[0], 1, &end->account_id);
	probe_key_time(&keys[1], 2, BTGreaterEqualStrategyNumber, end->at);
	probe_begin(&probe, INDEX_PERIOD_TIME, snapshot, keys, 2);
	while (!later && probe_next(&probe))
	{
		pg_uuid_t id = probe_uuid(&probe, PERIOD_SUBSCRIPTION_ID);

		if (probe_bool(&probe, PERIOD_VOID))
			continue;
		later = probe_time(&probe, PERIOD_EXPIRES_AT) > end->at;
		found |= memcmp(id.data, end->subscription_id.data, UUID_LEN) == 0;
	}
	probe_end(&probe);
	return found && !later;
}

static bool
any_order_due(const pg_uuid_t *account, TimestampTz now, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	bool found = false;

	probe_key_uuid(&key, 1, account);
	probe_begin(&probe, INDEX_ORDER_PKEY, snapshot, &key, 1);
	while (!found && probe_next(&probe))
		found =
			probe_is_null(&probe, ORDER_CLOSED_AT) && probe_time(&probe, ORDER_EXPIRES_AT) <= now;
	probe_end(&probe);
	return found;
}

static void
find_simple(SimpleEnds *ends, const pg_uuid_t *accounts, int count, TimestampTz now, bool *finished)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());

	ends->count = 0;
	ends->items = palloc(sizeof(SimpleEnd) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		SimpleEnd *end = &ends->items[ends->count];

		end->account_id = accounts[i];
		finished[i] = has_real_clock(&accounts[i], snapshot) &&
					  find_subscription(end, now, snapshot) && is_last_period(end, snapshot) &&
					  !any_order_due(&accounts[i], now, snapshot) &&
					  !hold_any_overdue(&accounts[i]);
		ends->count += finished[i];
	}
	UnregisterSnapshot(snapshot);
}

/* False, and nothing is done: somebody's trigger must see each change. */
static bool
mark(const SimpleEnds *ends)
{
	Writer writer;
	bool foreign;

	writer_begin(&writer, TABLE_SUBSCRIPTION);
	foreign = writer_has_foreign_update_triggers(writer.table);
	for (int i = 0; i < ends->count && !foreign; i++)
		writer_set(&writer, &ends->items[i].row, SUBSCRIPTION_ENDED_AT,
				   TimestampTzGetDatum(ends->items[i].at));
	writer_end(&writer);
	return !foreign;
}

static void
write_events(const SimpleEnds *ends)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	PlanVersion *free_plan = plan_free(snapshot);
	EventDetail detail;
	Writer writer;

	UnregisterSnapshot(snapshot);
	writer_begin(&writer, TABLE_EVENT);
	for (int i = 0; i < ends->count; i++)
	{
		const SimpleEnd *end = &ends->items[i];

		expiry_describe_subscription(&detail, &end->subscription_id, end->plan);
		event_insert(&writer, &end->account_id, "subscription_expired", end->at, &detail);
		expiry_describe_loss(&detail, free_plan, "package_expired");
		event_insert(&writer, &end->account_id, "free_plan_assigned", end->at, &detail);
		outbox_notify(&end->account_id);
	}
	writer_end(&writer);
}

/*
 * Of count accounts, each once, those for which nothing but a simple end is due
 * by now; says in finished which these are, returns how many. The caller is
 * inside a call and holds the accounts' plan locks.
 */
int64
expiry_run_simple(const pg_uuid_t *accounts, int count, TimestampTz now, bool *finished)
{
	SimpleEnds ends;

	find_simple(&ends, accounts, count, now, finished);
	if (ends.count == 0)
		return 0;
	if (!mark(&ends))
	{
		memset(finished, 0, sizeof(bool) * count);
		return 0;
	}
	write_events(&ends);
	return ends.count;
}
