/*
 * currency.h
 *		ISO 4217 currencies and their decimals.
 */
#ifndef BILLING_CURRENCY_H
#define BILLING_CURRENCY_H

#define CURRENCY_CODE_LENGTH  3
#define CURRENCY_MAX_DECIMALS 4

typedef struct Currency
{
	char code[CURRENCY_CODE_LENGTH + 1];
	uint8 decimals;
} Currency;

extern const Currency *currency_find(const char *code, size_t length);

#endif
