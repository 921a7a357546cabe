/*
 * giveback.c
 *	  Rows that return tokens to the grants they came from.
 *
 * What was drawn last returns first, so that the order in which grants are used
 * up is what it would have been had less been taken.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/int.h"
#include "utils/snapmgr.h"

#include "balance.h"
#include "checkpoint.h"
#include "engine.h"
#include "giveback.h"
#include "held.h"
#include "lock.h"
#include "probe.h"
#include "spend.h"

static void
add_drawn(DrawnList *list, Probe *probe)
{
	Drawn *item;

	if (list->items == NULL)
		list->items = palloc(sizeof(Drawn));
	else
		list->items = repalloc(list->items, sizeof(Drawn) * (list->count + 1));
	item = &list->items[list->count++];
	item->grant = probe_uuid(probe, LEDGER_GRANT_ID);
	item->tokens = probe_int64(probe, LEDGER_TOKENS);
	if (pg_add_s64_overflow(list->total, item->tokens, &list->total))
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("the entries of a request add up to more than a bigint")));
}

/* The entries by which the hold took its tokens. */
DrawnList
giveback_drawn_by_hold(const pg_uuid_t *account, const pg_uuid_t *hold)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	DrawnList list = {0};
	Probe probe;
	ScanKeyData keys[2];

	probe_key_uuid(&keys[0], 1, account);
	probe_key_uuid(&keys[1], 2, hold);
	probe_begin(&probe, INDEX_LEDGER_HOLD, snapshot, keys, 2);
	while (probe_next(&probe))
		if (probe_int64(&probe, LEDGER_TOKENS) > 0)
			add_drawn(&list, &probe);
	probe_end(&probe);
	UnregisterSnapshot(snapshot);
	return list;
}

/* The entries of one consumption: numbered without a gap from its first. */
DrawnList
giveback_drawn_by_request(const pg_uuid_t *account, int64 first_entry_no)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	DrawnList list = {0};
	Probe probe;
	ScanKeyData keys[2];

	probe_key_uuid(&keys[0], 1, account);
	probe_key_int64(&keys[1], 2, BTGreaterStrategyNumber, first_entry_no - 1);
	probe_begin(&probe, INDEX_LEDGER_PKEY, snapshot, keys, 2);
	while (probe_next(&probe))
	{
		bool first = probe_int64(&probe, LEDGER_ENTRY_NO) == first_entry_no;

		if (!first && (probe_is_null(&probe, LEDGER_PART_OF) ||
					   probe_int64(&probe, LEDGER_PART_OF) != first_entry_no))
			break;
		add_drawn(&list, &probe);
	}
	probe_end(&probe);
	UnregisterSnapshot(snapshot);
	return list;
}

/*
 * The mode in which the account is to be locked for a return, which does nobody
 * any harm. Exclusive, if the numbers are to come from the ledger. Who has to
 * write through somebody's trigger will need that lock, and takes it at once: two
 * who both went from one to the other would wait for each other.
 */
LOCKMODE
giveback_lock_mode(const pg_uuid_t *account)
{
	return engine_may_number(account) && !spend_ledger_is_watched() ? RowExclusiveLock
																	: ExclusiveLock;
}

void
giveback_lock(const pg_uuid_t *account)
{
	lock_account(account, LOCK_TOKENS, giveback_lock_mode(account));
}

static int64
next_entry_no(const pg_uuid_t *account)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	int64 last = checkpoint_newest_through(account, snapshot);
	Probe probe;
	ScanKeyData key;

	probe_key_uuid(&key, 1, account);
	probe_begin(&probe, INDEX_LEDGER_PKEY, snapshot, &key, 1);
	probe.direction = BackwardScanDirection;
	if (probe_next(&probe))
		last = Max(last, probe_int64(&probe, LEDGER_ENTRY_NO));
	probe_end(&probe);
	UnregisterSnapshot(snapshot);
	return ledger_next_entry_no(account, last);
}

static int
rows_needed(const DrawnList *drawn, int64 tokens)
{
	int rows = 0;

	for (int i = drawn->count - 1; i >= 0 && tokens > 0; i--, rows++)
		tokens -= Min(tokens, drawn->items[i].tokens);
	return rows;
}

/*
 * Returns tokens (at most what was drawn) by rows of the request. The caller has
 * called giveback_lock().
 */
void
giveback_write(const LedgerRequest *request, const DrawnList *drawn, int64 tokens)
{
	int rows = rows_needed(drawn, tokens);
	EngineTake numbers;
	bool numbered;
	Writer writer;
	int64 left = tokens;

	if (rows == 0)
		return;
	writer_begin(&writer, TABLE_LEDGER);
	numbered =
		!writer.foreign_triggers && engine_number(request->account, writer.table, rows, &numbers);
	if (!numbered)
	{
		lock_account(request->account, LOCK_TOKENS, ExclusiveLock);
		numbers.first_entry_no = next_entry_no(request->account);
	}
	for (int i = 0; i < rows; i++)
	{
		const Drawn *from = &drawn->items[drawn->count - 1 - i];
		int64 part = Min(left, from->tokens);

		(void) ledger_append(&writer, request, numbers.first_entry_no + i,
							 i == 0 ? 0 : numbers.first_entry_no, &from->grant, -part);
		left -= part;
	}
	if (numbered)
		engine_land();
	writer_end(&writer);
	left = tokens;
	for (int i = 0; numbered && i < rows; i++)
	{
		const Drawn *from = &drawn->items[drawn->count - 1 - i];

		engine_return(request->account, &from->grant, Min(left, from->tokens));
		left -= Min(left, from->tokens);
	}
	if (numbered)
		checkpoint_note_growth(request->account, numbers.first_entry_no, rows);
}

/* What a consumption for the app could take once the tokens have returned. */
int64
giveback_remaining_after(const pg_uuid_t *account, const char *app, TimestampTz now,
						 const DrawnList *drawn, int64 tokens)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Balances balances;

	balance_load(&balances, account, now, snapshot);
	held_return_overdue(&balances, account, now, snapshot);
	UnregisterSnapshot(snapshot);
	for (int i = drawn->count - 1; i >= 0 && tokens > 0; i--)
	{
		GrantBalance *grant = balance_find(&balances, &drawn->items[i].grant);
		int64 part = Min(tokens, drawn->items[i].tokens);

		if (grant != NULL)
			grant->consumed -= part;
		tokens -= part;
	}
	return balance_remaining(&balances, (TokenScope){.app = app}, now);
}

/* What a consumption for the app could take now, this transaction's rows included. */
int64
giveback_remaining(const pg_uuid_t *account, const char *app, TimestampTz now)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Balances balances;

	balance_load(&balances, account, now, snapshot);
	held_return_overdue(&balances, account, now, snapshot);
	UnregisterSnapshot(snapshot);
	return balance_remaining(&balances, (TokenScope){.app = app}, now);
}
