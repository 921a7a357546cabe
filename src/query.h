/*
 * query.h
 *	  SQL statements of the cold paths: prepared once a backend, run with the
 *	  newest snapshot, so that what was committed while a lock was awaited is
 *	  seen in every isolation level.
 *
 * To be used between call_enter() and call_leave() (call.h), which connect SPI,
 * switch to the owner and fix the search path.
 */
#ifndef BILLING_QUERY_H
#define BILLING_QUERY_H

#include "executor/spi.h"
#include "utils/uuid.h"

#include "amount.h"

#define QUERY_MAX_ARGS 24

/* Stands for billing.amount in argtypes: its OID is not known before run time. */
#define AMOUNT_ARGUMENT InvalidOid

typedef struct SqlQuery
{
	const char *sql;
	int nargs;
	Oid argtypes[QUERY_MAX_ARGS];
	SPIPlanPtr plan;
	Oid amount_type; /* the plan was made with; it changes when the extension is recreated */
} SqlQuery;

extern uint64 query_execute(SqlQuery *query, const NullableDatum *args);

/* A query read in portions, as it was when it was opened. */
extern Portal query_open(SqlQuery *query, const NullableDatum *args);
extern uint64 query_fetch(Portal portal, int64 max);

/* Of row number row of the last query; pass-by-reference results are copied to the caller's memory. */
extern bool query_is_null(uint64 row, int column);
extern Datum query_datum(uint64 row, int column);
extern int64 query_int64(uint64 row, int column);
extern int32 query_int32(uint64 row, int column);
extern bool query_bool(uint64 row, int column);
extern TimestampTz query_time(uint64 row, int column);
extern pg_uuid_t query_uuid(uint64 row, int column);
extern Amount query_amount(uint64 row, int column);
extern char *query_text(uint64 row, int column);

extern NullableDatum arg_null(void);
extern NullableDatum arg_datum(Datum value);
extern NullableDatum arg_text(const char *value);
extern NullableDatum arg_uuid(const pg_uuid_t *value);
extern NullableDatum arg_amount(const Amount *value);
extern NullableDatum arg_int64(int64 value);
extern NullableDatum arg_int32(int32 value);
extern NullableDatum arg_bool(bool value);
extern NullableDatum arg_time(TimestampTz value);

#endif /* BILLING_QUERY_H */
