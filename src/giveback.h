/*
 * giveback.h
 *	  Rows that return tokens to the grants they came from: the unused part of a
 *	  hold, a refund.
 */
#ifndef BILLING_GIVEBACK_H
#define BILLING_GIVEBACK_H

#include "storage/lockdefs.h"

#include "ledger.h"

/* What one grant gave. */
typedef struct Drawn
{
	pg_uuid_t grant;
	int64 tokens;
} Drawn;

typedef struct DrawnList
{
	int count;
	Drawn *items; /* in the order in which they were drawn */
	int64 total;
} DrawnList;

extern DrawnList giveback_drawn_by_hold(const pg_uuid_t *account, const pg_uuid_t *hold);
extern DrawnList giveback_drawn_by_request(const pg_uuid_t *account, int64 first_entry_no);
extern void giveback_write(const LedgerRequest *request, const DrawnList *drawn, int64 tokens);
extern LOCKMODE giveback_lock_mode(const pg_uuid_t *account);
extern void giveback_lock(const pg_uuid_t *account);
extern int64 giveback_remaining_after(const pg_uuid_t *account, const char *app, TimestampTz now,
									  const DrawnList *drawn, int64 tokens);
extern int64 giveback_remaining(const pg_uuid_t *account, const char *app, TimestampTz now);

#endif /* BILLING_GIVEBACK_H */
