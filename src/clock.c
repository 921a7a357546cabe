/*
 * clock.c
 *	  SQL functions for an account's clock: real time, or a frozen one for tests.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "account.h"
#include "argument.h"
#include "audit.h"
#include "call.h"
#include "expiry.h"
#include "lock.h"
#include "period.h"
#include "query.h"

PG_FUNCTION_INFO_V1(billing_now);
PG_FUNCTION_INFO_V1(billing_set_test_clock);
PG_FUNCTION_INFO_V1(billing_advance_test_clock);

static SqlQuery set_clock = {
	.sql = "UPDATE billing.account SET test_clock = $2, is_test = true WHERE account_id = $1",
	.nargs = 2,
	.argtypes = {UUIDOID, TIMESTAMPTZOID}};

/*
 * billing.now(account_id uuid) → timestamptz
 *
 * What checks take as now for this account: its test clock, or the start of the
 * statement. NULL or unknown account: the start of the statement.
 */
Datum
billing_now(PG_FUNCTION_ARGS)
{
	Account account;

	if (PG_ARGISNULL(0) || !account_read(&account, PG_GETARG_UUID_P(0), GetActiveSnapshot()))
		account.has_test_clock = false;
	PG_RETURN_TIMESTAMPTZ(account_check_time(&account));
}

static void
check_forward(TimestampTz from, TimestampTz to)
{
	if (to < from)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a test clock only moves forward"),
				 errdetail("The account's now is %s; %s is earlier.",
						   pstrdup(timestamptz_to_str(from)), pstrdup(timestamptz_to_str(to))),
				 errhint("Pass a later time, or use a new account.")));
}

/* What falls due on the way runs in due order, dated at its due time. */
static void
move_clock(Account *account, TimestampTz to)
{
	/* the check's now, so that clock_timestamp() as an argument is not in the past */
	check_forward(account_check_time(account), to);
	query_execute(&set_clock, (NullableDatum[]){arg_uuid(&account->id), arg_time(to)});
	account->has_test_clock = true;
	account->test_clock = to;
	(void) expiry_run_account(account, to);
}

/*
 * billing.set_test_clock(account_id uuid, at timestamptz) → void
 *
 * Freezes the account's now at a time not earlier than it is; NULL: real time
 * again. Marks the account as a test account for ever. What falls due on the
 * way is written down. NULL account: 22004; earlier or infinite time: 22023;
 * unknown account: PB001.
 */
Datum
billing_set_test_clock(PG_FUNCTION_ARGS)
{
	Call call;
	const pg_uuid_t *id = argument_uuid(fcinfo, 0, "account_id");
	Account account;

	call_enter(&call);
	lock_plan_change(id);
	account_require(&account, id);
	if (PG_ARGISNULL(1))
		query_execute(&set_clock, (NullableDatum[]){arg_uuid(id), arg_null()});
	else
		move_clock(&account, argument_time(fcinfo, 1, "at"));
	audit_write(fcinfo, &call, id);
	call_leave(&call);
	PG_RETURN_VOID();
}

/*
 * billing.advance_test_clock(account_id uuid, by interval) → timestamptz
 *
 * Moves the account's test clock forward, from real now if it has none, counted
 * in the account's time zone; returns the new now. NULL: 22004; a negative
 * interval: 22023; out of range: 22008; unknown account: PB001.
 */
Datum
billing_advance_test_clock(PG_FUNCTION_ARGS)
{
	Call call;
	const pg_uuid_t *id = argument_uuid(fcinfo, 0, "account_id");
	Account account;
	TimestampTz to;

	argument_require(fcinfo, 1, "by");
	period_check_duration(PG_GETARG_INTERVAL_P(1));
	call_enter(&call);
	lock_plan_change(id);
	account_require(&account, id);
	to = period_end(account_verb_time(&account), PG_GETARG_INTERVAL_P(1), 1, account_time_zone(id));
	move_clock(&account, to);
	audit_write(fcinfo, &call, id);
	call_leave(&call);
	PG_RETURN_TIMESTAMPTZ(to);
}
