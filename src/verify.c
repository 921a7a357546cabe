/*
 * verify.c
 *	  Comparing what is derived, or was summed, with the ledger itself, and the
 *	  money that came in with where it is.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "argument.h"
#include "binding.h"
#include "call.h"
#include "query.h"

PG_FUNCTION_INFO_V1(billing_verify_ledger);

/* $1: the account; NULL: all. Plain SQL over the rows, sharing nothing with the code that reads balances. */
#define ONE_CHECK(text)                                                                            \
	{                                                                                              \
		.sql = (text), .nargs = 1, .argtypes = { UUIDOID }                                         \
	}

static SqlQuery checks[] = {
	ONE_CHECK(
		"SELECT g.account_id, format('grant %s of %s tokens: the ledger takes %s of them', "
		"g.grant_id, g.tokens, coalesce(l.taken, 0)) "
		"FROM billing.token_grant g LEFT JOIN LATERAL (SELECT sum(tokens) AS taken "
		"FROM billing.ledger WHERE account_id = g.account_id AND grant_id = g.grant_id) l ON true "
		"WHERE ($1 IS NULL OR g.account_id = $1) AND coalesce(l.taken, 0) NOT BETWEEN 0 AND "
		"g.tokens"),

	/* ledger rows and checkpoints in one order, so that one running sum serves every checkpoint */
	ONE_CHECK(
		"SELECT account_id, format('checkpoint of grant %s through entry %s says %s tokens in %s "
		"entries; the ledger has %s in %s', grant_id, entry_no, consumed, entries, taken, counted) "
		"FROM (SELECT account_id, grant_id, entry_no, consumed, entries, "
		"coalesce(sum(tokens) OVER running, 0) AS taken, count(tokens) OVER running AS counted "
		"FROM (SELECT account_id, grant_id, entry_no, tokens, NULL::bigint AS consumed, "
		"NULL::bigint AS entries FROM billing.ledger WHERE $1 IS NULL OR account_id = $1 "
		"UNION ALL SELECT account_id, grant_id, through_entry_no, NULL, consumed, entries "
		"FROM billing.checkpoint WHERE $1 IS NULL OR account_id = $1) movements "
		"WINDOW running AS (PARTITION BY account_id, grant_id "
		"ORDER BY entry_no, consumed IS NOT NULL ROWS UNBOUNDED PRECEDING)) sums "
		"WHERE consumed IS NOT NULL AND (taken <> consumed OR counted <> entries)"),

	ONE_CHECK("SELECT l.account_id, format('grant %s has entries through %s, below the account''s "
			  "checkpoint, "
			  "but no checkpoint of its own goes that far', l.grant_id, max(l.entry_no)) "
			  "FROM billing.ledger l JOIN (SELECT account_id, max(through_entry_no) AS through "
			  "FROM billing.checkpoint GROUP BY account_id) w USING (account_id) "
			  "WHERE ($1 IS NULL OR l.account_id = $1) AND l.entry_no <= w.through "
			  "GROUP BY l.account_id, l.grant_id HAVING max(l.entry_no) > coalesce((SELECT "
			  "max(c.through_entry_no) FROM billing.checkpoint c WHERE c.account_id = l.account_id "
			  "AND c.grant_id = l.grant_id), 0)"),

	ONE_CHECK("SELECT l.account_id, format('grant %s of entry %s does not exist', l.grant_id, "
			  "l.entry_no) "
			  "FROM billing.ledger l LEFT JOIN billing.token_grant g USING (account_id, grant_id) "
			  "WHERE ($1 IS NULL OR l.account_id = $1) AND g.grant_id IS NULL"),

	ONE_CHECK(
		"SELECT account_id, format('entry %s was asked for %s tokens; its rows move %s', "
		"coalesce(part_of, entry_no), max(asked), abs(sum(tokens))) "
		"FROM billing.ledger WHERE $1 IS NULL OR account_id = $1 "
		"GROUP BY account_id, coalesce(part_of, entry_no) HAVING abs(sum(tokens)) <> max(asked)"),

	ONE_CHECK(
		"SELECT p.account_id, format('entry %s continues entry %s, which does not exist', "
		"p.entry_no, "
		"p.part_of) "
		"FROM billing.ledger p LEFT JOIN billing.ledger f ON f.account_id = p.account_id "
		"AND f.entry_no = p.part_of "
		"WHERE ($1 IS NULL OR p.account_id = $1) AND p.part_of IS NOT NULL AND f.entry_no IS NULL"),

	ONE_CHECK("SELECT account_id, format('entry %s leaves no number for the next', entry_no) "
			  "FROM billing.ledger WHERE ($1 IS NULL OR account_id = $1) "
			  "AND entry_no >= (1::bigint << 62) + (1::bigint << 61)"),

	ONE_CHECK(
		"SELECT h.account_id, format('hold %s of %s tokens, %s: the ledger keeps %s of them', "
		"h.hold_id, "
		"h.tokens, coalesce(e.kind, 'open'), coalesce(l.kept, 0)) "
		"FROM billing.hold h LEFT JOIN billing.hold_end e USING (account_id, hold_id) "
		"CROSS JOIN LATERAL (SELECT sum(tokens) AS kept FROM billing.ledger "
		"WHERE account_id = h.account_id AND hold_id = h.hold_id) l "
		"WHERE ($1 IS NULL OR h.account_id = $1) AND (h.ended <> (e.hold_id IS NOT NULL) OR "
		"coalesce(l.kept, 0) <> CASE WHEN e.hold_id IS NULL THEN h.tokens ELSE e.tokens END)"),

	ONE_CHECK("SELECT r.account_id, format('entry %s refunds %s tokens of entry %s, which took "
			  "%s', r.entry_no, "
			  "r.asked, r.refund_of, coalesce(f.asked, 0)) "
			  "FROM billing.ledger r LEFT JOIN billing.ledger f ON f.account_id = r.account_id "
			  "AND f.entry_no = r.refund_of AND f.kind = 'consume' "
			  "WHERE ($1 IS NULL OR r.account_id = $1) AND r.refund_of IS NOT NULL "
			  "AND r.asked > coalesce(f.asked, 0)"),

	ONE_CHECK("SELECT s.account_id, format('subscription %s has no period', s.subscription_id) "
			  "FROM billing.subscription s WHERE ($1 IS NULL OR s.account_id = $1) AND NOT s.void "
			  "AND NOT EXISTS (SELECT FROM billing.subscription_period p "
			  "WHERE p.account_id = s.account_id AND p.subscription_id = s.subscription_id "
			  "AND NOT p.void)"),

	ONE_CHECK("SELECT o.account_id, format('order %s is paid, but its period does not exist', "
			  "o.order_id) FROM billing.plan_order o LEFT JOIN billing.subscription_period p "
			  "ON p.account_id = o.account_id AND p.subscription_id = o.subscription_id "
			  "AND p.order_id = o.order_id "
			  "WHERE ($1 IS NULL OR o.account_id = $1) AND o.status = 'paid' "
			  "AND p.order_id IS NULL"),

	/* wide sums: a single payment may be as large as an amount can be */
	ONE_CHECK(
		"SELECT account_id, format('payments of %s %s in minor units, of which %s are somewhere', "
		"sum(paid), currency, sum(found)) FROM ("
		"SELECT account_id, currency(amount), minor_units(amount) AS paid, "
		"CASE WHEN reason = 'payment_mismatch' THEN minor_units(amount) ELSE 0 END AS found "
		"FROM billing.payment WHERE $1 IS NULL OR account_id = $1 "
		"UNION ALL SELECT r.account_id, currency(r.amount), 0, minor_units(r.amount) "
		"FROM billing.payment_refund r JOIN billing.payment p USING (account_id, payment_id) "
		"WHERE ($1 IS NULL OR r.account_id = $1) AND p.reason <> 'payment_mismatch' "
		"UNION ALL SELECT account_id, currency(amount), 0, minor_units(amount) "
		"FROM billing.account_credit WHERE $1 IS NULL OR account_id = $1 "
		"UNION ALL SELECT account_id, currency(paid), 0, minor_units(paid) - "
		"coalesce(minor_units(credited), 0) - coalesce(minor_units(refunded), 0) "
		"FROM billing.subscription_period WHERE ($1 IS NULL OR account_id = $1) "
		"AND paid IS NOT NULL AND order_id IS NOT NULL) money "
		"GROUP BY account_id, currency HAVING sum(paid) <> sum(found)"),
};

static void
put_problems(ReturnSetInfo *rsinfo, uint64 count)
{
	for (uint64 i = 0; i < count; i++)
	{
		Datum values[2] = {query_datum(i, 1), query_datum(i, 2)};
		bool nulls[2] = {false, false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/*
 * billing.verify_ledger(account_id uuid) → SETOF (account_id uuid, problem text)
 *
 * Recomputes everything that was summed or derived from the ledger's rows, and
 * where the money is, of one account or (NULL) of all, and reports what does not
 * agree; no row: all sound. Reads the whole ledger. All in a bound transaction: PB006.
 */
Datum
billing_verify_ledger(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Call call;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		binding_refuse();
	else if (!binding_admits(PG_GETARG_UUID_P(0)))
		return (Datum) 0;
	call_enter(&call);
	for (int i = 0; i < (int) lengthof(checks); i++)
		put_problems(rsinfo, query_execute(&checks[i], fcinfo->args));
	call_leave(&call);
	return (Datum) 0;
}
