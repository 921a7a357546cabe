/*
 * outbox.h
 *	  Telling applications that something has happened.
 */
#ifndef BILLING_OUTBOX_H
#define BILLING_OUTBOX_H

#include "utils/uuid.h"

extern void outbox_notify(const pg_uuid_t *account);

#endif /* BILLING_OUTBOX_H */
