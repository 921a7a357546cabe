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
#include "exhaustion.h"
#include "lock.h"
#include "low_balance.h"
#include "outbox.h"
#include "upkeep.h"

static bool
account_exists(Account *account, const pg_uuid_t *id)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool found = account_read(account, id, snapshot);

	UnregisterSnapshot(snapshot);
	return found;
}

/* Who buys, orders or expires something has the lock too, and who has used the last token of a plan. */
static int64
tell_if_free(const Account *account, uint8 wants, bool *again)
{
	int64 done = 0;

	if (!lock_account_if_free(&account->id, LOCK_PLANS, ExclusiveLock))
	{
		*again = true;
		return 0;
	}
	if (wants & UPKEEP_EXHAUSTED)
		done += exhaustion_tell(account, account_verb_time(account), again);
	if (done > 0)
		outbox_notify(&account->id);
	if (wants & UPKEEP_LOW)
		done += low_balance_tell(account, again);
	return done;
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
		if (request->wants & UPKEEP_TELL)
			done += tell_if_free(&account, request->wants, &again);
		if (request->wants & UPKEEP_CHECKPOINT)
			done += sum_if_free(&account, &again);
	}
	call_leave(&call);
	upkeep_served(request, again);
	return done;
}
