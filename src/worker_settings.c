/*
 * worker_settings.c
 *	  The worker's settings (GUCs), each with its reason.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "worker.h"
#include "worker_internal.h"

/* Off: expire_due() by hand does the same work; access ends in time either way. */
bool worker_enabled = true;

/*
 * How long the launcher sleeps at most. What nobody tells it of is found then:
 * a clock that was set, COMMIT PREPARED, a database copied from another one. 15
 * seconds are four wake-ups in an idle minute, each a look at pg_database.
 */
int worker_naptime = 15;

/*
 * Databases worked on at the same time. Each takes one of max_worker_processes
 * (8), of which others want some too.
 */
int worker_processes = 3;

/*
 * Accounts done in one transaction: enough to share the flush at commit, few
 * enough that nobody waits long for their locks.
 */
int worker_batch = 500;

/* Databases of the server that can be kept in mind; less than 500 bytes each. */
int worker_databases = 1000;

void
worker_define_settings(void)
{
	DefineCustomBoolVariable("billing.worker", "Whether background workers write down what is due.",
							 "Access never waits for them.", &worker_enabled, true, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("billing.worker_batch",
							"Accounts that a background worker does in one transaction.", NULL,
							&worker_batch, 500, 1, 10000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("billing.worker_naptime",
							"Longest sleep of the launcher of background workers.",
							"It is woken for everything it is told of.", &worker_naptime, 15, 1,
							86400, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("billing.worker_processes",
							"Background workers that run at the same time, one a database.", NULL,
							&worker_processes, 3, 1, 64, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

void
worker_define_server_settings(void)
{
	DefineCustomIntVariable("billing.worker_databases",
							"Databases that the launcher of background workers can keep in mind.",
							NULL, &worker_databases, 1000, 10, 100000, PGC_POSTMASTER, 0, NULL,
							NULL, NULL);
}
