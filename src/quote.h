/*
 * quote.h
 *	  What ordering a plan would mean now.
 */
#ifndef BILLING_QUOTE_H
#define BILLING_QUOTE_H

#include "credit.h"
#include "subscription.h"

typedef enum OrderAction
{
	ORDER_BUY,
	ORDER_RENEW,
	ORDER_UPGRADE,
	ORDER_DOWNGRADE
} OrderAction;

typedef struct Quote
{
	OrderAction action;
	bool at_period_end; /* begins where what it replaces ends */
	const PlanVersion *plan;
	bool has_subject;
	Subscription subject; /* renewed or replaced */
	CreditList credits;   /* for the unfinished periods that go */
	Amount price;
	Amount credit;         /* sum of credits; may exceed the price */
	Amount account_credit; /* what it pays of the rest */
	Amount due;
	TimestampTz effective_at;
	TimestampTz expires_at;
} Quote;

extern const char *order_action_name(OrderAction action);
extern OrderAction order_action_from_name(const char *name);
extern bool quote_timing(const char *timing);
extern void quote_make(Quote *quote, const Account *account, const char *plan, bool period_end,
					   TimestampTz now);

#endif /* BILLING_QUOTE_H */
