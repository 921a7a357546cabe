#include "postgres.h"

#include <sodium.h>

#include "casefold.h"
#include "encoding.h"
#include "password.h"
#include "utils/builtins.h"

typedef enum PasswordFault
{
	PASSWORD_ACCEPTED,
	PASSWORD_TOO_SHORT,
	PASSWORD_TOO_LONG,
	PASSWORD_COMMON,
	PASSWORD_SEQUENCE,
	PASSWORD_IS_EMAIL,
	PASSWORD_NOT_IN_ENCODING
} PasswordFault;

/* Bytes of UTF-8 whose folding can be a password's that is short enough to be compared. */
#define PASSWORD_FOLDED_SIZE (PASSWORD_MAX_BYTES * 3 + 1)

/* Writes the case-folded form; no folding has more than three times the bytes. */
static void
password_fold(const char *utf8, char folded[PASSWORD_FOLDED_SIZE])
{
	char *end = folded;

	while (*utf8 != '\0')
	{
		pg_wchar to[CASEFOLD_MAX_EXPANSION];
		int count = casefold_char(utf8_to_unicode((const unsigned char *) utf8), to);

		utf8 += pg_utf_mblen((const unsigned char *) utf8);
		for (int i = 0; i < count; i++)
		{
			unicode_to_utf8(to[i], (unsigned char *) end);
			end += pg_utf_mblen((unsigned char *) end);
		}
	}
	*end = '\0';
}

static int
password_count_characters(const PasswordSecret *secret)
{
	int count = 0;

	for (int i = 0; i < secret->length; i += pg_utf_mblen((unsigned char *) secret->bytes + i))
		count++;
	return count;
}

/* Whether it is one character repeated, or a run such as 12345678 or hgfedcba. */
static bool
password_is_sequence(const char *folded)
{
	const unsigned char *c = (const unsigned char *) folded;
	const unsigned char *next = c + pg_utf_mblen(c);
	int step = (int) utf8_to_unicode(next) - (int) utf8_to_unicode(c);

	if (step < -1 || step > 1)
		return false;
	for (; *next != '\0'; c = next, next += pg_utf_mblen(next))
	{
		if ((int) utf8_to_unicode(next) - (int) utf8_to_unicode(c) != step)
			return false;
	}
	return true;
}

/* Whether it is the address or its local part; both are folded. */
static bool
password_is_email(const char *password, const char *email)
{
	size_t local = strcspn(email, "@");

	if (strncmp(password, email, local) != 0)
		return false;
	return password[local] == '\0' || strcmp(password + local, email + local) == 0;
}

static PasswordFault
password_judge(const PasswordSecret *secret, const char *email)
{
	char folded[PASSWORD_FOLDED_SIZE];
	PasswordFault fault = PASSWORD_ACCEPTED;

	if (secret->too_long)
		return PASSWORD_TOO_LONG;
	if (!secret->is_utf8)
		return PASSWORD_NOT_IN_ENCODING;
	if (password_count_characters(secret) < password_min_length)
		return PASSWORD_TOO_SHORT;

	password_fold(secret->bytes, folded);
	if (password_is_common(folded))
		fault = PASSWORD_COMMON;
	else if (password_is_sequence(folded))
		fault = PASSWORD_SEQUENCE;
	else if (password_is_email(folded, email))
		fault = PASSWORD_IS_EMAIL;
	sodium_memzero(folded, sizeof(folded));
	return fault;
}

/* The folded UTF-8 form of an address, empty where there is none to compare with. */
static char *
password_fold_email(const text *email)
{
	char *folded = palloc0(PASSWORD_FOLDED_SIZE);
	char *given;
	char *utf8;

	if (email == NULL)
		return folded;
	given = text_to_cstring(email);
	utf8 = palloc(ENCODING_UTF8_SIZE(strlen(given)));
	if (strlen(given) <= PASSWORD_MAX_BYTES)
	{
		int length = encoding_to_utf8(given, strlen(given), utf8);

		if (length >= 0 && length <= PASSWORD_MAX_BYTES)
			password_fold(utf8, folded);
	}
	return folded;
}

/* The statement and its context are kept out of the log: they may contain the password. */
static void
password_refuse(PasswordFault fault)
{
	static const char *const details[] = {
		[PASSWORD_COMMON] = "It is one of the most common passwords.",
		[PASSWORD_SEQUENCE] = "It is one character repeated, or a run of neighbouring ones.",
		[PASSWORD_IS_EMAIL] = "It is the email address or the part of it before the @.",
		[PASSWORD_NOT_IN_ENCODING] = "It contains a character that has no UTF-8 form.",
	};

	if (fault == PASSWORD_TOO_SHORT)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("password is too short"),
						errdetail("At least %d characters are required.", password_min_length),
						errhint("Choose a longer one, such as a sentence of several words."),
						errhidestmt(true), errhidecontext(true)));
	if (fault == PASSWORD_TOO_LONG)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("password is too long"),
						errdetail("At most %d bytes of UTF-8 are accepted.", PASSWORD_MAX_BYTES),
						errhint("Choose a shorter one."), errhidestmt(true), errhidecontext(true)));
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("password is not acceptable"),
					errdetail("%s", details[fault]),
					errhint("Choose another, such as a sentence of several words."),
					errhidestmt(true), errhidecontext(true)));
}

/*
 * Raises 22023 unless the password may be set: billing.password_min_length
 * characters, at most PASSWORD_MAX_BYTES, not among the most common, no run,
 * and not the address (NULL: none to compare with), whatever its case. These are
 * the checks of NIST SP 800-63B, 3.1.1.2; rules of composition are not.
 */
void
password_check_strength(const text *password, const text *email)
{
	char *folded_email = password_fold_email(email);
	PasswordSecret secret;
	PasswordFault fault;

	password_read(password, &secret);
	fault = password_judge(&secret, folded_email);
	password_forget(&secret);
	if (fault != PASSWORD_ACCEPTED)
		password_refuse(fault);
}
