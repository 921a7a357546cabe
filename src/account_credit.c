/*
 * account_credit.c
 *	  Money that an account has left for later orders.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "credit.h"
#include "event.h"
#include "identifier.h"
#include "query.h"

/* A sum past the range counts as the largest amount there is. */
#define SUM_WITHIN_RANGE(column)                                                                   \
	"least(coalesce(sum(minor_units(" column ")), 0), 9223372036854775807)::bigint"

static SqlQuery select_balance = {
	.sql = "SELECT " SUM_WITHIN_RANGE("amount") " FROM billing.account_credit "
												"WHERE account_id = $1 AND currency(amount) = $2",
	.nargs = 2,
	.argtypes = {UUIDOID, TEXTOID}};

/* What open orders have set aside for themselves. */
static SqlQuery select_reserved = {
	.sql = "SELECT " SUM_WITHIN_RANGE(
		"account_credit") " FROM billing.plan_order "
						  "WHERE account_id = $1 AND currency(account_credit) = $2 AND status = "
						  "'open' "
						  "AND expires_at > $3",
	.nargs = 3,
	.argtypes = {UUIDOID, TEXTOID, TIMESTAMPTZOID}};

static SqlQuery insert_credit = {
	.sql = "INSERT INTO billing.account_credit (account_id, credit_id, amount, reason, order_id, "
		   "payment_id, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
	.nargs = 7,
	.argtypes = {UUIDOID, UUIDOID, AMOUNT_ARGUMENT, TEXTOID, UUIDOID, UUIDOID, TIMESTAMPTZOID}};

static Amount
in_currency(int64 minor, const char *currency)
{
	return *amount_make(minor, currency);
}

Amount
account_credit_balance(const pg_uuid_t *account, const char *currency)
{
	query_execute(&select_balance, (NullableDatum[]){arg_uuid(account), arg_text(currency)});
	return in_currency(query_int64(0, 1), currency);
}

/* What the next order can use: zero or more. */
Amount
account_credit_available(const pg_uuid_t *account, const char *currency, TimestampTz now)
{
	Amount balance = account_credit_balance(account, currency);

	query_execute(&select_reserved,
				  (NullableDatum[]){arg_uuid(account), arg_text(currency), arg_time(now)});
	return in_currency(Max(balance.minor - query_int64(0, 1), 0), currency);
}

/* A negative amount takes away. Zero leaves no trace. */
void
account_credit_add(const pg_uuid_t *account, const Amount *amount, const char *reason,
				   const pg_uuid_t *order_id, const pg_uuid_t *payment_id, TimestampTz now)
{
	pg_uuid_t id;
	EventDetail detail;

	if (amount_is_zero(amount))
		return;
	identifier_new(&id, account);
	query_execute(&insert_credit,
				  (NullableDatum[]){arg_uuid(account), arg_uuid(&id), arg_amount(amount),
									arg_text(reason), arg_uuid(order_id), arg_uuid(payment_id),
									arg_time(now)});
	event_detail_begin(&detail);
	event_detail_uuid(&detail, "credit_id", &id);
	event_detail_amount(&detail, "amount", amount);
	event_detail_text(&detail, "reason", reason);
	event_detail_uuid(&detail, "order_id", order_id);
	event_detail_uuid(&detail, "payment_id", payment_id);
	event_write(account, "account_credit_changed", now, &detail);
}
