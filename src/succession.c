/*
 * succession.c
 *	  Subscriptions that end early, take another one's place or follow it.
 *
 * What is cut keeps its rows: the period in course ends at the cut, periods that
 * had not begun, also those that began in that very instant, are void.
 * replaced_by names the successor: the one that has taken the place, or the one
 * that is scheduled for when the time is over and that moves when its
 * predecessor is renewed.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "utils/snapmgr.h"

#include "balance.h"
#include "event.h"
#include "period.h"
#include "query.h"
#include "succession.h"
#include "void.h"

static SqlQuery void_periods = {
	.sql = "UPDATE billing.subscription_period SET void = true WHERE account_id = $1 AND "
		   "subscription_id = $2 AND NOT void AND effective_at >= $3",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID}};

static SqlQuery end_period = {
	.sql = "UPDATE billing.subscription_period SET expires_at = $3 WHERE account_id = $1 AND "
		   "subscription_id = $2 AND NOT void AND effective_at < $3 AND expires_at > $3",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID}};

static SqlQuery end_subscription = {
	.sql = "UPDATE billing.subscription SET void = effective_at >= $3, "
		   "expires_at = CASE WHEN effective_at >= $3 THEN expires_at ELSE $3 END, "
		   "ended_at = CASE WHEN effective_at >= $3 THEN ended_at ELSE coalesce(ended_at, $3) END "
		   "WHERE account_id = $1 AND subscription_id = $2 AND NOT void AND expires_at > $3",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID}};

static SqlQuery set_successor = {
	.sql = "UPDATE billing.subscription SET replaced_by = $3 WHERE account_id = $1 AND "
		   "subscription_id = $2",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, UUIDOID}};

static SqlQuery unlink_successor = {
	.sql = "UPDATE billing.subscription SET replaced_by = NULL WHERE account_id = $1 AND "
		   "replaced_by = $2",
	.nargs = 2,
	.argtypes = {UUIDOID, UUIDOID}};

static SqlQuery select_period = {
	.sql = "SELECT effective_at, kind = 'token', EXISTS (SELECT FROM billing.subscription_period n "
		   "WHERE n.account_id = p.account_id AND n.subscription_id = p.subscription_id "
		   "AND n.period_no > p.period_no AND NOT n.void) "
		   "FROM billing.subscription_period p WHERE account_id = $1 AND subscription_id = $2 "
		   "AND period_no = $3 AND NOT void AND expires_at > $4",
	.nargs = 4,
	.argtypes = {UUIDOID, UUIDOID, INT4OID, TIMESTAMPTZOID}};

static SqlQuery select_period_grant = {
	.sql = "SELECT g.grant_id FROM billing.subscription_period p JOIN billing.token_grant g "
		   "ON g.account_id = p.account_id AND g.grant_id = p.grant_id "
		   "WHERE p.account_id = $1 AND p.subscription_id = $2 AND p.period_no = $3 "
		   "AND g.voided_at IS NULL AND g.expires_at > $4",
	.nargs = 4,
	.argtypes = {UUIDOID, UUIDOID, INT4OID, TIMESTAMPTZOID}};

static SqlQuery cut_period = {
	.sql = "UPDATE billing.subscription_period SET void = effective_at >= $4, "
		   "expires_at = CASE WHEN effective_at >= $4 THEN expires_at ELSE $4 END "
		   "WHERE account_id = $1 AND subscription_id = $2 AND period_no = $3",
	.nargs = 4,
	.argtypes = {UUIDOID, UUIDOID, INT4OID, TIMESTAMPTZOID}};

static SqlQuery shorten_subscription = {
	.sql = "UPDATE billing.subscription s SET void = s.effective_at >= $3, "
		   "expires_at = CASE WHEN s.effective_at >= $3 THEN s.expires_at ELSE $3 END, "
		   "anchor_periods = greatest(s.anchor_periods - 1, 0), "
		   "ended_at = CASE WHEN s.effective_at < $3 AND $3 <= $4 THEN $3 END "
		   "WHERE account_id = $1 AND subscription_id = $2",
	.nargs = 4,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID}};

static SqlQuery select_grants = {
	.sql =
		"SELECT grant_id FROM billing.token_grant WHERE account_id = $1 AND subscription_id = $2 "
		"AND voided_at IS NULL AND expires_at > $3 ORDER BY grant_id",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID}};

static SqlQuery select_grants_held = {
	.sql = "SELECT g.grant_id, EXISTS (SELECT FROM billing.hold h JOIN billing.ledger l "
		   "ON l.account_id = h.account_id AND l.hold_id = h.hold_id "
		   "WHERE h.account_id = $1 AND NOT h.ended AND l.grant_id = g.grant_id) "
		   "FROM billing.token_grant g WHERE g.account_id = $1 AND g.subscription_id = $2 "
		   "AND g.voided_at IS NULL AND g.expires_at > $3",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID}};

static SqlQuery move_grants = {
	.sql = "UPDATE billing.token_grant SET subscription_id = $3 WHERE account_id = $1 AND "
		   "subscription_id = $2 AND voided_at IS NULL AND expires_at > $4",
	.nargs = 4,
	.argtypes = {UUIDOID, UUIDOID, UUIDOID, TIMESTAMPTZOID}};

static SqlQuery select_periods = {
	.sql =
		"SELECT p.period_no, p.effective_at, p.expires_at, "
		"CASE WHEN p.order_id IS NOT NULL THEN v.duration END, p.grant_id, p.kind = 'token' "
		"FROM billing.subscription_period p "
		"JOIN billing.plan_version v ON v.plan = p.plan AND v.version = p.version "
		"WHERE p.account_id = $1 AND p.subscription_id = $2 AND p.period_no >= $3 AND NOT p.void "
		"ORDER BY p.effective_at",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, INT4OID}};

static SqlQuery shift_period = {
	.sql = "UPDATE billing.subscription_period SET effective_at = $4, expires_at = $5 "
		   "WHERE account_id = $1 AND subscription_id = $2 AND period_no = $3",
	.nargs = 5,
	.argtypes = {UUIDOID, UUIDOID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID}};

static SqlQuery shift_grant = {
	.sql = "UPDATE billing.token_grant SET effective_at = CASE WHEN $5 THEN least(effective_at, "
		   "$3) ELSE $3 END, expires_at = $4 "
		   "WHERE account_id = $1 AND grant_id = $2 AND voided_at IS NULL",
	.nargs = 5,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID}};

static SqlQuery shift_subscription = {
	.sql = "UPDATE billing.subscription s SET effective_at = (SELECT min(p.effective_at) FROM "
		   "billing.subscription_period p WHERE p.account_id = $1 AND p.subscription_id = $2 AND "
		   "NOT p.void), expires_at = $3, anchor = $4, anchor_duration = $5, anchor_periods = $6 "
		   "WHERE account_id = $1 AND subscription_id = $2",
	.nargs = 6,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INTERVALOID, INT8OID}};

/* The subscription itself, with from 1 only those that follow it, without what was dropped. */
void
succession_line(SubscriptionLine *line, const Subscription *first, int from)
{
	Subscription current = *first;

	line->count = 0;
	line->items = NULL;
	for (int place = 0;; place++)
	{
		if (place >= from)
		{
			line->items = line->items == NULL
							  ? palloc(sizeof(Subscription))
							  : repalloc(line->items, sizeof(Subscription) * (line->count + 1));
			line->items[line->count++] = current;
		}
		if (!current.has_successor || !subscription_read(&current, &current.successor_id) ||
			current.voided)
			return;
	}
}

/* Ends it now; one that has not begun before now is void. Its tokens are another question. */
void
succession_end(const Account *account, const Subscription *subscription, TimestampTz now)
{
	NullableDatum args[] = {arg_uuid(&account->id), arg_uuid(&subscription->subscription_id),
							arg_time(now)};

	query_execute(&void_periods, args);
	query_execute(&end_period, args);
	query_execute(&end_subscription, args);
}

/* successor NULL: none. */
void
succession_set(const pg_uuid_t *account, const pg_uuid_t *subscription, const pg_uuid_t *successor)
{
	query_execute(&set_successor, (NullableDatum[]){arg_uuid(account), arg_uuid(subscription),
													arg_uuid(successor)});
}

/* Nothing is followed by the subscription any more. */
void
succession_unlink(const pg_uuid_t *account, const pg_uuid_t *subscription)
{
	query_execute(&unlink_successor, (NullableDatum[]){arg_uuid(account), arg_uuid(subscription)});
}

void
succession_void_tokens(const Account *account, const pg_uuid_t *subscription, TimestampTz now)
{
	uint64 count =
		query_execute(&select_grants, (NullableDatum[]){arg_uuid(&account->id),
														arg_uuid(subscription), arg_time(now)});
	pg_uuid_t *grants = palloc(sizeof(pg_uuid_t) * (count + 1));

	for (uint64 i = 0; i < count; i++)
		grants[i] = query_uuid(i, 1);
	for (uint64 i = 0; i < count; i++)
		(void) void_grant_locked(account, &grants[i], now);
}

/*
 * new_id, already there, takes the place of old, already ended: a token plan's
 * tokens move to it and keep their expiry, another one's are voided.
 */
void
succession_replace(const Account *account, const Subscription *old, const pg_uuid_t *new_id,
				   TimestampTz now)
{
	succession_set(&account->id, &old->subscription_id, new_id);
	if (old->kind == PLAN_TOKEN)
		query_execute(&move_grants,
					  (NullableDatum[]){arg_uuid(&account->id), arg_uuid(&old->subscription_id),
										arg_uuid(new_id), arg_time(now)});
	else
		succession_void_tokens(account, &old->subscription_id, now);
}

/* A period on its way to other times. */
typedef struct Shift
{
	int32 period_no;
	TimestampTz effective_at;
	TimestampTz expires_at;
	bool has_duration; /* else its length stays as it is */
	Interval duration;
	bool has_grant;
	pg_uuid_t grant_id;
	bool of_token_plan;
} Shift;

typedef struct ShiftCalendar
{
	TimestampTz anchor;
	Interval duration;
	int64 periods; /* counted from the anchor; 0: the next period gets a new one */
} ShiftCalendar;

static Shift *
load_shifts(const Account *account, const pg_uuid_t *subscription_id, int32 from_period, int *count)
{
	Shift *shifts;

	*count = (int) query_execute(&select_periods, (NullableDatum[]){arg_uuid(&account->id),
																	arg_uuid(subscription_id),
																	arg_int32(from_period)});
	shifts = palloc0(sizeof(Shift) * (*count + 1));
	for (int i = 0; i < *count; i++)
	{
		shifts[i].period_no = query_int32(i, 1);
		shifts[i].effective_at = query_time(i, 2);
		shifts[i].expires_at = query_time(i, 3);
		shifts[i].has_duration = !query_is_null(i, 4);
		if (shifts[i].has_duration)
			shifts[i].duration = *DatumGetIntervalP(query_datum(i, 4));
		shifts[i].has_grant = !query_is_null(i, 5);
		if (shifts[i].has_grant)
			shifts[i].grant_id = query_uuid(i, 5);
		shifts[i].of_token_plan = query_bool(i, 6);
	}
	return shifts;
}

static bool
continues(const ShiftCalendar *calendar, const Shift *shift)
{
	return calendar->periods > 0 && shift->has_duration &&
		   calendar->duration.month == shift->duration.month &&
		   calendar->duration.day == shift->duration.day &&
		   calendar->duration.time == shift->duration.time;
}

static TimestampTz
same_length(const Shift *shift, TimestampTz start)
{
	TimestampTz end;

	if (pg_add_s64_overflow(start, shift->expires_at - shift->effective_at, &end) ||
		!IS_VALID_TIMESTAMP(end))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
						errmsg("the end of the period is out of range"),
						errdetail("It would begin at %s.", timestamptz_to_str(start)),
						errhint("Cancel it first.")));
	return end;
}

/* The end of a period that begins at start. */
static TimestampTz
shifted_end(ShiftCalendar *calendar, const Shift *shift, TimestampTz start, const char *time_zone)
{
	if (TIMESTAMP_NOT_FINITE(shift->expires_at))
		return shift->expires_at;
	if (!shift->has_duration)
	{
		calendar->periods = 0;
		return same_length(shift, start);
	}
	if (!continues(calendar, shift))
	{
		calendar->anchor = start;
		calendar->duration = shift->duration;
		calendar->periods = 0;
	}
	calendar->periods++;
	return period_end_after(calendar->anchor, &calendar->duration, &calendar->periods, start,
							time_zone);
}

static void
store_shift(const Account *account, const pg_uuid_t *subscription_id, const Shift *shift)
{
	query_execute(&shift_period,
				  (NullableDatum[]){arg_uuid(&account->id), arg_uuid(subscription_id),
									arg_int32(shift->period_no), arg_time(shift->effective_at),
									arg_time(shift->expires_at)});
	if (shift->has_grant)
		query_execute(&shift_grant,
					  (NullableDatum[]){arg_uuid(&account->id), arg_uuid(&shift->grant_id),
										arg_time(shift->effective_at), arg_time(shift->expires_at),
										arg_bool(shift->of_token_plan)});
}

static void
write_event(const Account *account, const pg_uuid_t *subscription_id, TimestampTz start,
			TimestampTz end, TimestampTz now)
{
	EventDetail detail;

	event_detail_begin(&detail);
	event_detail_uuid(&detail, "subscription_id", subscription_id);
	event_detail_time(&detail, "effective_at", start);
	event_detail_time(&detail, "expires_at", end);
	event_write(&account->id, "subscription_rescheduled", now, &detail);
}

/* Whether periods of that duration, counted from anchor, end at start; if so the calendar is theirs. */
static bool
reaches(ShiftCalendar *calendar, TimestampTz anchor, const Interval *duration, TimestampTz start,
		const char *time_zone)
{
	int64 periods = 0;

	if (anchor >= start ||
		period_end_after(anchor, duration, &periods, start - 1, time_zone) != start)
		return false;
	*calendar = (ShiftCalendar){.anchor = anchor, .duration = *duration, .periods = periods};
	return true;
}

/*
 * Periods that move up to the end of one that stays go on with its calendar:
 * counted from there, an end that a short month moved would move all behind it.
 * The anchor is that of the subscription or, before one of another duration was
 * bought, the start of a period that stays.
 */
static ShiftCalendar
calendar_so_far(const Account *account, const Subscription *subscription, const Shift *first,
				TimestampTz start, const char *time_zone)
{
	ShiftCalendar calendar = {.anchor = start, .periods = 0};
	int count;
	Shift *all;

	if (first->period_no == 1 || !first->has_duration)
		return calendar;
	if (subscription->has_anchor_duration &&
		reaches(&calendar, subscription->anchor, &subscription->anchor_duration, start,
				time_zone) &&
		continues(&calendar, first))
		return calendar;
	all = load_shifts(account, &subscription->subscription_id, 1, &count);
	for (int i = 0; i < count && all[i].effective_at < start; i++)
		if (all[i].has_duration &&
			reaches(&calendar, all[i].effective_at, &all[i].duration, start, time_zone) &&
			continues(&calendar, first))
			return calendar;
	return (ShiftCalendar){.anchor = start, .periods = 0};
}

/* A subscription's periods on their way. */
typedef struct Move
{
	Subscription subscription;
	int count;
	Shift *shifts;
	TimestampTz from; /* where the first one begins now */
	TimestampTz start;
	TimestampTz end;
	ShiftCalendar calendar; /* as it stands at the end */
} Move;

/*
 * The periods from number from_period on, none of which has begun, as they would
 * be if the first began at start and the others followed without a gap, each as
 * long as it was bought. False: there is nothing to move.
 */
static bool
plan_move(Move *move, const Account *account, const pg_uuid_t *subscription_id, int32 from_period,
		  TimestampTz start)
{
	char *time_zone = account_time_zone(&account->id);

	move->shifts = load_shifts(account, subscription_id, from_period, &move->count);
	if (move->count == 0 || move->shifts[0].effective_at == start ||
		!subscription_read(&move->subscription, subscription_id))
		return false;
	move->from = move->shifts[0].effective_at;
	move->start = move->end = start;
	move->calendar =
		calendar_so_far(account, &move->subscription, &move->shifts[0], start, time_zone);
	for (int i = 0; i < move->count; i++)
	{
		TimestampTz begin = move->end;

		move->end = shifted_end(&move->calendar, &move->shifts[i], begin, time_zone);
		move->shifts[i].effective_at = begin;
		move->shifts[i].expires_at = move->end;
	}
	return true;
}

static bool
is_barred(const Move *move, const Account *account, TimestampTz *begins)
{
	return subscription_in_the_way(account, move->subscription.plan, move->start, move->end,
								   &move->subscription.subscription_id, begins);
}

static void
store_move(const Move *move, const Account *account)
{
	const pg_uuid_t *subscription_id = &move->subscription.subscription_id;
	bool later = move->start > move->from;

	/* no two may overlap on the way */
	for (int i = 0; i < move->count; i++)
		store_shift(account, subscription_id, &move->shifts[later ? move->count - 1 - i : i]);
	query_execute(&shift_subscription,
				  (NullableDatum[]){arg_uuid(&account->id), arg_uuid(subscription_id),
									arg_time(move->end), arg_time(move->calendar.anchor),
									move->calendar.periods == 0
										? arg_null()
										: arg_datum(IntervalPGetDatum(&move->calendar.duration)),
									arg_int64(move->calendar.periods)});
}

/*
 * Moves the periods from number from_period on, as plan_move says, and their
 * grants along. Where another subscription of the plan has a part of their new
 * time they stay: what was given for later is not moved for them, and what ends
 * before them has ended, whatever follows.
 */
void
succession_shift(const Account *account, const pg_uuid_t *subscription_id, int32 from_period,
				 TimestampTz start, TimestampTz now)
{
	Move move;
	TimestampTz begins;

	if (!plan_move(&move, account, subscription_id, from_period, start) ||
		is_barred(&move, account, &begins))
		return;
	store_move(&move, account);
	write_event(account, subscription_id, move.start, move.end, now);
}

static void
raise_no_start(const pg_uuid_t *subscription_id)
{
	Subscription subscription;

	if (!subscription_read(&subscription, subscription_id) || subscription.voided)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("plan \"%s\", scheduled to follow, would never begin", subscription.plan),
			 errdetail("It begins where what it follows ends, and that would have no end."),
			 errhint("Cancel it first.")));
}

/* Raises unless the subscription, all of which is to come, can begin at start. */
void
succession_require_room(const Account *account, const pg_uuid_t *subscription_id, TimestampTz start)
{
	Move move;
	TimestampTz begins;

	if (TIMESTAMP_IS_NOEND(start))
		raise_no_start(subscription_id);
	else if (plan_move(&move, account, subscription_id, 1, start) &&
			 is_barred(&move, account, &begins))
		ereport(
			ERROR,
			(errcode(ERRCODE_EXCLUSION_VIOLATION),
			 errmsg("plan \"%s\", scheduled to follow, cannot move: another subscription of it "
					"is in the way",
					move.subscription.plan),
			 errdetail("It would last from %s to %s; the other one begins at %s.",
					   pstrdup(timestamptz_to_str(move.start)),
					   pstrdup(timestamptz_to_str(move.end)), pstrdup(timestamptz_to_str(begins))),
			 errhint("Cancel one of the two first.")));
}

/*
 * What is scheduled to follow begins where the subscription ends now, if there is
 * room; nothing is followed by one of which nothing is left.
 */
static void
mend_line(const Account *account, const pg_uuid_t *subscription_id, TimestampTz now)
{
	Subscription subscription;

	if (!subscription_read(&subscription, subscription_id))
		return;
	if (subscription.voided)
		succession_unlink(&account->id, subscription_id);
	if (subscription.has_successor)
		succession_shift(account, &subscription.successor_id, 1,
						 subscription.voided ? now : Max(subscription.expires_at, now), now);
}

/*
 * The grant is looked for whatever the period's times are: one of a token plan
 * outlives its period when the plan is renewed without end or replaced. False:
 * there is none any more.
 */
static bool
void_period_tokens(const Account *account, const NullableDatum *period, TimestampTz now)
{
	pg_uuid_t grant_id;

	if (query_execute(&select_period_grant, period) == 0)
		return false;
	grant_id = query_uuid(0, 1);
	(void) void_grant_locked(account, &grant_id, now);
	return true;
}

/* Whether tokens, left or held, would outlive the subscription if it ended then. */
static bool
has_tokens_beyond(const Account *account, const pg_uuid_t *subscription_id, TimestampTz end,
				  TimestampTz now)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Balances balances;
	uint64 count;
	bool found = false;

	balance_load(&balances, &account->id, now, snapshot);
	UnregisterSnapshot(snapshot);
	count = query_execute(
		&select_grants_held,
		(NullableDatum[]){arg_uuid(&account->id), arg_uuid(subscription_id), arg_time(end)});
	for (uint64 i = 0; i < count && !found; i++)
	{
		pg_uuid_t grant_id = query_uuid(i, 1);
		const GrantBalance *grant = balance_find(&balances, &grant_id);

		found = query_bool(i, 2) || (grant != NULL && balance_available(grant) > 0);
	}
	return found;
}

/*
 * Takes the tokens of one period back and ends it now, or drops it if it has not
 * begun. Later ones move up, so that no gap is left; with none the subscription
 * is over, unless tokens that something else paid for need it: then the period
 * stays, without its own. False: there was nothing left to end or to take.
 */
bool
succession_end_period(const Account *account, const pg_uuid_t *subscription_id, int32 period_no,
					  TimestampTz now)
{
	NullableDatum args[] = {arg_uuid(&account->id), arg_uuid(subscription_id), arg_int32(period_no),
							arg_time(now)};
	TimestampTz boundary;
	bool of_token_plan;
	bool followed;
	bool voided = void_period_tokens(account, args, now);

	if (query_execute(&select_period, args) == 0)
		return voided;
	boundary = Max(query_time(0, 1), now);
	of_token_plan = query_bool(0, 2);
	followed = query_bool(0, 3);
	if (of_token_plan && !followed && has_tokens_beyond(account, subscription_id, boundary, now))
		return voided;
	query_execute(&cut_period, args);
	if (followed)
		succession_shift(account, subscription_id, period_no + 1, boundary, now);
	else
		query_execute(&shorten_subscription,
					  (NullableDatum[]){arg_uuid(&account->id), arg_uuid(subscription_id),
										arg_time(boundary), arg_time(now)});
	mend_line(account, subscription_id, now);
	return true;
}
