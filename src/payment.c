/*
 * payment.c
 *	  Recording what a provider says was paid.
 *
 * Money that came in is a fact: a well-formed notice for a known order is
 * recorded whatever it says, and nothing about it raises. What it cannot pay
 * for is kept apart, or becomes account credit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/resowner.h"

#include "argument.h"
#include "audit.h"
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

PG_FUNCTION_INFO_V1(billing_record_payment);

#define RECEIPT_ACCEPTED "accepted"
#define RECEIPT_MISMATCH "payment_mismatch"
#define RECEIPT_CLOSED   "order_closed"
#define RECEIPT_REUSED   "reference_reused"

/* What the provider says. */
typedef struct Notice
{
	const pg_uuid_t *order_id;
	char *provider;
	char *provider_ref;
	const Amount *amount;
	const Amount *tax; /* NULL: not said */
} Notice;

typedef struct Receipt
{
	bool has_payment;
	pg_uuid_t payment_id;
	const char *reason;
	bool has_subscription;
	pg_uuid_t subscription_id;
	bool replayed;
} Receipt;

static SqlQuery select_payment = {
	.sql = "SELECT p.payment_id, p.reason, p.order_id = $3 AND p.amount *<= $4 AND "
		   "p.amount *>= $4, "
		   "CASE WHEN p.reason = 'accepted' THEN o.subscription_id END "
		   "FROM billing.payment p JOIN billing.plan_order o "
		   "ON o.account_id = p.account_id AND o.order_id = p.order_id "
		   "WHERE p.provider = $1 AND p.provider_ref = $2",
	.nargs = 4,
	.argtypes = {TEXTOID, TEXTOID, UUIDOID, AMOUNT_ARGUMENT}};

static SqlQuery insert_payment = {
	.sql = "INSERT INTO billing.payment (account_id, payment_id, order_id, provider, provider_ref, "
		   "amount, tax, reason, received_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
		   "ON CONFLICT (provider, provider_ref) DO NOTHING",
	.nargs = 9,
	.argtypes = {UUIDOID, UUIDOID, UUIDOID, TEXTOID, TEXTOID, AMOUNT_ARGUMENT, AMOUNT_ARGUMENT,
				 TEXTOID, TIMESTAMPTZOID}};

static void
raise_invalid(const char *name, const Amount *value, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_BILLING_INVALID_AMOUNT), errmsg("%s is not valid", name),
					errdetail("It is %s.", amount_text(value)), errhint("%s", hint)));
}

static void
check_amounts(const Notice *notice)
{
	if (notice->amount->minor < 0)
		raise_invalid("amount", notice->amount,
					  "Pass what was paid; record what was paid back with billing.record_refund.");
	if (notice->tax == NULL)
		return;
	if (notice->tax->minor < 0 || !amount_same_currency(notice->tax, notice->amount) ||
		amount_compare(notice->tax, notice->amount) > 0)
		raise_invalid("tax", notice->tax,
					  "Pass the part of the amount that is tax, in the same currency, or NULL.");
}

static Notice
notice_from_arguments(FunctionCallInfo fcinfo)
{
	Notice notice;

	notice.order_id = argument_uuid(fcinfo, 0, "order_id");
	argument_require(fcinfo, 1, "provider");
	notice.provider = argument_key_or_null(fcinfo, 1, "provider");
	argument_require(fcinfo, 2, "provider_ref");
	notice.provider_ref = argument_key_or_null(fcinfo, 2, "provider_ref");
	argument_require(fcinfo, 3, "amount");
	notice.amount = PG_GETARG_AMOUNT_P(3);
	notice.tax = PG_ARGISNULL(4) ? NULL : PG_GETARG_AMOUNT_P(4);
	check_amounts(&notice);
	return notice;
}

/* The same notice again gets the same answer; another one may not use the reference. */
static bool
replay(Receipt *receipt, const Notice *notice)
{
	if (query_execute(&select_payment,
					  (NullableDatum[]){arg_text(notice->provider), arg_text(notice->provider_ref),
										arg_uuid(notice->order_id), arg_amount(notice->amount)}) ==
		0)
		return false;
	if (!query_bool(0, 3))
	{
		receipt->reason = RECEIPT_REUSED;
		return true;
	}
	receipt->has_payment = receipt->replayed = true;
	receipt->payment_id = query_uuid(0, 1);
	receipt->reason = query_text(0, 2);
	receipt->has_subscription = !query_is_null(0, 4);
	if (receipt->has_subscription)
		receipt->subscription_id = query_uuid(0, 4);
	return true;
}

static const char *
judge(const Notice *notice, const Order *order, const Account *account)
{
	if (order->status != ORDER_OPEN || account->closed)
		return RECEIPT_CLOSED;
	if (!amount_same_currency(notice->amount, &order->due) ||
		amount_compare(notice->amount, &order->due) != 0)
		return RECEIPT_MISMATCH;
	return RECEIPT_ACCEPTED;
}

/* False: somebody else has recorded the reference meanwhile, for another account. */
static bool
store(const Notice *notice, const Order *order, Receipt *receipt, TimestampTz now)
{
	EventDetail detail;

	identifier_new(&receipt->payment_id, &order->account_id);
	if (query_execute(&insert_payment,
					  (NullableDatum[]){arg_uuid(&order->account_id),
										arg_uuid(&receipt->payment_id), arg_uuid(&order->order_id),
										arg_text(notice->provider), arg_text(notice->provider_ref),
										arg_amount(notice->amount), arg_amount(notice->tax),
										arg_text(receipt->reason), arg_time(now)}) == 0)
		return false;
	receipt->has_payment = true;
	event_detail_begin(&detail);
	event_detail_uuid(&detail, "payment_id", &receipt->payment_id);
	event_detail_uuid(&detail, "order_id", &order->order_id);
	event_detail_text(&detail, "provider", notice->provider);
	event_detail_text(&detail, "provider_ref", notice->provider_ref);
	event_detail_amount(&detail, "amount", notice->amount);
	event_detail_amount(&detail, "due", &order->due);
	event_detail_text(&detail, "reason", receipt->reason);
	event_write(&order->account_id,
				strcmp(receipt->reason, RECEIPT_MISMATCH) == 0 ? "payment_mismatch"
															   : "payment_recorded",
				now, &detail);
	outbox_notify(&order->account_id);
	return true;
}

/*
 * Whether the error is about what was ordered and will be there again however
 * often the provider repeats its notice: of data, of a constraint, of our own.
 */
static bool
is_refusal(const ErrorData *error)
{
	int category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return category == ERRCODE_DATA_EXCEPTION ||
		   category == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION ||
		   category == ERRCODE_TO_CATEGORY(ERRCODE_BILLING_INVALID_AMOUNT);
}

static void
fulfil(const Notice *notice, const Order *order, const Account *account, Receipt *receipt,
	   TimestampTz now)
{
	if (!store(notice, order, receipt, now))
	{
		receipt->reason = RECEIPT_REUSED;
		return;
	}
	purchase_make(order, account, now, &receipt->subscription_id);
	receipt->has_subscription = true;
}

/*
 * False: what was ordered cannot be had any more, and nothing has changed. A
 * subtransaction, since the money has come in all the same.
 */
static bool
try_to_fulfil(const Notice *notice, const Order *order, const Account *account, Receipt *receipt,
			  TimestampTz now)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		fulfil(notice, order, account, receipt, now);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (error != NULL && !is_refusal(error))
		ReThrowError(error);
	return error == NULL;
}

static void
record(const Notice *notice, const Order *order, const Account *account, Receipt *receipt,
	   TimestampTz now)
{
	receipt->reason = judge(notice, order, account);
	if (strcmp(receipt->reason, RECEIPT_ACCEPTED) == 0)
	{
		if (try_to_fulfil(notice, order, account, receipt, now))
			return;
		memset(receipt, 0, sizeof(*receipt));
		receipt->reason = RECEIPT_CLOSED;
		order_closed(order, now);
	}
	if (!store(notice, order, receipt, now))
		receipt->reason = RECEIPT_REUSED;
	else if (strcmp(receipt->reason, RECEIPT_CLOSED) == 0)
		account_credit_add(&account->id, notice->amount, CREDIT_ORDER_CLOSED, &order->order_id,
						   &receipt->payment_id, now);
}

static void
require_order(Order *order, const pg_uuid_t *order_id)
{
	if (!order_read(order, order_id))
		ereport(ERROR, (errcode(ERRCODE_BILLING_NOT_FOUND), errmsg("order does not exist"),
						errdetail("There is no order %s.", identifier_text(order_id)),
						errhint("billing.order_plan returns the id of an order.")));
}

/*
 * Takes the second of the locks. Who waits for it lets others pay meanwhile: true
 * if one of them brought this very notice.
 */
static bool
came_meanwhile(Receipt *receipt, const Notice *notice, const Order *order, const Account *account)
{
	return lock_tokens_after_plans(&account->id, purchase_token_mode(order, account)) &&
		   replay(receipt, notice);
}

#define RECEIPT_COLUMNS 5

static Datum
receipt_datum(FunctionCallInfo fcinfo, const Receipt *receipt)
{
	TupleDesc desc;
	Datum values[RECEIPT_COLUMNS];
	bool nulls[RECEIPT_COLUMNS] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = UUIDPGetDatum(&receipt->payment_id);
	nulls[0] = !receipt->has_payment;
	values[1] = BoolGetDatum(strcmp(receipt->reason, RECEIPT_ACCEPTED) == 0);
	values[2] = CStringGetTextDatum(receipt->reason);
	values[3] = UUIDPGetDatum(&receipt->subscription_id);
	nulls[3] = !receipt->has_subscription;
	values[4] = BoolGetDatum(receipt->replayed);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * billing.record_payment(order_id uuid, provider text, provider_ref text,
 *		amount billing.amount, tax billing.amount) → billing.receipt
 *
 * Records what a provider says was paid for an order and, if it is the amount
 * due, does what was ordered. The same notice again (provider and provider_ref;
 * order and amount the same) changes nothing and answers the same. Where what was
 * ordered cannot be had any more (another subscription stands in its time, what it
 * counts on credit for would stay or is over), the order is closed and the money
 * becomes account credit. NULL but for tax: 22004; malformed provider or provider_ref:
 * 22023, 22001; negative amount, tax that is negative, more than the amount or in
 * another currency: PB015; unknown order: PB016.
 */
Datum
billing_record_payment(PG_FUNCTION_ARGS)
{
	Call call;
	Notice notice = notice_from_arguments(fcinfo);
	Receipt receipt = {0};
	Order order;
	Account account;
	TimestampTz now;

	spend_prevent("billing.record_payment()");
	call_enter(&call);
	require_order(&order, notice.order_id);
	lock_account(&order.account_id, LOCK_PLANS, ExclusiveLock);
	account_require(&account, &order.account_id);
	if (!replay(&receipt, &notice) && !came_meanwhile(&receipt, &notice, &order, &account))
	{
		account_require(&account, &order.account_id);
		now = account_verb_time(&account);
		(void) expiry_run_account(&account, now);
		require_order(&order, notice.order_id);
		record(&notice, &order, &account, &receipt, now);
	}
	audit_write(fcinfo, &call, &order.account_id);
	call_leave(&call);
	return receipt_datum(fcinfo, &receipt);
}
