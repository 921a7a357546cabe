/*
 * ledger.c
 *	  Rows of the ledger.
 */
#include "postgres.h"

#include "access/subtrans.h"
#include "access/transam.h"
#include "access/xact.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

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

/* The row was deleted again by whoever is inserting it: nothing, however that ends. */
static bool
is_withdrawn(Probe *probe, const SnapshotData *dirty)
{
	return TransactionIdIsValid(dirty->xmin) && probe_is_withdrawn(probe);
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
 * Whether the duplicates that the index knows are only rows of others who gave
 * way. Of several who look after they have inserted, at least all but one find
 * another's row.
 */
static bool
only_withdrawn_before(const Writer *writer, const pg_uuid_t *account, Datum key)
{
	SnapshotData dirty;
	Probe probe;
	bool only = true;

	InitDirtySnapshot(dirty);
	probe_key(&probe, &dirty, account, key);
	while (only && probe_next(&probe))
		only = ItemPointerEquals(&probe.slot->tts_tid, &writer->slot->tts_tid) ||
			   is_withdrawn(&probe, &dirty);
	probe_end(&probe);
	return only;
}

/*
 * Appends one row. part_of is 0 for a request's first row, which alone carries
 * key, asked, answer and refund_of. False: the key is in use, or was a moment
 * ago; the row is gone again.
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
	if (writer_insert_unless_duplicate(writer, values, nulls, INDEX_LEDGER_KEY) ||
		only_withdrawn_before(writer, request->account, values[LEDGER_IDEMPOTENCY_KEY - 1]))
		return true;
	writer_delete_last(writer);
	return false;
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

static bool
began_before_us(TransactionId xid)
{
	TransactionId own = GetTopTransactionIdIfAny();

	return TransactionIdIsValid(own) &&
		   TransactionIdPrecedes(SubTransGetTopmostTransaction(xid), own);
}

/*
 * One look for the key, at whatever state its row is in. Returns the transaction
 * to wait for, if the row is of one still in progress. When several came at once,
 * all but one gave way, and wait for the one. If that is rolled back, the oldest
 * of them goes on and the others wait for it, none of them for a younger one.
 */
static TransactionId
look_for_key(LedgerAnswer *answer, bool *found, const pg_uuid_t *account, Datum key)
{
	SnapshotData dirty;
	Probe probe;
	TransactionId wait_for = InvalidTransactionId;
	TransactionId older = InvalidTransactionId;

	InitDirtySnapshot(dirty);
	probe_key(&probe, &dirty, account, key);
	*found = false;
	while (!*found && !TransactionIdIsValid(wait_for) && probe_next(&probe))
	{
		if (is_withdrawn(&probe, &dirty))
			older = began_before_us(dirty.xmin) ? dirty.xmin : older;
		else if (TransactionIdIsValid(dirty.xmin))
			wait_for = dirty.xmin;
		else if (TransactionIdIsValid(dirty.xmax))
			wait_for = dirty.xmax; /* being deleted, by whoever disabled the trigger */
		else
		{
			probe_require_visible(&probe, "The idempotency key was used by a transaction that "
										  "committed after this one began.");
			read_answer(answer, &probe);
			*found = true;
		}
	}
	probe_end(&probe);
	return *found || TransactionIdIsValid(wait_for) ? wait_for : older;
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
		bool found;
		TransactionId wait_for = look_for_key(answer, &found, account, value);

		if (!TransactionIdIsValid(wait_for))
			return found;
		XactLockTableWait(wait_for, NULL, NULL, XLTW_None);
	}
}
