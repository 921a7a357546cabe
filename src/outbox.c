/*
 * outbox.c
 *	  Handing events to consumers: at least once, and none left out.
 *
 * Transactions commit in another order than they write, so no number given out
 * while writing can serve as a cursor. A cursor is a snapshot instead: events of
 * transactions that the snapshot "acked" shows as ended are dealt with. What a
 * newer snapshot, "batch", shows beyond it is handed out by event_id until the
 * last is acknowledged; then batch becomes acked. A transaction that takes long,
 * prepared ones too, is in neither, comes in a later batch and holds up nobody.
 * Of two transactions that changed the same account one began that after the
 * other's end, so that an account's events come in their order.
 *
 * Transaction numbers mean something only in the cluster that gave them out.
 * Every event says which one that was (origin), and a consumer has a cursor for
 * each: after a restore the old events are one last batch of their own.
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "commands/trigger.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/xid8.h"

#include "argument.h"
#include "binding.h"
#include "call.h"
#include "compat.h"
#include "errors.h"
#include "guard.h"
#include "identifier.h"
#include "outbox.h"
#include "query.h"
#include "spend.h"

PG_FUNCTION_INFO_V1(billing_next_events);
PG_FUNCTION_INFO_V1(billing_ack_events);
PG_FUNCTION_INFO_V1(billing_guard_event);

#define NOTIFY_CHANNEL "billing"

/* Few: a walk from one to the next over the index. This cluster's own comes last. */
static SqlQuery select_origins = {
	.sql = "WITH RECURSIVE o AS ((SELECT origin FROM billing.event ORDER BY origin LIMIT 1) "
		   "UNION ALL SELECT (SELECT e.origin FROM billing.event e WHERE e.origin > o.origin "
		   "ORDER BY e.origin LIMIT 1) FROM o WHERE o.origin IS NOT NULL) "
		   "SELECT origin FROM o WHERE origin IS NOT NULL ORDER BY origin = $1, origin",
	.nargs = 1,
	.argtypes = {INT8OID}};

static SqlQuery select_cursor = {
	.sql = "SELECT acked, batch, first_event, through FROM billing.event_consumer "
		   "WHERE consumer = $1 AND origin = $2",
	.nargs = 2,
	.argtypes = {TEXTOID, INT8OID}};

static SqlQuery lock_cursor = {
	.sql = "SELECT acked, batch, first_event, through FROM billing.event_consumer "
		   "WHERE consumer = $1 AND origin = $2 FOR UPDATE",
	.nargs = 2,
	.argtypes = {TEXTOID, INT8OID}};

/* What it writes itself a transaction can read already, but may still go on writing. */
static SqlQuery select_snapshot = {
	.sql = "SELECT CASE WHEN $1 THEN format('%s:%s:%s', pg_snapshot_xmin(s), pg_snapshot_xmax(s), "
		   "(SELECT string_agg(x::text, ',' ORDER BY x) FROM (SELECT pg_snapshot_xip(s) UNION "
		   "SELECT own WHERE own < pg_snapshot_xmax(s)) running (x)))::pg_snapshot "
		   "ELSE (SELECT format('%s:%s:', n, n)::pg_snapshot FROM (SELECT xid::text::numeric + 1 "
		   "FROM billing.event WHERE origin = $2 ORDER BY xid DESC LIMIT 1) last (n)) END "
		   "FROM (SELECT pg_current_snapshot() AS s, pg_current_xact_id_if_assigned() AS own) now",
	.nargs = 2,
	.argtypes = {BOOLOID, INT8OID}};

/* Materialized: by the transactions' numbers, not by all event_ids ever. */
static SqlQuery select_first = {
	.sql = "WITH fresh AS MATERIALIZED (SELECT event_id FROM billing.event WHERE origin = $1 "
		   "AND xid >= pg_snapshot_xmin($2) AND xid < pg_snapshot_xmax($3) "
		   "AND pg_visible_in_snapshot(xid, $3) AND NOT pg_visible_in_snapshot(xid, $2)) "
		   "SELECT event_id FROM fresh ORDER BY event_id LIMIT 1",
	.nargs = 3,
	.argtypes = {INT8OID, PG_SNAPSHOTOID, PG_SNAPSHOTOID}};

static SqlQuery select_page = {
	.sql = "SELECT * FROM billing.event WHERE origin = $1 AND event_id >= $2 "
		   "AND event_id IS DISTINCT FROM $3 AND pg_visible_in_snapshot(xid, $5) "
		   "AND NOT pg_visible_in_snapshot(xid, $4) ORDER BY event_id LIMIT $6",
	.nargs = 6,
	.argtypes = {INT8OID, UUIDOID, UUIDOID, PG_SNAPSHOTOID, PG_SNAPSHOTOID, INT8OID}};

static SqlQuery insert_cursor = {
	.sql = "INSERT INTO billing.event_consumer (consumer, origin, acked, batch, first_event) "
		   "VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
	.nargs = 5,
	.argtypes = {TEXTOID, INT8OID, PG_SNAPSHOTOID, PG_SNAPSHOTOID, UUIDOID}};

static SqlQuery update_cursor = {
	.sql = "UPDATE billing.event_consumer SET acked = $3, batch = $4, first_event = $5, "
		   "through = NULL WHERE consumer = $1 AND origin = $2",
	.nargs = 5,
	.argtypes = {TEXTOID, INT8OID, PG_SNAPSHOTOID, PG_SNAPSHOTOID, UUIDOID}};

static SqlQuery select_event = {.sql = "SELECT origin, xid FROM billing.event WHERE event_id = $1",
								.nargs = 1,
								.argtypes = {UUIDOID}};

static SqlQuery compare_event = {
	.sql = "SELECT pg_visible_in_snapshot($1, $2), pg_visible_in_snapshot($1, $3)",
	.nargs = 3,
	.argtypes = {XID8OID, PG_SNAPSHOTOID, PG_SNAPSHOTOID}};

static SqlQuery acknowledge = {
	.sql = "UPDATE billing.event_consumer SET through = $3 WHERE consumer = $1 AND origin = $2 "
		   "AND (through IS NULL OR through < $3)",
	.nargs = 3,
	.argtypes = {TEXTOID, INT8OID, UUIDOID}};

typedef struct Cursor
{
	const char *consumer;
	int64 origin;
	bool exists;
	Datum acked; /* pg_snapshot */
	Datum batch; /* pg_snapshot */
	pg_uuid_t first_event;
	bool has_through;
	pg_uuid_t through;
} Cursor;

static int64
own_origin(void)
{
	return (int64) GetSystemIdentifier();
}

/*
 * NOTIFY makes PREPARE TRANSACTION impossible, and nobody can know whether the
 * caller means to prepare. So where prepared transactions are possible at all,
 * only the worker notifies; it is a hint, not the message.
 */
void
outbox_notify(const pg_uuid_t *account)
{
	if (max_prepared_xacts == 0 || compat_is_background_worker())
		Async_Notify(NOTIFY_CHANNEL, identifier_text(account));
}

static void
read_cursor(Cursor *cursor, SqlQuery *query)
{
	cursor->exists = query_execute(query, (NullableDatum[]){arg_text(cursor->consumer),
															arg_int64(cursor->origin)}) > 0;
	if (!cursor->exists)
		return;
	cursor->acked = query_datum(0, 1);
	cursor->batch = query_datum(0, 2);
	cursor->first_event = query_uuid(0, 3);
	cursor->has_through = !query_is_null(0, 4);
	if (cursor->has_through)
		cursor->through = query_uuid(0, 4);
}

/* Nothing at all. */
static Datum
empty_snapshot(void)
{
	return DirectFunctionCall1(pg_snapshot_in, CStringGetDatum("1:1:"));
}

/* The rows stay those of the last query. */
static uint64
load_page(const Cursor *cursor, int64 max_events)
{
	if (!cursor->exists)
		return 0;
	return query_execute(
		&select_page,
		(NullableDatum[]){arg_int64(cursor->origin),
						  arg_uuid(cursor->has_through ? &cursor->through : &cursor->first_event),
						  arg_uuid(cursor->has_through ? &cursor->through : NULL),
						  arg_datum(cursor->acked), arg_datum(cursor->batch),
						  arg_int64(max_events)});
}

/* Begins a new batch, now that the last one is acknowledged; false: there is nothing new. */
static bool
begin_batch(Cursor *cursor)
{
	Datum acked = cursor->exists ? cursor->batch : empty_snapshot();
	Datum batch;
	NullableDatum args[5];

	query_execute(&select_snapshot, (NullableDatum[]){arg_bool(cursor->origin == own_origin()),
													  arg_int64(cursor->origin)});
	batch = query_datum(0, 1);
	if (query_execute(&select_first, (NullableDatum[]){arg_int64(cursor->origin), arg_datum(acked),
													   arg_datum(batch)}) == 0)
		return false;
	cursor->first_event = query_uuid(0, 1);
	args[0] = arg_text(cursor->consumer);
	args[1] = arg_int64(cursor->origin);
	args[2] = arg_datum(acked);
	args[3] = arg_datum(batch);
	args[4] = arg_uuid(&cursor->first_event);
	query_execute(cursor->exists ? &update_cursor : &insert_cursor, args);
	return true;
}

/* The next page of one origin: of the current batch, else of a new one. */
static uint64
find_events(const char *consumer, int64 origin, int64 max_events)
{
	Cursor cursor = {.consumer = consumer, .origin = origin};
	uint64 count;

	read_cursor(&cursor, &select_cursor);
	count = load_page(&cursor, max_events);
	if (count > 0)
		return count;
	/* another session of the consumer may have been here before */
	read_cursor(&cursor, &lock_cursor);
	count = load_page(&cursor, max_events);
	if (count > 0 || !begin_batch(&cursor))
		return count;
	read_cursor(&cursor, &lock_cursor);
	return load_page(&cursor, max_events);
}

static void
put_events(ReturnSetInfo *rsinfo, uint64 count)
{
	for (uint64 i = 0; i < count; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
}

static int64 *
load_origins(uint64 *count)
{
	int64 *origins;

	*count = query_execute(&select_origins, (NullableDatum[]){arg_int64(own_origin())});
	origins = palloc(sizeof(int64) * (*count + 1));
	for (uint64 i = 0; i < *count; i++)
		origins[i] = query_int64(i, 1);
	return origins;
}

static char *
consumer_argument(FunctionCallInfo fcinfo)
{
	argument_require(fcinfo, 0, "consumer");
	return argument_key_or_null(fcinfo, 0, "consumer");
}

static int64
max_events_argument(FunctionCallInfo fcinfo)
{
	argument_require(fcinfo, 1, "max_events");
	if (PG_GETARG_INT64(1) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("max_events must be positive"),
				 errdetail("It is " INT64_FORMAT ".", PG_GETARG_INT64(1)),
				 errhint("Pass 1 or more.")));
	return PG_GETARG_INT64(1);
}

/*
 * billing.next_events(consumer text, max_events bigint) → SETOF billing.event
 *
 * The next events that the consumer has not acknowledged, by event_id. Asked
 * again before that: the same. A new name begins with the oldest event. NULL:
 * 22004; empty consumer, max_events not positive: 22023; consumer of more than
 * 255 bytes: 22001; in a bound transaction: PB006.
 */
Datum
billing_next_events(PG_FUNCTION_ARGS)
{
	Call call;
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char *consumer = consumer_argument(fcinfo);
	int64 max_events = max_events_argument(fcinfo);
	uint64 count = 0;
	uint64 norigins;
	int64 *origins;

	spend_prevent("billing.next_events()");
	binding_refuse();
	InitMaterializedSRF(fcinfo, 0);
	call_enter(&call);
	origins = load_origins(&norigins);
	for (uint64 i = 0; i < norigins && count == 0; i++)
		count = find_events(consumer, origins[i], max_events);
	put_events(rsinfo, count);
	call_leave(&call);
	return (Datum) 0;
}

static void
raise_not_in_batch(const char *consumer, const pg_uuid_t *event)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("event is not being handed out"),
			 errdetail("Event %s is in no batch that consumer \"%s\" has begun.",
					   identifier_text(event), consumer),
			 errhint("Pass the event_id of an event that billing.next_events returned.")));
}

static void
acknowledge_through(const char *consumer, const pg_uuid_t *event)
{
	Cursor cursor = {.consumer = consumer};
	Datum xid;

	if (query_execute(&select_event, (NullableDatum[]){arg_uuid(event)}) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_NOT_FOUND), errmsg("event does not exist"),
				 errdetail("There is no event %s.", identifier_text(event)),
				 errhint("Pass the event_id of an event that billing.next_events returned.")));
	cursor.origin = query_int64(0, 1);
	xid = query_datum(0, 2);
	read_cursor(&cursor, &lock_cursor);
	if (!cursor.exists)
		raise_not_in_batch(consumer, event);
	query_execute(&compare_event, (NullableDatum[]){arg_datum(xid), arg_datum(cursor.acked),
													arg_datum(cursor.batch)});
	if (query_bool(0, 1))
		return;
	if (!query_bool(0, 2))
		raise_not_in_batch(consumer, event);
	query_execute(&acknowledge,
				  (NullableDatum[]){arg_text(consumer), arg_int64(cursor.origin), arg_uuid(event)});
}

/*
 * billing.ack_events(consumer text, through uuid) → void
 *
 * The consumer is done with the events of its batch up to this one, which may be
 * ahead of what it was given: it may know from another database how far it was.
 * Again, or up to an earlier one: nothing happens. NULL: 22004; empty consumer,
 * an event of no batch so far: 22023; consumer of more than 255 bytes: 22001; in
 * a bound transaction: PB006; unknown event: PB016.
 */
Datum
billing_ack_events(PG_FUNCTION_ARGS)
{
	Call call;
	char *consumer = consumer_argument(fcinfo);
	const pg_uuid_t *event = argument_uuid(fcinfo, 1, "through");

	spend_prevent("billing.ack_events()");
	binding_refuse();
	call_enter(&call);
	acknowledge_through(consumer, event);
	call_leave(&call);
	PG_RETURN_VOID();
}

/*
 * billing.guard_event(): trigger
 *
 * BEFORE INSERT of an event: stamps it with this cluster and this transaction,
 * also where it arrives by replication, so that it comes to the consumers here.
 * A restored one keeps what it has.
 */
Datum
billing_guard_event(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guard_trigger_data(fcinfo, "guard_event");
	TupleDesc desc;
	int columns[2];
	Datum values[2];
	bool nulls[2] = {false, false};

	if (call_is_restore())
		return PointerGetDatum(trigger->tg_trigtuple);
	desc = RelationGetDescr(trigger->tg_relation);
	columns[0] = SPI_fnumber(desc, "origin");
	columns[1] = SPI_fnumber(desc, "xid");
	values[0] = Int64GetDatum(own_origin());
	values[1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	return PointerGetDatum(
		heap_modify_tuple_by_cols(trigger->tg_trigtuple, desc, 2, columns, values, nulls));
}
