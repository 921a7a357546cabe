/*
 * email_fuzz.c
 *		libFuzzer harness for email addresses, with case folding and conversion.
 *
 * The database's encoding is UTF-8; bytes that are not are examined as well, as
 * SQL_ASCII admits them.
 */
#include "postgres.h"

#include <ctype.h>

#include "mb/pg_wchar.h"

#include "email.h"
#include "server.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *
key_of(const char *email)
{
	return email_lookup_key(exact_text(email, strlen(email)));
}

static void
check_key(const char *key)
{
	const char *at = strchr(key, '@');
	const char *again = key_of(key);

	require(at != NULL && at > key && at[1] != '\0' && strchr(at + 1, '@') == NULL);
	require(pg_encoding_verifymbstr(PG_UTF8, key, (int) strlen(key)) == (int) strlen(key));
	/* NULL where folding has made it longer than an address can be */
	require(again == NULL || strcmp(again, key) == 0);
}

static void
check_case(char *email, const char *key)
{
	const char *again;

	for (char *c = email; *c; c++)
		*c = (char) (IS_HIGHBIT_SET(*c) ? *c : toupper((unsigned char) *c));
	again = key_of(email);
	require(again != NULL && strcmp(again, key) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *email = exact_string(data, size);
	const char *key = key_of(email);

	if (key != NULL)
	{
		check_key(key);
		check_case(email, key);
	}
	free_all();
	return 0;
}
