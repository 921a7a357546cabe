/*
 * plan.c
 *	  Plan versions as the rules read them.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "argument.h"
#include "errors.h"
#include "plan.h"
#include "probe.h"

static const char *const kind_names[] = {"free", "subscription", "token"};

const char *
plan_kind_name(PlanKind kind)
{
	return kind_names[kind];
}

bool
plan_kind_from_name(const char *name, PlanKind *kind)
{
	for (int i = 0; i < (int) lengthof(kind_names); i++)
		if (strcmp(name, kind_names[i]) == 0)
		{
			*kind = (PlanKind) i;
			return true;
		}
	return false;
}

static PlanVersion *
from_row(Probe *probe)
{
	PlanVersion *plan = palloc0(sizeof(PlanVersion));
	char *kind = probe_text(probe, PLAN_VERSION_KIND);

	plan->code = probe_text(probe, PLAN_VERSION_PLAN);
	plan->version = DatumGetInt32(probe_datum(probe, PLAN_VERSION_VERSION));
	if (!plan_kind_from_name(kind, &plan->kind))
		elog(ERROR, "plan \"%s\" has the unknown kind \"%s\"", plan->code, kind);
	plan->name = probe_text(probe, PLAN_VERSION_NAME);
	if (!probe_is_null(probe, PLAN_VERSION_PRICE))
	{
		plan->price = palloc(sizeof(Amount));
		*plan->price = *DatumGetAmountP(probe_datum(probe, PLAN_VERSION_PRICE));
	}
	if (!probe_is_null(probe, PLAN_VERSION_DURATION))
	{
		plan->duration = palloc(sizeof(Interval));
		*plan->duration = *DatumGetIntervalP(probe_datum(probe, PLAN_VERSION_DURATION));
	}
	plan->tokens =
		probe_is_null(probe, PLAN_VERSION_TOKENS) ? 0 : probe_int64(probe, PLAN_VERSION_TOKENS);
	plan->user_limit = probe_is_null(probe, PLAN_VERSION_USER_LIMIT)
						   ? -1
						   : probe_int64(probe, PLAN_VERSION_USER_LIMIT);
	plan->permissions = permission_set_from_array(probe_datum(probe, PLAN_VERSION_PERMISSIONS));
	plan->app = probe_text(probe, PLAN_VERSION_APP);
	plan->covers_every_app = probe_is_null(probe, PLAN_VERSION_APPS);
	if (!plan->covers_every_app)
		plan->apps = permission_set_from_array(probe_datum(probe, PLAN_VERSION_APPS));
	return plan;
}

static PlanVersion *
read_version(ScanKey keys, int nkeys, Snapshot snapshot)
{
	Probe probe;
	PlanVersion *plan = NULL;

	probe_begin(&probe, INDEX_PLAN_VERSION_PKEY, snapshot, keys, nkeys);
	probe.direction = BackwardScanDirection;
	if (probe_next(&probe))
		plan = from_row(&probe);
	probe_end(&probe);
	return plan;
}

/* NULL: no such version. */
PlanVersion *
plan_version_read(const char *code, int32 version, Snapshot snapshot)
{
	ScanKeyData keys[2];

	probe_key_text(&keys[0], 1, CStringGetTextDatum(code));
	probe_key_int32(&keys[1], 2, version);
	return read_version(keys, 2, snapshot);
}

/* The newest version, retired or not; NULL: no such plan. */
PlanVersion *
plan_version_newest(const char *code, Snapshot snapshot)
{
	ScanKeyData key;

	probe_key_text(&key, 1, CStringGetTextDatum(code));
	return read_version(&key, 1, snapshot);
}

static bool
is_retired(const char *code, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	bool retired;

	probe_key_text(&key, 1, CStringGetTextDatum(code));
	probe_begin(&probe, INDEX_PLAN_PKEY, snapshot, &key, 1);
	retired = probe_next(&probe) && !probe_is_null(&probe, PLAN_RETIRED_AT);
	probe_end(&probe);
	return retired;
}

/* What is sold under this code now; an error if nothing is. */
PlanVersion *
plan_version_on_sale(const char *code)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	PlanVersion *plan = plan_version_newest(code, snapshot);
	bool retired = plan != NULL && is_retired(code, snapshot);

	UnregisterSnapshot(snapshot);
	if (plan == NULL)
		plan_raise_not_found(code);
	if (retired)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_PLAN_NOT_FOUND), errmsg("plan \"%s\" is retired", code),
				 errdetail("It is no longer sold; who holds it keeps it to its end."),
				 errhint("Choose a plan of the view billing.plan_catalogue.")));
	return plan;
}

/* The plan in force whenever nothing bought is; NULL: the catalogue has none. */
PlanVersion *
plan_free(Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	char *code = NULL;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_BOOLEQ, BoolGetDatum(true));
	probe_begin(&probe, INDEX_PLAN_FREE, snapshot, &key, 1);
	if (probe_next(&probe))
		code = probe_text(&probe, PLAN_CODE);
	probe_end(&probe);
	return code == NULL ? NULL : plan_version_newest(code, snapshot);
}

/* app NULL: any. */
bool
plan_covers(const PlanVersion *plan, const char *app)
{
	return permission_apps_cover(plan->covers_every_app, &plan->apps, app);
}

/*
 * A bought plan without permissions grants every permission of its apps; a free
 * plan without permissions grants none.
 */
bool
plan_grants(const PlanVersion *plan, const char *permission)
{
	char *app;

	if (!permission_is_valid(permission))
		return false;
	if (strcmp(permission, PERMISSION_MANAGE_USERS) == 0)
		return true;
	if (plan->permissions.count > 0 || plan->kind == PLAN_FREE)
		return permission_set_grants(&plan->permissions, permission);
	app = permission_app(permission);
	return strcmp(app, BUILTIN_APP) != 0 && plan_covers(plan, app);
}

/* Whether the app is in the catalogue. */
bool
app_exists(const char *code, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	bool found;

	probe_key_text(&key, 1, CStringGetTextDatum(code));
	probe_begin(&probe, INDEX_APP_PKEY, snapshot, &key, 1);
	found = probe_next(&probe);
	probe_end(&probe);
	return found;
}

/* An error unless the app is in the catalogue. */
void
app_require(const char *code, Snapshot snapshot)
{
	if (!app_exists(code, snapshot))
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_NOT_FOUND), errmsg("app \"%s\" does not exist", code),
				 errhint("Create it with billing.create_app, or check its spelling.")));
}

/*
 * The same on the token path. Apps are never deleted, so one that was seen
 * committed need not be looked for again while the tables are the same.
 */
void
app_require_cached(const char *code)
{
	static char known[16][CODE_MAX_LENGTH + 1];
	static uint64 tables = 0;
	static int next = 0;
	Snapshot snapshot;

	if (tables != tables_generation())
		memset(known, 0, sizeof(known));
	tables = tables_generation();
	for (int i = 0; i < (int) lengthof(known); i++)
		if (strcmp(known[i], code) == 0)
			return;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	app_require(code, snapshot);
	UnregisterSnapshot(snapshot);
	/* not one that this transaction may have created and may still abandon */
	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()))
		strlcpy(known[next++ % lengthof(known)], code, sizeof(known[0]));
}

void
plan_raise_not_found(const char *code)
{
	ereport(ERROR,
			(errcode(ERRCODE_BILLING_PLAN_NOT_FOUND), errmsg("plan \"%s\" does not exist", code),
			 errhint("Choose a plan of the view billing.plan_catalogue.")));
}
