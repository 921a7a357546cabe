/*
 * binding_fuzz.c
 *		libFuzzer harness for the tokens of billing.bind_account.
 *
 * Includes the file, whose functions are its own, with a key that is known. No
 * bytes are a token but by their MAC; what is sealed here is opened unchanged,
 * and refused with any one character of it changed.
 */
#include "binding.c"

#include "server.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Opening
{
	Token token;
	const text *encoded;
} Opening;

static void
open_it(void *argument)
{
	Opening *opening = argument;

	open_token(&opening->token, opening->encoded);
}

static void
check_sealed(const uint8_t *data, size_t size)
{
	Token token = {.version = TOKEN_VERSION};
	uint8 *fields = (uint8 *) &token;
	char changed[TOKEN_TEXT_BYTES - 1];
	Opening opening;
	text *sealed;
	size_t at;

	memcpy(fields + 1, data, Min(size, TOKEN_SIGNED_BYTES - 1));
	authenticate(token.mac, &token, key);
	sealed = token_text(&token);
	require(VARSIZE_ANY_EXHDR(sealed) == sizeof(changed));
	opening.encoded = sealed;
	require(!raises(open_it, &opening));
	require(memcmp(&opening.token, &token, sizeof(Token)) == 0);

	memcpy(changed, VARDATA_ANY(sealed), sizeof(changed));
	at = size > 0 ? data[0] % sizeof(changed) : 0;
	if (size < 2 || changed[at] == (char) data[1])
		return;
	changed[at] = (char) data[1];
	opening.encoded = exact_text(changed, sizeof(changed));
	require(raises(open_it, &opening));
	/* the refused one is not remembered */
	require(raises(open_it, &opening));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Opening opening;

	key_known = true;
	opening.encoded = exact_text(size > 0 ? (const char *) data : "", size);
	require(raises(open_it, &opening));
	check_sealed(data, size);
	free_all();
	return 0;
}

text *
cstring_to_text(const char *string)
{
	return exact_text(string, strlen(string));
}
