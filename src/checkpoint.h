/*
 * checkpoint.h
 *	  Sums of the ledger, so that a balance need not read all of it.
 */
#ifndef BILLING_CHECKPOINT_H
#define BILLING_CHECKPOINT_H

#include "utils/snapshot.h"
#include "utils/uuid.h"

typedef struct CheckpointOutcome
{
	bool written;
	bool behind; /* a tail is left: somebody has the account, or a transaction holds it back */
} CheckpointOutcome;

extern int64 checkpoint_newest_through(const pg_uuid_t *account, Snapshot snapshot);
extern CheckpointOutcome checkpoint_try(const pg_uuid_t *account);
extern void checkpoint_note_growth(const pg_uuid_t *account, int64 first, int rows);

#endif /* BILLING_CHECKPOINT_H */
