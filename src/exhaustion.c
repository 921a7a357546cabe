/*
 * exhaustion.c
 *	  Writing down that a token plan has lost its last token.
 *
 * Whether it has, and whether it was the last plan in force, is certain only for
 * who has the account's plan lock, so that no plan is being bought, and only if no
 * transaction in progress decides about the tokens. Who takes the last token waits
 * for neither: where one is missing he leaves it to the background worker, which
 * looks again until both are there. The subscription has the number of the ledger
 * entry up to which it was told of, so that it is told of once, whoever looks.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/snapmgr.h"

#include "call.h"
#include "event.h"
#include "exhaustion.h"
#include "expiry.h"
#include "lock.h"
#include "probe.h"
#include "query.h"
#include "upkeep.h"

static SqlQuery select_told = {
	.sql = "SELECT coalesce(exhausted_entry_no, 0), effective_at FROM billing.subscription "
		   "WHERE account_id = $1 AND subscription_id = $2",
	.nargs = 2,
	.argtypes = {UUIDOID, UUIDOID}};

/* Nobody who has the plan lock finds the row locked, but for somebody's plain UPDATE; nobody waits for it. */
static SqlQuery mark_told = {
	.sql = "UPDATE billing.subscription SET exhausted_entry_no = (SELECT max(entry_no) "
		   "FROM billing.ledger WHERE account_id = $1) WHERE account_id = $1 "
		   "AND subscription_id = (SELECT subscription_id FROM billing.subscription WHERE "
		   "account_id = $1 AND subscription_id = $2 FOR NO KEY UPDATE SKIP LOCKED)",
	.nargs = 2,
	.argtypes = {UUIDOID, UUIDOID}};

/* Of all that is in the ledger. The caller is inside a call. */
void
exhaustion_told(const pg_uuid_t *account, const pg_uuid_t *subscription)
{
	query_execute(&mark_told, (NullableDatum[]){arg_uuid(account), arg_uuid(subscription)});
}

static bool
is_of(const GrantBalance *grant, const pg_uuid_t *subscription)
{
	return grant != NULL && grant->has_subscription &&
		   memcmp(grant->subscription_id.data, subscription->data, UUID_LEN) == 0;
}

/* No entry that moves tokens of the subscription's grants is above. */
static int64
moved_through(const Balances *balances, const pg_uuid_t *subscription)
{
	int64 through = 0;

	for (int i = 0; i < balances->count; i++)
	{
		const GrantBalance *grant = &balances->grants[i];

		if (is_of(grant, subscription))
			through = Max(through, grant->in_tail ? PG_INT64_MAX : grant->summed_through);
	}
	return through;
}

/*
 * The time of the last entry above told that took tokens from the subscription's
 * grants since it began. An account's checkpoints bound how far back the last one can be.
 */
static bool
find_last_take(TimestampTz *take, const Holdings *holdings, const pg_uuid_t *subscription,
			   int64 told, TimestampTz began)
{
	const Balances *balances = &holdings->balances;
	Snapshot snapshot;
	Probe probe;
	ScanKeyData keys[3];
	bool found = false;
	int64 through = moved_through(balances, subscription);

	if (through <= told)
		return false;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	probe_key_uuid(&keys[0], 1, &holdings->account->id);
	probe_key_int64(&keys[1], 2, BTGreaterStrategyNumber, told);
	probe_key_int64(&keys[2], 2, BTLessEqualStrategyNumber, through);
	probe_begin(&probe, INDEX_LEDGER_PKEY, snapshot, keys, 3);
	probe.direction = BackwardScanDirection;
	while (!found && probe_next(&probe))
	{
		pg_uuid_t id = probe_uuid(&probe, LEDGER_GRANT_ID);

		*take = probe_time(&probe, LEDGER_OCCURRED_AT);
		found = probe_int64(&probe, LEDGER_TOKENS) > 0 && *take >= began &&
				is_of(balance_find(balances, &id), subscription);
	}
	probe_end(&probe);
	UnregisterSnapshot(snapshot);
	return found;
}

static bool
find_untold(TimestampTz *take, const Holdings *holdings, const pg_uuid_t *subscription)
{
	if (query_execute(&select_told, (NullableDatum[]){arg_uuid(&holdings->account->id),
													  arg_uuid(subscription)}) == 0)
		return false;
	return find_last_take(take, holdings, subscription, query_int64(0, 1), query_time(0, 2));
}

/*
 * Whether tokens of the subscription, which has none at the time of the holdings,
 * were taken since it was last told of.
 */
bool
exhaustion_is_untold(Holdings *holdings, const pg_uuid_t *subscription)
{
	TimestampTz take;

	(void) holding_balances(holdings);
	return find_untold(&take, holdings, subscription);
}

/* What others take counts as taken: it may be in force all the same, if they roll back. */
static bool
is_undecided(const Holdings *holdings, const Holding *item)
{
	for (int i = 0; i < holdings->balances.count; i++)
	{
		const GrantBalance *grant = &holdings->balances.grants[i];

		if (is_of(grant, &item->subscription_id) && balance_usable(grant, holdings->now) &&
			TransactionIdIsValid(grant->in_progress))
			return true;
	}
	return false;
}

/* Puts the holdings that are lost and were not told of first; returns how many there are. */
static int
find_lost(Holdings *holdings, TimestampTz *takes, bool *undecided)
{
	int lost = 0;

	*undecided = false;
	for (int i = 0; i < holdings->count; i++)
	{
		Holding item = holdings->items[i];

		if (item.in_force)
			continue;
		if (is_undecided(holdings, &item))
			*undecided = true;
		else if (find_untold(&takes[lost], holdings, &item.subscription_id))
		{
			holdings->items[i] = holdings->items[lost];
			holdings->items[lost++] = item;
		}
	}
	return lost;
}

/* Of the first ones; the plan's tokens may have been used while another was in force that has ended since. */
static bool
others_in_force(const Holdings *holdings, int lost, const Account *account, TimestampTz at,
				Snapshot snapshot)
{
	Holdings then;

	holding_load_past(&then, account, at, snapshot);
	for (int i = 0; i < then.count; i++)
	{
		bool is_lost = false;

		for (int j = 0; j < lost; j++)
			is_lost |= memcmp(then.items[i].subscription_id.data,
							  holdings->items[j].subscription_id.data, UUID_LEN) == 0;
		if (then.items[i].in_force && !is_lost)
			return true;
	}
	return false;
}

static void
write_lost(const Holdings *holdings, const Holding *item, TimestampTz take)
{
	const pg_uuid_t *account = &holdings->account->id;
	EventDetail detail;

	expiry_describe_subscription(&detail, &item->subscription_id, item->plan);
	event_write(account, "tokens_exhausted", take, &detail);
	exhaustion_told(account, &item->subscription_id);
}

/*
 * Tells of the token plans that have lost their last token, each dated at the
 * entry that took it, and of the assignment of the free plan if no other was in
 * force. The caller is inside a call and holds the account's plan lock, or its
 * token lock exclusively. again: it depends on transactions in progress. Returns
 * the number of plans.
 */
int64
exhaustion_tell(const Account *account, TimestampTz now, bool *again)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Account unsuspended = *account;
	Holdings holdings;
	TimestampTz *takes;
	TimestampTz last = DT_NOBEGIN;
	bool undecided;
	int lost;

	unsuspended.suspended = false;
	holding_load_undecided(&holdings, &unsuspended, now, snapshot);
	takes = palloc(sizeof(TimestampTz) * (holdings.count + 1));
	lost = find_lost(&holdings, takes, &undecided);
	*again |= undecided;
	/* whether it was the last is not decided before all are */
	if (undecided && !holding_any_in_force(&holdings, NULL, NULL))
		lost = 0;
	for (int i = 0; i < lost; i++)
	{
		write_lost(&holdings, &holdings.items[i], takes[i]);
		last = Max(last, takes[i]);
	}
	if (lost > 0 && !others_in_force(&holdings, lost, &unsuspended, last, snapshot))
		expiry_free_plan_assigned(account, last, "tokens_exhausted");
	UnregisterSnapshot(snapshot);
	return lost;
}

/*
 * This transaction took the last token of a plan, unless others in progress give
 * back, grant or buy. Without shared memory nobody would look again: but then the
 * caller has the account's token lock exclusively, so that no tokens are undecided,
 * and who buys a plan has yet to get that.
 */
void
exhaustion_suspected(const Account *account, TimestampTz now)
{
	bool again = false;
	Call call;

	if (!lock_account_if_free(&account->id, LOCK_PLANS, ExclusiveLock) &&
		upkeep_note(&account->id, UPKEEP_EXHAUSTED))
		return;
	call_enter(&call);
	(void) exhaustion_tell(account, now, &again);
	call_leave(&call);
	if (again)
		(void) upkeep_note(&account->id, UPKEEP_EXHAUSTED);
}
