/*
 * writer.h
 *	  Inserting rows straight into a table and all its indexes.
 *
 * The token path writes with these: triggers, foreign keys and CHECKs exist for
 * plain DML, and the code that calls these has made sure of what they ask.
 */
#ifndef BILLING_WRITER_H
#define BILLING_WRITER_H

#include "nodes/execnodes.h"

#include "tables.h"

typedef struct Writer
{
	Relation table;
	EState *estate;
	ResultRelInfo *result;
	TupleTableSlot *slot;
} Writer;

extern void writer_begin(Writer *writer, TableId table);
extern void writer_insert(Writer *writer, const Datum *values, const bool *nulls);
extern void writer_end(Writer *writer);

#endif /* BILLING_WRITER_H */
