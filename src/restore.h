/*
 * restore.h
 *	  Letting a restore run.
 */
#ifndef BILLING_RESTORE_H
#define BILLING_RESTORE_H

extern void restore_init(void);

#endif /* BILLING_RESTORE_H */
