/*
 * exhaustion.h
 *	  Writing down that a token plan has lost its last token.
 */
#ifndef BILLING_EXHAUSTION_H
#define BILLING_EXHAUSTION_H

#include "holding.h"

extern void exhaustion_note(Holdings *holdings, const pg_uuid_t *subscription);

#endif /* BILLING_EXHAUSTION_H */
