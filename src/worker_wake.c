/*
 * worker_wake.c
 *	  Telling the launcher, at commit, of what falls due earlier than it knows.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "account.h"
#include "guard.h"
#include "settings.h"
#include "worker.h"
#include "worker_internal.h"

PG_FUNCTION_INFO_V1(billing_note_due);

/* A request older than that is not being served: its worker is away, or none could be started. */
#define PATIENCE (2 * USECS_PER_SEC)

static bool never_note = false;
static WorkerSlot *own_slot = NULL;
static TimestampTz pending = DT_NOEND;

/* For the worker itself, which looks anew at the end of each run. */
void
worker_never_note(void)
{
	never_note = true;
}

static void
find_own_slot(void)
{
	if (own_slot != NULL || never_note)
		return;
	worker_lock();
	own_slot = worker_slot_make(MyDatabaseId);
	worker_unlock();
}

/* NULL: the library is not preloaded, or there is no room. */
WorkerSlot *
worker_own_slot(void)
{
	if (worker_is_installed())
		find_own_slot();
	return own_slot;
}

/*
 * The slot is found here, where an error may be raised, so that the end of the
 * transaction has nothing left to do but compare and set. Subtransactions that
 * are rolled back are not told apart: being woken in vain does no harm.
 */
void
worker_note_due(TimestampTz due)
{
	if (never_note || !worker_is_installed() || TIMESTAMP_IS_NOEND(due))
		return;
	find_own_slot();
	pending = Min(pending, due);
}

static void
wake(void)
{
	Latch *latch = own_slot->latch;

	if (latch != NULL)
		SetLatch(latch);
	else
		worker_wake_launcher();
}

static void
tell(TimestampTz due)
{
	if (own_slot != NULL && worker_slot_lower(own_slot, due))
		wake();
}

/*
 * Whether the worker of this database can be relied on to look at accounts. In
 * the worker itself: no, as it asks nobody.
 */
bool
worker_attends(void)
{
	if (worker_own_slot() == NULL || !worker_enabled || !worker_has_launcher())
		return false;
	return !own_slot->skipped && worker_slot_upkeep(own_slot) > GetCurrentTimestamp() - PATIENCE;
}

/* At the end of a transaction: neither waits nor raises. */
void
worker_tell_upkeep(TimestampTz at)
{
	if (own_slot != NULL && worker_slot_lower_upkeep(own_slot, at))
		wake();
}

/*
 * Whoever runs COMMIT PREPARED is not told what it commits: from PREPARE on the
 * database is looked at whenever the launcher wakes by itself.
 */
static void
transaction_ended(XactEvent event, void *arg pg_attribute_unused())
{
	if (pending == DT_NOEND)
		return;
	if (event == XACT_EVENT_COMMIT)
		tell(pending);
	else if (event == XACT_EVENT_PREPARE)
		tell(Min(pending, GetCurrentTimestamp() + worker_naptime * USECS_PER_SEC));
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT)
		pending = DT_NOEND;
}

void
worker_init(void)
{
	RegisterXactCallback(transaction_ended, NULL);
}

/* By the clock of its account: a frozen one may be beyond it already. */
static TimestampTz
real_time(TimestampTz due, HeapTuple row, TupleDesc desc)
{
	bool isnull;
	int column = SPI_fnumber(desc, "account_id");
	Datum id;
	Account account;

	if (column <= 0)
		return due;
	id = heap_getattr(row, column, desc, &isnull);
	if (!isnull && account_read(&account, DatumGetUUIDP(id), GetLatestSnapshot()) &&
		account.has_test_clock && due <= account.test_clock)
		return GetCurrentTimestamp();
	return due;
}

/* A subscription's end is told of some time ahead. */
static void
note_announcement(HeapTuple row, TupleDesc desc, TimestampTz end)
{
	int column = SPI_fnumber(desc, "effective_at");
	TimestampTz due = end - settings_expiry_ahead * USECS_PER_SEC;
	bool isnull;
	Datum start;

	if (settings_expiry_ahead == 0 || column <= 0 || SPI_fnumber(desc, "announced") <= 0)
		return;
	start = heap_getattr(row, column, desc, &isnull);
	if (!isnull && DatumGetTimestampTz(start) < due)
		worker_note_due(real_time(due, row, desc));
}

/*
 * Trigger, BEFORE INSERT OR UPDATE, for each row: notes the times in the columns
 * named by its arguments; without arguments: now.
 */
Datum
billing_note_due(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guard_trigger_data(fcinfo, "note_due");
	HeapTuple row;
	TupleDesc desc;

	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	desc = RelationGetDescr(trigger->tg_relation);
	if (trigger->tg_trigger->tgnargs == 0)
		worker_note_due(GetCurrentTimestamp());
	for (int i = 0; i < trigger->tg_trigger->tgnargs; i++)
	{
		const char *name = trigger->tg_trigger->tgargs[i];
		int column = SPI_fnumber(desc, name);
		bool isnull;
		Datum due;

		if (column <= 0)
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
							errmsg("column \"%s\" does not exist", name)));
		due = heap_getattr(row, column, desc, &isnull);
		if (!isnull && !TIMESTAMP_IS_NOEND(DatumGetTimestampTz(due)))
		{
			worker_note_due(real_time(DatumGetTimestampTz(due), row, desc));
			if (strcmp(name, "expires_at") == 0)
				note_announcement(row, desc, DatumGetTimestampTz(due));
		}
	}
	return PointerGetDatum(row);
}
