/*
 * privilege.c
 *	  Giving database roles the levels of use, and taking them back.
 *
 * What a level may use stands in the table billing.privilege. The grants are
 * made by the extension's owner, who alone can make them: that an administrator
 * may call these functions does not let him hand out anything else.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "argument.h"
#include "audit.h"
#include "call.h"
#include "errors.h"
#include "query.h"
#include "tables.h"

PG_FUNCTION_INFO_V1(billing_grant_usage_to);
PG_FUNCTION_INFO_V1(billing_revoke_usage_from);
PG_FUNCTION_INFO_V1(billing_check_schema);

#define ADMINISTRATOR "administrator"

static const char *const levels[] = {"application", ADMINISTRATOR, "reporting"};

/* The objects of the extension, as the table of privileges names them. */
#define MEMBERS                                                                                    \
	"WITH member AS (SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e "              \
	"ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e' "       \
	"WHERE e.extname = 'billing'), "                                                               \
	"object AS (SELECT 'function' AS object, p.proname::text AS name, p.oid FROM member m "        \
	"JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid UNION ALL "             \
	"SELECT 'relation', c.relname::text, c.oid FROM member m JOIN pg_class c "                     \
	"ON m.classid = 'pg_class'::regclass AND c.oid = m.objid WHERE c.relkind <> 'c' UNION ALL "    \
	"SELECT 'type', t.typname::text, t.oid FROM member m JOIN pg_type t "                          \
	"ON m.classid = 'pg_type'::regclass AND t.oid = m.objid LEFT JOIN pg_class c "                 \
	"ON c.oid = t.typrelid WHERE t.typcategory <> 'A' AND coalesce(c.relkind, 'c') = 'c') "

static SqlQuery select_unclassified = {
	.sql = MEMBERS "SELECT string_agg(o.object || ' ' || o.name, ', ' ORDER BY o.object, o.name) "
				   "FROM object o LEFT JOIN billing.privilege p USING (object, name) "
				   "WHERE p.name IS NULL",
	.nargs = 0};

#define GIVEN_BY(level)                                                                            \
	"CASE " level " WHEN 'application' THEN p.application WHEN 'administrator' THEN "              \
	"p.administrator ELSE p.reporting END "

/*
 * What stands between GRANT and TO or REVOKE and FROM, a statement a row: what the
 * level $1 gives and no level that the role $2 has. Names are visible in the search
 * path of a call, or qualified.
 */
static SqlQuery select_grants = {
	.sql = MEMBERS
	", given AS (SELECT o.object, o.oid, p.secret FROM object o "
	"JOIN billing.privilege p USING (object, name) WHERE " GIVEN_BY(
		"$1") "AND NOT EXISTS (SELECT FROM billing.usage_level l WHERE l.role = $2 "
			  "AND " GIVEN_BY("l.level") ")) SELECT 'USAGE ON SCHEMA billing' "
										 "WHERE NOT EXISTS (SELECT FROM billing.usage_level l "
										 "WHERE l.role = $2) UNION ALL "
										 "SELECT 'EXECUTE ON ROUTINE ' || "
										 "string_agg(oid::regprocedure::text, ', ') FROM given "
										 "WHERE object = 'function' HAVING count(*) > 0 UNION "
										 "ALL "
										 "SELECT 'USAGE ON TYPE ' || "
										 "string_agg(oid::regtype::text, ', ') FROM given "
										 "WHERE object = 'type' HAVING count(*) > 0 UNION ALL "
										 "SELECT 'SELECT ON ' || "
										 "string_agg(oid::regclass::text, ', ') FROM given "
										 "WHERE object = 'relation' AND secret = '{}' HAVING "
										 "count(*) > 0 UNION ALL "
										 "SELECT 'SELECT (' || "
										 "string_agg(quote_ident(a.attname), ', ') || ') ON ' "
										 "|| "
										 "g.oid::regclass::text FROM given g JOIN pg_attribute "
										 "a ON a.attrelid = g.oid AND "
										 "a.attnum > 0 AND NOT a.attisdropped AND a.attname <> "
										 "ALL (g.secret::name[]) "
										 "WHERE g.object = 'relation' AND g.secret <> '{}' "
										 "GROUP BY g.oid",
	.nargs = 2,
	.argtypes = {TEXTOID, REGROLEOID}};

static SqlQuery lock_levels = {.sql = "LOCK TABLE billing.usage_level IN SHARE ROW EXCLUSIVE MODE"};

static SqlQuery insert_level = {
	.sql = "INSERT INTO billing.usage_level (role, level) VALUES ($1, $2) ON CONFLICT DO NOTHING",
	.nargs = 2,
	.argtypes = {REGROLEOID, TEXTOID}};

static SqlQuery delete_level = {
	.sql = "DELETE FROM billing.usage_level WHERE role = $1 AND level = $2",
	.nargs = 2,
	.argtypes = {REGROLEOID, TEXTOID}};

/* DROP ROLE leaves its number behind, which another role may have later. */
static SqlQuery forget_dropped_roles = {
	.sql = "DELETE FROM billing.usage_level l WHERE NOT EXISTS "
		   "(SELECT FROM pg_catalog.pg_roles r WHERE r.oid = l.role)"};

static char *
level_argument(FunctionCallInfo fcinfo, int n)
{
	char *level = argument_text(fcinfo, n, "level", NAME_MAX_LENGTH);

	for (int i = 0; i < (int) lengthof(levels); i++)
		if (strcmp(level, levels[i]) == 0)
			return level;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown level \"%s\"", level),
					errhint("The levels are application, administrator and reporting.")));
}

/* PUBLIC is no role, so it is refused as unknown, however it is written. */
static Oid
role_argument(FunctionCallInfo fcinfo, int n)
{
	const char *name;
	Oid role;

	argument_require(fcinfo, n, "role");
	name = NameStr(*PG_GETARG_NAME(n));
	role = get_role_oid(name, true);
	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("role \"%s\" does not exist", name),
				 errhint("Create it with CREATE ROLE. Nothing can be granted to PUBLIC.")));
	return role;
}

static void
check_grantor(const Call *call, Oid role, const char *level)
{
	if (role == tables_owner())
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("role \"%s\" owns the extension", GetUserNameFromId(role, false)),
						errdetail("An owner may do everything, without any level."),
						errhint("Name the role that the application connects as.")));
	if (strcmp(level, ADMINISTRATOR) == 0 && !has_privs_of_role(call->user, tables_owner()))
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_PERMISSION_DENIED),
				 errmsg("only the extension's owner may decide who is an administrator"),
				 errdetail("Role \"%s\" is not \"%s\".", GetUserNameFromId(call->user, false),
						   GetUserNameFromId(tables_owner(), false)),
				 errhint("Call it as that role or as a superuser.")));
}

static void
check_all_classified(void)
{
	query_execute(&select_unclassified, NULL);
	if (!query_is_null(0, 1))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the table billing.privilege does not say who may use everything"),
						errdetail("Not in it: %s.", query_text(0, 1)),
						errhint("The extension's update script has to add them.")));
}

static void
execute(const char *verb, const char *what, const char *preposition, Oid role)
{
	char *sql = psprintf("%s %s %s %s", verb, what, preposition,
						 quote_identifier(GetUserNameFromId(role, false)));
	int result = SPI_execute(sql, false, 0);

	if (result < 0)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(result));
}

/* GRANT or REVOKE of what the level may use; has: whose other levels are to be left alone. */
static void
apply(const char *verb, const char *preposition, Oid role, const char *level, NullableDatum has)
{
	int count = (int) query_execute(&select_grants, (NullableDatum[]){arg_text(level), has});
	char **grants = palloc(sizeof(char *) * count);

	for (int i = 0; i < count; i++)
		grants[i] = query_text(i, 1);
	for (int i = 0; i < count; i++)
		execute(verb, grants[i], preposition, role);
}

static void
lock_recorded_levels(void)
{
	query_execute(&lock_levels, NULL);
	query_execute(&forget_dropped_roles, NULL);
}

/*
 * billing.grant_usage_to(role name, level text) → void
 *
 * Grants what the level (application, administrator or reporting) may use of
 * what the schema has. NULL: 22004; unknown level, or the extension's owner as
 * role: 22023; level too long: 22001; unknown role: 42704; level administrator
 * by anybody but the owner: PB006.
 */
Datum
billing_grant_usage_to(PG_FUNCTION_ARGS)
{
	Oid role = role_argument(fcinfo, 0);
	char *level = level_argument(fcinfo, 1);
	Call call;

	call_enter(&call);
	check_grantor(&call, role, level);
	lock_recorded_levels();
	check_all_classified();
	query_execute(&insert_level,
				  (NullableDatum[]){arg_datum(ObjectIdGetDatum(role)), arg_text(level)});
	apply("GRANT", "TO", role, level, arg_null());
	audit_write(fcinfo, &call, NULL);
	call_leave(&call);
	PG_RETURN_VOID();
}

/*
 * billing.revoke_usage_from(role name, level text) → void
 *
 * Takes the level back; what another level of the role gives is left as it is, and
 * nothing is granted. A role that does not have it stays as it is. Errors: those of grant_usage_to.
 */
Datum
billing_revoke_usage_from(PG_FUNCTION_ARGS)
{
	Oid role = role_argument(fcinfo, 0);
	char *level = level_argument(fcinfo, 1);
	Call call;

	call_enter(&call);
	check_grantor(&call, role, level);
	lock_recorded_levels();
	if (query_execute(&delete_level,
					  (NullableDatum[]){arg_datum(ObjectIdGetDatum(role)), arg_text(level)}) == 1)
		apply("REVOKE", "FROM", role, level, arg_datum(ObjectIdGetDatum(role)));
	audit_write(fcinfo, &call, NULL);
	call_leave(&call);
	PG_RETURN_VOID();
}

/* Something in the schema that no extension brought. */
#define FOREIGN_OBJECT                                                                             \
	"SELECT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d "                           \
	"WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = $1 AND d.deptype = 'n' "       \
	"AND d.classid <> 'pg_extension'::regclass AND NOT EXISTS (SELECT FROM pg_depend m "           \
	"WHERE m.classid = d.classid AND m.objid = d.objid AND m.deptype = 'e') LIMIT 1"

static void
raise_foreign_schema(const char *detail)
{
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("schema \"billing\" exists and is not safe to install into"),
					errdetail("%s", detail), errhint("Drop or rename it, and try again.")));
}

/*
 * billing.check_schema() → void
 *
 * For the install script alone, which drops it again: the schema must be a
 * superuser's and hold nothing; else 55000. Who owns it could put functions of
 * his own beside ours, and what is in it could be called instead of ours.
 */
Datum
billing_check_schema(PG_FUNCTION_ARGS)
{
	Oid schema = tables_schema();
	HeapTuple tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	Oid owner;

	(void) fcinfo;
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for schema %u", schema);
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	if (!superuser_arg(owner))
		raise_foreign_schema(psprintf("It belongs to \"%s\", who is no superuser.",
									  GetUserNameFromId(owner, false)));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(FOREIGN_OBJECT, 1, (Oid[]){OIDOID},
							  (Datum[]){ObjectIdGetDatum(schema)}, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_with_args failed");
	if (SPI_processed > 0)
		raise_foreign_schema(psprintf(
			"It holds %s.", SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)));
	SPI_finish();
	PG_RETURN_VOID();
}
