/*
 * low_balance.c
 *	  Grants of which little is left, and telling of each once.
 *
 * Who takes tokens compares two numbers, no more: past the mark it notes the
 * account, and the background worker reads the balance and writes the event. A
 * row of billing.low_balance says that a grant was told of; so it is told of
 * once, whoever looks, and however often tokens return to it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/int.h"
#include "utils/snapmgr.h"

#include "balance.h"
#include "call.h"
#include "event.h"
#include "lock.h"
#include "low_balance.h"
#include "outbox.h"
#include "query.h"
#include "settings.h"
#include "upkeep.h"

/*
 * Under the lock there is nobody to conflict with; ON CONFLICT would raise 40001 at
 * a row that a REPEATABLE READ transaction cannot see.
 */
static SqlQuery insert_told = {
	.sql = "INSERT INTO billing.low_balance (account_id, grant_id, told_at) SELECT $1, $2, $3 "
		   "WHERE NOT EXISTS (SELECT FROM billing.low_balance WHERE account_id = $1 "
		   "AND grant_id = $2) RETURNING (SELECT s.plan FROM billing.token_grant g "
		   "JOIN billing.subscription s USING (account_id, subscription_id) "
		   "WHERE g.account_id = $1 AND g.grant_id = $2)",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID}};

/* At most billing.low_balance_percent, in whole tokens; the products stay in range. */
bool
low_balance_is(int64 granted, int64 left)
{
	int percent = settings_low_balance_percent;

	return percent > 0 && left <= granted / 100 * percent + granted % 100 * percent / 100;
}

bool
low_balance_crosses(int64 granted, int64 before, int64 after)
{
	return low_balance_is(granted, after) && !low_balance_is(granted, before);
}

static bool
tell(const Account *account, const GrantBalance *grant, TimestampTz now)
{
	EventDetail detail;

	if (query_execute(&insert_told, (NullableDatum[]){arg_uuid(&account->id),
													  arg_uuid(&grant->grant_id), arg_time(now)}) ==
		0)
		return false;
	event_detail_begin(&detail);
	event_detail_uuid(&detail, "grant_id", &grant->grant_id);
	event_detail_uuid(&detail, "subscription_id",
					  grant->has_subscription ? &grant->subscription_id : NULL);
	event_detail_text(&detail, "plan", query_is_null(0, 1) ? NULL : query_text(0, 1));
	event_detail_text(&detail, "app", grant->app);
	event_detail_int64(&detail, "tokens_granted", grant->tokens);
	event_detail_int64(&detail, "tokens_left", Max(balance_available(grant), 0));
	event_write(&account->id, "low_balance", now, &detail);
	return true;
}

/* Whatever becomes of transactions in progress. */
static int64
at_most_left(const GrantBalance *grant)
{
	int64 left;

	if (pg_add_s64_overflow(balance_available(grant), grant->undecided, &left))
		return PG_INT64_MAX;
	return left;
}

/*
 * The caller is inside a call and holds the account's plan lock, or its token
 * lock exclusively. again: a grant is low if transactions in progress commit.
 * Returns the number of events.
 */
int64
low_balance_tell(const Account *account, bool *again)
{
	TimestampTz now = account_verb_time(account);
	Balances balances;
	int64 done = 0;

	if (lock_held_exclusively(&account->id, LOCK_TOKENS))
	{
		Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());

		balance_load(&balances, &account->id, now, snapshot);
		UnregisterSnapshot(snapshot);
	}
	else
		balance_load_undecided(&balances, &account->id, now);
	for (int i = 0; i < balances.count; i++)
	{
		const GrantBalance *grant = &balances.grants[i];
		int64 left = balance_available(grant);

		if (!balance_usable(grant, now) || !low_balance_is(grant->tokens, left))
			continue;
		if (low_balance_is(grant->tokens, at_most_left(grant)))
			done += tell(account, grant, now);
		else
			*again = true;
	}
	if (done > 0)
		outbox_notify(&account->id);
	return done;
}

/*
 * A grant of the account may have run low, by rows of this transaction. Without
 * shared memory there is nobody to tell: then the caller holds the account's lock
 * exclusively, and the event is written at once; but what arrives from another
 * server brings its event with it.
 */
void
low_balance_suspected(const pg_uuid_t *id)
{
	Snapshot snapshot;
	Call call;
	Account account;
	bool found;
	bool again;

	if (upkeep_note(id, UPKEEP_LOW) || SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
		return;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	found = account_read(&account, id, snapshot);
	UnregisterSnapshot(snapshot);
	if (!found)
		return;
	call_enter(&call);
	(void) low_balance_tell(&account, &again);
	call_leave(&call);
}
