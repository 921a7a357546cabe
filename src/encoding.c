#include "postgres.h"

#include "catalog/namespace.h"
#include "encoding.h"

static bool
encoding_is_ascii(const char *source, int length)
{
	for (int i = 0; i < length; i++)
	{
		if (IS_HIGHBIT_SET(source[i]))
			return false;
	}
	return true;
}

/*
 * Converts into a buffer of ENCODING_UTF8_SIZE(length) bytes. Returns the
 * number of bytes before the terminator, or -1 if there is no conversion.
 */
static int
encoding_convert(const char *source, int length, int from, int to, char *target)
{
	Oid conversion;
	int converted;

	/* ASCII is the same in every encoding of a server, some of which have no other conversion. */
	if (encoding_is_ascii(source, length))
	{
		memcpy(target, source, length);
		target[length] = '\0';
		return length;
	}
	/* The bytes of SQL_ASCII have no meaning of their own: take them for UTF-8 if they can be. */
	if (from == to || from == PG_SQL_ASCII || to == PG_SQL_ASCII)
	{
		memcpy(target, source, length);
		target[length] = '\0';
		return pg_verify_mbstr(PG_UTF8, source, length, true) ? length : -1;
	}

	conversion = FindDefaultConversionProc(from, to);
	if (!OidIsValid(conversion))
		return -1;
	converted = pg_do_encoding_conversion_buf(
		conversion, from, to, unconstify(unsigned char *, (const unsigned char *) source), length,
		(unsigned char *) target, ENCODING_UTF8_SIZE(length), true);
	return converted == length ? (int) strlen(target) : -1;
}

/*
 * Writes the UTF-8 form of text in the database's encoding into a buffer of
 * ENCODING_UTF8_SIZE(length) bytes that the caller owns, and so can erase.
 * Returns the number of bytes before the terminator, or -1 if there is no such form.
 */
int
encoding_to_utf8(const char *source, int length, char *utf8)
{
	return encoding_convert(source, length, GetDatabaseEncoding(), PG_UTF8, utf8);
}

/* The same text in the database's encoding, or NULL if it cannot be written in it. */
char *
encoding_from_utf8(const char *utf8, int length)
{
	char *target = palloc(ENCODING_UTF8_SIZE(length));

	if (encoding_convert(utf8, length, PG_UTF8, GetDatabaseEncoding(), target) < 0)
		return NULL;
	return target;
}
