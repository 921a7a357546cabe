/*
 * call.c
 *	  The frame around every function that writes.
 *
 * The user id is switched in C rather than by SECURITY DEFINER and SET clauses:
 * one place decides, and the functions that need no SPI pay nothing for it. An
 * error between enter and leave is undone by the (sub)transaction's abort, which
 * restores user id, security context, settings and SPI by itself.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "call.h"
#include "compat.h"
#include "tables.h"

/*
 * Frames are kept in the memory of their subtransaction, not on the C stack: an
 * abort looks at them when the stack is gone.
 */
static CallFrame *current_frame = NULL;

static void
transaction_ended(XactEvent event, void *arg pg_attribute_unused())
{
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
		current_frame = NULL;
}

/*
 * Only the calls that were begun within it end with a subtransaction: somebody's
 * trigger on one of our tables may catch an error inside a call that goes on.
 */
static void
subtransaction_ended(SubXactEvent event, SubTransactionId subid pg_attribute_unused(),
					 SubTransactionId parent pg_attribute_unused(), void *arg pg_attribute_unused())
{
	int level = GetCurrentTransactionNestLevel();

	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (current_frame != NULL && current_frame->nest_level >= level)
		current_frame = current_frame->outer;
}

static CallFrame *
push_frame(void)
{
	CallFrame *frame = MemoryContextAlloc(CurTransactionContext, sizeof(CallFrame));

	frame->memory = CurrentMemoryContext;
	frame->nest_level = GetCurrentTransactionNestLevel();
	frame->outer = current_frame;
	frame->actor = current_frame == NULL ? NULL : current_frame->actor;
	frame->silent = current_frame != NULL && current_frame->silent;
	frame->trigger_depth = -1;
	return frame;
}

void
call_init(void)
{
	RegisterXactCallback(transaction_ended, NULL);
	RegisterSubXactCallback(subtransaction_ended, NULL);
}

/*
 * pg_temp comes last and explicitly, so that temporary objects never shadow
 * ours; nobody but the owner can create in the other two. A trigger's frame acts
 * on behalf of whoever its statement does.
 */
void
call_enter(Call *call)
{
	call->frame = push_frame();
	GetUserIdAndSecContext(&call->user, &call->security_context);
	call->guc_level = NewGUCNestLevel();
	SetUserIdAndSecContext(tables_owner(), call->security_context | SECURITY_LOCAL_USERID_CHANGE);
	(void) set_config_option("search_path", "pg_catalog, billing, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	current_frame = call->frame;
}

void
call_leave(Call *call)
{
	current_frame = call->frame->outer;
	pfree(call->frame);
	SPI_finish();
	AtEOXact_GUC(true, call->guc_level);
	SetUserIdAndSecContext(call->user, call->security_context);
}

/* Where results that outlive the call's SPI connection are allocated. */
MemoryContext
call_memory(void)
{
	Assert(current_frame != NULL);
	return current_frame->memory;
}

static int
trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

/* To be given to call_end_statement; after an error the frame is gone, or was not in a statement. */
int
call_begin_statement(void)
{
	int outer = current_frame->trigger_depth;

	current_frame->trigger_depth = trigger_depth();
	return outer;
}

void
call_end_statement(int outer)
{
	current_frame->trigger_depth = outer;
}

/* As a statement, for triggers that are fired outside of one, and of a call. */
CallFrame *
call_begin_firing(void)
{
	CallFrame *frame = push_frame();

	frame->trigger_depth = trigger_depth();
	current_frame = frame;
	return frame;
}

void
call_end_firing(CallFrame *frame)
{
	current_frame = frame->outer;
	pfree(frame);
}

/*
 * In a trigger: whether it was fired by what one of our own functions wrote,
 * rather than by a statement of somebody else's trigger within.
 */
bool
call_is_own_statement(void)
{
	return current_frame != NULL && current_frame->trigger_depth >= 0 &&
		   trigger_depth() == current_frame->trigger_depth + 1;
}

/*
 * Administrators are those who may execute what only administrators may: no
 * list of roles that could go stale.
 */
bool
call_is_administrator(const Call *call)
{
	Oid argtypes[] = {UUIDOID, TEXTOID};
	oidvector *args = buildoidvector(argtypes, 2);
	Oid proc =
		GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("suspend_account"),
						PointerGetDatum(args), ObjectIdGetDatum(tables_schema()));

	if (!OidIsValid(proc))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
						errmsg("function billing.suspend_account(uuid, text) does not exist"),
						errhint("Run ALTER EXTENSION billing UPDATE.")));
	return compat_function_aclcheck(proc, call->user, ACL_EXECUTE) == ACLCHECK_OK;
}

/*
 * pg_dump's scripts set check_function_bodies = off. The owner's own session
 * with that setting is a restore, whose rows may come in any order; inside one
 * of our functions it never is, whoever called.
 */
bool
call_is_restore(void)
{
	return !check_function_bodies && !InLocalUserIdChange() &&
		   has_privs_of_role(GetUserId(), tables_owner());
}
