#include "postgres.h"

#include <sodium.h>
#include <sys/mman.h>

#include "password_argon2.h"

/* Longer than any implementation writes; more would only be work for the decoder. */
#define ARGON2_MAX_ENCODED_BYTES 512

/* RFC 9106, 3.1: at least 8 kB a lane. */
#define ARGON2_MIN_KB_PER_LANE 8

/* What libsodium's decoder demands. */
#define ARGON2_MIN_SALT_BYTES 8
#define ARGON2_MIN_HASH_BYTES 16

static bool
argon2_skip(const char **cursor, const char *expected)
{
	size_t length = strlen(expected);

	if (strncmp(*cursor, expected, length) != 0)
		return false;
	*cursor += length;
	return true;
}

/* A decimal number without sign, white space or leading zero, as the format demands. */
static bool
argon2_parse_number(const char **cursor, uint32 *number)
{
	uint64 value = 0;

	if (**cursor < '1' || **cursor > '9')
		return false;
	for (; **cursor >= '0' && **cursor <= '9'; (*cursor)++)
	{
		value = value * 10 + (**cursor - '0');
		if (value > PG_UINT32_MAX)
			return false;
	}
	*number = (uint32) value;
	return true;
}

/* Decodes a base64 field; returns its number of bytes, 0 if it is malformed. */
static size_t
argon2_parse_bytes(const char **cursor, unsigned char bytes[ARGON2_MAX_ENCODED_BYTES])
{
	size_t decoded;
	const char *end;

	if (sodium_base642bin(bytes, ARGON2_MAX_ENCODED_BYTES, *cursor, strlen(*cursor), NULL, &decoded,
						  &end, sodium_base64_VARIANT_ORIGINAL_NO_PADDING) != 0)
		return 0;
	*cursor = end;
	return decoded;
}

static bool
argon2_parse_costs(const char **cursor, Argon2Hash *parsed, uint32 *lanes)
{
	return argon2_skip(cursor, "v=19$m=") && argon2_parse_number(cursor, &parsed->memory_kb) &&
		   argon2_skip(cursor, ",t=") && argon2_parse_number(cursor, &parsed->passes) &&
		   argon2_skip(cursor, ",p=") && argon2_parse_number(cursor, lanes) &&
		   argon2_skip(cursor, "$") && parsed->memory_kb / ARGON2_MIN_KB_PER_LANE >= *lanes;
}

/*
 * Reads a hash made by any implementation. False unless libsodium can verify it:
 * argon2id or argon2i of version 19 (0x13), any number of lanes, no key and no
 * associated data, a salt of 8 bytes and a hash of 16 at least.
 */
bool
argon2_parse(const char *encoded, Argon2Hash *parsed)
{
	unsigned char salt[ARGON2_MAX_ENCODED_BYTES];
	unsigned char hash[ARGON2_MAX_ENCODED_BYTES];
	size_t salt_bytes;
	size_t hash_bytes;
	const char *cursor = encoded;
	uint32 lanes;

	memset(parsed, 0, sizeof(*parsed));
	/* libsodium's decoder takes every byte above 127 for a digit */
	if (!argon2_looks_encoded(encoded))
		return false;
	parsed->is_argon2id = argon2_skip(&cursor, "$argon2id$");
	if (!parsed->is_argon2id && !argon2_skip(&cursor, "$argon2i$"))
		return false;
	if (!argon2_parse_costs(&cursor, parsed, &lanes))
		return false;
	salt_bytes = argon2_parse_bytes(&cursor, salt);
	if (salt_bytes < ARGON2_MIN_SALT_BYTES || !argon2_skip(&cursor, "$"))
		return false;
	hash_bytes = argon2_parse_bytes(&cursor, hash);
	if (hash_bytes < ARGON2_MIN_HASH_BYTES || *cursor != '\0')
		return false;

	parsed->is_own_form = parsed->is_argon2id && lanes == 1 &&
						  salt_bytes == ARGON2_OWN_SALT_BYTES &&
						  hash_bytes == ARGON2_OWN_HASH_BYTES;
	if (parsed->is_own_form)
	{
		memcpy(parsed->salt, salt, ARGON2_OWN_SALT_BYTES);
		memcpy(parsed->hash, hash, ARGON2_OWN_HASH_BYTES);
	}
	return true;
}

/*
 * Whether it has the shape of any argon2 hash, which no password has by accident;
 * that it can be verified is not said.
 */
bool
argon2_looks_encoded(const char *string)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
								   "0123456789+/=,-$";
	size_t length = strlen(string);
	int fields = 0;

	if (strncmp(string, "$argon2", 7) != 0 || length > ARGON2_MAX_ENCODED_BYTES ||
		strspn(string, alphabet) != length)
		return false;
	for (const char *c = string; *c; c++)
		fields += *c == '$';
	return fields == 4 || fields == 5;
}

/*
 * Whether the memory can be had as libsodium asks for it. What is left of it for
 * the parts of the hash that are not blocks is a few kilobytes.
 */
static bool
argon2_has_room(uint32 memory_kb)
{
	size_t size = (size_t) memory_kb * 1024 + 64 * 1024;
	void *room = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return room != MAP_FAILED && munmap(room, size) == 0;
}

/*
 * Verifies a form that is not our own. crypto_pwhash_str_verify() answers as for
 * a wrong password when the memory could not be had, so that is asked for before,
 * and after: others may have taken it meanwhile.
 */
static Argon2Verdict
argon2_verify_foreign(const Argon2Hash *target, const char *encoded, const char *secret,
					  size_t length)
{
	if (!argon2_has_room(target->memory_kb))
		return ARGON2_OUT_OF_MEMORY;
	if (crypto_pwhash_str_verify(encoded, secret, length) == 0)
		return ARGON2_MATCHES;
	return argon2_has_room(target->memory_kb) ? ARGON2_DIFFERS : ARGON2_OUT_OF_MEMORY;
}

/*
 * Compares a secret with a hash. Our own form is computed here, since that tells
 * for certain whether the memory could be had.
 */
Argon2Verdict
argon2_verify(const Argon2Hash *target, const char *encoded, const char *secret, size_t length)
{
	unsigned char computed[ARGON2_OWN_HASH_BYTES];
	bool equal;

	if (!target->is_own_form)
		return argon2_verify_foreign(target, encoded, secret, length);
	if (crypto_pwhash(computed, sizeof(computed), secret, length, target->salt, target->passes,
					  (size_t) target->memory_kb * 1024, crypto_pwhash_ALG_ARGON2ID13) != 0)
		return ARGON2_OUT_OF_MEMORY;
	equal = sodium_memcmp(computed, target->hash, sizeof(computed)) == 0;
	sodium_memzero(computed, sizeof(computed));
	return equal ? ARGON2_MATCHES : ARGON2_DIFFERS;
}
