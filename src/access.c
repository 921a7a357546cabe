/*
 * access.c
 *	  Who may use what, now: the checks.
 *
 * Everything derives from time and balance at the statement's start; nothing
 * waits for the worker. A hold that is over keeps nothing, written or not.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "access.h"
#include "probe.h"

PG_FUNCTION_INFO_V1(billing_plan_is_active);
PG_FUNCTION_INFO_V1(billing_check_access);
PG_FUNCTION_INFO_V1(billing_user_permissions);

static char *
text_or_null(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/*
 * billing.plan_is_active(account_id uuid, app text, plan text) → boolean
 *
 * Whether a bought plan is in force. app and plan, where given, must match the
 * same subscription; any version counts. NULL or unknown account, unknown app,
 * unknown or free plan: false. Raises nothing.
 */
Datum
billing_plan_is_active(PG_FUNCTION_ARGS)
{
	Snapshot snapshot = GetActiveSnapshot();
	char *app = text_or_null(fcinfo, 1);
	char *plan = text_or_null(fcinfo, 2);
	Account account;
	Holdings holdings;

	if (PG_ARGISNULL(0) || !account_read(&account, PG_GETARG_UUID_P(0), snapshot) ||
		account.suspended)
		PG_RETURN_BOOL(false);
	holding_load(&holdings, &account, account_check_time(&account), snapshot);
	/* holds that are over are looked for only where they can make a no a yes */
	if (!holding_any_in_force(&holdings, app, plan))
		holding_return_overdue(&holdings);
	/* a plan for every app does not cover what is no app */
	PG_RETURN_BOOL(holding_any_in_force(&holdings, app, plan) &&
				   (app == NULL || app_exists(app, snapshot)));
}

/* The plan in force that grants and lasts longest, then by code; NULL: none. */
static const Holding *
longest_that_grants(const Holdings *holdings, const char *app, const char *permission)
{
	const Holding *best = NULL;

	for (int i = 0; i < holdings->count; i++)
	{
		const Holding *item = &holdings->items[i];

		if (!item->in_force || !holding_covers(item, app) ||
			!plan_grants(holding_version(holdings, item), permission))
			continue;
		if (best == NULL || item->expires_at > best->expires_at ||
			(item->expires_at == best->expires_at && strcmp(item->plan, best->plan) < 0))
			best = item;
	}
	return best;
}

static void
answer_from(Access *access, const Holding *holding, const PlanVersion *free_plan)
{
	if (holding != NULL)
	{
		access->plan = holding->plan;
		access->expires_at = holding->expires_at;
	}
	else if (free_plan != NULL)
		access->plan = free_plan->code;
}

static bool
role_keeps(const char *role, const char *permission, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	bool keeps = false;

	probe_key_text(&key, 1, CStringGetTextDatum(role));
	probe_begin(&probe, INDEX_ROLE_PKEY, snapshot, &key, 1);
	if (probe_next(&probe))
	{
		PermissionSet permissions =
			permission_set_from_array(probe_datum(&probe, ROLE_PERMISSIONS));
		PermissionSet withheld = permission_set_from_array(probe_datum(&probe, ROLE_WITHHELD));

		keeps = permission_set_grants(&permissions, permission) &&
				!permission_set_grants(&withheld, permission);
	}
	probe_end(&probe);
	return keeps;
}

/* What plans and role say of the permission, once account and user may come in. */
static Reason
decide_permission(Access *access, Holdings *holdings, const PlanVersion *free_plan,
				  const char *permission, const char *app, const AccountUser *user)
{
	const Holding *granting = longest_that_grants(holdings, app, permission);

	if (granting == NULL && (free_plan == NULL || !plan_grants(free_plan, permission)))
		return holding_any_in_force(holdings, app, NULL) ? REASON_PERMISSION_NOT_IN_PLAN
														 : holding_why_none(holdings, app);
	access->plan = NULL;
	access->expires_at = DT_NOEND;
	answer_from(access, granting, free_plan);
	if (user != NULL && !role_keeps(user->role, permission, holdings->snapshot))
		return REASON_PERMISSION_NOT_IN_ROLE;
	return REASON_ALLOWED;
}

static Reason
decide_user(AccountUser *user, const pg_uuid_t *user_id, Holdings *holdings)
{
	if (!user_read(user, user_id, holdings->snapshot) ||
		memcmp(user->account_id.data, holdings->account->id.data, UUID_LEN) != 0)
		return REASON_USER_NOT_FOUND;
	return user_denial(user, holdings);
}

/* No plan covers an app that does not exist, not even one for every app. */
static bool
can_be_covered(const char *app, Snapshot snapshot)
{
	return app == NULL || strcmp(app, BUILTIN_APP) == 0 || app_exists(app, snapshot);
}

static void
deny(Access *access, Reason reason)
{
	memset(access, 0, sizeof(*access));
	access->level = "none";
	access->reason = reason;
	access->expires_at = DT_NOEND;
}

/* The answer at the instant for which the holdings were loaded. */
void
access_decide(Access *access, Holdings *holdings, const char *permission, const pg_uuid_t *user_id)
{
	char *app = permission == NULL ? NULL : permission_app(permission);
	bool known = can_be_covered(app, holdings->snapshot);
	const Holding *longest = known ? holding_longest(holdings, app) : NULL;
	PlanVersion *free_plan = plan_free(holdings->snapshot);
	AccountUser user;

	deny(access, REASON_ACCOUNT_SUSPENDED);
	access->tokens_remaining =
		balance_remaining(holding_balances(holdings),
						  (TokenScope){.every_app = app == NULL, .app = app}, holdings->now);
	if (holdings->account->suspended)
		return;
	access->level = longest != NULL ? "full" : free_plan != NULL ? "limited" : "none";
	answer_from(access, longest, free_plan);
	access->reason = user_id == NULL ? REASON_ALLOWED : decide_user(&user, user_id, holdings);
	if (access->reason != REASON_ALLOWED)
		return;
	if (!known)
		access->reason = REASON_NO_ACTIVE_PLAN;
	else if (permission != NULL)
		access->reason = decide_permission(access, holdings, free_plan, permission, app,
										   user_id == NULL ? NULL : &user);
	else if (longest == NULL)
		access->reason = holding_why_none(holdings, app);
	access->allowed = access->reason == REASON_ALLOWED;
}

void
access_check(Access *access, const pg_uuid_t *account_id, const char *permission,
			 const pg_uuid_t *user_id, Snapshot snapshot)
{
	Account account;
	Holdings holdings;

	deny(access, REASON_ACCOUNT_NOT_FOUND);
	if (!account_read(&account, account_id, snapshot))
		return;
	holding_load_due(&holdings, &account, account_check_time(&account), snapshot);
	access_decide(access, &holdings, permission, user_id);
}

static Datum
access_tuple(FunctionCallInfo fcinfo, const Access *access)
{
	TupleDesc desc;
	Datum values[7];
	bool nulls[7] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = BoolGetDatum(access->allowed);
	values[1] = CStringGetTextDatum(access->level);
	values[2] = CStringGetTextDatum(reason_name(access->reason));
	nulls[3] = access->plan == NULL;
	values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(access->plan);
	values[4] = Int64GetDatum(access->tokens_remaining);
	nulls[5] = TIMESTAMP_NOT_FINITE(access->expires_at);
	values[5] = TimestampTzGetDatum(access->expires_at);
	values[6] = CStringGetTextDatum(reason_message(access->reason));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * billing.check_access(account_id uuid, permission text, user_id uuid) → billing.access
 *
 * Whether the account, and the user if one is given, may do what the permission
 * names; without a permission, whether a bought plan is in force. Denial is
 * data: NULL or unknown ids, and permissions that nothing grants, are answered
 * with a reason. Raises nothing.
 */
Datum
billing_check_access(PG_FUNCTION_ARGS)
{
	Access access;

	access_check(&access, PG_ARGISNULL(0) ? NULL : PG_GETARG_UUID_P(0), text_or_null(fcinfo, 1),
				 PG_ARGISNULL(2) ? NULL : PG_GETARG_UUID_P(2), GetActiveSnapshot());
	return access_tuple(fcinfo, &access);
}

/* What one plan grants, as patterns; a plan without permissions grants all of its apps. */
static PermissionSet
granted_patterns(const PlanVersion *plan, const PermissionSet *every_app)
{
	const PermissionSet *apps = plan->covers_every_app ? every_app : &plan->apps;
	PermissionSet patterns = {0};

	for (int i = 0; i < plan->permissions.count; i++)
		permission_set_add(&patterns, plan->permissions.items[i]);
	if (plan->permissions.count == 0 && plan->kind != PLAN_FREE)
		for (int i = 0; i < apps->count; i++)
			permission_set_add(&patterns, psprintf("%s:*", apps->items[i]));
	permission_set_add(&patterns, PERMISSION_MANAGE_USERS);
	return patterns;
}

static PermissionSet
all_apps(Snapshot snapshot)
{
	PermissionSet apps = {0};
	Probe probe;

	probe_begin(&probe, INDEX_APP_PKEY, snapshot, NULL, 0);
	while (probe_next(&probe))
		permission_set_add(&apps, probe_text(&probe, APP_CODE));
	probe_end(&probe);
	return apps;
}

static PermissionSet
plan_patterns(Holdings *holdings)
{
	PermissionSet apps = all_apps(holdings->snapshot);
	PermissionSet all = {0};
	PlanVersion *free_plan = plan_free(holdings->snapshot);

	for (int i = -1; i < holdings->count; i++)
	{
		PermissionSet granted;

		if (i < 0 ? free_plan == NULL : !holdings->items[i].in_force)
			continue;
		granted = granted_patterns(
			i < 0 ? free_plan : holding_version(holdings, &holdings->items[i]), &apps);
		for (int j = 0; j < granted.count; j++)
			permission_set_add(&all, granted.items[j]);
	}
	return all;
}

static PermissionSet
narrowed_by_role(const PermissionSet *granted, const char *role, Snapshot snapshot)
{
	PermissionSet kept = {0};
	Probe probe;
	ScanKeyData key;

	probe_key_text(&key, 1, CStringGetTextDatum(role));
	probe_begin(&probe, INDEX_ROLE_PKEY, snapshot, &key, 1);
	if (probe_next(&probe))
	{
		PermissionSet role_set = permission_set_from_array(probe_datum(&probe, ROLE_PERMISSIONS));
		PermissionSet withheld = permission_set_from_array(probe_datum(&probe, ROLE_WITHHELD));

		for (int i = 0; i < granted->count; i++)
			for (int j = 0; j < role_set.count; j++)
			{
				char *both = permission_narrow(granted->items[i], role_set.items[j]);

				if (both != NULL && !permission_set_grants(&withheld, both))
					permission_set_add(&kept, both);
			}
	}
	probe_end(&probe);
	return kept;
}

static PermissionSet
permissions_of_user(const pg_uuid_t *user_id, Snapshot snapshot)
{
	PermissionSet none = {0};
	PermissionSet granted;
	AccountUser user;
	Account account;
	Holdings holdings;

	if (!user_read(&user, user_id, snapshot) ||
		!account_read(&account, &user.account_id, snapshot) || account.suspended)
		return none;
	holding_load_due(&holdings, &account, account_check_time(&account), snapshot);
	if (user_denial(&user, &holdings) != REASON_ALLOWED)
		return none;
	granted = plan_patterns(&holdings);
	return narrowed_by_role(&granted, user.role, snapshot);
}

/*
 * billing.user_permissions(user_id uuid) → SETOF text
 *
 * What the user may do now: the permissions of the plans in force and of the
 * free plan, as far as the role keeps them, sorted; app:* stands for all of an
 * app. No row for a NULL, unknown, disabled, removed or over-limit user and for
 * a suspended account. Raises nothing.
 */
Datum
billing_user_permissions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	PermissionSet permissions = {0};

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (!PG_ARGISNULL(0))
		permissions = permissions_of_user(PG_GETARG_UUID_P(0), GetActiveSnapshot());
	for (int i = 0; i < permissions.count; i++)
	{
		Datum value = CStringGetTextDatum(permissions.items[i]);
		bool null = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &null);
	}
	return (Datum) 0;
}
