/*
 * amount_fuzz.c
 *		libFuzzer harness for the text and binary input of billing.amount.
 *
 * Linked with amount_text.c and currency.c only; test/fuzz/run builds and runs it.  Whatever the
 * bytes are, they are refused or become an amount that every form carries unchanged.
 */
#include "postgres.h"

#include <stdlib.h>

#include "amount.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool held)
{
	if (!held)
		abort();
}

/* The printed digits without the point, read by the C library, are the minor units. */
static void
check_minor_units(const Amount *amount, const char *text)
{
	char digits[AMOUNT_TEXT_SIZE];
	size_t used = 0;

	for (; *text != ' '; text++)
	{
		if (*text != '.')
			digits[used++] = *text;
	}
	digits[used] = '\0';
	require(strtoll(digits, NULL, 10) == amount->minor);
}

static void
check_forms(const Amount *amount)
{
	char text[AMOUNT_TEXT_SIZE];
	char wire[AMOUNT_WIRE_SIZE];
	Amount again;
	AmountParseError why;

	require(amount_format(amount, text));
	require(strlen(text) < AMOUNT_TEXT_SIZE);
	check_minor_units(amount, text);
	require(amount_parse(text, strlen(text), &again, &why));
	require(memcmp(&again, amount, sizeof(Amount)) == 0);
	amount_pack(amount, wire);
	require(amount_unpack(wire, AMOUNT_WIRE_SIZE, &again));
	require(memcmp(&again, amount, sizeof(Amount)) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Exactly as long as the input, so that AddressSanitizer sees a byte too far. */
	char *bytes = malloc(size > 0 ? size : 1);
	Amount amount;
	AmountParseError why;

	require(bytes != NULL);
	if (size > 0)
		memcpy(bytes, data, size);
	if (amount_parse(bytes, size, &amount, &why))
		check_forms(&amount);
	else
		require(why >= AMOUNT_PARSE_EMPTY && why <= AMOUNT_PARSE_RANGE);
	if (amount_unpack(bytes, size, &amount))
		check_forms(&amount);
	free(bytes);
	return 0;
}
