/*
 * identifier.h
 *	  Ids of tenants' rows: time-ordered uuids that carry their account's bucket.
 */
#ifndef BILLING_IDENTIFIER_H
#define BILLING_IDENTIFIER_H

#include "utils/uuid.h"

extern void identifier_new_account(pg_uuid_t *id);
extern void identifier_new(pg_uuid_t *id, const pg_uuid_t *account);
extern void identifier_check_account(const pg_uuid_t *account);
extern char *identifier_text(const pg_uuid_t *id);

#endif /* BILLING_IDENTIFIER_H */
