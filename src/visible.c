/*
 * visible.c
 *	  What the views filter by, and what the planner makes of it.
 *
 * A filter alone hides rows, and not that they were looked at: EXPLAIN ANALYZE
 * and the statistics say how many a condition fetched from an index before the
 * filter refused them. Where a session may see one account at most, the filter is
 * therefore a range of every index that begins with account_id, and a column that
 * other indexes begin with is not recognized as theirs (shown()). Plans for
 * sessions that see everything are as if neither was there. A plan that is kept
 * while that changes stays right, since the filter is looked at with every row.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

#include "binding.h"
#include "compat.h"
#include "tables.h"

PG_FUNCTION_INFO_V1(billing_visible);
PG_FUNCTION_INFO_V1(billing_first_visible);
PG_FUNCTION_INFO_V1(billing_last_visible);
PG_FUNCTION_INFO_V1(billing_shown);
PG_FUNCTION_INFO_V1(billing_plan_visible);

/*
 * billing.visible(account_id uuid) → boolean
 *
 * Whether the transaction may see the account's rows; NULL: false. What the
 * views filter by.
 */
Datum
billing_visible(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!PG_ARGISNULL(0) && binding_admits(PG_GETARG_UUID_P(0)));
}

/*
 * billing.first_visible() → uuid, billing.last_visible() → uuid
 *
 * The bounds of the accounts that the transaction may see. None has the id of
 * zeros, so that zeros to zeros is nobody.
 */
Datum
billing_first_visible(PG_FUNCTION_ARGS)
{
	pg_uuid_t *first = palloc0(sizeof(pg_uuid_t));

	(void) fcinfo;
	if (binding_account() != NULL)
		*first = *binding_account();
	PG_RETURN_UUID_P(first);
}

Datum
billing_last_visible(PG_FUNCTION_ARGS)
{
	pg_uuid_t *last = palloc0(sizeof(pg_uuid_t));

	(void) fcinfo;
	if (binding_account() != NULL)
		*last = *binding_account();
	else if (!binding_is_restricted())
		memset(last->data, 0xff, UUID_LEN);
	PG_RETURN_UUID_P(last);
}

/*
 * billing.shown(account_id uuid, value) → value
 *
 * The value where the transaction may see every account, or this one; else NULL.
 */
Datum
billing_shown(PG_FUNCTION_ARGS)
{
	bool is_shown =
		!binding_is_restricted() || (!PG_ARGISNULL(0) && binding_admits(PG_GETARG_UUID_P(0)));

	if (!is_shown || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PG_GETARG_DATUM(1));
}

static Node *
simplify(const SupportRequestSimplify *request)
{
	List *args = request->fcall->args;

	return list_length(args) == 2 && !binding_is_restricted() ? lsecond(args) : NULL;
}

/* Whatever the table holds of others: an estimate must not tell either. */
static Node *
estimate(SupportRequestSelectivity *request)
{
	request->selectivity = binding_is_restricted() ? 1e-10 : 1.0;
	return (Node *) request;
}

static Expr *
bound(const SupportRequestIndexCondition *request, Node *account, StrategyNumber strategy,
	  const char *function)
{
	Oid operator= get_opfamily_member(request->opfamily, UUIDOID, UUIDOID, strategy);
	Oid oid = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(function),
							  PointerGetDatum(buildoidvector(NULL, 0)),
							  ObjectIdGetDatum(tables_schema()));

	if (!OidIsValid(operator) || !OidIsValid(oid))
		return NULL;
	return make_opclause(operator, BOOLOID, false, (Expr *) account,
						 (Expr *) makeFuncExpr(oid, UUIDOID, NIL, InvalidOid, InvalidOid,
											   COERCE_EXPLICIT_CALL),
						 InvalidOid, InvalidOid);
}

/* btree_gist has btree's numbers. */
static Node *
index_condition(SupportRequestIndexCondition *request)
{
	Node *account;
	Expr *first;
	Expr *last;

	if (!binding_is_restricted() || request->indexarg != 0 || !IsA(request->node, FuncExpr) ||
		(request->index->relam != BTREE_AM_OID && request->index->relam != GIST_AM_OID))
		return NULL;
	account = linitial(((FuncExpr *) request->node)->args);
	first = bound(request, account, BTGreaterEqualStrategyNumber, "first_visible");
	last = bound(request, account, BTLessEqualStrategyNumber, "last_visible");
	if (first == NULL || last == NULL)
		return NULL;
	request->lossy = true;
	return (Node *) list_make2(first, last);
}

/*
 * billing.plan_visible(internal) → internal
 *
 * The planner's support function of visible() and shown().
 */
Datum
billing_plan_visible(PG_FUNCTION_ARGS)
{
	Node *request = (Node *) PG_GETARG_POINTER(0);
	Node *answer = NULL;

	if (IsA(request, SupportRequestSimplify))
		answer = simplify((SupportRequestSimplify *) request);
	else if (IsA(request, SupportRequestSelectivity))
		answer = estimate((SupportRequestSelectivity *) request);
	else if (IsA(request, SupportRequestIndexCondition))
		answer = index_condition((SupportRequestIndexCondition *) request);
	PG_RETURN_POINTER(answer);
}
