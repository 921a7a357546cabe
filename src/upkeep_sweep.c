/*
 * upkeep_sweep.c
 *	  Finding the grants that have run low and that nobody tells of: after a
 *	  restart, when the queue was too short, and when the percentage is raised.
 *
 * Every account is passed once, in the order of ids, and looked at if a grant of
 * it is open and was not told of, and if something was taken from it since the
 * mark: a time such that whatever was taken before has been looked at. The mark
 * is a row of billing.low_balance_mark, which the worker writes from time to
 * time, so that a restart costs one probe an account and the tails of the few
 * that were in use lately.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "call.h"
#include "query.h"
#include "settings.h"
#include "upkeep.h"
#include "worker_internal.h"

/* The mark is looked at no more often; what has ended is in the queue by then. */
#define MARK_PAUSE (worker_naptime * USECS_PER_SEC)

/* What this transaction has passed. */
static Sweep pending;

static void transaction_ended(XactEvent event, void *arg);

/* What is prepared is in no snapshot and may be older than the mark: then every account counts. */
static SqlQuery select_since = {
	.sql = "SELECT through FROM billing.low_balance_mark WHERE percent >= $1 AND NOT EXISTS "
		   "(SELECT FROM pg_catalog.pg_prepared_xacts WHERE database = "
		   "pg_catalog.current_database())",
	.nargs = 1,
	.argtypes = {INT4OID}};

static SqlQuery select_portion = {
	.sql = "SELECT a.account_id, (EXISTS (SELECT FROM billing.subscription s "
		   "WHERE s.account_id = a.account_id AND s.kind = 'token' AND NOT s.void "
		   "AND s.effective_at <= coalesce(a.test_clock, $2) "
		   "AND s.expires_at > coalesce(a.test_clock, $2)) "
		   "OR EXISTS (SELECT FROM billing.token_grant g "
		   "WHERE g.account_id = a.account_id AND g.voided_at IS NULL "
		   "AND g.expires_at > coalesce(a.test_clock, $2) AND NOT EXISTS (SELECT "
		   "FROM billing.low_balance b WHERE b.account_id = g.account_id "
		   "AND b.grant_id = g.grant_id))) AND (a.test_clock IS NOT NULL OR $3 = '-infinity' OR "
		   "coalesce((SELECT l.occurred_at FROM billing.ledger l WHERE l.account_id = "
		   "a.account_id ORDER BY l.entry_no DESC LIMIT 1) >= $3, false)) "
		   "FROM (SELECT account_id, test_clock FROM billing.account WHERE account_id > $1 "
		   "ORDER BY account_id LIMIT $4) a ORDER BY a.account_id",
	.nargs = 4,
	.argtypes = {UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}};

static SqlQuery write_mark = {
	.sql = "INSERT INTO billing.low_balance_mark AS m (through, percent) VALUES ($1, $2) "
		   "ON CONFLICT (single) DO UPDATE SET through = excluded.through, "
		   "percent = excluded.percent",
	.nargs = 2,
	.argtypes = {TIMESTAMPTZOID, INT4OID}};

/* False: every account has been looked at, or the setting is off. */
bool
sweep_begin(Sweep *sweep, WorkerSlot *slot)
{
	memset(sweep, 0, sizeof(*sweep));
	if (slot == NULL || settings_low_balance_percent == 0)
		return false;
	sweep->slot = slot;
	sweep->percent = settings_low_balance_percent;
	worker_lock();
	sweep->reason = slot->sweep_reason;
	if (slot->sweeping == sweep->percent)
		sweep->after = slot->swept_through;
	slot->sweeping = sweep->percent;
	sweep->finished = slot->swept_reason == slot->sweep_reason && slot->swept >= sweep->percent;
	worker_unlock();
	return !sweep->finished;
}

static TimestampTz
since(const Sweep *sweep)
{
	if (query_execute(&select_since, (NullableDatum[]){arg_int32(sweep->percent)}) == 0)
		return DT_NOBEGIN;
	return query_time(0, 1);
}

/*
 * Passes the next accounts, within the caller's transaction; returns how many of
 * them want a look.
 */
int
sweep_portion(Sweep *sweep, pg_uuid_t *list)
{
	Call call;
	TimestampTz from;
	int passed;
	int count = 0;

	call_enter(&call);
	from = since(sweep);
	passed = (int) query_execute(
		&select_portion, (NullableDatum[]){arg_uuid(&sweep->after), arg_time(GetCurrentTimestamp()),
										   arg_time(from), arg_int64(SWEEP_PORTION)});
	for (int i = 0; i < passed; i++)
	{
		sweep->after = query_uuid(i, 1);
		if (query_bool(i, 2))
			list[count++] = sweep->after;
	}
	call_leave(&call);
	sweep->finished = passed < SWEEP_PORTION;
	if (pending.slot == NULL)
		RegisterXactCallback(transaction_ended, NULL);
	pending = *sweep;
	return count;
}

/* Unless it has to begin anew. */
static void
record(const Sweep *sweep)
{
	WorkerSlot *slot = sweep->slot;

	worker_lock();
	if (slot->sweep_reason == sweep->reason && slot->sweeping == sweep->percent)
	{
		slot->swept_through = sweep->after;
		if (sweep->finished)
		{
			slot->swept_reason = sweep->reason;
			slot->swept = sweep->percent;
			slot->sweeping = 0;
		}
	}
	worker_unlock();
}

static void
transaction_ended(XactEvent event, void *arg pg_attribute_unused())
{
	if (event == XACT_EVENT_COMMIT && pending.percent > 0)
		record(&pending);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		pending.percent = 0;
}

/* Somebody could not tell: from the first account again. */
void
sweep_again(WorkerSlot *slot)
{
	if (slot == NULL)
		return;
	worker_lock();
	slot->sweep_reason++;
	slot->sweeping = 0;
	slot->mark_at = 0;
	worker_unlock();
}

/*
 * Instead of serving requests where rows come from another server: what they ask
 * for is written there and arrives. Once this server is on its own, every account
 * is passed.
 */
void
sweep_leave_to_origin(WorkerSlot *slot, const UpkeepRequest *list, int count)
{
	for (int i = 0; i < count; i++)
		upkeep_served(&list[i], false);
	sweep_again(slot);
}

/*
 * By the launcher, when the settings are read again. Who spent under a lower
 * percentage did not notice what a higher one calls low.
 */
void
sweep_percentage_changed(void)
{
	worker_lock();
	for (int i = 0; i < worker_slot_count(); i++)
	{
		WorkerSlot *slot = worker_slot(i);

		if (!OidIsValid(slot->database))
			continue;
		if (slot->swept < settings_low_balance_percent)
			(void) worker_slot_lower_upkeep(slot, GetCurrentTimestamp());
		slot->swept = Min(slot->swept, settings_low_balance_percent);
	}
	worker_unlock();
}

/*
 * What was taken before a time has been looked at once every transaction that
 * was in progress then has ended, and has had a moment to put its notes into the
 * queue, and the queue is empty. Whether to look at that now; served: there is
 * something new to be marked.
 */
bool
mark_is_due(WorkerSlot *slot, bool served)
{
	TimestampTz now = GetCurrentTimestamp();

	if (slot->swept_reason != slot->sweep_reason)
		return false;
	if (slot->mark_at != 0)
		return now >= slot->mark_next;
	if (served)
	{
		slot->mark_at = now;
		slot->mark_xid = XidFromFullTransactionId(ReadNextFullTransactionId());
		slot->mark_next = now + MARK_PAUSE;
		slot->mark_decided = false;
	}
	return false;
}

/* In a transaction of the worker. */
void
mark_advance(WorkerSlot *slot)
{
	Call call;

	slot->mark_next = GetCurrentTimestamp() + MARK_PAUSE;
	if (!slot->mark_decided)
		slot->mark_decided =
			TransactionIdPrecedesOrEquals(slot->mark_xid, GetLatestSnapshot()->xmin);
	else if (TIMESTAMP_IS_NOEND(upkeep_next(MyDatabaseId)))
	{
		call_enter(&call);
		query_execute(&write_mark,
					  (NullableDatum[]){arg_time(slot->mark_at), arg_int32(slot->swept)});
		call_leave(&call);
		slot->mark_at = 0;
	}
}
