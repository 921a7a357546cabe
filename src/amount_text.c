/*
 * amount_text.c
 *		Amounts from and to text and bytes.
 *
 * Nothing here allocates, raises or calls the server, so that a fuzzer can be linked with this file
 * and currency.c alone.
 */
#include "postgres.h"

#include "amount.h"
#include "common/int.h"
#include "port/pg_bswap.h"

StaticAssertDecl(sizeof(Amount) == 16, "the type's INTERNALLENGTH is 16");

/* What a text consists of, before it is given a meaning. */
typedef struct AmountParts
{
	bool negative;
	const char *whole;
	size_t whole_length;
	const char *fraction;
	size_t fraction_length;
	const char *code;
	size_t code_length;
} AmountParts;

/*
 * Fill an amount, unused bytes included.  False, and the result untouched, when the currency is
 * unknown.
 */
bool
amount_set(Amount *result, int64 minor, const char *code, size_t length)
{
	const Currency *currency = currency_find(code, length);

	if (currency == NULL)
		return false;
	memset(result, 0, sizeof(*result));
	result->minor = minor;
	memcpy(result->currency, currency->code, CURRENCY_CODE_LENGTH);
	return true;
}

/* The server's isspace() depends on the locale; what is white space here must not. */
static bool
amount_is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static const char *
amount_skip_spaces(const char *at, const char *end)
{
	while (at < end && amount_is_space(*at))
		at++;
	return at;
}

static const char *
amount_skip_digits(const char *at, const char *end)
{
	while (at < end && *at >= '0' && *at <= '9')
		at++;
	return at;
}

/* Read the sign and the digits; at least one digit on each side of a point. */
static bool
amount_split_number(const char **at, const char *end, AmountParts *parts)
{
	const char *here = *at;

	if (*here == '+' || *here == '-')
		parts->negative = *here++ == '-';
	parts->whole = here;
	here = amount_skip_digits(here, end);
	parts->whole_length = here - parts->whole;
	if (parts->whole_length == 0)
		return false;
	if (here < end && *here == '.')
	{
		parts->fraction = ++here;
		here = amount_skip_digits(here, end);
		parts->fraction_length = here - parts->fraction;
		if (parts->fraction_length == 0)
			return false;
	}
	*at = here;
	return here == end || amount_is_space(*here);
}

/* Cut a text into number and currency. */
static bool
amount_split(const char *text, size_t length, AmountParts *parts, AmountParseError *why)
{
	const char *end = text + length;
	const char *at = amount_skip_spaces(text, end);

	*why = AMOUNT_PARSE_EMPTY;
	if (at == end)
		return false;
	*why = AMOUNT_PARSE_NUMBER;
	if (!amount_split_number(&at, end, parts))
		return false;
	*why = AMOUNT_PARSE_NO_CURRENCY;
	at = amount_skip_spaces(at, end);
	if (at == end)
		return false;
	parts->code = at;
	while (at < end && !amount_is_space(*at))
		at++;
	parts->code_length = at - parts->code;
	*why = AMOUNT_PARSE_TRAILING;
	return amount_skip_spaces(at, end) == end;
}

/* Is this a known code but for its case? */
static bool
amount_is_miscased(const char *code, size_t length)
{
	char capitals[CURRENCY_CODE_LENGTH];

	if (length != CURRENCY_CODE_LENGTH)
		return false;
	for (size_t i = 0; i < length; i++)
		capitals[i] = code[i] >= 'a' && code[i] <= 'z' ? code[i] - 'a' + 'A' : code[i];
	return currency_find(capitals, length) != NULL;
}

/* Append digits to a value that is kept at or below zero, as the lowest int64 has no opposite. */
static bool
amount_append_digits(int64 *value, const char *digits, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		if (pg_mul_s64_overflow(*value, 10, value) ||
			pg_sub_s64_overflow(*value, digits[i] - '0', value))
			return false;
	}
	return true;
}

/* Count the number in minor units. */
static bool
amount_count(const AmountParts *parts, uint8 decimals, int64 *minor)
{
	int64 value = 0;

	if (!amount_append_digits(&value, parts->whole, parts->whole_length) ||
		!amount_append_digits(&value, parts->fraction, parts->fraction_length) ||
		!amount_append_digits(&value, "0000", decimals - parts->fraction_length))
		return false;
	if (!parts->negative && pg_sub_s64_overflow(0, value, &value))
		return false;
	*minor = value;
	return true;
}

/*
 * Read "12.50 USD".
 *
 * text, length: need not be terminated, may hold any bytes.  White space around the number and the
 * code is ignored; fewer decimals than the currency has are padded, more are refused, zeros too.
 * Returns false with the reason in *why.
 */
bool
amount_parse(const char *text, size_t length, Amount *result, AmountParseError *why)
{
	AmountParts parts = {0};
	const Currency *currency;
	int64 minor;

	if (!amount_split(text, length, &parts, why))
		return false;
	currency = currency_find(parts.code, parts.code_length);
	if (currency == NULL)
	{
		*why = amount_is_miscased(parts.code, parts.code_length) ? AMOUNT_PARSE_CURRENCY_CASE
																 : AMOUNT_PARSE_UNKNOWN_CURRENCY;
		return false;
	}
	*why = AMOUNT_PARSE_DECIMALS;
	if (parts.fraction_length > currency->decimals)
		return false;
	*why = AMOUNT_PARSE_RANGE;
	if (!amount_count(&parts, currency->decimals, &minor))
		return false;
	return amount_set(result, minor, currency->code, CURRENCY_CODE_LENGTH);
}

/*
 * Print an amount with all decimals of its currency.
 *
 * text: room for AMOUNT_TEXT_SIZE bytes.  False when the currency is unknown, which only corrupted
 * storage, or a library older than the data, can bring about.
 */
bool
amount_format(const Amount *amount, char *text)
{
	const Currency *currency = currency_find(amount->currency, CURRENCY_CODE_LENGTH);
	uint64 rest = amount->minor < 0 ? 0 - (uint64) amount->minor : (uint64) amount->minor;
	char digits[AMOUNT_TEXT_SIZE];
	char *at = digits + sizeof(digits);

	if (currency == NULL)
		return false;
	for (int written = 0; rest > 0 || written <= currency->decimals; written++)
	{
		if (written > 0 && written == currency->decimals)
			*--at = '.';
		*--at = '0' + (char) (rest % 10);
		rest /= 10;
	}
	if (amount->minor < 0)
		*--at = '-';
	memcpy(text, at, digits + sizeof(digits) - at);
	text += digits + sizeof(digits) - at;
	*text++ = ' ';
	memcpy(text, currency->code, CURRENCY_CODE_LENGTH + 1);
	return true;
}

/* Write the AMOUNT_WIRE_SIZE bytes of the binary protocol. */
void
amount_pack(const Amount *amount, char *wire)
{
	uint64 minor = pg_hton64((uint64) amount->minor);

	memcpy(wire, &minor, sizeof(minor));
	memcpy(wire + sizeof(minor), amount->currency, CURRENCY_CODE_LENGTH);
}

/* Read them back.  False when there are more or fewer, or the currency is unknown. */
bool
amount_unpack(const char *wire, size_t length, Amount *result)
{
	uint64 minor;

	if (length != AMOUNT_WIRE_SIZE)
		return false;
	memcpy(&minor, wire, sizeof(minor));
	return amount_set(result, (int64) pg_ntoh64(minor), wire + sizeof(minor), CURRENCY_CODE_LENGTH);
}
