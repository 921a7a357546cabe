/*
 * settings.c
 *	  The extension's settings (GUCs), each with its reason.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "settings.h"

/*
 * How long the ledger's tail behind the newest checkpoint may grow before
 * somebody sums it: every balance read without shared memory reads the tail.
 */
int settings_checkpoint_entries = 256;

/*
 * Accounts of one batch that are locked one by one. Each takes a place in the
 * server's lock table, of which there are max_locks_per_transaction (64) times
 * max_connections.
 */
int settings_batch_lock_limit = 512;

/*
 * How long an order pins version, price and credit: long enough for a bank
 * transfer of the same day, short enough for prices to be honoured.
 */
double settings_order_lifetime = 86400;

void
settings_define(void)
{
	DefineCustomIntVariable("billing.batch_lock_limit",
							"Accounts of one batch above which it locks all accounts at once.",
							NULL, &settings_batch_lock_limit, 512, 0, INT_MAX, PGC_SUSET, 0, NULL,
							NULL, NULL);
	DefineCustomIntVariable("billing.checkpoint_entries",
							"Ledger entries after which an account's balances are summed anew.",
							NULL, &settings_checkpoint_entries, 256, 1, INT_MAX, PGC_SUSET, 0, NULL,
							NULL, NULL);
	DefineCustomRealVariable(
		"billing.order_lifetime", "Time after which an order that is not paid lapses.", NULL,
		&settings_order_lifetime, 86400, 0.001, INT_MAX, PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
}
