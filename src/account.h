/*
 * account.h
 *	  The account's row as checks and verbs need it, and its clock.
 */
#ifndef BILLING_ACCOUNT_H
#define BILLING_ACCOUNT_H

#include "utils/snapshot.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "compat.h"

typedef struct Account
{
	pg_uuid_t id;
	bool suspended; /* closed ones too */
	bool closed;
	bool is_test; /* it has, or had, a test clock */
	bool has_test_clock;
	TimestampTz test_clock;
	TimestampTz created_at;
} Account;

extern bool account_read(Account *account, const pg_uuid_t *id, Snapshot snapshot);
extern void account_require(Account *account, const pg_uuid_t *id);
extern void account_require_usable(Account *account, const pg_uuid_t *id);
extern char *account_time_zone(const pg_uuid_t *id);
extern void account_raise_not_found(const pg_uuid_t *id) pg_attribute_noreturn();
extern void account_raise_suspended(const Account *account) pg_attribute_noreturn();

/* Now, for a check: the start of the statement, so that a long transaction does not outlive a plan. */
extern TimestampTz account_check_time(const Account *account);

/* Now, for a verb: to be read once the account's lock is held. */
extern TimestampTz account_verb_time(const Account *account);

#endif /* BILLING_ACCOUNT_H */
