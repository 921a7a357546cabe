/*
 * conceal.h
 *	  Functions that take a password keep the statement that called them out of
 *	  the server log, whatever is logged while they run: every error, also those
 *	  of the server itself, and messages about waiting for a lock.
 */
#ifndef BILLING_CONCEAL_H
#define BILLING_CONCEAL_H

#include "utils/elog.h"

extern void conceal_begin(ErrorContextCallback *frame);
extern void conceal_end(ErrorContextCallback *frame);

#endif /* BILLING_CONCEAL_H */
