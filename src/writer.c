/*
 * writer.c
 *	  Inserting rows straight into a table and all its indexes.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"

#include "compat.h"
#include "writer.h"

void
writer_begin(Writer *writer, TableId table)
{
	writer->table = table_open(tables_oid(table), RowExclusiveLock);
	writer->estate = CreateExecutorState();
	writer->result = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->result, writer->table, 0, NULL, 0);
	ExecOpenIndices(writer->result, false);
	writer->slot = table_slot_create(writer->table, NULL);
}

void
writer_insert(Writer *writer, const Datum *values, const bool *nulls)
{
	int columns = writer->slot->tts_tupleDescriptor->natts;

	ExecClearTuple(writer->slot);
	memcpy(writer->slot->tts_values, values, columns * sizeof(Datum));
	memcpy(writer->slot->tts_isnull, nulls, columns * sizeof(bool));
	ExecStoreVirtualTuple(writer->slot);
	table_tuple_insert(writer->table, writer->slot, GetCurrentCommandId(true), 0, NULL);
	if (writer->result->ri_NumIndices > 0)
		compat_insert_index_tuples(writer->result, writer->slot, writer->estate);
	ResetPerTupleExprContext(writer->estate);
}

/* The rows are visible to what the transaction does next. Locks stay to its end. */
void
writer_end(Writer *writer)
{
	ExecCloseIndices(writer->result);
	ExecDropSingleTupleTableSlot(writer->slot);
	table_close(writer->table, NoLock);
	FreeExecutorState(writer->estate);
	CommandCounterIncrement();
}
