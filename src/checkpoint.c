/*
 * checkpoint.c
 *	  Sums of the ledger, so that a balance need not read all of it.
 *
 * A checkpoint goes through the last entry below which nothing is in progress.
 * It stops nobody: an entry that is undecided only holds back the watermark of
 * its own account. Numbers of aborted entries above the last committed one are
 * not covered, since they may be given out again.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/xact.h"
#include "common/int.h"
#include "tcop/utility.h"
#include "utils/snapmgr.h"

#include "account.h"
#include "argument.h"
#include "checkpoint.h"
#include "engine.h"
#include "lock.h"
#include "probe.h"
#include "settings.h"
#include "spend.h"
#include "upkeep.h"
#include "writer.h"

PG_FUNCTION_INFO_V1(billing_write_checkpoint);

typedef struct GrantSum
{
	pg_uuid_t grant_id;
	int64 consumed;
	int64 entries;
} GrantSum;

typedef struct Sums
{
	int count;
	int capacity;
	GrantSum *items;
	int64 through;   /* last entry summed */
	bool held_back;  /* by an entry that is undecided */
	int64 watermark; /* entries above it are not looked at */
} Sums;

static GrantSum *
sum_of(Sums *sums, const pg_uuid_t *grant)
{
	GrantSum *sum;

	for (int i = sums->count - 1; i >= 0; i--)
		if (memcmp(sums->items[i].grant_id.data, grant->data, UUID_LEN) == 0)
			return &sums->items[i];
	if (sums->count == sums->capacity)
	{
		sums->capacity = Max(8, sums->capacity * 2);
		sums->items = sums->items == NULL
						  ? palloc(sizeof(GrantSum) * sums->capacity)
						  : repalloc(sums->items, sizeof(GrantSum) * sums->capacity);
	}
	sum = &sums->items[sums->count++];
	sum->grant_id = *grant;
	sum->consumed = sum->entries = 0;
	return sum;
}

static void
add_to_sum(GrantSum *sum, int64 tokens, int64 entries)
{
	if (pg_add_s64_overflow(sum->consumed, tokens, &sum->consumed))
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("the ledger of a grant adds up to more than a bigint")));
	sum->entries += entries;
}

/* The last entry that is in the account's newest checkpoint, 0 without one. */
int64
checkpoint_newest_through(const pg_uuid_t *account, Snapshot snapshot)
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

/* Our own rows are undecided as well, unless the lock makes us the only one who may add any. */
static bool
is_undecided(Probe *probe, Snapshot dirty, bool exclusive)
{
	return TransactionIdIsValid(dirty->xmin) || (!exclusive && probe_is_own(probe));
}

static void
sum_tail(Sums *sums, const pg_uuid_t *account, bool exclusive)
{
	SnapshotData dirty;
	Probe probe;
	ScanKeyData keys[3];

	InitDirtySnapshot(dirty);
	probe_key_uuid(&keys[0], 1, account);
	probe_key_int64(&keys[1], 2, BTGreaterStrategyNumber, sums->through);
	probe_key_int64(&keys[2], 2, BTLessEqualStrategyNumber, sums->watermark);
	probe_begin(&probe, INDEX_LEDGER_PKEY, &dirty, keys, 3);
	while (probe_next(&probe))
	{
		pg_uuid_t grant;

		sums->held_back = is_undecided(&probe, &dirty, exclusive);
		if (sums->held_back)
			break;
		grant = probe_uuid(&probe, LEDGER_GRANT_ID);
		add_to_sum(sum_of(sums, &grant), probe_int64(&probe, LEDGER_TOKENS), 1);
		sums->through = probe_int64(&probe, LEDGER_ENTRY_NO);
	}
	probe_end(&probe);
}

static void
add_earlier(GrantSum *sum, const pg_uuid_t *account, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData keys[2];

	probe_key_uuid(&keys[0], 1, account);
	probe_key_uuid(&keys[1], 2, &sum->grant_id);
	probe_begin(&probe, INDEX_CHECKPOINT_PKEY, snapshot, keys, 2);
	probe.direction = BackwardScanDirection;
	if (probe_next(&probe))
		add_to_sum(sum, probe_int64(&probe, CHECKPOINT_CONSUMED),
				   probe_int64(&probe, CHECKPOINT_ENTRIES));
	probe_end(&probe);
}

static void
write_rows(const Sums *sums, const pg_uuid_t *account)
{
	Writer writer;
	Datum values[CHECKPOINT_CREATED_AT];
	bool nulls[CHECKPOINT_CREATED_AT] = {false};

	values[CHECKPOINT_ACCOUNT_ID - 1] = UUIDPGetDatum(account);
	values[CHECKPOINT_THROUGH_ENTRY_NO - 1] = Int64GetDatum(sums->through);
	values[CHECKPOINT_CREATED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	writer_begin(&writer, TABLE_CHECKPOINT);
	for (int i = 0; i < sums->count; i++)
	{
		values[CHECKPOINT_GRANT_ID - 1] = UUIDPGetDatum(&sums->items[i].grant_id);
		values[CHECKPOINT_CONSUMED - 1] = Int64GetDatum(sums->items[i].consumed);
		values[CHECKPOINT_ENTRIES - 1] = Int64GetDatum(sums->items[i].entries);
		writer_insert(&writer, values, nulls);
	}
	writer_end(&writer);
}

/*
 * The caller holds the account's token lock in ShareUpdateExclusiveLock, or in
 * ExclusiveLock. False: nothing to sum.
 */
static bool
write_sums(const pg_uuid_t *account, Sums *sums)
{
	bool exclusive = lock_held_exclusively(account, LOCK_TOKENS);
	Snapshot snapshot;

	memset(sums, 0, sizeof(*sums));
	sums->watermark = exclusive ? PG_INT64_MAX : engine_watermark(account);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	sums->through = checkpoint_newest_through(account, snapshot);
	sum_tail(sums, account, exclusive);
	for (int i = 0; i < sums->count; i++)
		add_earlier(&sums->items[i], account, snapshot);
	UnregisterSnapshot(snapshot);
	if (sums->count == 0)
		return false;
	write_rows(sums, account);
	engine_count_checkpoint();
	return true;
}

/* Does nothing while somebody else is writing one, or changes the account. */
CheckpointOutcome
checkpoint_try(const pg_uuid_t *account)
{
	CheckpointOutcome outcome = {.behind = true};
	Sums sums;

	if (!lock_held_exclusively(account, LOCK_TOKENS) &&
		!lock_account_if_free(account, LOCK_TOKENS, ShareUpdateExclusiveLock))
		return outcome;
	outcome.written = write_sums(account, &sums);
	outcome.behind = sums.held_back && sums.watermark - sums.through >= settings_checkpoint_entries;
	return outcome;
}

/*
 * Rows were numbered from first on. When they go past a multiple the tail has
 * grown long: the worker sums it, or, where it does not come, who wrote them.
 */
void
checkpoint_note_growth(const pg_uuid_t *account, int64 first, int rows)
{
	if (first / settings_checkpoint_entries == (first + rows) / settings_checkpoint_entries)
		return;
	if (!upkeep_note(account, UPKEEP_CHECKPOINT))
		(void) checkpoint_try(account);
}

/*
 * billing.write_checkpoint(account_id uuid) → bigint
 *
 * Sums the account's ledger now, as the worker does from time to time; returns
 * the entry_no through which it goes, 0 if there was nothing to sum. NULL:
 * 22004; unknown account: PB001.
 */
Datum
billing_write_checkpoint(PG_FUNCTION_ARGS)
{
	const pg_uuid_t *id = argument_uuid(fcinfo, 0, "account_id");
	Account account;
	Sums sums;

	spend_prevent("billing.write_checkpoint()");
	lock_account(id, LOCK_TOKENS, engine_enabled() ? ShareUpdateExclusiveLock : ExclusiveLock);
	account_require(&account, id);
	PG_RETURN_INT64(write_sums(id, &sums) ? sums.through : 0);
}
