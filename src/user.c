/*
 * user.c
 *	  Account users as the rules read them.
 */
#include "postgres.h"

#include "utils/snapmgr.h"

#include "binding.h"
#include "errors.h"
#include "identifier.h"
#include "user.h"

/* The row that the probe stands on. */
void
user_from_probe(AccountUser *user, Probe *probe)
{
	user->account_id = probe_uuid(probe, USER_ACCOUNT_ID);
	user->user_id = probe_uuid(probe, USER_USER_ID);
	user->role = probe_text(probe, USER_ROLE);
	user->added_at = probe_time(probe, USER_ADDED_AT);
	user->disabled = !probe_is_null(probe, USER_DISABLED_AT);
	user->removed = !probe_is_null(probe, USER_REMOVED_AT);
}

/* False: no such user, ever, or none that the transaction may know of; removed users are found. */
bool
user_read(AccountUser *user, const pg_uuid_t *user_id, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	bool found;

	probe_key_uuid(&key, 1, user_id);
	probe_begin(&probe, INDEX_USER_ID, snapshot, &key, 1);
	found = probe_next(&probe);
	if (found)
		user_from_probe(user, &probe);
	probe_end(&probe);
	return found && binding_admits(&user->account_id);
}

/* The newest committed row of a user that is not removed; an error if there is none. */
void
user_require(AccountUser *user, const pg_uuid_t *user_id)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool found = user_read(user, user_id, snapshot);

	UnregisterSnapshot(snapshot);
	if (!found || user->removed)
		user_raise_not_found(user_id);
}

void
user_raise_not_found(const pg_uuid_t *user_id)
{
	ereport(ERROR, (errcode(ERRCODE_BILLING_USER_NOT_FOUND), errmsg("user does not exist"),
					errdetail("There is no user %s, or it was removed.", identifier_text(user_id)),
					errhint("The view billing.account_member lists the users of an account.")));
}

/* How many users the account ever had, removed ones included; counts no further than at_most. */
int64
user_rows(const pg_uuid_t *account, int64 at_most, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	int64 count = 0;

	probe_key_uuid(&key, 1, account);
	probe_begin(&probe, INDEX_USER_PKEY, snapshot, &key, 1);
	while (count < at_most && probe_next(&probe))
		count++;
	probe_end(&probe);
	return count;
}
