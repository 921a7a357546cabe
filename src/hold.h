/*
 * hold.h
 *	  Tokens set aside for work whose size is not known yet.
 */
#ifndef BILLING_HOLD_H
#define BILLING_HOLD_H

#include "utils/uuid.h"

extern bool hold_any_overdue(const pg_uuid_t *account);
extern int hold_lapse_due(const pg_uuid_t *account);

#endif /* BILLING_HOLD_H */
