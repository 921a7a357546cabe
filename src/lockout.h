/*
 * lockout.h
 *	  How often a password may be guessed.
 *
 * lockout.c is the rule. The records are kept in shared memory where the library
 * is preloaded (lockout_memory.c), whose counts no ROLLBACK of the caller takes back,
 * else in an unlogged table (lockout_table.c). Whose failures a record counts is
 * its subject: a user, or one of the clients that the user is known to come from.
 */
#ifndef BILLING_LOCKOUT_H
#define BILLING_LOCKOUT_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

/* The failed logins of one subject since the last successful one. */
typedef struct LockoutRecord
{
	int32 failures;
	TimestampTz failed_at; /* the last one; irrelevant at zero failures */
} LockoutRecord;

typedef enum LockoutVerdict
{
	LOCKOUT_ADMITTED,
	LOCKOUT_COUNTED, /* a wrong password, one more */
	LOCKOUT_LOCKED   /* whatever the password */
} LockoutVerdict;

/* How long failures count after the last one, and how long they count for the account. */
#define LOCKOUT_MEMORY         (24 * USECS_PER_HOUR)
#define LOCKOUT_ACCOUNT_MEMORY USECS_PER_HOUR

/* lockout.c */
extern void lockout_init(void);
extern void lockout_prevent_read_only(void);
extern bool lockout_admit(const pg_uuid_t *account, const pg_uuid_t *subject, bool matches);
extern void lockout_forget(const pg_uuid_t *account, const pg_uuid_t *subject);
extern LockoutVerdict
lockout_decide(LockoutRecord *record, int64 account_failures, bool matches, TimestampTz now);

/* Where the records are; an account of zeros is nobody's. */
extern void lockout_memory_request(void);
extern bool lockout_memory_exists(void);
extern bool lockout_memory_admit(const pg_uuid_t *account, const pg_uuid_t *subject, bool matches);
extern void lockout_memory_forget(const pg_uuid_t *account, const pg_uuid_t *subject);
extern bool lockout_table_admit(const pg_uuid_t *account, const pg_uuid_t *subject, bool matches);
extern void lockout_table_forget(const pg_uuid_t *account, const pg_uuid_t *subject);

#endif /* BILLING_LOCKOUT_H */
