/*
 * held.h
 *	  Which grants the tokens of open holds were taken from.
 */
#ifndef BILLING_HELD_H
#define BILLING_HELD_H

#include "balance.h"

extern int64 *
held_load(const Balances *balances, const pg_uuid_t *account, TimestampTz now, Snapshot snapshot);
extern void held_return_overdue(Balances *balances, const pg_uuid_t *account, TimestampTz now,
								Snapshot snapshot);

#endif /* BILLING_HELD_H */
