/*
 * tenant.c
 *	  SQL functions that create and change accounts.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"

#include "account.h"
#include "argument.h"
#include "audit.h"
#include "binding.h"
#include "call.h"
#include "errors.h"
#include "event.h"
#include "identifier.h"
#include "lock.h"
#include "period.h"
#include "query.h"
#include "spend.h"

PG_FUNCTION_INFO_V1(billing_create_account);
PG_FUNCTION_INFO_V1(billing_update_account);
PG_FUNCTION_INFO_V1(billing_suspend_account);
PG_FUNCTION_INFO_V1(billing_reinstate_account);
PG_FUNCTION_INFO_V1(billing_close_account);

static SqlQuery insert_account = {
	.sql = "INSERT INTO billing.account (account_id, name, reference, time_zone, metadata, "
		   "created_at) "
		   "VALUES ($1, $2, $3, $4, $5, clock_timestamp()) ON CONFLICT (account_id) DO NOTHING",
	.nargs = 5,
	.argtypes = {UUIDOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID}};

static SqlQuery same_account = {.sql = "SELECT FROM billing.account WHERE account_id = $1 AND name "
									   "= $2 AND reference IS NOT DISTINCT "
									   "FROM $3 AND time_zone = $4 AND metadata = $5",
								.nargs = 5,
								.argtypes = {UUIDOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID}};

static SqlQuery update_account = {.sql = "UPDATE billing.account SET name = coalesce($2, name), "
										 "reference = coalesce($3, reference), "
										 "time_zone = coalesce($4, time_zone), metadata = "
										 "coalesce($5, metadata) WHERE account_id = $1",
								  .nargs = 5,
								  .argtypes = {UUIDOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID}};

static SqlQuery suspend_account = {.sql = "UPDATE billing.account SET suspended_at = "
										  "coalesce(suspended_at, $2), suspended_reason = $3 "
										  "WHERE account_id = $1",
								   .nargs = 3,
								   .argtypes = {UUIDOID, TIMESTAMPTZOID, TEXTOID}};

static SqlQuery reinstate_account = {.sql = "UPDATE billing.account SET suspended_at = NULL, "
											"suspended_reason = NULL WHERE account_id = $1",
									 .nargs = 1,
									 .argtypes = {UUIDOID}};

static SqlQuery close_account = {
	.sql = "UPDATE billing.account SET suspended_at = coalesce(suspended_at, $2), closed_at = $2 "
		   "WHERE account_id = $1",
	.nargs = 2,
	.argtypes = {UUIDOID, TIMESTAMPTZOID}};

static NullableDatum
metadata_argument(FunctionCallInfo fcinfo, int n)
{
	Jsonb *metadata;

	if (PG_ARGISNULL(n))
		return arg_null();
	metadata = PG_GETARG_JSONB_P(n);
	if (!JB_ROOT_IS_OBJECT(metadata))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("metadata must be a JSON object"),
				 errhint("Pass something like {\"key\": \"value\"}.")));
	return arg_datum(JsonbPGetDatum(metadata));
}

static NullableDatum
time_zone_argument(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		return arg_null();
	return arg_text(period_check_time_zone(text_to_cstring(PG_GETARG_TEXT_PP(n))));
}

/*
 * billing.create_account(name text, account_id uuid, reference text,
 *		time_zone text, metadata jsonb) → uuid
 *
 * Creates an account and returns its id, a new one where account_id is NULL.
 * Safe to retry: the same account_id with the same values is returned, with
 * others it is PB008. NULL name, time_zone or metadata: 22004; empty name,
 * account_id of another version than 4 or 7, unknown time zone, metadata that
 * is no object: 22023; over 255 characters: 22001.
 */
Datum
billing_create_account(PG_FUNCTION_ARGS)
{
	Call call;
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));
	NullableDatum args[5];

	args[1] = arg_text(argument_text(fcinfo, 0, "name", NAME_MAX_LENGTH));
	if (PG_ARGISNULL(1))
		identifier_new_account(id);
	else
		*id = *PG_GETARG_UUID_P(1);
	identifier_check_account(id);
	args[0] = arg_uuid(id);
	args[2] = arg_text(argument_text_or_null(fcinfo, 2, "reference", NAME_MAX_LENGTH));
	argument_require(fcinfo, 3, "time_zone");
	args[3] = time_zone_argument(fcinfo, 3);
	argument_require(fcinfo, 4, "metadata");
	args[4] = metadata_argument(fcinfo, 4);

	binding_refuse();
	call_enter(&call);
	if (query_execute(&insert_account, args) == 1)
		event_write(id, "account_created", GetCurrentTimestamp(), NULL);
	else if (query_execute(&same_account, args) == 0)
		ereport(ERROR, (errcode(ERRCODE_BILLING_IDEMPOTENCY_CONFLICT),
						errmsg("account exists with other values"),
						errdetail("Account %s has another name, reference, time zone or metadata.",
								  identifier_text(id)),
						errhint("Use billing.update_account to change it.")));
	audit_write(fcinfo, &call, id);
	call_leave(&call);
	PG_RETURN_UUID_P(id);
}

/*
 * billing.update_account(account_id uuid, name text, reference text,
 *		time_zone text, metadata jsonb) → void
 *
 * Changes what is not NULL. A new time zone counts for periods bought from then
 * on. NULL account_id: 22004; unknown account: PB001; the other errors are those
 * of create_account.
 */
Datum
billing_update_account(PG_FUNCTION_ARGS)
{
	Call call;
	const pg_uuid_t *id = argument_uuid(fcinfo, 0, "account_id");
	NullableDatum args[5];

	args[0] = arg_uuid(id);
	args[1] = arg_text(argument_text_or_null(fcinfo, 1, "name", NAME_MAX_LENGTH));
	args[2] = arg_text(argument_text_or_null(fcinfo, 2, "reference", NAME_MAX_LENGTH));
	args[3] = time_zone_argument(fcinfo, 3);
	args[4] = metadata_argument(fcinfo, 4);
	call_enter(&call);
	lock_account(id, LOCK_PLANS, ExclusiveLock);
	if (query_execute(&update_account, args) == 0)
		account_raise_not_found(id);
	audit_write(fcinfo, &call, id);
	call_leave(&call);
	PG_RETURN_VOID();
}

/* Takes the locks under which nobody spends meanwhile. */
static void
lock_and_read(Account *account, const pg_uuid_t *id)
{
	lock_plan_change(id);
	account_require(account, id);
}

/*
 * billing.suspend_account(account_id uuid, reason text) → void
 *
 * Nothing is allowed until it is reinstated; time runs on. Again: the newest
 * reason stands. NULL: 22004; empty reason: 22023, over 2,000 characters:
 * 22001; unknown account: PB001; closed account: PB002.
 */
Datum
billing_suspend_account(PG_FUNCTION_ARGS)
{
	Call call;
	const pg_uuid_t *id = argument_uuid(fcinfo, 0, "account_id");
	char *reason = argument_text(fcinfo, 1, "reason", TEXT_MAX_LENGTH);
	Account account;
	TimestampTz now;

	call_enter(&call);
	lock_and_read(&account, id);
	if (account.closed)
		account_raise_suspended(&account);
	now = account_verb_time(&account);
	query_execute(&suspend_account,
				  (NullableDatum[]){arg_uuid(id), arg_time(now), arg_text(reason)});
	if (!account.suspended)
	{
		EventDetail detail;

		event_detail_begin(&detail);
		event_detail_text(&detail, "reason", reason);
		event_write(id, "account_suspended", now, &detail);
	}
	audit_write(fcinfo, &call, id);
	call_leave(&call);
	PG_RETURN_VOID();
}

/*
 * billing.reinstate_account(account_id uuid) → void
 *
 * Ends a suspension; an account that is not suspended stays as it is. NULL:
 * 22004; unknown account: PB001; closed account: PB002.
 */
Datum
billing_reinstate_account(PG_FUNCTION_ARGS)
{
	Call call;
	const pg_uuid_t *id = argument_uuid(fcinfo, 0, "account_id");
	Account account;

	spend_prevent("billing.reinstate_account()");
	call_enter(&call);
	lock_and_read(&account, id);
	if (account.closed)
		account_raise_suspended(&account);
	if (account.suspended)
	{
		query_execute(&reinstate_account, (NullableDatum[]){arg_uuid(id)});
		event_write(id, "account_reinstated", account_verb_time(&account), NULL);
	}
	audit_write(fcinfo, &call, id);
	call_leave(&call);
	PG_RETURN_VOID();
}

/*
 * billing.close_account(account_id uuid) → void
 *
 * Suspends the account for good; its records stay. Again: nothing happens.
 * NULL: 22004; unknown account: PB001.
 */
Datum
billing_close_account(PG_FUNCTION_ARGS)
{
	Call call;
	const pg_uuid_t *id = argument_uuid(fcinfo, 0, "account_id");
	Account account;

	spend_prevent("billing.close_account()");
	call_enter(&call);
	lock_and_read(&account, id);
	if (!account.closed)
	{
		TimestampTz now = account_verb_time(&account);

		query_execute(&close_account, (NullableDatum[]){arg_uuid(id), arg_time(now)});
		event_write(id, "account_closed", now, NULL);
	}
	audit_write(fcinfo, &call, id);
	call_leave(&call);
	PG_RETURN_VOID();
}
