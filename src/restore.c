/*
 * restore.c
 *	  Letting a restore run: rows in any order, into a schema that is there.
 *
 * pg_restore -j starts the tables' data by size, whatever their foreign keys
 * (PostgreSQL makes those of its own tables after the data; ours are there with
 * the extension). What is being restored was checked where it was written.
 */
#include "postgres.h"

#include "commands/extension.h"
#include "commands/trigger.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/guc.h"

#include "call.h"
#include "guard.h"
#include "restore.h"

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

static ProcessUtility_hook_type previous_utility = NULL;

static bool
creates_our_schema(const PlannedStmt *statement)
{
	const CreateSchemaStmt *create = (const CreateSchemaStmt *) statement->utilityStmt;

	return IsA(create, CreateSchemaStmt) && create->schemaname != NULL &&
		   strcmp(create->schemaname, "billing") == 0 && create->schemaElts == NIL &&
		   OidIsValid(get_extension_oid("billing", true)) && call_is_restore();
}

/*
 * A dump of the schema (pg_dump -n billing) says CREATE SCHEMA, and nothing of
 * the extension. Were the schema the extension's, it would say neither that nor
 * a row. So to a restore the schema may be there.
 */
static void
let_schema_be_there(PlannedStmt *statement, const char *query, bool read_only_tree,
					ProcessUtilityContext context, ParamListInfo params,
					QueryEnvironment *environment, DestReceiver *destination,
					QueryCompletion *completion)
{
	if (creates_our_schema(statement))
	{
		statement = copyObject(statement);
		((CreateSchemaStmt *) statement->utilityStmt)->if_not_exists = true;
	}
	(previous_utility != NULL ? previous_utility : standard_ProcessUtility)(
		statement, query, read_only_tree, context, params, environment, destination, completion);
}

void
restore_init(void)
{
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = let_schema_be_there;
}
