/*
 * balance.c
 *	  What is left of each grant, as one snapshot sees it.
 */
#include "postgres.h"

#include "access/relscan.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "common/int.h"
#include "utils/snapmgr.h"

#include "balance.h"
#include "checkpoint.h"
#include "probe.h"

/* Longer than anybody takes between reading the clock and getting a number. */
#define NUMBERED_WITHIN (10 * USECS_PER_SEC)

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
	if (grant->voided)
		grant->voided_at = probe_time(probe, GRANT_VOIDED_AT);
}

/* With a dirty snapshot: whether the row just read is another transaction's, in progress. */
static bool
of_another(Probe *probe, TransactionId *another)
{
	Snapshot snapshot = probe->scan->xs_snapshot;

	if (snapshot->snapshot_type != SNAPSHOT_DIRTY || !TransactionIdIsValid(snapshot->xmin))
		return false;
	*another = snapshot->xmin;
	return true;
}

/* With a dirty snapshot: whether it is this transaction's. */
static bool
of_ourselves(Probe *probe)
{
	return probe->scan->xs_snapshot->snapshot_type == SNAPSHOT_DIRTY && probe_is_own(probe);
}

/* An upper bound, so the largest bigint stands for whatever is beyond it. */
static void
add_undecided(int64 *sum, int64 tokens)
{
	if (pg_add_s64_overflow(*sum, tokens, sum))
		*sum = PG_INT64_MAX;
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
		read_grant(&balances->grants[balances->count], &probe);
		if (of_another(&probe, &balances->granting))
			add_undecided(&balances->undecided_grants, balances->grants[balances->count].tokens);
		else
			balances->count++;
	}
	probe_end(&probe);
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
		grant->summed_through = probe_int64(&probe, CHECKPOINT_THROUGH_ENTRY_NO);
	}
	probe_end(&probe);
}

static void
apply_entry(Balances *balances, Probe *probe)
{
	pg_uuid_t id = probe_uuid(probe, LEDGER_GRANT_ID);
	GrantBalance *grant = balance_find(balances, &id);

	int64 tokens = probe_int64(probe, LEDGER_TOKENS);
	bool in_progress;

	balances->last_entry_no = Max(balances->last_entry_no, probe_int64(probe, LEDGER_ENTRY_NO));
	balances->tail_entries++;
	if (grant == NULL)
		return;
	in_progress = of_another(probe, &grant->in_progress);
	if (in_progress || of_ourselves(probe))
		add_undecided(&grant->undecided, tokens < 0 ? -tokens : tokens);
	/* what others in progress return is not there yet; what they take is gone already */
	if (in_progress && tokens < 0)
		return;
	if (pg_add_s64_overflow(grant->consumed, tokens, &grant->consumed))
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

static void
load(Balances *balances, const pg_uuid_t *account, TimestampTz expiring_after, Snapshot decided,
	 Snapshot rows)
{
	memset(balances, 0, sizeof(*balances));
	load_grants(balances, account, expiring_after, rows);
	balances->through_entry_no = checkpoint_newest_through(account, decided);
	balances->last_entry_no = balances->through_entry_no;
	if (balances->through_entry_no > 0)
		for (int i = 0; i < balances->count; i++)
			apply_checkpoint(&balances->grants[i], account, decided);
	apply_tail(balances, account, rows);
	qsort(balances->grants, balances->count, sizeof(GrantBalance), compare_draw_order);
}

/*
 * Loads the grants that expire after the given time (-infinity: all).
 */
void
balance_load(Balances *balances, const pg_uuid_t *account, TimestampTz expiring_after,
			 Snapshot snapshot)
{
	load(balances, account, expiring_after, snapshot, snapshot);
}

/*
 * The same with what is still in progress: tokens that others are taking count
 * as taken and as undecided, tokens they return or grant as undecided only. The
 * checkpoint is a committed one: every row at or below it is decided.
 */
void
balance_load_undecided(Balances *balances, const pg_uuid_t *account, TimestampTz expiring_after)
{
	Snapshot decided = RegisterSnapshot(GetLatestSnapshot());
	SnapshotData dirty;

	InitDirtySnapshot(dirty);
	load(balances, account, expiring_after, decided, &dirty);
	UnregisterSnapshot(decided);
}

/* A hold that was over by then kept nothing, whenever its lapse was written. */
static bool
is_lapse_due(Probe *entry, TimestampTz at, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	pg_uuid_t hold;
	bool due;

	if (strcmp(probe_text(entry, LEDGER_KIND), "lapse") != 0)
		return false;
	hold = probe_uuid(entry, LEDGER_HOLD_ID);
	probe_key_uuid(&key, 1, &hold);
	probe_begin(&probe, INDEX_HOLD_ID, snapshot, &key, 1);
	due = probe_next(&probe) && probe_time(&probe, HOLD_EXPIRES_AT) <= at;
	probe_end(&probe);
	return due;
}

/*
 * Makes what was loaded with the snapshot what it was at an instant. Entries are
 * numbered in the order of real time, but for who has read the clock and not yet
 * got his number; by test clocks in any order.
 */
void
balance_rewind(Balances *balances, const pg_uuid_t *account, TimestampTz at, bool is_real_clock,
			   Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;

	for (int i = 0; i < balances->count; i++)
		balances->grants[i].voided &= balances->grants[i].voided_at <= at;
	probe_key_uuid(&key, 1, account);
	probe_begin(&probe, INDEX_LEDGER_PKEY, snapshot, &key, 1);
	probe.direction = BackwardScanDirection;
	while (probe_next(&probe))
	{
		TimestampTz occurred_at = probe_time(&probe, LEDGER_OCCURRED_AT);
		pg_uuid_t id = probe_uuid(&probe, LEDGER_GRANT_ID);
		GrantBalance *grant = balance_find(balances, &id);

		if (is_real_clock && occurred_at < at - NUMBERED_WITHIN)
			break;
		if (occurred_at > at && grant != NULL && !is_lapse_due(&probe, at, snapshot))
			grant->consumed -= probe_int64(&probe, LEDGER_TOKENS);
	}
	probe_end(&probe);
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
