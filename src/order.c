/*
 * order.c
 *	  Orders: what is to be paid, pinned until it lapses.
 *
 * An order is open until it is paid, lapses, or is closed because what it renews
 * or replaces was replaced, ended or paid back meanwhile. Account credit that
 * pays for a part of it is set aside by its being open and spent when it is paid.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "argument.h"
#include "audit.h"
#include "binding.h"
#include "call.h"
#include "errors.h"
#include "event.h"
#include "expiry.h"
#include "identifier.h"
#include "lock.h"
#include "order.h"
#include "query.h"
#include "settings.h"
#include "spend.h"

PG_FUNCTION_INFO_V1(billing_order_plan);

static const char *const status_names[] = {"open", "paid", "lapsed", "closed"};

static SqlQuery select_order = {
	.sql = "SELECT account_id, action, at_period_end, plan, version, price, credit, "
		   "account_credit, due, subject_id, expires_at, status, subscription_id "
		   "FROM billing.plan_order WHERE order_id = $1",
	.nargs = 1,
	.argtypes = {UUIDOID}};

static SqlQuery insert_order = {
	.sql = "INSERT INTO billing.plan_order (account_id, order_id, action, timing, at_period_end, "
		   "plan, version, price, credit, account_credit, due, subject_id, created_at, expires_at, "
		   "idempotency_key) "
		   "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
	.nargs = 15,
	.argtypes = {UUIDOID, UUIDOID, TEXTOID, TEXTOID, BOOLOID, TEXTOID, INT4OID, AMOUNT_ARGUMENT,
				 AMOUNT_ARGUMENT, AMOUNT_ARGUMENT, AMOUNT_ARGUMENT, UUIDOID, TIMESTAMPTZOID,
				 TIMESTAMPTZOID, TEXTOID}};

static SqlQuery insert_credit = {
	.sql = "INSERT INTO billing.order_credit (account_id, order_id, subscription_id, period_no, "
		   "amount) VALUES ($1, $2, $3, $4, $5)",
	.nargs = 5,
	.argtypes = {UUIDOID, UUIDOID, UUIDOID, INT4OID, AMOUNT_ARGUMENT}};

static SqlQuery select_credits = {
	.sql = "SELECT subscription_id, period_no, amount FROM billing.order_credit "
		   "WHERE account_id = $1 AND order_id = $2 ORDER BY subscription_id, period_no",
	.nargs = 2,
	.argtypes = {UUIDOID, UUIDOID}};

static SqlQuery select_key = {
	.sql = "SELECT order_id, plan = $3 AND timing = $4 FROM billing.plan_order "
		   "WHERE account_id = $1 AND idempotency_key = $2",
	.nargs = 4,
	.argtypes = {UUIDOID, TEXTOID, TEXTOID, TEXTOID}};

static SqlQuery end_order = {
	.sql = "UPDATE billing.plan_order SET status = $3, closed_at = $4, subscription_id = $5 "
		   "WHERE account_id = $1 AND order_id = $2 AND status = 'open'",
	.nargs = 5,
	.argtypes = {UUIDOID, UUIDOID, TEXTOID, TIMESTAMPTZOID, UUIDOID}};

/* Those that renew or replace the subscription, or count on credit for it. */
static SqlQuery select_overtaken = {
	.sql = "SELECT o.order_id FROM billing.plan_order o WHERE o.account_id = $1 AND o.status = "
		   "'open' AND (o.subject_id = $2 OR EXISTS (SELECT FROM billing.order_credit c WHERE "
		   "c.account_id = o.account_id AND c.order_id = o.order_id AND c.subscription_id = $2)) "
		   "AND o.order_id IS DISTINCT FROM $3 ORDER BY o.order_id",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, UUIDOID}};

/* Those whose account credit, with that of all older ones, is more than there is. */
static SqlQuery select_unfunded = {
	.sql = "SELECT o.order_id FROM (SELECT order_id, account_credit, sum(minor_units("
		   "account_credit)) OVER (ORDER BY created_at, order_id) AS reserved "
		   "FROM billing.plan_order WHERE account_id = $1 AND status = 'open' AND expires_at > $3 "
		   "AND currency(price) = $2) o WHERE minor_units(o.account_credit) > 0 AND o.reserved > "
		   "(SELECT coalesce(sum(minor_units(c.amount)), 0) FROM billing.account_credit c "
		   "WHERE c.account_id = $1 AND currency(c.amount) = $2) ORDER BY o.order_id",
	.nargs = 3,
	.argtypes = {UUIDOID, TEXTOID, TIMESTAMPTZOID}};

static OrderStatus
status_from_name(const char *name)
{
	for (int i = 0; i < (int) lengthof(status_names); i++)
		if (strcmp(name, status_names[i]) == 0)
			return (OrderStatus) i;
	elog(ERROR, "an order has the unknown status \"%s\"", name);
}

/* False: no such order, or none that the transaction may know of. */
bool
order_read(Order *order, const pg_uuid_t *order_id)
{
	if (query_execute(&select_order, (NullableDatum[]){arg_uuid(order_id)}) == 0)
		return false;
	order->account_id = query_uuid(0, 1);
	if (!binding_admits(&order->account_id))
		return false;
	order->order_id = *order_id;
	order->action = order_action_from_name(query_text(0, 2));
	order->at_period_end = query_bool(0, 3);
	order->plan = query_text(0, 4);
	order->version = query_int32(0, 5);
	order->price = query_amount(0, 6);
	order->credit = query_amount(0, 7);
	order->account_credit = query_amount(0, 8);
	order->due = query_amount(0, 9);
	order->has_subject = !query_is_null(0, 10);
	if (order->has_subject)
		order->subject_id = query_uuid(0, 10);
	order->expires_at = query_time(0, 11);
	order->status = status_from_name(query_text(0, 12));
	order->has_subscription = !query_is_null(0, 13);
	if (order->has_subscription)
		order->subscription_id = query_uuid(0, 13);
	return true;
}

/* What the order promises to credit. */
void
order_credits(CreditList *list, const Order *order)
{
	list->count =
		(int) query_execute(&select_credits, (NullableDatum[]){arg_uuid(&order->account_id),
															   arg_uuid(&order->order_id)});
	list->items = palloc0(sizeof(PeriodCredit) * (list->count + 1));
	for (int i = 0; i < list->count; i++)
	{
		list->items[i].subscription_id = query_uuid(i, 1);
		list->items[i].period_no = query_int32(i, 2);
		list->items[i].amount = query_amount(i, 3);
	}
}

static void
end(const pg_uuid_t *account, const pg_uuid_t *order_id, OrderStatus status,
	const pg_uuid_t *subscription_id, TimestampTz at)
{
	EventDetail detail;

	query_execute(&end_order, (NullableDatum[]){arg_uuid(account), arg_uuid(order_id),
												arg_text(status_names[status]), arg_time(at),
												arg_uuid(subscription_id)});
	event_detail_begin(&detail);
	event_detail_uuid(&detail, "order_id", order_id);
	event_detail_uuid(&detail, "subscription_id", subscription_id);
	event_write(account, psprintf("order_%s", status_names[status]), at, &detail);
}

void
order_paid(const Order *order, const pg_uuid_t *subscription_id, TimestampTz now)
{
	end(&order->account_id, &order->order_id, ORDER_PAID, subscription_id, now);
}

void
order_closed(const Order *order, TimestampTz now)
{
	end(&order->account_id, &order->order_id, ORDER_CLOSED, NULL, now);
}

void
order_lapsed(const pg_uuid_t *account, const pg_uuid_t *order_id, TimestampTz at)
{
	end(account, order_id, ORDER_LAPSED, NULL, at);
}

/* The orders that the last query found. */
static void
close_found(const pg_uuid_t *account, uint64 count, TimestampTz now)
{
	pg_uuid_t *orders = palloc(sizeof(pg_uuid_t) * (count + 1));

	for (uint64 i = 0; i < count; i++)
		orders[i] = query_uuid(i, 1);
	for (uint64 i = 0; i < count; i++)
		end(account, &orders[i], ORDER_CLOSED, NULL, now);
}

/*
 * Closes the open orders whose terms no longer hold, now that the subscription is
 * not what it was. by: the order that does it; NULL: none.
 */
void
order_close_overtaken(const pg_uuid_t *account, const pg_uuid_t *subscription, const pg_uuid_t *by,
					  TimestampTz now)
{
	close_found(
		account,
		query_execute(&select_overtaken,
					  (NullableDatum[]){arg_uuid(account), arg_uuid(subscription), arg_uuid(by)}),
		now);
}

/* Closes the open orders that count on account credit which was paid back. */
void
order_close_unfunded(const pg_uuid_t *account, const char *currency, TimestampTz now)
{
	close_found(
		account,
		query_execute(&select_unfunded,
					  (NullableDatum[]){arg_uuid(account), arg_text(currency), arg_time(now)}),
		now);
}

static void
write_created(const pg_uuid_t *account, const pg_uuid_t *order_id, const Quote *quote,
			  TimestampTz now)
{
	EventDetail detail;

	event_detail_begin(&detail);
	event_detail_uuid(&detail, "order_id", order_id);
	event_detail_text(&detail, "action", order_action_name(quote->action));
	event_detail_text(&detail, "plan", quote->plan->code);
	event_detail_int64(&detail, "version", quote->plan->version);
	event_detail_amount(&detail, "price", &quote->price);
	event_detail_amount(&detail, "credit", &quote->credit);
	event_detail_amount(&detail, "account_credit", &quote->account_credit);
	event_detail_amount(&detail, "due", &quote->due);
	event_write(account, "order_created", now, &detail);
}

static TimestampTz
lapses_at(TimestampTz now)
{
	return now + (int64) rint(settings_order_lifetime * USECS_PER_SEC);
}

static void
store(pg_uuid_t *order_id, const Account *account, const Quote *quote, const char *timing,
	  const char *key, TimestampTz now)
{
	identifier_new(order_id, &account->id);
	query_execute(
		&insert_order,
		(NullableDatum[]){
			arg_uuid(&account->id), arg_uuid(order_id), arg_text(order_action_name(quote->action)),
			arg_text(timing), arg_bool(quote->at_period_end), arg_text(quote->plan->code),
			arg_int32(quote->plan->version), arg_amount(&quote->price), arg_amount(&quote->credit),
			arg_amount(&quote->account_credit), arg_amount(&quote->due),
			arg_uuid(quote->has_subject ? &quote->subject.subscription_id : NULL), arg_time(now),
			arg_time(lapses_at(now)), arg_text(key)});
	for (int i = 0; i < quote->credits.count; i++)
		query_execute(&insert_credit,
					  (NullableDatum[]){arg_uuid(&account->id), arg_uuid(order_id),
										arg_uuid(&quote->credits.items[i].subscription_id),
										arg_int32(quote->credits.items[i].period_no),
										arg_amount(&quote->credits.items[i].amount)});
	write_created(&account->id, order_id, quote, now);
}

static bool
replay(pg_uuid_t *order_id, const pg_uuid_t *account, const char *plan, const char *timing,
	   const char *key)
{
	if (key == NULL ||
		query_execute(&select_key, (NullableDatum[]){arg_uuid(account), arg_text(key),
													 arg_text(plan), arg_text(timing)}) == 0)
		return false;
	*order_id = query_uuid(0, 1);
	if (!query_bool(0, 2))
		ereport(ERROR, (errcode(ERRCODE_BILLING_IDEMPOTENCY_CONFLICT),
						errmsg("idempotency key was used for another request"),
						errdetail("It led to order %s of another plan or timing.",
								  identifier_text(order_id)),
						errhint("Use a new key for a new request.")));
	return true;
}

/*
 * With nothing due there is nothing to wait for, but for those who spend: until
 * they are done the order's terms may have ended, as those of one that is paid
 * later.
 */
static void
fulfil_if_free(const pg_uuid_t *order_id, const Account *account)
{
	Order order;
	pg_uuid_t subscription_id;
	TimestampTz now;

	if (!order_read(&order, order_id) || !amount_is_zero(&order.due))
		return;
	lock_account(&account->id, LOCK_TOKENS, purchase_token_mode(&order, account));
	now = account_verb_time(account);
	(void) expiry_run_account(account, now);
	if (!order_read(&order, order_id) || order.status != ORDER_OPEN)
		return;
	if (purchase_outlived(&order, now))
		order_closed(&order, now);
	else
		purchase_make(&order, account, now, &subscription_id);
}

/*
 * billing.order_plan(account_id uuid, plan text, timing text,
 *		idempotency_key text) → uuid
 *
 * Orders a plan at the terms that quote_plan tells, pinned for
 * billing.order_lifetime; returns the order. Nothing changes until it is paid,
 * unless nothing is due; it is closed if its terms ended while it waited for
 * those who spend. Works in a suspended account. Errors are those of quote_plan;
 * key used for another request: PB008.
 */
Datum
billing_order_plan(PG_FUNCTION_ARGS)
{
	Call call;
	const pg_uuid_t *account_id = argument_uuid(fcinfo, 0, "account_id");
	char *plan = argument_code(fcinfo, 1, "plan");
	char *timing = argument_text(fcinfo, 2, "timing", NAME_MAX_LENGTH);
	bool period_end = quote_timing(timing);
	char *key = argument_key_or_null(fcinfo, 3, "idempotency_key");
	pg_uuid_t *order_id = palloc(sizeof(pg_uuid_t));
	Account account;
	TimestampTz now;
	Quote quote;

	spend_prevent("billing.order_plan()");
	call_enter(&call);
	lock_account(account_id, LOCK_PLANS, ExclusiveLock);
	account_require(&account, account_id);
	if (!replay(order_id, account_id, plan, timing, key))
	{
		if (account.closed)
			account_raise_suspended(&account);
		now = account_verb_time(&account);
		(void) expiry_run_account(&account, now);
		quote_make(&quote, &account, plan, period_end, now);
		store(order_id, &account, &quote, timing, key, now);
		fulfil_if_free(order_id, &account);
	}
	audit_write(fcinfo, &call, account_id);
	call_leave(&call);
	PG_RETURN_UUID_P(order_id);
}
