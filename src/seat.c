/*
 * seat.c
 *	  How many users an account may have, and who keeps access when it has more.
 */
#include "postgres.h"

#include "utils/snapmgr.h"

#include "user.h"

PG_FUNCTION_INFO_V1(billing_seats_allowed);

/*
 * The largest limit of the plans in force, else the free plan's. NULL means no
 * limit for free and subscription plans and says nothing for token plans. With
 * no plan at all it is 1, so that somebody can pay. *plan becomes the one that
 * says so; NULL: none does.
 */
int64
seat_limit_of(Holdings *holdings, const char **plan_code)
{
	int64 largest = -1;
	PlanVersion *free_plan;

	*plan_code = NULL;
	for (int i = 0; i < holdings->count; i++)
	{
		PlanVersion *plan;

		if (!holdings->items[i].in_force)
			continue;
		plan = holding_version(holdings, &holdings->items[i]);
		if (plan->user_limit < 0 && plan->kind == PLAN_SUBSCRIPTION)
			return SEATS_UNLIMITED;
		if (plan->user_limit > largest)
		{
			largest = plan->user_limit;
			*plan_code = plan->code;
		}
	}
	if (largest >= 0)
		return largest;
	free_plan = plan_free(holdings->snapshot);
	if (free_plan == NULL)
		return 1;
	*plan_code = free_plan->code;
	return free_plan->user_limit < 0 ? SEATS_UNLIMITED : free_plan->user_limit;
}

int64
seat_limit(Holdings *holdings)
{
	const char *plan_code;

	return seat_limit_of(holdings, &plan_code);
}

static bool
occupies_seat(Probe *probe)
{
	return probe_is_null(probe, USER_DISABLED_AT) && probe_is_null(probe, USER_REMOVED_AT);
}

int64
seat_count(const pg_uuid_t *account, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	int64 count = 0;

	probe_key_uuid(&key, 1, account);
	probe_begin(&probe, INDEX_USER_PKEY, snapshot, &key, 1);
	while (probe_next(&probe))
		count += occupies_seat(&probe);
	probe_end(&probe);
	return count;
}

/* Who keeps access when there are more users than seats: admins first, then the earliest added. */
bool
seat_precedes(const AccountUser *a, const AccountUser *b)
{
	bool a_admin = strcmp(a->role, "admin") == 0;
	bool b_admin = strcmp(b->role, "admin") == 0;

	if (a_admin != b_admin)
		return a_admin;
	if (a->added_at != b->added_at)
		return a->added_at < b->added_at;
	return memcmp(a->user_id.data, b->user_id.data, UUID_LEN) < 0;
}

static int64
users_before(const AccountUser *user, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	int64 count = 0;

	probe_key_uuid(&key, 1, &user->account_id);
	probe_begin(&probe, INDEX_USER_PKEY, snapshot, &key, 1);
	while (probe_next(&probe))
	{
		AccountUser other;

		if (!occupies_seat(&probe))
			continue;
		user_from_probe(&other, &probe);
		count += seat_precedes(&other, user);
		pfree(other.role);
	}
	probe_end(&probe);
	return count;
}

/* Why the user itself is kept out, whatever the plan grants; REASON_ALLOWED: it is not. */
Reason
user_denial(const AccountUser *user, Holdings *holdings)
{
	int64 limit;

	if (user->removed)
		return REASON_USER_NOT_FOUND;
	if (user->disabled)
		return REASON_USER_DISABLED;
	limit = seat_limit(holdings);
	if (limit != SEATS_UNLIMITED && users_before(user, holdings->snapshot) >= limit)
		return REASON_USER_OVER_LIMIT;
	return REASON_ALLOWED;
}

/*
 * billing.seats_allowed(account_id uuid) → bigint
 *
 * How many users the account may have now: the largest limit of the plans in
 * force, else the free plan's; with no plan at all 1. NULL: no limit. 0 for a
 * NULL or unknown account. Raises nothing.
 */
Datum
billing_seats_allowed(PG_FUNCTION_ARGS)
{
	Snapshot snapshot = GetActiveSnapshot();
	Account account;
	Holdings holdings;
	int64 limit;

	if (PG_ARGISNULL(0) || !account_read(&account, PG_GETARG_UUID_P(0), snapshot))
		PG_RETURN_INT64(0);
	holding_load_due(&holdings, &account, account_check_time(&account), snapshot);
	limit = seat_limit(&holdings);
	if (limit == SEATS_UNLIMITED)
		PG_RETURN_NULL();
	PG_RETURN_INT64(limit);
}
