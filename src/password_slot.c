#include "postgres.h"

#include "miscadmin.h"
#include "password.h"
#include "storage/lock.h"

/*
 * At most billing.max_password_hashers backends of this server hash at a time,
 * each holding one of so many locks. Heavyweight locks because they alone do all
 * of it with and without shared_preload_libraries: the lock manager frees them
 * however a backend ends, a waiter sleeps without polling, obeys cancel,
 * statement_timeout and lock_timeout, and shows in pg_locks. A holder waits for
 * nothing while it holds one, so they take part in no deadlock.
 *
 * SQL reaches advisory locks with field4 = 1 and 2 only. Field1 is no database:
 * memory belongs to the server.
 */
#define PASSWORD_SLOT_LOCK_PURPOSE 0xB0

static void
password_slot_tag(int slot, LOCKTAG *tag)
{
	SET_LOCKTAG_ADVISORY(*tag, InvalidOid, 0, slot, PASSWORD_SLOT_LOCK_PURPOSE);
}

/* Joining the shortest queue is as good as one queue: every turn takes equally long. */
static int
password_slot_least_awaited(void)
{
	int best = 0;
	int best_waiters = INT_MAX;

	for (int i = 0; i < password_max_hashers; i++)
	{
		int slot = (MyProcPid + i) % password_max_hashers;
		LOCKTAG tag;
		int waiters;

		password_slot_tag(slot, &tag);
		waiters = LockWaiterCount(&tag);
		if (waiters < best_waiters)
		{
			best = slot;
			best_waiters = waiters;
		}
	}
	return best;
}

/*
 * Waits for a turn to hash. The slot returned is to be released right afterwards;
 * an error in between releases it with the transaction or subtransaction.
 */
int
password_slot_take(void)
{
	LOCKTAG tag;
	int slot;

	for (int i = 0; i < password_max_hashers; i++)
	{
		slot = (MyProcPid + i) % password_max_hashers;
		password_slot_tag(slot, &tag);
		if (LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL)
			return slot;
	}

	slot = password_slot_least_awaited();
	password_slot_tag(slot, &tag);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	return slot;
}

void
password_slot_release(int slot)
{
	LOCKTAG tag;

	password_slot_tag(slot, &tag);
	LockRelease(&tag, ExclusiveLock, false);
}
