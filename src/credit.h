/*
 * credit.h
 *	  What is not used of what was paid, and the credit an account has left. The
 *	  caller is inside a call (call.h) and holds the account's plan lock.
 */
#ifndef BILLING_CREDIT_H
#define BILLING_CREDIT_H

#include "account.h"
#include "amount.h"

/* What is credited for one unfinished period. */
typedef struct PeriodCredit
{
	pg_uuid_t subscription_id;
	int32 period_no;
	Amount amount;
} PeriodCredit;

typedef struct CreditList
{
	int count;
	PeriodCredit *items;
} CreditList;

/* Why account credit comes or goes, as the table has it. */
#define CREDIT_EXCESS       "excess"
#define CREDIT_ORDER_CLOSED "order_closed"
#define CREDIT_DROPPED      "dropped"
#define CREDIT_ORDER        "order"
#define CREDIT_REFUND       "refund"

/* credit.c */
extern void credit_for_unused(CreditList *list, const Account *account,
							  const pg_uuid_t *subscription, int from, TimestampTz now);
extern void credit_for_dropped(CreditList *list, const Account *account,
							   const pg_uuid_t *subscription, TimestampTz now);
extern bool credit_find(const CreditList *list, const PeriodCredit *credit);
extern void credit_append(CreditList *list, const PeriodCredit *credit);
extern void credit_book(const pg_uuid_t *account, const PeriodCredit *credit);

/* account_credit.c */
extern Amount account_credit_balance(const pg_uuid_t *account, const char *currency);
extern Amount
account_credit_available(const pg_uuid_t *account, const char *currency, TimestampTz now);
extern void
account_credit_add(const pg_uuid_t *account, const Amount *amount, const char *reason,
				   const pg_uuid_t *order_id, const pg_uuid_t *payment_id, TimestampTz now);

#endif /* BILLING_CREDIT_H */
