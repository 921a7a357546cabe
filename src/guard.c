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
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "balance.h"
#include "call.h"
#include "compat.h"
#include "errors.h"
#include "guard.h"
#include "identifier.h"
#include "lock.h"
#include "tables.h"

PG_FUNCTION_INFO_V1(billing_guard_immutable);
PG_FUNCTION_INFO_V1(billing_guard_grant);
PG_FUNCTION_INFO_V1(billing_guard_hold);
PG_FUNCTION_INFO_V1(billing_guard_balance);
PG_FUNCTION_INFO_V1(billing_guard_engine);

TriggerData *
guard_trigger_data(FunctionCallInfo fcinfo, const char *function)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("billing.%s() must be called as a trigger", function)));
	return (TriggerData *) fcinfo->context;
}

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

/* Whether old and new row differ in any column but this one. */
static bool
differs_beyond(TriggerData *trigger, AttrNumber column)
{
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);

	for (int i = 1; i <= desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i - 1);
		bool old_null;
		bool new_null;
		Datum old_value = heap_getattr(trigger->tg_trigtuple, i, desc, &old_null);
		Datum new_value = heap_getattr(trigger->tg_newtuple, i, desc, &new_null);

		if (i == column || attribute->attisdropped)
			continue;
		if (old_null != new_null ||
			(!old_null &&
			 !datum_image_eq(old_value, new_value, attribute->attbyval, attribute->attlen)))
			return true;
	}
	return false;
}

static bool
is_null(HeapTuple tuple, AttrNumber column, TupleDesc desc)
{
	return heap_attisnull(tuple, column, desc);
}

/*
 * billing.guard_grant(): trigger
 *
 * BEFORE UPDATE of a grant: only voided_at may change, once, from NULL; else
 * PB012.
 */
Datum
billing_guard_grant(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guard_trigger_data(fcinfo, "guard_grant");
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);

	if (differs_beyond(trigger, GRANT_VOIDED_AT) ||
		!is_null(trigger->tg_trigtuple, GRANT_VOIDED_AT, desc))
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
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	bool isnull;

	if (differs_beyond(trigger, HOLD_ENDED) ||
		DatumGetBool(heap_getattr(trigger->tg_trigtuple, HOLD_ENDED, desc, &isnull)))
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
	last = check;
}

/*
 * billing.guard_balance(): trigger
 *
 * AFTER INSERT on the ledger, deferred to commit: under the account's lock, no
 * grant may be overdrawn nor get back more than was taken; else PB004. A
 * restore's rows are judged by verify_ledger() afterwards.
 */
Datum
billing_guard_balance(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guard_trigger_data(fcinfo, "guard_balance");
	bool isnull;
	pg_uuid_t account;

	if (call_is_restore())
		return PointerGetDatum(NULL);
	account = *DatumGetUUIDP(heap_getattr(trigger->tg_trigtuple, LEDGER_ACCOUNT_ID,
										  RelationGetDescr(trigger->tg_relation), &isnull));
	lock_account(&account, LOCK_TOKENS, ExclusiveLock);
	/* an immediate check runs within the command that wrote the rows */
	CommandCounterIncrement();
	check_balances_once(&account);
	return PointerGetDatum(NULL);
}

/*
 * billing.guard_engine(): trigger
 *
 * BEFORE plain DML on a table that balances are derived from: takes the
 * account's lock exclusively, so that nobody spends from shared memory what the
 * row changes, and retires its entry. Our own functions have seen to that.
 */
Datum
billing_guard_engine(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guard_trigger_data(fcinfo, "guard_engine");
	HeapTuple result =
		TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	bool isnull;
	Datum account;

	if (call_is_active())
		return PointerGetDatum(result);
	account = heap_getattr(trigger->tg_trigtuple, ACCOUNT_ACCOUNT_ID,
						   RelationGetDescr(trigger->tg_relation), &isnull);
	if (!isnull)
		lock_account(DatumGetUUIDP(account), LOCK_TOKENS, ExclusiveLock);
	return PointerGetDatum(result);
}
