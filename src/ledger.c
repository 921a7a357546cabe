/*
 * ledger.c
 *	  Rows of the ledger.
 */
#include "postgres.h"

#include "access/transam.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "identifier.h"
#include "ledger.h"
#include "probe.h"

static const char *const kind_names[] = {
	[LEDGER_CONSUME] = "consume", [LEDGER_HOLD] = "hold",       [LEDGER_VOID] = "void",
	[LEDGER_CAPTURE] = "capture", [LEDGER_RELEASE] = "release", [LEDGER_LAPSE] = "lapse",
	[LEDGER_REFUND] = "refund"};

const char *
ledger_kind_name(LedgerKind kind)
{
	return kind_names[kind];
}

static LedgerKind
kind_from_name(const char *name)
{
	for (int i = 0; i < (int) lengthof(kind_names); i++)
		if (strcmp(name, kind_names[i]) == 0)
			return (LedgerKind) i;
	elog(ERROR, "the ledger has the unknown kind \"%s\"", name);
}

static void
set_text(Datum *values, bool *nulls, int column, const char *value)
{
	nulls[column - 1] = value == NULL;
	if (value != NULL)
		values[column - 1] = CStringGetTextDatum(value);
}

static void
set_uuid(Datum *values, bool *nulls, int column, const pg_uuid_t *value)
{
	nulls[column - 1] = value == NULL;
	if (value != NULL)
		values[column - 1] = UUIDPGetDatum(value);
}

static void
set_int64(Datum *values, bool *nulls, int column, bool present, int64 value)
{
	nulls[column - 1] = !present;
	values[column - 1] = Int64GetDatum(value);
}

static void
probe_key(Probe *probe, Snapshot snapshot, const pg_uuid_t *account, Datum key)
{
	ScanKeyData keys[2];

	probe_key_uuid(&keys[0], 1, account);
	probe_key_text(&keys[1], 2, key);
	probe_begin(probe, INDEX_LEDGER_KEY, snapshot, keys, 2);
}

/*
 * The number of the next entry. 22003 where a restore or a replica has brought one
 * so high that numbers could wrap: those would lie below every sum.
 */
int64
ledger_next_entry_no(const pg_uuid_t *account, int64 last)
{
	if (last >= LEDGER_ENTRY_NO_LIMIT)
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("the ledger of an account has no number for another entry"),
						errdetail("Account %s has entry " INT64_FORMAT "; numbers go on from the "
								  "highest there is, and end before " INT64_FORMAT ".",
								  identifier_text(account), last, LEDGER_ENTRY_NO_LIMIT),
						errhint("Restore the account's entries with the numbers that they had.")));
	return last + 1;
}

/*
 * Appends one row. part_of is 0 for a request's first row, which alone carries
 * key, asked, answer and refund_of. False: the key is in use, or was a moment
 * ago; nothing is left of the row.
 */
bool
ledger_append(Writer *writer, const LedgerRequest *request, int64 entry_no, int64 part_of,
			  const pg_uuid_t *grant, int64 tokens)
{
	Datum values[LEDGER_REFUND_OF] = {0};
	bool nulls[LEDGER_REFUND_OF] = {false};
	bool first = part_of == 0;

	set_uuid(values, nulls, LEDGER_ACCOUNT_ID, request->account);
	set_int64(values, nulls, LEDGER_ENTRY_NO, true, entry_no);
	set_uuid(values, nulls, LEDGER_GRANT_ID, grant);
	set_int64(values, nulls, LEDGER_TOKENS, true, tokens);
	set_text(values, nulls, LEDGER_KIND, ledger_kind_name(request->kind));
	values[LEDGER_OCCURRED_AT - 1] = TimestampTzGetDatum(request->occurred_at);
	set_text(values, nulls, LEDGER_APP, request->app);
	set_text(values, nulls, LEDGER_ACTION, request->action);
	set_uuid(values, nulls, LEDGER_USER_ID, request->user);
	set_text(values, nulls, LEDGER_IDEMPOTENCY_KEY, first ? request->key : NULL);
	set_int64(values, nulls, LEDGER_ASKED, first, request->asked);
	set_int64(values, nulls, LEDGER_ANSWER,
			  first && (request->key != NULL || request->refund_of != 0), request->answer);
	set_int64(values, nulls, LEDGER_PART_OF, !first, part_of);
	set_uuid(values, nulls, LEDGER_HOLD_ID, request->hold);
	set_int64(values, nulls, LEDGER_REFUND_OF, first && request->refund_of != 0,
			  request->refund_of);
	if (!first || request->key == NULL || writer->foreign_triggers)
	{
		writer_insert(writer, values, nulls);
		return true;
	}
	return writer_insert_unless_duplicate(writer, values, nulls, INDEX_LEDGER_KEY);
}

static void
read_answer(LedgerAnswer *answer, Probe *probe)
{
	memset(answer, 0, sizeof(*answer));
	answer->kind = kind_from_name(probe_text(probe, LEDGER_KIND));
	answer->entry_no = probe_int64(probe, LEDGER_ENTRY_NO);
	/* rows of plain DML may carry a key and nothing else */
	answer->asked =
		probe_int64(probe, probe_is_null(probe, LEDGER_ASKED) ? LEDGER_TOKENS : LEDGER_ASKED);
	answer->answer = probe_is_null(probe, LEDGER_ANSWER) ? 0 : probe_int64(probe, LEDGER_ANSWER);
	answer->app = probe_text(probe, LEDGER_APP);
	answer->action = probe_text(probe, LEDGER_ACTION);
	answer->has_user = !probe_is_null(probe, LEDGER_USER_ID);
	if (answer->has_user)
		answer->user = probe_uuid(probe, LEDGER_USER_ID);
	answer->has_hold = !probe_is_null(probe, LEDGER_HOLD_ID);
	if (answer->has_hold)
		answer->hold = probe_uuid(probe, LEDGER_HOLD_ID);
}

/* Of a row that is not committed yet. */
typedef struct Inserter
{
	TransactionId xid;
	uint32 token; /* of a speculative insertion, which is over long before its transaction; or 0 */
} Inserter;

static void
wait_for(const Inserter *inserter)
{
	if (inserter->token != 0)
		SpeculativeInsertionWait(inserter->xid, inserter->token);
	else
		XactLockTableWait(inserter->xid, NULL, NULL, XLTW_None);
}

/*
 * One look for the key, at whatever state its row is in. The inserter's xid is
 * valid if the row is of a transaction still in progress. When several came at
 * once, all but one gave way, and wait for the one; nobody waits for a row that
 * gave way, so nobody waits in a ring.
 */
static bool
look_for_key(LedgerAnswer *answer, Inserter *inserter, const pg_uuid_t *account, Datum key)
{
	SnapshotData dirty;
	Probe probe;
	bool found = false;

	InitDirtySnapshot(dirty);
	probe_key(&probe, &dirty, account, key);
	memset(inserter, 0, sizeof(*inserter));
	if (probe_next(&probe))
	{
		if (TransactionIdIsValid(dirty.xmin))
			*inserter = (Inserter){.xid = dirty.xmin, .token = dirty.speculativeToken};
		else if (TransactionIdIsValid(dirty.xmax))
			inserter->xid = dirty.xmax; /* being deleted, by whoever disabled the trigger */
		else
		{
			probe_require_visible(&probe, "The idempotency key was used by a transaction that "
										  "committed after this one began.");
			read_answer(answer, &probe);
			found = true;
		}
	}
	probe_end(&probe);
	return found;
}

/*
 * The stored first answer to a key. Waits for whoever is using it right now.
 */
bool
ledger_find_key(LedgerAnswer *answer, const pg_uuid_t *account, const char *key)
{
	Datum value = CStringGetTextDatum(key);

	for (;;)
	{
		Inserter inserter;
		bool found = look_for_key(answer, &inserter, account, value);

		if (!TransactionIdIsValid(inserter.xid))
			return found;
		wait_for(&inserter);
	}
}
