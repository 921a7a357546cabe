/*
 * compat.h
 *	  What differs between PostgreSQL 15, 17 and 18, and nowhere else.
 */
#ifndef BILLING_COMPAT_H
#define BILLING_COMPAT_H

#include "access/genam.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "storage/proc.h"
#include "utils/acl.h"

#if PG_VERSION_NUM < 150000
#error "billing needs PostgreSQL 15 or later"
#endif

static inline IndexScanDesc
compat_index_beginscan(Relation heap, Relation index, Snapshot snapshot, int nkeys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

static inline AclResult
compat_function_aclcheck(Oid function, Oid role, AclMode mode)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, role, mode);
#else
	return pg_proc_aclcheck(function, role, mode);
#endif
}

static inline void
compat_insert_index_tuples(ResultRelInfo *result, TupleTableSlot *slot, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	list_free(ExecInsertIndexTuples(result, slot, estate, false, false, NULL, NIL, false));
#else
	list_free(ExecInsertIndexTuples(result, slot, estate, false, false, NULL, NIL));
#endif
}

/* Tells this backend's transactions apart. */
static inline LocalTransactionId
compat_transaction_number(void)
{
#if PG_VERSION_NUM >= 170000
	return MyProc->vxid.lxid;
#else
	return MyProc->lxid;
#endif
}

#endif /* BILLING_COMPAT_H */
