/*
 * launcher.c
 *	  The process that starts a worker in a database when something is due there.
 *
 * It is connected to no database and knows of each only what shared memory says.
 * doc/worker.md tells the states and transitions.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "worker.h"
#include "worker_internal.h"

extern PGDLLEXPORT void billing_launcher_main(Datum arg);

/*
 * A worker is started that long before something falls due, so that it has
 * connected and looked around when the instant comes: that takes 5 to 10 ms on an
 * idle machine.
 */
#define LEAD (50 * 1000)

/* After a start that failed, or while somebody drops, renames or copies the database. */
#define PAUSE (200 * 1000)

/* How long a worker may take to connect before the database's lock is given back. */
#define START_PATIENCE (5 * USECS_PER_SEC)

/* A worker that was asked for and has not connected yet. */
typedef struct Start
{
	WorkerSlot *slot; /* NULL: unused */
	Oid database;
	BackgroundWorkerHandle *handle;
	TimestampTz asked_at;
	bool locked;
} Start;

#define MAX_STARTS 64

static Start starts[MAX_STARTS];
static TimestampTz next_scan = DT_NOBEGIN;
static bool exhausted = false; /* max_worker_processes are in use, and it was said */
static bool full = false;      /* billing.worker_databases are in use, and it was said */

void
worker_install(void)
{
	BackgroundWorker worker;

	/* pg_upgrade has read which transactions there are */
	if (IsBinaryUpgrade)
		return;
	worker_install_hooks();
	memset(&worker, 0, sizeof(worker));
	strlcpy(worker.bgw_name, "billing launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "billing launcher", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "billing", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "billing_launcher_main", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

static void
database_tag(LOCKTAG *tag, Oid database)
{
	SET_LOCKTAG_OBJECT(*tag, InvalidOid, DatabaseRelationId, database, 0);
}

/* False: somebody is dropping, renaming or copying the database. */
static bool
lock_database(Oid database)
{
	LOCKTAG tag;

	database_tag(&tag, database);
	return LockAcquire(&tag, RowExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

static void
unlock_database(Oid database)
{
	LOCKTAG tag;

	database_tag(&tag, database);
	(void) LockRelease(&tag, RowExclusiveLock, true);
}

static bool
is_served(Form_pg_database database)
{
	return database->datallowconn && !database->datistemplate && database->datconnlimit != -2;
}

/* Of a database that pg_database lists. */
static void
note_database(Form_pg_database database)
{
	WorkerSlot *slot = worker_slot_find(database->oid);
	bool served = is_served(database);

	if (slot == NULL && served)
		slot = worker_slot_make(database->oid);
	if (slot == NULL)
		return;
	slot->missing = 0;
	if (slot->skipped && served)
		(void) worker_slot_lower(slot, GetCurrentTimestamp());
	slot->skipped = !served;
}

/*
 * Slots of databases that are gone are given back, when two scans have missed
 * them: one that was created a moment ago may not be in this one's snapshot.
 */
static void
scan_databases(void)
{
	Relation catalog;
	TableScanDesc scan;
	HeapTuple tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	worker_lock();
	for (int i = 0; i < worker_slot_count(); i++)
		worker_slot(i)->missing++;
	worker_unlock();
	catalog = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(catalog, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		worker_lock();
		note_database((Form_pg_database) GETSTRUCT(tuple));
		worker_unlock();
	}
	table_endscan(scan);
	table_close(catalog, AccessShareLock);
	CommitTransactionCommand();

	worker_lock();
	for (int i = 0; i < worker_slot_count(); i++)
	{
		WorkerSlot *slot = worker_slot(i);

		if (OidIsValid(slot->database) && slot->missing >= 2 && slot->state == WORKER_WAITING &&
			slot->pid == 0)
			worker_slot_free(slot);
	}
	worker_unlock();
}

static void
say_full(void)
{
	bool was_full = worker_was_full();

	if (was_full && !full)
		ereport(LOG, (errmsg("billing serves no more than %d databases", worker_slot_count()),
					  errhint("Increase \"billing.worker_databases\" and restart the server.")));
	full = was_full;
}

/* Whether the database, whose lock is held, is one to start a worker in. */
static bool
look_up_database(Oid database)
{
	Relation catalog;
	TableScanDesc scan;
	ScanKeyData key;
	HeapTuple tuple;
	bool served;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	catalog = table_open(DatabaseRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_database_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(database));
	scan = table_beginscan_catalog(catalog, 1, &key);
	tuple = heap_getnext(scan, ForwardScanDirection);
	served = HeapTupleIsValid(tuple) && is_served((Form_pg_database) GETSTRUCT(tuple));
	table_endscan(scan);
	table_close(catalog, AccessShareLock);
	CommitTransactionCommand();
	return served;
}

static void
postpone(WorkerSlot *slot, TimestampTz until)
{
	slot->not_before = until;
}

static void
say_exhausted(void)
{
	if (!exhausted)
		ereport(LOG, (errmsg("billing could not start a background worker"),
					  errdetail("All of max_worker_processes are in use. What is due is written "
								"down as soon as one is free."),
					  errhint("You might need to increase \"max_worker_processes\".")));
	exhausted = true;
}

static bool
ask_for_worker(Start *start)
{
	BackgroundWorker worker;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool asked;

	memset(&worker, 0, sizeof(worker));
	strlcpy(worker.bgw_name, "billing worker", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "billing worker", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "billing", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "billing_worker_main", BGW_MAXLEN);
	worker.bgw_main_arg = ObjectIdGetDatum(start->database);
	worker.bgw_notify_pid = MyProcPid;
	asked = RegisterDynamicBackgroundWorker(&worker, &start->handle);
	MemoryContextSwitchTo(old);
	return asked;
}

/*
 * The database's lock is held until the worker has connected: it never meets a
 * database that is going away, which would be an error in the log.
 */
static void
start_worker(Start *start, WorkerSlot *slot, TimestampTz now)
{
	Oid database = slot->database;

	if (!lock_database(database))
	{
		postpone(slot, now + PAUSE);
		return;
	}
	start->database = database;
	if (!look_up_database(database))
	{
		unlock_database(database);
		postpone(slot, next_scan);
		return;
	}
	if (!ask_for_worker(start))
	{
		unlock_database(database);
		say_exhausted();
		postpone(slot, now + USECS_PER_SEC);
		return;
	}
	exhausted = false;
	start->slot = slot;
	start->asked_at = now;
	start->locked = true;
	worker_lock();
	slot->state = WORKER_STARTING;
	worker_unlock();
}

static void
forget_start(Start *start)
{
	if (start->locked)
		unlock_database(start->database);
	pfree(start->handle);
	memset(start, 0, sizeof(Start));
}

static void
start_failed(Start *start, TimestampTz now)
{
	worker_lock();
	if (start->slot->pid == 0)
		start->slot->state = WORKER_WAITING;
	worker_unlock();
	postpone(start->slot, now + PAUSE);
}

static void
follow_start(Start *start, TimestampTz now)
{
	pid_t pid;
	bool stopped = GetBackgroundWorkerPid(start->handle, &pid) == BGWH_STOPPED;

	/* it may have come and gone already */
	if (start->slot->state != WORKER_STARTING)
		forget_start(start);
	else if (stopped)
	{
		start_failed(start, now);
		forget_start(start);
	}
	else if (start->locked && now > start->asked_at + START_PATIENCE)
	{
		unlock_database(start->database);
		start->locked = false;
	}
}

static Start *
unused_start(void)
{
	for (int i = 0; i < MAX_STARTS; i++)
		if (starts[i].slot == NULL)
			return &starts[i];
	return NULL;
}

static int
busy_workers(void)
{
	int busy = 0;

	for (int i = 0; i < worker_slot_count(); i++)
		busy += worker_slot(i)->state != WORKER_WAITING;
	return busy;
}

/* When a worker is to be started for the slot; DT_NOEND: there is nothing to wait for. */
static TimestampTz
start_time(WorkerSlot *slot)
{
	TimestampTz due = worker_slot_due(slot);

	if (!TIMESTAMP_IS_NOEND(due) && due > DT_NOBEGIN + LEAD)
		due -= LEAD;
	due = Min(due, worker_slot_upkeep(slot));
	if (!OidIsValid(slot->database) || slot->state != WORKER_WAITING || slot->skipped ||
		TIMESTAMP_IS_NOEND(due))
		return DT_NOEND;
	return Max(due, slot->not_before);
}

static WorkerSlot *
next_slot(TimestampTz *at)
{
	WorkerSlot *next = NULL;

	*at = DT_NOEND;
	for (int i = 0; i < worker_slot_count(); i++)
	{
		TimestampTz time = start_time(worker_slot(i));

		if (time < *at)
		{
			*at = time;
			next = worker_slot(i);
		}
	}
	return next;
}

/* Starts what is due as far as is allowed; returns when to look again. */
static TimestampTz
start_due_workers(void)
{
	TimestampTz at = DT_NOEND;
	WorkerSlot *slot;
	bool crowded = false;

	while (worker_enabled && (slot = next_slot(&at)) != NULL)
	{
		TimestampTz now = GetCurrentTimestamp();
		Start *start = unused_start();

		if (at > now)
			break;
		crowded = start == NULL || busy_workers() >= worker_processes;
		/* a worker that ends wakes us */
		if (crowded)
			at = DT_NOEND;
		if (crowded)
			break;
		start_worker(start, slot, now);
	}
	worker_set_crowded(crowded);
	return at;
}

static bool
any_start(void)
{
	for (int i = 0; i < MAX_STARTS; i++)
		if (starts[i].slot != NULL)
			return true;
	return false;
}

static TimestampTz
round_of_work(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz wake;

	/* also when the clock was set back */
	if (now >= next_scan || next_scan > now + worker_naptime * USECS_PER_SEC)
	{
		scan_databases();
		say_full();
		next_scan = now + worker_naptime * USECS_PER_SEC;
	}
	for (int i = 0; i < MAX_STARTS; i++)
		if (starts[i].slot != NULL)
			follow_start(&starts[i], now);
	worker_set_stopped(!worker_enabled);
	wake = Min(start_due_workers(), next_scan);
	return any_start() ? Min(wake, now + USECS_PER_SEC) : wake;
}

static void
nap(TimestampTz until)
{
	/* at least 1 ms: waking before the time would be in vain */
	long timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, Max(timeout, 1),
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}

static void
forget_launcher(int code pg_attribute_unused(), Datum arg pg_attribute_unused())
{
	worker_set_launcher(NULL);
}

/* What a launcher that died had asked for and that never came. */
static void
take_over(void)
{
	worker_set_launcher(MyLatch);
	worker_lock();
	for (int i = 0; i < worker_slot_count(); i++)
	{
		WorkerSlot *slot = worker_slot(i);

		if (slot->state == WORKER_STARTING && slot->pid == 0)
			slot->state = WORKER_WAITING;
		slot->not_before = 0;
	}
	worker_unlock();
}

static void
reload(void)
{
	ProcessConfigFile(PGC_SIGHUP);
	sweep_percentage_changed();
}

void
billing_launcher_main(Datum arg pg_attribute_unused())
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	before_shmem_exit(forget_launcher, (Datum) 0);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	take_over();
	pgstat_report_appname("billing launcher");
	for (;;)
	{
		TimestampTz wake;

		CHECK_FOR_INTERRUPTS();
		/* not 0, after which it would not be started again */
		if (ShutdownRequestPending)
			proc_exit(1);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			reload();
		}
		wake = round_of_work();
		pgstat_report_activity(STATE_IDLE, NULL);
		nap(wake);
	}
}
