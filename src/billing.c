/*
 * billing.c
 *	  What happens when the library is loaded.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "binding.h"
#include "call.h"
#include "engine.h"
#include "lockout.h"
#include "password.h"
#include "restore.h"
#include "settings.h"
#include "tables.h"
#include "worker.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	/*
	 * A warning about a setting looks for interrupts. A library whose start was interrupted
	 * is started again by the next call, and settings cannot be defined twice.
	 */
	HOLD_INTERRUPTS();
	settings_define();
	binding_define_settings();
	password_define_settings();
	worker_define_settings();
	if (process_shared_preload_libraries_in_progress)
	{
		engine_define_settings();
		engine_install_hooks();
		worker_define_server_settings();
		worker_install();
	}
	lockout_init();
	MarkGUCPrefixReserved("billing");
	tables_init();
	call_init();
	worker_init();
	binding_init();
	restore_init();
	RESUME_INTERRUPTS();
}
