/*
 * query.c
 *	  SQL statements of the cold paths, prepared once a backend.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "call.h"
#include "query.h"
#include "tables.h"

static void
prepare(SqlQuery *query)
{
	Oid argtypes[QUERY_MAX_ARGS];
	SPIPlanPtr plan;

	Assert(query->nargs <= QUERY_MAX_ARGS);
	for (int i = 0; i < query->nargs; i++)
		argtypes[i] =
			query->argtypes[i] == AMOUNT_ARGUMENT ? tables_amount_type() : query->argtypes[i];
	plan = SPI_prepare(query->sql, query->nargs, argtypes);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	if (query->plan != NULL)
		SPI_freeplan(query->plan);
	query->plan = NULL;
	SPI_keepplan(plan);
	query->plan = plan;
	query->amount_type = tables_amount_type();
}

static void
split_arguments(SqlQuery *query, const NullableDatum *args, Datum *values, char *nulls)
{
	if (query->plan == NULL || query->amount_type != tables_amount_type())
		prepare(query);
	for (int i = 0; i < query->nargs; i++)
	{
		values[i] = args[i].value;
		nulls[i] = args[i].isnull ? 'n' : ' ';
	}
}

/*
 * Runs the statement with args[0 .. nargs - 1]; returns the number of rows.
 */
uint64
query_execute(SqlQuery *query, const NullableDatum *args)
{
	Datum values[QUERY_MAX_ARGS];
	char nulls[QUERY_MAX_ARGS];
	int result;
	int outer;

	split_arguments(query, args, values, nulls);
	outer = call_begin_statement();
	result = SPI_execute_snapshot(query->plan, values, nulls, GetLatestSnapshot(), InvalidSnapshot,
								  false, true, 0);
	call_end_statement(outer);
	if (result < 0)
		elog(ERROR, "SPI_execute_snapshot failed: %s", SPI_result_code_string(result));
	return SPI_processed;
}

/* To be closed with SPI_cursor_close. */
Portal
query_open(SqlQuery *query, const NullableDatum *args)
{
	Datum values[QUERY_MAX_ARGS];
	char nulls[QUERY_MAX_ARGS];
	Portal portal;

	split_arguments(query, args, values, nulls);
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	portal = SPI_cursor_open(NULL, query->plan, values, nulls, true);
	PopActiveSnapshot();
	return portal;
}

/* The next rows, at most max; their number. */
uint64
query_fetch(Portal portal, int64 max)
{
	SPI_cursor_fetch(portal, true, (long) max);
	return SPI_processed;
}

static Datum
fetch(uint64 row, int column, bool *isnull)
{
	Assert(row < SPI_processed);
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

static Datum
fetch_not_null(uint64 row, int column)
{
	bool isnull;
	Datum value = fetch(row, column, &isnull);

	if (isnull)
		elog(ERROR, "unexpected null in column %d of a query's result", column);
	return value;
}

bool
query_is_null(uint64 row, int column)
{
	bool isnull;

	(void) fetch(row, column, &isnull);
	return isnull;
}

Datum
query_datum(uint64 row, int column)
{
	Datum value = fetch_not_null(row, column);
	Oid type = SPI_gettypeid(SPI_tuptable->tupdesc, column);
	MemoryContext old = MemoryContextSwitchTo(call_memory());
	int16 typlen;
	bool typbyval;

	get_typlenbyval(type, &typlen, &typbyval);
	value = datumCopy(value, typbyval, typlen);
	MemoryContextSwitchTo(old);
	return value;
}

int64
query_int64(uint64 row, int column)
{
	return DatumGetInt64(fetch_not_null(row, column));
}

int32
query_int32(uint64 row, int column)
{
	return DatumGetInt32(fetch_not_null(row, column));
}

bool
query_bool(uint64 row, int column)
{
	return DatumGetBool(fetch_not_null(row, column));
}

TimestampTz
query_time(uint64 row, int column)
{
	return DatumGetTimestampTz(fetch_not_null(row, column));
}

pg_uuid_t
query_uuid(uint64 row, int column)
{
	return *DatumGetUUIDP(fetch_not_null(row, column));
}

Amount
query_amount(uint64 row, int column)
{
	return *DatumGetAmountP(fetch_not_null(row, column));
}

char *
query_text(uint64 row, int column)
{
	bool isnull;
	Datum value = fetch(row, column, &isnull);
	MemoryContext old;
	char *copy;

	if (isnull)
		return NULL;
	old = MemoryContextSwitchTo(call_memory());
	copy = TextDatumGetCString(value);
	MemoryContextSwitchTo(old);
	return copy;
}

NullableDatum
arg_null(void)
{
	NullableDatum arg = {.value = (Datum) 0, .isnull = true};

	return arg;
}

NullableDatum
arg_datum(Datum value)
{
	NullableDatum arg = {.value = value, .isnull = false};

	return arg;
}

NullableDatum
arg_text(const char *value)
{
	return value == NULL ? arg_null() : arg_datum(CStringGetTextDatum(value));
}

NullableDatum
arg_uuid(const pg_uuid_t *value)
{
	return value == NULL ? arg_null() : arg_datum(UUIDPGetDatum(value));
}

NullableDatum
arg_amount(const Amount *value)
{
	return value == NULL ? arg_null() : arg_datum(AmountPGetDatum(value));
}

NullableDatum
arg_int64(int64 value)
{
	return arg_datum(Int64GetDatum(value));
}

NullableDatum
arg_int32(int32 value)
{
	return arg_datum(Int32GetDatum(value));
}

NullableDatum
arg_bool(bool value)
{
	return arg_datum(BoolGetDatum(value));
}

NullableDatum
arg_time(TimestampTz value)
{
	return arg_datum(TimestampTzGetDatum(value));
}
