/*
 * order.h
 *	  Orders: what is to be paid. The caller is inside a call (call.h) and holds
 *	  the account's plan lock.
 */
#ifndef BILLING_ORDER_H
#define BILLING_ORDER_H

#include "quote.h"

typedef enum OrderStatus
{
	ORDER_OPEN,
	ORDER_PAID,
	ORDER_LAPSED,
	ORDER_CLOSED
} OrderStatus;

typedef struct Order
{
	pg_uuid_t account_id;
	pg_uuid_t order_id;
	OrderAction action;
	bool at_period_end;
	char *plan;
	int32 version;
	Amount price;
	Amount credit;
	Amount account_credit;
	Amount due;
	bool has_subject;
	pg_uuid_t subject_id; /* renewed or replaced */
	TimestampTz expires_at;
	OrderStatus status;
	bool has_subscription;
	pg_uuid_t subscription_id;
} Order;

/* order.c */
extern bool order_read(Order *order, const pg_uuid_t *order_id);
extern void order_credits(CreditList *list, const Order *order);
extern void order_paid(const Order *order, const pg_uuid_t *subscription_id, TimestampTz now);
extern void order_lapsed(const pg_uuid_t *account, const pg_uuid_t *order_id, TimestampTz at);
extern void order_closed(const Order *order, TimestampTz now);
extern void order_close_overtaken(const pg_uuid_t *account, const pg_uuid_t *subscription,
								  const pg_uuid_t *by, TimestampTz now);
extern void order_close_unfunded(const pg_uuid_t *account, const char *currency, TimestampTz now);

/* purchase.c */
extern LOCKMODE purchase_token_mode(const Order *order, const Account *account);
extern bool purchase_outlived(const Order *order, TimestampTz now);
extern void purchase_make(const Order *order, const Account *account, TimestampTz now,
						  pg_uuid_t *subscription_id);

#endif /* BILLING_ORDER_H */
