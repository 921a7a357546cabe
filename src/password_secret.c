#include "postgres.h"

#include <sodium.h>

#include "access/detoast.h"
#include "compat.h"
#include "encoding.h"
#include "fmgr.h"
#include "password.h"

/*
 * What is hashed is the UTF-8 form, so that a password still fits its hash after
 * a restore into a database of another encoding. It is not normalized:
 * PostgreSQL's normalizer leaves copies in memory that cannot be erased.
 */
static void
password_read_bytes(const char *bytes, int length, PasswordSecret *secret)
{
	char utf8[ENCODING_UTF8_SIZE(PASSWORD_MAX_BYTES)];
	int converted = encoding_to_utf8(bytes, length, utf8);

	secret->is_utf8 = converted >= 0;
	if (!secret->is_utf8)
	{
		memcpy(utf8, bytes, length);
		converted = length;
	}
	if (converted > PASSWORD_MAX_BYTES)
	{
		secret->too_long = true;
		converted = PASSWORD_MAX_BYTES;
	}
	memcpy(secret->bytes, utf8, converted);
	secret->length = converted;
	sodium_memzero(utf8, sizeof(utf8));
}

/*
 * Copies a password to where it can be erased; pair it with password_forget(),
 * with nothing between them that may raise an error. One raised here has left
 * nothing behind.
 *
 * One that is too long is marked and cut, not read: hashing what is left of it
 * takes as long as any other.
 */
void
password_read(const text *password, PasswordSecret *secret)
{
	struct varlena *given = unconstify(text *, password);
	struct varlena *plain;

	memset(secret, 0, sizeof(*secret));
	secret->is_utf8 = true;
	if (toast_raw_datum_size(PointerGetDatum(given)) - VARHDRSZ > PASSWORD_MAX_BYTES)
	{
		secret->too_long = true;
		return;
	}
	plain = pg_detoast_datum_packed(given);
	PG_TRY();
	{
		password_read_bytes(VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain), secret);
	}
	PG_FINALLY();
	{
		if (plain != given)
		{
			sodium_memzero(VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain));
			pfree(plain);
		}
	}
	PG_END_TRY();
}

void
password_forget(PasswordSecret *secret)
{
	sodium_memzero(secret, sizeof(*secret));
}
