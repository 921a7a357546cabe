#include "postgres.h"

#include "casefold.h"
#include "email.h"
#include "encoding.h"
#include "utils/builtins.h"

/* RFC 5321, 4.5.3.1, and its erratum 1690; octets of the UTF-8 form (RFC 6531). */
#define EMAIL_MAX_BYTES       254
#define EMAIL_MAX_LOCAL_BYTES 64
#define EMAIL_MAX_LABEL_BYTES 63

/* What RFC 5322, 3.2.3, lets an unquoted local part be made of, beside letters, digits and dots. */
#define EMAIL_LOCAL_SPECIALS "!#$%&'*+-/=?^_`{|}~"

#define EMAIL_IDEOGRAPHIC_FULL_STOP 0x3002

typedef enum EmailFault
{
	EMAIL_VALID,
	EMAIL_EMPTY,
	EMAIL_TOO_LONG,
	EMAIL_LOCAL_TOO_LONG,
	EMAIL_LABEL_TOO_LONG,
	EMAIL_NO_SINGLE_AT,
	EMAIL_BAD_LOCAL,
	EMAIL_BAD_DOMAIN,
	EMAIL_BAD_CHARACTER,
	EMAIL_AMBIGUOUS,
	EMAIL_NOT_IN_ENCODING
} EmailFault;

/* Every detail is one of these: what was given may be a password in the wrong argument. */
static const char *const email_fault_details[] = {
	[EMAIL_VALID] = NULL,
	[EMAIL_EMPTY] = "It is empty.",
	[EMAIL_TOO_LONG] = "It is longer than 254 bytes.",
	[EMAIL_LOCAL_TOO_LONG] = "The part before the @ is longer than 64 bytes.",
	[EMAIL_LABEL_TOO_LONG] = "A label of the domain is longer than 63 bytes.",
	[EMAIL_NO_SINGLE_AT] = "It does not contain exactly one @.",
	[EMAIL_BAD_LOCAL] = "The part before the @ is empty, or has a dot at an end or after "
						"another dot, or a character that an address may only have in quotes.",
	[EMAIL_BAD_DOMAIN] = "The part after the @ is not a domain: labels of letters, digits and "
						 "inner hyphens, separated by single dots.",
	[EMAIL_BAD_CHARACTER] = "It contains white space or a character that is invisible, "
							"unassigned or for private use.",
	[EMAIL_AMBIGUOUS] = "It contains a character that stands for punctuation, a space or several "
						"characters of an address.",
	[EMAIL_NOT_IN_ENCODING] = "It contains a character that cannot be compared in the encoding "
							  "of this database.",
};

static bool
email_is_ascii_alnum(pg_wchar c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static EmailFault
email_check_local(const char *local, size_t length)
{
	if (length > EMAIL_MAX_LOCAL_BYTES)
		return EMAIL_LOCAL_TOO_LONG;
	for (size_t i = 0; i < length; i++)
	{
		char c = local[i];
		bool inner_dot = c == '.' && i > 0 && i < length - 1 && local[i - 1] != '.';

		if (!inner_dot && !IS_HIGHBIT_SET(c) && !email_is_ascii_alnum((unsigned char) c) &&
			strchr(EMAIL_LOCAL_SPECIALS, c) == NULL)
			return EMAIL_BAD_LOCAL;
	}
	return length == 0 ? EMAIL_BAD_LOCAL : EMAIL_VALID;
}

static EmailFault
email_check_label(const char *label, size_t length)
{
	if (length > EMAIL_MAX_LABEL_BYTES)
		return EMAIL_LABEL_TOO_LONG;
	if (length == 0 || label[0] == '-' || label[length - 1] == '-')
		return EMAIL_BAD_DOMAIN;
	for (size_t i = 0; i < length; i++)
	{
		if (label[i] != '-' && !IS_HIGHBIT_SET(label[i]) &&
			!email_is_ascii_alnum((unsigned char) label[i]))
			return EMAIL_BAD_DOMAIN;
	}
	return EMAIL_VALID;
}

/* A domain without a dot is accepted: mail inside a network has such addresses. */
static EmailFault
email_check_domain(const char *domain)
{
	for (;;)
	{
		size_t length = strcspn(domain, ".");
		EmailFault fault = email_check_label(domain, length);

		if (fault != EMAIL_VALID || domain[length] == '\0')
			return fault;
		domain += length + 1;
	}
}

static EmailFault
email_check_form(const char *utf8, size_t length)
{
	const char *at = strchr(utf8, '@');
	EmailFault fault;

	if (length == 0)
		return EMAIL_EMPTY;
	if (length > EMAIL_MAX_BYTES)
		return EMAIL_TOO_LONG;
	if (at == NULL || strchr(at + 1, '@') != NULL)
		return EMAIL_NO_SINGLE_AT;
	fault = email_check_local(utf8, at - utf8);
	return fault != EMAIL_VALID ? fault : email_check_domain(at + 1);
}

static pg_wchar *
email_decode(const char *utf8, size_t length)
{
	pg_wchar *decoded = palloc((length + 1) * sizeof(pg_wchar));
	const unsigned char *next = (const unsigned char *) utf8;
	size_t count = 0;

	while (*next != '\0')
	{
		decoded[count++] = utf8_to_unicode(next);
		next += pg_utf_mblen(next);
	}
	decoded[count] = 0;
	return decoded;
}

static char *
email_encode(const pg_wchar *string)
{
	size_t count = 0;
	char *utf8;
	char *end;

	while (string[count] != 0)
		count++;
	utf8 = palloc(count * MAX_UNICODE_EQUIVALENT_STRING + 1);
	end = utf8;
	for (size_t i = 0; i < count; i++)
	{
		unicode_to_utf8(string[i], (unsigned char *) end);
		end += pg_utf_mblen((unsigned char *) end);
	}
	*end = '\0';
	return utf8;
}

static size_t
email_count_specials(const pg_wchar *string)
{
	size_t count = 0;

	for (; *string != 0; string++)
	{
		if ((*string < 0x80 && !email_is_ascii_alnum(*string)) ||
			*string == EMAIL_IDEOGRAPHIC_FULL_STOP)
			count++;
	}
	return count;
}

/*
 * The key must have the same structure as the address: a full-width @ or dot, or
 * a sign that decomposes to several characters, would make it another address.
 */
static EmailFault
email_fold(const char *utf8, size_t length, char **key)
{
	pg_wchar *given = email_decode(utf8, length);
	pg_wchar *folded;

	for (pg_wchar *c = given; *c != 0; c++)
	{
		if (!casefold_is_visible(*c))
			return EMAIL_BAD_CHARACTER;
		if (*c == EMAIL_IDEOGRAPHIC_FULL_STOP)
			return EMAIL_AMBIGUOUS;
	}
	folded = casefold_key(given);
	if (email_count_specials(given) != email_count_specials(folded))
		return EMAIL_AMBIGUOUS;

	*key = email_encode(folded);
	*key = encoding_from_utf8(*key, strlen(*key));
	return *key == NULL ? EMAIL_NOT_IN_ENCODING : EMAIL_VALID;
}

static EmailFault
email_examine(const char *email, char **key)
{
	/* No encoding needs more than four bytes for what is one in UTF-8. */
	char utf8[ENCODING_UTF8_SIZE(EMAIL_MAX_BYTES * MAX_MULTIBYTE_CHAR_LEN)];
	size_t given = strlen(email);
	int length;
	EmailFault fault;

	*key = NULL;
	if (given > EMAIL_MAX_BYTES * MAX_MULTIBYTE_CHAR_LEN)
		return EMAIL_TOO_LONG;
	length = encoding_to_utf8(email, (int) given, utf8);
	if (length < 0)
		return EMAIL_NOT_IN_ENCODING;
	for (int i = 0; i < length; i++)
	{
		if (utf8[i] == ' ' || (unsigned char) utf8[i] < ' ' || utf8[i] == 0x7F)
			return EMAIL_BAD_CHARACTER;
	}
	fault = email_check_form(utf8, length);
	return fault != EMAIL_VALID ? fault : email_fold(utf8, length, key);
}

/*
 * The address as given and, in *key, the string that is equal for addresses
 * that differ only in case or in compatibility forms; both in the database's
 * encoding. Raises 22023 for what is not an address: at most 254 bytes of
 * UTF-8, an unquoted local part of at most 64, one @, a domain of labels of at
 * most 63, visible characters only.
 */
char *
email_normalize(const text *email, char **key)
{
	char *given = text_to_cstring(email);
	EmailFault fault = email_examine(given, key);

	/* Out of the log with the statement: where an address is given, a password often is too. */
	if (fault != EMAIL_VALID)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid email address"),
						errdetail("%s", email_fault_details[fault]),
						errhint("Give an address such as name@example.com, without spaces around "
								"it, quotes or a display name."),
						errhidestmt(true), errhidecontext(true)));
	return given;
}

/* The key to search by, or NULL for what no stored user can have as an address. */
char *
email_lookup_key(const text *email)
{
	char *key;

	if (email_examine(text_to_cstring(email), &key) != EMAIL_VALID)
		return NULL;
	return key;
}
