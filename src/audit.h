/*
 * audit.h
 *	  Writing down who called what on which account.
 */
#ifndef BILLING_AUDIT_H
#define BILLING_AUDIT_H

#include "fmgr.h"
#include "utils/uuid.h"

#include "call.h"

extern void audit_write(FunctionCallInfo fcinfo, const Call *call, const pg_uuid_t *account);

#endif /* BILLING_AUDIT_H */
