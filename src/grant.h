/*
 * grant.h
 *	  Giving tokens to an account.
 */
#ifndef BILLING_GRANT_H
#define BILLING_GRANT_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

#define GRANT_DEFAULT_PRIORITY 100

typedef struct GrantTerms
{
	const pg_uuid_t *account;
	int64 tokens;
	int64 priority;                   /* lower is used first */
	const char *app;                  /* NULL: every app */
	const char *reason;               /* NULL: none */
	const pg_uuid_t *subscription_id; /* NULL: on its own */
	const char *key;                  /* NULL: none */
	TimestampTz granted_at;
	TimestampTz effective_at;
	TimestampTz expires_at; /* DT_NOEND: never */
} GrantTerms;

extern bool grant_insert(pg_uuid_t *grant_id, const GrantTerms *terms);

#endif /* BILLING_GRANT_H */
