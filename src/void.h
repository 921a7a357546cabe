/*
 * void.h
 *	  Taking a grant back.
 */
#ifndef BILLING_VOID_H
#define BILLING_VOID_H

#include "account.h"

extern int64 void_grant_locked(const Account *account, const pg_uuid_t *grant_id, TimestampTz now);

#endif /* BILLING_VOID_H */
