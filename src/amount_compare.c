/*
 * amount_compare.c
 *		Comparing, ordering and hashing amounts.
 *
 * Two orders.  The plain operators < <= > >= say which of two sums of money is less, and raise when
 * the currencies differ.  Sorting needs an order that never raises, or an index on a column with two
 * currencies could not be built, searched or vacuumed reliably: the operators *< *<= *>= *> order by
 * currency, then by minor units, and they are the default btree class.  An index calls the operators
 * of its class on every entry it passes, so the raising ones cannot be members of it.  Equality is
 * shared: amounts in different currencies are unequal, never an error.
 */
#include "postgres.h"

#include "amount.h"
#include "common/hashfn.h"

PG_FUNCTION_INFO_V1(billing_amount_eq);
PG_FUNCTION_INFO_V1(billing_amount_ne);
PG_FUNCTION_INFO_V1(billing_amount_lt);
PG_FUNCTION_INFO_V1(billing_amount_le);
PG_FUNCTION_INFO_V1(billing_amount_ge);
PG_FUNCTION_INFO_V1(billing_amount_gt);
PG_FUNCTION_INFO_V1(billing_amount_order_lt);
PG_FUNCTION_INFO_V1(billing_amount_order_le);
PG_FUNCTION_INFO_V1(billing_amount_order_ge);
PG_FUNCTION_INFO_V1(billing_amount_order_gt);
PG_FUNCTION_INFO_V1(billing_amount_order_cmp);
PG_FUNCTION_INFO_V1(billing_amount_hash);
PG_FUNCTION_INFO_V1(billing_amount_hash_extended);
PG_FUNCTION_INFO_V1(billing_amount_smaller);
PG_FUNCTION_INFO_V1(billing_amount_larger);

bool
amount_same_currency(const Amount *left, const Amount *right)
{
	return memcmp(left->currency, right->currency, CURRENCY_CODE_LENGTH) == 0;
}

/*
 * Raise 22023 unless both amounts are in one currency.
 */
void
amount_require_same_currency(const Amount *left, const Amount *right)
{
	if (!amount_same_currency(left, right))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amounts in different currencies cannot be combined or compared"),
				 errdetail("One is %s, the other %s.", amount_text(left), amount_text(right)),
				 errhint("Convert one of them first, or handle each billing.currency(amount) by "
						 "itself.")));
}

static int
amount_order_minor(const Amount *left, const Amount *right)
{
	return (left->minor > right->minor) - (left->minor < right->minor);
}

/*
 * Which is less: negative, zero or positive.
 * Errors: 22023 when the currencies differ.
 */
int
amount_compare(const Amount *left, const Amount *right)
{
	amount_require_same_currency(left, right);
	return amount_order_minor(left, right);
}

/*
 * A total order over all amounts: by currency, then by minor units.  Never raises.
 */
int
amount_total_order(const Amount *left, const Amount *right)
{
	int order = memcmp(left->currency, right->currency, CURRENCY_CODE_LENGTH);

	return order != 0 ? order : amount_order_minor(left, right);
}

/*
 * amount = amount.  Never raises: different currencies are unequal.
 */
Datum
billing_amount_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(amount_total_order(PG_GETARG_AMOUNT_P(0), PG_GETARG_AMOUNT_P(1)) == 0);
}

/*
 * amount <> amount.  Never raises.
 */
Datum
billing_amount_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(amount_total_order(PG_GETARG_AMOUNT_P(0), PG_GETARG_AMOUNT_P(1)) != 0);
}

/*
 * amount < amount.  Errors: 22023 when the currencies differ.
 */
Datum
billing_amount_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(amount_compare(PG_GETARG_AMOUNT_P(0), PG_GETARG_AMOUNT_P(1)) < 0);
}

/*
 * amount <= amount.  Errors: 22023 when the currencies differ.
 */
Datum
billing_amount_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(amount_compare(PG_GETARG_AMOUNT_P(0), PG_GETARG_AMOUNT_P(1)) <= 0);
}

/*
 * amount >= amount.  Errors: 22023 when the currencies differ.
 */
Datum
billing_amount_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(amount_compare(PG_GETARG_AMOUNT_P(0), PG_GETARG_AMOUNT_P(1)) >= 0);
}

/*
 * amount > amount.  Errors: 22023 when the currencies differ.
 */
Datum
billing_amount_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(amount_compare(PG_GETARG_AMOUNT_P(0), PG_GETARG_AMOUNT_P(1)) > 0);
}

/*
 * amount *< amount: before in the order of sorts and indexes.  Never raises.
 */
Datum
billing_amount_order_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(amount_total_order(PG_GETARG_AMOUNT_P(0), PG_GETARG_AMOUNT_P(1)) < 0);
}

/*
 * amount *<= amount: not behind in the order of sorts and indexes.  Never raises.
 */
Datum
billing_amount_order_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(amount_total_order(PG_GETARG_AMOUNT_P(0), PG_GETARG_AMOUNT_P(1)) <= 0);
}

/*
 * amount *>= amount: not before in the order of sorts and indexes.  Never raises.
 */
Datum
billing_amount_order_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(amount_total_order(PG_GETARG_AMOUNT_P(0), PG_GETARG_AMOUNT_P(1)) >= 0);
}

/*
 * amount *> amount: behind in the order of sorts and indexes.  Never raises.
 */
Datum
billing_amount_order_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(amount_total_order(PG_GETARG_AMOUNT_P(0), PG_GETARG_AMOUNT_P(1)) > 0);
}

/*
 * btree support: -1, 0 or 1 in the total order.
 */
Datum
billing_amount_order_cmp(PG_FUNCTION_ARGS)
{
	int order = amount_total_order(PG_GETARG_AMOUNT_P(0), PG_GETARG_AMOUNT_P(1));

	PG_RETURN_INT32((order > 0) - (order < 0));
}

/*
 * Hash support.  Equal amounts are equal bytes.
 */
Datum
billing_amount_hash(PG_FUNCTION_ARGS)
{
	return hash_any((const unsigned char *) PG_GETARG_AMOUNT_P(0), sizeof(Amount));
}

/*
 * Hash support with a seed.
 */
Datum
billing_amount_hash_extended(PG_FUNCTION_ARGS)
{
	return hash_any_extended((const unsigned char *) PG_GETARG_AMOUNT_P(0), sizeof(Amount),
							 PG_GETARG_INT64(1));
}

/*
 * The smaller of two amounts, the transition of min().  Errors: 22023 when the currencies differ.
 */
Datum
billing_amount_smaller(PG_FUNCTION_ARGS)
{
	Amount *left = PG_GETARG_AMOUNT_P(0);
	Amount *right = PG_GETARG_AMOUNT_P(1);

	PG_RETURN_AMOUNT_P(amount_compare(left, right) <= 0 ? left : right);
}

/*
 * The larger of two amounts, the transition of max().  Errors: 22023 when the currencies differ.
 */
Datum
billing_amount_larger(PG_FUNCTION_ARGS)
{
	Amount *left = PG_GETARG_AMOUNT_P(0);
	Amount *right = PG_GETARG_AMOUNT_P(1);

	PG_RETURN_AMOUNT_P(amount_compare(left, right) >= 0 ? left : right);
}
