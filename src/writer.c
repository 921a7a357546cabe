/*
 * writer.c
 *	  Writing rows straight into a table and all its indexes.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "storage/lmgr.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"

#include "call.h"
#include "compat.h"
#include "errors.h"
#include "foreign.h"
#include "writer.h"

static bool
fires_on_insert(const Trigger *trigger)
{
	return TRIGGER_FOR_INSERT(trigger->tgtype);
}

/* Of foreign keys none has a column that is set here. */
static bool
fires_on_update(const Trigger *trigger)
{
	return !trigger->tgisinternal && TRIGGER_FOR_UPDATE(trigger->tgtype);
}

/*
 * Change capture, or the bridge of a tool that rewrites the table, or somebody's
 * constraint: they must see every row, or every statement.
 */
bool
writer_has_foreign_triggers(Relation table)
{
	return foreign_has_trigger(table, fires_on_insert) || foreign_has_check(table);
}

/*
 * Somebody's trigger or index has to do with every row of the ledger: they are
 * written by the executor, and under the exclusive lock.
 */
bool
writer_ledger_is_watched(Relation ledger)
{
	return writer_has_foreign_triggers(ledger) || writer_has_foreign_index(ledger);
}

/* Of a statement as well as of a row. */
bool
writer_has_foreign_update_triggers(Relation table)
{
	return foreign_has_trigger(table, fires_on_update) || foreign_has_check(table);
}

/*
 * Columns that this library does not know, of a later version or of somebody
 * who added them, get NULL. One that must have something else is refused.
 */
static void
check_unknown_columns(Relation table, int known)
{
	TupleDesc desc = RelationGetDescr(table);

	for (int i = known; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (!column->attisdropped &&
			(column->attnotnull || column->atthasdef || column->attgenerated != '\0'))
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("the billing library does not know column \"%s\" of table "
								   "billing.%s",
								   NameStr(column->attname), RelationGetRelationName(table)),
							errdetail("The column is NOT NULL or has a default; the library would "
									  "leave it empty."),
							errhint("Install the library of the extension's version and restart "
									"the server, or drop the column.")));
	}
}

void
writer_begin(Writer *writer, TableId table)
{
	writer->table = tables_open(table, RowExclusiveLock);
	writer->columns = tables_known_columns(table);
	check_unknown_columns(writer->table, writer->columns);
	writer->foreign_triggers = table == TABLE_LEDGER ? writer_ledger_is_watched(writer->table)
													 : writer_has_foreign_triggers(writer->table);
	writer->estate = CreateExecutorState();
	writer->result = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->result, writer->table, 0, NULL, 0);
	ExecOpenIndices(writer->result, false);
	writer->slot = table_slot_create(writer->table, NULL);
	/* where triggers look for it, so that they do not open it once more */
	writer->estate->es_opened_result_relations = list_make1(writer->result);
	writer->statement = false;
	writer->capture = NULL;
	/* somebody may have events say less, as he could where SQL inserts them */
	writer->exact = table != TABLE_EVENT;
	if (writer->foreign_triggers)
		AfterTriggerBeginQuery();
}

/* A column that may be empty to us and must not be to somebody. */
static void
require_values(Writer *writer, const bool *nulls)
{
	TupleDesc desc = writer->slot->tts_tupleDescriptor;

	for (int i = 0; i < writer->columns; i++)
		if (nulls[i] && TupleDescAttr(desc, i)->attnotnull)
			ExecConstraints(writer->result, writer->slot, writer->estate);
}

static void
fill(Writer *writer, const Datum *values, const bool *nulls)
{
	TupleTableSlot *slot = writer->slot;

	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, writer->columns * sizeof(Datum));
	memcpy(slot->tts_isnull, nulls, writer->columns * sizeof(bool));
	for (int i = writer->columns; i < slot->tts_tupleDescriptor->natts; i++)
		slot->tts_isnull[i] = true;
	ExecStoreVirtualTuple(slot);
	require_values(writer, nulls);
}

static void
raise_interfered(const Writer *writer, const char *how, const char *detail)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_BILLING_ROW_ALTERED),
		 errmsg("a trigger on billing.%s %s", RelationGetRelationName(writer->table), how),
		 errdetail("%s", detail),
		 errhint("Let BEFORE triggers return NEW with the values that it came with; to refuse a "
				 "row raise an error.")));
}

/* What is stored is what was decided on: somebody's trigger may set his own columns only. */
static void
require_unchanged(Writer *writer, const Datum *values, const bool *nulls)
{
	TupleTableSlot *slot = writer->slot;

	slot_getallattrs(slot);
	for (int i = 0; writer->exact && i < writer->columns; i++)
	{
		Form_pg_attribute column = TupleDescAttr(slot->tts_tupleDescriptor, i);

		if (slot->tts_isnull[i] != nulls[i] ||
			(!nulls[i] &&
			 !datum_image_eq(slot->tts_values[i], values[i], column->attbyval, column->attlen)))
			raise_interfered(writer, "changed a row that billing writes",
							 psprintf("It set column \"%s\".", NameStr(column->attname)));
	}
}

/* The triggers on statements take what one writer writes as one; without a row it is none. */
static void
begin_statement(Writer *writer)
{
	if (writer->statement)
		return;
	writer->statement = true;
	writer->capture = MakeTransitionCaptureState(writer->result->ri_TrigDesc,
												 RelationGetRelid(writer->table), CMD_INSERT);
	ExecBSInsertTriggers(writer->estate, writer->result);
}

/* False: somebody's trigger would not have the row. */
static bool
fire_before_row(Writer *writer)
{
	TriggerDesc *triggers = writer->result->ri_TrigDesc;

	return triggers == NULL || !triggers->trig_insert_before_row ||
		   ExecBRInsertTriggers(writer->estate, writer->result, writer->slot);
}

/* As INSERT does, so that nobody who has hung something on the table is left out. */
static void
insert_as_sql(Writer *writer, const Datum *values, const bool *nulls)
{
	List *recheck;

	writer->estate->es_output_cid = GetCurrentCommandId(true);
	PushActiveSnapshot(GetLatestSnapshot());
	begin_statement(writer);
	if (fire_before_row(writer))
	{
		require_unchanged(writer, values, nulls);
		if (RelationGetDescr(writer->table)->constr != NULL)
			ExecConstraints(writer->result, writer->slot, writer->estate);
		table_tuple_insert(writer->table, writer->slot, writer->estate->es_output_cid, 0, NULL);
		recheck = compat_insert_indexes(writer->result, writer->slot, writer->estate);
		ExecARInsertTriggers(writer->estate, writer->result, writer->slot, recheck,
							 writer->capture);
		list_free(recheck);
	}
	else if (writer->exact)
		raise_interfered(writer, "suppressed a row that billing writes",
						 "What was decided would have no record.");
	PopActiveSnapshot();
}

void
writer_insert(Writer *writer, const Datum *values, const bool *nulls)
{
	fill(writer, values, nulls);
	if (writer->foreign_triggers)
		insert_as_sql(writer, values, nulls);
	else
	{
		table_tuple_insert(writer->table, writer->slot, GetCurrentCommandId(true), 0, NULL);
		(void) compat_insert_index_tuples(writer->result, writer->slot, writer->estate, NIL);
	}
	ResetPerTupleExprContext(writer->estate);
}

static bool
same_key(Relation a, Relation b)
{
	int columns = b->rd_index->indnkeyatts;

	return a->rd_index->indnkeyatts == columns &&
		   memcmp(a->rd_index->indkey.values, b->rd_index->indkey.values,
				  columns * sizeof(int16)) == 0;
}

/* The index, and any other with its key: REINDEX CONCURRENTLY has two of them for a while. */
static List *
indexes_with_key_of(const Writer *writer, Oid index)
{
	ResultRelInfo *result = writer->result;
	Relation wanted = NULL;
	List *found = NIL;

	for (int i = 0; i < result->ri_NumIndices && wanted == NULL; i++)
		if (RelationGetRelid(result->ri_IndexRelationDescs[i]) == index)
			wanted = result->ri_IndexRelationDescs[i];
	for (int i = 0; wanted != NULL && i < result->ri_NumIndices; i++)
		if (same_key(result->ri_IndexRelationDescs[i], wanted))
			found = lappend_oid(found, RelationGetRelid(result->ri_IndexRelationDescs[i]));
	return found;
}

/*
 * Does not wait for another transaction that is inserting the same key, as a
 * unique index otherwise does: false if there is, or was a moment ago, such a
 * row, and then the new one is gone again. Of two such rows the index shows the
 * later the earlier, so one of them always stays. Speculative, as INSERT … ON
 * CONFLICT: nobody has to wait for a row that was withdrawn, and who decodes the
 * WAL is not told of it, as he would be of one that was inserted and deleted.
 */
bool
writer_insert_unless_duplicate(Writer *writer, const Datum *values, const bool *nulls,
							   IndexId unique_index)
{
	List *arbiters = indexes_with_key_of(writer, tables_index_oid(unique_index));
	TransactionId xid = GetCurrentTransactionId();
	uint32 token;
	bool unique;

	Assert(!writer->foreign_triggers && arbiters != NIL);
	fill(writer, values, nulls);
	token = SpeculativeInsertionLockAcquire(xid);
	table_tuple_insert_speculative(writer->table, writer->slot, GetCurrentCommandId(true), 0, NULL,
								   token);
	unique = compat_insert_index_tuples(writer->result, writer->slot, writer->estate, arbiters);
	table_tuple_complete_speculative(writer->table, writer->slot, token, unique);
	SpeculativeInsertionLockRelease(xid);
	list_free(arbiters);
	ResetPerTupleExprContext(writer->estate);
	return unique;
}

/*
 * Sets one column of a row that the caller's locks protect, where nobody's
 * triggers want to know and no foreign key has the column. An error if the row
 * was changed nevertheless.
 */
void
writer_set(Writer *writer, ItemPointer row, int column, Datum value)
{
	TupleDesc desc = writer->slot->tts_tupleDescriptor;
	ItemPointerData old = *row;
	bool isnull = false;
	HeapTuple tuple;

	if (!table_tuple_fetch_row_version(writer->table, &old, SnapshotAny, writer->slot))
		elog(ERROR, "a row to be changed is gone");
	tuple = ExecCopySlotHeapTuple(writer->slot);
	ExecForceStoreHeapTuple(heap_modify_tuple_by_cols(tuple, desc, 1, &column, &value, &isnull),
							writer->slot, true);
	heap_freetuple(tuple);
	compat_update(writer->result, &old, writer->slot, writer->estate);
	ResetPerTupleExprContext(writer->estate);
}

/* The rows are visible to what the transaction does next. Locks stay to its end. */
void
writer_end(Writer *writer)
{
	if (writer->statement)
		ExecASInsertTriggers(writer->estate, writer->result, writer->capture);
	if (writer->foreign_triggers)
	{
		CallFrame *frame = call_begin_firing();

		AfterTriggerEndQuery(writer->estate);
		call_end_firing(frame);
	}
	/* slots that triggers were shown their rows in */
	ExecResetTupleTable(writer->estate->es_tupleTable, false);
	ExecCloseIndices(writer->result);
	ExecDropSingleTupleTableSlot(writer->slot);
	table_close(writer->table, NoLock);
	FreeExecutorState(writer->estate);
	CommandCounterIncrement();
}
