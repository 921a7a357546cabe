/*
 * pause.c
 *	  Holds a backend up where nothing else can: its transaction has ended for
 *	  everybody, and its own callbacks are still to be called; or an index is being
 *	  given an entry.
 *
 * For the first to be loaded after the callbacks that it is to precede were
 * registered. It waits while the file pause.at_commit, pause.at_abort or
 * pause.at_rollback_to names is there. For the second there are functions, which
 * in an expression of an index are called when it is given an entry.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xact.h"
#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(pause_for_lock);
PG_FUNCTION_INFO_V1(pause_for_subtransaction);

void _PG_init(void);

static char *at_commit = NULL;
static char *at_abort = NULL;
static char *at_rollback_to = NULL;

static void
wait_for(const char *file)
{
	while (file != NULL && file[0] != '\0' && access(file, F_OK) == 0)
		pg_usleep(1000);
}

static void
transaction_ended(XactEvent event, void *arg pg_attribute_unused())
{
	if (event == XACT_EVENT_COMMIT)
		wait_for(at_commit);
	if (event == XACT_EVENT_ABORT)
		wait_for(at_abort);
}

static void
subtransaction_ended(SubXactEvent event, SubTransactionId subid pg_attribute_unused(),
					 SubTransactionId parent pg_attribute_unused(), void *arg pg_attribute_unused())
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		wait_for(at_rollback_to);
}

void
_PG_init(void)
{
	DefineCustomStringVariable("pause.at_commit", "File", NULL, &at_commit, "", PGC_USERSET, 0,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("pause.at_abort", "File", NULL, &at_abort, "", PGC_USERSET, 0, NULL,
							   NULL, NULL);
	DefineCustomStringVariable("pause.at_rollback_to", "File", NULL, &at_rollback_to, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	RegisterXactCallback(transaction_ended, NULL);
	RegisterSubXactCallback(subtransaction_ended, NULL);
}

/* pause_for_lock(text): its argument, once nobody has the advisory lock 1. */
Datum
pause_for_lock(PG_FUNCTION_ARGS)
{
	(void) DirectFunctionCall1(pg_advisory_xact_lock_shared_int8, Int64GetDatum(1));
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

/* pause_for_subtransaction(text): its argument, after a subtransaction that is rolled back. */
Datum
pause_for_subtransaction(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}
