/*
 * engine.c
 *	  The engine's shared memory: sets of entries, counters, settings.
 *
 * A set-associative table: an account's hash names its set, whose lock covers
 * the few entries in it. So no entry moves or goes while somebody looks at it,
 * and a hot account contends with hardly anybody but itself.
 */
#include "postgres.h"

#include <limits.h>

#include "common/hashfn.h"
#include "common/int.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

#include "engine_internal.h"
#include "tables.h"

PG_FUNCTION_INFO_V1(billing_engine_counters);

/* Sleepers of several sets share a condition variable: a wake-up too many only looks again. */
#define WAKE_CHANNELS 64

#define ENGINE_ACCOUNTS_MIN 8

typedef struct EngineShared
{
	pg_atomic_uint64 generation;
	pg_atomic_uint64 counters[COUNTER_COUNT];
	int sets;
	int ways; /* in use of each set: fewer than there are only where few accounts are to be kept */
	ConditionVariable wake[WAKE_CHANNELS];
	EngineSet set[FLEXIBLE_ARRAY_MEMBER];
} EngineShared;

static const char *const counter_names[COUNTER_COUNT] = {
	[COUNTER_TAKES] = "takes",
	[COUNTER_DENIALS] = "denials_without_scan",
	[COUNTER_BUILDS] = "builds",
	[COUNTER_WAITS] = "waits",
	[COUNTER_LEDGER] = "from_ledger",
	[COUNTER_EVICTIONS] = "evictions",
	[COUNTER_RETIREMENTS] = "retirements",
	[COUNTER_CHECKPOINTS] = "checkpoints",
};

static EngineShared *shared = NULL;
static int engine_accounts = 131072;
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

/*
 * Only where the library is preloaded: without shared memory there is no engine
 * and nothing to size.
 */
void
engine_define_settings(void)
{
	DefineCustomIntVariable(
		"billing.engine_accounts", "Accounts whose tokens are kept in shared memory.",
		"Each takes less than 400 bytes; an account beyond them is built anew when it is used.",
		&engine_accounts, 131072, ENGINE_ACCOUNTS_MIN, INT_MAX / 1024, PGC_POSTMASTER, 0, NULL,
		NULL, NULL);
}

static int
way_count(void)
{
	return Min(engine_accounts, ENGINE_WAYS);
}

static int
set_count(void)
{
	return (engine_accounts + way_count() - 1) / way_count();
}

static Size
shared_size(void)
{
	return add_size(offsetof(EngineShared, set), mul_size(set_count(), sizeof(EngineSet)));
}

static void
request_memory(void)
{
	if (previous_request_hook != NULL)
		previous_request_hook();
	RequestAddinShmemSpace(shared_size());
}

static void
initialize(void)
{
	int tranche = LWLockNewTrancheId();

	pg_atomic_init_u64(&shared->generation, 0);
	for (int i = 0; i < COUNTER_COUNT; i++)
		pg_atomic_init_u64(&shared->counters[i], 0);
	for (int i = 0; i < WAKE_CHANNELS; i++)
		ConditionVariableInit(&shared->wake[i]);
	shared->sets = set_count();
	shared->ways = way_count();
	for (int i = 0; i < shared->sets; i++)
	{
		memset(&shared->set[i], 0, sizeof(EngineSet));
		LWLockInitialize(&shared->set[i].lock, tranche);
	}
}

static void
startup(void)
{
	bool found;

	if (previous_startup_hook != NULL)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("billing engine", shared_size(), &found);
	if (!found)
		initialize();
	LWLockRelease(AddinShmemInitLock);
	if (shared->sets > 0)
		LWLockRegisterTranche(shared->set[0].lock.tranche, "BillingEngine");
}

void
engine_install_hooks(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup;
	engine_database_init();
}

bool
engine_enabled(void)
{
	return shared != NULL;
}

/* Looks the ledger up, so not to be called with a set locked nor while a transaction ends. */
EngineKey
engine_key(const pg_uuid_t *account)
{
	EngineKey key = {
		.database = MyDatabaseId, .ledger = tables_oid(TABLE_LEDGER), .account = *account};

	return key;
}

EngineSet *
engine_lock_set(const EngineKey *key)
{
	uint64 hash = hash_bytes_extended((const unsigned char *) key, sizeof(EngineKey), 0);
	EngineSet *set = &shared->set[hash % shared->sets];

	LWLockAcquire(&set->lock, LW_EXCLUSIVE);
	return set;
}

void
engine_unlock_set(EngineSet *set)
{
	LWLockRelease(&set->lock);
}

static uint32
tag_of(const EngineKey *key)
{
	uint32 words[UUID_LEN / sizeof(uint32)];

	memcpy(words, key->account.data, UUID_LEN);
	return words[0] ^ words[1] ^ words[2] ^ words[3];
}

/* NULL: the account has no entry. */
EngineEntry *
engine_find(EngineSet *set, const EngineKey *key)
{
	uint32 tag = tag_of(key);

	for (int i = 0; i < shared->ways; i++)
		if (set->tag[i] == tag && memcmp(&set->entry[i].key, key, sizeof(EngineKey)) == 0)
		{
			set->entry[i].used = ++set->tick;
			return &set->entry[i];
		}
	return NULL;
}

/* One with takes that have not landed, or that is being built, cannot go. */
static EngineEntry *
least_recently_used(EngineSet *set)
{
	EngineEntry *victim = NULL;

	for (int i = 0; i < shared->ways; i++)
	{
		EngineEntry *entry = &set->entry[i];

		if (!OidIsValid(entry->key.ledger))
			return entry;
		if (entry->inflight > 0 || entry->state == ENTRY_CLOSED)
			continue;
		if (victim == NULL || (int32) (entry->used - victim->used) < 0)
			victim = entry;
	}
	if (victim != NULL)
		engine_count(COUNTER_EVICTIONS);
	return victim;
}

/* NULL: every entry of the set is in use this very moment. */
EngineEntry *
engine_find_or_claim(EngineSet *set, const EngineKey *key)
{
	EngineEntry *entry = engine_find(set, key);

	if (entry != NULL)
		return entry;
	entry = least_recently_used(set);
	if (entry == NULL)
		return NULL;
	memset(entry, 0, sizeof(*entry));
	entry->key = *key;
	set->tag[entry - set->entry] = tag_of(key);
	entry->state = ENTRY_INVALID;
	entry->used = ++set->tick;
	return entry;
}

static ConditionVariable *
wake_channel(const EngineSet *set)
{
	return &shared->wake[(set - shared->set) % WAKE_CHANNELS];
}

void
engine_wake(EngineSet *set)
{
	ConditionVariableBroadcast(wake_channel(set));
}

/*
 * Sleeps until the account's entry is ready or gone. The set is unlocked on the
 * way in and on the way out; cancel and timeouts work meanwhile.
 */
void
engine_sleep(EngineSet *set, const EngineKey *key, bool (*ready)(const EngineEntry *))
{
	ConditionVariable *channel = wake_channel(set);

	ConditionVariablePrepareToSleep(channel);
	for (;;)
	{
		EngineEntry *entry;
		bool done;

		LWLockAcquire(&set->lock, LW_EXCLUSIVE);
		entry = engine_find(set, key);
		done = entry == NULL || ready(entry);
		LWLockRelease(&set->lock);
		if (done)
			break;
		ConditionVariableSleep(channel, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* Has the entry built anew; a build that is under way counts for nothing. */
void
engine_retire_entry(EngineEntry *entry)
{
	entry->retired++;
	if (entry->state == ENTRY_VALID)
		entry->state = ENTRY_INVALID;
}

/* Every entry of this database, under a lock that keeps all who spend out. */
void
engine_retire_all(void)
{
	if (!engine_enabled())
		return;
	for (int i = 0; i < shared->sets; i++)
	{
		LWLockAcquire(&shared->set[i].lock, LW_EXCLUSIVE);
		for (int j = 0; j < shared->ways; j++)
			if (shared->set[i].entry[j].key.database == MyDatabaseId)
				engine_retire_entry(&shared->set[i].entry[j]);
		LWLockRelease(&shared->set[i].lock);
	}
	engine_count(COUNTER_RETIREMENTS);
}

/* Of a database to which nobody is connected. */
void
engine_forget_database(Oid database)
{
	for (int i = 0; i < shared->sets; i++)
	{
		EngineSet *set = &shared->set[i];

		LWLockAcquire(&set->lock, LW_EXCLUSIVE);
		for (int j = 0; j < shared->ways; j++)
			if (OidIsValid(set->entry[j].key.ledger) && set->entry[j].key.database == database)
			{
				memset(&set->entry[j], 0, sizeof(EngineEntry));
				set->tag[j] = 0;
			}
		LWLockRelease(&set->lock);
	}
}

uint64
engine_new_generation(void)
{
	return pg_atomic_add_fetch_u64(&shared->generation, 1);
}

void
engine_count(EngineCounter counter)
{
	pg_atomic_fetch_add_u64(&shared->counters[counter], 1);
}

void
engine_count_checkpoint(void)
{
	if (engine_enabled())
		engine_count(COUNTER_CHECKPOINTS);
}

void
engine_count_denial(void)
{
	engine_count(COUNTER_DENIALS);
}

void
engine_count_ledger(void)
{
	if (engine_enabled())
		engine_count(COUNTER_LEDGER);
}

/* Tokens of several grants add up beyond a bigint only in theory: then the largest one stands for it. */
int64
engine_add(int64 sum, int64 tokens)
{
	if (pg_add_s64_overflow(sum, tokens, &sum))
		return PG_INT64_MAX;
	return sum;
}

/* Apps are told apart by 64 bits of their code's hash; 0 stands for every app. */
uint64
engine_app_id(const char *app)
{
	uint64 id;

	if (app == NULL)
		return 0;
	id = hash_bytes_extended((const unsigned char *) app, strlen(app), 0);
	return id == 0 ? 1 : id;
}

static int64
entries_in_use(void)
{
	int64 count = 0;

	for (int i = 0; i < shared->sets; i++)
	{
		LWLockAcquire(&shared->set[i].lock, LW_SHARED);
		for (int j = 0; j < shared->ways; j++)
			count += OidIsValid(shared->set[i].entry[j].key.ledger);
		LWLockRelease(&shared->set[i].lock);
	}
	return count;
}

static void
put_counter(ReturnSetInfo *rsinfo, const char *name, int64 value)
{
	Datum values[2] = {CStringGetTextDatum(name), Int64GetDatum(value)};
	bool nulls[2] = {false, false};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * billing.engine_counters() → SETOF (name text, value bigint)
 *
 * What the engine did since the server started, in all databases: entries in
 * use, their number and size, and counters. No row without shared memory.
 */
Datum
billing_engine_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (!engine_enabled())
		return (Datum) 0;
	put_counter(rsinfo, "entries", entries_in_use());
	put_counter(rsinfo, "entries_max", (int64) shared->sets * shared->ways);
	put_counter(rsinfo, "bytes_per_entry", sizeof(EngineSet) / ENGINE_WAYS);
	for (int i = 0; i < COUNTER_COUNT; i++)
		put_counter(rsinfo, counter_names[i], pg_atomic_read_u64(&shared->counters[i]));
	return (Datum) 0;
}
