/*
 * lockout.h
 *	  How often a password may be guessed.
 *
 * lockout.c is the rule; lockout_table.c keeps the records.
 */
#ifndef BILLING_LOCKOUT_H
#define BILLING_LOCKOUT_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

/* The failed logins of one user since the last successful one. */
typedef struct LockoutRecord
{
	int32 failures;
	TimestampTz failed_at; /* the last one; irrelevant at zero failures */
} LockoutRecord;

/* How long failures count after the last one, and how long they count for the account. */
#define LOCKOUT_MEMORY         (24 * USECS_PER_HOUR)
#define LOCKOUT_ACCOUNT_MEMORY USECS_PER_HOUR

extern void lockout_define_settings(void);
extern bool
lockout_decide(LockoutRecord *record, int64 account_failures, bool matches, TimestampTz now);

extern bool lockout_admit(const pg_uuid_t *account, const pg_uuid_t *user, bool matches);
extern void lockout_forget(const pg_uuid_t *account, const pg_uuid_t *user);

#endif /* BILLING_LOCKOUT_H */
