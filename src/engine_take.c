/*
 * engine_take.c
 *	  Taking tokens out of an entry, and what becomes of them when the
 *	  transaction ends.
 *
 * A take is noted here before its rows are written, so that whatever happens
 * next finds it: the rows land, an error undoes it, or the end of the
 * (sub)transaction decides it. The callbacks neither allocate nor throw.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"

#include "compat.h"
#include "engine_internal.h"
#include "lock.h"
#include "low_balance.h"

/* In the order in which they were made; those of a subtransaction stand at the end. */
static OwnTake *own = NULL;
static int own_count = 0;
static int own_capacity = 0; /* a power of two */

/*
 * Chains of the takes of one account (and of few others), newest first: position + 1, 0 ends one.
 * There are as many as there is room for takes.
 */
static int *chain_head = NULL;

/* Of both: what a large transaction needed is given back at its end. */
static MemoryContext own_memory = NULL;
#define CAPACITY_TO_KEEP 512

/* Takes since the last landing: their rows are being written. */
static int unlanded = 0;

/* Accounts to which this transaction added tokens: only the ledger knows them. */
typedef struct Addition
{
	EngineKey key;
	bool uncounted; /* not noted in the entry: the commit has it built anew */
	int next;       /* in its chain */
} Addition;

#define CHAINS 1024

static Addition *additions = NULL;
static int addition_count = 0;
static int addition_capacity = 0;
static int addition_head[CHAINS]; /* as chain_head */

static bool callbacks_registered = false;

static Addition *find_addition(const pg_uuid_t *account);
static void remember_addition(const pg_uuid_t *account, bool uncounted);
static void retire(const EngineKey *key);
static void transaction_ended(XactEvent event, void *arg);
static void subtransaction_ended(SubXactEvent event, SubTransactionId subid,
								 SubTransactionId parent, void *arg);

/*
 * Before the backend takes, closes or adds anything for the first time: from
 * then on an error or the session's end is seen.
 */
void
engine_watch_transaction(void)
{
	if (callbacks_registered)
		return;
	RegisterXactCallback(transaction_ended, NULL);
	RegisterSubXactCallback(subtransaction_ended, NULL);
	callbacks_registered = true;
}

static int
chain_of(const pg_uuid_t *account, int chains)
{
	uint32 words[UUID_LEN / sizeof(uint32)];

	memcpy(words, account->data, UUID_LEN);
	return murmurhash32(words[0] ^ words[1] ^ words[2] ^ words[3]) & (chains - 1);
}

/* The newest of the account's chain, as its links are. */
static int
first_of(const pg_uuid_t *account)
{
	return own_count == 0 ? 0 : chain_head[chain_of(account, own_capacity)];
}

/* The next note is filled in, and from now on is one. */
static OwnTake *
link_next(void)
{
	OwnTake *take = &own[own_count];
	int chain = chain_of(&take->key.account, own_capacity);

	take->next = chain_head[chain];
	chain_head[chain] = ++own_count;
	return take;
}

static void
grow(void)
{
	int capacity = Max(64, own_capacity * 2);
	int count = own_count;

	if (own_memory == NULL)
		own_memory =
			AllocSetContextCreate(TopMemoryContext, "BillingTakes", ALLOCSET_START_SMALL_SIZES);
	own = own == NULL ? MemoryContextAlloc(own_memory, sizeof(OwnTake) * capacity)
					  : repalloc_huge(own, sizeof(OwnTake) * (Size) capacity);
	chain_head = chain_head == NULL ? MemoryContextAlloc(own_memory, sizeof(int) * capacity)
									: repalloc_huge(chain_head, sizeof(int) * (Size) capacity);
	own_capacity = capacity;
	memset(chain_head, 0, sizeof(int) * (Size) capacity);
	for (own_count = 0; own_count < count;)
		(void) link_next();
}

/* Memory outlives the transaction, so that its end need not free anything. */
static void
reserve(int count)
{
	engine_watch_transaction();
	if (own_count + count > own_capacity)
		grow();
}

static OwnTake *
push(const EngineKey *key)
{
	OwnTake *take = &own[own_count];

	memset(take, 0, sizeof(OwnTake));
	take->key = *key;
	take->subid = GetCurrentSubTransactionId();
	return link_next();
}

static void
note(const EngineEntry *entry, const EngineSlot *slot, int64 tokens, bool landed)
{
	OwnTake *take = push(&entry->key);

	take->grant = slot->grant;
	take->tokens = tokens;
	take->generation = entry->generation;
	take->landed = landed;
}

/* NULL: this transaction has neither tokens nor numbers from the account's entry. */
static const OwnTake *
newest_note(const pg_uuid_t *account)
{
	for (int at = first_of(account); at > 0; at = own[at - 1].next)
		if (memcmp(own[at - 1].key.account.data, account->data, UUID_LEN) == 0)
			return &own[at - 1];
	return NULL;
}

/* Forgets the newest one. */
static void
pop(void)
{
	OwnTake *take = &own[--own_count];

	chain_head[chain_of(&take->key.account, own_capacity)] = take->next;
}

/* Whether two notes are of one kind, so that one with the tokens of both stands for them. */
static bool
is_like(const OwnTake *a, const OwnTake *b)
{
	return a->generation == b->generation && a->subid == b->subid && a->landed == b->landed &&
		   (a->tokens > 0) == (b->tokens > 0) && (a->tokens < 0) == (b->tokens < 0) &&
		   (a->withdrawn > 0) == (b->withdrawn > 0) &&
		   memcmp(&a->key, &b->key, sizeof(EngineKey)) == 0 &&
		   memcmp(a->grant.data, b->grant.data, UUID_LEN) == 0;
}

/* NULL: there is none like it. What is older than one of another subtransaction is of outer ones. */
static OwnTake *
find_like(const OwnTake *take)
{
	for (int at = first_of(&take->key.account); at > 0; at = own[at - 1].next)
	{
		if (own[at - 1].subid != take->subid)
			return NULL;
		if (is_like(&own[at - 1], take))
			return &own[at - 1];
	}
	return NULL;
}

/*
 * Adds the notes from a position on to older ones like them. So a transaction has
 * a note for each grant and subtransaction in progress, however often it consumes.
 */
static void
fold(int from)
{
	int count = own_count;

	if (from == 0)
		return;
	while (own_count > from)
		pop();
	for (int i = from; i < count; i++)
	{
		OwnTake take = own[i];
		OwnTake *like = find_like(&take);

		if (like != NULL)
		{
			like->tokens += take.tokens;
			like->withdrawn = Max(like->withdrawn, take.withdrawn);
			continue;
		}
		own[own_count] = take;
		(void) link_next();
	}
}

static void
forget_all(void)
{
	if (own_capacity > CAPACITY_TO_KEEP)
	{
		MemoryContextReset(own_memory);
		own = NULL;
		chain_head = NULL;
		own_capacity = 0;
	}
	else if (own_count > 0)
		memset(chain_head, 0, sizeof(int) * own_capacity);
	if (addition_count > 0)
		memset(addition_head, 0, sizeof(addition_head));
	own_count = unlanded = addition_count = 0;
}

static EngineSlot *
find_slot(EngineEntry *entry, const pg_uuid_t *grant)
{
	for (int i = 0; i < entry->slots; i++)
		if (memcmp(entry->slot[i].grant.data, grant->data, UUID_LEN) == 0)
			return &entry->slot[i];
	return NULL;
}

static bool
is_open(const EngineEntry *entry)
{
	return entry->state != ENTRY_CLOSED;
}

static bool
in_scope(const EngineSlot *slot, const EngineRequest *request, uint64 app)
{
	return slot->app == 0 || (request->app != NULL && slot->app == app);
}

/* Undecided by this transaction's own doing: to itself nothing about them is open. */
int64
engine_own_undecided(const EngineEntry *entry, const EngineSlot *slot)
{
	int64 sum = 0;

	for (int at = first_of(&entry->key.account); at > 0; at = own[at - 1].next)
	{
		const OwnTake *take = &own[at - 1];

		if (take->generation == entry->generation && take->tokens > 0 &&
			memcmp(&take->key, &entry->key, sizeof(EngineKey)) == 0 &&
			memcmp(take->grant.data, slot->grant.data, UUID_LEN) == 0)
			sum += take->tokens;
	}
	return sum;
}

/*
 * The highest number under which this transaction has withdrawn a row, 0: none.
 * Nothing is left of such a row; its number is not used again all the same, so
 * that no two insertions of a transaction ever had one number.
 */
int64
engine_own_withdrawn(const EngineKey *key)
{
	int64 highest = 0;

	for (int at = first_of(&key->account); at > 0; at = own[at - 1].next)
		if (memcmp(&own[at - 1].key, key, sizeof(EngineKey)) == 0)
			highest = Max(highest, own[at - 1].withdrawn);
	return highest;
}

/*
 * A build counts this transaction's rows anew: what it noted earlier belongs to
 * the new generation from now on.
 */
void
engine_rehome(const EngineEntry *entry)
{
	for (int at = first_of(&entry->key.account); at > 0; at = own[at - 1].next)
		if (memcmp(&own[at - 1].key, &entry->key, sizeof(EngineKey)) == 0)
			own[at - 1].generation = entry->generation;
}

static void
take_from_slots(EngineEntry *entry, const EngineRequest *request, uint64 app, EngineTake *take)
{
	int64 wanted = request->tokens;

	take->parts = 0;
	take->emptied = take->ran_low = false;
	for (int i = 0; i < entry->slots && wanted > 0; i++)
	{
		EngineSlot *slot = &entry->slot[i];
		int64 taken = Min(wanted, slot->available);

		if (taken <= 0 || !in_scope(slot, request, app))
			continue;
		slot->available -= taken;
		slot->undecided += taken;
		wanted -= taken;
		take->emptied |= slot->available == 0;
		take->ran_low |=
			low_balance_crosses(slot->granted, slot->available + taken, slot->available);
		take->part[take->parts].grant = slot->grant;
		take->part[take->parts].tokens = taken;
		take->parts++;
		note(entry, slot, taken, false);
		unlanded++;
	}
	Assert(wanted == 0);
	take->first_entry_no = entry->next_entry_no;
	entry->next_entry_no += take->parts;
	entry->inflight++;
}

/* One that a build would leave out, to make room for a later grant. */
static bool
has_dry_slot(const EngineEntry *entry)
{
	for (int i = 0; i < entry->slots; i++)
		if (entry->slot[i].available == 0 && entry->slot[i].undecided == 0)
			return true;
	return false;
}

/* What grants beyond the slots have for the request: part of what remains, but not to be taken. */
static int64
beyond_slots(const EngineEntry *entry, const EngineRequest *request, uint64 app, int64 *undecided)
{
	int64 sum = 0;

	for (int i = 0; i < entry->beyonds; i++)
	{
		const EngineBeyond *beyond = &entry->beyond[i];

		if (beyond->app != 0 && (request->app == NULL || beyond->app != app))
			continue;
		sum = engine_add(sum, beyond->available);
		*undecided = engine_add(*undecided, beyond->undecided);
	}
	return sum;
}

/*
 * What is undecided of a grant may be its tokens twice, taken and returned; of the
 * very largest that is more than a slot can say.
 */
static bool
has_room_for(const EngineSlot *slot, int64 tokens)
{
	return slot->undecided <= PG_INT64_MAX - tokens;
}

/* With the set locked and the entry valid. */
static EngineOutcome
decide(EngineEntry *entry, const EngineRequest *request, uint64 app, EngineTake *take)
{
	int64 available = 0;
	int64 undecided = entry->undecided_grants;

	if (entry->crowded)
		return ENGINE_LEDGER;
	take->any_in_time = false;
	for (int i = 0; i < entry->slots; i++)
	{
		EngineSlot *slot = &entry->slot[i];

		if (!in_scope(slot, request, app))
			continue;
		if (!has_room_for(slot, slot->available))
			return ENGINE_LEDGER;
		take->any_in_time = true;
		available = engine_add(available, slot->available);
		undecided = engine_add(undecided,
							   slot->undecided -
								   (slot->undecided > 0 ? engine_own_undecided(entry, slot) : 0));
	}
	take->remaining = engine_add(available, beyond_slots(entry, request, app, &undecided));
	if (available >= request->tokens && !take->may_take)
		return ENGINE_READY;
	if (available >= request->tokens)
	{
		take_from_slots(entry, request, app, take);
		take->remaining -= request->tokens;
		return ENGINE_TAKEN;
	}
	if (entry->hold_due > take->now && request->tokens > engine_add(take->remaining, undecided))
		return ENGINE_SHORT;
	if (entry->beyonds > 0 && has_dry_slot(entry))
		return ENGINE_REBUILD;
	return entry->beyonds > 0 || entry->hold_due <= take->now ? ENGINE_LEDGER : ENGINE_UNCERTAIN;
}

/*
 * One look at the entry: true with the outcome, or false after having slept or
 * built, when it is to be looked at again.
 */
static bool
try_once(const EngineKey *key, const EngineRequest *request, uint64 app, Oid storage,
		 EngineTake *take, EngineOutcome *outcome)
{
	EngineSet *set = engine_lock_set(key);
	EngineEntry *entry = engine_find(set, key);

	if (entry != NULL && entry->state == ENTRY_CLOSED)
	{
		engine_unlock_set(set);
		engine_sleep(set, key, is_open);
		return false;
	}
	if (entry != NULL && entry->state == ENTRY_VALID && entry->storage == storage)
	{
		take->now = entry->has_clock ? entry->clock : GetCurrentTimestamp();
		if (take->now < entry->boundary)
		{
			*outcome = entry->suspended ? ENGINE_SUSPENDED : decide(entry, request, app, take);
			if (*outcome != ENGINE_REBUILD)
			{
				engine_unlock_set(set);
				return true;
			}
		}
	}
	engine_unlock_set(set);
	if (engine_build(&key->account, storage))
		return false;
	*outcome = ENGINE_LEDGER;
	return true;
}

static EngineOutcome
try_until_decided(const EngineRequest *request, Relation ledger, EngineTake *take)
{
	EngineKey key = engine_key(request->account);
	uint64 app = engine_app_id(request->app);
	EngineOutcome outcome;

	while (!try_once(&key, request, app, compat_relation_storage(ledger), take, &outcome))
		CHECK_FOR_INTERRUPTS();
	return outcome;
}

/* As engine_take, but READY where that would take: for who expects to be denied. */
EngineOutcome
engine_peek(const EngineRequest *request, Relation ledger, EngineTake *take)
{
	take->may_take = false;
	return try_until_decided(request, ledger, take);
}

/* A landing that is not one would be another's: rows would count that are not there. */
static void
require_unlanded(bool expected)
{
	if ((unlanded > 0) != expected)
		elog(ERROR, "a take has %s", expected ? "been undone before it landed" : "not landed yet");
}

/*
 * Takes tokens, with the account's lock held in RowExclusiveLock. After TAKEN
 * the caller writes the rows and calls engine_land() or engine_withdraw(); nothing
 * that may wait for another transaction may stand in between, since a builder
 * waits for it without the deadlock detector's knowledge.
 */
EngineOutcome
engine_take(const EngineRequest *request, Relation ledger, EngineTake *take)
{
	EngineOutcome outcome;

	(void) GetCurrentTransactionId();
	reserve(ENGINE_SLOTS);
	require_unlanded(false);
	take->may_take = true;
	outcome = try_until_decided(request, ledger, take);
	if (outcome == ENGINE_TAKEN)
		engine_count(COUNTER_TAKES);
	return outcome;
}

/* Gives out the numbers of rows that return tokens; they have to land like any others. */
static void
take_numbers(EngineEntry *entry, int rows, EngineTake *take)
{
	static const EngineSlot nothing;

	take->first_entry_no = entry->next_entry_no;
	entry->next_entry_no += rows;
	entry->inflight++;
	note(entry, &nothing, 0, false);
	unlanded++;
}

/*
 * Whether the entry tells the next number to who must not build it. One that was
 * retired does, to who has had a number or tokens from it as it is: since then his
 * lock has kept out whoever writes rows without asking the entry.
 */
static bool
tells_numbers(const EngineEntry *entry, Oid storage, bool may_build)
{
	const OwnTake *newest;

	if (entry->storage != storage || entry->state == ENTRY_CLOSED)
		return false;
	if (entry->state == ENTRY_VALID || may_build)
		return entry->state == ENTRY_VALID;
	newest = newest_note(&entry->key.account);
	return newest != NULL && newest->generation == entry->generation;
}

/* Whether rows that return tokens will get their numbers from the entry, as far as can be foreseen. */
bool
engine_may_number(const pg_uuid_t *account)
{
	return engine_enabled() && !lock_held_exclusively(account, LOCK_TOKENS) &&
		   (find_addition(account) == NULL || newest_note(account) != NULL);
}

/*
 * Numbers for rows that take nothing. False: the ledger has to tell, under the
 * exclusive lock. Who added tokens must not build, but has no need to.
 */
bool
engine_number(const pg_uuid_t *account, Relation ledger, int rows, EngineTake *take)
{
	Oid storage = compat_relation_storage(ledger);
	bool may_build;
	EngineKey key;

	if (!engine_may_number(account))
		return false;
	may_build = engine_may_serve(account);
	key = engine_key(account);
	(void) GetCurrentTransactionId();
	reserve(1);
	require_unlanded(false);
	for (;;)
	{
		EngineSet *set = engine_lock_set(&key);
		EngineEntry *entry = engine_find(set, &key);
		bool told = entry != NULL && tells_numbers(entry, storage, may_build);
		bool closed = entry != NULL && entry->state == ENTRY_CLOSED;

		if (told)
			take_numbers(entry, rows, take);
		engine_unlock_set(set);
		if (told)
			return true;
		if (closed)
			engine_sleep(set, &key, is_open);
		else if (!may_build || !engine_build(account, storage))
			return false;
		CHECK_FOR_INTERRUPTS();
	}
}

static void
end_inflight(EngineSet *set, EngineEntry *entry)
{
	entry->inflight--;
	if (entry->state == ENTRY_CLOSED && entry->inflight == 0)
		engine_wake(set);
}

/* Rows and index entries are there: from now on a scan finds them. */
void
engine_land(void)
{
	OwnTake *last;
	EngineSet *set;
	EngineEntry *entry;
	int from;

	require_unlanded(true);
	last = &own[own_count - 1];
	set = engine_lock_set(&last->key);
	entry = engine_find(set, &last->key);
	Assert(entry != NULL);
	end_inflight(set, entry);
	engine_unlock_set(set);
	from = own_count - unlanded;
	for (; unlanded > 0; unlanded--)
		own[own_count - unlanded].landed = true;
	fold(from);
}

/*
 * What the end of a transaction does with one of its takes in the entry it was
 * noted in. A newer build counted the rows as taken, or as not yet returned, and
 * so may one that is under way: where they free tokens, that is not to stay.
 */
static void
settle(const OwnTake *take, bool committed)
{
	EngineSet *set;
	EngineEntry *entry;
	EngineSlot *slot = NULL;
	int64 undecided = (take->tokens < 0 ? -take->tokens : take->tokens);
	bool frees = (take->tokens > 0) != committed;

	if (undecided == 0)
		return;
	set = engine_lock_set(&take->key);
	entry = engine_find(set, &take->key);
	if (entry != NULL && entry->generation == take->generation)
		slot = find_slot(entry, &take->grant);
	if (slot != NULL)
	{
		slot->undecided -= undecided;
		if (frees)
			slot->available += undecided;
	}
	if (entry != NULL && frees && (slot == NULL || entry->state == ENTRY_CLOSED))
		engine_retire_entry(entry);
	engine_unlock_set(set);
}

/* Undoes the takes since the last landing, whose rows are not there or are gone again. */
static void
undo_unlanded(void)
{
	OwnTake *last;
	EngineSet *set;
	EngineEntry *entry;

	if (unlanded == 0)
		return;
	last = &own[own_count - 1];
	for (int i = own_count - unlanded; i < own_count; i++)
		settle(&own[i], false);
	set = engine_lock_set(&last->key);
	entry = engine_find(set, &last->key);
	if (entry != NULL)
		end_inflight(set, entry);
	engine_unlock_set(set);
	for (; unlanded > 0; unlanded--)
		pop();
}

/* Of a request with a key that another had first: its row, the first one, is gone again. */
void
engine_withdraw(const EngineTake *take)
{
	OwnTake undone;
	OwnTake *withdrawn;

	require_unlanded(true);
	undone = own[own_count - 1];
	undo_unlanded();
	withdrawn = push(&undone.key);
	withdrawn->withdrawn = take->first_entry_no;
	withdrawn->generation = undone.generation;
	withdrawn->landed = true;
	fold(own_count - 1);
}

/*
 * Tokens returned to a grant by rows that have landed: undecided until the end
 * of the transaction. Where no slot can note them, the entry is built anew, now
 * and when they are there for good, and the builds find the rows.
 */
void
engine_return(const pg_uuid_t *account, const pg_uuid_t *grant, int64 tokens)
{
	EngineKey key;
	EngineSet *set;
	EngineEntry *entry;
	EngineSlot *slot = NULL;

	if (!engine_enabled() || tokens <= 0)
		return;
	key = engine_key(account);
	reserve(1);
	set = engine_lock_set(&key);
	entry = engine_find(set, &key);
	if (entry != NULL && entry->state == ENTRY_VALID)
		slot = find_slot(entry, grant);
	if (slot != NULL && !has_room_for(slot, tokens))
		slot = NULL;
	if (slot != NULL)
	{
		slot->undecided += tokens;
		note(entry, slot, -tokens, true);
	}
	else if (entry != NULL)
		engine_retire_entry(entry);
	engine_unlock_set(set);
	if (slot != NULL)
		fold(own_count - 1);
	remember_addition(account, slot == NULL);
}

/* The entry must not be used any more, if there is one; its number goes on. */
static void
retire(const EngineKey *key)
{
	EngineSet *set = engine_lock_set(key);
	EngineEntry *entry = engine_find(set, key);

	if (entry != NULL)
		engine_retire_entry(entry);
	engine_unlock_set(set);
	engine_count(COUNTER_RETIREMENTS);
}

void
engine_retire(const pg_uuid_t *account)
{
	EngineKey key;

	if (!engine_enabled())
		return;
	key = engine_key(account);
	retire(&key);
}

/* NULL: this transaction added no tokens to the account. */
static Addition *
find_addition(const pg_uuid_t *account)
{
	for (int at = addition_head[chain_of(account, CHAINS)]; at > 0; at = additions[at - 1].next)
		if (memcmp(additions[at - 1].key.account.data, account->data, UUID_LEN) == 0)
			return &additions[at - 1];
	return NULL;
}

/*
 * Whether the account's tokens may be taken from its entry, and the entry be
 * built, by this transaction.
 */
bool
engine_may_serve(const pg_uuid_t *account)
{
	return engine_enabled() && !lock_held_exclusively(account, LOCK_TOKENS) &&
		   find_addition(account) == NULL;
}

static void
reserve_additions(void)
{
	int capacity = Max(16, addition_capacity * 2);

	engine_watch_transaction();
	if (addition_count < addition_capacity)
		return;
	additions = additions == NULL
					? MemoryContextAlloc(TopMemoryContext, sizeof(Addition) * capacity)
					: repalloc_huge(additions, sizeof(Addition) * (Size) capacity);
	addition_capacity = capacity;
}

/*
 * This transaction added tokens that only it may spend before it commits: from
 * now on the ledger serves it.
 */
static void
remember_addition(const pg_uuid_t *account, bool uncounted)
{
	Addition *addition = find_addition(account);
	int chain = chain_of(account, CHAINS);

	if (addition == NULL && lock_held_exclusively(account, LOCK_TOKENS))
		return;
	if (addition == NULL)
	{
		reserve_additions();
		addition = &additions[addition_count];
		addition->key = engine_key(account);
		addition->uncounted = false;
		addition->next = addition_head[chain];
		addition_head[chain] = ++addition_count;
	}
	addition->uncounted |= uncounted;
}

/*
 * A grant's row has landed. The entry is built anew, and the build counts the
 * tokens as undecided; so a denial stays certain when the transaction commits,
 * before and after others can see it. The commit has it built once more, or the
 * grant would stay unused, whatever its priority, until the others are empty.
 */
void
engine_note_addition(const pg_uuid_t *account)
{
	if (!engine_enabled())
		return;
	engine_retire(account);
	remember_addition(account, true);
}

/* A hold that will lapse: whoever runs short after that looks for it. */
void
engine_note_hold(const pg_uuid_t *account, TimestampTz expires_at)
{
	EngineKey key;
	EngineSet *set;
	EngineEntry *entry;

	if (!engine_enabled())
		return;
	key = engine_key(account);
	set = engine_lock_set(&key);
	entry = engine_find(set, &key);
	if (entry != NULL)
		entry->hold_due = Min(entry->hold_due, expires_at);
	engine_unlock_set(set);
}

static void
transaction_ended(XactEvent event, void *arg pg_attribute_unused())
{
	bool committed = event == XACT_EVENT_COMMIT;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	engine_abandon_build();
	/* COMMIT PREPARED calls nobody: what was prepared stays undecided until a build */
	if (event != XACT_EVENT_PREPARE)
	{
		undo_unlanded();
		for (int i = own_count - 1; i >= 0; i--)
			settle(&own[i], committed);
		for (int i = 0; committed && i < addition_count; i++)
			if (additions[i].uncounted)
				retire(&additions[i].key);
	}
	forget_all();
}

static bool
is_newest_of(SubTransactionId subid)
{
	return own_count > 0 && own[own_count - 1].subid == subid;
}

/*
 * Takes of a subtransaction stand at the end: those of its own committed children are its own. One
 * that ends while an outer one's rows are being written, in code that an index runs, has none.
 */
static void
subtransaction_ended(SubXactEvent event, SubTransactionId subid, SubTransactionId parent,
					 void *arg pg_attribute_unused())
{
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		int from = own_count;

		while (from > 0 && own[from - 1].subid == subid)
			own[--from].subid = parent;
		fold(from);
		return;
	}
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	engine_abandon_build();
	if (is_newest_of(subid))
		undo_unlanded();
	while (is_newest_of(subid))
	{
		settle(&own[own_count - 1], false);
		pop();
	}
}
