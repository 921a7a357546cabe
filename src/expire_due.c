/*
 * expire_due.c
 *	  What the background worker does, by hand.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"

#include "binding.h"
#include "call.h"
#include "hold.h"
#include "query.h"
#include "spend.h"
#include "upkeep.h"
#include "worker_internal.h"

PG_FUNCTION_INFO_V1(billing_expire_due);

#define EXPIRE_BATCH 1000

static int64
expire_batch(DueAccount *list, int count, int64 max_rows)
{
	bool busy = false;
	int64 done = due_process_simple(list, count, &busy);

	for (int i = 0; i < count && done < max_rows; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!list[i].done)
			done += due_process(&list[i], HOLDS_ALL, &busy);
	}
	return done;
}

/* Plans that need no statistics: there may be none of the rows that are due. */
static void
avoid_scans(void)
{
	static const char *const settings[] = {"enable_seqscan", "enable_bitmapscan", "enable_hashjoin",
										   "enable_mergejoin"};

	for (size_t i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
}

static int64
expire(int64 max_rows)
{
	DueAccount *list = palloc(sizeof(DueAccount) * EXPIRE_BATCH);
	Portal portal = due_open();
	int64 done = 0;
	int count;

	/* at most: an account that can be done together with others has one row to write */
	while (done < max_rows &&
		   (count = due_fetch(portal, list, (int) Min(EXPIRE_BATCH, max_rows - done))) > 0)
		done += expire_batch(list, count, max_rows - done);
	SPI_cursor_close(portal);
	return done;
}

/* Accounts that want a look: what the worker would do about them now. */
static int64
serve_requests(int64 max_rows)
{
	UpkeepRequest *list = palloc(sizeof(UpkeepRequest) * UPKEEP_QUEUE);
	int count = upkeep_claim(list, UPKEEP_QUEUE);
	int64 done = 0;

	if (count > 0 && due_is_replica())
	{
		sweep_leave_to_origin(worker_own_slot(), list, count);
		return 0;
	}
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (done < max_rows)
			done += upkeep_serve(&list[i]);
		else
			upkeep_leave(&list[i]);
	}
	return done;
}

/* All accounts that nobody has told of since the server started. */
static int64
pass_accounts(int64 max_rows)
{
	pg_uuid_t list[SWEEP_PORTION];
	UpkeepRequest request = {.wants = UPKEEP_TELL};
	int64 done = 0;
	Sweep sweep;

	if (!sweep_begin(&sweep, worker_own_slot()))
		return 0;
	while (!sweep.finished && done < max_rows)
	{
		int count = sweep_portion(&sweep, list);

		for (int i = 0; i < count; i++)
		{
			CHECK_FOR_INTERRUPTS();
			request.account = list[i];
			done += upkeep_serve(&request);
		}
	}
	return done;
}

/*
 * billing.expire_due(max_rows bigint) → bigint
 *
 * Writes down what is due: ends to be announced (billing.expiry_ahead), the
 * end of subscriptions and of grants that kept one in force, the assignment of
 * the free plan, the start of scheduled subscriptions, the lapse of orders and
 * holds, grants that ran low; returns how many of them there were. Stops after
 * max_rows (NULL: when nothing is left), an account being finished once begun. Safe at
 * any time and from several sessions: accounts that another one is working on
 * are left to it. Access never waits for it. max_rows not positive: 22023.
 */
Datum
billing_expire_due(PG_FUNCTION_ARGS)
{
	Call call;
	int64 max_rows = PG_INT64_MAX;
	int64 done;

	if (!PG_ARGISNULL(0))
		max_rows = PG_GETARG_INT64(0);
	if (max_rows <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("max_rows must be positive"),
				 errdetail("It is " INT64_FORMAT ".", max_rows),
				 errhint("Pass 1 or more, or NULL for no limit.")));
	spend_prevent("billing.expire_due()");
	binding_refuse();
	call_enter(&call);
	avoid_scans();
	done = expire(max_rows);
	done += serve_requests(max_rows - done);
	if (done < max_rows && !due_is_replica())
		done += pass_accounts(max_rows - done);
	call_leave(&call);
	PG_RETURN_INT64(done);
}
