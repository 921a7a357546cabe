/*
 * engine_database.c
 *	  Forgetting what the engine knows under the OID of a new database.
 *
 * A database may get the OID of one that was dropped, and, from the same
 * template, the same tables and accounts. Nobody can be connected to it before
 * the command that makes it has committed, so nothing else asks for its entries.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"

#include "engine_internal.h"

static ProcessUtility_hook_type previous_utility = NULL;

static void
forget_new_database(PlannedStmt *statement, const char *query, bool read_only_tree,
					ProcessUtilityContext context, ParamListInfo params,
					QueryEnvironment *environment, DestReceiver *destination,
					QueryCompletion *completion)
{
	char *name = NULL;

	if (IsA(statement->utilityStmt, CreatedbStmt))
		name = pstrdup(castNode(CreatedbStmt, statement->utilityStmt)->dbname);
	(previous_utility != NULL ? previous_utility : standard_ProcessUtility)(
		statement, query, read_only_tree, context, params, environment, destination, completion);
	if (name == NULL)
		return;
	CommandCounterIncrement();
	engine_forget_database(get_database_oid(name, false));
}

void
engine_database_init(void)
{
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = forget_new_database;
}
