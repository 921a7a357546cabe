/*
 * binding.h
 *	  Transactions that act for one account only.
 *
 * In a bound transaction every other account is as if it did not exist. Whatever
 * reads a tenant's row for a caller asks binding_admits(); what is about no
 * account in particular calls binding_refuse().
 */
#ifndef BILLING_BINDING_H
#define BILLING_BINDING_H

#include "utils/uuid.h"

extern bool binding_admits(const pg_uuid_t *account);
extern const pg_uuid_t *binding_account(void);
extern bool binding_is_restricted(void);
extern void binding_refuse(void);
extern void binding_define_settings(void);
extern void binding_init(void);

#endif /* BILLING_BINDING_H */
