/*
 * worker.c
 *	  The process that writes down what is due in one database, and ends.
 *
 * It leaves as soon as nothing is due in the next moments, or when somebody wants
 * the database for himself. doc/worker.md tells the states and transitions.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "identifier.h"
#include "lock.h"
#include "upkeep.h"
#include "worker.h"
#include "worker_internal.h"

extern PGDLLEXPORT void billing_worker_main(Datum arg);

/* How long it waits for the next due time rather than leave: a start costs about that much. */
#define LINGER (250 * 1000)

/* How long it may take to notice that somebody wants the database. */
#define LOOK_UP (100 * 1000)

/* A transaction takes no longer than that, so that nobody waits long for its locks. */
#define LONGEST_BATCH (100 * 1000)

/* Accounts read at once, so that what was done before is passed over seldom. */
#define LIST_SIZE 5000

/* Holds of one account in one transaction: as LONGEST_BATCH, which is looked at between accounts. */
#define HOLDS_AT_ONCE 200

/* Accounts that want a look, in one transaction, and how long that may take: due times come first. */
#define UPKEEP_BATCH   64
#define LONGEST_UPKEEP (5 * 1000)

/* After looking for such accounts failed as a whole. */
#define UPKEEP_PAUSE USECS_PER_MINUTE

/* After something due had to be left undone: 25 ms, doubled up to 6.4 s. */
#define STALL_PAUSE(stalls) ((INT64CONST(25) << Min(stalls, 8)) * 1000)

/* After a run that failed as a whole: 1 s, doubled up to about 4 minutes. */
#define ERROR_PAUSE(errors) (USECS_PER_SEC << Min(errors, 8))

typedef struct Run
{
	MemoryContext context; /* emptied before each run */
	WorkerSlot *slot;
	DueAccount *list;
	int count;
	int next;         /* in the list */
	int apart_until;  /* in the list: each account by itself, to find the one that fails */
	int singly_until; /* in the list: one account a transaction, for the same reason */
	int64 done;
	pg_uuid_t *left; /* accounts of which nothing could be written, for the rest of the run */
	int left_count;
	int left_capacity;
	bool unfinished; /* the list was not the last of the run */
	bool busy;       /* an account was left to somebody else */
	bool absent; /* the extension is not there, somebody has locked it, or a restore is under way */
	bool locked; /* the last two */
	bool replica; /* the rows come from another server, whose worker writes them */
	bool leave;
	bool served; /* accounts that wanted a look */
} Run;

static bool reported = true; /* what the slot's due time was claimed for */

static void
leaving(int code pg_attribute_unused(), Datum arg)
{
	WorkerSlot *slot = (WorkerSlot *) DatumGetPointer(arg);

	if (!reported)
		(void) worker_slot_lower(slot, GetCurrentTimestamp() + USECS_PER_SEC);
	(void) worker_slot_lower_upkeep(slot, upkeep_next(slot->database));
	worker_detach(slot);
}

static void
set(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * What somebody set for the database or the role must not change what is done
 * here. The lock timeout keeps one account's row, locked by an idle transaction,
 * from holding up the others; the plans are those that need no statistics.
 */
static void
prepare_session(void)
{
	set("billing.require_binding", "off");
	set("default_transaction_isolation", "read committed");
	set("default_transaction_read_only", "off");
	set("session_replication_role", "origin");
	set("statement_timeout", "0");
	set("idle_in_transaction_session_timeout", "0");
	compat_reset_transaction_timeout();
	set("lock_timeout", "250ms");
	set("plan_cache_mode", "force_generic_plan");
	set("enable_seqscan", "off");
	set("enable_bitmapscan", "off");
	set("enable_hashjoin", "off");
	set("enable_mergejoin", "off");
	set("jit", "off");
	set("max_parallel_workers_per_gather", "0");
	pgstat_report_appname("billing worker");
}

/* False: somebody is dropping, renaming or copying the database, or waits for us to leave it. */
static bool
lock_database(Oid database)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, database, 0);
	return LockAcquire(&tag, RowExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

static void
unlock_database(Oid database)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, database, 0);
	(void) LockRelease(&tag, RowExclusiveLock, true);
}

static bool
database_is_wanted(void)
{
	if (!lock_database(MyDatabaseId))
		return true;
	unlock_database(MyDatabaseId);
	return false;
}

static bool
must_leave(void)
{
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	/* by SIGTERM: without an error in the log, as nothing went wrong */
	if (ProcDiePending)
		return true;
	CHECK_FOR_INTERRUPTS();
	return !worker_enabled || worker_is_crowded() || database_is_wanted();
}

/*
 * The lock on the extension keeps DROP EXTENSION out until the transaction's
 * end; it is not waited for. Nor is a restore, whose rows come table by table.
 */
static bool
lock_extension(Run *run)
{
	Oid extension = get_extension_oid("billing", true);
	LOCKTAG tag;

	if (!OidIsValid(extension))
		return false;
	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, extension, 0);
	run->locked = LockAcquire(&tag, AccessShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL;
	if (run->locked)
		return false;
	AcceptInvalidationMessages();
	if (get_extension_oid("billing", true) != extension)
		return false;
	run->locked = !lock_unless_restored();
	return !run->locked;
}

static void
finish(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* False: the extension is not there, on its way out or being restored; no transaction was begun. */
static bool
begin(Run *run, const char *activity)
{
	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, activity);
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	run->absent = !lock_extension(run);
	if (run->absent)
		finish();
	return !run->absent;
}

/* Ends the transaction that failed; the error is copied to the run's memory. */
static ErrorData *
catch_error(Run *run)
{
	ErrorData *error;

	MemoryContextSwitchTo(run->context);
	error = CopyErrorData();
	HOLD_INTERRUPTS();
	FlushErrorState();
	AbortCurrentTransaction();
	RESUME_INTERRUPTS();
	MemoryContextSwitchTo(run->context);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return error;
}

/* Waiting for somebody is nothing to tell the administrator of. */
static bool
is_transient(const ErrorData *error)
{
	int category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return category == ERRCODE_TRANSACTION_ROLLBACK ||
		   error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

static void
account_failed(Run *run, int number, const ErrorData *error)
{
	const pg_uuid_t account = run->list[number].account;
	int failures;

	for (int i = number; i < run->count; i++)
		if (memcmp(run->list[i].account.data, account.data, UUID_LEN) == 0)
			run->list[i].skip = true;
	if (!begin(run, "billing: recording an account that fails"))
		return;
	failures = due_record_failure(&account, error);
	if (failures == 1 && !is_transient(error))
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("billing could not write down what is due for account %s: %s",
						identifier_text(&account), error->message),
				 errdetail("The other accounts are not affected, and it will be tried again."),
				 errhint("See billing.worker_status in this database.")));
	finish();
}

/* Those of the batch that are not left to the next; *at is where an error is, if there is one. */
static int64
do_batch(Run *run, int first, int last, volatile int *at)
{
	TimestampTz start = GetCurrentTimestamp();
	int64 done = 0;

	for (int i = first; i < last; i++)
		run->list[i].done = false;
	if (first >= run->apart_until)
		done += due_process_simple(&run->list[first], last - first, &run->busy);
	for (*at = first; *at < last; (*at)++)
	{
		if (run->list[*at].skip || run->list[*at].done)
			continue;
		if (*at > first && GetCurrentTimestamp() > start + LONGEST_BATCH)
			break;
		done += due_process(&run->list[*at], HOLDS_AT_ONCE, &run->busy);
	}
	return done;
}

/*
 * Accounts of which nothing was written are not listed again: those behind them
 * would never be reached.
 */
static void
note_outcome(Run *run, int first, int last)
{
	for (int i = first; i < last; i++)
	{
		run->unfinished |= run->list[i].again;
		if (!run->list[i].left || run->list[i].skip)
			continue;
		if (run->left_count == run->left_capacity)
		{
			run->left_capacity *= 2;
			run->left = repalloc_huge(run->left, sizeof(pg_uuid_t) * (Size) run->left_capacity);
		}
		run->left[run->left_count++] = run->list[i].account;
	}
}

/*
 * One transaction. When the accounts done together raise an error, each is done
 * by itself. A failure at one leaves it out, and the others are done again; one
 * at commit may be any account's, so then they are done singly.
 */
static void
work_on_batch(Run *run)
{
	int first = run->next;
	int last = Min(run->count, first + (first < run->singly_until ? 1 : worker_batch));
	volatile int at = -1;
	volatile bool committing = false;
	ErrorData *volatile error = NULL;

	PG_TRY();
	{
		if (begin(run, "billing: writing down what is due"))
		{
			int64 done = do_batch(run, first, last, &at);

			committing = true;
			finish();
			note_outcome(run, first, at);
			run->next = at;
			run->done += done;
		}
	}
	PG_CATCH();
	{
		error = catch_error(run);
	}
	PG_END_TRY();
	if (error == NULL)
		return;
	/* not an account's fault: the run has failed */
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || (at < 0 && first < run->apart_until))
		ReThrowError(error);
	if (at < 0)
		run->apart_until = last;
	else if (committing && at - first > 1)
		run->apart_until = run->singly_until = at;
	else
		account_failed(run, committing ? first : at, error);
	FreeErrorData(error);
}

/* Does what is due; returns since when. */
static TimestampTz
work_on_list(Run *run)
{
	DueSearch search = {.except = run->left,
						.except_count = run->left_count,
						.complete = true,
						.earliest = DT_NOEND};

	run->count = run->next = run->apart_until = run->singly_until = 0;
	run->unfinished = false;
	if (!begin(run, "billing: looking for what is due"))
		return DT_NOEND;
	run->replica = due_is_replica();
	if (!run->replica)
		run->count = due_list(run->list, LIST_SIZE, &search);
	finish();
	run->unfinished = !search.complete;
	while (run->next < run->count && !run->absent && !run->leave)
	{
		work_on_batch(run);
		run->leave = must_leave();
	}
	return search.earliest;
}

static TimestampTz
next_due(Run *run, TimestampTz started_at)
{
	TimestampTz now;
	TimestampTz next;

	if (run->leave && (run->unfinished || run->next < run->count))
		return GetCurrentTimestamp();
	if (run->replica)
		return GetCurrentTimestamp() + worker_naptime * USECS_PER_SEC;
	if (run->absent || !begin(run, "billing: looking for what will be due"))
		return run->locked ? GetCurrentTimestamp() + USECS_PER_SEC : DT_NOEND;
	next = due_next(run->busy ? started_at : DT_NOBEGIN);
	finish();
	now = GetCurrentTimestamp();
	/* it was said to be due, but nothing could be done */
	if (run->done == 0 && next <= now && run->slot->stalls > 0)
		run->busy = true;
	return run->busy ? Min(Max(next, now), now + STALL_PAUSE(run->slot->stalls)) : next;
}

static void
work(Run *run, WorkerReport *report)
{
	do
	{
		TimestampTz earliest = work_on_list(run);

		if (report->lateness == 0 && run->done > 0)
			report->lateness = Max(GetCurrentTimestamp() - earliest, 0);
	} while (run->unfinished && !run->absent && !run->leave);
	report->due = next_due(run, report->started_at);
	report->stalled = run->busy || (run->done == 0 && report->due <= GetCurrentTimestamp());
}

static void
report_error(Run *run, WorkerReport *report, ErrorData *error)
{
	report->due = GetCurrentTimestamp() + ERROR_PAUSE(run->slot->errors);
	report->error = error->message;
	if (run->slot->errors == 0 && !is_transient(error))
		ereport(LOG, (errcode(error->sqlerrcode),
					  errmsg("billing could not look for what is due in database %u: %s",
							 MyDatabaseId, error->message),
					  errdetail("It will be tried again; access ends in time.")));
}

/* Claims the slot's due time, does what is due, reports the next due time. */
static void
run_once(Run *run)
{
	WorkerReport report = {.due = DT_NOEND, .started_at = GetCurrentTimestamp()};
	ErrorData *volatile error = NULL;

	MemoryContextReset(run->context);
	MemoryContextSwitchTo(run->context);
	run->list = palloc(sizeof(DueAccount) * LIST_SIZE);
	run->left_capacity = 16;
	run->left = palloc(sizeof(pg_uuid_t) * run->left_capacity);
	run->left_count = 0;
	run->unfinished = false;
	run->done = 0;
	run->busy = run->absent = run->locked = run->replica = run->leave = false;
	reported = false;
	(void) worker_slot_claim(run->slot);
	PG_TRY();
	{
		work(run, &report);
	}
	PG_CATCH();
	{
		error = catch_error(run);
	}
	PG_END_TRY();
	report.rows_done = run->done;
	if (error != NULL)
		report_error(run, &report, error);
	worker_slot_report(run->slot, &report);
	reported = true;
}

static bool
something_is_due(const Run *run)
{
	return worker_slot_due(run->slot) <= GetCurrentTimestamp();
}

/* What a crash takes back is found again, so nobody need wait for the disk. */
static void
commit_asynchronously(void)
{
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

static int64
do_upkeep(const Run *run, const UpkeepRequest *list, int count)
{
	TimestampTz start = GetCurrentTimestamp();
	int64 done = 0;

	if (due_is_replica())
	{
		sweep_leave_to_origin(run->slot, list, count);
		return 0;
	}
	for (int i = 0; i < count; i++)
		if (i == 0 || (!something_is_due(run) && GetCurrentTimestamp() < start + LONGEST_UPKEEP))
			done += upkeep_serve(&list[i]);
		else
			upkeep_leave(&list[i]);
	return done;
}

static void
upkeep_failed(const UpkeepRequest *list, int count, const ErrorData *error)
{
	upkeep_postpone(list, count);
	if (count == 1 && list[0].attempts == 0 && !is_transient(error) &&
		error->sqlerrcode != ERRCODE_QUERY_CANCELED)
		ereport(WARNING, (errcode(error->sqlerrcode),
						  errmsg("billing could not sum the ledger of account %s: %s",
								 identifier_text(&list[0].account), error->message),
						  errdetail("Balances are right without it, and it will be tried again.")));
}

/* One transaction for accounts that want a look; false: none does, or it has to wait. */
static bool
upkeep_batch(Run *run)
{
	UpkeepRequest list[UPKEEP_BATCH];
	volatile int count = upkeep_claim(list, UPKEEP_BATCH);
	ErrorData *volatile error = NULL;

	if (count == 0)
		return false;
	run->served = true;
	PG_TRY();
	{
		if (begin(run, "billing: summing ledgers"))
		{
			int64 done;

			commit_asynchronously();
			done = do_upkeep(run, list, count);

			finish();
			worker_slot_add_rows(run->slot, done);
		}
	}
	PG_CATCH();
	{
		error = catch_error(run);
	}
	PG_END_TRY();
	if (error != NULL)
		upkeep_failed(list, count, error);
	return !run->absent;
}

/* Puts the accounts to look at into the queue, a portion in a transaction. */
static void
pass_accounts(Run *run)
{
	pg_uuid_t list[SWEEP_PORTION];
	Sweep sweep;
	int count;

	if (!upkeep_has_room() || !sweep_begin(&sweep, run->slot) ||
		!begin(run, "billing: looking for grants that ran low"))
		return;
	if (!due_is_replica())
	{
		count = sweep_portion(&sweep, list);
		for (int i = 0; i < count; i++)
			(void) upkeep_note(&list[i], UPKEEP_TELL);
		if (!sweep.finished)
			(void) worker_slot_lower_upkeep(run->slot, GetCurrentTimestamp());
	}
	finish();
}

static void
advance_mark(Run *run)
{
	if (!mark_is_due(run->slot, run->served) || !begin(run, "billing: marking what is done"))
		return;
	mark_advance(run->slot);
	finish();
}

/* As long as nothing is due. What is claimed where the extension is gone is forgotten. */
static void
serve_requests(Run *run)
{
	if (worker_slot_upkeep(run->slot) > GetCurrentTimestamp())
		return;
	MemoryContextReset(run->context);
	MemoryContextSwitchTo(run->context);
	worker_slot_claim_upkeep(run->slot);
	run->absent = run->locked = run->served = false;
	while (!something_is_due(run) && upkeep_batch(run) && !must_leave())
		;
	if (run->absent && !run->locked)
		upkeep_forget(MyDatabaseId);
}

/* What is done when nothing is due; an error is told of, and it will be tried again. */
static void
upkeep(Run *run)
{
	ErrorData *volatile error = NULL;

	PG_TRY();
	{
		serve_requests(run);
		if (!something_is_due(run))
			pass_accounts(run);
		advance_mark(run);
	}
	PG_CATCH();
	{
		error = catch_error(run);
	}
	PG_END_TRY();
	(void) worker_slot_lower_upkeep(run->slot, upkeep_next(MyDatabaseId));
	if (error == NULL)
		return;
	(void) worker_slot_lower_upkeep(run->slot, GetCurrentTimestamp() + UPKEEP_PAUSE);
	if (!is_transient(error))
		ereport(LOG, (errcode(error->sqlerrcode),
					  errmsg("billing could not look at balances in database %u: %s", MyDatabaseId,
							 error->message),
					  errdetail("It will be tried again.")));
}

static void
doze(int64 usecs)
{
	/* WaitLatch counts in milliseconds; the rest is too short to be disturbed in */
	if (usecs < 1000)
		pg_usleep(usecs);
	else
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, usecs / 1000,
						 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}

/* Waits for the next due time, if it is near; false: leave. */
static bool
linger(WorkerSlot *slot)
{
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		TimestampTz due = Min(worker_slot_due(slot), worker_slot_upkeep(slot));

		if (must_leave() || due > now + LINGER)
			return false;
		if (due <= now)
			return true;
		doze(Min(due - now, LOOK_UP));
	}
}

void
billing_worker_main(Datum arg)
{
	Oid database = DatumGetObjectId(arg);
	Run run = {.slot = worker_attach(database)};

	if (run.slot == NULL)
		proc_exit(0);
	before_shmem_exit(leaving, PointerGetDatum(run.slot));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	/*
	 * To connect takes the same lock: it would queue behind who wants the database
	 * and waits for the launcher, who waits for us.
	 */
	if (!lock_database(database))
		proc_exit(0);
	/* that connections are not allowed any more would be an error; the launcher looks at that */
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, BGWORKER_BYPASS_ALLOWCONN);
	unlock_database(database);
	prepare_session();
	worker_set_running(run.slot);
	run.context = AllocSetContextCreate(TopMemoryContext, "billing worker", ALLOCSET_DEFAULT_SIZES);
	worker_never_note();
	run_once(&run);
	do
	{
		if (something_is_due(&run))
			run_once(&run);
		upkeep(&run);
	} while (linger(run.slot));
	proc_exit(0);
}
