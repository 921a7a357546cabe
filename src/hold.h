/*
 * hold.h
 *	  Tokens set aside for work whose size is not known yet.
 */
#ifndef BILLING_HOLD_H
#define BILLING_HOLD_H

#include "utils/uuid.h"

/* For hold_lapse_due: all that are over. */
#define HOLDS_ALL PG_INT32_MAX

extern bool hold_any_overdue(const pg_uuid_t *account);
extern int hold_lapse_due(const pg_uuid_t *account, int max);

/* hold_guard.c */
extern bool hold_can_be_judged(void);
extern void hold_check(const pg_uuid_t *account, const pg_uuid_t *hold);

#endif /* BILLING_HOLD_H */
