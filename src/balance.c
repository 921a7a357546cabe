/*
 * balance.c
 *	  What is left of each grant, as one snapshot sees it.
 */
#include "postgres.h"

#include "common/int.h"

#include "balance.h"
#include "probe.h"

static int
compare_ids(const void *a, const void *b)
{
	return memcmp(((const GrantBalance *) a)->grant_id.data,
				  ((const GrantBalance *) b)->grant_id.data, UUID_LEN);
}

#define COMPARE(x, y) ((x) < (y) ? -1 : (x) > (y) ? 1 : 0)

/* priority, expires_at, granted_at, grant_id; "no end" is stored as infinity and so comes last. */
static int
compare_draw_order(const void *a, const void *b)
{
	const GrantBalance *x = a;
	const GrantBalance *y = b;
	int order = COMPARE(x->priority, y->priority);

	if (order == 0)
		order = COMPARE(x->expires_at, y->expires_at);
	if (order == 0)
		order = COMPARE(x->granted_at, y->granted_at);
	return order != 0 ? order : compare_ids(a, b);
}

static void
read_grant(GrantBalance *grant, Probe *probe)
{
	memset(grant, 0, sizeof(*grant));
	grant->grant_id = probe_uuid(probe, GRANT_GRANT_ID);
	grant->has_subscription = !probe_is_null(probe, GRANT_SUBSCRIPTION_ID);
	if (grant->has_subscription)
		grant->subscription_id = probe_uuid(probe, GRANT_SUBSCRIPTION_ID);
	grant->app = probe_text(probe, GRANT_APP);
	grant->tokens = probe_int64(probe, GRANT_TOKENS);
	grant->priority = probe_int64(probe, GRANT_PRIORITY);
	grant->effective_at = probe_time(probe, GRANT_EFFECTIVE_AT);
	grant->expires_at = probe_time(probe, GRANT_EXPIRES_AT);
	grant->granted_at = probe_time(probe, GRANT_GRANTED_AT);
	grant->voided = !probe_is_null(probe, GRANT_VOIDED_AT);
}

static void
load_grants(Balances *balances, const pg_uuid_t *account, TimestampTz expiring_after,
			Snapshot snapshot)
{
	Probe probe;
	ScanKeyData keys[2];
	int nkeys = 1;
	int capacity = 4;

	probe_key_uuid(&keys[0], 1, account);
	if (!TIMESTAMP_IS_NOBEGIN(expiring_after))
		probe_key_time(&keys[nkeys++], 2, BTGreaterStrategyNumber, expiring_after);
	balances->grants = palloc(sizeof(GrantBalance) * capacity);
	probe_begin(&probe, INDEX_GRANT_TIME, snapshot, keys, nkeys);
	while (probe_next(&probe))
	{
		if (balances->count == capacity)
		{
			capacity *= 2;
			balances->grants = repalloc(balances->grants, sizeof(GrantBalance) * capacity);
		}
		read_grant(&balances->grants[balances->count++], &probe);
	}
	probe_end(&probe);
}

static int64
newest_checkpoint(const pg_uuid_t *account, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	int64 through = 0;

	probe_key_uuid(&key, 1, account);
	probe_begin(&probe, INDEX_CHECKPOINT_THROUGH, snapshot, &key, 1);
	probe.direction = BackwardScanDirection;
	if (probe_next(&probe))
		through = probe_int64(&probe, CHECKPOINT_THROUGH_ENTRY_NO);
	probe_end(&probe);
	return through;
}

/* The newest checkpoint of one grant may be older than the account's: then nothing moved since. */
static void
apply_checkpoint(GrantBalance *grant, const pg_uuid_t *account, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData keys[2];

	probe_key_uuid(&keys[0], 1, account);
	probe_key_uuid(&keys[1], 2, &grant->grant_id);
	probe_begin(&probe, INDEX_CHECKPOINT_PKEY, snapshot, keys, 2);
	probe.direction = BackwardScanDirection;
	if (probe_next(&probe))
	{
		grant->consumed = probe_int64(&probe, CHECKPOINT_CONSUMED);
		grant->entries = probe_int64(&probe, CHECKPOINT_ENTRIES);
	}
	probe_end(&probe);
}

static void
apply_entry(Balances *balances, Probe *probe)
{
	pg_uuid_t id = probe_uuid(probe, LEDGER_GRANT_ID);
	GrantBalance *grant = balance_find(balances, &id);

	balances->last_entry_no = Max(balances->last_entry_no, probe_int64(probe, LEDGER_ENTRY_NO));
	balances->tail_entries++;
	if (grant == NULL)
		return;
	if (pg_add_s64_overflow(grant->consumed, probe_int64(probe, LEDGER_TOKENS), &grant->consumed))
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("the ledger of a grant adds up to more than a bigint")));
	grant->entries++;
	grant->in_tail = true;
}

static void
apply_tail(Balances *balances, const pg_uuid_t *account, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData keys[2];

	probe_key_uuid(&keys[0], 1, account);
	probe_key_int64(&keys[1], 2, BTGreaterStrategyNumber, balances->through_entry_no);
	probe_begin(&probe, INDEX_LEDGER_PKEY, snapshot, keys, 2);
	while (probe_next(&probe))
		apply_entry(balances, &probe);
	probe_end(&probe);
}

/*
 * Loads the grants that expire after the given time (-infinity: all).
 */
void
balance_load(Balances *balances, const pg_uuid_t *account, TimestampTz expiring_after,
			 Snapshot snapshot)
{
	memset(balances, 0, sizeof(*balances));
	load_grants(balances, account, expiring_after, snapshot);
	balances->through_entry_no = newest_checkpoint(account, snapshot);
	balances->last_entry_no = balances->through_entry_no;
	if (balances->through_entry_no > 0)
		for (int i = 0; i < balances->count; i++)
			apply_checkpoint(&balances->grants[i], account, snapshot);
	apply_tail(balances, account, snapshot);
	qsort(balances->grants, balances->count, sizeof(GrantBalance), compare_draw_order);
}

/* Grants that have not expired are few: a scan beats any index over them. */
GrantBalance *
balance_find(const Balances *balances, const pg_uuid_t *grant)
{
	for (int i = 0; i < balances->count; i++)
		if (memcmp(balances->grants[i].grant_id.data, grant->data, UUID_LEN) == 0)
			return &balances->grants[i];
	return NULL;
}

int64
balance_available(const GrantBalance *grant)
{
	return grant->tokens - grant->consumed;
}

bool
balance_usable(const GrantBalance *grant, TimestampTz now)
{
	return !grant->voided && grant->effective_at <= now && now < grant->expires_at;
}

bool
balance_in_scope(const GrantBalance *grant, TokenScope scope)
{
	if (scope.every_app || grant->app == NULL)
		return true;
	return scope.app != NULL && strcmp(grant->app, scope.app) == 0;
}

/* Grants add up beyond a bigint only in theory: then the largest bigint is the answer. */
int64
balance_remaining(const Balances *balances, TokenScope scope, TimestampTz now)
{
	int64 remaining = 0;

	for (int i = 0; i < balances->count; i++)
	{
		const GrantBalance *grant = &balances->grants[i];

		if (balance_usable(grant, now) && balance_in_scope(grant, scope) &&
			pg_add_s64_overflow(remaining, balance_available(grant), &remaining))
			return PG_INT64_MAX;
	}
	return remaining;
}

bool
balance_has_tokens_of(const Balances *balances, const pg_uuid_t *subscription, TimestampTz now)
{
	for (int i = 0; i < balances->count; i++)
	{
		const GrantBalance *grant = &balances->grants[i];

		if (grant->has_subscription && balance_usable(grant, now) && balance_available(grant) > 0 &&
			memcmp(grant->subscription_id.data, subscription->data, UUID_LEN) == 0)
			return true;
	}
	return false;
}
