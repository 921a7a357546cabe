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
#include "upkeep.h"

static bool
account_exists(Account *account, const pg_uuid_t *id)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool found = account_read(account, id, snapshot);

	UnregisterSnapshot(snapshot);
	return found;
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
	if (account_exists(&account, &request->account) && (request->wants & UPKEEP_CHECKPOINT))
	{
		CheckpointOutcome outcome = checkpoint_try(&request->account);

		done += outcome.written;
		again = outcome.behind;
	}
	call_leave(&call);
	upkeep_served(request, again);
	return done;
}
