/*
 * low_balance.h
 *	  Grants of which little is left, and telling of each once.
 */
#ifndef BILLING_LOW_BALANCE_H
#define BILLING_LOW_BALANCE_H

#include "account.h"

extern bool low_balance_is(int64 granted, int64 left);
extern bool low_balance_crosses(int64 granted, int64 before, int64 after);
extern void low_balance_suspected(const pg_uuid_t *account);
extern int64 low_balance_tell(const Account *account, bool *again);

#endif /* BILLING_LOW_BALANCE_H */
