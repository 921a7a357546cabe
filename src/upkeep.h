/*
 * upkeep.h
 *	  Accounts that want a look by the background worker: their ledger to be
 *	  summed, a grant that may have run low, or a plan that may have no tokens.
 *
 * Who spends only notes the account; at the end of the transaction the note goes
 * to a queue in shared memory and wakes the worker. The queue says where to look,
 * never what is true: whoever takes a request from it reads the tables.
 */
#ifndef BILLING_UPKEEP_H
#define BILLING_UPKEEP_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

/* Accounts that can wait at the same time, of all databases; each takes 48 bytes. */
#define UPKEEP_QUEUE 1024

/* What an account wants. */
#define UPKEEP_CHECKPOINT 1
#define UPKEEP_LOW        2
#define UPKEEP_EXHAUSTED  4

/* What is to be told as soon as it is certain. */
#define UPKEEP_TELL (UPKEEP_LOW | UPKEEP_EXHAUSTED)

typedef struct UpkeepRequest
{
	Oid database;
	pg_uuid_t account;
	uint8 wants;
	bool apart;     /* it was with others when something failed */
	int attempts;   /* that came to nothing */
	uint64 stamp;   /* of the newest note */
	TimestampTz at; /* not to be served before */
} UpkeepRequest;

/* upkeep.c: the queue */
extern Size upkeep_shared_size(void);
extern void upkeep_startup(void);
extern bool upkeep_note(const pg_uuid_t *account, uint8 wants);
extern int upkeep_claim(UpkeepRequest *list, int max);
extern void upkeep_served(const UpkeepRequest *request, bool again);
extern void upkeep_leave(const UpkeepRequest *request);
extern void upkeep_postpone(const UpkeepRequest *list, int count);
extern TimestampTz upkeep_next(Oid database);
extern void upkeep_forget(Oid database);
extern bool upkeep_has_room(void);

/* upkeep_serve.c: what is done about a request */
extern int64 upkeep_serve(const UpkeepRequest *request);

#endif /* BILLING_UPKEEP_H */
