/*
 * engine_internal.h
 *	  What the engine's own files share.
 */
#ifndef BILLING_ENGINE_INTERNAL_H
#define BILLING_ENGINE_INTERNAL_H

#include "storage/lwlock.h"
#include "utils/snapshot.h"

#include "balance.h"
#include "engine.h"

/*
 * Accounts of one set share a lock and compete for its entries. How many of them
 * a set has room for follows Poisson's distribution: with a quarter of all
 * entries free, sets of 32 turn away one account of 200, sets of 8 one of 20.
 */
#define ENGINE_WAYS 32

typedef enum EntryState
{
	ENTRY_INVALID, /* to be built by whoever needs it next */
	ENTRY_CLOSED,  /* being built, or looked at for a checkpoint: takers sleep */
	ENTRY_VALID
} EntryState;

/* Without padding: compared as bytes. */
typedef struct EngineKey
{
	Oid database;
	Oid ledger; /* the table's OID; InvalidOid: entry not in use */
	pg_uuid_t account;
} EngineKey;

/*
 * Grants beyond the slots, summed by app: nothing is taken from them before a build, and what
 * gives tokens back to one has the entry built anew.
 */
#define ENGINE_BEYOND 3

typedef struct EngineBeyond
{
	uint64 app; /* engine_app_id; 0: every app */
	int64 available;
	int64 undecided; /* as a slot's */
} EngineBeyond;

/* One grant. */
typedef struct EngineSlot
{
	pg_uuid_t grant;
	uint64 app;      /* engine_app_id; 0: every app */
	int64 available; /* that nobody has taken */
	int64 undecided; /* taken, or to be returned, by transactions in progress */
	int64 granted;
} EngineSlot;

typedef struct EngineEntry
{
	EngineKey key;
	uint8 state;
	uint8 slots;   /* in use */
	uint8 beyonds; /* in use; grants of more apps than that: crowded */
	bool crowded;  /* there are grants that neither slots nor sums show, or not rightly */
	bool suspended;
	bool has_clock;
	uint32 retired;    /* counts retirements, so that a builder notices one */
	uint32 used;       /* the set's tick when it was last used */
	int32 inflight;    /* takes whose rows have not landed */
	Oid storage;       /* the ledger's file when this was built */
	uint64 generation; /* of the last build; 0: never built */
	int64 next_entry_no;
	TimestampTz clock;      /* the account's test clock */
	TimestampTz boundary;   /* when the next grant begins or ends */
	TimestampTz hold_due;   /* when the next open hold lapses */
	int64 undecided_grants; /* tokens of grants whose transaction is in progress */
	EngineBeyond beyond[ENGINE_BEYOND];
	EngineSlot slot[ENGINE_SLOTS];
} EngineEntry;

typedef struct EngineSet
{
	LWLock lock;
	uint32 tick;
	uint32 tag[ENGINE_WAYS]; /* of the entries' keys, so that a search reads few cache lines */
	EngineEntry entry[ENGINE_WAYS];
} EngineSet;

typedef enum EngineCounter
{
	COUNTER_TAKES,
	COUNTER_DENIALS, /* without a scan */
	COUNTER_BUILDS,
	COUNTER_WAITS,  /* for another transaction */
	COUNTER_LEDGER, /* requests decided from the ledger */
	COUNTER_EVICTIONS,
	COUNTER_RETIREMENTS,
	COUNTER_CHECKPOINTS,
	COUNTER_COUNT
} EngineCounter;

/* engine.c: sets and entries */
extern EngineKey engine_key(const pg_uuid_t *account);
extern EngineSet *engine_lock_set(const EngineKey *key);
extern void engine_unlock_set(EngineSet *set);
extern EngineEntry *engine_find(EngineSet *set, const EngineKey *key);
extern EngineEntry *engine_find_or_claim(EngineSet *set, const EngineKey *key);
extern void engine_sleep(EngineSet *set, const EngineKey *key, bool (*ready)(const EngineEntry *));
extern void engine_wake(EngineSet *set);
extern void engine_retire_entry(EngineEntry *entry);
extern void engine_forget_database(Oid database);
extern uint64 engine_new_generation(void);
extern void engine_count(EngineCounter counter);
extern uint64 engine_app_id(const char *app);
extern int64 engine_add(int64 sum, int64 tokens);

/* engine_take.c: what this transaction has taken */
typedef struct OwnTake
{
	EngineKey key;
	pg_uuid_t grant;
	int64 tokens;      /* negative: returned by this transaction */
	int64 withdrawn;   /* number of a row that gave way; it took nothing */
	uint64 generation; /* of the entry it was noted in */
	SubTransactionId subid;
	bool landed;
	int next; /* in its account's chain */
} OwnTake;

extern void engine_watch_transaction(void);
extern void engine_rehome(const EngineEntry *entry);
extern int64 engine_own_withdrawn(const EngineKey *key);
extern int64 engine_own_undecided(const EngineEntry *entry, const EngineSlot *slot);

/* engine_database.c */
extern void engine_database_init(void);

/* engine_build.c */
extern bool engine_build(const pg_uuid_t *account, Oid storage);
extern void engine_abandon_build(void);

#endif /* BILLING_ENGINE_INTERNAL_H */
