/*
 * worker_due.c
 *	  What is due in a database, when the next is, and which accounts fail.
 */
#include "postgres.h"

#include "access/twophase.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/hsearch.h"

#include "account.h"
#include "call.h"
#include "expiry.h"
#include "giveback.h"
#include "hold.h"
#include "lock.h"
#include "outbox.h"
#include "query.h"
#include "settings.h"
#include "worker_internal.h"

/* An account that fails is tried again after 2 s, 4 s … and then once an hour. */
#define RETRY_LONGEST "interval '1 hour'"

/*
 * By each account's clock. What is due by now is found by its time. What only a
 * clock ahead of now has reached is found by the account that has it: by its time
 * all that lies between would be read as well. OFFSET 0 keeps other indexes than
 * those on the account out of that. $1 is now.
 */
#define DUE_BY_NOW(table, alias, column, open)                                                     \
	"(SELECT " alias ".account_id, false AS failed, " alias "." column                             \
	" AS at FROM billing." table " " alias                                                         \
	" JOIN billing.account a USING (account_id) WHERE " open " AND " alias "." column              \
	" <= $1 AND (a.test_clock IS NULL OR " alias "." column " <= a.test_clock)"

#define DUE_AHEAD(table, alias, column, open)                                                      \
	"(SELECT " alias ".account_id, false, " alias "." column                                       \
	" AS at FROM billing.account a CROSS JOIN LATERAL (SELECT own.* FROM billing." table           \
	" own WHERE own.account_id = a.account_id OFFSET 0) " alias                                    \
	" WHERE a.test_clock > $1 AND " open " AND " alias "." column " > $1 AND " alias "." column    \
	" <= a.test_clock"

/* Those that fail wait for their time. $2 is how many are wanted at most, $4 what is passed over. */
#define WANTED(alias, column)                                                                      \
	" AND NOT EXISTS (SELECT FROM billing.worker_failure f WHERE f.account_id = " alias            \
	".account_id) AND " alias ".account_id <> ALL ($4) ORDER BY " column " LIMIT $2)"

#define LIST_OF(table, alias, column, open)                                                        \
	DUE_BY_NOW(table, alias, column, open)                                                         \
	WANTED(alias, alias "." column)                                                                \
	" UNION ALL " DUE_AHEAD(table, alias, column, open) WANTED(alias, alias "." column)

#define ALL_OF(table, alias, column, open)                                                         \
	DUE_BY_NOW(table, alias, column, open) ") UNION ALL " DUE_AHEAD(table, alias, column, open) ")"

#define OPEN_SUBSCRIPTION "s.ended_at IS NULL AND NOT s.void"
#define GRANT_TO_END      "g.ended_at IS NULL AND NOT g.void"
#define NOT_STARTED       "b.started_at IS NULL AND NOT b.void"
#define OPEN_ORDER        "o.status = 'open' AND o.closed_at IS NULL"
#define OPEN_HOLD         "NOT h.ended"

/* Whatever has a time to come. */
#define OF_EACH(OF)                                                                                \
	OF("subscription", "s", "expires_at", OPEN_SUBSCRIPTION)                                       \
	" UNION ALL " OF("subscription", "g", "grant_ends_at", GRANT_TO_END) " UNION ALL " OF(         \
		"subscription", "b", "effective_at",                                                       \
		NOT_STARTED) " UNION ALL " OF("plan_order", "o", "expires_at",                             \
									  OPEN_ORDER) " UNION ALL " OF("hold", "h", "expires_at",      \
																   OPEN_HOLD)

/*
 * Ends to be told of, the setting being the parameter ahead. How long the
 * subscription is may be more than an interval can hold.
 */
#define ANNOUNCED_AT(ahead) "greatest(x.expires_at, " SETTINGS_FIRST_TIME " + " ahead ") - " ahead

#define ANNOUNCED_BY(clock, ahead)                                                                 \
	"x.expires_at <= least(" clock ", " SETTINGS_LAST_TIME " - " ahead ") + " ahead

#define TO_ANNOUNCE(ahead)                                                                         \
	ahead " > interval '0' AND x.ended_at IS NULL AND NOT x.void AND x.replaced_by IS NULL "       \
		  "AND x.announced IS DISTINCT FROM x.expires_at AND isfinite(x.expires_at) "              \
		  "AND " ANNOUNCED_AT(ahead) " > x.effective_at AND NOT " EXPIRY_FOLLOWED("x")

#define ANNOUNCE_OF(ahead)                                                                         \
	"billing.subscription x JOIN billing.account a USING (account_id) WHERE " TO_ANNOUNCE(ahead)

#define ANNOUNCE_BY_NOW(ahead)                                                                     \
	"(SELECT x.account_id, false, " ANNOUNCED_AT(ahead) " FROM " ANNOUNCE_OF(                      \
		ahead) " AND " ANNOUNCED_BY("$1",                                                          \
									ahead) " AND (a.test_clock IS NULL OR " ANNOUNCED_BY("a.test_" \
																						 "clock",  \
																						 ahead) ")"

#define ANNOUNCE_AHEAD(ahead)                                                                      \
	"(SELECT x.account_id, false, " ANNOUNCED_AT(                                                  \
		ahead) " FROM billing.account a CROSS JOIN LATERAL (SELECT own.* FROM "                    \
			   "billing.subscription own "                                                         \
			   "WHERE own.account_id = a.account_id OFFSET 0) x WHERE a.test_clock > $1 "          \
			   "AND " TO_ANNOUNCE(ahead) " AND NOT " ANNOUNCED_BY(                                 \
				   "$1", ahead) " AND " ANNOUNCED_BY("a.test_clock", ahead)

static SqlQuery select_due = {
	.sql = OF_EACH(LIST_OF) " UNION ALL " ANNOUNCE_BY_NOW("$3")
		WANTED("x", "x.expires_at") " UNION ALL " ANNOUNCE_AHEAD("$3")
			WANTED("x", "x.expires_at") " UNION ALL (SELECT account_id, true, retry_at FROM "
										"billing.worker_failure WHERE retry_at <= $1 AND "
										"account_id <> ALL ($4) ORDER BY retry_at LIMIT $2) "
										"ORDER BY at",
	.nargs = 4,
	.argtypes = {TIMESTAMPTZOID, INT8OID, INTERVALOID, UUIDARRAYOID}};

static SqlQuery select_all = {
	.sql =
		"SELECT account_id, failed, min(at) FROM (" OF_EACH(ALL_OF) " UNION ALL " ANNOUNCE_BY_NOW(
			"$2") ") UNION ALL " ANNOUNCE_AHEAD("$2") ")) due GROUP BY account_id, failed ORDER BY "
													  "3, 1",
	.nargs = 2,
	.argtypes = {TIMESTAMPTZOID, INTERVALOID}};

/* Frozen clocks do not reach anything by themselves. */
#define NEXT_OF(table, alias, column, open)                                                        \
	"(SELECT " alias "." column " AS at FROM billing." table " " alias                             \
	" JOIN billing.account a USING (account_id) WHERE " open " AND " alias "." column              \
	" > $1 AND a.test_clock IS NULL AND NOT EXISTS (SELECT FROM billing.worker_failure f "         \
	"WHERE f.account_id = " alias ".account_id) ORDER BY " alias "." column " LIMIT 1)"

static SqlQuery select_next = {
	.sql = "SELECT min(at) FROM (" OF_EACH(NEXT_OF) " UNION ALL (SELECT " ANNOUNCED_AT(
		"$2") " FROM " ANNOUNCE_OF("$2") " AND x.expires_at > $1 + $2 AND "
										 "a.test_clock IS NULL AND NOT EXISTS (SELECT FROM "
										 "billing.worker_failure f WHERE f.account_id = "
										 "x.account_id) ORDER BY x.expires_at LIMIT "
										 "1) UNION ALL SELECT min(retry_at) FROM "
										 "billing.worker_failure WHERE retry_at "
										 "> $1) "
										 "next",
	.nargs = 2,
	.argtypes = {TIMESTAMPTZOID, INTERVALOID}};

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

static NullableDatum
arg_ahead(void)
{
	Interval *ahead = palloc0(sizeof(Interval));

	ahead->time = settings_expiry_ahead * USECS_PER_SEC;
	return arg_datum(IntervalPGetDatum(ahead));
}

static void
add_due(DueAccount *due, uint64 row)
{
	due->account = query_uuid(row, 1);
	due->failed_before = query_bool(row, 2);
	due->skip = due->done = due->left = due->again = false;
}

static NullableDatum
arg_accounts(const pg_uuid_t *accounts, int count)
{
	Datum *items = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		items[i] = UUIDPGetDatum(&accounts[i]);
	return arg_datum(
		PointerGetDatum(construct_array(items, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR)));
}

/* The accounts of the rows found, each once, where it comes first. */
static int
list_accounts(DueAccount *list, int max, uint64 rows)
{
	HASHCTL control = {.keysize = UUID_LEN, .entrysize = UUID_LEN, .hcxt = CurrentMemoryContext};
	HTAB *known = hash_create("billing due accounts", (long) Min(rows, (uint64) max), &control,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	int count = 0;

	for (uint64 i = 0; i < rows && count < max; i++)
	{
		bool found;

		add_due(&list[count], i);
		(void) hash_search(known, &list[count].account, HASH_ENTER, &found);
		count += !found;
	}
	hash_destroy(known);
	return count;
}

/*
 * At most max accounts with something due now, whatever is due first coming
 * first. When max rows or more are due, there may be others behind them.
 */
int
due_list(DueAccount *list, int max, DueSearch *search)
{
	Call call;
	uint64 rows;
	int count;

	call_enter(&call);
	rows = query_execute(
		&select_due, (NullableDatum[]){arg_time(GetCurrentTimestamp()), arg_int64(max), arg_ahead(),
									   arg_accounts(search->except, search->except_count)});
	search->complete = rows < (uint64) max;
	search->earliest = rows == 0 ? DT_NOEND : query_time(0, 3);
	count = list_accounts(list, max, rows);
	call_leave(&call);
	return count;
}

/* The same, also those that fail, to be fetched in portions; within the caller's call. */
Portal
due_open(void)
{
	return query_open(&select_all, (NullableDatum[]){arg_time(GetCurrentTimestamp()), arg_ahead()});
}

int
due_fetch(Portal portal, DueAccount *list, int max)
{
	int count = (int) query_fetch(portal, max);

	for (int i = 0; i < count; i++)
		add_due(&list[i], i);
	SPI_freetuptable(SPI_tuptable);
	return count;
}

/* Holds that are over, unless that would mean to wait for those who spend. */
static int64
lapse_holds(const pg_uuid_t *account, int max, bool *busy)
{
	if (!hold_any_overdue(account))
		return 0;
	if (!lock_account_if_free(account, LOCK_TOKENS, giveback_lock_mode(account)))
	{
		*busy = true;
		return 0;
	}
	giveback_lock(account);
	return hold_lapse_due(account, max);
}

/*
 * Writes down what is due for one account, unless somebody else is at work on
 * it, but for holds beyond max_holds; returns the number of rows.
 */
int64
due_process(DueAccount *due, int max_holds, bool *busy)
{
	Call call;
	Account account;
	int64 done;
	int64 lapsed;

	due->left = !lock_account_if_free(&due->account, LOCK_PLANS, ExclusiveLock);
	if (due->left)
	{
		*busy = true;
		return 0;
	}
	call_enter(&call);
	account_require(&account, &due->account);
	done = expiry_run_account(&account, account_verb_time(&account));
	lapsed = lapse_holds(&due->account, max_holds, busy);
	done += lapsed;
	due->left = done == 0;
	due->again = lapsed == max_holds;
	if (done > 0)
		outbox_notify(&due->account);
	if (due->failed_before)
		query_execute(&delete_failure, (NullableDatum[]){arg_uuid(&due->account)});
	call_leave(&call);
	return done;
}

/*
 * Those of the accounts that can be done together; they are marked as done.
 * Returns the number of rows.
 */
int64
due_process_simple(DueAccount *list, int count, bool *busy)
{
	Call call;
	pg_uuid_t *accounts = palloc(sizeof(pg_uuid_t) * count);
	int *numbers = palloc(sizeof(int) * count);
	bool *finished = palloc0(sizeof(bool) * count);
	int locked = 0;
	int64 done;

	for (int i = 0; i < count; i++)
	{
		list[i].done = list[i].left = false;
		if (list[i].skip || list[i].failed_before)
			continue;
		list[i].done = !lock_account_if_free(&list[i].account, LOCK_PLANS, ExclusiveLock);
		list[i].left = list[i].done;
		*busy |= list[i].done;
		if (list[i].done)
			continue;
		numbers[locked] = i;
		accounts[locked++] = list[i].account;
	}
	call_enter(&call);
	done = expiry_run_simple(accounts, locked, GetCurrentTimestamp(), finished);
	call_leave(&call);
	for (int i = 0; i < locked; i++)
		list[numbers[i]].done = finished[i];
	pfree(accounts);
	pfree(numbers);
	pfree(finished);
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
	query_execute(&select_next, (NullableDatum[]){arg_time(after), arg_ahead()});
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
