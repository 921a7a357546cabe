/*
 * expiry_batch.c
 *	  What is due for many accounts, written down by few statements.
 *
 * Most of what falls due is simple: a subscription ends, and nothing else of its
 * account is in force then, scheduled or due. Those are done together; every
 * other account is left to expiry_run_account(), which writes the same rows.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/snapmgr.h"

#include "call.h"
#include "event.h"
#include "expiry.h"
#include "outbox.h"
#include "plan.h"
#include "query.h"

/*
 * A time plan's only subscription that is not written down yet: it was in force
 * to its end, and with no period that ends later nothing is in force after it.
 */
static SqlQuery select_simple = {
	.sql =
		"SELECT n, s.subscription_id, s.plan, s.expires_at "
		"FROM unnest($1) WITH ORDINALITY due (account_id, n) "
		"JOIN billing.account a USING (account_id) JOIN billing.subscription s USING (account_id) "
		"WHERE a.test_clock IS NULL AND s.ended_at IS NULL AND NOT s.void AND s.expires_at <= $2 "
		"AND s.started_at IS NOT NULL AND s.kind = 'subscription' AND s.replaced_by IS NULL "
		"AND NOT EXISTS (SELECT FROM billing.subscription o WHERE o.account_id = s.account_id "
		"AND o.subscription_id <> s.subscription_id AND NOT o.void "
		"AND (o.ended_at IS NULL OR o.started_at IS NULL)) "
		"AND NOT EXISTS (SELECT FROM billing.subscription_period p "
		"WHERE p.account_id = s.account_id AND p.expires_at > s.expires_at AND NOT p.void) "
		"AND EXISTS (SELECT FROM billing.subscription_period p "
		"WHERE p.account_id = s.account_id AND p.expires_at = s.expires_at "
		"AND p.subscription_id = s.subscription_id AND NOT p.void) "
		"AND NOT EXISTS (SELECT FROM billing.plan_order o WHERE o.account_id = s.account_id "
		"AND o.status = 'open' AND o.expires_at <= $2) "
		"AND NOT EXISTS (SELECT FROM billing.hold h WHERE h.account_id = s.account_id "
		"AND NOT h.ended AND h.expires_at <= $2)",
	.nargs = 2,
	.argtypes = {UUIDARRAYOID, TIMESTAMPTZOID}};

static SqlQuery mark_ended = {
	.sql = "UPDATE billing.subscription s SET ended_at = s.expires_at "
		   "FROM unnest($1, $2) AS done (account_id, subscription_id) "
		   "WHERE s.account_id = done.account_id AND s.subscription_id = done.subscription_id",
	.nargs = 2,
	.argtypes = {UUIDARRAYOID, UUIDARRAYOID}};

typedef struct SimpleEnd
{
	pg_uuid_t account_id;
	pg_uuid_t subscription_id;
	char *plan;
	TimestampTz at;
} SimpleEnd;

typedef struct SimpleEnds
{
	int count;
	SimpleEnd *items;
} SimpleEnds;

static Datum
uuid_array(const pg_uuid_t *first, Size distance, int count)
{
	Datum *elements = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		elements[i] = UUIDPGetDatum((const pg_uuid_t *) ((const char *) first + distance * i));
	return PointerGetDatum(
		construct_array(elements, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
}

static void
find_simple(SimpleEnds *ends, const pg_uuid_t *accounts, int count, TimestampTz now, bool *finished)
{
	Datum array = uuid_array(accounts, sizeof(pg_uuid_t), count);

	ends->count =
		(int) query_execute(&select_simple, (NullableDatum[]){arg_datum(array), arg_time(now)});
	ends->items = palloc(sizeof(SimpleEnd) * Max(ends->count, 1));
	for (int i = 0; i < ends->count; i++)
	{
		int number = (int) query_int64(i, 1) - 1;

		finished[number] = true;
		ends->items[i] = (SimpleEnd){.account_id = accounts[number],
									 .subscription_id = query_uuid(i, 2),
									 .plan = query_text(i, 3),
									 .at = query_time(i, 4)};
	}
}

static void
mark(const SimpleEnds *ends)
{
	NullableDatum args[2];

	args[0] = arg_datum(uuid_array(&ends->items[0].account_id, sizeof(SimpleEnd), ends->count));
	args[1] =
		arg_datum(uuid_array(&ends->items[0].subscription_id, sizeof(SimpleEnd), ends->count));
	if (query_execute(&mark_ended, args) != (uint64) ends->count)
		elog(ERROR, "a subscription was ended by somebody who does not hold its account's lock");
}

static void
write_events(const SimpleEnds *ends)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	PlanVersion *free_plan = plan_free(snapshot);
	EventDetail detail;
	Writer writer;

	UnregisterSnapshot(snapshot);
	writer_begin(&writer, TABLE_EVENT);
	for (int i = 0; i < ends->count; i++)
	{
		const SimpleEnd *end = &ends->items[i];

		expiry_describe_subscription(&detail, &end->subscription_id, end->plan);
		event_insert(&writer, &end->account_id, "subscription_expired", end->at, &detail);
		expiry_describe_loss(&detail, free_plan, "package_expired");
		event_insert(&writer, &end->account_id, "free_plan_assigned", end->at, &detail);
		outbox_notify(&end->account_id);
	}
	writer_end(&writer);
}

/*
 * Of count accounts, each once, those for which nothing but a simple end is due
 * by now; says in finished which these are, returns how many. The caller is
 * inside a call and holds the accounts' plan locks.
 */
int64
expiry_run_simple(const pg_uuid_t *accounts, int count, TimestampTz now, bool *finished)
{
	SimpleEnds ends;

	find_simple(&ends, accounts, count, now, finished);
	if (ends.count > 0)
	{
		mark(&ends);
		write_events(&ends);
	}
	return ends.count;
}
