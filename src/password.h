/*
 * Passwords: which are accepted, and their argon2id hashes.
 *
 * A password is passed as the text datum that the function was called with,
 * neither detoasted nor converted: every copy is made, and erased, in here. No
 * message of this subsystem contains any part of one, and its errors keep the
 * statement and its context out of the server log.
 */
#ifndef BILLING_PASSWORD_H
#define BILLING_PASSWORD_H

/* Longer ones are refused, so that nobody can make the server read megabytes. */
#define PASSWORD_MAX_BYTES 1024

/* Settings. */
extern void password_define_settings(void);
extern int password_min_length;
extern int password_max_hashers;

/* What the verbs call. */
extern void password_check_strength(const text *password, const text *email);
extern char *password_hash(const text *password);
extern bool password_verify(const char *hash_or_null, const text *password, bool *needs_rehash);

extern void password_require_sodium(void);

/* Between the files of this subsystem. */
typedef struct PasswordSecret
{
	bool too_long;
	bool is_utf8;
	int length;
	char bytes[PASSWORD_MAX_BYTES + 1];
} PasswordSecret;

extern void password_read(const text *password, PasswordSecret *secret);
extern void password_forget(PasswordSecret *secret);
extern int password_slot_take(void);
extern void password_slot_release(int slot);
extern bool password_is_common(const char *folded);

#endif /* BILLING_PASSWORD_H */
