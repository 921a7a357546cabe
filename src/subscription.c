/*
 * subscription.c
 *	  Beginning and extending subscriptions.
 *
 * Period n of a subscription ends at anchor + n × duration, counted in the
 * account's time zone (period.h), never from the previous end. A renewal adds
 * one period where the last one ends; a subscription whose time is over is never
 * extended: what is bought then is a new one, with a new anchor. The end so far
 * becomes the anchor where the duration is another, or with the zone the calendar.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "argument.h"
#include "audit.h"
#include "call.h"
#include "errors.h"
#include "event.h"
#include "expiry.h"
#include "grant.h"
#include "identifier.h"
#include "lock.h"
#include "period.h"
#include "query.h"
#include "spend.h"
#include "subscription.h"
#include "succession.h"

PG_FUNCTION_INFO_V1(billing_subscribe);

#define SUBSCRIPTION_COLUMNS                                                                       \
	"s.account_id, s.subscription_id, s.plan, s.kind, s.effective_at, s.expires_at, s.anchor, "    \
	"s.anchor_duration, s.anchor_periods, s.canceled_at IS NOT NULL, s.ended_at IS NOT NULL, "     \
	"(SELECT max(p.period_no) FROM billing.subscription_period p WHERE p.account_id = "            \
	"s.account_id "                                                                                \
	"AND p.subscription_id = s.subscription_id), s.replaced_by, s.void"

static SqlQuery select_subscription = {
	.sql =
		"SELECT " SUBSCRIPTION_COLUMNS " FROM billing.subscription s WHERE s.subscription_id = $1",
	.nargs = 1,
	.argtypes = {UUIDOID}};

static SqlQuery select_held = {
	.sql = "SELECT " SUBSCRIPTION_COLUMNS " FROM billing.subscription s "
		   "WHERE s.account_id = $1 AND s.plan = $2 AND s.expires_at > $3 AND NOT s.void "
		   "ORDER BY s.expires_at DESC LIMIT 1",
	.nargs = 3,
	.argtypes = {UUIDOID, TEXTOID, TIMESTAMPTZOID}};

/* The last one that has begun or that is to follow one that has not ended. */
static SqlQuery select_led_up = {
	.sql = "SELECT " SUBSCRIPTION_COLUMNS " FROM billing.subscription s "
		   "WHERE s.account_id = $1 AND s.plan = $2 AND s.expires_at > $3 AND NOT s.void "
		   "AND (s.effective_at <= $3 OR EXISTS (SELECT FROM billing.subscription f "
		   "WHERE f.account_id = $1 AND f.replaced_by = s.subscription_id AND f.expires_at > $3 "
		   "AND NOT f.void)) ORDER BY s.expires_at DESC LIMIT 1",
	.nargs = 3,
	.argtypes = {UUIDOID, TEXTOID, TIMESTAMPTZOID}};

static SqlQuery select_followed = {
	.sql = "SELECT FROM billing.subscription WHERE account_id = $1 AND plan = $2 AND expires_at > "
		   "$3 AND NOT void AND replaced_by IS NOT NULL",
	.nargs = 3,
	.argtypes = {UUIDOID, TEXTOID, TIMESTAMPTZOID}};

static SqlQuery select_in_the_way = {
	.sql = "SELECT effective_at FROM billing.subscription WHERE account_id = $1 AND plan = $2 "
		   "AND NOT void AND effective_at < $4 AND expires_at > $3 "
		   "AND subscription_id IS DISTINCT FROM $5 ORDER BY effective_at LIMIT 1",
	.nargs = 5,
	.argtypes = {UUIDOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, UUIDOID}};

static SqlQuery insert_subscription = {
	.sql =
		"INSERT INTO billing.subscription (account_id, subscription_id, plan, kind, effective_at, "
		"expires_at, anchor, anchor_duration, anchor_periods, created_at, started_at) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, CASE WHEN $5 <= $10 THEN $10 END)",
	.nargs = 10,
	.argtypes = {UUIDOID, UUIDOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
				 INTERVALOID, INT8OID, TIMESTAMPTZOID}};

/* It may have ended by a test clock that was taken back: its new end is to be told of as well. */
static SqlQuery extend_subscription = {
	.sql = "UPDATE billing.subscription SET expires_at = $3, anchor = $4, anchor_duration = $5, "
		   "anchor_periods = $6, canceled_at = NULL, ended_at = NULL WHERE account_id = $1 AND "
		   "subscription_id = $2",
	.nargs = 6,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INTERVALOID, INT8OID}};

/* A plan without end is renewed where it stands: the period so far ends, the next one begins. */
static SqlQuery close_open_period = {
	.sql =
		"UPDATE billing.subscription_period SET expires_at = greatest($3, effective_at + interval "
		"'1 "
		"microsecond') WHERE account_id = $1 AND subscription_id = $2 AND expires_at = 'infinity' "
		"RETURNING expires_at",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID}};

static SqlQuery insert_period = {
	.sql =
		"INSERT INTO billing.subscription_period (account_id, subscription_id, period_no, plan, "
		"version, "
		"kind, apps, effective_at, expires_at, price, paid, order_id, grant_id, idempotency_key, "
		"created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
	.nargs = 15,
	.argtypes = {UUIDOID, UUIDOID, INT4OID, TEXTOID, INT4OID, TEXTOID, TEXTARRAYOID, TIMESTAMPTZOID,
				 TIMESTAMPTZOID, AMOUNT_ARGUMENT, AMOUNT_ARGUMENT, UUIDOID, UUIDOID, TEXTOID,
				 TIMESTAMPTZOID}};

/* NULL counts as "not asked for": it matches whatever the first call led to. */
static SqlQuery select_key = {
	.sql = "SELECT p.subscription_id, p.plan = $3 AND ($4 IS NULL OR p.effective_at = $4) "
		   "AND ($5 IS NULL OR p.expires_at = $5) AND ($6 IS NULL OR g.tokens = $6) "
		   "FROM billing.subscription_period p LEFT JOIN billing.token_grant g "
		   "ON g.account_id = p.account_id AND g.grant_id = p.grant_id "
		   "WHERE p.account_id = $1 AND p.idempotency_key = $2",
	.nargs = 6,
	.argtypes = {UUIDOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}};

static void
from_row(Subscription *subscription)
{
	char *kind = query_text(0, 4);

	subscription->account_id = query_uuid(0, 1);
	subscription->subscription_id = query_uuid(0, 2);
	subscription->plan = query_text(0, 3);
	if (!plan_kind_from_name(kind, &subscription->kind))
		elog(ERROR, "a subscription has the unknown kind \"%s\"", kind);
	subscription->effective_at = query_time(0, 5);
	subscription->expires_at = query_time(0, 6);
	subscription->anchor = query_time(0, 7);
	subscription->has_anchor_duration = !query_is_null(0, 8);
	if (subscription->has_anchor_duration)
		subscription->anchor_duration = *DatumGetIntervalP(query_datum(0, 8));
	subscription->anchor_periods = query_int64(0, 9);
	subscription->canceled = query_bool(0, 10);
	subscription->ended = query_bool(0, 11);
	subscription->periods = query_is_null(0, 12) ? 0 : query_int32(0, 12);
	subscription->has_successor = !query_is_null(0, 13);
	if (subscription->has_successor)
		subscription->successor_id = query_uuid(0, 13);
	subscription->voided = query_bool(0, 14);
}

bool
subscription_read(Subscription *subscription, const pg_uuid_t *subscription_id)
{
	if (query_execute(&select_subscription, (NullableDatum[]){arg_uuid(subscription_id)}) == 0)
		return false;
	from_row(subscription);
	return true;
}

/* The account's subscription of the plan that is not over, scheduled ones included. */
bool
subscription_held(Subscription *subscription, const pg_uuid_t *account, const char *plan,
				  TimestampTz now)
{
	if (query_execute(&select_held,
					  (NullableDatum[]){arg_uuid(account), arg_text(plan), arg_time(now)}) == 0)
		return false;
	from_row(subscription);
	return true;
}

/*
 * How the account's tokens are locked, after its plans, when the plan is bought or
 * renewed: that only adds, unless it moves what is scheduled to follow.
 */
LOCKMODE
subscription_token_mode(const Account *account, const char *plan)
{
	bool moves = query_execute(&select_followed,
							   (NullableDatum[]){arg_uuid(&account->id), arg_text(plan),
												 arg_time(account_verb_time(account))}) > 0;

	return moves ? ExclusiveLock : RowExclusiveLock;
}

/* Where a subscription's calendar stands after one more period. */
typedef struct Calendar
{
	TimestampTz effective_at;
	TimestampTz expires_at;
	TimestampTz anchor;
	const Interval *anchor_duration; /* NULL: the next period gets a new anchor */
	int64 anchor_periods;
} Calendar;

static bool
same_duration(const Interval *a, const Interval *b)
{
	return a->month == b->month && a->day == b->day && a->time == b->time;
}

static void
check_explicit_end(const Calendar *calendar)
{
	if (calendar->expires_at <= calendar->effective_at)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("expires_at must be later than the period's start"),
						errdetail("The period would begin at %s and end at %s.",
								  pstrdup(timestamptz_to_str(calendar->effective_at)),
								  pstrdup(timestamptz_to_str(calendar->expires_at))),
						errhint("Pass a later expires_at, or NULL for the plan's duration.")));
}

/*
 * Whether the calendar of the subscription goes on: the same duration, and, in the
 * account's time zone as it is now, an end that is the one so far. In another zone
 * the next end may be days from where its calendar has it.
 */
static bool
goes_on(const Subscription *held, TimestampTz start, const Interval *duration,
		const char *time_zone)
{
	return held->has_anchor_duration && held->expires_at == start &&
		   same_duration(&held->anchor_duration, duration) &&
		   period_end(held->anchor, duration, held->anchor_periods, time_zone) == start;
}

/* The period that terms would add: held is NULL for a new subscription. */
static Calendar
next_period(const Account *account, TimestampTz now, const Subscription *held,
			const PeriodTerms *terms)
{
	const Interval *duration = terms->plan->duration;
	Calendar next = {.anchor_duration = NULL, .anchor_periods = 0};

	if (terms->has_effective_at)
		next.effective_at = terms->effective_at;
	else if (held != NULL && !TIMESTAMP_NOT_FINITE(held->expires_at))
		next.effective_at = Max(now, held->expires_at);
	else
		next.effective_at = now;
	next.anchor = next.effective_at;

	if (terms->has_expires_at)
	{
		next.expires_at = next.anchor = terms->expires_at;
		check_explicit_end(&next);
	}
	else if (duration == NULL || (held != NULL && TIMESTAMP_IS_NOEND(held->expires_at)))
		/* what was bought without end keeps none, whatever the newest version says */
		next.expires_at = DT_NOEND;
	else
	{
		char *time_zone = account_time_zone(&account->id);

		next.anchor_duration = duration;
		next.anchor_periods = 1;
		if (held != NULL && goes_on(held, next.effective_at, duration, time_zone))
		{
			next.anchor = held->anchor;
			next.anchor_periods = held->anchor_periods + 1;
		}
		next.expires_at = period_end_after(next.anchor, duration, &next.anchor_periods,
										   next.effective_at, time_zone);
	}
	return next;
}

/* When the period would begin and end if it were bought now. */
void
subscription_expected_time(const Account *account, TimestampTz now, const Subscription *held,
						   const PeriodTerms *terms, TimestampTz *effective_at,
						   TimestampTz *expires_at)
{
	Calendar next = next_period(account, now, held, terms);

	*effective_at = next.effective_at;
	*expires_at = next.expires_at;
}

/*
 * Whether a subscription of the plan, but for that one (NULL: any), has a part of
 * that time; begins: when.
 */
bool
subscription_in_the_way(const Account *account, const char *plan, TimestampTz effective_at,
						TimestampTz expires_at, const pg_uuid_t *but, TimestampTz *begins)
{
	if (query_execute(&select_in_the_way, (NullableDatum[]){arg_uuid(&account->id), arg_text(plan),
															arg_time(effective_at),
															arg_time(expires_at), arg_uuid(but)}) ==
		0)
		return false;
	*begins = query_time(0, 1);
	return true;
}

static bool
has_room_to_renew(const Subscription *current, const Account *account, TimestampTz now,
				  const PeriodTerms *terms)
{
	Calendar next = next_period(account, now, current, terms);
	TimestampTz begins;

	return !subscription_in_the_way(account, current->plan, next.effective_at, next.expires_at,
									NULL, &begins);
}

/*
 * Which one an order of the plan extends: the last. One that was given for later
 * stands apart, with nothing that leads up to it, so behind it is no place for
 * what is paid now: then the one in course is extended, if there is room. False:
 * there is none in course.
 */
bool
subscription_to_renew(Subscription *held, const Account *account, TimestampTz now,
					  const PeriodTerms *terms)
{
	NullableDatum args[] = {arg_uuid(&account->id), arg_text(terms->plan->code), arg_time(now)};
	Subscription current;

	if (query_execute(&select_led_up, args) == 0)
		return false;
	from_row(&current);
	(void) subscription_held(held, &account->id, terms->plan->code, now);
	if (has_room_to_renew(&current, account, now, terms))
		*held = current;
	return true;
}

static bool
grant_of_period(pg_uuid_t *grant_id, const Account *account, const pg_uuid_t *subscription_id,
				TimestampTz now, const PeriodTerms *terms, const Calendar *period, bool renewal)
{
	GrantTerms grant = {.account = &account->id,
						.tokens = terms->tokens > 0 ? terms->tokens : terms->plan->tokens,
						.priority = GRANT_DEFAULT_PRIORITY,
						.app = terms->plan->app,
						.reason = renewal ? "renewal" : "purchase",
						.subscription_id = subscription_id,
						.granted_at = now,
						.effective_at = period->effective_at,
						.expires_at = period->expires_at};

	if (grant.tokens == 0)
		return false;
	/* a token plan's tokens are usable at once */
	if (terms->plan->kind == PLAN_TOKEN)
		grant.effective_at = Min(now, period->effective_at);
	grant_insert(grant_id, &grant);
	return true;
}

static void
add_period(const pg_uuid_t *subscription_id, int32 period_no, const Account *account,
		   TimestampTz now, const PeriodTerms *terms, const Calendar *period)
{
	const PlanVersion *plan = terms->plan;
	pg_uuid_t grant_id;
	bool has_grant =
		grant_of_period(&grant_id, account, subscription_id, now, terms, period, period_no > 1);

	query_execute(
		&insert_period,
		(NullableDatum[]){
			arg_uuid(&account->id), arg_uuid(subscription_id), arg_int32(period_no),
			arg_text(plan->code), arg_int32(plan->version), arg_text(plan_kind_name(plan->kind)),
			plan->covers_every_app ? arg_null() : arg_datum(permission_set_to_array(&plan->apps)),
			arg_time(period->effective_at), arg_time(period->expires_at),
			plan->price == NULL ? arg_null() : arg_datum(AmountPGetDatum(plan->price)),
			terms->paid == NULL ? arg_null() : arg_datum(AmountPGetDatum(terms->paid)),
			arg_uuid(terms->order_id), arg_uuid(has_grant ? &grant_id : NULL), arg_text(terms->key),
			arg_time(now)});
}

static void
write_event(const char *kind, const pg_uuid_t *subscription_id, const Account *account,
			TimestampTz now, const PeriodTerms *terms, const Calendar *period)
{
	EventDetail detail;

	event_detail_begin(&detail);
	event_detail_uuid(&detail, "subscription_id", subscription_id);
	event_detail_text(&detail, "plan", terms->plan->code);
	event_detail_int64(&detail, "version", terms->plan->version);
	event_detail_time(&detail, "effective_at", period->effective_at);
	event_detail_time(&detail, "expires_at", period->expires_at);
	event_detail_uuid(&detail, "order_id", terms->order_id);
	event_write(&account->id, kind, now, &detail);
}

/* A new subscription; one of the same plan that overlaps makes it 23P01. */
void
subscription_begin(pg_uuid_t *subscription_id, const Account *account, TimestampTz now,
				   const PeriodTerms *terms)
{
	Calendar period = next_period(account, now, NULL, terms);

	identifier_new(subscription_id, &account->id);
	query_execute(
		&insert_subscription,
		(NullableDatum[]){
			arg_uuid(&account->id), arg_uuid(subscription_id), arg_text(terms->plan->code),
			arg_text(plan_kind_name(terms->plan->kind)), arg_time(period.effective_at),
			arg_time(period.expires_at), arg_time(period.anchor),
			period.anchor_duration == NULL ? arg_null()
										   : arg_datum(IntervalPGetDatum(period.anchor_duration)),
			arg_int64(period.anchor_periods), arg_time(now)});
	add_period(subscription_id, 1, account, now, terms, &period);
	write_event(period.effective_at > now ? "subscription_scheduled" : "subscription_started",
				subscription_id, account, now, terms, &period);
}

static void
make_room_in_open_period(const Subscription *subscription, TimestampTz now, Calendar *period)
{
	if (!TIMESTAMP_IS_NOEND(subscription->expires_at))
		return;
	if (query_execute(&close_open_period,
					  (NullableDatum[]){arg_uuid(&subscription->account_id),
										arg_uuid(&subscription->subscription_id), arg_time(now)}) >
		0)
		period->effective_at = query_time(0, 1);
}

/*
 * Extends a held subscription by one period; renewing takes a cancellation back.
 * What is scheduled to follow moves; without room for it 23P01.
 */
void
subscription_renew(Subscription *subscription, const Account *account, TimestampTz now,
				   const PeriodTerms *terms)
{
	Calendar period = next_period(account, now, subscription, terms);

	make_room_in_open_period(subscription, now, &period);
	subscription->expires_at = period.expires_at;
	subscription->periods++;
	query_execute(&extend_subscription,
				  (NullableDatum[]){arg_uuid(&account->id),
									arg_uuid(&subscription->subscription_id),
									arg_time(subscription->expires_at), arg_time(period.anchor),
									period.anchor_duration == NULL
										? arg_null()
										: arg_datum(IntervalPGetDatum(period.anchor_duration)),
									arg_int64(period.anchor_periods)});
	add_period(&subscription->subscription_id, subscription->periods, account, now, terms, &period);
	write_event("subscription_renewed", &subscription->subscription_id, account, now, terms,
				&period);
	if (subscription->has_successor)
	{
		succession_require_room(account, &subscription->successor_id, subscription->expires_at);
		succession_shift(account, &subscription->successor_id, 1, subscription->expires_at, now);
	}
}

static bool
replay_subscribe(pg_uuid_t *subscription_id, const pg_uuid_t *account, const char *plan,
				 FunctionCallInfo fcinfo, const char *key)
{
	if (key == NULL ||
		query_execute(&select_key,
					  (NullableDatum[]){arg_uuid(account), arg_text(key), arg_text(plan),
										fcinfo->args[2], fcinfo->args[3], fcinfo->args[4]}) == 0)
		return false;
	*subscription_id = query_uuid(0, 1);
	if (query_is_null(0, 2) || !query_bool(0, 2))
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_IDEMPOTENCY_CONFLICT),
				 errmsg("idempotency key was used for another request"),
				 errdetail("It led to subscription %s with another plan, time or number of tokens.",
						   identifier_text(subscription_id)),
				 errhint("Use a new key for a new request.")));
	return true;
}

static PeriodTerms
terms_from_arguments(FunctionCallInfo fcinfo)
{
	PeriodTerms terms = {0};

	terms.has_effective_at = !PG_ARGISNULL(2);
	if (terms.has_effective_at)
		terms.effective_at = argument_time(fcinfo, 2, "effective_at");
	terms.has_expires_at = !PG_ARGISNULL(3);
	if (terms.has_expires_at)
		terms.expires_at = argument_time(fcinfo, 3, "expires_at");
	if (!PG_ARGISNULL(4))
		terms.tokens = argument_tokens(fcinfo, 4);
	terms.key = argument_key_or_null(fcinfo, 5, "idempotency_key");
	return terms;
}

/* Ordering or being given the free plan makes no sense: it is in force by itself. */
static const PlanVersion *
bought_plan(const char *code)
{
	const PlanVersion *plan = plan_version_on_sale(code);

	if (plan->kind == PLAN_FREE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("plan \"%s\" is a free plan and cannot be subscribed to", code),
				 errdetail("The free plan is in force by itself whenever nothing bought is."),
				 errhint("Choose a subscription or token plan.")));
	return plan;
}

/*
 * billing.subscribe(account_id uuid, plan text, effective_at timestamptz,
 *		expires_at timestamptz, tokens bigint, idempotency_key text) → uuid
 *
 * Gives an account a plan without an order, for administrators and imports;
 * returns the subscription. effective_at NULL: renews if the plan is held, else
 * begins now; expires_at NULL: by the plan's duration; tokens NULL: the plan's.
 * Overlap with a held one of the same plan: 23P01. NULL account or plan, 22004;
 * free plan, times that are infinite or out of order, tokens not positive:
 * 22023; unknown account: PB001, suspended: PB002; unknown or retired plan:
 * PB011; key used for another request: PB008.
 */
Datum
billing_subscribe(PG_FUNCTION_ARGS)
{
	Call call;
	const pg_uuid_t *account_id = argument_uuid(fcinfo, 0, "account_id");
	char *code = argument_code(fcinfo, 1, "plan");
	PeriodTerms terms = terms_from_arguments(fcinfo);
	pg_uuid_t *result = palloc(sizeof(pg_uuid_t));
	Account account;
	Subscription held;
	TimestampTz now;

	spend_prevent("billing.subscribe()");
	call_enter(&call);
	lock_account(account_id, LOCK_PLANS, ExclusiveLock);
	account_require(&account, account_id);
	if (lock_tokens_after_plans(account_id, subscription_token_mode(&account, code)))
		account_require(&account, account_id);
	if (!replay_subscribe(result, account_id, code, fcinfo, terms.key))
	{
		if (account.suspended)
			account_raise_suspended(&account);
		terms.plan = bought_plan(code);
		now = account_verb_time(&account);
		/* what begins in the past may fill the time in which the last plan would be lost */
		if (!terms.has_effective_at || terms.effective_at >= now)
			(void) expiry_run_account(&account, now);
		if (!terms.has_effective_at && subscription_held(&held, account_id, code, now))
		{
			subscription_renew(&held, &account, now, &terms);
			*result = held.subscription_id;
		}
		else
			subscription_begin(result, &account, now, &terms);
	}
	audit_write(fcinfo, &call, account_id);
	call_leave(&call);
	PG_RETURN_UUID_P(result);
}
