/*
 * purchase.c
 *	  Doing what an order says, once it is paid.
 *
 * The order's version, price and credits are as they were when it was made; what
 * the account holds is as it is now. So a plan that is held by now is renewed,
 * and unfinished periods that were bought since are credited as well.
 */
#include "postgres.h"

#include "utils/snapmgr.h"

#include "errors.h"
#include "event.h"
#include "order.h"
#include "outbox.h"
#include "succession.h"

typedef struct Purchase
{
	const Order *order;
	const Account *account;
	TimestampTz now;
	PeriodTerms terms;
	pg_uuid_t subscription_id; /* what comes of it */
} Purchase;

static bool
replaces(const Order *order)
{
	return order->action == ORDER_UPGRADE || order->action == ORDER_DOWNGRADE;
}

/*
 * How the account's tokens are to be locked, after its plans: replacing takes
 * something away from those who spend.
 */
LOCKMODE
purchase_token_mode(const Order *order, const Account *account)
{
	return replaces(order) ? ExclusiveLock : subscription_token_mode(account, order->plan);
}

/* What is given for later is not held yet, unless the order was for a period behind it. */
static bool
find_renewed(Subscription *held, const Purchase *purchase)
{
	const Order *order = purchase->order;

	if (subscription_to_renew(held, purchase->account, purchase->now, &purchase->terms))
		return true;
	return order->action == ORDER_RENEW &&
		   subscription_held(held, &order->account_id, order->plan, purchase->now) &&
		   memcmp(held->subscription_id.data, order->subject_id.data, UUID_LEN) == 0;
}

static bool
renew_if_held(Purchase *purchase)
{
	Subscription held;

	if (!find_renewed(&held, purchase))
		return false;
	subscription_renew(&held, purchase->account, purchase->now, &purchase->terms);
	purchase->subscription_id = held.subscription_id;
	return true;
}

static void
renew_or_begin(Purchase *purchase)
{
	if (!renew_if_held(purchase))
		subscription_begin(&purchase->subscription_id, purchase->account, purchase->now,
						   &purchase->terms);
}

static void
add_excess(const Purchase *purchase, const Amount *amount)
{
	account_credit_add(&purchase->account->id, amount, CREDIT_EXCESS, &purchase->order->order_id,
					   NULL, purchase->now);
}

/*
 * Books the credits for the periods that go. Those that the order promised pay
 * for it, the rest of them and all others become account credit.
 */
static void
book_credits(const Purchase *purchase, const pg_uuid_t *subject, int from)
{
	const Order *order = purchase->order;
	CreditList promised;
	CreditList unused;

	order_credits(&promised, order);
	for (int i = 0; i < promised.count; i++)
		credit_book(&order->account_id, &promised.items[i]);
	if (amount_compare(&order->credit, &order->price) > 0)
		add_excess(purchase, amount_sub(&order->credit, &order->price));
	credit_for_unused(&unused, purchase->account, subject, from, purchase->now);
	for (int i = 0; i < unused.count; i++)
	{
		credit_book(&order->account_id, &unused.items[i]);
		add_excess(purchase, &unused.items[i].amount);
	}
}

/* Where nothing is replaced nothing is credited: a promise kept nevertheless would be money twice. */
static void
require_no_credit(const Order *order)
{
	if (amount_is_zero(&order->credit))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_BILLING_ORDER_CLOSED),
			 errmsg("what the order counts on credit for would not be replaced"),
			 errdetail("Of the price of %s it promises to credit %s, but plan \"%s\" is held "
					   "already, or what it was to replace is over.",
					   amount_text(&order->price), amount_text(&order->credit), order->plan),
			 errhint("Order again.")));
}

static void
write_event(const Purchase *purchase, const char *kind, const Subscription *subject)
{
	EventDetail detail;

	event_detail_begin(&detail);
	event_detail_uuid(&detail, "subscription_id", &purchase->subscription_id);
	event_detail_text(&detail, "plan", purchase->order->plan);
	event_detail_uuid(&detail, "replaced", &subject->subscription_id);
	event_detail_text(&detail, "replaced_plan", subject->plan);
	event_detail_uuid(&detail, "order_id", &purchase->order->order_id);
	event_detail_amount(&detail, "credit", &purchase->order->credit);
	event_write(&purchase->account->id, kind, purchase->now, &detail);
}

static void
hand_over(const Purchase *purchase, const SubscriptionLine *gone)
{
	for (int i = 0; i < gone->count; i++)
	{
		succession_replace(purchase->account, &gone->items[i], &purchase->subscription_id,
						   purchase->now);
		order_close_overtaken(&purchase->account->id, &gone->items[i].subscription_id,
							  &purchase->order->order_id, purchase->now);
	}
}

/* At once: the old subscription and what was scheduled to follow it end now. */
static void
replace_now(Purchase *purchase, const Subscription *subject)
{
	SubscriptionLine gone;

	book_credits(purchase, &subject->subscription_id, 0);
	succession_line(&gone, subject, 0);
	for (int i = 0; i < gone.count; i++)
		succession_end(purchase->account, &gone.items[i], purchase->now);
	renew_or_begin(purchase);
	hand_over(purchase, &gone);
	write_event(purchase, "subscription_upgraded", subject);
}

/* When the old subscription ends: what was scheduled for that instant goes. */
static void
schedule(Purchase *purchase, const Subscription *subject)
{
	SubscriptionLine gone;

	if (renew_if_held(purchase))
	{
		require_no_credit(purchase->order);
		return;
	}
	book_credits(purchase, &subject->subscription_id, 1);
	succession_line(&gone, subject, 1);
	for (int i = 0; i < gone.count; i++)
		succession_end(purchase->account, &gone.items[i], purchase->now);
	purchase->terms.has_effective_at = true;
	purchase->terms.effective_at = subject->expires_at;
	subscription_begin(&purchase->subscription_id, purchase->account, purchase->now,
					   &purchase->terms);
	hand_over(purchase, &gone);
	succession_set(&purchase->account->id, &subject->subscription_id, &purchase->subscription_id);
	write_event(purchase, "downgrade_scheduled", subject);
}

static void
read_subject(Subscription *subject, const Order *order)
{
	if (!subscription_read(subject, &order->subject_id))
		elog(ERROR, "the subscription that an order replaces does not exist");
}

static void
fulfil(Purchase *purchase)
{
	Subscription subject;

	if (!replaces(purchase->order))
	{
		renew_or_begin(purchase);
		return;
	}
	read_subject(&subject, purchase->order);
	if (subject.expires_at <= purchase->now)
	{
		require_no_credit(purchase->order);
		renew_or_begin(purchase);
	}
	else if (purchase->order->at_period_end)
		schedule(purchase, &subject);
	else
		replace_now(purchase, &subject);
}

/*
 * Whether the order promises credit for what is over by now: the time it was paid
 * for has been used to its end.
 */
bool
purchase_outlived(const Order *order, TimestampTz now)
{
	Subscription subject;

	if (!replaces(order) || amount_is_zero(&order->credit))
		return false;
	read_subject(&subject, order);
	return subject.expires_at <= now;
}

/*
 * The caller holds both of the account's locks (purchase_token_mode), and the
 * order is open.
 */
void
purchase_make(const Order *order, const Account *account, TimestampTz now,
			  pg_uuid_t *subscription_id)
{
	Purchase purchase = {.order = order, .account = account, .now = now};
	Amount spent = order->account_credit;

	purchase.terms.plan = plan_version_read(order->plan, order->version, GetLatestSnapshot());
	if (purchase.terms.plan == NULL)
		elog(ERROR, "version %d of plan \"%s\" does not exist", order->version, order->plan);
	purchase.terms.paid = &order->price;
	purchase.terms.order_id = &order->order_id;
	spent.minor = -spent.minor;
	account_credit_add(&account->id, &spent, CREDIT_ORDER, &order->order_id, NULL, now);
	fulfil(&purchase);
	order_paid(order, &purchase.subscription_id, now);
	outbox_notify(&account->id);
	*subscription_id = purchase.subscription_id;
}
