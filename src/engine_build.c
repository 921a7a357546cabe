/*
 * engine_build.c
 *	  Making an entry from the ledger, and looking past it.
 *
 * A builder closes the entry, so that nobody takes, waits until every take has
 * landed, and counts: what is committed, and what is in progress. The lock that
 * it shares with those who spend keeps out whoever takes something away.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/snapmgr.h"

#include "account.h"
#include "compat.h"
#include "engine_internal.h"
#include "ledger.h"
#include "probe.h"
#include "tables.h"

/* What this backend has closed; an error or the session's end must open it again. */
static bool closed = false;
static EngineKey closed_key;

static bool
is_open(const EngineEntry *entry)
{
	return entry->state != ENTRY_CLOSED;
}

static bool
has_landed(const EngineEntry *entry)
{
	return entry->inflight == 0;
}

/* Called at the end of every (sub)transaction that failed. */
void
engine_abandon_build(void)
{
	EngineSet *set;
	EngineEntry *entry;

	if (!closed)
		return;
	closed = false;
	set = engine_lock_set(&closed_key);
	entry = engine_find(set, &closed_key);
	if (entry != NULL && entry->state == ENTRY_CLOSED)
		entry->state = ENTRY_INVALID;
	engine_unlock_set(set);
	engine_wake(set);
}

/* What an entry was when it was closed. */
typedef struct Closing
{
	bool was_valid;
	uint32 retired;
	TimestampTz hold_due;
} Closing;

/*
 * Closes the entry and waits until every take has landed. NULL: another backend
 * has it closed, or (only then *full) there is no room for it.
 */
static EngineSet *
close_entry(const EngineKey *key, bool claim, Closing *closing, bool *full)
{
	EngineSet *set;
	EngineEntry *entry;

	engine_watch_transaction();
	set = engine_lock_set(key);
	entry = claim ? engine_find_or_claim(set, key) : engine_find(set, key);
	*full = entry == NULL;
	if (entry == NULL || entry->state == ENTRY_CLOSED)
	{
		engine_unlock_set(set);
		if (entry != NULL)
			engine_sleep(set, key, is_open);
		return NULL;
	}
	closing->was_valid = entry->state == ENTRY_VALID;
	closing->retired = entry->retired;
	closing->hold_due = entry->hold_due;
	entry->state = ENTRY_CLOSED;
	entry->hold_due = DT_NOEND;
	closed = true;
	closed_key = *key;
	engine_unlock_set(set);
	engine_sleep(set, key, has_landed);
	return set;
}

/* Not dry: there is something left of the grant, or something open. */
static bool
is_live(const GrantBalance *grant)
{
	return balance_available(grant) > 0 || grant->undecided > 0;
}

static void
fill_slot(EngineEntry *entry, const GrantBalance *grant)
{
	EngineSlot *slot = &entry->slot[entry->slots++];

	slot->grant = grant->grant_id;
	slot->app = engine_app_id(grant->app);
	slot->available = Max(balance_available(grant), 0);
	slot->undecided = grant->undecided;
	slot->granted = grant->tokens;
	/* which may stand for more, of which nothing could be subtracted */
	entry->crowded |= grant->undecided == PG_INT64_MAX;
}

/* How many grants of one kind can be used now. */
static int
count_usable(const Balances *balances, TimestampTz now, bool live)
{
	int count = 0;

	for (int i = 0; i < balances->count; i++)
		count += balance_usable(&balances->grants[i], now) && is_live(&balances->grants[i]) == live;
	return count;
}

static void
add_beyond(EngineEntry *entry, const GrantBalance *grant)
{
	uint64 app = engine_app_id(grant->app);
	EngineBeyond *beyond;
	int at = 0;

	while (at < entry->beyonds && entry->beyond[at].app != app)
		at++;
	if (at == ENGINE_BEYOND)
	{
		entry->crowded = true;
		return;
	}
	beyond = &entry->beyond[at];
	if (at == entry->beyonds)
	{
		*beyond = (EngineBeyond){.app = app};
		entry->beyonds++;
	}
	beyond->available = engine_add(beyond->available, Max(balance_available(grant), 0));
	beyond->undecided = engine_add(beyond->undecided, grant->undecided);
}

/*
 * In the order in which they are drawn on, the dry ones in their places too: a
 * return may fill them again. Of those there are as many as live ones leave room.
 */
static void
fill_slots(EngineEntry *entry, const Balances *balances, TimestampTz now)
{
	int live = count_usable(balances, now, true);
	int room[2] = {ENGINE_SLOTS - Min(live, ENGINE_SLOTS), Min(live, ENGINE_SLOTS)};

	entry->slots = 0;
	entry->beyonds = 0;
	entry->crowded = false;
	entry->boundary = DT_NOEND;
	for (int i = 0; i < balances->count; i++)
	{
		const GrantBalance *grant = &balances->grants[i];

		if (!grant->voided && grant->effective_at > now)
			entry->boundary = Min(entry->boundary, grant->effective_at);
		if (!balance_usable(grant, now))
			continue;
		entry->boundary = Min(entry->boundary, grant->expires_at);
		if (room[is_live(grant)]-- > 0)
			fill_slot(entry, grant);
		else if (is_live(grant))
			add_beyond(entry, grant);
	}
}

static TimestampTz
next_open_hold(const pg_uuid_t *account, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	TimestampTz due = DT_NOEND;

	probe_key_uuid(&key, 1, account);
	probe_begin(&probe, INDEX_HOLD_OPEN, snapshot, &key, 1);
	if (probe_next(&probe))
		due = probe_time(&probe, HOLD_EXPIRES_AT);
	probe_end(&probe);
	return due;
}

/*
 * A hold that this transaction has ended is still open to the others, who may see
 * it rolled back; one that it has made will be theirs to see. To be read after
 * the ledger: a hold whose rows count as taken for good must not be missed.
 */
static TimestampTz
next_hold_due(const pg_uuid_t *account)
{
	Snapshot latest = RegisterSnapshot(GetLatestSnapshot());
	Snapshot without_own = RegisterSnapshot(GetLatestSnapshot());
	TimestampTz due;

	without_own->curcid = FirstCommandId;
	due = Min(next_open_hold(account, latest), next_open_hold(account, without_own));
	UnregisterSnapshot(without_own);
	UnregisterSnapshot(latest);
	return due;
}

/* What a build reads before it locks the set again. */
typedef struct Reading
{
	bool found;
	Account account;
	TimestampTz now;
	TimestampTz hold_due;
	Balances balances;
} Reading;

static void
read_ledger(Reading *reading, const pg_uuid_t *account)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());

	reading->found = account_read(&reading->account, account, snapshot);
	if (reading->found)
	{
		reading->now = account_verb_time(&reading->account);
		balance_load_undecided(&reading->balances, account, reading->now);
		(void) ledger_next_entry_no(account, reading->balances.last_entry_no);
		reading->hold_due = next_hold_due(account);
	}
	UnregisterSnapshot(snapshot);
}

static void
install(EngineEntry *entry, const Reading *reading, Oid storage)
{
	entry->suspended = reading->account.suspended;
	entry->has_clock = reading->account.has_test_clock;
	entry->clock = reading->account.test_clock;
	entry->storage = storage;
	entry->undecided_grants = reading->balances.undecided_grants;
	entry->hold_due = Min(entry->hold_due, reading->hold_due);
	entry->next_entry_no =
		Max(entry->next_entry_no,
			Max(reading->balances.last_entry_no, engine_own_withdrawn(&entry->key)) + 1);
	fill_slots(entry, &reading->balances, reading->now);
	entry->generation = engine_new_generation();
	engine_rehome(entry);
}

/*
 * What a build reads it locks before it closes the entry: who waits for the
 * entry waits unseen by the deadlock detector, so the builder must not wait for
 * a table or an index that one of them has locked.
 */
static void
lock_relations(void)
{
	static const IndexId indexes[] = {INDEX_ACCOUNT_PKEY,       INDEX_GRANT_TIME,
									  INDEX_LEDGER_PKEY,        INDEX_CHECKPOINT_PKEY,
									  INDEX_CHECKPOINT_THROUGH, INDEX_HOLD_OPEN};

	for (int i = 0; i < (int) lengthof(indexes); i++)
	{
		LockRelationOid(tables_oid(tables_of_index(indexes[i])), AccessShareLock);
		LockRelationOid(tables_index_oid(indexes[i]), AccessShareLock);
	}
}

/*
 * Builds the account's entry, or waits for whoever does; the caller holds the
 * account's lock in RowExclusiveLock and looks again. False: there is no room,
 * or no such account; the ledger has to decide.
 */
bool
engine_build(const pg_uuid_t *account, Oid storage)
{
	EngineKey key = engine_key(account);
	Reading reading;
	Closing closing;
	bool full;
	EngineSet *set;
	EngineEntry *entry;

	Assert(engine_may_serve(account));
	lock_relations();
	set = close_entry(&key, true, &closing, &full);
	if (set == NULL)
		return !full;
	read_ledger(&reading, account);
	engine_count(COUNTER_BUILDS);

	(void) engine_lock_set(&key);
	entry = engine_find(set, &key);
	if (reading.found)
		install(entry, &reading, storage);
	/* a grant or a return may have landed behind the scan: then it counts for nothing */
	entry->state = reading.found && entry->retired == closing.retired ? ENTRY_VALID : ENTRY_INVALID;
	closed = false;
	engine_unlock_set(set);
	engine_wake(set);
	return reading.found;
}

static TransactionId
another_in_progress(const Balances *balances, const char *app, TimestampTz now)
{
	TokenScope scope = {.app = app};

	for (int i = 0; i < balances->count; i++)
	{
		const GrantBalance *grant = &balances->grants[i];

		if (TransactionIdIsValid(grant->in_progress) && balance_usable(grant, now) &&
			balance_in_scope(grant, scope))
			return grant->in_progress;
	}
	return balances->granting;
}

/*
 * The outcome of a request depends on others: waits for one of them, if there is
 * one, where cancel, lock_timeout and the deadlock detector see it, and has the
 * entry built anew.
 */
void
engine_wait_for_another(const EngineRequest *request, TimestampTz now)
{
	Balances balances;
	TransactionId another;

	balance_load_undecided(&balances, request->account, now);
	another = another_in_progress(&balances, request->app, now);
	if (TransactionIdIsValid(another))
	{
		engine_count(COUNTER_WAITS);
		XactLockTableWait(another, NULL, NULL, XLTW_None);
	}
	engine_retire(request->account);
}

/* False: the entry is not there, or another backend has closed it meanwhile. */
static bool
read_watermark(const EngineKey *key, int64 *watermark)
{
	Closing closing;
	bool full;
	EngineSet *set = close_entry(key, false, &closing, &full);
	EngineEntry *entry;

	if (set == NULL)
		return false;
	(void) engine_lock_set(key);
	entry = engine_find(set, key);
	*watermark = entry->generation == 0 ? 0 : entry->next_entry_no - 1;
	entry->hold_due = Min(entry->hold_due, closing.hold_due);
	entry->state =
		closing.was_valid && entry->retired == closing.retired ? ENTRY_VALID : ENTRY_INVALID;
	closed = false;
	engine_unlock_set(set);
	engine_wake(set);
	return *watermark > 0;
}

/*
 * The highest number such that every entry up to it has landed; 0: nobody can
 * tell. Stops takers only for as long as rows are landing. The caller holds the
 * account's lock in a mode that keeps changes out. Who added tokens must not
 * build: to itself they are there, and everybody would be given them.
 */
int64
engine_watermark(const pg_uuid_t *account)
{
	EngineKey key;
	Relation ledger;
	int64 watermark = 0;

	if (!engine_enabled())
		return 0;
	key = engine_key(account);
	if (read_watermark(&key, &watermark))
		return watermark;
	if (!engine_may_serve(account))
		return 0;
	ledger = tables_open(TABLE_LEDGER, RowExclusiveLock);
	if (engine_build(account, compat_relation_storage(ledger)))
		(void) read_watermark(&key, &watermark);
	table_close(ledger, NoLock);
	return watermark;
}
