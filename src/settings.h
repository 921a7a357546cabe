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

#endif /* BILLING_SETTINGS_H */
