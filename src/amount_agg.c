/*
 * amount_agg.c
 *		sum(amount).
 *
 * The running sum is wider than int64, so that whether a sum is out of range depends on the rows
 * and not on the order in which a plan, parallel or not, happens to add them.
 */
#include "postgres.h"

#include "amount.h"
#include "common/int.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"

#define AMOUNT_SUM_LOW_BITS 32
#define AMOUNT_SUM_LOW_MASK UINT64CONST(0xFFFFFFFF)

/*
 * The sum is high * 2^32 + low, with low below 2^32.  Not int128, which not every platform has.
 * Without rows, there is no currency either.
 */
typedef struct AmountSum
{
	int64 count;
	int64 high;
	uint64 low;
	char currency[CURRENCY_CODE_LENGTH];
} AmountSum;

PG_FUNCTION_INFO_V1(billing_amount_sum_add);
PG_FUNCTION_INFO_V1(billing_amount_sum_remove);
PG_FUNCTION_INFO_V1(billing_amount_sum_combine);
PG_FUNCTION_INFO_V1(billing_amount_sum_serialize);
PG_FUNCTION_INFO_V1(billing_amount_sum_deserialize);
PG_FUNCTION_INFO_V1(billing_amount_sum_final);

/* The aggregate's state, made on first use where the aggregate keeps its states. */
static AmountSum *
amount_sum_state(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "sum of amounts called outside of an aggregate");
	if (PG_ARGISNULL(0))
		return MemoryContextAllocZero(context, sizeof(AmountSum));
	return (AmountSum *) PG_GETARG_POINTER(0);
}

/* Raise unless what is to be added has the currency of the rows so far. */
static void
amount_sum_accept(AmountSum *state, const char *code)
{
	if (state->count == 0)
		memcpy(state->currency, code, CURRENCY_CODE_LENGTH);
	else if (memcmp(state->currency, code, CURRENCY_CODE_LENGTH) != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("amounts in different currencies cannot be summed"),
						errdetail("Some are in %.3s, some in %.3s.", state->currency, code),
						errhint("Group by billing.currency(amount).")));
}

/* high and low come as parts of a number with the sum's layout; low may be any sum of two. */
static void
amount_sum_carry(AmountSum *state, int64 count, int64 high, uint64 low)
{
	low += state->low;
	if (pg_add_s64_overflow(state->high, high, &state->high) ||
		pg_add_s64_overflow(state->high, (int64) (low >> AMOUNT_SUM_LOW_BITS), &state->high) ||
		pg_add_s64_overflow(state->count, count, &state->count))
		amount_raise_out_of_range(state->currency);
	state->low = low & AMOUNT_SUM_LOW_MASK;
}

/* Floor of minor / 2^32; a shift of a negative number is the compiler's choice. */
static int64
amount_high_part(int64 minor)
{
	uint64 low = (uint64) minor & AMOUNT_SUM_LOW_MASK;

	return (minor - (int64) low) / (INT64CONST(1) << AMOUNT_SUM_LOW_BITS);
}

/*
 * Transition: add a row; NULL changes nothing.
 * Errors: 22023 when the currencies differ.
 */
Datum
billing_amount_sum_add(PG_FUNCTION_ARGS)
{
	AmountSum *state = amount_sum_state(fcinfo);

	if (!PG_ARGISNULL(1))
	{
		Amount *amount = PG_GETARG_AMOUNT_P(1);

		amount_sum_accept(state, amount->currency);
		amount_sum_carry(state, 1, amount_high_part(amount->minor),
						 (uint64) amount->minor & AMOUNT_SUM_LOW_MASK);
	}
	PG_RETURN_POINTER(state);
}

/*
 * Inverse transition of a moving frame: take a row out that was added before.
 */
Datum
billing_amount_sum_remove(PG_FUNCTION_ARGS)
{
	AmountSum *state = amount_sum_state(fcinfo);

	if (!PG_ARGISNULL(1))
	{
		int64 minor = PG_GETARG_AMOUNT_P(1)->minor;
		uint64 low = (uint64) minor & AMOUNT_SUM_LOW_MASK;

		/* minus (high, low) is (-high - 1, 2^32 - low) */
		amount_sum_carry(state, -1, -amount_high_part(minor) - 1, AMOUNT_SUM_LOW_MASK + 1 - low);
	}
	PG_RETURN_POINTER(state);
}

/*
 * Combine the states of two workers.
 * Errors: 22023 when the currencies differ.
 */
Datum
billing_amount_sum_combine(PG_FUNCTION_ARGS)
{
	AmountSum *state = amount_sum_state(fcinfo);

	if (!PG_ARGISNULL(1))
	{
		AmountSum *other = (AmountSum *) PG_GETARG_POINTER(1);

		if (other->count > 0)
		{
			amount_sum_accept(state, other->currency);
			amount_sum_carry(state, other->count, other->high, other->low);
		}
	}
	PG_RETURN_POINTER(state);
}

/*
 * A state on its way between processes.
 */
Datum
billing_amount_sum_serialize(PG_FUNCTION_ARGS)
{
	AmountSum *state = (AmountSum *) PG_GETARG_POINTER(0);
	StringInfoData message;

	pq_begintypsend(&message);
	pq_sendint64(&message, state->count);
	pq_sendint64(&message, state->high);
	pq_sendint64(&message, state->low);
	pq_sendbytes(&message, state->currency, CURRENCY_CODE_LENGTH);
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}

/*
 * Its reverse.
 */
Datum
billing_amount_sum_deserialize(PG_FUNCTION_ARGS)
{
	bytea *bytes = PG_GETARG_BYTEA_PP(0);
	AmountSum *state = palloc0(sizeof(AmountSum));
	StringInfoData message;

	initStringInfo(&message);
	appendBinaryStringInfo(&message, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	state->count = pq_getmsgint64(&message);
	state->high = pq_getmsgint64(&message);
	state->low = pq_getmsgint64(&message);
	pq_copymsgbytes(&message, state->currency, CURRENCY_CODE_LENGTH);
	pq_getmsgend(&message);
	pfree(message.data);
	PG_RETURN_POINTER(state);
}

/*
 * The sum; NULL when there was no row that is not NULL.
 * Errors: 22003 out of range.
 */
Datum
billing_amount_sum_final(PG_FUNCTION_ARGS)
{
	AmountSum *state = PG_ARGISNULL(0) ? NULL : (AmountSum *) PG_GETARG_POINTER(0);

	if (state == NULL || state->count == 0)
		PG_RETURN_NULL();
	if (state->high < PG_INT32_MIN || state->high > PG_INT32_MAX)
		amount_raise_out_of_range(state->currency);
	PG_RETURN_AMOUNT_P(
		amount_make(state->high * (INT64CONST(1) << AMOUNT_SUM_LOW_BITS) + (int64) state->low,
					state->currency));
}
