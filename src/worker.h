/*
 * worker.h
 *	  The launcher and the short-lived workers that write down what time has
 *	  brought about. doc/worker.md tells the states and transitions.
 */
#ifndef BILLING_WORKER_H
#define BILLING_WORKER_H

#include "utils/timestamp.h"

extern void worker_define_settings(void);

/* Only while the library is preloaded. */
extern void worker_define_server_settings(void);
extern void worker_install(void);

extern void worker_init(void);

/* The transaction makes something fall due then; whoever must know is told at its commit. */
extern void worker_note_due(TimestampTz due);

#endif /* BILLING_WORKER_H */
