/*
 * package.c
 *	  All subscriptions of an account, past and future ones too: whether each is
 *	  in force, and where its tokens went.
 */
#include "postgres.h"

#include "common/int.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "held.h"
#include "holding.h"
#include "probe.h"

PG_FUNCTION_INFO_V1(billing_packages);

typedef struct Package
{
	pg_uuid_t subscription_id;
	bool in_force;
	int64 granted;
	int64 used;
	int64 held;
	int64 left;
} Package;

typedef struct Packages
{
	int count;
	int capacity;
	Package *items;
} Packages;

static Package *
find_package(const Packages *packages, const pg_uuid_t *subscription)
{
	for (int i = 0; i < packages->count; i++)
		if (memcmp(packages->items[i].subscription_id.data, subscription->data, UUID_LEN) == 0)
			return &packages->items[i];
	return NULL;
}

static void
add_package(Packages *packages, const pg_uuid_t *subscription)
{
	Package *package;

	if (packages->count == packages->capacity)
	{
		packages->capacity *= 2;
		packages->items = repalloc(packages->items, sizeof(Package) * packages->capacity);
	}
	package = &packages->items[packages->count++];
	memset(package, 0, sizeof(*package));
	package->subscription_id = *subscription;
}

static void
load_packages(Packages *packages, const Account *account, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;

	packages->count = 0;
	packages->capacity = 8;
	packages->items = palloc(sizeof(Package) * packages->capacity);
	probe_key_uuid(&key, 1, &account->id);
	probe_begin(&probe, INDEX_PERIOD_TIME, snapshot, &key, 1);
	while (probe_next(&probe))
	{
		pg_uuid_t id = probe_uuid(&probe, PERIOD_SUBSCRIPTION_ID);

		if (find_package(packages, &id) == NULL)
			add_package(packages, &id);
	}
	probe_end(&probe);
}

static void
mark_in_force(Packages *packages, const Account *account, TimestampTz now, Snapshot snapshot)
{
	Holdings holdings;

	holding_load_due(&holdings, account, now, snapshot);
	for (int i = 0; i < holdings.count; i++)
	{
		Package *package = find_package(packages, &holdings.items[i].subscription_id);

		if (package != NULL)
			package->in_force = holdings.items[i].in_force;
	}
}

/* Sums beyond a bigint are possible only in theory: then the largest bigint is the answer. */
static void
add_tokens(int64 *sum, int64 tokens)
{
	if (pg_add_s64_overflow(*sum, tokens, sum))
		*sum = PG_INT64_MAX;
}

static int64
voided_tokens(const pg_uuid_t *account, const pg_uuid_t *grant, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData keys[2];
	int64 voided = 0;

	probe_key_uuid(&keys[0], 1, account);
	probe_key_uuid(&keys[1], 2, grant);
	probe_begin(&probe, INDEX_LEDGER_VOID, snapshot, keys, 2);
	while (probe_next(&probe))
		add_tokens(&voided, probe_int64(&probe, LEDGER_TOKENS));
	probe_end(&probe);
	return voided;
}

static void
sum_tokens(Packages *packages, const Account *account, TimestampTz now, Snapshot snapshot)
{
	Balances balances;
	int64 *held;

	balance_load(&balances, &account->id, DT_NOBEGIN, snapshot);
	held_return_overdue(&balances, &account->id, now, snapshot);
	held = held_load(&balances, &account->id, now, snapshot);
	for (int i = 0; i < balances.count; i++)
	{
		const GrantBalance *grant = &balances.grants[i];
		Package *package =
			grant->has_subscription ? find_package(packages, &grant->subscription_id) : NULL;
		int64 voided;

		if (package == NULL)
			continue;
		voided = grant->voided ? voided_tokens(&account->id, &grant->grant_id, snapshot) : 0;
		add_tokens(&package->granted, grant->tokens);
		add_tokens(&package->held, held[i]);
		add_tokens(&package->used, grant->consumed - held[i] - voided);
		if (balance_usable(grant, now))
			add_tokens(&package->left, balance_available(grant));
	}
}

static void
put_package(ReturnSetInfo *rsinfo, const Package *package)
{
	Datum values[6];
	bool nulls[6] = {false};

	values[0] = UUIDPGetDatum(&package->subscription_id);
	values[1] = BoolGetDatum(package->in_force);
	values[2] = Int64GetDatum(package->granted);
	values[3] = Int64GetDatum(package->used);
	values[4] = Int64GetDatum(package->held);
	values[5] = Int64GetDatum(package->left);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * billing.packages(account_id uuid) → SETOF (subscription_id uuid, in_force boolean,
 *		tokens_granted bigint, tokens_used bigint, tokens_held bigint, tokens_left bigint)
 *
 * Every subscription the account has or had. The tokens are those of its own
 * grants: used is what was consumed or captured, less refunds; held is in holds
 * that are not over; left can be used now. What was voided, expired or has not
 * begun is in granted only. No row for a NULL or unknown account. Raises nothing.
 */
Datum
billing_packages(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Snapshot snapshot = GetActiveSnapshot();
	TimestampTz now;
	Account account;
	Packages packages;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || !account_read(&account, PG_GETARG_UUID_P(0), snapshot))
		return (Datum) 0;
	now = account_check_time(&account);
	load_packages(&packages, &account, snapshot);
	mark_in_force(&packages, &account, now, snapshot);
	sum_tokens(&packages, &account, now, snapshot);
	for (int i = 0; i < packages.count; i++)
		put_package(rsinfo, &packages.items[i]);
	return (Datum) 0;
}
