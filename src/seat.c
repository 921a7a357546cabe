/*
 * seat.c
 *	  How many users an account may have, and who keeps access when it has more.
 */
#include "postgres.h"

#include "probe.h"
#include "user.h"

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

/* Admins first, then the earliest added. */
static bool
precedes(Probe *probe, const AccountUser *user)
{
	bool admin = strcmp(probe_text(probe, USER_ROLE), "admin") == 0;
	bool user_admin = strcmp(user->role, "admin") == 0;
	TimestampTz added_at = probe_time(probe, USER_ADDED_AT);
	pg_uuid_t id = probe_uuid(probe, USER_USER_ID);

	if (admin != user_admin)
		return admin;
	if (added_at != user->added_at)
		return added_at < user->added_at;
	return memcmp(id.data, user->user_id.data, UUID_LEN) < 0;
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
		count += occupies_seat(&probe) && precedes(&probe, user);
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
