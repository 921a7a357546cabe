/*
 * probe.c
 *	  Reading rows through an index with a snapshot of the caller's choice.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "probe.h"

void
probe_begin(Probe *probe, IndexId index, Snapshot snapshot, ScanKey keys, int nkeys)
{
	probe->table = tables_open(tables_of_index(index), AccessShareLock);
	probe->index = index_open(tables_index_oid(index), AccessShareLock);
	probe->slot = table_slot_create(probe->table, NULL);
	probe->direction = ForwardScanDirection;
	probe->scan = compat_index_beginscan(probe->table, probe->index, snapshot, nkeys);
	index_rescan(probe->scan, keys, nkeys, NULL, 0);
}

bool
probe_next(Probe *probe)
{
	if (!index_getnext_slot(probe->scan, probe->direction, probe->slot))
		return false;
	slot_getallattrs(probe->slot);
	return true;
}

/* Not the slot's own column: that of a frozen row is of a transaction long ago, whose number may be ours. */
static TransactionId
inserted_by(HeapTuple row)
{
	return HeapTupleHeaderGetXmin(row->t_data);
}

static HeapTuple
heap_row(Probe *probe)
{
	bool copied;

	return ExecFetchSlotHeapTuple(probe->slot, false, &copied);
}

/* Whether the row is this transaction's own. */
bool
probe_is_own(Probe *probe)
{
	return TransactionIdIsValid(GetTopTransactionIdIfAny()) &&
		   TransactionIdIsCurrentTransactionId(inserted_by(heap_row(probe)));
}

/*
 * A row that was committed after a REPEATABLE READ transaction's snapshot must
 * not steer it: the same rule, and the same error, as INSERT … ON CONFLICT.
 */
void
probe_require_visible(Probe *probe, const char *detail)
{
	if (!IsolationUsesXactSnapshot() ||
		table_tuple_satisfies_snapshot(probe->table, probe->slot, GetTransactionSnapshot()))
		return;
	if (!probe_is_own(probe))
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						errmsg("could not serialize access due to concurrent update"),
						errdetail("%s", detail), errhint("Retry the transaction.")));
}

void
probe_end(Probe *probe)
{
	index_endscan(probe->scan);
	ExecDropSingleTupleTableSlot(probe->slot);
	index_close(probe->index, AccessShareLock);
	table_close(probe->table, AccessShareLock);
}

void
probe_key_uuid(ScanKey key, AttrNumber column, const pg_uuid_t *value)
{
	ScanKeyInit(key, column, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(value));
}

/* Every text column that an index leads to is COLLATE "C". */
void
probe_key_text(ScanKey key, AttrNumber column, Datum value)
{
	ScanKeyEntryInitialize(key, 0, column, BTEqualStrategyNumber, InvalidOid, C_COLLATION_OID,
						   F_TEXTEQ, value);
}

void
probe_key_int32(ScanKey key, AttrNumber column, int32 value)
{
	ScanKeyInit(key, column, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(value));
}

void
probe_key_int64(ScanKey key, AttrNumber column, StrategyNumber strategy, int64 value)
{
	RegProcedure proc = strategy == BTEqualStrategyNumber     ? F_INT8EQ
						: strategy == BTGreaterStrategyNumber ? F_INT8GT
															  : F_INT8LE;

	Assert(strategy == BTEqualStrategyNumber || strategy == BTGreaterStrategyNumber ||
		   strategy == BTLessEqualStrategyNumber);
	ScanKeyInit(key, column, strategy, proc, Int64GetDatum(value));
}

void
probe_key_time(ScanKey key, AttrNumber column, StrategyNumber strategy, TimestampTz value)
{
	RegProcedure proc = strategy == BTGreaterStrategyNumber        ? F_TIMESTAMPTZ_GT
						: strategy == BTGreaterEqualStrategyNumber ? F_TIMESTAMPTZ_GE
																   : F_TIMESTAMPTZ_LE;

	Assert(strategy == BTGreaterStrategyNumber || strategy == BTGreaterEqualStrategyNumber ||
		   strategy == BTLessEqualStrategyNumber);
	ScanKeyInit(key, column, strategy, proc, TimestampTzGetDatum(value));
}

bool
probe_is_null(Probe *probe, int column)
{
	return probe->slot->tts_isnull[column - 1];
}

Datum
probe_datum(Probe *probe, int column)
{
	Assert(!probe_is_null(probe, column));
	return probe->slot->tts_values[column - 1];
}

int64
probe_int64(Probe *probe, int column)
{
	return DatumGetInt64(probe_datum(probe, column));
}

bool
probe_bool(Probe *probe, int column)
{
	return DatumGetBool(probe_datum(probe, column));
}

pg_uuid_t
probe_uuid(Probe *probe, int column)
{
	return *DatumGetUUIDP(probe_datum(probe, column));
}

TimestampTz
probe_time(Probe *probe, int column)
{
	return DatumGetTimestampTz(probe_datum(probe, column));
}

/* A palloc'd copy; NULL where the column is. */
char *
probe_text(Probe *probe, int column)
{
	if (probe_is_null(probe, column))
		return NULL;
	return TextDatumGetCString(probe_datum(probe, column));
}
