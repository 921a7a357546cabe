/*
 * erase.c
 *	  Erasing a person's data while the account's records stay.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/snapmgr.h"

#include "argument.h"
#include "audit.h"
#include "call.h"
#include "event.h"
#include "login_client.h"
#include "query.h"
#include "spend.h"
#include "user.h"

PG_FUNCTION_INFO_V1(billing_erase_user);

static SqlQuery remove_user = {.sql = "UPDATE billing.account_user SET removed_at = $3 "
									  "WHERE account_id = $1 AND user_id = $2 "
									  "AND removed_at IS NULL",
							   .nargs = 3,
							   .argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID}};

/* Removed ones as well; an error if there never was such a user. */
static void
find_any_user(AccountUser *user, const pg_uuid_t *id)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool found = user_read(user, id, snapshot);

	UnregisterSnapshot(snapshot);
	if (!found)
		user_raise_not_found(id);
}

/*
 * billing.erase_user(user_id uuid) → void
 *
 * Erases what is known of a person: removes the user if that has not been done,
 * which erases email and password hash, and forgets clients and failed logins.
 * The id stays, in the ledger and the events too, and says nothing by itself.
 * Again: the same. NULL: 22004; a user there never was: PB013; the last admin
 * while others remain: PB017.
 */
Datum
billing_erase_user(PG_FUNCTION_ARGS)
{
	Call call;
	const pg_uuid_t *id = argument_uuid(fcinfo, 0, "user_id");
	AccountUser user;
	Account account;
	TimestampTz now;
	EventDetail detail;

	spend_prevent("billing.erase_user()");
	call_enter(&call);
	find_any_user(&user, id);
	seat_lock(&user.account_id);
	account_require(&account, &user.account_id);
	now = account_verb_time(&account);
	query_execute(&remove_user,
				  (NullableDatum[]){arg_uuid(&user.account_id), arg_uuid(id), arg_time(now)});
	login_client_forget(&user.account_id, id);
	event_detail_begin(&detail);
	event_detail_uuid(&detail, "user_id", id);
	event_write(&user.account_id, "user_erased", now, &detail);
	audit_write(fcinfo, &call, &user.account_id);
	call_leave(&call);
	PG_RETURN_VOID();
}
