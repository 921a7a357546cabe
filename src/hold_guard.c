/*
 * hold_guard.c
 *	  Plain DML on holds and their endings: what is there at commit must agree.
 *
 * A hold that has ended without a row that says how, or that keeps other tokens
 * than it says, would never return them, or return them twice.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "common/int.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "call.h"
#include "compat.h"
#include "guard.h"
#include "hold.h"
#include "identifier.h"
#include "probe.h"

PG_FUNCTION_INFO_V1(billing_guard_hold_end);

typedef struct HoldState
{
	int64 tokens; /* that it is to keep: all while it is open, then those used */
	bool ended;   /* as its row says */
	bool has_end;
	int64 kept; /* as the ledger says */
} HoldState;

static bool
read_row(HoldState *state, const pg_uuid_t *account, const pg_uuid_t *hold, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	bool found;

	probe_key_uuid(&key, 1, hold);
	probe_begin(&probe, INDEX_HOLD_ID, snapshot, &key, 1);
	found = probe_next(&probe) && memcmp(DatumGetUUIDP(probe_datum(&probe, HOLD_ACCOUNT_ID))->data,
										 account->data, UUID_LEN) == 0;
	if (found)
	{
		state->tokens = probe_int64(&probe, HOLD_TOKENS);
		state->ended = probe_bool(&probe, HOLD_ENDED);
	}
	probe_end(&probe);
	return found;
}

static void
read_end(HoldState *state, ScanKey keys, Snapshot snapshot)
{
	Probe probe;

	probe_begin(&probe, INDEX_HOLD_END_PKEY, snapshot, keys, 2);
	state->has_end = probe_next(&probe);
	if (state->has_end)
		state->tokens = probe_int64(&probe, HOLD_END_TOKENS);
	probe_end(&probe);
}

static void
read_ledger(HoldState *state, ScanKey keys, Snapshot snapshot)
{
	Probe probe;

	state->kept = 0;
	probe_begin(&probe, INDEX_LEDGER_HOLD, snapshot, keys, 2);
	while (probe_next(&probe))
		if (pg_add_s64_overflow(state->kept, probe_int64(&probe, LEDGER_TOKENS), &state->kept))
			ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
							errmsg("the ledger of a hold adds up to more than a bigint")));
	probe_end(&probe);
}

static void
check(const pg_uuid_t *account, const pg_uuid_t *hold, Snapshot snapshot)
{
	HoldState state;
	ScanKeyData keys[2];

	/* of a hold that is not there foreign keys, or nobody, want to know */
	if (!read_row(&state, account, hold, snapshot))
		return;
	probe_key_uuid(&keys[0], 1, account);
	probe_key_uuid(&keys[1], 2, hold);
	read_end(&state, keys, snapshot);
	read_ledger(&state, keys, snapshot);
	if (state.ended == state.has_end && state.kept == state.tokens)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("a hold must agree with its ending and with the ledger"),
			 errdetail("Hold %s is %s, has %s in hold_end, and should keep " INT64_FORMAT
					   " tokens; the ledger keeps " INT64_FORMAT ".",
					   identifier_text(hold), state.ended ? "ended" : "open",
					   state.has_end ? "a row" : "no row", state.tokens, state.kept),
			 errhint("Use billing.hold_tokens, billing.capture_hold and billing.release_hold.")));
}

/* The rows of one ending come one after the other: one check is enough. */
typedef struct HoldCheck
{
	LocalTransactionId transaction;
	SubTransactionId subtransaction;
	CommandId command;
	pg_uuid_t hold;
} HoldCheck;

static bool
same_check(const HoldCheck *a, const HoldCheck *b)
{
	return a->transaction == b->transaction && a->subtransaction == b->subtransaction &&
		   a->command == b->command && memcmp(a->hold.data, b->hold.data, UUID_LEN) == 0;
}

/*
 * In a trigger. Our own holds are half done where constraints are immediate, and
 * the rows of a restore or a replica come in any order.
 */
bool
hold_can_be_judged(void)
{
	return SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA && !call_is_own_statement();
}

/*
 * Under its account's lock, or by whoever writes the one row of its ending, which
 * another cannot write meanwhile. 23514: hold, ending and ledger do not agree.
 */
void
hold_check(const pg_uuid_t *account, const pg_uuid_t *hold)
{
	static HoldCheck last = {.transaction = InvalidLocalTransactionId};
	HoldCheck now = {.transaction = compat_transaction_number(),
					 .subtransaction = GetCurrentSubTransactionId(),
					 .command = GetCurrentCommandId(false),
					 .hold = *hold};
	Snapshot snapshot;

	if (same_check(&last, &now))
		return;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	check(account, hold, snapshot);
	UnregisterSnapshot(snapshot);
	last = now;
}

static pg_uuid_t
id_of(HeapTuple row, AttrNumber column, TupleDesc desc)
{
	bool isnull;
	Datum id = heap_getattr(row, column, desc, &isnull);

	if (isnull)
		elog(ERROR, "an id of a hold is null");
	return *DatumGetUUIDP(id);
}

/*
 * billing.guard_hold_end(): trigger
 *
 * AFTER INSERT or UPDATE of a hold and of an ending, deferred to commit: a hold
 * has ended exactly if it has an ending, and the ledger keeps what it says; else
 * 23514. Rows of a restore or a replica are judged by verify_ledger().
 */
Datum
billing_guard_hold_end(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guard_trigger_data(fcinfo, "guard_hold_end");
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	pg_uuid_t account;
	pg_uuid_t hold;

	if (!hold_can_be_judged())
		return PointerGetDatum(NULL);
	account = id_of(trigger->tg_trigtuple, HOLD_ACCOUNT_ID, desc);
	hold = id_of(trigger->tg_trigtuple, HOLD_HOLD_ID, desc);
	/* an immediate check runs within the command that wrote the rows */
	CommandCounterIncrement();
	hold_check(&account, &hold);
	return PointerGetDatum(NULL);
}
