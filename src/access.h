/*
 * access.h
 *	  Who may use what, now: the checks.
 */
#ifndef BILLING_ACCESS_H
#define BILLING_ACCESS_H

#include "user.h"

typedef struct Access
{
	bool allowed;
	const char *level; /* full, limited or none */
	Reason reason;
	char *plan; /* NULL: none */
	int64 tokens_remaining;
	TimestampTz expires_at; /* infinity: none */
} Access;

extern void
access_decide(Access *access, Holdings *holdings, const char *permission, const pg_uuid_t *user_id);
extern void access_check(Access *access, const pg_uuid_t *account_id, const char *permission,
						 const pg_uuid_t *user_id, Snapshot snapshot);

#endif /* BILLING_ACCESS_H */
