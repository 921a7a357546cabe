/*
 * lock.h
 *	  Locks on an account, held to the transaction's end.
 *
 * Taken in the order of LockPurpose, so that our own functions cannot deadlock
 * with each other. A transaction that spends and then changes plans takes them
 * the other way round: who waits for tokens therefore lets go of plans.
 */
#ifndef BILLING_LOCK_H
#define BILLING_LOCK_H

#include "storage/lock.h"
#include "utils/uuid.h"

typedef enum LockPurpose
{
	/* Of the whole database: ShareLock by who spends from very many accounts, RowExclusiveLock by
	 * every change of one. */
	LOCK_ALL_TOKENS = 3,

	/* Who buys, renews, orders, pays or ends plans of the account; one at a time. */
	LOCK_PLANS = 4,

	/* RowExclusiveLock: consume, hold, capture, release, refund, grant, take a seat.
	 * ExclusiveLock: whatever takes something away: void, suspend, clock, cancel, expire. */
	LOCK_TOKENS = 5,

	/* Who takes or frees a seat; one at a time. */
	LOCK_SEATS = 6,

	/* Who refunds a consumption; one at a time. */
	LOCK_REFUNDS = 7,

	/* Of the whole database, held by who may change every account; nobody waits for it. */
	LOCK_EVERY_ACCOUNT = 8,

	/* Of the whole database: ShareLock by a session that restores, RowExclusiveLock by the worker. */
	LOCK_RESTORE = 9
} LockPurpose;

extern void lock_account(const pg_uuid_t *account, LockPurpose purpose, LOCKMODE mode);
extern bool lock_account_if_free(const pg_uuid_t *account, LockPurpose purpose, LOCKMODE mode);
extern void lock_all_to_spend(void);
extern void lock_all_to_change(void);
extern bool lock_held_exclusively(const pg_uuid_t *account, LockPurpose purpose);
extern bool lock_account_fresh(const pg_uuid_t *account, LockPurpose purpose, LOCKMODE mode);
extern void lock_account_release(const pg_uuid_t *account, LockPurpose purpose, LOCKMODE mode);
extern void lock_plan_addition(const pg_uuid_t *account);
extern void lock_plan_change(const pg_uuid_t *account);
extern bool lock_tokens_after_plans(const pg_uuid_t *account, LOCKMODE mode);

extern void lock_restore(void);
extern bool lock_unless_restored(void);

/* Who decides which plan is the free plan; one at a time. */
extern void lock_catalogue(void);

#endif /* BILLING_LOCK_H */
