/*
 * balance.h
 *	  What is left of each grant: granted minus newest checkpoint minus the
 *	  ledger's tail, as one snapshot sees it.
 */
#ifndef BILLING_BALANCE_H
#define BILLING_BALANCE_H

#include "utils/snapshot.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

typedef struct GrantBalance
{
	pg_uuid_t grant_id;
	bool has_subscription;
	pg_uuid_t subscription_id;
	char *app; /* NULL: every app */
	int64 tokens;
	int64 consumed; /* used, held or voided */
	int64 entries;  /* ledger rows behind consumed */
	int64 priority;
	TimestampTz effective_at;
	TimestampTz expires_at;
	TimestampTz granted_at;
	bool voided;
	TimestampTz voided_at;     /* if it is */
	bool in_tail;              /* moved since the newest checkpoint */
	int64 summed_through;      /* of the grant's own newest checkpoint; 0: none */
	int64 undecided;           /* by transactions in progress, either way */
	TransactionId in_progress; /* one of those of others; invalid: none */
} GrantBalance;

typedef struct Balances
{
	int count;
	GrantBalance *grants;   /* in the order in which they are drawn on */
	int64 through_entry_no; /* of the newest checkpoint; 0: none */
	int64 last_entry_no;    /* newest entry seen; 0: none */
	int64 tail_entries;     /* entries read after the checkpoint */
	int64 undecided_grants; /* tokens of grants in progress */
	TransactionId granting; /* one of the transactions that grant them; invalid: none */
} Balances;

/* Which grants a question is about. */
typedef struct TokenScope
{
	bool every_app;  /* all grants, whatever their app */
	const char *app; /* else: grants of this app and of no app; NULL: of no app only */
} TokenScope;

extern void balance_load(Balances *balances, const pg_uuid_t *account, TimestampTz expiring_after,
						 Snapshot snapshot);
extern void
balance_load_undecided(Balances *balances, const pg_uuid_t *account, TimestampTz expiring_after);
extern void balance_rewind(Balances *balances, const pg_uuid_t *account, TimestampTz at,
						   bool is_real_clock, Snapshot snapshot);
extern int64 balance_remaining(const Balances *balances, TokenScope scope, TimestampTz now);
extern bool balance_usable(const GrantBalance *grant, TimestampTz now);
extern bool balance_in_scope(const GrantBalance *grant, TokenScope scope);
extern int64 balance_available(const GrantBalance *grant);
extern bool
balance_has_tokens_of(const Balances *balances, const pg_uuid_t *subscription, TimestampTz now);
extern GrantBalance *balance_find(const Balances *balances, const pg_uuid_t *grant);

#endif /* BILLING_BALANCE_H */
