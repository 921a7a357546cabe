/*
 * Stored argon2 hashes in the PHC string format.
 */
#ifndef BILLING_PASSWORD_ARGON2_H
#define BILLING_PASSWORD_ARGON2_H

#define ARGON2_OWN_SALT_BYTES 16
#define ARGON2_OWN_HASH_BYTES 32

typedef struct Argon2Hash
{
	bool is_argon2id;
	/* One lane, and salt and hash of the sizes that libsodium writes. */
	bool is_own_form;
	uint32 memory_kb;
	uint32 passes;
	unsigned char salt[ARGON2_OWN_SALT_BYTES];
	unsigned char hash[ARGON2_OWN_HASH_BYTES];
} Argon2Hash;

typedef enum Argon2Verdict
{
	ARGON2_MATCHES,
	ARGON2_DIFFERS,
	ARGON2_OUT_OF_MEMORY
} Argon2Verdict;

extern bool argon2_looks_encoded(const char *string);
extern bool argon2_parse(const char *encoded, Argon2Hash *parsed);
extern Argon2Verdict
argon2_verify(const Argon2Hash *target, const char *encoded, const char *secret, size_t length);

#endif /* BILLING_PASSWORD_ARGON2_H */
