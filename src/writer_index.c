/*
 * writer_index.c
 *	  Whether somebody else's index on the ledger allows rows to be written there
 *	  under a lock that is shared.
 *
 * Between a take and its landing nothing may wait for another transaction, and
 * nothing may run that consumes or catches errors itself. Our own indexes do
 * neither; one that is unique waits, and one may run functions of somebody's. Those
 * in C, or the server's own, are taken to be what an index needs.
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "nodes/nodeFuncs.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "writer.h"

static bool
is_foreign_function(Oid function, void *context pg_attribute_unused())
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid language = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		language = ((Form_pg_proc) GETSTRUCT(tuple))->prolang;
		ReleaseSysCache(tuple);
	}
	return language != INTERNALlanguageId && language != ClanguageId;
}

/* A domain's check is an expression in its turn: not looked into. */
static bool
calls_foreign_function(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return IsA(node, CoerceToDomain) || check_functions_in_node(node, is_foreign_function, NULL) ||
		   expression_tree_walker(node, calls_foreign_function, context);
}

/* Of an operator class. */
static bool
has_foreign_support(Relation index)
{
	int count = IndexRelationGetNumberOfKeyAttributes(index) * index->rd_indam->amsupport;

	for (int i = 0; i < count; i++)
		if (OidIsValid(index->rd_support[i]) && is_foreign_function(index->rd_support[i], NULL))
			return true;
	return false;
}

static bool
runs_foreign_code(Relation index)
{
	return has_foreign_support(index) ||
		   calls_foreign_function((Node *) RelationGetIndexExpressions(index), NULL) ||
		   calls_foreign_function((Node *) RelationGetIndexPredicate(index), NULL);
}

/* As REINDEX CONCURRENTLY makes one. Ours have no expressions, so equal columns are equal keys. */
static bool
is_copy(Relation a, Relation b)
{
	int keys = IndexRelationGetNumberOfKeyAttributes(a);

	return keys == IndexRelationGetNumberOfKeyAttributes(b) &&
		   a->rd_index->indisunique == b->rd_index->indisunique &&
		   a->rd_index->indisexclusion == b->rd_index->indisexclusion &&
		   a->rd_index->indimmediate == b->rd_index->indimmediate &&
		   a->rd_index->indnullsnotdistinct == b->rd_index->indnullsnotdistinct &&
		   memcmp(a->rd_index->indkey.values, b->rd_index->indkey.values, keys * sizeof(int16)) ==
			   0 &&
		   memcmp(a->rd_opfamily, b->rd_opfamily, keys * sizeof(Oid)) == 0 &&
		   memcmp(a->rd_indcollation, b->rd_indcollation, keys * sizeof(Oid)) == 0 &&
		   equal(RelationGetIndexPredicate(a), RelationGetIndexPredicate(b));
}

static bool
is_ours(Relation index)
{
	bool ours = false;

	for (int i = 0; i < INDEX_COUNT && !ours; i++)
	{
		Relation known;

		if (tables_of_index(i) != TABLE_LEDGER)
			continue;
		known = index_open(tables_index_oid(i), AccessShareLock);
		ours = is_copy(index, known);
		index_close(known, AccessShareLock);
	}
	return ours;
}

static bool
is_in_the_way(Oid oid)
{
	Relation index = index_open(oid, AccessShareLock);
	bool waits = index->rd_index->indisunique || index->rd_index->indisexclusion;
	bool in_the_way = runs_foreign_code(index) || (waits && !is_ours(index));

	index_close(index, AccessShareLock);
	return in_the_way;
}

/*
 * The caller has the ledger locked: an index that comes meanwhile is not written
 * to before the caller's transaction has ended.
 */
bool
writer_has_foreign_index(Relation ledger)
{
	static uint64 known = 0;
	static bool found = false;
	uint64 generation;
	List *indexes;
	ListCell *cell;

	/* without it the cache of OIDs would not notice that the table changes */
	(void) tables_oid(TABLE_LEDGER);
	generation = tables_generation();
	if (known == generation)
		return found;
	known = 0;
	found = false;
	indexes = RelationGetIndexList(ledger);
	foreach (cell, indexes)
		found = found || is_in_the_way(lfirst_oid(cell));
	list_free(indexes);
	known = generation;
	return found;
}
