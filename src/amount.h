/*
 * amount.h
 *		billing.amount: exact money, int64 minor units of an ISO 4217 currency.
 *
 * amount_text.c parses, prints, packs and unpacks without the server's memory or errors;
 * amount.c is the type's SQL face, amount_ops.c arithmetic, amount_compare.c order and hash,
 * amount_agg.c the aggregates.
 */
#ifndef BILLING_AMOUNT_H
#define BILLING_AMOUNT_H

#include "currency.h"
#include "fmgr.h"
#include "utils/numeric.h"

/*
 * As stored.  Every byte is set, unused ones to zero: equal amounts are equal bytes, which
 * deduplication in btree relies on.  Build one with amount_make() or amount_set() only.
 */
typedef struct Amount
{
	int64 minor;
	char currency[CURRENCY_CODE_LENGTH];
	char unused[5];
} Amount;

#define DatumGetAmountP(datum)     ((Amount *) DatumGetPointer(datum))
#define AmountPGetDatum(amount)    PointerGetDatum(amount)
#define PG_GETARG_AMOUNT_P(n)      DatumGetAmountP(PG_GETARG_DATUM(n))
#define PG_RETURN_AMOUNT_P(amount) return AmountPGetDatum(amount)

/* "-92233720368547758.08 USD" with room for the point and four decimals, and the end */
#define AMOUNT_TEXT_SIZE 32

/* int64 in network order, then the three letters */
#define AMOUNT_WIRE_SIZE (8 + CURRENCY_CODE_LENGTH)

typedef enum AmountParseError
{
	AMOUNT_PARSE_EMPTY,
	AMOUNT_PARSE_NUMBER,
	AMOUNT_PARSE_NO_CURRENCY,
	AMOUNT_PARSE_UNKNOWN_CURRENCY,
	AMOUNT_PARSE_CURRENCY_CASE,
	AMOUNT_PARSE_DECIMALS,
	AMOUNT_PARSE_TRAILING,
	AMOUNT_PARSE_RANGE
} AmountParseError;

/* amount_text.c: neither allocates nor raises */
extern bool amount_set(Amount *result, int64 minor, const char *code, size_t length);
extern bool amount_parse(const char *text, size_t length, Amount *result, AmountParseError *why);
extern bool amount_format(const Amount *amount, char *text);
extern void amount_pack(const Amount *amount, char *wire);
extern bool amount_unpack(const char *wire, size_t length, Amount *result);

/* amount.c */
extern Amount *amount_make(int64 minor, const char *code);
extern char *amount_text(const Amount *amount);
extern Numeric amount_numeric(const Amount *amount);
extern void amount_raise_out_of_range(const char *code);

/* amount_ops.c: results are palloc'd; 22003 when out of range, 22023 when currencies differ */
extern bool amount_is_zero(const Amount *amount);
extern Amount *amount_add(const Amount *left, const Amount *right);
extern Amount *amount_sub(const Amount *left, const Amount *right);
extern Amount *amount_multiply(const Amount *amount, int64 factor);
extern bool amount_round_numeric(Numeric value, int64 *minor);

/* amount_compare.c */
extern bool amount_same_currency(const Amount *left, const Amount *right);
extern void amount_require_same_currency(const Amount *left, const Amount *right);
extern int amount_compare(const Amount *left, const Amount *right);
extern int amount_total_order(const Amount *left, const Amount *right);

#endif
