/*
 * hold.c
 *	  Tokens set aside for work whose size is not known yet.
 *
 * A hold ends once: whoever sets its row to ended writes the one row of
 * hold_end, and the entries that return what was not used. Time only permits a
 * hold to lapse; whoever needs its tokens, or the worker, makes it so.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "account.h"
#include "argument.h"
#include "binding.h"
#include "call.h"
#include "engine.h"
#include "errors.h"
#include "giveback.h"
#include "hold.h"
#include "identifier.h"
#include "lock.h"
#include "period.h"
#include "probe.h"
#include "query.h"
#include "spend.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(billing_hold_tokens);
PG_FUNCTION_INFO_V1(billing_capture_hold);
PG_FUNCTION_INFO_V1(billing_release_hold);

typedef struct Hold
{
	pg_uuid_t account;
	pg_uuid_t id;
	int64 tokens;
	char *app;
	TimestampTz expires_at;
} Hold;

/* Also the lock under which one ending comes before another. */
static SqlQuery end_hold = {.sql = "UPDATE billing.hold SET ended = true WHERE account_id = $1 AND "
								   "hold_id = $2 AND NOT ended",
							.nargs = 2,
							.argtypes = {UUIDOID, UUIDOID}};

static SqlQuery select_end = {.sql = "SELECT kind, tokens, answer FROM billing.hold_end "
									 "WHERE account_id = $1 AND hold_id = $2",
							  .nargs = 2,
							  .argtypes = {UUIDOID, UUIDOID}};

static SqlQuery insert_end = {
	.sql = "INSERT INTO billing.hold_end (account_id, hold_id, kind, tokens, answer, ended_at) "
		   "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (account_id, hold_id) DO NOTHING",
	.nargs = 6,
	.argtypes = {UUIDOID, UUIDOID, TEXTOID, INT8OID, INT8OID, TIMESTAMPTZOID}};

static SqlQuery select_overdue = {
	.sql = "SELECT hold_id, tokens, app, expires_at FROM billing.hold WHERE account_id = $1 AND "
		   "NOT ended AND expires_at <= $2 ORDER BY expires_at, hold_id LIMIT $3",
	.nargs = 3,
	.argtypes = {UUIDOID, TIMESTAMPTZOID, INT8OID}};

/* Overdue holds kept in memory at once. */
#define OVERDUE_PORTION 200

static void
insert_hold(const SpendRequest *request, TimestampTz created_at, TimestampTz expires_at)
{
	Writer writer;
	Datum values[HOLD_ENDED];
	bool nulls[HOLD_ENDED] = {false};

	values[HOLD_ACCOUNT_ID - 1] = UUIDPGetDatum(request->account);
	values[HOLD_HOLD_ID - 1] = UUIDPGetDatum(request->hold);
	values[HOLD_TOKENS - 1] = Int64GetDatum(request->tokens);
	nulls[HOLD_APP - 1] = request->app == NULL;
	values[HOLD_APP - 1] = request->app == NULL ? (Datum) 0 : CStringGetTextDatum(request->app);
	values[HOLD_CREATED_AT - 1] = TimestampTzGetDatum(created_at);
	values[HOLD_EXPIRES_AT - 1] = TimestampTzGetDatum(expires_at);
	values[HOLD_ENDED - 1] = BoolGetDatum(false);
	writer_begin(&writer, TABLE_HOLD);
	writer_insert(&writer, values, nulls);
	writer_end(&writer);
	engine_note_hold(request->account, expires_at);
	worker_note_due(expires_at);
}

/*
 * billing.hold_tokens(account_id uuid, tokens bigint, expires_in interval,
 *		app text, idempotency_key text) → uuid
 *
 * Sets tokens (1 or more) aside for expires_in; returns the hold. A denial is an
 * error with the SQLSTATE of its reason, as for consume_tokens, whose keys share
 * one namespace with these. NULL account, tokens or expires_in: 22004; tokens or
 * expires_in not positive: 22023.
 */
Datum
billing_hold_tokens(PG_FUNCTION_ARGS)
{
	SpendRequest request = {0};
	SpendAnswer answer;
	pg_uuid_t *hold = palloc(sizeof(pg_uuid_t));
	Interval *expires_in;

	spend_prevent("billing.hold_tokens()");
	request.account = argument_uuid(fcinfo, 0, "account_id");
	request.tokens = argument_tokens(fcinfo, 1);
	argument_require(fcinfo, 2, "expires_in");
	expires_in = PG_GETARG_INTERVAL_P(2);
	period_check_duration(expires_in);
	request.app = argument_code_or_null(fcinfo, 3, "app");
	request.key = argument_key_or_null(fcinfo, 4, "idempotency_key");
	identifier_new(hold, request.account);
	request.hold = hold;
	spend_one(&request, &answer);
	if (!answer.granted)
		spend_raise(&request, &answer);
	if (answer.replayed)
		*hold = answer.hold;
	else
		insert_hold(&request, answer.now, period_end(answer.now, expires_in, 1, "UTC"));
	PG_RETURN_UUID_P(hold);
}

static void
read_hold(Hold *hold, const pg_uuid_t *id)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Probe probe;
	ScanKeyData key;

	probe_key_uuid(&key, 1, id);
	probe_begin(&probe, INDEX_HOLD_ID, snapshot, &key, 1);
	if (!probe_next(&probe) || !binding_admits(DatumGetUUIDP(probe_datum(&probe, HOLD_ACCOUNT_ID))))
		ereport(ERROR, (errcode(ERRCODE_BILLING_NOT_FOUND), errmsg("hold does not exist"),
						errdetail("There is no hold %s.", identifier_text(id)),
						errhint("Pass what billing.hold_tokens returned.")));
	hold->account = probe_uuid(&probe, HOLD_ACCOUNT_ID);
	hold->id = *id;
	hold->tokens = probe_int64(&probe, HOLD_TOKENS);
	hold->app = probe_text(&probe, HOLD_APP);
	hold->expires_at = probe_time(&probe, HOLD_EXPIRES_AT);
	probe_end(&probe);
	UnregisterSnapshot(snapshot);
}

/* By its row, which the ending wrote anew. */
static void
require_visible_end(const pg_uuid_t *id)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Probe probe;
	ScanKeyData key;

	probe_key_uuid(&key, 1, id);
	probe_begin(&probe, INDEX_HOLD_ID, snapshot, &key, 1);
	if (probe_next(&probe))
		probe_require_visible(
			&probe, "The hold was ended by a transaction that committed after this one began.");
	probe_end(&probe);
	UnregisterSnapshot(snapshot);
}

static void
raise_closed(const Hold *hold, const char *how, int64 used)
{
	ereport(ERROR, (errcode(ERRCODE_BILLING_HOLD_CLOSED), errmsg("hold was %s", how),
					errdetail("Hold %s of " INT64_FORMAT " tokens ended with " INT64_FORMAT
							  " of them used.",
							  identifier_text(&hold->id), hold->tokens, used),
					errhint("A hold ends once; take tokens anew with billing.hold_tokens or "
							"billing.consume_tokens.")));
}

static bool
is_open(const Hold *hold)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Probe probe;
	ScanKeyData key;
	bool open;

	probe_key_uuid(&key, 1, &hold->id);
	probe_begin(&probe, INDEX_HOLD_ID, snapshot, &key, 1);
	open = probe_next(&probe) && !probe_bool(&probe, HOLD_ENDED);
	probe_end(&probe);
	UnregisterSnapshot(snapshot);
	return open;
}

/* Set to ended by us, and open still. */
static void
raise_suppressed(const Hold *hold, const char *table)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_BILLING_ROW_ALTERED),
		 errmsg("a trigger on billing.%s suppressed the end of a hold", table),
		 errdetail("Hold %s of " INT64_FORMAT " tokens would not return them.",
				   identifier_text(&hold->id), hold->tokens),
		 errhint("Let BEFORE triggers return NEW with the values that it came with; to refuse a "
				 "row raise an error.")));
}

/* As a restore or a replica may leave it. */
static void
raise_disagreeing(const Hold *hold, const char *how)
{
	ereport(ERROR,
			(errcode(ERRCODE_BILLING_HOLD_CLOSED), errmsg("hold does not agree with its ending"),
			 errdetail("Hold %s of " INT64_FORMAT " tokens is %s.", identifier_text(&hold->id),
					   hold->tokens, how),
			 errhint("Restore or replicate what is missing; billing.verify_ledger() tells "
					 "what does not agree.")));
}

/* Returns what was not used. The caller won the right to. */
static void
give_back(const Hold *hold, LedgerKind kind, int64 used, TimestampTz now)
{
	DrawnList drawn = giveback_drawn_by_hold(&hold->account, &hold->id);
	LedgerRequest request = {.kind = kind,
							 .account = &hold->account,
							 .occurred_at = now,
							 .app = hold->app,
							 .asked = hold->tokens - used,
							 .hold = &hold->id};

	giveback_write(&request, &drawn, hold->tokens - used);
	if (drawn.items != NULL)
		pfree(drawn.items);
}

static void
write_end(const Hold *hold, const char *ending, int64 used, NullableDatum answer, TimestampTz now)
{
	if (query_execute(&insert_end, (NullableDatum[]){arg_uuid(&hold->account), arg_uuid(&hold->id),
													 arg_text(ending), arg_int64(used), answer,
													 arg_time(now)}) > 0)
		return;
	if (query_execute(&select_end,
					  (NullableDatum[]){arg_uuid(&hold->account), arg_uuid(&hold->id)}) == 0)
		raise_suppressed(hold, "hold_end");
	raise_disagreeing(hold, "open, and has a row in hold_end");
}

static int64
finish(const Hold *hold, bool capture, int64 used, TimestampTz now)
{
	int64 remaining;

	give_back(hold, capture ? LEDGER_CAPTURE : LEDGER_RELEASE, used, now);
	remaining = giveback_remaining(&hold->account, hold->app, now);
	write_end(hold, capture ? "captured" : "released", used, arg_int64(remaining), now);
	return remaining;
}

/*
 * The first ending wins; the same ending again gets the same answer. A hold that
 * is over may not be captured, but releasing it is what lapsing would do.
 */
static int64
end(const pg_uuid_t *hold_id, FunctionCallInfo fcinfo, bool capture)
{
	Call call;
	Hold hold;
	Account account;
	int64 used = 0;
	int64 answer;
	TimestampTz now;

	call_enter(&call);
	read_hold(&hold, hold_id);
	if (capture)
		used = PG_ARGISNULL(1) ? hold.tokens : argument_tokens(fcinfo, 1);
	if (used > hold.tokens)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("more tokens than are held"),
				 errdetail("The hold is of " INT64_FORMAT " tokens; " INT64_FORMAT
						   " were to be captured.",
						   hold.tokens, used),
				 errhint("Capture at most what is held, and consume the rest.")));
	giveback_lock(&hold.account);
	account_require(&account, &hold.account);
	now = account_verb_time(&account);
	if (query_execute(&end_hold, (NullableDatum[]){arg_uuid(&hold.account), arg_uuid(hold_id)}) > 0)
	{
		if (capture && now >= hold.expires_at)
			raise_closed(&hold, "lapsed", 0);
		answer = finish(&hold, capture, used, now);
	}
	else
	{
		require_visible_end(hold_id);
		if (is_open(&hold))
			raise_suppressed(&hold, "hold");
		if (query_execute(&select_end,
						  (NullableDatum[]){arg_uuid(&hold.account), arg_uuid(hold_id)}) == 0)
			raise_disagreeing(&hold, "ended, and has no row in hold_end");
		if (strcmp(query_text(0, 1), capture ? "captured" : "released") != 0 ||
			query_int64(0, 2) != used)
			raise_closed(&hold, query_text(0, 1), query_int64(0, 2));
		answer = query_int64(0, 3);
	}
	call_leave(&call);
	return answer;
}

/*
 * billing.capture_hold(hold_id uuid, tokens bigint) → bigint
 *
 * Uses tokens of the hold (NULL: all), returns the rest to the grants they came
 * from; answers what remains for the hold's app. The same again: the same
 * answer. NULL hold: 22004; tokens not positive or more than are held: 22023;
 * unknown hold: PB016; ended otherwise, or lapsed: PB009.
 */
Datum
billing_capture_hold(PG_FUNCTION_ARGS)
{
	spend_prevent("billing.capture_hold()");
	PG_RETURN_INT64(end(argument_uuid(fcinfo, 0, "hold_id"), fcinfo, true));
}

/*
 * billing.release_hold(hold_id uuid) → bigint
 *
 * Returns all tokens of the hold to the grants they came from; answers what
 * remains for the hold's app. The same again: the same answer. NULL: 22004;
 * unknown hold: PB016; captured or lapsed: PB009.
 */
Datum
billing_release_hold(PG_FUNCTION_ARGS)
{
	spend_prevent("billing.release_hold()");
	PG_RETURN_INT64(end(argument_uuid(fcinfo, 0, "hold_id"), fcinfo, false));
}

static int
fetch_overdue(Portal portal, const pg_uuid_t *account, Hold *list)
{
	int count = (int) query_fetch(portal, OVERDUE_PORTION);

	for (int i = 0; i < count; i++)
	{
		list[i].account = *account;
		list[i].id = query_uuid(i, 1);
		list[i].tokens = query_int64(i, 2);
		list[i].app = query_text(i, 3);
		list[i].expires_at = query_time(i, 4);
	}
	SPI_freetuptable(SPI_tuptable);
	return count;
}

/* False: it has ended meanwhile. Nobody is answered, so what remains need not be read. */
static bool
lapse(Hold *hold)
{
	bool won = query_execute(&end_hold,
							 (NullableDatum[]){arg_uuid(&hold->account), arg_uuid(&hold->id)}) > 0;

	if (won)
	{
		give_back(hold, LEDGER_LAPSE, 0, hold->expires_at);
		write_end(hold, "lapsed", 0, arg_null(), hold->expires_at);
	}
	else if (is_open(hold))
		raise_suppressed(hold, "hold");
	if (hold->app != NULL)
		pfree(hold->app);
	return won;
}

static bool
any_overdue(const pg_uuid_t *account, TimestampTz *now)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Account row;
	Probe probe;
	ScanKeyData keys[2];
	bool found = false;

	if (account_read(&row, account, snapshot))
	{
		*now = account_verb_time(&row);
		probe_key_uuid(&keys[0], 1, account);
		probe_key_time(&keys[1], 2, BTLessEqualStrategyNumber, *now);
		probe_begin(&probe, INDEX_HOLD_OPEN, snapshot, keys, 2);
		found = probe_next(&probe);
		probe_end(&probe);
	}
	UnregisterSnapshot(snapshot);
	return found;
}

bool
hold_any_overdue(const pg_uuid_t *account)
{
	TimestampTz now;

	return any_overdue(account, &now);
}

/*
 * Lets the holds of the account that are over lapse, max of them at most, each
 * dated at its own end. The caller has called giveback_lock() or holds the
 * exclusive lock. Returns their number. They are read by one cursor: to look for
 * the next one each time would be to pass over all that have just ended.
 */
int
hold_lapse_due(const pg_uuid_t *account, int max)
{
	Call call;
	Hold *list;
	Portal portal;
	TimestampTz now;
	int count;
	int lapsed = 0;

	if (!any_overdue(account, &now))
		return 0;
	call_enter(&call);
	list = palloc(sizeof(Hold) * OVERDUE_PORTION);
	portal = query_open(&select_overdue,
						(NullableDatum[]){arg_uuid(account), arg_time(now), arg_int64(max)});
	while ((count = fetch_overdue(portal, account, list)) > 0)
		for (int i = 0; i < count; i++)
			lapsed += lapse(&list[i]);
	SPI_cursor_close(portal);
	call_leave(&call);
	return lapsed;
}
