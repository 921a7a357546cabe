/*
 * roster.c
 *	  All users of an account at once, and what keeps each of them out.
 *
 * Asking for one user counts those before it, so asking for each of them would
 * take the square of their number.
 */
#include "postgres.h"

#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "access.h"

PG_FUNCTION_INFO_V1(billing_roster);

typedef struct Roster
{
	int count;
	AccountUser *users; /* in the order of their claim to a seat */
} Roster;

static int
compare_claims(const void *a, const void *b)
{
	return seat_precedes(a, b) ? -1 : seat_precedes(b, a) ? 1 : 0;
}

static void
load_roster(Roster *roster, const pg_uuid_t *account, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	int capacity = 8;

	roster->count = 0;
	roster->users = palloc(sizeof(AccountUser) * capacity);
	probe_key_uuid(&key, 1, account);
	probe_begin(&probe, INDEX_USER_PKEY, snapshot, &key, 1);
	while (probe_next(&probe))
	{
		if (roster->count == capacity)
		{
			capacity *= 2;
			roster->users = repalloc_huge(roster->users, sizeof(AccountUser) * capacity);
		}
		user_from_probe(&roster->users[roster->count], &probe);
		if (!roster->users[roster->count].removed)
			roster->count++;
	}
	probe_end(&probe);
	qsort(roster->users, roster->count, sizeof(AccountUser), compare_claims);
}

static void
put_user(ReturnSetInfo *rsinfo, const AccountUser *user, bool has_seat, Reason account_reason)
{
	Reason own = user->disabled ? REASON_USER_DISABLED
				 : has_seat     ? REASON_ALLOWED
								: REASON_USER_OVER_LIMIT;
	Datum values[3];
	bool nulls[3] = {false};

	values[0] = UUIDPGetDatum(&user->user_id);
	values[1] = BoolGetDatum(has_seat);
	values[2] = CStringGetTextDatum(reason_name(reason_first(account_reason, own)));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * billing.roster(account_id uuid) → SETOF (user_id uuid, has_seat boolean, reason text)
 *
 * The account's users that are not removed, by their claim to a seat: admins
 * first, then the earliest added. has_seat: enabled and within the seats that
 * the plans in force allow. reason: as check_access(account_id, NULL, user_id)
 * gives it. No row for a NULL or unknown account. Raises nothing.
 */
Datum
billing_roster(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Snapshot snapshot = GetActiveSnapshot();
	Account account;
	Holdings holdings;
	Access access;
	Roster roster;
	int64 limit;
	int64 taken = 0;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || !account_read(&account, PG_GETARG_UUID_P(0), snapshot))
		return (Datum) 0;
	holding_load_due(&holdings, &account, account_check_time(&account), snapshot);
	access_decide(&access, &holdings, NULL, NULL);
	limit = seat_limit(&holdings);
	load_roster(&roster, &account.id, snapshot);
	for (int i = 0; i < roster.count; i++)
	{
		AccountUser *user = &roster.users[i];
		bool has_seat = !user->disabled && (limit == SEATS_UNLIMITED || taken < limit);

		taken += has_seat;
		put_user(rsinfo, user, has_seat, access.reason);
	}
	return (Datum) 0;
}
