/*
 * spend.h
 *	  Taking tokens from an account's grants: what consume, try_consume, the
 *	  batch and hold have in common.
 */
#ifndef BILLING_SPEND_H
#define BILLING_SPEND_H

#include "compat.h"
#include "reason.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "writer.h"

typedef struct SpendRequest
{
	const pg_uuid_t *account;
	int64 tokens;
	const char *app;       /* NULL: grants of no app only */
	const char *key;       /* NULL: not idempotent */
	const char *action;    /* NULL: none */
	const pg_uuid_t *user; /* NULL: none */
	const pg_uuid_t *hold; /* the hold to make; NULL: consume */
} SpendRequest;

typedef struct SpendAnswer
{
	bool granted;
	bool replayed;
	Reason reason;
	int64 remaining; /* for the same app, afterwards */
	TimestampTz now; /* the account's clock at the decision */
	pg_uuid_t hold;  /* made, now or by the first request with the key */
} SpendAnswer;

/* Serves one request or a batch of them, what is asked of one account in a row. */
typedef struct Spender
{
	bool locked;       /* the caller holds locks that keep changes out of all accounts */
	bool shares;       /* the lock of the account below is held */
	bool clean;        /* it was taken for this, and nothing has been written under it */
	pg_uuid_t account; /* which was served last */
	Relation ledger;
	bool open; /* the writer is */
	Writer writer;
} Spender;

extern void spend_prevent(const char *function);
extern bool spend_ledger_is_watched(void);
extern void spend_begin(Spender *spender, bool locked);
extern void spend_serve(Spender *spender, const SpendRequest *request, SpendAnswer *answer);
extern void spend_end(Spender *spender);
extern void spend_one(const SpendRequest *request, SpendAnswer *answer);
extern void
spend_raise(const SpendRequest *request, const SpendAnswer *answer) pg_attribute_noreturn();

#endif /* BILLING_SPEND_H */
