/*
 * worker_shared.c
 *	  What launcher, workers and sessions know of the databases, in shared memory.
 *
 * A slot's due time is only ever lowered, but for the worker that claims it: it
 * sets "nothing known" before it looks at the tables, and lowers that by what it
 * found. Whoever commits meanwhile is either seen by the worker or lowers it too.
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"

#include "upkeep.h"
#include "worker.h"
#include "worker_internal.h"

PG_FUNCTION_INFO_V1(billing_worker_databases);

typedef struct WorkerShared
{
	LWLock lock;
	Latch *volatile launcher; /* NULL: it is not running */
	bool full;                /* a database found no slot */
	volatile bool crowded;    /* something is due, but all workers allowed are busy */
	volatile bool stopped;    /* the launcher has seen that billing.worker is off */
	int count;
	WorkerSlot slot[FLEXIBLE_ARRAY_MEMBER];
} WorkerShared;

static WorkerShared *shared = NULL;
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static Size
shared_size(void)
{
	return add_size(offsetof(WorkerShared, slot), mul_size(worker_databases, sizeof(WorkerSlot)));
}

static void
request_memory(void)
{
	if (previous_request_hook != NULL)
		previous_request_hook();
	RequestAddinShmemSpace(shared_size());
	RequestAddinShmemSpace(upkeep_shared_size());
}

static void
startup(void)
{
	bool found;

	if (previous_startup_hook != NULL)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("billing worker", shared_size(), &found);
	if (!found)
	{
		memset(shared, 0, shared_size());
		LWLockInitialize(&shared->lock, LWLockNewTrancheId());
		shared->count = worker_databases;
		for (int i = 0; i < shared->count; i++)
			worker_slot_free(&shared->slot[i]);
	}
	upkeep_startup();
	LWLockRelease(AddinShmemInitLock);
	LWLockRegisterTranche(shared->lock.tranche, "BillingWorker");
}

/* Called by worker_install(), which registers the launcher too. */
void
worker_install_hooks(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup;
}

bool
worker_is_installed(void)
{
	return shared != NULL;
}

void
worker_lock(void)
{
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
}

void
worker_unlock(void)
{
	LWLockRelease(&shared->lock);
}

int
worker_slot_count(void)
{
	return shared->count;
}

WorkerSlot *
worker_slot(int number)
{
	return &shared->slot[number];
}

/* The caller holds the lock. */
WorkerSlot *
worker_slot_find(Oid database)
{
	for (int i = 0; i < shared->count; i++)
		if (shared->slot[i].database == database)
			return &shared->slot[i];
	return NULL;
}

/*
 * The caller holds the lock. A new slot is due at once: what else there is in
 * that database, nobody has told. NULL: all are taken.
 */
WorkerSlot *
worker_slot_make(Oid database)
{
	WorkerSlot *slot = worker_slot_find(database);

	if (slot != NULL)
		return slot;
	slot = worker_slot_find(InvalidOid);
	if (slot == NULL)
	{
		shared->full = true;
		return NULL;
	}
	worker_slot_free(slot);
	slot->database = database;
	pg_atomic_write_u64(&slot->due, (uint64) GetCurrentTimestamp());
	worker_wake_launcher();
	return slot;
}

/* The caller holds the lock. */
void
worker_slot_free(WorkerSlot *slot)
{
	if (OidIsValid(slot->database))
		upkeep_forget(slot->database);
	memset(slot, 0, sizeof(WorkerSlot));
	pg_atomic_init_u64(&slot->due, (uint64) DT_NOEND);
	pg_atomic_init_u64(&slot->upkeep, (uint64) DT_NOEND);
	slot->not_before = DT_NOBEGIN;
	slot->sweep_reason = 1;
}

TimestampTz
worker_slot_due(WorkerSlot *slot)
{
	return (TimestampTz) pg_atomic_read_u64(&slot->due);
}

/* When accounts want a look there: the same as due, but for what the tables say. */
TimestampTz
worker_slot_upkeep(WorkerSlot *slot)
{
	return (TimestampTz) pg_atomic_read_u64(&slot->upkeep);
}

static bool
lower_time(pg_atomic_uint64 *time, TimestampTz at)
{
	uint64 known = pg_atomic_read_u64(time);

	while (at < (TimestampTz) known)
		if (pg_atomic_compare_exchange_u64(time, &known, (uint64) at))
			return true;
	return false;
}

/* True: nobody knew of anything that early. Neither waits nor raises. */
bool
worker_slot_lower(WorkerSlot *slot, TimestampTz due)
{
	return lower_time(&slot->due, due);
}

bool
worker_slot_lower_upkeep(WorkerSlot *slot, TimestampTz at)
{
	return lower_time(&slot->upkeep, at);
}

/* To be called before the queue is looked at. */
void
worker_slot_claim_upkeep(WorkerSlot *slot)
{
	(void) pg_atomic_exchange_u64(&slot->upkeep, (uint64) DT_NOEND);
}

void
worker_slot_add_rows(WorkerSlot *slot, int64 rows)
{
	worker_lock();
	slot->rows_done += rows;
	worker_unlock();
}

/* To be called before the snapshot is taken with which due times are read. */
TimestampTz
worker_slot_claim(WorkerSlot *slot)
{
	return (TimestampTz) pg_atomic_exchange_u64(&slot->due, (uint64) DT_NOEND);
}

void
worker_slot_report(WorkerSlot *slot, const WorkerReport *report)
{
	worker_lock();
	slot->last_run_at = report->started_at;
	slot->runs++;
	slot->rows_done += report->rows_done;
	if (report->rows_done > 0)
		slot->lateness = report->lateness;
	slot->stalls = report->stalled ? slot->stalls + 1 : 0;
	slot->errors = report->error != NULL ? slot->errors + 1 : 0;
	if (report->error != NULL)
	{
		slot->error_at = GetCurrentTimestamp();
		strlcpy(slot->error, report->error, WORKER_ERROR_LENGTH);
	}
	worker_unlock();
	(void) worker_slot_lower(slot, report->due);
}

/* NULL: another process is at work there, or nobody wants it any more. */
WorkerSlot *
worker_attach(Oid database)
{
	WorkerSlot *slot;

	worker_lock();
	slot = worker_slot_find(database);
	if (slot != NULL && slot->pid != 0)
		slot = NULL;
	if (slot != NULL)
	{
		slot->pid = MyProcPid;
		slot->latch = MyLatch;
	}
	worker_unlock();
	return slot;
}

void
worker_set_running(WorkerSlot *slot)
{
	worker_lock();
	slot->state = WORKER_RUNNING;
	worker_unlock();
	worker_wake_launcher();
}

void
worker_detach(WorkerSlot *slot)
{
	worker_lock();
	slot->state = WORKER_WAITING;
	slot->pid = 0;
	slot->latch = NULL;
	worker_unlock();
	worker_wake_launcher();
}

void
worker_set_launcher(Latch *latch)
{
	shared->launcher = latch;
}

bool
worker_has_launcher(void)
{
	return shared->launcher != NULL;
}

void
worker_wake_launcher(void)
{
	Latch *latch = shared->launcher;

	if (latch != NULL)
		SetLatch(latch);
}

bool
worker_is_crowded(void)
{
	return shared->crowded;
}

void
worker_set_crowded(bool crowded)
{
	shared->crowded = crowded;
}

void
worker_set_stopped(bool stopped)
{
	shared->stopped = stopped;
}

/* Whether a database found no slot since this was asked last. */
bool
worker_was_full(void)
{
	bool full;

	worker_lock();
	full = shared->full;
	shared->full = false;
	worker_unlock();
	return full;
}

static void
put_time(Datum *value, bool *isnull, TimestampTz time)
{
	*value = TimestampTzGetDatum(time);
	*isnull = time == 0 || TIMESTAMP_IS_NOEND(time);
}

static const char *
state_name(const WorkerSlot *slot)
{
	static const char *const names[] = {"waiting", "starting", "running"};

	if (slot->skipped)
		return "skipped";
	if (shared->stopped && slot->state == WORKER_WAITING)
		return "off";
	return names[slot->state];
}

static void
put_slot(ReturnSetInfo *rsinfo, WorkerSlot *slot)
{
	Datum values[10];
	bool nulls[10] = {false};
	Interval lateness = {.time = slot->lateness};

	values[0] = ObjectIdGetDatum(slot->database);
	values[1] = CStringGetTextDatum(state_name(slot));
	values[2] = Int32GetDatum(slot->pid);
	nulls[2] = slot->pid == 0;
	put_time(&values[3], &nulls[3], slot->last_run_at);
	put_time(&values[4], &nulls[4], Min(worker_slot_due(slot), worker_slot_upkeep(slot)));
	values[5] = IntervalPGetDatum(&lateness);
	nulls[5] = slot->rows_done == 0;
	values[6] = Int64GetDatum(slot->runs);
	values[7] = Int64GetDatum(slot->rows_done);
	put_time(&values[8], &nulls[8], slot->error_at);
	nulls[8] = nulls[9] = slot->errors == 0;
	values[9] = CStringGetTextDatum(slot->error);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * billing.worker_databases() → SETOF record
 *
 * What launcher and workers know of every database since the server started; no
 * row where the library is not preloaded.
 */
Datum
billing_worker_databases(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (!worker_is_installed())
		return (Datum) 0;
	for (int i = 0; i < shared->count; i++)
	{
		WorkerSlot copy;

		worker_lock();
		copy = shared->slot[i];
		worker_unlock();
		if (OidIsValid(copy.database))
			put_slot(rsinfo, &copy);
	}
	return (Datum) 0;
}
