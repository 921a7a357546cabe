/*
 * audit.c
 *	  Writing down who called what on which account.
 *
 * The record is made from the call itself, function name and arguments, so that
 * it says what was asked for whatever came of it. What is rolled back leaves no
 * record; the server's log has the errors.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "account.h"
#include "audit.h"
#include "binding.h"
#include "event.h"
#include "identifier.h"
#include "query.h"

static SqlQuery insert_audit = {
	.sql = "INSERT INTO billing.audit (account_id, audit_id, session_role, role, acting_user, "
		   "function, arguments) VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb)",
	.nargs = 7,
	.argtypes = {UUIDOID, UUIDOID, NAMEOID, NAMEOID, UUIDOID, TEXTOID, TEXTOID}};

/* Neither secrets nor what must vanish with a user who is removed. */
static bool
is_withheld(const char *argument)
{
	static const char *const withheld[] = {"password", "email", "token", "client"};

	for (int i = 0; i < (int) lengthof(withheld); i++)
		if (strcmp(argument, withheld[i]) == 0)
			return true;
	return false;
}

static bool
names_actor(const char *argument, Oid type)
{
	return type == UUIDOID &&
		   (strcmp(argument, "acting_user") == 0 || strcmp(argument, "added_by") == 0);
}

static void
append_argument(EventDetail *detail, const char *name, Oid type, Datum value)
{
	Oid output;
	bool is_varlena;

	switch (type)
	{
		case INT8OID:
			event_detail_int64(detail, name, DatumGetInt64(value));
			break;
		case TIMESTAMPTZOID:
			event_detail_time(detail, name, DatumGetTimestampTz(value));
			break;
		default:
			getTypeOutputInfo(type, &output, &is_varlena);
			event_detail_text(detail, name, OidOutputFunctionCall(output, value));
			break;
	}
}

/* Arguments that only return something have no place in fcinfo. */
static void
read_arguments(FunctionCallInfo fcinfo, HeapTuple function, EventDetail *detail,
			   const pg_uuid_t **actor)
{
	Oid *types;
	char **names;
	char *modes;
	int count = get_func_arg_info(function, &types, &names, &modes);
	int n = 0;

	for (int i = 0; i < count && n < fcinfo->nargs; i++)
	{
		if (modes != NULL && (modes[i] == PROARGMODE_OUT || modes[i] == PROARGMODE_TABLE))
			continue;
		if (!PG_ARGISNULL(n))
		{
			if (names_actor(names[i], types[i]))
				*actor = PG_GETARG_UUID_P(n);
			if (!is_withheld(names[i]))
				append_argument(detail, names[i], types[i], PG_GETARG_DATUM(n));
		}
		n++;
	}
}

/*
 * Records the call that fcinfo is, between call_enter() and call_leave(). account
 * NULL: it concerns the whole database, which a bound transaction may not change.
 */
void
audit_write(FunctionCallInfo fcinfo, const Call *call, const pg_uuid_t *account)
{
	static const pg_uuid_t whole_database = {{0}};
	const pg_uuid_t *subject = account == NULL ? &whole_database : account;
	const pg_uuid_t *actor = NULL;
	HeapTuple function = SearchSysCache1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
	EventDetail detail;
	pg_uuid_t id;
	NameData session_role;
	NameData role;

	if (account == NULL)
		binding_refuse();
	else if (!binding_admits(account))
		account_raise_not_found(account);
	if (!HeapTupleIsValid(function))
		elog(ERROR, "cache lookup failed for function %u", fcinfo->flinfo->fn_oid);
	event_detail_begin(&detail);
	read_arguments(fcinfo, function, &detail, &actor);
	appendStringInfoChar(&detail.json, '}');
	identifier_new(&id, subject);
	namestrcpy(&session_role, GetUserNameFromId(GetSessionUserId(), false));
	namestrcpy(&role, GetUserNameFromId(call->user, false));
	query_execute(
		&insert_audit,
		(NullableDatum[]){arg_uuid(subject), arg_uuid(&id), arg_datum(NameGetDatum(&session_role)),
						  arg_datum(NameGetDatum(&role)), arg_uuid(actor),
						  arg_text(NameStr(((Form_pg_proc) GETSTRUCT(function))->proname)),
						  arg_text(detail.json.data)});
	ReleaseSysCache(function);
}
