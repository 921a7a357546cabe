/*
 * event.c
 *	  Writing down what happened, in the transaction that did it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/xid8.h"

#include "event.h"
#include "identifier.h"
#include "query.h"

static SqlQuery insert_event = {
	.sql = "INSERT INTO billing.event (account_id, event_id, kind, occurred_at, detail) "
		   "VALUES ($1, $2, $3, $4, $5::jsonb)",
	.nargs = 5,
	.argtypes = {UUIDOID, UUIDOID, TEXTOID, TIMESTAMPTZOID, TEXTOID}};

void
event_detail_begin(EventDetail *detail)
{
	initStringInfo(&detail->json);
	appendStringInfoChar(&detail->json, '{');
}

static void
append_name(EventDetail *detail, const char *name)
{
	if (detail->json.len > 1)
		appendStringInfoString(&detail->json, ", ");
	escape_json(&detail->json, name);
	appendStringInfoString(&detail->json, ": ");
}

/* NULL is left out. */
void
event_detail_text(EventDetail *detail, const char *name, const char *value)
{
	if (value == NULL)
		return;
	append_name(detail, name);
	escape_json(&detail->json, value);
}

void
event_detail_uuid(EventDetail *detail, const char *name, const pg_uuid_t *value)
{
	if (value != NULL)
		event_detail_text(detail, name, identifier_text(value));
}

void
event_detail_int64(EventDetail *detail, const char *name, int64 value)
{
	append_name(detail, name);
	appendStringInfo(&detail->json, INT64_FORMAT, value);
}

void
event_detail_bool(EventDetail *detail, const char *name, bool value)
{
	append_name(detail, name);
	appendStringInfoString(&detail->json, value ? "true" : "false");
}

/* As text, currency included. */
void
event_detail_amount(EventDetail *detail, const char *name, const Amount *value)
{
	event_detail_text(detail, name, amount_text(value));
}

/* ISO 8601 in UTC, whatever the session's settings; "no end" is left out. */
void
event_detail_time(EventDetail *detail, const char *name, TimestampTz value)
{
	char buffer[MAXDATELEN + 1];
	int utc = 0;

	if (TIMESTAMP_NOT_FINITE(value))
		return;
	event_detail_text(detail, name,
					  JsonEncodeDateTime(buffer, TimestampTzGetDatum(value), TIMESTAMPTZOID, &utc));
}

/* detail may be NULL. */
void
event_write(const pg_uuid_t *account, const char *kind, TimestampTz occurred_at,
			EventDetail *detail)
{
	pg_uuid_t id;

	identifier_new(&id, account);
	if (detail != NULL)
		appendStringInfoChar(&detail->json, '}');
	query_execute(&insert_event,
				  (NullableDatum[]){arg_uuid(account), arg_uuid(&id), arg_text(kind),
									arg_time(occurred_at),
									arg_text(detail == NULL ? "{}" : detail->json.data)});
}

/*
 * One of many, into billing.event, which the writer was begun with. The caller
 * has seen a row that refers to the account, which therefore cannot go; what the
 * table's own triggers would set is set here.
 */
void
event_insert(Writer *writer, const pg_uuid_t *account, const char *kind, TimestampTz occurred_at,
			 EventDetail *detail)
{
	pg_uuid_t id;
	Datum values[EVENT_XID];
	bool nulls[EVENT_XID] = {false};

	identifier_new(&id, account);
	appendStringInfoChar(&detail->json, '}');
	values[EVENT_ACCOUNT_ID - 1] = UUIDPGetDatum(account);
	values[EVENT_EVENT_ID - 1] = UUIDPGetDatum(&id);
	values[EVENT_KIND - 1] = CStringGetTextDatum(kind);
	values[EVENT_OCCURRED_AT - 1] = TimestampTzGetDatum(occurred_at);
	values[EVENT_DETAIL - 1] = DirectFunctionCall1(jsonb_in, CStringGetDatum(detail->json.data));
	values[EVENT_ORIGIN - 1] = Int64GetDatum((int64) GetSystemIdentifier());
	values[EVENT_XID - 1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	writer_insert(writer, values, nulls);
}
