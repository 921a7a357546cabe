/*
 * lock.c
 *	  Locks on an account, held to the transaction's end.
 *
 * Extensions cannot add lock tag types, so these are advisory tags that SQL
 * cannot reach: pg_advisory_lock uses field4 1 and 2 only.
 *
 * The server's lock table has room for some thousands. A transaction that has
 * locked too many accounts one by one locks all of them at once instead; so
 * everybody who locks one says so in a place where such a transaction looks.
 * Who shares an account with others who spend does that without any cost: by
 * RowExclusiveLock on the ledger, which a backend takes in its own memory.
 *
 * They belong to the (sub)transaction, as the rows do that are written under them.
 * The current owner may be a cursor's: one that fails within a savepoint loses what
 * it held, while the rows of what it fetched before stay.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/resowner.h"

#include "compat.h"
#include "engine.h"
#include "lock.h"
#include "settings.h"
#include "tables.h"

/* Beyond the purposes: field4 of the tag on which whoever locks one account of a purpose says so. */
#define LOCK_SCOPES 16

/*
 * What this transaction has locked one by one; after a rollback to a savepoint
 * it may be less, which matters little. Whether it still holds a lock on all, the
 * lock manager knows.
 */
static struct
{
	LocalTransactionId transaction;
	bool widened;
	int shared[LOCK_SCOPES];
	int others[LOCK_SCOPES];
} taken;

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

static void
make_scope_tag(LOCKTAG *tag, LockPurpose purpose)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, 0, 0,
						 purpose == LOCK_TOKENS ? LOCK_ALL_TOKENS : LOCK_SCOPES + purpose);
}

static void
make_every_tag(LOCKTAG *tag)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, 0, 0, LOCK_EVERY_ACCOUNT);
}

static void
note_transaction(void)
{
	if (taken.transaction == compat_transaction_number())
		return;
	memset(&taken, 0, sizeof(taken));
	taken.transaction = compat_transaction_number();
}

static ResourceOwner
become_transaction(void)
{
	ResourceOwner caller = CurrentResourceOwner;

	CurrentResourceOwner = CurTransactionResourceOwner;
	return caller;
}

/* An error leaves the owner to the abort, which sets it first of all. False: somebody has it. */
static bool
obtain(const LOCKTAG *tag, LOCKMODE mode, bool wait, bool *fresh)
{
	ResourceOwner caller = become_transaction();
	LockAcquireResult result = LockAcquire(tag, mode, false, !wait);

	CurrentResourceOwner = caller;
	if (fresh != NULL)
		*fresh = result == LOCKACQUIRE_OK;
	return result != LOCKACQUIRE_NOT_AVAIL;
}

static void
release(const LOCKTAG *tag, LOCKMODE mode)
{
	ResourceOwner caller = become_transaction();

	(void) LockRelease(tag, mode, false);
	CurrentResourceOwner = caller;
}

static bool
obtain_ledger(LOCKMODE mode, bool wait)
{
	Oid ledger = tables_oid(TABLE_LEDGER);
	ResourceOwner caller = become_transaction();
	bool obtained = true;

	if (wait)
		LockRelationOid(ledger, mode);
	else
		obtained = ConditionalLockRelationOid(ledger, mode);
	CurrentResourceOwner = caller;
	return obtained;
}

/* Keeps every change out, of all accounts, and lets others spend. */
void
lock_all_to_spend(void)
{
	LOCKTAG tag;

	note_transaction();
	taken.widened = true;
	make_scope_tag(&tag, LOCK_TOKENS);
	(void) obtain(&tag, ShareLock, true, NULL);
	(void) obtain_ledger(RowExclusiveLock, true);
}

static bool
holds_every_account(void)
{
	LOCKTAG tag;

	if (taken.transaction != compat_transaction_number() || !taken.widened)
		return false;
	make_every_tag(&tag);
	return compat_lock_held_by_me(&tag, ExclusiveLock);
}

/*
 * Keeps everybody out, of all accounts: waits for whoever has spent or changed
 * anything and is still in progress. No entry is valid while the lock is held.
 * The second tag tells it from a lock on the ledger of somebody else's making.
 */
void
lock_all_to_change(void)
{
	LOCKTAG tag;

	note_transaction();
	if (holds_every_account())
		return;
	taken.widened = true;
	(void) obtain_ledger(ShareRowExclusiveLock, true);
	make_every_tag(&tag);
	(void) obtain(&tag, ExclusiveLock, true, NULL);
	engine_retire_all();
}

/* Whether a lock on all accounts, taken before, stands for this one. */
static bool
is_covered(LockPurpose purpose, LOCKMODE mode)
{
	LOCKTAG tag;

	if (!taken.widened)
		return false;
	make_scope_tag(&tag, purpose);
	if (purpose != LOCK_TOKENS)
		return compat_lock_held_by_me(&tag, ExclusiveLock);
	if (mode == RowExclusiveLock && compat_lock_held_by_me(&tag, ShareLock))
		return true;
	return holds_every_account();
}

/* False: somebody has it, and we were not to wait. */
static bool
lock_all(LockPurpose purpose, LOCKMODE mode, bool wait)
{
	LOCKTAG tag;

	if (purpose == LOCK_TOKENS && !wait)
		return false;
	if (purpose == LOCK_TOKENS)
		mode == RowExclusiveLock ? lock_all_to_spend() : lock_all_to_change();
	else
	{
		make_scope_tag(&tag, purpose);
		if (!obtain(&tag, ExclusiveLock, wait, NULL))
			return false;
		taken.widened = true;
	}
	return true;
}

/*
 * Says that an account is locked, once it is: who still waits for one holds up
 * nobody who wants them all. For the same reason a change lets go of the account
 * while it waits for somebody who has them all.
 */
static bool
enter_scope(const LOCKTAG *account, LockPurpose purpose, LOCKMODE mode, bool wait)
{
	LOCKTAG scope;

	if (mode != ExclusiveLock)
		return true;
	make_scope_tag(&scope, purpose);
	if (obtain(&scope, RowExclusiveLock, false, NULL))
		return true;
	release(account, mode);
	if (!wait)
		return false;
	(void) obtain(&scope, RowExclusiveLock, true, NULL);
	(void) obtain(account, mode, true, NULL);
	return true;
}

/* The ledger stands for the scope of who spends; who changes takes that as well. */
static bool
enter_ledger(const LOCKTAG *account, LOCKMODE mode, bool wait)
{
	if (obtain_ledger(RowExclusiveLock, wait))
		return true;
	release(account, mode);
	return false;
}

static int *
count_of(LockPurpose purpose, LOCKMODE mode)
{
	return mode == RowExclusiveLock ? &taken.shared[purpose] : &taken.others[purpose];
}

/* Whether this transaction has locked so many accounts that the next is to be all. */
static bool
is_wide(LockPurpose purpose, LOCKMODE mode)
{
	note_transaction();
	return *count_of(purpose, mode) >= settings_batch_lock_limit;
}

static bool
acquire(const pg_uuid_t *account, LockPurpose purpose, LOCKMODE mode, bool wait, bool *fresh)
{
	LOCKTAG tag;
	bool new;

	note_transaction();
	*fresh = false;
	if (is_covered(purpose, mode))
		return true;
	if (is_wide(purpose, mode) && lock_all(purpose, mode, wait))
		return true;
	make_tag(&tag, account, purpose);
	if (!obtain(&tag, mode, wait, &new) || !enter_scope(&tag, purpose, mode, wait) ||
		(purpose == LOCK_TOKENS && !enter_ledger(&tag, mode, wait)))
		return false;
	*fresh = new;
	*count_of(purpose, mode) += *fresh;
	if (purpose == LOCK_TOKENS && mode == ExclusiveLock)
		engine_retire(account);
	return true;
}

void
lock_account(const pg_uuid_t *account, LockPurpose purpose, LOCKMODE mode)
{
	bool fresh;

	(void) acquire(account, purpose, mode, true, &fresh);
}

/*
 * True: the transaction did not hold it before. Whoever takes away what others
 * may be spending sees to it that nobody spends from memory meanwhile.
 */
bool
lock_account_fresh(const pg_uuid_t *account, LockPurpose purpose, LOCKMODE mode)
{
	bool fresh;

	(void) acquire(account, purpose, mode, true, &fresh);
	return fresh;
}

/* Gives back what lock_account_fresh took, when nothing was done under it. */
void
lock_account_release(const pg_uuid_t *account, LockPurpose purpose, LOCKMODE mode)
{
	LOCKTAG tag;

	make_tag(&tag, account, purpose);
	release(&tag, mode);
}

bool
lock_held_exclusively(const pg_uuid_t *account, LockPurpose purpose)
{
	LOCKTAG tag;

	make_tag(&tag, account, purpose);
	return compat_lock_held_by_me(&tag, ExclusiveLock) || holds_every_account();
}

bool
lock_account_if_free(const pg_uuid_t *account, LockPurpose purpose, LOCKMODE mode)
{
	bool fresh;

	return acquire(account, purpose, mode, false, &fresh);
}

/* How often to let go before waiting with what one has, whatever comes of it. */
#define LOCK_PATIENCE 16

static bool
holds(const pg_uuid_t *account, LockPurpose purpose)
{
	LOCKTAG tag;

	make_tag(&tag, account, purpose);
	return compat_lock_held_by_me(&tag, ExclusiveLock);
}

/*
 * Tokens for whoever has taken the account's plans. Who spends in a transaction
 * that goes on to order would wait for us, and we for him: so we wait without the
 * plans. True: they were let go of meanwhile, and what was read under them may be
 * otherwise; tokens are held exclusively then, whatever the mode.
 */
bool
lock_tokens_after_plans(const pg_uuid_t *account, LOCKMODE mode)
{
	/* what stands for the account's plans is not given back for one of many */
	if (is_wide(LOCK_TOKENS, mode) || is_covered(LOCK_PLANS, ExclusiveLock))
	{
		lock_account(account, LOCK_TOKENS, mode);
		return false;
	}
	if (lock_account_if_free(account, LOCK_TOKENS, mode))
		return false;
	for (int i = 0; i < LOCK_PATIENCE && holds(account, LOCK_PLANS); i++)
	{
		lock_account_release(account, LOCK_PLANS, ExclusiveLock);
		lock_account(account, LOCK_TOKENS, ExclusiveLock);
		if (lock_account_if_free(account, LOCK_PLANS, ExclusiveLock))
			return true;
		if (!holds(account, LOCK_TOKENS))
			break;
		lock_account_release(account, LOCK_TOKENS, ExclusiveLock);
		lock_account(account, LOCK_PLANS, ExclusiveLock);
		if (lock_account_if_free(account, LOCK_TOKENS, ExclusiveLock))
			return true;
	}
	lock_account(account, LOCK_PLANS, ExclusiveLock);
	lock_account(account, LOCK_TOKENS, ExclusiveLock);
	return true;
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
	(void) lock_tokens_after_plans(account, ExclusiveLock);
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
	return obtain(&tag, RowExclusiveLock, false, NULL);
}
