/*
 * catalogue.c
 *	  SQL functions that write the catalogue: apps, plans, roles.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "argument.h"
#include "audit.h"
#include "call.h"
#include "errors.h"
#include "lock.h"
#include "period.h"
#include "plan.h"
#include "query.h"
#include "spend.h"

PG_FUNCTION_INFO_V1(billing_create_app);
PG_FUNCTION_INFO_V1(billing_create_plan);
PG_FUNCTION_INFO_V1(billing_revise_plan);
PG_FUNCTION_INFO_V1(billing_retire_plan);
PG_FUNCTION_INFO_V1(billing_create_role);

static SqlQuery insert_app = {.sql = "INSERT INTO billing.app (code, name) VALUES ($1, $2)",
							  .nargs = 2,
							  .argtypes = {TEXTOID, TEXTOID}};

static SqlQuery insert_plan = {.sql = "INSERT INTO billing.plan (code, kind, is_free_plan) VALUES "
									  "($1, $2, $2 = 'free' AND NOT EXISTS "
									  "(SELECT FROM billing.plan WHERE is_free_plan))",
							   .nargs = 2,
							   .argtypes = {TEXTOID, TEXTOID}};

static SqlQuery insert_plan_version = {
	.sql =
		"INSERT INTO billing.plan_version (plan, version, kind, name, price, duration, tokens, "
		"user_limit, permissions, app, apps) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
	.nargs = 11,
	.argtypes = {TEXTOID, INT4OID, TEXTOID, TEXTOID, AMOUNT_ARGUMENT, INTERVALOID, INT8OID, INT8OID,
				 TEXTARRAYOID, TEXTOID, TEXTARRAYOID}};

/* Serialises revisions of one plan. */
static SqlQuery lock_plan = {
	.sql =
		"SELECT retired_at IS NOT NULL, is_free_plan FROM billing.plan WHERE code = $1 FOR UPDATE",
	.nargs = 1,
	.argtypes = {TEXTOID}};

static SqlQuery retire_plan = {
	.sql = "UPDATE billing.plan SET retired_at = now(), is_free_plan = false WHERE code = $1",
	.nargs = 1,
	.argtypes = {TEXTOID}};

/* The next free plan takes over, if there is one. */
static SqlQuery promote_free_plan = {
	.sql =
		"UPDATE billing.plan SET is_free_plan = true WHERE code = (SELECT code FROM billing.plan "
		"WHERE kind = 'free' AND retired_at IS NULL ORDER BY created_at, code LIMIT 1)",
	.nargs = 0};

static SqlQuery insert_role = {.sql =
								   "INSERT INTO billing.role (role, permissions) VALUES ($1, $2)",
							   .nargs = 2,
							   .argtypes = {TEXTOID, TEXTARRAYOID}};

/*
 * billing.create_app(code text, name text) → void
 *
 * Adds a product to the catalogue. NULL: 22004; malformed code or the reserved
 * "billing": 22023; empty name: 22023, over 255 characters: 22001; existing
 * code: 23505.
 */
Datum
billing_create_app(PG_FUNCTION_ARGS)
{
	Call call;
	char *code = argument_code(fcinfo, 0, "code");
	char *name = argument_text(fcinfo, 1, "name", NAME_MAX_LENGTH);

	if (strcmp(code, BUILTIN_APP) == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("app code \"%s\" is reserved", code),
						errdetail("It names the built-in permission %s.", PERMISSION_MANAGE_USERS),
						errhint("Choose another code.")));
	call_enter(&call);
	query_execute(&insert_app, (NullableDatum[]){arg_text(code), arg_text(name)});
	audit_write(fcinfo, &call, NULL);
	call_leave(&call);
	PG_RETURN_VOID();
}

static void
kind_error(const PlanVersion *plan, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a %s plan %s", plan_kind_name(plan->kind), problem),
			 errdetail("This is plan \"%s\".", plan->code),
			 errhint("free plans have no price, duration or tokens; subscription plans need a "
					 "duration; token plans need tokens.")));
}

static void
check_kind(const PlanVersion *plan)
{
	if (plan->kind == PLAN_FREE)
	{
		if (plan->price != NULL)
			kind_error(plan, "has no price");
		if (plan->duration != NULL)
			kind_error(plan, "has no duration");
		if (plan->tokens != 0)
			kind_error(plan, "has no tokens");
	}
	if (plan->kind == PLAN_SUBSCRIPTION && plan->duration == NULL)
		kind_error(plan, "needs a duration");
	if (plan->kind == PLAN_TOKEN && plan->tokens == 0)
		kind_error(plan, "needs tokens");
}

static void
check_price(const PlanVersion *plan)
{
	if (plan->price != NULL && plan->price->minor < 0)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_AMOUNT), errmsg("price must not be negative"),
				 errdetail("It is %s.", amount_text(plan->price)),
				 errhint("Pass zero or more; NULL means not for sale by order.")));
}

/* Of app and of every permission; with neither: every app. */
static void
derive_apps(PlanVersion *plan, Snapshot snapshot)
{
	memset(&plan->apps, 0, sizeof(plan->apps));
	if (plan->app != NULL)
		permission_set_add(&plan->apps, plan->app);
	for (int i = 0; i < plan->permissions.count; i++)
	{
		char *app;

		permission_check_pattern(plan->permissions.items[i], false);
		app = permission_app(plan->permissions.items[i]);
		if (strcmp(app, BUILTIN_APP) != 0)
			permission_set_add(&plan->apps, app);
		else if (strcmp(plan->permissions.items[i], PERMISSION_MANAGE_USERS) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("permission \"%s\" does not exist", plan->permissions.items[i]),
					 errhint("%s is the only built-in permission.", PERMISSION_MANAGE_USERS)));
	}
	for (int i = 0; i < plan->apps.count; i++)
		app_require(plan->apps.items[i], snapshot);
	/* the built-in permission alone is of no app */
	plan->covers_every_app = plan->app == NULL && plan->permissions.count == 0;
}

static void
store_version(PlanVersion *plan)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());

	check_kind(plan);
	check_price(plan);
	derive_apps(plan, snapshot);
	UnregisterSnapshot(snapshot);
	query_execute(
		&insert_plan_version,
		(NullableDatum[]){
			arg_text(plan->code), arg_int32(plan->version), arg_text(plan_kind_name(plan->kind)),
			arg_text(plan->name),
			plan->price == NULL ? arg_null() : arg_datum(AmountPGetDatum(plan->price)),
			plan->duration == NULL ? arg_null() : arg_datum(IntervalPGetDatum(plan->duration)),
			plan->tokens == 0 ? arg_null() : arg_int64(plan->tokens),
			plan->user_limit < 0 ? arg_null() : arg_int64(plan->user_limit),
			arg_datum(permission_set_to_array(&plan->permissions)), arg_text(plan->app),
			plan->covers_every_app ? arg_null() : arg_datum(permission_set_to_array(&plan->apps))});
}

/* Arguments n to n + 6: name, price, duration, tokens, user_limit, permissions, app; NULL leaves what is there. */
static void
set_from_arguments(PlanVersion *plan, FunctionCallInfo fcinfo, int n)
{
	if (!PG_ARGISNULL(n))
		plan->name = argument_text(fcinfo, n, "name", NAME_MAX_LENGTH);
	if (!PG_ARGISNULL(n + 1))
		plan->price = PG_GETARG_AMOUNT_P(n + 1);
	if (!PG_ARGISNULL(n + 2))
	{
		plan->duration = PG_GETARG_INTERVAL_P(n + 2);
		period_check_duration(plan->duration);
	}
	if (!PG_ARGISNULL(n + 3))
		plan->tokens = argument_tokens(fcinfo, n + 3);
	if (!PG_ARGISNULL(n + 4))
	{
		plan->user_limit = PG_GETARG_INT64(n + 4);
		if (plan->user_limit < 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("user_limit must not be negative"),
							errdetail("It is " INT64_FORMAT ".", plan->user_limit),
							errhint("Pass zero or more, or NULL.")));
	}
	if (!PG_ARGISNULL(n + 5))
		plan->permissions = permission_set_from_array(PG_GETARG_DATUM(n + 5));
	if (!PG_ARGISNULL(n + 6))
		plan->app = argument_code(fcinfo, n + 6, "app");
}

/*
 * billing.create_plan(code text, kind text, name text, price billing.amount,
 *		duration interval, tokens bigint, user_limit bigint, permissions text[],
 *		app text) → integer
 *
 * Creates a plan with version 1, which is returned. kind: free, subscription
 * (needs a duration: every field ≥ 0, more than nothing in total; may carry
 * tokens) or token (needs tokens; may have a duration). The first plan of kind
 * free is the free plan. NULL code or kind: 22004; anything out of range:
 * 22023; negative price: PB015; unknown app: PB016; existing code: 23505.
 */
Datum
billing_create_plan(PG_FUNCTION_ARGS)
{
	Call call;
	PlanVersion plan = {.version = 1, .user_limit = -1};
	char *kind;

	plan.code = argument_code(fcinfo, 0, "code");
	kind = argument_code(fcinfo, 1, "kind");
	if (!plan_kind_from_name(kind, &plan.kind))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("unknown kind of plan \"%s\"", kind),
						errhint("Use free, subscription or token.")));
	set_from_arguments(&plan, fcinfo, 2);
	call_enter(&call);
	if (plan.kind == PLAN_FREE)
		lock_catalogue();
	query_execute(&insert_plan, (NullableDatum[]){arg_text(plan.code), arg_text(kind)});
	store_version(&plan);
	audit_write(fcinfo, &call, NULL);
	call_leave(&call);
	PG_RETURN_INT32(1);
}

static void
unset(PlanVersion *plan, const char *name)
{
	if (strcmp(name, "name") == 0)
		plan->name = NULL;
	else if (strcmp(name, "price") == 0)
		plan->price = NULL;
	else if (strcmp(name, "duration") == 0)
		plan->duration = NULL;
	else if (strcmp(name, "tokens") == 0)
		plan->tokens = 0;
	else if (strcmp(name, "user_limit") == 0)
		plan->user_limit = -1;
	else if (strcmp(name, "permissions") == 0)
		plan->permissions.count = 0;
	else if (strcmp(name, "app") == 0)
		plan->app = NULL;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("cannot unset \"%.63s\"", name),
				 errhint("unset may name name, price, duration, tokens, user_limit, permissions "
						 "and app.")));
}

/*
 * billing.revise_plan(code text, name text, price billing.amount, duration
 *		interval, tokens bigint, user_limit bigint, permissions text[], app text,
 *		unset text[]) → integer
 *
 * Writes and returns the next version of a plan; NULL keeps what the newest one
 * has, unset names what becomes NULL (permissions: empty). Who bought an
 * earlier version keeps it, and so does an open order. Unknown or retired plan:
 * PB011; the other errors are those of create_plan.
 */
Datum
billing_revise_plan(PG_FUNCTION_ARGS)
{
	Call call;
	char *code = argument_code(fcinfo, 0, "code");
	PlanVersion *plan;
	int32 version;

	call_enter(&call);
	query_execute(&lock_plan, (NullableDatum[]){arg_text(code)});
	plan = plan_version_on_sale(code);
	if (!PG_ARGISNULL(8))
	{
		PermissionSet names = permission_set_from_array(PG_GETARG_DATUM(8));

		for (int i = 0; i < names.count; i++)
			unset(plan, names.items[i]);
	}
	set_from_arguments(plan, fcinfo, 1);
	version = ++plan->version; /* the plan goes with the call */
	store_version(plan);
	audit_write(fcinfo, &call, NULL);
	call_leave(&call);
	PG_RETURN_INT32(version);
}

/*
 * billing.retire_plan(code text) → void
 *
 * Takes a plan out of sale; who holds it keeps it to its end. Retiring the free
 * plan makes the next oldest free plan the free plan. Again: nothing happens.
 * NULL: 22004; unknown: PB011.
 */
Datum
billing_retire_plan(PG_FUNCTION_ARGS)
{
	Call call;
	char *code = argument_code(fcinfo, 0, "code");

	spend_prevent("billing.retire_plan()");
	call_enter(&call);
	lock_catalogue();
	if (query_execute(&lock_plan, (NullableDatum[]){arg_text(code)}) == 0)
		plan_raise_not_found(code);
	if (!query_bool(0, 1))
	{
		bool was_free_plan = query_bool(0, 2);

		query_execute(&retire_plan, (NullableDatum[]){arg_text(code)});
		if (was_free_plan)
			query_execute(&promote_free_plan, NULL);
	}
	audit_write(fcinfo, &call, NULL);
	call_leave(&call);
	PG_RETURN_VOID();
}

/*
 * billing.create_role(role text, permissions text[]) → void
 *
 * Creates a role, the same for all accounts; permissions are app:name, app:* or
 * *, and say what of the plan the role keeps. NULL: 22004; malformed: 22023;
 * unknown app: PB016; existing role: 23505.
 */
Datum
billing_create_role(PG_FUNCTION_ARGS)
{
	Call call;
	char *role = argument_code(fcinfo, 0, "role");
	PermissionSet permissions;
	Snapshot snapshot;

	argument_require(fcinfo, 1, "permissions");
	permissions = permission_set_from_array(PG_GETARG_DATUM(1));
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	for (int i = 0; i < permissions.count; i++)
	{
		char *app;

		permission_check_pattern(permissions.items[i], true);
		app = permission_app(permissions.items[i]);
		if (app != NULL && strcmp(app, BUILTIN_APP) != 0)
			app_require(app, snapshot);
	}
	UnregisterSnapshot(snapshot);
	call_enter(&call);
	query_execute(
		&insert_role,
		(NullableDatum[]){arg_text(role), arg_datum(permission_set_to_array(&permissions))});
	audit_write(fcinfo, &call, NULL);
	call_leave(&call);
	PG_RETURN_VOID();
}
