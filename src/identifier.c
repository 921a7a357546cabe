/*
 * identifier.c
 *	  Ids of tenants' rows: time-ordered uuids that carry their account's bucket.
 *
 * Layout of RFC 9562, version 7: 48 bits of milliseconds, 12 bits of the
 * fraction of a millisecond, 62 bits that are random save for the last byte,
 * which is the account's, so that any id tells its account's bucket.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "identifier.h"

#define UNIX_EPOCH_OFFSET                                                                          \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * USECS_PER_SEC)

static void
generate(pg_uuid_t *id)
{
	/* 4096 steps a millisecond, and never the same twice in a backend */
	static uint64 last = 0;
	uint64 micros = (uint64) (GetCurrentTimestamp() + UNIX_EPOCH_OFFSET);
	uint64 ticks = micros / 1000 * 4096 + micros % 1000 * 4096 / 1000;

	if (ticks <= last)
		ticks = last + 1;
	last = ticks;

	if (!pg_strong_random(id->data + 8, UUID_LEN - 8))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values")));
	for (int i = 0; i < 6; i++)
		id->data[i] = (unsigned char) (ticks >> 12 >> (40 - 8 * i));
	id->data[6] = 0x70 | ((ticks >> 8) & 0x0F);
	id->data[7] = ticks & 0xFF;
	id->data[8] = 0x80 | (id->data[8] & 0x3F);
}

void
identifier_new_account(pg_uuid_t *id)
{
	generate(id);
}

void
identifier_new(pg_uuid_t *id, const pg_uuid_t *account)
{
	generate(id);
	id->data[UUID_LEN - 1] = account->data[UUID_LEN - 1];
}

/*
 * Only versions 4 and 7 have a random last byte; others would put every account
 * into a few buckets.
 */
void
identifier_check_account(const pg_uuid_t *account)
{
	int version = account->data[6] >> 4;

	if ((version != 4 && version != 7) || (account->data[8] & 0xC0) != 0x80)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("account_id must be a uuid of version 4 or 7"),
						errdetail("%s is of version %d.", identifier_text(account), version),
						errhint("Leave account_id out, or use gen_random_uuid().")));
}

char *
identifier_text(const pg_uuid_t *id)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));
}
