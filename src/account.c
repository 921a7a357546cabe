/*
 * account.c
 *	  The account's row as checks and verbs need it, and its clock.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/snapmgr.h"

#include "account.h"
#include "binding.h"
#include "errors.h"
#include "identifier.h"
#include "probe.h"

/* False: no such account. id NULL counts as unknown, and so does one that the transaction is not bound to. */
bool
account_read(Account *account, const pg_uuid_t *id, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	bool found;

	if (id == NULL || !binding_admits(id))
		return false;
	probe_key_uuid(&key, 1, id);
	probe_begin(&probe, INDEX_ACCOUNT_PKEY, snapshot, &key, 1);
	found = probe_next(&probe);
	if (found)
	{
		account->id = *id;
		account->suspended = !probe_is_null(&probe, ACCOUNT_SUSPENDED_AT);
		account->closed = !probe_is_null(&probe, ACCOUNT_CLOSED_AT);
		account->created_at = probe_time(&probe, ACCOUNT_CREATED_AT);
		account->is_test = probe_bool(&probe, ACCOUNT_IS_TEST);
		account->has_test_clock = !probe_is_null(&probe, ACCOUNT_TEST_CLOCK);
		account->test_clock =
			account->has_test_clock ? probe_time(&probe, ACCOUNT_TEST_CLOCK) : DT_NOBEGIN;
	}
	probe_end(&probe);
	return found;
}

/* The newest committed row, after a lock was taken; an error if there is none. */
void
account_require(Account *account, const pg_uuid_t *id)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool found = account_read(account, id, snapshot);

	UnregisterSnapshot(snapshot);
	if (!found)
		account_raise_not_found(id);
}

/* For verbs that spend or add. */
void
account_require_usable(Account *account, const pg_uuid_t *id)
{
	account_require(account, id);
	if (account->suspended)
		account_raise_suspended(account);
}

/* IANA name of the zone in which the account's periods are counted; palloc'd. */
char *
account_time_zone(const pg_uuid_t *id)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Probe probe;
	ScanKeyData key;
	char *zone;

	probe_key_uuid(&key, 1, id);
	probe_begin(&probe, INDEX_ACCOUNT_PKEY, snapshot, &key, 1);
	if (!probe_next(&probe))
		account_raise_not_found(id);
	zone = probe_text(&probe, ACCOUNT_TIME_ZONE);
	probe_end(&probe);
	UnregisterSnapshot(snapshot);
	return zone;
}

void
account_raise_not_found(const pg_uuid_t *id)
{
	ereport(ERROR, (errcode(ERRCODE_BILLING_ACCOUNT_NOT_FOUND), errmsg("account does not exist"),
					errdetail("There is no account %s.", identifier_text(id)),
					errhint("Create it with billing.create_account.")));
}

void
account_raise_suspended(const Account *account)
{
	ereport(ERROR,
			(errcode(ERRCODE_BILLING_ACCOUNT_SUSPENDED),
			 errmsg(account->closed ? "account is closed" : "account is suspended"),
			 errdetail("Account %s may not spend or add anything.", identifier_text(&account->id)),
			 errhint(account->closed
						 ? "A closed account stays closed; create another one."
						 : "An administrator can reinstate it with billing.reinstate_account.")));
}

TimestampTz
account_check_time(const Account *account)
{
	return account->has_test_clock ? account->test_clock : GetCurrentStatementStartTimestamp();
}

TimestampTz
account_verb_time(const Account *account)
{
	return account->has_test_clock ? account->test_clock : GetCurrentTimestamp();
}
