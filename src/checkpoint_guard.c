/*
 * checkpoint_guard.c
 *	  Plain INSERT of a checkpoint: it has to be what the ledger adds up to.
 *
 * Balances trust checkpoints, and start where the newest one ends. Whoever has
 * been given INSERT on the table could otherwise fill a grant again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/int.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "call.h"
#include "errors.h"
#include "guard.h"
#include "identifier.h"
#include "lock.h"
#include "probe.h"

PG_FUNCTION_INFO_V1(billing_guard_checkpoint);

typedef struct Claim
{
	pg_uuid_t account;
	pg_uuid_t grant;
	int64 through;
	int64 consumed;
	int64 entries;
} Claim;

static bool
read_claim(Claim *claim, TriggerData *trigger)
{
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	Datum values[CHECKPOINT_CREATED_AT];

	for (int i = 1; i <= CHECKPOINT_ENTRIES; i++)
	{
		bool isnull;

		values[i - 1] = heap_getattr(trigger->tg_trigtuple, i, desc, &isnull);
		if (isnull)
			return false; /* NOT NULL says so */
	}
	claim->account = *DatumGetUUIDP(values[CHECKPOINT_ACCOUNT_ID - 1]);
	claim->grant = *DatumGetUUIDP(values[CHECKPOINT_GRANT_ID - 1]);
	claim->through = DatumGetInt64(values[CHECKPOINT_THROUGH_ENTRY_NO - 1]);
	claim->consumed = DatumGetInt64(values[CHECKPOINT_CONSUMED - 1]);
	claim->entries = DatumGetInt64(values[CHECKPOINT_ENTRIES - 1]);
	return true;
}

/* What there is of the grant up to the claim's entry; last is the account's last entry of any grant. */
static void
sum_ledger(Claim *sum, int64 *last, const Claim *claim)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Probe probe;
	ScanKeyData keys[2];

	*sum = *claim;
	sum->consumed = sum->entries = *last = 0;
	probe_key_uuid(&keys[0], 1, &claim->account);
	probe_key_int64(&keys[1], 2, BTLessEqualStrategyNumber, claim->through);
	probe_begin(&probe, INDEX_LEDGER_PKEY, snapshot, keys, 2);
	while (probe_next(&probe))
	{
		pg_uuid_t grant = probe_uuid(&probe, LEDGER_GRANT_ID);

		*last = probe_int64(&probe, LEDGER_ENTRY_NO);
		if (memcmp(grant.data, claim->grant.data, UUID_LEN) != 0)
			continue;
		if (pg_add_s64_overflow(sum->consumed, probe_int64(&probe, LEDGER_TOKENS), &sum->consumed))
			ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
							errmsg("the ledger of a grant adds up to more than a bigint")));
		sum->entries++;
	}
	probe_end(&probe);
	UnregisterSnapshot(snapshot);
}

static void
require_sum(const Claim *claim)
{
	Claim sum;
	int64 last;

	sum_ledger(&sum, &last, claim);
	if (claim->through != last || claim->consumed != sum.consumed || claim->entries != sum.entries)
		ereport(ERROR, (errcode(ERRCODE_CHECK_VIOLATION),
						errmsg("a checkpoint must be what the ledger adds up to"),
						errdetail("Grant %s has " INT64_FORMAT " tokens in " INT64_FORMAT
								  " entries taken through entry " INT64_FORMAT
								  "; the row says " INT64_FORMAT " in " INT64_FORMAT
								  " through entry " INT64_FORMAT ".",
								  identifier_text(&claim->grant), sum.consumed, sum.entries, last,
								  claim->consumed, claim->entries, claim->through),
						errhint("Use billing.write_checkpoint.")));
}

/* The last entry that is in the grant's newest checkpoint, 0 without one. */
static int64
through_of(const pg_uuid_t *account, const pg_uuid_t *grant, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData keys[2];
	int64 through = 0;

	probe_key_uuid(&keys[0], 1, account);
	probe_key_uuid(&keys[1], 2, grant);
	probe_begin(&probe, INDEX_CHECKPOINT_PKEY, snapshot, keys, 2);
	probe.direction = BackwardScanDirection;
	if (probe_next(&probe))
		through = probe_int64(&probe, CHECKPOINT_THROUGH_ENTRY_NO);
	probe_end(&probe);
	return through;
}

static void
require_covered(const Claim *claim, const pg_uuid_t *grant, int64 entry_no, Snapshot snapshot)
{
	int64 through = through_of(&claim->account, grant, snapshot);

	if (entry_no > through)
		ereport(ERROR, (errcode(ERRCODE_CHECK_VIOLATION),
						errmsg("a checkpoint must not go past entries of grants that have none"),
						errdetail("Grant %s has entry " INT64_FORMAT
								  ", and its newest checkpoint goes through " INT64_FORMAT
								  "; the row goes through entry " INT64_FORMAT ".",
								  identifier_text(grant), entry_no, through, claim->through),
						errhint("Use billing.write_checkpoint, or insert the checkpoints of all "
								"grants in one statement.")));
}

/*
 * Balances start behind the account's newest checkpoint, whichever grant it is
 * of: every grant's entries up to there have to be in one.
 */
static void
require_rest(const Claim *claim)
{
	Snapshot snapshot;
	Probe probe;
	ScanKeyData keys[2];
	pg_uuid_t previous = claim->grant;

	/* the other rows of the statement */
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	probe_key_uuid(&keys[0], 1, &claim->account);
	probe_key_int64(&keys[1], 2, BTLessEqualStrategyNumber, claim->through);
	probe_begin(&probe, INDEX_LEDGER_PKEY, snapshot, keys, 2);
	probe.direction = BackwardScanDirection;
	while (probe_next(&probe))
	{
		pg_uuid_t grant = probe_uuid(&probe, LEDGER_GRANT_ID);

		/* backwards, so that the first of several in a row is the last that has to be covered */
		if (memcmp(grant.data, previous.data, UUID_LEN) != 0)
			require_covered(claim, &grant, probe_int64(&probe, LEDGER_ENTRY_NO), snapshot);
		previous = grant;
	}
	probe_end(&probe);
	UnregisterSnapshot(snapshot);
}

/*
 * billing.guard_checkpoint(): trigger
 *
 * BEFORE INSERT of a checkpoint by plain DML: it must say what the ledger of its
 * grant adds up to through an entry that is there; AFTER INSERT: no other grant
 * may have entries up to there that no checkpoint has; else 23514. Rows of a
 * restore or a replica may come before the ledger's; verify_ledger() judges those.
 */
Datum
billing_guard_checkpoint(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guard_trigger_data(fcinfo, "guard_checkpoint");
	Claim claim;

	if (call_is_restore() || SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA ||
		!read_claim(&claim, trigger))
		return PointerGetDatum(trigger->tg_trigtuple);
	lock_account(&claim.account, LOCK_TOKENS, ExclusiveLock);
	if (TRIGGER_FIRED_BEFORE(trigger->tg_event))
		require_sum(&claim);
	else
		require_rest(&claim);
	return PointerGetDatum(trigger->tg_trigtuple);
}
