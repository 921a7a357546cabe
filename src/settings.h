/*
 * settings.h
 *	  The extension's settings (GUCs), each with its reason.
 */
#ifndef BILLING_SETTINGS_H
#define BILLING_SETTINGS_H

extern int settings_checkpoint_entries;
extern int settings_batch_lock_limit;
extern double settings_order_lifetime;
extern int settings_expiry_ahead;
extern int settings_expiring_soon_days;
extern int settings_exhausting_soon_percent;
extern int settings_low_balance_percent;

extern void settings_define(void);

/*
 * In SQL: billing.expiry_ahead is added to no later and subtracted from no earlier
 * time than leaves room for it.
 */
#define SETTINGS_FIRST_TIME "timestamptz '4713-01-01 00:00:00+00 BC'"
#define SETTINGS_LAST_TIME  "timestamptz '294276-12-31 23:59:59.999999+00'"

#endif /* BILLING_SETTINGS_H */
