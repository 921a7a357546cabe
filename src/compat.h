/*
 * compat.h
 *	  What differs between PostgreSQL 15, 17 and 18, and nowhere else.
 */
#ifndef BILLING_COMPAT_H
#define BILLING_COMPAT_H

#include "access/genam.h"
#include "access/tableam.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/rel.h"

#if PG_VERSION_NUM < 150000
#error "billing needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#ifndef pg_attribute_noreturn
#define pg_attribute_noreturn() __attribute__((noreturn))
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

/*
 * Inserts the index entries of a new row. A duplicate in one of the arbiters
 * does not raise or wait: it makes the answer false.
 */
static inline bool
compat_insert_index_tuples(ResultRelInfo *result, TupleTableSlot *slot, EState *estate,
						   List *arbiters)
{
	bool duplicate = false;

#if PG_VERSION_NUM >= 160000
	list_free(ExecInsertIndexTuples(result, slot, estate, false, arbiters != NIL, &duplicate,
									arbiters, false));
#else
	list_free(
		ExecInsertIndexTuples(result, slot, estate, false, arbiters != NIL, &duplicate, arbiters));
#endif
	return !duplicate;
}

/* The indexes that are to be looked at once more when constraints are. */
static inline List *
compat_insert_indexes(ResultRelInfo *result, TupleTableSlot *slot, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(result, slot, estate, false, false, NULL, NIL, false);
#else
	return ExecInsertIndexTuples(result, slot, estate, false, false, NULL, NIL);
#endif
}

/* Replaces the row and inserts the index entries that it needs. */
static inline void
compat_update(ResultRelInfo *result, ItemPointer old, TupleTableSlot *slot, EState *estate)
{
	Relation table = result->ri_RelationDesc;

#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes indexes;

	simple_table_tuple_update(table, old, slot, InvalidSnapshot, &indexes);
	if (indexes != TU_None)
		list_free(ExecInsertIndexTuples(result, slot, estate, true, false, NULL, NIL,
										indexes == TU_Summarizing));
#else
	bool indexes;

	simple_table_tuple_update(table, old, slot, InvalidSnapshot, &indexes);
	if (indexes)
		list_free(ExecInsertIndexTuples(result, slot, estate, true, false, NULL, NIL));
#endif
}

/* The file that holds the table now; it changes with TRUNCATE, VACUUM FULL and CLUSTER. */
static inline Oid
compat_relation_storage(Relation relation)
{
#if PG_VERSION_NUM >= 160000
	return relation->rd_locator.relNumber;
#else
	return relation->rd_node.relNode;
#endif
}

static inline bool
compat_lock_held_by_me(const LOCKTAG *tag, LOCKMODE mode)
{
#if PG_VERSION_NUM >= 170000
	return LockHeldByMe(tag, mode, false);
#else
	return LockHeldByMe(tag, mode);
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

/* Ends the whole session, as the one on statements does not. */
static inline void
compat_reset_transaction_timeout(void)
{
#if PG_VERSION_NUM >= 170000
	SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
#endif
}

static inline bool
compat_is_background_worker(void)
{
#if PG_VERSION_NUM >= 170000
	return AmBackgroundWorkerProcess();
#else
	return IsBackgroundWorker;
#endif
}

#endif /* BILLING_COMPAT_H */
