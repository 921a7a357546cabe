/*
 * lockout_memory.c
 *	  Failed logins kept in shared memory, for all databases of the server.
 *
 * A decision takes a microsecond and writes nothing, so refusals of existing and
 * unknown users differ in no disk access; and it stays whatever becomes of the
 * transaction. What ends a lock-out is the transaction's, like the new password
 * that it comes of: else who can roll back could guess for ever. A restart of the
 * server forgets all of it, which no outsider can bring about. Only users that
 * exist have entries, so that what is tried at random cannot push them out.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "lockout.h"

#define LOCKOUT_ENTRIES 8192
#define LOCKOUT_NAME    "billing lockout"

/* subject = account: the failures of all its users; failed_at is then when counting began. */
typedef struct LockoutKey
{
	pg_uuid_t account;
	pg_uuid_t subject;
	Oid database;
} LockoutKey;

typedef struct LockoutEntry
{
	LockoutKey key;
	LockoutRecord record;
} LockoutEntry;

/* A subject whose failures are forgotten, if the transaction commits. */
typedef struct Forgiven
{
	LockoutKey key;
	LockoutRecord record; /* what has been got wrong since, in this transaction */
	int nest_level;
} Forgiven;

static HTAB *entries = NULL;
static LWLock *lock = NULL;
static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;

/* Of this transaction, newest last; in its memory. */
static List *forgiven = NIL;

static void
request(void)
{
	if (previous_request != NULL)
		previous_request();
	RequestAddinShmemSpace(hash_estimate_size(LOCKOUT_ENTRIES, sizeof(LockoutEntry)));
	RequestNamedLWLockTranche(LOCKOUT_NAME, 1);
}

static void
startup(void)
{
	HASHCTL control = {.keysize = sizeof(LockoutKey), .entrysize = sizeof(LockoutEntry)};

	if (previous_startup != NULL)
		previous_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	entries = ShmemInitHash(LOCKOUT_NAME, LOCKOUT_ENTRIES, LOCKOUT_ENTRIES, &control,
							HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
	lock = &GetNamedLWLockTranche(LOCKOUT_NAME)->lock;
	LWLockRelease(AddinShmemInitLock);
}

/* To be called while shared_preload_libraries are loaded. */
void
lockout_memory_request(void)
{
	previous_request = shmem_request_hook;
	shmem_request_hook = request;
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = startup;
}

bool
lockout_memory_exists(void)
{
	return entries != NULL;
}

static LockoutKey
make_key(const pg_uuid_t *account, const pg_uuid_t *subject)
{
	LockoutKey key;

	memset(&key, 0, sizeof(key));
	key.account = *account;
	key.subject = *subject;
	key.database = MyDatabaseId;
	return key;
}

/* The fewest failures are the least loss, the oldest among them. */
static void
evict_one(void)
{
	HASH_SEQ_STATUS scan;
	LockoutEntry *entry;
	LockoutEntry *least = NULL;

	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (least == NULL || entry->record.failures < least->record.failures ||
			(entry->record.failures == least->record.failures &&
			 entry->record.failed_at < least->record.failed_at))
			least = entry;
	if (least != NULL)
		(void) hash_search(entries, &least->key, HASH_REMOVE, NULL);
}

static void
store(const LockoutKey *key, const LockoutRecord *record)
{
	LockoutEntry *entry;

	if (record->failures == 0)
	{
		(void) hash_search(entries, key, HASH_REMOVE, NULL);
		return;
	}
	entry = hash_search(entries, key, HASH_ENTER_NULL, NULL);
	if (entry == NULL)
	{
		evict_one();
		entry = hash_search(entries, key, HASH_ENTER_NULL, NULL);
	}
	if (entry != NULL)
		entry->record = *record;
}

static LockoutRecord
look_up(const LockoutKey *key)
{
	LockoutEntry *entry = hash_search(entries, key, HASH_FIND, NULL);
	LockoutRecord none = {.failures = 0, .failed_at = 0};

	return entry == NULL ? none : entry->record;
}

static LockoutRecord
read_account(const LockoutKey *key, TimestampTz now)
{
	LockoutRecord record = look_up(key);

	if (record.failures == 0 || now - record.failed_at > LOCKOUT_ACCOUNT_MEMORY ||
		now < record.failed_at)
	{
		record.failures = 0;
		record.failed_at = now;
	}
	return record;
}

static Forgiven *
nth_forgiven(int n)
{
	return list_nth(forgiven, n);
}

static void
store_forgiven(void)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < list_length(forgiven); i++)
		store(&nth_forgiven(i)->key, &nth_forgiven(i)->record);
	LWLockRelease(lock);
}

/* A prepared transaction has no memory of it: that lock-out ends by itself. */
static void
transaction_ended(XactEvent event, void *arg pg_attribute_unused())
{
	if (event == XACT_EVENT_COMMIT && forgiven != NIL)
		store_forgiven();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		forgiven = NIL;
}

static void
subtransaction_ended(SubXactEvent event, SubTransactionId subid pg_attribute_unused(),
					 SubTransactionId parent pg_attribute_unused(), void *arg pg_attribute_unused())
{
	int level = GetCurrentTransactionNestLevel();
	int outer = list_length(forgiven);

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	while (outer > 0 && nth_forgiven(outer - 1)->nest_level >= level)
		nth_forgiven(--outer)->nest_level = level - 1;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forgiven = list_truncate(forgiven, outer);
}

static Forgiven *
find_forgiven(const LockoutKey *key)
{
	for (int i = list_length(forgiven) - 1; i >= 0; i--)
		if (memcmp(&nth_forgiven(i)->key, key, sizeof(*key)) == 0)
			return nth_forgiven(i);
	return NULL;
}

bool
lockout_memory_admit(const pg_uuid_t *account, const pg_uuid_t *subject, bool matches)
{
	static const pg_uuid_t nobody;
	LockoutKey key = make_key(account, subject);
	LockoutKey account_key = make_key(account, account);
	TimestampTz now = GetCurrentTimestamp();
	LockoutRecord record;
	LockoutRecord of_account;
	LockoutVerdict verdict;
	Forgiven *own = find_forgiven(&key);

	if (memcmp(account->data, nobody.data, UUID_LEN) == 0)
		return false;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	record = own == NULL ? look_up(&key) : own->record;
	of_account = read_account(&account_key, now);
	verdict = lockout_decide(&record, of_account.failures, matches, now);
	if (own == NULL)
		store(&key, &record);
	else
		own->record = record;
	if (verdict == LOCKOUT_COUNTED && of_account.failures < PG_INT32_MAX)
	{
		of_account.failures++;
		store(&account_key, &of_account);
	}
	LWLockRelease(lock);
	return verdict == LOCKOUT_ADMITTED;
}

/* From this transaction's commit on, and in it at once. */
void
lockout_memory_forget(const pg_uuid_t *account, const pg_uuid_t *subject)
{
	static bool registered = false;
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Forgiven *one = palloc0(sizeof(Forgiven));

	if (!registered)
	{
		RegisterXactCallback(transaction_ended, NULL);
		RegisterSubXactCallback(subtransaction_ended, NULL);
		registered = true;
	}
	one->key = make_key(account, subject);
	one->nest_level = GetCurrentTransactionNestLevel();
	forgiven = lappend(forgiven, one);
	MemoryContextSwitchTo(old);
}
