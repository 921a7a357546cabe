/*
 * user.h
 *	  Account users as the rules read them, and who has a seat.
 */
#ifndef BILLING_USER_H
#define BILLING_USER_H

#include "compat.h"
#include "holding.h"
#include "probe.h"

typedef struct AccountUser
{
	pg_uuid_t account_id;
	pg_uuid_t user_id;
	char *role;
	TimestampTz added_at;
	bool disabled;
	bool removed;
} AccountUser;

extern void user_from_probe(AccountUser *user, Probe *probe);
extern bool user_read(AccountUser *user, const pg_uuid_t *user_id, Snapshot snapshot);
extern void user_require(AccountUser *user, const pg_uuid_t *user_id);
extern int64 user_rows(const pg_uuid_t *account, int64 at_most, Snapshot snapshot);
extern Reason user_denial(const AccountUser *user, Holdings *holdings);
extern void user_raise_not_found(const pg_uuid_t *user_id) pg_attribute_noreturn();

/* Seats the plans in force allow; SEATS_UNLIMITED: no limit. */
#define SEATS_UNLIMITED (-1)
extern int64 seat_limit(Holdings *holdings);
extern bool seat_precedes(const AccountUser *a, const AccountUser *b);
extern int64 seat_limit_of(Holdings *holdings, const char **plan_code);
extern void seat_lock(const pg_uuid_t *account);
extern void seat_require(Holdings *holdings, int64 users);
extern int64 seat_count(const pg_uuid_t *account, Snapshot snapshot);

#endif /* BILLING_USER_H */
