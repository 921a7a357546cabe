/*
 * worker_internal.h
 *	  What the files of the worker share with each other.
 */
#ifndef BILLING_WORKER_INTERNAL_H
#define BILLING_WORKER_INTERNAL_H

#include "port/atomics.h"
#include "storage/latch.h"
#include "utils/portal.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "upkeep.h"

/* worker_settings.c */
extern bool worker_enabled;
extern int worker_naptime; /* s */
extern int worker_processes;
extern int worker_batch;
extern int worker_databases;

#define WORKER_ERROR_LENGTH 256

typedef enum WorkerState
{
	WORKER_WAITING,  /* for something to fall due */
	WORKER_STARTING, /* a process was asked for */
	WORKER_RUNNING
} WorkerState;

/* What is known of one database. Protected by the lock, but for due, upkeep and latch. */
typedef struct WorkerSlot
{
	Oid database;            /* InvalidOid: the slot is free */
	pg_atomic_uint64 due;    /* when to look there, a TimestampTz; DT_NOEND: nothing is known */
	pg_atomic_uint64 upkeep; /* the same for accounts that want a look (upkeep.h) */
	Latch *volatile latch;
	WorkerState state;
	pid_t pid;
	bool skipped;           /* no connection is allowed there, or it is a template */
	int missing;            /* scans of pg_database in a row that did not find it */
	TimestampTz not_before; /* when to try to start a worker again */

	/* upkeep_sweep.c */
	uint32 sweep_reason;     /* counts why every account has to be passed */
	uint32 swept_reason;     /* the last one for which all were */
	int swept;               /* with which percentage they were; 0: not yet */
	int sweeping;            /* the percentage they are being passed with; 0: not begun */
	pg_uuid_t swept_through; /* how far */
	TimestampTz mark_at;     /* to be the mark; 0: none */
	TimestampTz mark_next;   /* when to look whether it may be */
	TransactionId mark_xid;  /* the next one at that time */
	bool mark_decided;       /* all before that one have ended */

	int stalls; /* runs in a row that left something due undone */
	int errors; /* runs in a row that failed as a whole */
	TimestampTz last_run_at;
	int64 lateness; /* of the last run's first row, in µs */
	int64 runs;
	int64 rows_done;
	TimestampTz error_at;
	char error[WORKER_ERROR_LENGTH];
} WorkerSlot;

/* What a run of a worker has to tell. */
typedef struct WorkerReport
{
	TimestampTz due; /* DT_NOEND: nothing */
	TimestampTz started_at;
	int64 rows_done;
	int64 lateness;
	bool stalled;
	const char *error; /* NULL: none */
} WorkerReport;

/* worker_shared.c */
extern void worker_install_hooks(void);
extern bool worker_is_installed(void);
extern void worker_lock(void);
extern void worker_unlock(void);
extern int worker_slot_count(void);
extern WorkerSlot *worker_slot(int number);
extern WorkerSlot *worker_slot_find(Oid database);
extern WorkerSlot *worker_slot_make(Oid database);
extern void worker_slot_free(WorkerSlot *slot);
extern TimestampTz worker_slot_due(WorkerSlot *slot);
extern bool worker_slot_lower(WorkerSlot *slot, TimestampTz due);
extern TimestampTz worker_slot_upkeep(WorkerSlot *slot);
extern bool worker_slot_lower_upkeep(WorkerSlot *slot, TimestampTz at);
extern void worker_slot_claim_upkeep(WorkerSlot *slot);
extern void worker_slot_add_rows(WorkerSlot *slot, int64 rows);
extern TimestampTz worker_slot_claim(WorkerSlot *slot);
extern void worker_slot_report(WorkerSlot *slot, const WorkerReport *report);
extern WorkerSlot *worker_attach(Oid database);
extern void worker_set_running(WorkerSlot *slot);
extern void worker_detach(WorkerSlot *slot);
extern void worker_wake_launcher(void);
extern bool worker_has_launcher(void);
extern void worker_set_launcher(Latch *latch);
extern bool worker_is_crowded(void);
extern void worker_set_crowded(bool crowded);
extern void worker_set_stopped(bool stopped);
extern bool worker_was_full(void);

/* upkeep_sweep.c */
#define SWEEP_PORTION 200

/* A pass over all accounts, as it is going on. */
typedef struct Sweep
{
	WorkerSlot *slot;
	uint32 reason;
	int percent;
	pg_uuid_t after;
	bool finished;
} Sweep;

extern bool sweep_begin(Sweep *sweep, WorkerSlot *slot);
extern int sweep_portion(Sweep *sweep, pg_uuid_t *list);
extern void sweep_again(WorkerSlot *slot);
extern void sweep_leave_to_origin(WorkerSlot *slot, const UpkeepRequest *list, int count);
extern void sweep_percentage_changed(void);
extern bool mark_is_due(WorkerSlot *slot, bool served);
extern void mark_advance(WorkerSlot *slot);

/* worker_wake.c */
extern WorkerSlot *worker_own_slot(void);
extern void worker_never_note(void);
extern bool worker_attends(void);
extern void worker_tell_upkeep(TimestampTz at);

/* worker_due.c */
typedef struct DueAccount
{
	pg_uuid_t account;
	bool failed_before;
	bool skip;  /* it failed in this run */
	bool done;  /* with others, in the transaction under way */
	bool left;  /* nothing could be written: somebody else is at work on it */
	bool again; /* some of it was left for another transaction */
} DueAccount;

/* What due_list() is asked, and what it has to tell besides the accounts. */
typedef struct DueSearch
{
	const pg_uuid_t *except; /* accounts that are of no interest */
	int except_count;
	bool complete;        /* those listed are all */
	TimestampTz earliest; /* since when something is due; DT_NOEND: nothing is */
} DueSearch;

extern bool due_is_replica(void);
extern int due_list(DueAccount *list, int max, DueSearch *search);
extern Portal due_open(void);
extern int due_fetch(Portal portal, DueAccount *list, int max);
extern int64 due_process(DueAccount *due, int max_holds, bool *busy);
extern int64 due_process_simple(DueAccount *list, int count, bool *busy);
extern TimestampTz due_next(TimestampTz after);
extern int due_record_failure(const pg_uuid_t *account, const ErrorData *error);

#endif /* BILLING_WORKER_INTERNAL_H */
