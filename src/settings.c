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

void
settings_define(void)
{
	DefineCustomIntVariable("billing.checkpoint_entries",
							"Ledger entries after which an account's balances are summed anew.",
							NULL, &settings_checkpoint_entries, 256, 1, INT_MAX, PGC_SUSET, 0, NULL,
							NULL, NULL);
}
