/*
 * guard.c
 *	  Triggers that hold the rules against plain DML.
 *
 * They are ENABLE ALWAYS, so that they also fire where rows arrive by logical
 * replication. The extension's own token rows go past them: the code that
 * writes those has made sure of what the triggers ask (writer.h).
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "amount.h"
#include "balance.h"
#include "call.h"
#include "checkpoint.h"
#include "compat.h"
#include "errors.h"
#include "guard.h"
#include "hold.h"
#include "identifier.h"
#include "lock.h"
#include "low_balance.h"
#include "query.h"
#include "tables.h"

PG_FUNCTION_INFO_V1(billing_guard_immutable);
PG_FUNCTION_INFO_V1(billing_guard_grant);
PG_FUNCTION_INFO_V1(billing_guard_hold);
PG_FUNCTION_INFO_V1(billing_guard_order);
PG_FUNCTION_INFO_V1(billing_guard_period);
PG_FUNCTION_INFO_V1(billing_guard_balance);
PG_FUNCTION_INFO_V1(billing_guard_engine);

static SqlQuery select_successor = {
	.sql = "SELECT FROM billing.subscription WHERE account_id = $1 AND subscription_id = $2 "
		   "AND replaced_by = $3",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, UUIDOID}};

/* A token plan's tokens are usable before their period begins. */
static SqlQuery select_period_times = {
	.sql = "SELECT FROM billing.subscription_period WHERE account_id = $1 AND grant_id = $2 "
		   "AND (effective_at = $3 OR kind = 'token') AND expires_at = $4",
	.nargs = 4,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID}};

static const char *
operation_name(TriggerEvent event)
{
	return TRIGGER_FIRED_BY_UPDATE(event)   ? "updated"
		   : TRIGGER_FIRED_BY_DELETE(event) ? "deleted"
											: "truncated";
}

static void
raise_immutable(TriggerData *trigger)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_BILLING_LEDGER_IMMUTABLE),
		 errmsg("rows of billing.%s cannot be %s", RelationGetRelationName(trigger->tg_relation),
				operation_name(trigger->tg_event)),
		 errdetail("The table is append-only: it is the record of what happened."),
		 errhint("Correct a mistake by a new entry, such as a refund, a grant or a new version.")));
}

/*
 * billing.guard_immutable(): trigger
 *
 * Refuses UPDATE, DELETE and TRUNCATE with PB012.
 */
Datum
billing_guard_immutable(PG_FUNCTION_ARGS)
{
	raise_immutable(guard_trigger_data(fcinfo, "guard_immutable"));
	PG_RETURN_NULL();
}

static bool
changes(TriggerData *trigger, AttrNumber column)
{
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	Form_pg_attribute attribute = TupleDescAttr(desc, column - 1);
	bool old_null;
	bool new_null;
	Datum old_value = heap_getattr(trigger->tg_trigtuple, column, desc, &old_null);
	Datum new_value = heap_getattr(trigger->tg_newtuple, column, desc, &new_null);

	if (attribute->attisdropped || (old_null && new_null))
		return false;
	return old_null != new_null ||
		   !datum_image_eq(old_value, new_value, attribute->attbyval, attribute->attlen);
}

/* Whether old and new row differ in any column but these. */
static bool
differs_beyond(TriggerData *trigger, const AttrNumber *columns, int count)
{
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);

	for (int i = 1; i <= desc->natts; i++)
	{
		bool may = false;

		for (int j = 0; j < count; j++)
			may |= columns[j] == i;
		if (!may && changes(trigger, i))
			return true;
	}
	return false;
}

static bool
is_null(HeapTuple tuple, AttrNumber column, TupleDesc desc)
{
	return heap_attisnull(tuple, column, desc);
}

static NullableDatum
column_of(HeapTuple tuple, AttrNumber column, TupleDesc desc)
{
	NullableDatum value;

	value.value = heap_getattr(tuple, column, desc, &value.isnull);
	return value;
}

/* Whether the grant goes to the subscription that the row of its own names as its successor. */
static bool
goes_to_successor(TriggerData *trigger)
{
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);

	return query_execute(
			   &select_successor,
			   (NullableDatum[]){column_of(trigger->tg_trigtuple, GRANT_ACCOUNT_ID, desc),
								 column_of(trigger->tg_trigtuple, GRANT_SUBSCRIPTION_ID, desc),
								 column_of(trigger->tg_newtuple, GRANT_SUBSCRIPTION_ID, desc)}) > 0;
}

/* Whether the grant takes the times of the period that it came with. */
static bool
follows_period(TriggerData *trigger)
{
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);

	return query_execute(
			   &select_period_times,
			   (NullableDatum[]){column_of(trigger->tg_newtuple, GRANT_ACCOUNT_ID, desc),
								 column_of(trigger->tg_newtuple, GRANT_GRANT_ID, desc),
								 column_of(trigger->tg_newtuple, GRANT_EFFECTIVE_AT, desc),
								 column_of(trigger->tg_newtuple, GRANT_EXPIRES_AT, desc)}) > 0;
}

/* The rows that tell are written first, so the rule also holds where changes arrive by replication. */
static bool
grant_may_change(TriggerData *trigger)
{
	static const AttrNumber columns[] = {GRANT_VOIDED_AT, GRANT_SUBSCRIPTION_ID, GRANT_EFFECTIVE_AT,
										 GRANT_EXPIRES_AT};
	bool moves = changes(trigger, GRANT_SUBSCRIPTION_ID);
	bool shifts = changes(trigger, GRANT_EFFECTIVE_AT) || changes(trigger, GRANT_EXPIRES_AT);
	bool may = true;
	Call call;

	if (!is_null(trigger->tg_trigtuple, GRANT_VOIDED_AT, RelationGetDescr(trigger->tg_relation)) ||
		differs_beyond(trigger, columns, lengthof(columns)))
		return false;
	if (!moves && !shifts)
		return true;
	call_enter(&call);
	if (moves)
		may = goes_to_successor(trigger);
	if (may && shifts)
		may = follows_period(trigger);
	call_leave(&call);
	return may;
}

/*
 * billing.guard_grant(): trigger
 *
 * BEFORE UPDATE of a grant: it may be voided, once; go to the subscription that
 * replaced its own; and take the times of the period that it came with, when
 * that is moved. All else is PB012.
 */
Datum
billing_guard_grant(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guard_trigger_data(fcinfo, "guard_grant");

	if (!grant_may_change(trigger))
		raise_immutable(trigger);
	return PointerGetDatum(trigger->tg_newtuple);
}

/*
 * billing.guard_hold(): trigger
 *
 * BEFORE UPDATE of a hold: only ended may change, once, to true; else PB012.
 */
Datum
billing_guard_hold(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guard_trigger_data(fcinfo, "guard_hold");
	static const AttrNumber columns[] = {HOLD_ENDED};
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	bool isnull;

	if (differs_beyond(trigger, columns, lengthof(columns)) ||
		DatumGetBool(heap_getattr(trigger->tg_trigtuple, HOLD_ENDED, desc, &isnull)))
		raise_immutable(trigger);
	return PointerGetDatum(trigger->tg_newtuple);
}

/*
 * billing.guard_order(): trigger
 *
 * BEFORE UPDATE of an order: only status, closed_at and subscription_id may
 * change, once, from open; else PB012.
 */
Datum
billing_guard_order(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guard_trigger_data(fcinfo, "guard_order");
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	AttrNumber columns[] = {SPI_fnumber(desc, "status"), SPI_fnumber(desc, "closed_at"),
							SPI_fnumber(desc, "subscription_id")};
	char *status = SPI_getvalue(trigger->tg_trigtuple, desc, columns[0]);

	if (differs_beyond(trigger, columns, lengthof(columns)) || strcmp(status, "open") != 0)
		raise_immutable(trigger);
	return PointerGetDatum(trigger->tg_newtuple);
}

/* What was given away or paid back of a period's money stays so; more may be paid back. */
static bool
money_may_change(TriggerData *trigger)
{
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	AttrNumber credited = SPI_fnumber(desc, "credited");
	AttrNumber refunded = SPI_fnumber(desc, "refunded");
	NullableDatum before = column_of(trigger->tg_trigtuple, refunded, desc);
	NullableDatum after = column_of(trigger->tg_newtuple, refunded, desc);

	if (changes(trigger, credited) && !is_null(trigger->tg_trigtuple, credited, desc))
		return false;
	if (before.isnull)
		return true;
	return !after.isnull &&
		   DatumGetAmountP(after.value)->minor >= DatumGetAmountP(before.value)->minor;
}

static bool
is_revived(TriggerData *trigger)
{
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	AttrNumber is_void = SPI_fnumber(desc, "void");

	return changes(trigger, is_void) &&
		   DatumGetBool(column_of(trigger->tg_trigtuple, is_void, desc).value);
}

/*
 * billing.guard_period(): trigger
 *
 * BEFORE UPDATE of a period: it may be moved, cut, dropped, credited once, and
 * more and more of it paid back; else PB012. Its currency and that no more is
 * given away than was paid are the table's own checks.
 */
Datum
billing_guard_period(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guard_trigger_data(fcinfo, "guard_period");
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	AttrNumber columns[] = {SPI_fnumber(desc, "effective_at"), SPI_fnumber(desc, "expires_at"),
							SPI_fnumber(desc, "void"), SPI_fnumber(desc, "credited"),
							SPI_fnumber(desc, "refunded")};

	if (differs_beyond(trigger, columns, lengthof(columns)) || is_revived(trigger) ||
		!money_may_change(trigger))
		raise_immutable(trigger);
	return PointerGetDatum(trigger->tg_newtuple);
}

static void
raise_overdrawn(const pg_uuid_t *account, const GrantBalance *grant)
{
	bool overdrawn = grant->consumed > grant->tokens;

	ereport(ERROR,
			(errcode(ERRCODE_BILLING_TOKENS_EXHAUSTED),
			 errmsg(overdrawn ? "a grant would be overdrawn"
							  : "more tokens would return to a grant than were taken from it"),
			 errdetail("Grant %s of account %s has " INT64_FORMAT
					   " tokens; the ledger would take " INT64_FORMAT " of them.",
					   identifier_text(&grant->grant_id), identifier_text(account), grant->tokens,
					   grant->consumed),
			 errhint("Use billing.consume_tokens, which takes no more than there is.")));
}

static void
check_balances(const pg_uuid_t *account)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Balances balances;

	balance_load(&balances, account, DT_NOBEGIN, snapshot);
	for (int i = 0; i < balances.count; i++)
		if (balances.grants[i].consumed < 0 ||
			balances.grants[i].consumed > balances.grants[i].tokens)
			raise_overdrawn(account, &balances.grants[i]);
	UnregisterSnapshot(snapshot);
}

/*
 * Deferred triggers run account by account more often than not: one check of
 * each is enough. What a check saw stands while its subtransaction does: the
 * command counter alone would not show that rows were rolled back since.
 */
typedef struct BalanceCheck
{
	LocalTransactionId transaction;
	SubTransactionId subtransaction;
	CommandId command;
	pg_uuid_t account;
} BalanceCheck;

static bool
same_check(const BalanceCheck *a, const BalanceCheck *b)
{
	return a->transaction == b->transaction && a->subtransaction == b->subtransaction &&
		   a->command == b->command && memcmp(a->account.data, b->account.data, UUID_LEN) == 0;
}

static void
check_balances_once(const pg_uuid_t *account)
{
	static BalanceCheck last = {.transaction = InvalidLocalTransactionId};
	BalanceCheck check = {.transaction = compat_transaction_number(),
						  .subtransaction = GetCurrentSubTransactionId(),
						  .command = GetCurrentCommandId(false),
						  .account = *account};

	if (same_check(&last, &check))
		return;
	check_balances(account);
	low_balance_suspected(account);
	last = check;
}

/*
 * billing.guard_balance(): trigger
 *
 * AFTER INSERT on the ledger, deferred to commit: under the account's lock, no
 * grant may be overdrawn nor get back more than was taken; else PB004. The hold
 * that the row is of, if any, must agree; else 23514. A restore's rows are judged
 * by verify_ledger() afterwards.
 */
Datum
billing_guard_balance(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guard_trigger_data(fcinfo, "guard_balance");
	bool isnull;
	Datum id;
	pg_uuid_t account;

	if (call_is_restore())
		return PointerGetDatum(NULL);
	id = heap_getattr(trigger->tg_trigtuple, LEDGER_ACCOUNT_ID,
					  RelationGetDescr(trigger->tg_relation), &isnull);
	if (isnull)
		elog(ERROR, "account_id of a ledger row is null");
	account = *DatumGetUUIDP(id);
	lock_account(&account, LOCK_TOKENS, ExclusiveLock);
	/* an immediate check runs within the command that wrote the rows */
	CommandCounterIncrement();
	check_balances_once(&account);
	id = heap_getattr(trigger->tg_trigtuple, LEDGER_HOLD_ID, RelationGetDescr(trigger->tg_relation),
					  &isnull);
	if (!isnull && hold_can_be_judged())
		hold_check(&account, DatumGetUUIDP(id));
	return PointerGetDatum(NULL);
}

/* Far from where numbering would wrap, and far more than there will ever be. */
#define HIGHEST_PLAIN_ENTRY_NO (INT64CONST(1) << 62)

/*
 * A plain row's number must be one that sums have not gone past: it would be in
 * no balance. Rows of a replica come in the order of its publisher's commits, and
 * beside its checkpoints while they are copied.
 */
static void
check_entry_no(const pg_uuid_t *account, int64 entry_no)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	int64 through = checkpoint_newest_through(account, snapshot);

	UnregisterSnapshot(snapshot);
	if (entry_no <= through)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_LEDGER_IMMUTABLE),
				 errmsg("the ledger is closed through entry " INT64_FORMAT, through),
				 errdetail("A checkpoint of account %s sums it up; the row has number " INT64_FORMAT
						   ".",
						   identifier_text(account), entry_no),
				 errhint("Use billing.consume_tokens, or a number above.")));
	if (entry_no > HIGHEST_PLAIN_ENTRY_NO)
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("entry number " INT64_FORMAT " is out of range", entry_no),
						errdetail("Numbers go on from the highest there is; at most " INT64_FORMAT
								  " is accepted.",
								  HIGHEST_PLAIN_ENTRY_NO),
						errhint("Use billing.consume_tokens, which numbers its entries.")));
}

static bool
is_plain_entry(const TriggerData *trigger)
{
	return TRIGGER_FIRED_BY_INSERT(trigger->tg_event) &&
		   RelationGetRelid(trigger->tg_relation) == tables_oid(TABLE_LEDGER) &&
		   SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA;
}

/*
 * billing.guard_engine(): trigger
 *
 * BEFORE plain DML on a table that balances are derived from: takes the
 * account's lock exclusively, so that nobody spends from shared memory what the
 * row changes, and retires its entry. Our own functions have seen to that. A
 * restore, which goes over all accounts in any order, locks them all at once;
 * accounts come first in it, and from its first row on the worker waits.
 * A ledger row's number must be above the newest checkpoint (PB012) and at most
 * 2^62 (22003).
 */
Datum
billing_guard_engine(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guard_trigger_data(fcinfo, "guard_engine");
	HeapTuple result =
		TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	bool isnull;
	Datum account;

	if (call_is_own_statement())
		return PointerGetDatum(result);
	if (call_is_restore())
		lock_restore();
	account = heap_getattr(trigger->tg_trigtuple, ACCOUNT_ACCOUNT_ID, desc, &isnull);
	if (call_is_restore())
		lock_all_to_change();
	else if (!isnull)
	{
		lock_account(DatumGetUUIDP(account), LOCK_TOKENS, ExclusiveLock);
		if (is_plain_entry(trigger) && !is_null(result, LEDGER_ENTRY_NO, desc))
			check_entry_no(DatumGetUUIDP(account),
						   DatumGetInt64(heap_getattr(result, LEDGER_ENTRY_NO, desc, &isnull)));
	}
	return PointerGetDatum(result);
}
