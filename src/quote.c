/*
 * quote.c
 *	  What ordering a plan would mean now.
 *
 * A plan that is held is renewed. Else one in force of the same kind and the
 * same apps is replaced: at once if the price is at least what its current
 * period cost, otherwise at its end. Else the plan is bought, alongside whatever
 * there is.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "argument.h"
#include "call.h"
#include "errors.h"
#include "holding.h"
#include "query.h"
#include "quote.h"
#include "succession.h"

PG_FUNCTION_INFO_V1(billing_quote_plan);

static const char *const action_names[] = {"buy", "renew", "upgrade", "downgrade"};

/* A period that was given cost what the plan's price was. */
static SqlQuery select_cost = {
	.sql = "SELECT coalesce(paid, price) FROM billing.subscription_period WHERE account_id = $1 "
		   "AND subscription_id = $2 AND NOT void AND effective_at <= $3 AND expires_at > $3",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID}};

const char *
order_action_name(OrderAction action)
{
	return action_names[action];
}

OrderAction
order_action_from_name(const char *name)
{
	for (int i = 0; i < (int) lengthof(action_names); i++)
		if (strcmp(name, action_names[i]) == 0)
			return (OrderAction) i;
	elog(ERROR, "an order has the unknown action \"%s\"", name);
}

/* True: period_end. */
bool
quote_timing(const char *timing)
{
	bool period_end = strcmp(timing, "period_end") == 0;

	if (!period_end && strcmp(timing, "immediate") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("timing \"%s\" is not known", timing),
						errhint("Use immediate or period_end.")));
	return period_end;
}

static const PlanVersion *
plan_for_sale(const char *code)
{
	const PlanVersion *plan = plan_version_on_sale(code);

	if (plan->kind == PLAN_FREE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("plan \"%s\" is a free plan and cannot be ordered", code),
				 errdetail("The free plan is in force by itself whenever nothing bought is."),
				 errhint("Choose a plan of the view billing.plan_catalogue.")));
	if (plan->price == NULL)
		ereport(ERROR, (errcode(ERRCODE_BILLING_PLAN_NOT_FOUND),
						errmsg("plan \"%s\" is not for sale", code),
						errdetail("Version %d of it has no price.", plan->version),
						errhint("An administrator can give it with billing.subscribe, or revise it "
								"with a price; zero must be written.")));
	return plan;
}

static bool
same_apps(const Holding *holding, const PlanVersion *plan)
{
	if (holding->covers_every_app || plan->covers_every_app)
		return holding->covers_every_app && plan->covers_every_app;
	if (holding->apps.count != plan->apps.count)
		return false;
	for (int i = 0; i < plan->apps.count; i++)
		if (!permission_apps_cover(false, &holding->apps, plan->apps.items[i]))
			return false;
	return true;
}

/*
 * The one in force that the plan would replace: of several the one that lasts
 * longest, then by code. Being suspended takes nothing away here.
 */
static bool
find_replaced(Subscription *replaced, const Account *account, const PlanVersion *plan,
			  TimestampTz now)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Account unsuspended = *account;
	Holdings holdings;
	const Holding *best = NULL;

	unsuspended.suspended = false;
	holding_load_due(&holdings, &unsuspended, now, snapshot);
	UnregisterSnapshot(snapshot);
	for (int i = 0; i < holdings.count; i++)
	{
		const Holding *item = &holdings.items[i];

		if (!item->in_force || item->kind != plan->kind || !same_apps(item, plan))
			continue;
		if (best == NULL || item->expires_at > best->expires_at ||
			(item->expires_at == best->expires_at && strcmp(item->plan, best->plan) < 0))
			best = item;
	}
	return best != NULL && subscription_read(replaced, &best->subscription_id);
}

static void
raise_other_currency(const Amount *cost, const Amount *price)
{
	ereport(ERROR, (errcode(ERRCODE_BILLING_INVALID_AMOUNT),
					errmsg("a plan cannot be replaced at once by one in another currency"),
					errdetail("The current period cost %s, the new plan costs %s.",
							  amount_text(cost), amount_text(price)),
					errhint("Order it with timing period_end.")));
}

/* Whether the price is at least what the current period cost; a period without any cost nothing. */
static bool
is_upgrade(const Quote *quote, const Account *account, bool period_end, TimestampTz now)
{
	Amount cost;

	if (query_execute(&select_cost, (NullableDatum[]){arg_uuid(&account->id),
													  arg_uuid(&quote->subject.subscription_id),
													  arg_time(now)}) == 0 ||
		query_is_null(0, 1))
		return true;
	cost = query_amount(0, 1);
	if (!amount_same_currency(&cost, &quote->price))
	{
		if (!period_end)
			raise_other_currency(&cost, &quote->price);
		return false;
	}
	return amount_compare(&quote->price, &cost) >= 0;
}

static void
raise_no_end(const Quote *quote)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("plan \"%s\" has no end at which it could be replaced", quote->subject.plan),
			 errdetail("It lasts until its tokens are used."),
			 errhint("Order with timing immediate.")));
}

/* False: it is bought alongside. */
static bool
decide_replacement(Quote *quote, const Account *account, bool period_end, TimestampTz now)
{
	bool upgrade = is_upgrade(quote, account, period_end, now);
	bool at_period_end = period_end || !upgrade;

	if (at_period_end && TIMESTAMP_IS_NOEND(quote->subject.expires_at))
	{
		if (period_end)
			raise_no_end(quote);
		return false;
	}
	quote->action = upgrade ? ORDER_UPGRADE : ORDER_DOWNGRADE;
	quote->at_period_end = at_period_end;
	return true;
}

static void
decide_action(Quote *quote, const Account *account, bool period_end, TimestampTz now)
{
	PeriodTerms terms = {.plan = quote->plan};

	quote->has_subject = true;
	quote->action = ORDER_RENEW;
	if (subscription_to_renew(&quote->subject, account, now, &terms))
		return;
	if (find_replaced(&quote->subject, account, quote->plan, now))
	{
		if (decide_replacement(quote, account, period_end, now))
			return;
	}
	else if (period_end && subscription_held(&quote->subject, &account->id, quote->plan->code, now))
		return;
	quote->action = ORDER_BUY;
	quote->has_subject = false;
}

static void
add_credits(Quote *quote, const Account *account, TimestampTz now)
{
	int from = quote->at_period_end ? 1 : 0;
	CreditList unused;

	if (quote->action != ORDER_UPGRADE && quote->action != ORDER_DOWNGRADE)
		return;
	credit_for_unused(&unused, account, &quote->subject.subscription_id, from, now);
	for (int i = 0; i < unused.count; i++)
	{
		if (amount_same_currency(&unused.items[i].amount, &quote->price))
		{
			credit_append(&quote->credits, &unused.items[i]);
			quote->credit = *amount_add(&quote->credit, &unused.items[i].amount);
		}
		else if (!quote->at_period_end)
			raise_other_currency(&unused.items[i].amount, &quote->price);
	}
}

static void
compute_due(Quote *quote, const Account *account, TimestampTz now)
{
	char currency[CURRENCY_CODE_LENGTH + 1] = {0};
	Amount available;

	memcpy(currency, quote->price.currency, CURRENCY_CODE_LENGTH);
	quote->due = quote->account_credit = *amount_make(0, currency);
	if (amount_compare(&quote->credit, &quote->price) >= 0)
		return;
	quote->due = *amount_sub(&quote->price, &quote->credit);
	available = account_credit_available(&account->id, currency, now);
	quote->account_credit = amount_compare(&available, &quote->due) < 0 ? available : quote->due;
	quote->due = *amount_sub(&quote->due, &quote->account_credit);
}

static void
compute_times(Quote *quote, const Account *account, TimestampTz now)
{
	PeriodTerms terms = {.plan = quote->plan};

	if (quote->at_period_end)
	{
		terms.has_effective_at = true;
		terms.effective_at = quote->subject.expires_at;
	}
	subscription_expected_time(account, now, quote->action == ORDER_RENEW ? &quote->subject : NULL,
							   &terms, &quote->effective_at, &quote->expires_at);
}

/*
 * What was given for later is not moved for what is bought now, nor is that cut
 * short; neither is what follows it.
 */
static void
require_room(const Quote *quote, const Account *account)
{
	TimestampTz begins;

	if (quote->action == ORDER_RENEW)
	{
		if (quote->subject.has_successor)
			succession_require_room(account, &quote->subject.successor_id, quote->expires_at);
		return;
	}
	if (!subscription_in_the_way(account, quote->plan->code, quote->effective_at, quote->expires_at,
								 NULL, &begins))
		return;
	ereport(ERROR, (errcode(ERRCODE_EXCLUSION_VIOLATION),
					errmsg("another subscription of plan \"%s\" is in the way", quote->plan->code),
					errdetail("The period would last from %s to %s; the other one begins at %s.",
							  pstrdup(timestamptz_to_str(quote->effective_at)),
							  pstrdup(timestamptz_to_str(quote->expires_at)),
							  pstrdup(timestamptz_to_str(begins))),
					quote->at_period_end
						? errhint("Cancel the other one first.")
						: errhint("Order with timing period_end, or cancel the other one first.")));
}

/* The caller is inside a call (call.h). */
void
quote_make(Quote *quote, const Account *account, const char *plan, bool period_end, TimestampTz now)
{
	memset(quote, 0, sizeof(*quote));
	quote->plan = plan_for_sale(plan);
	quote->price = quote->credit = *quote->plan->price;
	quote->credit.minor = 0;
	decide_action(quote, account, period_end, now);
	add_credits(quote, account, now);
	compute_due(quote, account, now);
	compute_times(quote, account, now);
	require_room(quote, account);
}

#define QUOTE_COLUMNS 8

static Datum
quote_datum(FunctionCallInfo fcinfo, const Quote *quote)
{
	TupleDesc desc;
	Datum values[QUOTE_COLUMNS];
	bool nulls[QUOTE_COLUMNS] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = CStringGetTextDatum(order_action_name(quote->action));
	values[1] = AmountPGetDatum(&quote->price);
	values[2] = AmountPGetDatum(amount_add(&quote->credit, &quote->account_credit));
	values[3] = AmountPGetDatum(&quote->due);
	values[4] = TimestampTzGetDatum(quote->effective_at);
	values[5] = TimestampTzGetDatum(quote->expires_at);
	nulls[5] = TIMESTAMP_IS_NOEND(quote->expires_at);
	values[6] = AmountPGetDatum(&quote->account_credit);
	values[7] = UUIDPGetDatum(&quote->subject.subscription_id);
	nulls[7] = !quote->has_subject;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * billing.quote_plan(account_id uuid, plan text, timing text)
 *		→ (action, price, credit, due, effective_at, expires_at, account_credit,
 *		subscription_id)
 *
 * What order_plan would do now, without doing it. NULL: 22004; the free plan,
 * unknown timing, period_end after a plan without end: 22023; over-long plan or
 * timing: 22001; a subscription of the same plan, given for later, in the way of
 * the period or of what is scheduled to follow it: 23P01; unknown account: PB001,
 * closed: PB002; unknown or retired plan, or one without a price: PB011; an
 * immediate change to another currency: PB015.
 */
Datum
billing_quote_plan(PG_FUNCTION_ARGS)
{
	Call call;
	const pg_uuid_t *account_id = argument_uuid(fcinfo, 0, "account_id");
	char *plan = argument_code(fcinfo, 1, "plan");
	bool period_end = quote_timing(argument_text(fcinfo, 2, "timing", NAME_MAX_LENGTH));
	Account account;
	Quote quote;

	call_enter(&call);
	account_require(&account, account_id);
	if (account.closed)
		account_raise_suspended(&account);
	quote_make(&quote, &account, plan, period_end, account_verb_time(&account));
	call_leave(&call);
	return quote_datum(fcinfo, &quote);
}
