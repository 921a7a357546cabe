/*
 * guard.h
 *	  What the triggers that hold the rules against plain DML have in common.
 */
#ifndef BILLING_GUARD_H
#define BILLING_GUARD_H

#include "commands/trigger.h"
#include "fmgr.h"

/* guard_use.c */
extern TriggerData *guard_trigger_data(FunctionCallInfo fcinfo, const char *function);

#endif /* BILLING_GUARD_H */
