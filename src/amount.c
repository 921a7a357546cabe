/*
 * amount.c
 *		billing.amount as a base type: input, output, the binary protocol, conversions.
 */
#include "postgres.h"

#include "amount.h"
#include "compat.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

/* How much of a refused text an error repeats. */
#define AMOUNT_QUOTED_LENGTH 60

PG_FUNCTION_INFO_V1(billing_amount_in);
PG_FUNCTION_INFO_V1(billing_amount_out);
PG_FUNCTION_INFO_V1(billing_amount_recv);
PG_FUNCTION_INFO_V1(billing_amount_send);
PG_FUNCTION_INFO_V1(billing_amount);
PG_FUNCTION_INFO_V1(billing_amount_to_numeric);
PG_FUNCTION_INFO_V1(billing_currency);
PG_FUNCTION_INFO_V1(billing_minor_units);
PG_FUNCTION_INFO_V1(billing_currency_decimals);

/* Repeat a text in an error without repeating all of a megabyte. */
static char *
amount_quoted(const char *text, size_t length)
{
	int kept;

	if (length <= AMOUNT_QUOTED_LENGTH)
		return pnstrdup(text, length);
	kept = pg_mbcliplen(text, (int) Min(length, AMOUNT_QUOTED_LENGTH + MAX_MULTIBYTE_CHAR_LEN),
						AMOUNT_QUOTED_LENGTH);
	return psprintf("%.*s...", kept, text);
}

static char *
amount_limit(int64 minor, const char *code)
{
	return amount_text(amount_make(minor, code));
}

/*
 * Raise 22003, naming the limits of the currency.
 */
void
amount_raise_out_of_range(const char *code)
{
	ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("amount out of range"),
					errdetail("Amounts go from %s to %s.", amount_limit(PG_INT64_MIN, code),
							  amount_limit(PG_INT64_MAX, code)),
					errhint("Split the amount into smaller ones.")));
}

static void
amount_raise_unknown_currency(const char *code, size_t length)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("unknown currency: \"%s\"", amount_quoted(code, length)),
					errdetail("A currency is an active ISO 4217 code with a minor unit."),
					errhint("Write the three capitals of the currency, such as USD.")));
}

/* Why a text is not an amount, as a sentence. */
static const char *
amount_parse_detail(AmountParseError why)
{
	switch (why)
	{
		case AMOUNT_PARSE_EMPTY:
			return "The text is empty.";
		case AMOUNT_PARSE_NUMBER:
			return "It does not begin with a plain decimal number followed by a space.";
		case AMOUNT_PARSE_NO_CURRENCY:
			return "There is no currency after the number.";
		case AMOUNT_PARSE_UNKNOWN_CURRENCY:
			return "The currency is not an active ISO 4217 code with a minor unit.";
		case AMOUNT_PARSE_CURRENCY_CASE:
			return "The currency is not written in capitals.";
		case AMOUNT_PARSE_DECIMALS:
			return "The number has more decimals than the currency.";
		case AMOUNT_PARSE_TRAILING:
			return "There is something after the number and the currency.";
		case AMOUNT_PARSE_RANGE:
			return "The number of minor units does not fit into 64 bits.";
	}
	return "The text is not an amount.";
}

/*
 * Input function.
 *
 * text: a number with at most the decimals of its currency, white space, an ISO 4217 code in
 * capitals; white space around them is ignored.  "12 USD" is "12.00 USD".
 * Returns the amount.
 * Errors: 22P02 not an amount, 22003 beyond 64 bits of minor units.
 */
Datum
billing_amount_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	size_t length = strlen(text);
	Amount *result = palloc(sizeof(Amount));
	AmountParseError why;

	if (amount_parse(text, length, result, &why))
		PG_RETURN_AMOUNT_P(result);
	ereport(ERROR, (errcode(why == AMOUNT_PARSE_RANGE ? ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE
													  : ERRCODE_INVALID_TEXT_REPRESENTATION),
					why == AMOUNT_PARSE_RANGE
						? errmsg("amount out of range: \"%s\"", amount_quoted(text, length))
						: errmsg("invalid input syntax for type %s: \"%s\"", "billing.amount",
								 amount_quoted(text, length)),
					errdetail_internal("%s", amount_parse_detail(why)),
					why == AMOUNT_PARSE_RANGE
						? errhint("Split the amount into smaller ones.")
						: errhint("Write it like \"12.50 USD\", \"1500 JPY\" or \"1.250 KWD\".")));
}

/*
 * Output function: "12.50 USD", always with all decimals of the currency.  Reads back as the same
 * value.
 * Errors: XX001 when the stored currency is unknown.
 */
Datum
billing_amount_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(amount_text(PG_GETARG_AMOUNT_P(0)));
}

/*
 * Binary input: int64 minor units in network order, three letters of currency.
 * Errors: 22P03 unknown currency, 08P01 too short (too long is refused by the protocol's reader).
 */
Datum
billing_amount_recv(PG_FUNCTION_ARGS)
{
	StringInfo message = (StringInfo) PG_GETARG_POINTER(0);
	const char *wire = pq_getmsgbytes(message, AMOUNT_WIRE_SIZE);
	Amount *result = palloc(sizeof(Amount));

	if (!amount_unpack(wire, AMOUNT_WIRE_SIZE, result))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary representation of billing.amount"),
				 errdetail("The last %d bytes are not an active ISO 4217 code with a minor unit.",
						   CURRENCY_CODE_LENGTH),
				 errhint("Send the minor units as int64 in network order, then the three capitals "
						 "of the currency.")));
	PG_RETURN_AMOUNT_P(result);
}

/*
 * Binary output, AMOUNT_WIRE_SIZE bytes; the reverse of amount_recv.
 */
Datum
billing_amount_send(PG_FUNCTION_ARGS)
{
	char wire[AMOUNT_WIRE_SIZE];
	StringInfoData message;

	amount_pack(PG_GETARG_AMOUNT_P(0), wire);
	pq_begintypsend(&message);
	pq_sendbytes(&message, wire, AMOUNT_WIRE_SIZE);
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}

/*
 * Make an amount in allocated memory.
 *
 * minor: minor units, any int64.  code: three letters, need not be terminated.
 * Errors: 22023 when the currency is unknown.
 */
Amount *
amount_make(int64 minor, const char *code)
{
	Amount *result = palloc(sizeof(Amount));
	size_t length = strnlen(code, CURRENCY_CODE_LENGTH);

	if (!amount_set(result, minor, code, length))
		amount_raise_unknown_currency(code, length);
	return result;
}

pg_attribute_noreturn() static void raise_unknown_currency(const Amount *amount)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED), errmsg("stored amount has an unknown currency"),
			 errdetail("It holds %lld minor units.", (long long) amount->minor),
			 errhint("Check that the library is not older than the data.")));
}

/*
 * The text form in allocated memory.
 * Errors: XX001 when the stored currency is unknown.
 */
char *
amount_text(const Amount *amount)
{
	char *text = palloc(AMOUNT_TEXT_SIZE);

	if (!amount_format(amount, text))
		raise_unknown_currency(amount);
	return text;
}

/* Decimals of a stored currency; 0 cannot stand for a code that is not in the table. */
static int
amount_decimals(const Amount *amount)
{
	const Currency *currency = currency_find(amount->currency, CURRENCY_CODE_LENGTH);

	if (currency != NULL)
		return currency->decimals;
	raise_unknown_currency(amount);
}

/*
 * The amount in major units, with all decimals of its currency: 12.50 for "12.50 USD".
 */
Numeric
amount_numeric(const Amount *amount)
{
	return int64_div_fast_to_numeric(amount->minor, amount_decimals(amount));
}

/*
 * Cast to numeric, in major units.
 */
Datum
billing_amount_to_numeric(PG_FUNCTION_ARGS)
{
	PG_RETURN_NUMERIC(amount_numeric(PG_GETARG_AMOUNT_P(0)));
}

static Numeric
amount_scale_up(Numeric value, uint8 decimals)
{
	static const int64 power[] = {1, 10, 100, 1000, 10000};

	StaticAssertDecl(lengthof(power) == CURRENCY_MAX_DECIMALS + 1, "a power for each scale");
	return DatumGetNumeric(DirectFunctionCall2(numeric_mul, NumericGetDatum(value),
											   NumericGetDatum(int64_to_numeric(power[decimals]))));
}

static void
amount_raise_decimals(Numeric number, const Currency *currency)
{
	char *digits = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));

	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("too many decimals for an amount in %s", currency->code),
					errdetail("%s has %d decimals, the number is %s.", currency->code,
							  currency->decimals, amount_quoted(digits, strlen(digits))),
					errhint("Round it first: round(number, %d).", currency->decimals)));
}

/*
 * Constructor: amount(number numeric, currency text).
 *
 * number: major units, with no digits but zeros behind the decimals of the currency: it is never
 * rounded, as that would lose money silently.  currency: ISO 4217 in capitals.
 * Errors: 22023 unknown currency, too many decimals, NaN or infinity; 22003 beyond 64 bits.
 */
Datum
billing_amount(PG_FUNCTION_ARGS)
{
	Numeric number = PG_GETARG_NUMERIC(0);
	text *code = PG_GETARG_TEXT_PP(1);
	const Currency *currency = currency_find(VARDATA_ANY(code), VARSIZE_ANY_EXHDR(code));
	Numeric scaled;
	Datum whole;
	int64 minor = 0;

	if (currency == NULL)
		amount_raise_unknown_currency(VARDATA_ANY(code), VARSIZE_ANY_EXHDR(code));
	if (numeric_is_nan(number) || numeric_is_inf(number))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("an amount must be a finite number"),
						errdetail("The number is %s.", numeric_is_nan(number) ? "NaN" : "infinite"),
						errhint("Check where the number comes from.")));
	scaled = amount_scale_up(number, currency->decimals);
	whole = DirectFunctionCall2(numeric_trunc, NumericGetDatum(scaled), Int32GetDatum(0));
	if (!DatumGetBool(DirectFunctionCall2(numeric_eq, whole, NumericGetDatum(scaled))))
		amount_raise_decimals(number, currency);
	if (!amount_round_numeric(scaled, &minor))
		amount_raise_out_of_range(currency->code);
	PG_RETURN_AMOUNT_P(amount_make(minor, currency->code));
}

/*
 * The ISO 4217 code of an amount.
 */
Datum
billing_currency(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(
		cstring_to_text_with_len(PG_GETARG_AMOUNT_P(0)->currency, CURRENCY_CODE_LENGTH));
}

/*
 * An amount in minor units: 1250 for "12.50 USD", as payment providers want it.
 */
Datum
billing_minor_units(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(PG_GETARG_AMOUNT_P(0)->minor);
}

/*
 * The number of decimals of a currency, NULL when amounts cannot be in it.
 */
Datum
billing_currency_decimals(PG_FUNCTION_ARGS)
{
	text *code = PG_GETARG_TEXT_PP(0);
	const Currency *currency = currency_find(VARDATA_ANY(code), VARSIZE_ANY_EXHDR(code));

	if (currency == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT32(currency->decimals);
}
