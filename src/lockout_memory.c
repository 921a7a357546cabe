/*
 * lockout_memory.c
 *	  Failed logins kept in shared memory, for all databases of the server.
 *
 * A decision takes a microsecond and writes nothing, so refusals of existing and
 * unknown users differ in no disk access; and it stays whatever becomes of the
 * transaction. A restart of the server forgets all of it, which no outsider can
 * bring about. Only users that exist have entries, so that what is tried at
 * random cannot push them out.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

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

static HTAB *entries = NULL;
static LWLock *lock = NULL;
static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;

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

	if (memcmp(account->data, nobody.data, UUID_LEN) == 0)
		return false;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	record = look_up(&key);
	of_account = read_account(&account_key, now);
	verdict = lockout_decide(&record, of_account.failures, matches, now);
	store(&key, &record);
	if (verdict == LOCKOUT_COUNTED && of_account.failures < PG_INT32_MAX)
	{
		of_account.failures++;
		store(&account_key, &of_account);
	}
	LWLockRelease(lock);
	return verdict == LOCKOUT_ADMITTED;
}

void
lockout_memory_forget(const pg_uuid_t *account, const pg_uuid_t *subject)
{
	LockoutKey key = make_key(account, subject);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	(void) hash_search(entries, &key, HASH_REMOVE, NULL);
	LWLockRelease(lock);
}
