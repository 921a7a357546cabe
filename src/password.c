#include "postgres.h"

#include <sodium.h>

#include "password.h"
#include "password_argon2.h"
#include "utils/guc.h"

static int password_memory;
static int password_passes;
static int password_memory_limit;
int password_min_length;
int password_max_hashers;

/* The floors are OWASP's least for argon2id (19 MiB, 2 passes): no setting goes below. */
#define PASSWORD_MEMORY_FLOOR   (19 * 1024)
#define PASSWORD_MEMORY_CEILING (1024 * 1024)
#define PASSWORD_PASSES_FLOOR   2
#define PASSWORD_PASSES_CEILING 16

/* Never shorter than NIST SP 800-63B allows any password to be. */
#define PASSWORD_LENGTH_FLOOR   8
#define PASSWORD_LENGTH_CEILING 64

/*
 * Costs may differ by database, so they are PGC_SUSET; how many may hash is one
 * number for the whole server, so it is PGC_SIGHUP.
 */
void
password_define_settings(void)
{
	/* 64 MiB and 2 passes: libsodium's "interactive", some 70 ms; 3 times OWASP's least. */
	DefineCustomIntVariable(
		"billing.password_memory", "Sets the memory that hashing a new password takes.",
		"Hashes of a lower cost are renewed when their user logs in.", &password_memory, 64 * 1024,
		PASSWORD_MEMORY_FLOOR, PASSWORD_MEMORY_CEILING, PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"billing.password_passes", "Sets how often hashing a new password passes over its memory.",
		"Hashes of a lower cost are renewed when their user logs in.", &password_passes, 2,
		PASSWORD_PASSES_FLOOR, PASSWORD_PASSES_CEILING, PGC_SUSET, 0, NULL, NULL, NULL);

	/* Above the default of argon2-cffi before 21.2, the costliest that imports often have. */
	DefineCustomIntVariable("billing.password_memory_limit",
							"Sets the memory above which a stored hash is not verified.",
							"A limit below billing.password_memory counts as that.",
							&password_memory_limit, 128 * 1024, PASSWORD_MEMORY_FLOOR,
							PASSWORD_MEMORY_CEILING, PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);

	/*
	 * 8 is the least of NIST SP 800-63B where another factor or a lock-out helps;
	 * where the password is all there is, its fourth revision asks for 15.
	 */
	DefineCustomIntVariable("billing.password_min_length",
							"Sets the least number of characters of a new password.", NULL,
							&password_min_length, PASSWORD_LENGTH_FLOOR, PASSWORD_LENGTH_FLOOR,
							PASSWORD_LENGTH_CEILING, PGC_SUSET, 0, NULL, NULL, NULL);

	/* Times billing.password_memory: what hashing may take of the machine. */
	DefineCustomIntVariable("billing.max_password_hashers",
							"Sets how many passwords the server hashes at a time.",
							"The others wait, as for a lock.", &password_max_hashers, 4, 1, 256,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
}

/* Not at load: a machine without a source of randomness must still load the library. */
void
password_require_sodium(void)
{
	if (sodium_init() < 0)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("could not initialize libsodium"),
						errhint("The system must offer a source of random bytes."),
						errhidestmt(true), errhidecontext(true)));
}

static void
password_out_of_memory(uint32 memory_kb)
{
	ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"),
					errdetail("Hashing a password takes %u kB.", memory_kb),
					errhint("Lower billing.max_password_hashers or billing.password_memory."),
					errhidestmt(true), errhidecontext(true)));
}

/*
 * The argon2id hash of a password at the current cost, in the PHC string format,
 * allocated in the current memory context. Waits for a turn; once begun, it
 * cannot be interrupted (some 70 ms at the default cost). Raises 22023 for a
 * password above PASSWORD_MAX_BYTES and 53200 if the memory cannot be had.
 */
char *
password_hash(const text *password)
{
	char *hash = palloc0(crypto_pwhash_STRBYTES);
	uint32 memory = password_memory;
	PasswordSecret secret;
	bool too_long;
	bool hashed;
	int slot;

	password_require_sodium();
	slot = password_slot_take();
	password_read(password, &secret);
	too_long = secret.too_long;
	hashed = !too_long &&
			 crypto_pwhash_str_alg(hash, secret.bytes, secret.length, password_passes,
								   (size_t) memory * 1024, crypto_pwhash_ALG_ARGON2ID13) == 0;
	password_forget(&secret);
	password_slot_release(slot);

	if (too_long)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("password is too long"),
						errdetail("At most %d bytes of UTF-8 are accepted.", PASSWORD_MAX_BYTES),
						errhint("Choose a shorter one."), errhidestmt(true), errhidecontext(true)));
	if (!hashed)
		password_out_of_memory(memory);
	return hash;
}

/*
 * Whether a stored hash may be verified: its memory within the limit, and its
 * work within what the limit is at eight passes, so that a hash that somebody
 * wrote into the table can take neither the memory nor a processor away.
 */
static bool
password_is_affordable(const Argon2Hash *stored)
{
	uint64 limit = Max(password_memory_limit, password_memory);
	uint64 work = limit * Max(8, password_passes);

	return stored->memory_kb <= limit && (uint64) stored->memory_kb * stored->passes <= work;
}

/* To the log only, and without the statement, which may contain the password. */
static void
password_report_unusable(const Argon2Hash *stored, bool parsed)
{
	if (!parsed)
		ereport(LOG,
				(errmsg("a stored password hash cannot be verified"),
				 errdetail("It is not an argon2id or argon2i hash of version 19 in PHC format."),
				 errhint("Set a new password for the user."), errhidestmt(true),
				 errhidecontext(true)));
	else
		ereport(LOG, (errmsg("a stored password hash is too costly to be verified"),
					  errdetail("It takes %u kB and %u passes.", stored->memory_kb, stored->passes),
					  errhint("Raise billing.password_memory_limit, or set a new password for the "
							  "user."),
					  errhidestmt(true), errhidecontext(true)));
}

/* What an unknown user is compared with: as costly as a new hash, and equal to nothing. */
static void
password_make_dummy(Argon2Hash *dummy)
{
	memset(dummy, 0, sizeof(*dummy));
	dummy->is_own_form = true;
	dummy->memory_kb = password_memory;
	dummy->passes = password_passes;
}

static bool
password_choose_target(const char *hash_or_null, Argon2Hash *target)
{
	bool parsed;

	if (hash_or_null != NULL)
	{
		parsed = argon2_parse(hash_or_null, target);
		if (parsed && password_is_affordable(target))
			return true;
		password_report_unusable(target, parsed);
	}
	password_make_dummy(target);
	return false;
}

/*
 * Whether the password is that of the stored hash. With NULL (an unknown user, or
 * one without a password), and with a hash that cannot be verified, the answer is
 * false after the same wait and the same work at the current cost. *needs_rehash
 * is set, only along with true, when the hash is not argon2id or its memory or
 * passes are below the settings. Raises 53200 if the memory cannot be had:
 * that is no wrong password, and must not count as a failed login.
 */
bool
password_verify(const char *hash_or_null, const text *password, bool *needs_rehash)
{
	PasswordSecret secret;
	Argon2Hash target;
	Argon2Verdict verdict;
	bool usable;
	bool matches;
	int slot;

	password_require_sodium();
	usable = password_choose_target(hash_or_null, &target);
	slot = password_slot_take();
	password_read(password, &secret);
	verdict = argon2_verify(&target, hash_or_null, secret.bytes, secret.length);
	usable = usable && !secret.too_long;
	password_forget(&secret);
	password_slot_release(slot);

	if (verdict == ARGON2_OUT_OF_MEMORY)
		password_out_of_memory(target.memory_kb);
	matches = verdict == ARGON2_MATCHES && usable;
	*needs_rehash =
		matches && (!target.is_argon2id || target.memory_kb < (uint32) password_memory ||
					target.passes < (uint32) password_passes);
	return matches;
}
