/*
 * writer.h
 *	  Writing rows straight into a table and all its indexes.
 *
 * The token path writes with these: triggers, foreign keys and CHECKs exist for
 * plain DML, and the code that calls these has made sure of what they ask.
 */
#ifndef BILLING_WRITER_H
#define BILLING_WRITER_H

#include "commands/trigger.h"
#include "nodes/execnodes.h"

#include "tables.h"

typedef struct Writer
{
	Relation table;
	EState *estate;
	ResultRelInfo *result;
	TupleTableSlot *slot;
	int columns;    /* that callers give values for; the table may have more */
	bool exact;     /* rows must be stored as they were given */
	bool statement; /* others' triggers on the statement have been fired */
	TransitionCaptureState *capture;
	bool foreign_triggers; /* rows go through the executor, for others' triggers and indexes */
} Writer;

extern bool writer_has_foreign_triggers(Relation table);
extern bool writer_has_foreign_update_triggers(Relation table);
extern bool writer_ledger_is_watched(Relation ledger);
extern void writer_begin(Writer *writer, TableId table);
extern void writer_insert(Writer *writer, const Datum *values, const bool *nulls);
extern bool writer_insert_unless_duplicate(Writer *writer, const Datum *values, const bool *nulls,
										   IndexId unique_index);
extern void writer_set(Writer *writer, ItemPointer row, int column, Datum value);
extern void writer_end(Writer *writer);

/* writer_index.c */
extern bool writer_has_foreign_index(Relation ledger);

#endif /* BILLING_WRITER_H */
