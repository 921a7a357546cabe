/*
 * worker_due.c
 *	  What is due in a database, when the next is, and which accounts fail.
 */
#include "postgres.h"

#include "access/twophase.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"

#include "account.h"
#include "call.h"
#include "expiry.h"
#include "giveback.h"
#include "hold.h"
#include "lock.h"
#include "query.h"
#include "worker_internal.h"

/* An account that fails is tried again after 2 s, 4 s … and then once an hour. */
#define RETRY_LONGEST "interval '1 hour'"

/*
 * By each account's clock. The second condition is what the index is asked for.
 * $1 is now, $2 how many are wanted at most.
 */
#define LIST_OF(table, alias, column, open)                                                        \
	"(SELECT " alias ".account_id, false AS failed, " alias "." column                             \
	" AS at FROM billing." table " " alias                                                         \
	" JOIN billing.account a USING (account_id) WHERE " open " AND " alias "." column              \
	" <= CASE WHEN a.test_clock IS NULL THEN $1 ELSE a.test_clock END"                             \
	" AND " alias "." column " <= greatest($1, (SELECT max(t.test_clock) FROM billing.account t "  \
	"WHERE t.test_clock IS NOT NULL)) AND NOT EXISTS (SELECT FROM billing.worker_failure f "       \
	"WHERE f.account_id = " alias ".account_id) ORDER BY " alias "." column " LIMIT $2)"

#define OPEN_SUBSCRIPTION "s.ended_at IS NULL AND NOT s.void"
#define NOT_STARTED       "b.started_at IS NULL AND NOT b.void"
#define OPEN_ORDER        "o.status = 'open' AND o.closed_at IS NULL"
#define OPEN_HOLD         "NOT h.ended"

/* Whatever has a time to come. */
#define OF_EACH(OF)                                                                                \
	OF("subscription", "s", "expires_at", OPEN_SUBSCRIPTION)                                       \
	" UNION ALL " OF("subscription", "b", "effective_at", NOT_STARTED) " UNION ALL " OF(           \
		"plan_order", "o", "expires_at", OPEN_ORDER) " UNION ALL " OF("hold", "h", "expires_at",   \
																	  OPEN_HOLD)

static SqlQuery select_due = {
	.sql = OF_EACH(LIST_OF) " UNION ALL (SELECT account_id, true, retry_at FROM "
							"billing.worker_failure WHERE retry_at <= $1 ORDER BY retry_at "
							"LIMIT $2) ORDER BY at",
	.nargs = 2,
	.argtypes = {TIMESTAMPTZOID, INT8OID}};

/* Frozen clocks do not reach anything by themselves. */
#define NEXT_OF(table, alias, column, open)                                                        \
	"(SELECT " alias "." column " AS at FROM billing." table " " alias                             \
	" JOIN billing.account a USING (account_id) WHERE " open " AND " alias "." column              \
	" > $1 AND a.test_clock IS NULL AND NOT EXISTS (SELECT FROM billing.worker_failure f "         \
	"WHERE f.account_id = " alias ".account_id) ORDER BY " alias "." column " LIMIT 1)"

static SqlQuery select_next = {
	.sql = "SELECT min(at) FROM (" OF_EACH(NEXT_OF) " UNION ALL SELECT min(retry_at) FROM "
													"billing.worker_failure WHERE retry_at > $1) "
													"next",
	.nargs = 1,
	.argtypes = {TIMESTAMPTZOID}};

static SqlQuery select_prepared = {.sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts "
										  "WHERE database = pg_catalog.current_database())"};

static SqlQuery select_replica = {.sql =
									  "SELECT EXISTS (SELECT FROM pg_catalog.pg_subscription_rel "
									  "WHERE srrelid = 'billing.subscription'::regclass)"};

static SqlQuery insert_failure = {
	.sql = "INSERT INTO billing.worker_failure AS f "
		   "(account_id, failures, sqlstate, error, failed_at, retry_at) "
		   "VALUES ($1, 1, $2, $3, clock_timestamp(), clock_timestamp() + interval '2 s') "
		   "ON CONFLICT (account_id) DO UPDATE SET failures = f.failures + 1, "
		   "sqlstate = excluded.sqlstate, error = excluded.error, failed_at = excluded.failed_at, "
		   "retry_at = clock_timestamp() + "
		   "least(" RETRY_LONGEST ", interval '2 s' * 2 ^ least(f.failures, 20)) "
		   "RETURNING failures",
	.nargs = 3,
	.argtypes = {UUIDOID, TEXTOID, TEXTOID}};

static SqlQuery delete_failure = {.sql = "DELETE FROM billing.worker_failure WHERE account_id = $1",
								  .nargs = 1,
								  .argtypes = {UUIDOID}};

/*
 * Whether accounts are replicated to here. What is due is then written where they
 * come from, and would be in the way of what arrives if it were written here too.
 */
bool
due_is_replica(void)
{
	Call call;
	bool replica;

	call_enter(&call);
	query_execute(&select_replica, NULL);
	replica = query_bool(0, 1);
	call_leave(&call);
	return replica;
}

/* Accounts with something due now, an account perhaps several times; earliest: since when. */
int
due_list(DueAccount *list, int max, TimestampTz *earliest)
{
	Call call;
	TimestampTz now = GetCurrentTimestamp();
	int count;

	call_enter(&call);
	count = (int) Min((uint64) max,
					  query_execute(&select_due, (NullableDatum[]){arg_time(now), arg_int64(max)}));
	*earliest = count == 0 ? DT_NOEND : query_time(0, 3);
	for (int i = 0; i < count; i++)
	{
		list[i].account = query_uuid(i, 1);
		list[i].failed_before = query_bool(i, 2);
		list[i].skip = false;
	}
	call_leave(&call);
	return count;
}

/*
 * Writes down what is due for one account, unless somebody else is at work on
 * it; returns the number of rows.
 */
int64
due_process(const DueAccount *due, bool *busy)
{
	Call call;
	Account account;
	int64 done;

	if (!lock_account_if_free(&due->account, LOCK_PLANS, ExclusiveLock) ||
		!lock_account_if_free(&due->account, LOCK_TOKENS, RowExclusiveLock))
	{
		*busy = true;
		return 0;
	}
	call_enter(&call);
	account_require(&account, &due->account);
	done = expiry_run_account(&account, account_verb_time(&account));
	(void) giveback_lock(&due->account);
	done += hold_lapse_due(&due->account);
	if (due->failed_before)
		query_execute(&delete_failure, (NullableDatum[]){arg_uuid(&due->account)});
	call_leave(&call);
	return done;
}

/*
 * A prepared transaction may hold something that nobody will tell of: while
 * there is one, the database is looked at at each of the launcher's naps.
 */
static bool
any_prepared(void)
{
	if (max_prepared_xacts == 0)
		return false;
	query_execute(&select_prepared, NULL);
	return query_bool(0, 1);
}

/* The next time at which something falls due, later than after; DT_NOEND: nothing will. */
TimestampTz
due_next(TimestampTz after)
{
	Call call;
	TimestampTz next = DT_NOEND;
	bool prepared;

	call_enter(&call);
	/* looked at first: what is committed in between, the next query sees */
	prepared = any_prepared();
	query_execute(&select_next, (NullableDatum[]){arg_time(after)});
	if (!query_is_null(0, 1))
		next = query_time(0, 1);
	call_leave(&call);
	return prepared ? Min(next, GetCurrentTimestamp() + worker_naptime * USECS_PER_SEC) : next;
}

/* Returns how often in a row the account has failed. */
int
due_record_failure(const pg_uuid_t *account, const ErrorData *error)
{
	Call call;
	int failures;

	call_enter(&call);
	query_execute(&insert_failure, (NullableDatum[]){arg_uuid(account),
													 arg_text(unpack_sql_state(error->sqlerrcode)),
													 arg_text(error->message)});
	failures = query_int32(0, 1);
	call_leave(&call);
	return failures;
}
