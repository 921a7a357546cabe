/*
 * held.c
 *	  Which grants the tokens of open holds were taken from.
 */
#include "postgres.h"

#include "common/int.h"

#include "held.h"
#include "probe.h"

/* Sums beyond a bigint are possible only in theory: then the largest bigint is the answer. */
static void
add_held(int64 *held, const Balances *balances, Probe *entry)
{
	pg_uuid_t id = probe_uuid(entry, LEDGER_GRANT_ID);
	const GrantBalance *grant = balance_find(balances, &id);
	int64 *sum;

	if (grant == NULL)
		return;
	sum = &held[grant - balances->grants];
	if (pg_add_s64_overflow(*sum, probe_int64(entry, LEDGER_TOKENS), sum))
		*sum = PG_INT64_MAX;
}

/* The tokens of each of the grants that open holds keep, of those that end as the strategy says. */
static int64 *
load_ending(const Balances *balances, const pg_uuid_t *account, StrategyNumber strategy,
			TimestampTz at, Snapshot snapshot)
{
	int64 *held = palloc0(sizeof(int64) * (balances->count + 1));
	Probe holds;
	ScanKeyData keys[2];

	probe_key_uuid(&keys[0], 1, account);
	probe_key_time(&keys[1], 2, strategy, at);
	probe_begin(&holds, INDEX_HOLD_OPEN, snapshot, keys, 2);
	while (probe_next(&holds))
	{
		pg_uuid_t hold = probe_uuid(&holds, HOLD_HOLD_ID);
		Probe entries;
		ScanKeyData entry_keys[2];

		probe_key_uuid(&entry_keys[0], 1, account);
		probe_key_uuid(&entry_keys[1], 2, &hold);
		probe_begin(&entries, INDEX_LEDGER_HOLD, snapshot, entry_keys, 2);
		while (probe_next(&entries))
			add_held(held, balances, &entries);
		probe_end(&entries);
	}
	probe_end(&holds);
	return held;
}

/*
 * The tokens of each of the grants that holds in their time keep. The snapshot
 * is that of the balances.
 */
int64 *
held_load(const Balances *balances, const pg_uuid_t *account, TimestampTz now, Snapshot snapshot)
{
	return load_ending(balances, account, BTGreaterStrategyNumber, now, snapshot);
}

/* Where nothing was taken nothing is held. */
static bool
any_taken(const Balances *balances)
{
	for (int i = 0; i < balances->count; i++)
		if (balances->grants[i].consumed > 0)
			return true;
	return false;
}

/*
 * Counts what holds keep that are over as returned, written or not: what a check
 * says, and what money or an event depends on, is the same whether the worker has
 * been there or not. Nothing may be spent by such balances, since the ledger does
 * not say so yet.
 */
void
held_return_overdue(Balances *balances, const pg_uuid_t *account, TimestampTz now,
					Snapshot snapshot)
{
	int64 *held;

	if (!any_taken(balances))
		return;
	held = load_ending(balances, account, BTLessEqualStrategyNumber, now, snapshot);
	for (int i = 0; i < balances->count; i++)
		balances->grants[i].consumed -= held[i];
	pfree(held);
}
