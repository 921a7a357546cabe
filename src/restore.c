/*
 * restore.c
 *	  Letting a restore load rows in any order.
 *
 * pg_restore -j starts the tables' data by size, whatever their foreign keys
 * (PostgreSQL makes those of its own tables after the data; ours are there with
 * the extension). What is being restored was checked where it was written.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "utils/guc.h"

#include "call.h"
#include "guard.h"

PG_FUNCTION_INFO_V1(billing_guard_restore);

static void
set_replication_role(const char *role)
{
	(void) set_config_option("session_replication_role", role, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * billing.guard_restore(): trigger
 *
 * BEFORE and AFTER each statement that inserts: in a restore, and only for that
 * statement, rows count as replicated ones, so that foreign keys are not looked
 * at and those triggers are that are ENABLE ALWAYS.
 */
Datum
billing_guard_restore(PG_FUNCTION_ARGS)
{
	/* set by the first trigger of each statement before its last one reads it */
	static bool switched = false;
	TriggerData *trigger = guard_trigger_data(fcinfo, "guard_restore");

	if (TRIGGER_FIRED_BEFORE(trigger->tg_event))
	{
		switched = SessionReplicationRole == SESSION_REPLICATION_ROLE_ORIGIN && call_is_restore();
		if (switched)
			set_replication_role("replica");
	}
	else if (switched)
	{
		switched = false;
		set_replication_role("origin");
	}
	return PointerGetDatum(NULL);
}
