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
 * Accounts that one transaction locks one by one. Each takes a place in the
 * server's lock table, of which there are max_locks_per_transaction (64) times
 * max_connections.
 */
int settings_batch_lock_limit = 512;

/*
 * How long an order pins version, price and credit: long enough for a bank
 * transfer of the same day, short enough for prices to be honoured.
 */
double settings_order_lifetime = 86400;

/*
 * How long before its end a subscription is said to be expiring, in seconds. Off,
 * since each event is one more row written a period. To be set for the database,
 * since the worker that writes it is nobody's session.
 */
int settings_expiry_ahead = 0;

/*
 * When a package counts as ending soon. The views read them by name, since they
 * may be asked before the library is loaded: the defaults stand there again.
 */
int settings_expiring_soon_days = 7;
int settings_exhausting_soon_percent = 10;

/*
 * Of a grant's tokens, when the event low_balance is due. The same for everybody,
 * since who spends compares with it, and the worker does.
 */
int settings_low_balance_percent = 10;

void
settings_define(void)
{
	DefineCustomIntVariable(
		"billing.batch_lock_limit",
		"Accounts of one transaction above which it locks all accounts at once.", NULL,
		&settings_batch_lock_limit, 512, 0, INT_MAX, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("billing.checkpoint_entries",
							"Ledger entries after which an account's balances are summed anew.",
							NULL, &settings_checkpoint_entries, 256, 1, INT_MAX, PGC_SUSET, 0, NULL,
							NULL, NULL);
	DefineCustomIntVariable(
		"billing.expiry_ahead",
		"How long before its end the event subscription_expiring is written; 0: not at all.", NULL,
		&settings_expiry_ahead, 0, 0, INT_MAX, PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"billing.expiring_soon_days",
		"Days before its end from which a package is in the view expiring_soon.", NULL,
		&settings_expiring_soon_days, 7, 0, 36500, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"billing.exhausting_soon_percent",
		"Percentage of tokens left up to which a package is in the view exhausting_soon.", NULL,
		&settings_exhausting_soon_percent, 10, 0, 100, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"billing.low_balance_percent",
		"Percentage of a grant's tokens left at which the event low_balance is written; 0: not at "
		"all.",
		NULL, &settings_low_balance_percent, 10, 0, 100, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomRealVariable(
		"billing.order_lifetime", "Time after which an order that is not paid lapses.", NULL,
		&settings_order_lifetime, 86400, 0.001, INT_MAX, PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
}
