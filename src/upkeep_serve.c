/*
 * upkeep_serve.c
 *	  Doing what an account wants of the background worker, without waiting for
 *	  anybody who is at work on it.
 */
#include "postgres.h"

#include "utils/snapmgr.h"

#include "account.h"
#include "call.h"
#include "checkpoint.h"
#include "lock.h"
#include "low_balance.h"
#include "upkeep.h"

static bool
account_exists(Account *account, const pg_uuid_t *id)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool found = account_read(account, id, snapshot);

	UnregisterSnapshot(snapshot);
	return found;
}

/* Who buys, orders or expires something has the lock too; nobody who spends. */
static int64
tell_if_free(const Account *account, bool *again)
{
	if (lock_account_if_free(&account->id, LOCK_PLANS, ExclusiveLock))
		return low_balance_tell(account, again);
	*again = true;
	return 0;
}

static int64
sum_if_free(const Account *account, bool *again)
{
	CheckpointOutcome outcome = checkpoint_try(&account->id);

	*again |= outcome.behind;
	return outcome.written;
}

/* Returns the number of rows: checkpoints of an account count as one. */
int64
upkeep_serve(const UpkeepRequest *request)
{
	Call call;
	Account account;
	int64 done = 0;
	bool again = false;

	call_enter(&call);
	if (account_exists(&account, &request->account))
	{
		if (request->wants & UPKEEP_LOW)
			done += tell_if_free(&account, &again);
		if (request->wants & UPKEEP_CHECKPOINT)
			done += sum_if_free(&account, &again);
	}
	call_leave(&call);
	upkeep_served(request, again);
	return done;
}
