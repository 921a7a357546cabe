/*
 * seat_room.c
 *	  Taking a seat: the locks under which seats are counted, and the limit.
 */
#include "postgres.h"

#include "errors.h"
#include "identifier.h"
#include "lock.h"
#include "user.h"

/*
 * Plans cannot be taken away while the tokens' lock is held, and nobody else
 * takes a seat. Read the clock and the rows after this, with a new snapshot.
 */
void
seat_lock(const pg_uuid_t *account)
{
	lock_account(account, LOCK_TOKENS, RowExclusiveLock);
	lock_account(account, LOCK_SEATS, ExclusiveLock);
}

static void
raise_limit_reached(const Holdings *holdings, int64 users, int64 limit, const char *plan_code)
{
	char *allowed =
		plan_code == NULL
			? psprintf("Without any plan an account may have " INT64_FORMAT " user", limit)
			: psprintf("The plan \"%s\" allows " INT64_FORMAT " users", plan_code, limit);

	ereport(ERROR,
			(errcode(ERRCODE_BILLING_USER_LIMIT_REACHED), errmsg("user limit reached"),
			 errdetail("%s; account %s would have " INT64_FORMAT ".", allowed,
					   identifier_text(&holdings->account->id), users),
			 errhint("Upgrade to a plan that allows more users, or disable or remove a user.")));
}

/* PB007 if so many users are more than the plans in force allow. */
void
seat_require(Holdings *holdings, int64 users)
{
	const char *plan_code;
	int64 limit = seat_limit_of(holdings, &plan_code);

	if (limit != SEATS_UNLIMITED && users > limit)
		raise_limit_reached(holdings, users, limit, plan_code);
}
