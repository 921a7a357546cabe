/*
 * ledger.h
 *	  Rows of the ledger.
 */
#ifndef BILLING_LEDGER_H
#define BILLING_LEDGER_H

#include "utils/snapshot.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "writer.h"

typedef enum LedgerKind
{
	LEDGER_CONSUME,
	LEDGER_HOLD,
	LEDGER_VOID,
	LEDGER_CAPTURE,
	LEDGER_RELEASE,
	LEDGER_LAPSE,
	LEDGER_REFUND
} LedgerKind;

/* What the rows of one request have in common. */
typedef struct LedgerRequest
{
	LedgerKind kind;
	const pg_uuid_t *account;
	TimestampTz occurred_at;
	const char *app;       /* NULL: none */
	const char *action;    /* NULL: none */
	const pg_uuid_t *user; /* NULL: none */
	const char *key;       /* NULL: none */
	int64 asked;
	int64 answer;          /* stored where there is a key */
	const pg_uuid_t *hold; /* NULL: none */
	int64 refund_of;       /* 0: none */
} LedgerRequest;

/* A stored first answer, found by its key. */
typedef struct LedgerAnswer
{
	LedgerKind kind;
	int64 entry_no;
	int64 asked;
	int64 answer;
	char *app;
	char *action;
	bool has_user;
	pg_uuid_t user;
	bool has_hold;
	pg_uuid_t hold;
} LedgerAnswer;

/* Above what plain DML may insert by more than there will ever be. */
#define LEDGER_ENTRY_NO_LIMIT ((INT64CONST(1) << 62) + (INT64CONST(1) << 61))

extern const char *ledger_kind_name(LedgerKind kind);
extern int64 ledger_next_entry_no(const pg_uuid_t *account, int64 last);
extern bool ledger_append(Writer *writer, const LedgerRequest *request, int64 entry_no,
						  int64 part_of, const pg_uuid_t *grant, int64 tokens);
extern bool ledger_find_key(LedgerAnswer *answer, const pg_uuid_t *account, const char *key);

#endif /* BILLING_LEDGER_H */
