/*
 * argon2_fuzz.c
 *		libFuzzer harness for the encoded argon2 hashes that administrators take over from elsewhere.
 */
#include "postgres.h"

#include <sodium.h>

#include "password_argon2.h"
#include "server.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What our own form was read from can be written again. */
static void
check_own_form(const char *encoded, const Argon2Hash *parsed)
{
	char salt[64];
	char hash[64];
	char again[256];

	sodium_bin2base64(salt, sizeof(salt), parsed->salt, sizeof(parsed->salt),
					  sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
	sodium_bin2base64(hash, sizeof(hash), parsed->hash, sizeof(parsed->hash),
					  sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
	snprintf(again, sizeof(again), "$argon2id$v=19$m=%u,t=%u,p=1$%s$%s", parsed->memory_kb,
			 parsed->passes, salt, hash);
	require(strcmp(again, encoded) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *encoded = exact_string(data, size);
	bool looks_encoded = argon2_looks_encoded(encoded);
	Argon2Hash parsed;

	/* A hash that can be verified must never be taken for a password. */
	if (argon2_parse(encoded, &parsed))
	{
		require(looks_encoded && parsed.passes > 0 && parsed.memory_kb >= 8);
		if (parsed.is_own_form)
			check_own_form(encoded, &parsed);
	}
	free_all();
	return 0;
}
