/*
 * amount_ops.c
 *		Arithmetic on amounts.
 *
 * Every result is exact or an error, except where a product or quotient falls between two minor
 * units: then it is rounded once, half away from zero, as PostgreSQL's round(numeric) does.
 */
#include "postgres.h"

#include "amount.h"
#include "common/int.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(billing_amount_add);
PG_FUNCTION_INFO_V1(billing_amount_subtract);
PG_FUNCTION_INFO_V1(billing_amount_plus);
PG_FUNCTION_INFO_V1(billing_amount_negate);
PG_FUNCTION_INFO_V1(billing_amount_abs);
PG_FUNCTION_INFO_V1(billing_amount_multiply);
PG_FUNCTION_INFO_V1(billing_numeric_multiply);
PG_FUNCTION_INFO_V1(billing_amount_divide);
PG_FUNCTION_INFO_V1(billing_amount_ratio);

bool
amount_is_zero(const Amount *amount)
{
	return amount->minor == 0;
}

/*
 * left + right.  Errors: 22023 when the currencies differ, 22003 out of range.
 */
Amount *
amount_add(const Amount *left, const Amount *right)
{
	int64 minor = 0;

	amount_require_same_currency(left, right);
	if (pg_add_s64_overflow(left->minor, right->minor, &minor))
		amount_raise_out_of_range(left->currency);
	return amount_make(minor, left->currency);
}

/*
 * left - right.  Errors: 22023 when the currencies differ, 22003 out of range.
 */
Amount *
amount_sub(const Amount *left, const Amount *right)
{
	int64 minor = 0;

	amount_require_same_currency(left, right);
	if (pg_sub_s64_overflow(left->minor, right->minor, &minor))
		amount_raise_out_of_range(left->currency);
	return amount_make(minor, left->currency);
}

/*
 * amount * factor, exact.  Errors: 22003 out of range.
 */
Amount *
amount_multiply(const Amount *amount, int64 factor)
{
	int64 minor = 0;

	if (pg_mul_s64_overflow(amount->minor, factor, &minor))
		amount_raise_out_of_range(amount->currency);
	return amount_make(minor, amount->currency);
}

/*
 * Round to a whole number of minor units, half away from zero.  False, and nothing set, when it
 * does not fit; value must be finite.
 */
bool
amount_round_numeric(Numeric value, int64 *minor)
{
	Datum rounded = DirectFunctionCall2(numeric_round, NumericGetDatum(value), Int32GetDatum(0));
	Datum lowest = NumericGetDatum(int64_to_numeric(PG_INT64_MIN));
	Datum highest = NumericGetDatum(int64_to_numeric(PG_INT64_MAX));

	if (DatumGetBool(DirectFunctionCall2(numeric_lt, rounded, lowest)) ||
		DatumGetBool(DirectFunctionCall2(numeric_gt, rounded, highest)))
		return false;
	*minor = DatumGetInt64(DirectFunctionCall1(numeric_int8, rounded));
	return true;
}

static void
amount_require_finite(Numeric number)
{
	if (numeric_is_nan(number) || numeric_is_inf(number))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("an amount can be multiplied or divided by a finite number only"),
						errdetail("The number is %s.", numeric_is_nan(number) ? "NaN" : "infinite"),
						errhint("Check where the number comes from.")));
}

static void
amount_raise_division_by_zero(const Amount *amount)
{
	ereport(ERROR, (errcode(ERRCODE_DIVISION_BY_ZERO), errmsg("division by zero"),
					errdetail("The amount to divide is %s.", amount_text(amount)),
					errhint("Check the divisor first, or make it NULL with NULLIF.")));
}

static Amount *
amount_times(const Amount *amount, Numeric factor)
{
	Datum product;
	int64 minor = 0;

	amount_require_finite(factor);
	product = DirectFunctionCall2(numeric_mul, NumericGetDatum(int64_to_numeric(amount->minor)),
								  NumericGetDatum(factor));
	if (!amount_round_numeric(DatumGetNumeric(product), &minor))
		amount_raise_out_of_range(amount->currency);
	return amount_make(minor, amount->currency);
}

/* Is the part that a division left over at least half of the divisor? */
static bool
amount_rest_rounds_up(Datum rest, Datum divisor)
{
	Datum left = DirectFunctionCall1(numeric_abs, rest);
	Datum twice = DirectFunctionCall2(numeric_add, left, left);

	return DatumGetBool(
		DirectFunctionCall2(numeric_ge, twice, DirectFunctionCall1(numeric_abs, divisor)));
}

/*
 * Divide and round once.  numeric_div rounds to a scale of its own first, and rounding its result
 * again would turn 0.4999... into 1; so quotient and rest are computed apart.
 */
static Amount *
amount_divided(const Amount *amount, Numeric number)
{
	Datum minor = NumericGetDatum(int64_to_numeric(amount->minor));
	Datum divisor = NumericGetDatum(number);
	Datum zero = NumericGetDatum(int64_to_numeric(0));
	Datum quotient;
	int64 result = 0;

	amount_require_finite(number);
	if (DatumGetBool(DirectFunctionCall2(numeric_eq, divisor, zero)))
		amount_raise_division_by_zero(amount);
	quotient = DirectFunctionCall2(numeric_div_trunc, minor, divisor);
	if (amount_rest_rounds_up(DirectFunctionCall2(numeric_mod, minor, divisor), divisor))
	{
		bool negative =
			(amount->minor < 0) != DatumGetBool(DirectFunctionCall2(numeric_lt, divisor, zero));

		quotient = DirectFunctionCall2(numeric_add, quotient,
									   NumericGetDatum(int64_to_numeric(negative ? -1 : 1)));
	}
	if (!amount_round_numeric(DatumGetNumeric(quotient), &result))
		amount_raise_out_of_range(amount->currency);
	return amount_make(result, amount->currency);
}

/*
 * amount + amount.  Errors: 22023 when the currencies differ, 22003 out of range.
 */
Datum
billing_amount_add(PG_FUNCTION_ARGS)
{
	PG_RETURN_AMOUNT_P(amount_add(PG_GETARG_AMOUNT_P(0), PG_GETARG_AMOUNT_P(1)));
}

/*
 * amount - amount.  Errors: 22023 when the currencies differ, 22003 out of range.
 */
Datum
billing_amount_subtract(PG_FUNCTION_ARGS)
{
	PG_RETURN_AMOUNT_P(amount_sub(PG_GETARG_AMOUNT_P(0), PG_GETARG_AMOUNT_P(1)));
}

/*
 * + amount: the amount itself.
 */
Datum
billing_amount_plus(PG_FUNCTION_ARGS)
{
	PG_RETURN_AMOUNT_P(PG_GETARG_AMOUNT_P(0));
}

/*
 * - amount.  Errors: 22003 for the lowest amount, which has no opposite.
 */
Datum
billing_amount_negate(PG_FUNCTION_ARGS)
{
	PG_RETURN_AMOUNT_P(amount_multiply(PG_GETARG_AMOUNT_P(0), -1));
}

/*
 * abs(amount).  Errors: 22003 for the lowest amount, which has no opposite.
 */
Datum
billing_amount_abs(PG_FUNCTION_ARGS)
{
	Amount *amount = PG_GETARG_AMOUNT_P(0);

	PG_RETURN_AMOUNT_P(amount->minor < 0 ? amount_multiply(amount, -1) : amount);
}

/*
 * amount * numeric, rounded half away from zero to a minor unit.  Integers of every size come here
 * too, by their casts to numeric, and are exact; an operator for each would make "amount * smallint"
 * ambiguous.
 * Errors: 22003 out of range, 22023 NaN or infinity.
 */
Datum
billing_amount_multiply(PG_FUNCTION_ARGS)
{
	PG_RETURN_AMOUNT_P(amount_times(PG_GETARG_AMOUNT_P(0), PG_GETARG_NUMERIC(1)));
}

/*
 * numeric * amount, as amount * numeric.
 */
Datum
billing_numeric_multiply(PG_FUNCTION_ARGS)
{
	PG_RETURN_AMOUNT_P(amount_times(PG_GETARG_AMOUNT_P(1), PG_GETARG_NUMERIC(0)));
}

/*
 * amount / numeric, rounded half away from zero to a minor unit.
 * Errors: 22012 divisor zero, 22003 out of range, 22023 NaN or infinity.
 */
Datum
billing_amount_divide(PG_FUNCTION_ARGS)
{
	PG_RETURN_AMOUNT_P(amount_divided(PG_GETARG_AMOUNT_P(0), PG_GETARG_NUMERIC(1)));
}

/*
 * amount / amount: how often one goes into the other, as numeric's division gives it.
 * Errors: 22012 divisor zero, 22023 when the currencies differ.
 */
Datum
billing_amount_ratio(PG_FUNCTION_ARGS)
{
	Amount *left = PG_GETARG_AMOUNT_P(0);
	Amount *right = PG_GETARG_AMOUNT_P(1);

	amount_require_same_currency(left, right);
	if (amount_is_zero(right))
		amount_raise_division_by_zero(left);
	return DirectFunctionCall2(numeric_div, NumericGetDatum(amount_numeric(left)),
							   NumericGetDatum(amount_numeric(right)));
}
