/*
 * payment_refund.c
 *	  Recording what a provider paid back.
 *
 * The money is taken from where it went: a payment that paid for nothing just
 * shrinks; otherwise first the period that it bought gives, then the periods
 * that credit for that one went to, then account credit, then any other period
 * of the account, the newest first. So no sum ever goes below zero.
 */
#include "postgres.h"

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
#include "outbox.h"
#include "query.h"
#include "spend.h"
#include "succession.h"

PG_FUNCTION_INFO_V1(billing_record_refund);

typedef struct Refund
{
	pg_uuid_t payment_id;
	char *provider;
	char *provider_ref;
	Amount amount;
	bool end_access;
} Refund;

/* The payment, and what was not paid back of it yet. */
typedef struct Payment
{
	pg_uuid_t account_id;
	pg_uuid_t order_id;
	char *reason;
	Amount amount;
	Amount left;
} Payment;

static SqlQuery select_payment = {
	.sql = "SELECT p.account_id, p.order_id, p.reason, p.amount, p.amount - coalesce((SELECT "
		   "sum(r.amount) FROM billing.payment_refund r WHERE r.account_id = p.account_id AND "
		   "r.payment_id = p.payment_id), p.amount - p.amount) "
		   "FROM billing.payment p WHERE p.payment_id = $1",
	.nargs = 1,
	.argtypes = {UUIDOID}};

static SqlQuery select_refund = {
	.sql = "SELECT refund_id, payment_id = $3 AND amount *<= $4 AND amount *>= $4 AND end_access = "
		   "$5 FROM billing.payment_refund WHERE provider = $1 AND provider_ref = $2",
	.nargs = 5,
	.argtypes = {TEXTOID, TEXTOID, UUIDOID, AMOUNT_ARGUMENT, BOOLOID}};

static SqlQuery insert_refund = {
	.sql = "INSERT INTO billing.payment_refund (account_id, refund_id, payment_id, provider, "
		   "provider_ref, amount, end_access, refunded_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) "
		   "ON CONFLICT (provider, provider_ref) DO NOTHING",
	.nargs = 8,
	.argtypes = {UUIDOID, UUIDOID, UUIDOID, TEXTOID, TEXTOID, AMOUNT_ARGUMENT, BOOLOID,
				 TIMESTAMPTZOID}};

/*
 * Periods that still have money of this currency, in the order in which they
 * give it back; the second column tells those that the payment led to from the
 * others.
 */
static SqlQuery select_sources = {
	.sql =
		"WITH RECURSIVE line AS (SELECT p.subscription_id, 0 AS place "
		"FROM billing.subscription_period p WHERE p.account_id = $1 AND p.order_id = $2 "
		"UNION ALL SELECT s.replaced_by, line.place + 1 FROM line JOIN billing.subscription s "
		"ON s.account_id = $1 AND s.subscription_id = line.subscription_id "
		"WHERE s.replaced_by IS NOT NULL) "
		"SELECT source.subscription_id, source.place IS NOT NULL, source.period_no, source.left_ "
		"FROM (SELECT p.subscription_id, p.period_no, p.created_at, "
		"CASE WHEN p.order_id = $2 THEN 0 WHEN line.place > 0 THEN line.place END AS place, "
		"p.paid - coalesce(p.credited, p.paid - p.paid) - coalesce(p.refunded, p.paid - p.paid) "
		"AS left_ FROM billing.subscription_period p LEFT JOIN line USING (subscription_id) "
		"WHERE p.account_id = $1 AND p.paid IS NOT NULL AND currency(p.paid) = $3) source "
		"WHERE minor_units(source.left_) > 0 "
		"ORDER BY source.place NULLS LAST, source.created_at DESC, source.period_no DESC",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, TEXTOID}};

static SqlQuery book_refund = {
	.sql = "UPDATE billing.subscription_period SET refunded = "
		   "CASE WHEN refunded IS NULL THEN $4 ELSE refunded + $4 END "
		   "WHERE account_id = $1 AND subscription_id = $2 AND period_no = $3",
	.nargs = 4,
	.argtypes = {UUIDOID, UUIDOID, INT4OID, AMOUNT_ARGUMENT}};

/* The period that the payment bought. */
static SqlQuery select_bought = {
	.sql = "SELECT subscription_id, period_no FROM billing.subscription_period "
		   "WHERE account_id = $1 AND order_id = $2",
	.nargs = 2,
	.argtypes = {UUIDOID, UUIDOID}};

typedef struct Source
{
	PeriodCredit period;
	bool led_to; /* the payment did, by itself or through credit */
} Source;

static void
read_payment(Payment *payment, const pg_uuid_t *payment_id)
{
	bool found = query_execute(&select_payment, (NullableDatum[]){arg_uuid(payment_id)}) > 0;

	if (found)
		payment->account_id = query_uuid(0, 1);
	if (!found || !binding_admits(&payment->account_id))
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_NOT_FOUND), errmsg("payment does not exist"),
				 errdetail("There is no payment %s.", identifier_text(payment_id)),
				 errhint("The view billing.payment_history lists the payments of an account.")));
	payment->order_id = query_uuid(0, 2);
	payment->reason = query_text(0, 3);
	payment->amount = query_amount(0, 4);
	payment->left = query_amount(0, 5);
}

static void
check_amount(const Payment *payment, const Refund *refund)
{
	if (refund->amount.minor <= 0 || !amount_same_currency(&refund->amount, &payment->amount) ||
		amount_compare(&refund->amount, &payment->left) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_AMOUNT), errmsg("amount cannot be refunded"),
				 errdetail("It is %s; of the payment of %s, %s were not refunded yet.",
						   amount_text(&refund->amount), amount_text(&payment->amount),
						   amount_text(&payment->left)),
				 errhint("Pass what was paid back, in the payment's currency.")));
}

static bool
replay(pg_uuid_t *refund_id, const Refund *refund)
{
	if (query_execute(&select_refund,
					  (NullableDatum[]){arg_text(refund->provider), arg_text(refund->provider_ref),
										arg_uuid(&refund->payment_id), arg_amount(&refund->amount),
										arg_bool(refund->end_access)}) == 0)
		return false;
	*refund_id = query_uuid(0, 1);
	if (!query_bool(0, 2))
		ereport(ERROR, (errcode(ERRCODE_BILLING_IDEMPOTENCY_CONFLICT),
						errmsg("reference was used for another refund"),
						errdetail("Refund %s has another payment, amount or end_access.",
								  identifier_text(refund_id)),
						errhint("Pass the provider's own reference of this refund.")));
	return true;
}

static Source *
load_sources(const Payment *payment, const char *currency, int *count)
{
	Source *sources;

	*count = (int) query_execute(&select_sources, (NullableDatum[]){arg_uuid(&payment->account_id),
																	arg_uuid(&payment->order_id),
																	arg_text(currency)});
	sources = palloc0(sizeof(Source) * (*count + 1));
	for (int i = 0; i < *count; i++)
	{
		sources[i].period.subscription_id = query_uuid(i, 1);
		sources[i].led_to = query_bool(i, 2);
		sources[i].period.period_no = query_int32(i, 3);
		sources[i].period.amount = query_amount(i, 4);
	}
	return sources;
}

static Amount
smaller(const Amount *a, const Amount *b)
{
	return amount_compare(a, b) <= 0 ? *a : *b;
}

/* Takes from the periods, or only from those that the payment led to. */
static void
take_from_periods(const Payment *payment, const char *currency, bool only_led_to, Amount *rest,
				  TimestampTz now)
{
	int count;
	Source *sources = load_sources(payment, currency, &count);

	for (int i = 0; i < count && !amount_is_zero(rest); i++)
	{
		PeriodCredit *period = &sources[i].period;
		Amount taken = smaller(&period->amount, rest);

		if (only_led_to && !sources[i].led_to)
			continue;
		query_execute(&book_refund,
					  (NullableDatum[]){arg_uuid(&payment->account_id),
										arg_uuid(&period->subscription_id),
										arg_int32(period->period_no), arg_amount(&taken)});
		order_close_overtaken(&payment->account_id, &period->subscription_id, NULL, now);
		*rest = *amount_sub(rest, &taken);
	}
}

static void
take_from_credit(const Payment *payment, const pg_uuid_t *payment_id, const char *currency,
				 Amount *rest, TimestampTz now)
{
	Amount balance = account_credit_balance(&payment->account_id, currency);
	Amount taken = smaller(&balance, rest);
	Amount negative = taken;

	negative.minor = -taken.minor;
	account_credit_add(&payment->account_id, &negative, CREDIT_REFUND, NULL, payment_id, now);
	*rest = *amount_sub(rest, &taken);
	order_close_unfunded(&payment->account_id, currency, now);
}

static void
take_back(const Payment *payment, const Refund *refund, TimestampTz now)
{
	Amount rest = refund->amount;
	char currency[CURRENCY_CODE_LENGTH + 1] = {0};

	if (strcmp(payment->reason, "payment_mismatch") == 0)
		return;
	memcpy(currency, rest.currency, CURRENCY_CODE_LENGTH);
	if (strcmp(payment->reason, "accepted") == 0)
		take_from_periods(payment, currency, true, &rest, now);
	take_from_credit(payment, &refund->payment_id, currency, &rest, now);
	take_from_periods(payment, currency, false, &rest, now);
	if (!amount_is_zero(&rest))
		elog(ERROR, "%s of a refund were found nowhere", amount_text(&rest));
}

static void
write_access_ended(const Account *account, const pg_uuid_t *subscription_id, int32 period_no,
				   TimestampTz now)
{
	EventDetail detail;

	event_detail_begin(&detail);
	event_detail_uuid(&detail, "subscription_id", subscription_id);
	event_detail_int64(&detail, "period_no", period_no);
	event_write(&account->id, "access_ended", now, &detail);
}

/* What was replaced or is over has ended before. */
static void
end_access(const Account *account, const Payment *payment, TimestampTz now)
{
	bool was = expiry_any_in_force(account, now);
	pg_uuid_t subscription_id;
	int32 period_no;

	if (strcmp(payment->reason, "accepted") != 0 ||
		query_execute(&select_bought,
					  (NullableDatum[]){arg_uuid(&account->id), arg_uuid(&payment->order_id)}) == 0)
		return;
	subscription_id = query_uuid(0, 1);
	period_no = query_int32(0, 2);
	if (!succession_end_period(account, &subscription_id, period_no, now))
		return;
	order_close_overtaken(&account->id, &subscription_id, NULL, now);
	write_access_ended(account, &subscription_id, period_no, now);
	(void) expiry_run_account(account, now);
	if (was)
		expiry_plan_lost(account, now, "payment_refunded");
}

static void
store(pg_uuid_t *refund_id, const Payment *payment, const Refund *refund, TimestampTz now)
{
	EventDetail detail;

	identifier_new(refund_id, &payment->account_id);
	if (query_execute(&insert_refund,
					  (NullableDatum[]){arg_uuid(&payment->account_id), arg_uuid(refund_id),
										arg_uuid(&refund->payment_id), arg_text(refund->provider),
										arg_text(refund->provider_ref), arg_amount(&refund->amount),
										arg_bool(refund->end_access), arg_time(now)}) == 0)
		(void) replay(refund_id, refund);
	event_detail_begin(&detail);
	event_detail_uuid(&detail, "refund_id", refund_id);
	event_detail_uuid(&detail, "payment_id", &refund->payment_id);
	event_detail_amount(&detail, "amount", &refund->amount);
	event_detail_bool(&detail, "end_access", refund->end_access);
	event_write(&payment->account_id, "payment_refunded", now, &detail);
	outbox_notify(&payment->account_id);
}

static Refund
refund_from_arguments(FunctionCallInfo fcinfo)
{
	Refund refund;

	refund.payment_id = *argument_uuid(fcinfo, 0, "payment_id");
	argument_require(fcinfo, 1, "provider");
	refund.provider = argument_key_or_null(fcinfo, 1, "provider");
	argument_require(fcinfo, 2, "provider_ref");
	refund.provider_ref = argument_key_or_null(fcinfo, 2, "provider_ref");
	argument_require(fcinfo, 3, "amount");
	refund.amount = *PG_GETARG_AMOUNT_P(3);
	argument_require(fcinfo, 4, "end_access");
	refund.end_access = PG_GETARG_BOOL(4);
	return refund;
}

/*
 * billing.record_refund(payment_id uuid, provider text, provider_ref text,
 *		amount billing.amount, end_access boolean) → uuid
 *
 * Records what a provider paid back of a payment, at most what was paid; returns
 * the refund. end_access: the period that the payment bought ends now and its
 * unused tokens are voided; later ones move up; one of a token plan stays where
 * tokens of other payments need it. The same refund again returns the same id.
 * NULL: 22004; malformed provider or provider_ref: 22023, 22001; amount that is
 * not positive, of another currency, or more than what is left of
 * the payment: PB015; unknown payment: PB016; reference of another refund: PB008.
 */
Datum
billing_record_refund(PG_FUNCTION_ARGS)
{
	Call call;
	Refund refund = refund_from_arguments(fcinfo);
	pg_uuid_t *refund_id = palloc(sizeof(pg_uuid_t));
	Payment payment;
	Account account;
	TimestampTz now;

	spend_prevent("billing.record_refund()");
	call_enter(&call);
	read_payment(&payment, &refund.payment_id);
	lock_plan_change(&payment.account_id);
	if (!replay(refund_id, &refund))
	{
		account_require(&account, &payment.account_id);
		now = account_verb_time(&account);
		(void) expiry_run_account(&account, now);
		read_payment(&payment, &refund.payment_id);
		check_amount(&payment, &refund);
		store(refund_id, &payment, &refund, now);
		take_back(&payment, &refund, now);
		if (refund.end_access)
			end_access(&account, &payment, now);
	}
	audit_write(fcinfo, &call, &payment.account_id);
	call_leave(&call);
	PG_RETURN_UUID_P(refund_id);
}
