/*
 * cancel.c
 *	  Cancelling subscriptions: at their end, or now.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "argument.h"
#include "call.h"
#include "errors.h"
#include "event.h"
#include "expiry.h"
#include "identifier.h"
#include "lock.h"
#include "order.h"
#include "query.h"
#include "spend.h"
#include "succession.h"

PG_FUNCTION_INFO_V1(billing_cancel_subscription);

static SqlQuery mark_canceled = {
	.sql = "UPDATE billing.subscription SET canceled_at = $3 WHERE account_id = $1 AND "
		   "subscription_id = $2 AND canceled_at IS NULL",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID}};

static void
write_event(const Account *account, const Subscription *subscription, bool at_period_end,
			TimestampTz now)
{
	EventDetail detail;

	event_detail_begin(&detail);
	event_detail_uuid(&detail, "subscription_id", &subscription->subscription_id);
	event_detail_text(&detail, "plan", subscription->plan);
	event_detail_bool(&detail, "at_period_end", at_period_end);
	event_write(&account->id, "subscription_canceled", now, &detail);
}

/* False: it was cancelled before. */
static bool
mark(const Account *account, const Subscription *subscription, TimestampTz now)
{
	return query_execute(&mark_canceled, (NullableDatum[]){arg_uuid(&account->id),
														   arg_uuid(&subscription->subscription_id),
														   arg_time(now)}) > 0;
}

/* Drops what has not begun; what was paid for it becomes account credit. */
static void
drop(const Account *account, const Subscription *subscription, TimestampTz now)
{
	CreditList credits;

	credit_for_dropped(&credits, account, &subscription->subscription_id, now);
	for (int i = 0; i < credits.count; i++)
	{
		credit_book(&account->id, &credits.items[i]);
		account_credit_add(&account->id, &credits.items[i].amount, CREDIT_DROPPED, NULL, NULL, now);
	}
	succession_end(account, subscription, now);
	succession_void_tokens(account, &subscription->subscription_id, now);
	succession_unlink(&account->id, &subscription->subscription_id);
	order_close_overtaken(&account->id, &subscription->subscription_id, NULL, now);
	(void) mark(account, subscription, now);
	write_event(account, subscription, true, now);
}

static void
cancel_at_end(const Account *account, const Subscription *subscription, TimestampTz now)
{
	SubscriptionLine scheduled;

	if (subscription->effective_at > now)
	{
		drop(account, subscription, now);
		return;
	}
	succession_line(&scheduled, subscription, 1);
	for (int i = scheduled.count - 1; i >= 0; i--)
		drop(account, &scheduled.items[i], now);
	if (mark(account, subscription, now))
		write_event(account, subscription, true, now);
}

static void
cancel_now(const Account *account, const Subscription *subscription, TimestampTz now)
{
	bool was = expiry_any_in_force(account, now);

	succession_end(account, subscription, now);
	succession_void_tokens(account, &subscription->subscription_id, now);
	if (subscription->effective_at > now)
		succession_unlink(&account->id, &subscription->subscription_id);
	if (subscription->has_successor)
		succession_shift(account, &subscription->successor_id, 1, now, now);
	order_close_overtaken(&account->id, &subscription->subscription_id, NULL, now);
	(void) mark(account, subscription, now);
	write_event(account, subscription, false, now);
	(void) expiry_run_account(account, now);
	if (was)
		expiry_plan_lost(account, now, "subscription_canceled");
}

static void
require_subscription(Subscription *subscription, const pg_uuid_t *id)
{
	if (!subscription_read(subscription, id))
		ereport(
			ERROR,
			(errcode(ERRCODE_BILLING_NOT_FOUND), errmsg("subscription does not exist"),
			 errdetail("There is no subscription %s.", identifier_text(id)),
			 errhint("The view billing.account_package lists the subscriptions of an account.")));
}

/*
 * billing.cancel_subscription(subscription_id uuid, at_period_end boolean) → void
 *
 * True: drops what is scheduled, that is a plan that was to follow, whose price
 * becomes account credit; the subscription stays in force to its end. Of one
 * that has not begun all is dropped. False: ends it now and voids its tokens;
 * moves no money. One that is over stays as it is. Renewing takes a cancellation
 * back. NULL: 22004; unknown subscription: PB016.
 */
Datum
billing_cancel_subscription(PG_FUNCTION_ARGS)
{
	Call call;
	const pg_uuid_t *id = argument_uuid(fcinfo, 0, "subscription_id");
	Subscription subscription;
	Account account;
	TimestampTz now;

	argument_require(fcinfo, 1, "at_period_end");
	spend_prevent("billing.cancel_subscription()");
	call_enter(&call);
	require_subscription(&subscription, id);
	lock_plan_change(&subscription.account_id);
	account_require(&account, &subscription.account_id);
	now = account_verb_time(&account);
	(void) expiry_run_account(&account, now);
	require_subscription(&subscription, id);
	if (!subscription.voided && subscription.expires_at > now)
	{
		if (PG_GETARG_BOOL(1))
			cancel_at_end(&account, &subscription, now);
		else
			cancel_now(&account, &subscription, now);
	}
	call_leave(&call);
	PG_RETURN_VOID();
}
