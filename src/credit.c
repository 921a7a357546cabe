/*
 * credit.c
 *	  What is not used of what was paid for periods that are replaced.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/snapmgr.h"

#include "balance.h"
#include "credit.h"
#include "held.h"
#include "query.h"

#ifndef HAVE_INT128
#error "billing needs a compiler with 128-bit integers"
#endif

/*
 * The periods of the subscription and of those scheduled to follow it, from the
 * given place in that line on, that are not over and were paid for.
 */
static SqlQuery select_unfinished = {
	.sql = "WITH RECURSIVE line AS (SELECT s.subscription_id, s.replaced_by, 0 AS place "
		   "FROM billing.subscription s WHERE s.account_id = $1 AND s.subscription_id = $2 "
		   "UNION ALL SELECT s.subscription_id, s.replaced_by, line.place + 1 FROM line "
		   "JOIN billing.subscription s ON s.account_id = $1 AND s.subscription_id = "
		   "line.replaced_by AND NOT s.void) "
		   "SELECT p.subscription_id, p.period_no, p.effective_at, p.expires_at, "
		   "CASE WHEN p.refunded IS NULL THEN p.paid ELSE p.paid - p.refunded END, p.grant_id "
		   "FROM line JOIN billing.subscription_period p "
		   "ON p.account_id = $1 AND p.subscription_id = line.subscription_id "
		   "WHERE line.place >= $4 AND NOT p.void AND p.expires_at > $3 "
		   "AND (p.kind = 'subscription' OR $5) AND p.paid IS NOT NULL AND p.credited IS NULL "
		   "ORDER BY line.place, p.effective_at",
	.nargs = 5,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID, INT4OID, BOOLOID}};

static SqlQuery book_credit = {
	.sql = "UPDATE billing.subscription_period SET credited = $4 WHERE account_id = $1 AND "
		   "subscription_id = $2 AND period_no = $3 AND credited IS NULL",
	.nargs = 4,
	.argtypes = {UUIDOID, UUIDOID, INT4OID, AMOUNT_ARGUMENT}};

/* A share of a whole, as a fraction that is never rounded. */
typedef struct Share
{
	int64 part;
	int64 whole;
} Share;

static Share
smaller_share(Share a, Share b)
{
	return (int128) a.part * b.whole <= (int128) b.part * a.whole ? a : b;
}

static Share
time_unused(TimestampTz effective_at, TimestampTz expires_at, TimestampTz now)
{
	Share share = {1, 1};

	if (now <= effective_at)
		return share;
	if (TIMESTAMP_NOT_FINITE(expires_at))
		return (Share){0, 1};
	share.part = expires_at - now;
	share.whole = expires_at - effective_at;
	return share;
}

/* What is held counts as used, until the hold is over. */
static Share
tokens_unused(const GrantBalance *grant)
{
	Share share = {0, 1};

	if (grant == NULL || grant->voided)
		return share;
	share.part = Max(balance_available(grant), 0);
	share.whole = grant->tokens;
	return share;
}

/*
 * For each unfinished period floor(paid × min(share of time unused, share of its
 * tokens unused)), in minor units; paid is what was not paid back since.
 */
static void
credit_load(CreditList *list, const Account *account, const pg_uuid_t *subscription, int from,
			bool of_token_plans, TimestampTz now)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Balances balances;

	balance_load(&balances, &account->id, now, snapshot);
	held_return_overdue(&balances, &account->id, now, snapshot);
	UnregisterSnapshot(snapshot);
	list->count = (int) query_execute(&select_unfinished,
									  (NullableDatum[]){arg_uuid(&account->id),
														arg_uuid(subscription), arg_time(now),
														arg_int32(from), arg_bool(of_token_plans)});
	list->items = palloc0(sizeof(PeriodCredit) * (list->count + 1));
	for (int i = 0; i < list->count; i++)
	{
		PeriodCredit *credit = &list->items[i];
		Share share = time_unused(query_time(i, 3), query_time(i, 4), now);

		credit->subscription_id = query_uuid(i, 1);
		credit->period_no = query_int32(i, 2);
		credit->amount = query_amount(i, 5);
		if (!query_is_null(i, 6))
		{
			pg_uuid_t grant_id = query_uuid(i, 6);

			share = smaller_share(share, tokens_unused(balance_find(&balances, &grant_id)));
		}
		credit->amount.minor = (int64) ((int128) credit->amount.minor * share.part / share.whole);
	}
}

/* When it is replaced: a token plan gives no credit, its tokens move. */
void
credit_for_unused(CreditList *list, const Account *account, const pg_uuid_t *subscription, int from,
				  TimestampTz now)
{
	credit_load(list, account, subscription, from, false, now);
}

/* When it is dropped before it began: a token plan's tokens go nowhere. */
void
credit_for_dropped(CreditList *list, const Account *account, const pg_uuid_t *subscription,
				   TimestampTz now)
{
	credit_load(list, account, subscription, 0, true, now);
}

static bool
same_period(const PeriodCredit *a, const PeriodCredit *b)
{
	return a->period_no == b->period_no &&
		   memcmp(a->subscription_id.data, b->subscription_id.data, UUID_LEN) == 0;
}

/* Whether the list has the same period, whatever the amount. */
bool
credit_find(const CreditList *list, const PeriodCredit *credit)
{
	for (int i = 0; i < list->count; i++)
		if (same_period(&list->items[i], credit))
			return true;
	return false;
}

void
credit_append(CreditList *list, const PeriodCredit *credit)
{
	if (list->items == NULL)
		list->items = palloc(sizeof(PeriodCredit));
	else
		list->items = repalloc(list->items, sizeof(PeriodCredit) * (list->count + 1));
	list->items[list->count++] = *credit;
}

/* The period gives the amount away. A period does so once: then it is over. */
void
credit_book(const pg_uuid_t *account, const PeriodCredit *credit)
{
	if (query_execute(&book_credit,
					  (NullableDatum[]){arg_uuid(account), arg_uuid(&credit->subscription_id),
										arg_int32(credit->period_no),
										arg_amount(&credit->amount)}) != 1)
		elog(ERROR, "a period would be credited twice");
}
