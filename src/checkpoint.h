/*
 * checkpoint.h
 *	  Sums of the ledger, so that a balance need not read all of it.
 */
#ifndef BILLING_CHECKPOINT_H
#define BILLING_CHECKPOINT_H

#include "utils/uuid.h"

extern int64 checkpoint_write(const pg_uuid_t *account);
extern void checkpoint_write_if_free(const pg_uuid_t *account);

#endif /* BILLING_CHECKPOINT_H */
