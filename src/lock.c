/*
 * lock.c
 *	  Locks on an account, held to the transaction's end.
 *
 * Extensions cannot add lock tag types, so these are advisory tags that SQL
 * cannot reach: pg_advisory_lock uses field4 1 and 2 only.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"

#include "compat.h"
#include "engine.h"
#include "lock.h"

/*
 * The tag holds 64 bits of the account's hash: two accounts that collide share
 * a lock, which costs them some waiting and nothing else.
 */
static void
make_tag(LOCKTAG *tag, const pg_uuid_t *account, LockPurpose purpose)
{
	uint64 hash = hash_bytes_extended(account->data, UUID_LEN, 0);

	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, purpose);
}

/* Keeps every change out, of all accounts, for a batch of more accounts than it can lock. */
void
lock_all_accounts(void)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, LOCK_ALL_TOKENS);
	(void) LockAcquire(&tag, ShareLock, false, false);
}

static void
announce_change(void)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, LOCK_ALL_TOKENS);
	(void) LockAcquire(&tag, RowExclusiveLock, false, false);
}

void
lock_account(const pg_uuid_t *account, LockPurpose purpose, LOCKMODE mode)
{
	(void) lock_account_fresh(account, purpose, mode);
}

/*
 * True: the transaction did not hold it before. Whoever takes away what others
 * may be spending sees to it that nobody spends from memory meanwhile.
 */
bool
lock_account_fresh(const pg_uuid_t *account, LockPurpose purpose, LOCKMODE mode)
{
	LOCKTAG tag;
	bool fresh;

	if (purpose == LOCK_TOKENS && mode == ExclusiveLock)
		announce_change();
	make_tag(&tag, account, purpose);
	fresh = LockAcquire(&tag, mode, false, false) != LOCKACQUIRE_ALREADY_HELD;
	if (purpose == LOCK_TOKENS && mode == ExclusiveLock)
		engine_retire(account);
	return fresh;
}

/* Gives back what lock_account_fresh took, when nothing was done under it. */
void
lock_account_release(const pg_uuid_t *account, LockPurpose purpose, LOCKMODE mode)
{
	LOCKTAG tag;

	make_tag(&tag, account, purpose);
	(void) LockRelease(&tag, mode, false);
}

bool
lock_held_exclusively(const pg_uuid_t *account, LockPurpose purpose)
{
	LOCKTAG tag;

	make_tag(&tag, account, purpose);
	return compat_lock_held_by_me(&tag, ExclusiveLock);
}

bool
lock_account_if_free(const pg_uuid_t *account, LockPurpose purpose, LOCKMODE mode)
{
	LOCKTAG tag;

	make_tag(&tag, account, purpose);
	return LockAcquire(&tag, mode, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* For changes that only add: additions do no harm to those who spend meanwhile. */
void
lock_plan_addition(const pg_uuid_t *account)
{
	lock_account(account, LOCK_PLANS, ExclusiveLock);
	lock_account(account, LOCK_TOKENS, RowExclusiveLock);
}

/* For changes that may take something away from the account. */
void
lock_plan_change(const pg_uuid_t *account)
{
	lock_account(account, LOCK_PLANS, ExclusiveLock);
	lock_account(account, LOCK_TOKENS, ExclusiveLock);
}

/* No account has the nil uuid. */
void
lock_catalogue(void)
{
	static const pg_uuid_t nil = {{0}};

	lock_account(&nil, LOCK_PLANS, ExclusiveLock);
}

static void
make_restore_tag(LOCKTAG *tag)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, 0, 0, LOCK_RESTORE);
}

/*
 * Keeps the worker out of a database that is half restored, to the session's
 * end: a restore may take many transactions, in several sessions, and only its
 * sessions know that it is one.
 */
void
lock_restore(void)
{
	LOCKTAG tag;

	make_restore_tag(&tag);
	if (!compat_lock_held_by_me(&tag, ShareLock))
		(void) LockAcquire(&tag, ShareLock, true, false);
}

/* False: the database is being restored. Else no restore begins before the transaction's end. */
bool
lock_unless_restored(void)
{
	LOCKTAG tag;

	make_restore_tag(&tag);
	return LockAcquire(&tag, RowExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}
