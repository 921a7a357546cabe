/*
 * void.c
 *	  Taking a grant back.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/snapmgr.h"

#include "account.h"
#include "argument.h"
#include "audit.h"
#include "balance.h"
#include "binding.h"
#include "call.h"
#include "errors.h"
#include "event.h"
#include "exhaustion.h"
#include "hold.h"
#include "identifier.h"
#include "ledger.h"
#include "lock.h"
#include "probe.h"
#include "query.h"
#include "void.h"

PG_FUNCTION_INFO_V1(billing_void_grant);

static SqlQuery void_grant = {
	.sql = "UPDATE billing.token_grant SET voided_at = $3 WHERE account_id = $1 AND grant_id = $2 "
		   "AND voided_at IS NULL",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID}};

static void
account_of_grant(pg_uuid_t *account, const pg_uuid_t *grant)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Probe probe;
	ScanKeyData key;

	probe_key_uuid(&key, 1, grant);
	probe_begin(&probe, INDEX_GRANT_ID, snapshot, &key, 1);
	if (!probe_next(&probe) ||
		!binding_admits(DatumGetUUIDP(probe_datum(&probe, GRANT_ACCOUNT_ID))))
		ereport(ERROR, (errcode(ERRCODE_BILLING_NOT_FOUND), errmsg("grant does not exist"),
						errdetail("There is no grant %s.", identifier_text(grant)),
						errhint("Pass what billing.grant_tokens returned.")));
	*account = probe_uuid(&probe, GRANT_ACCOUNT_ID);
	probe_end(&probe);
	UnregisterSnapshot(snapshot);
}

static void
write_entry(const pg_uuid_t *account, const GrantBalance *grant, int64 entry_no, TimestampTz now)
{
	LedgerRequest request = {.kind = LEDGER_VOID,
							 .account = account,
							 .occurred_at = now,
							 .app = grant->app,
							 .asked = balance_available(grant)};
	Writer writer;

	writer_begin(&writer, TABLE_LEDGER);
	(void) ledger_append(&writer, &request, entry_no, 0, &grant->grant_id,
						 balance_available(grant));
	writer_end(&writer);
}

static void
note_event(const pg_uuid_t *account, const pg_uuid_t *grant, int64 tokens, TimestampTz now)
{
	EventDetail detail;

	event_detail_begin(&detail);
	event_detail_uuid(&detail, "grant_id", grant);
	event_detail_int64(&detail, "tokens", tokens);
	event_write(account, "grant_voided", now, &detail);
}

/* Returns the number of tokens, and what is known of the grant. */
static int64
take_back(GrantBalance *known, const Account *account, const pg_uuid_t *grant_id, TimestampTz now)
{
	Snapshot snapshot;
	Balances balances;
	GrantBalance *grant;
	int64 tokens;

	(void) hold_lapse_due(&account->id, HOLDS_ALL);
	if (query_execute(&void_grant, (NullableDatum[]){arg_uuid(&account->id), arg_uuid(grant_id),
													 arg_time(now)}) == 0)
		return 0;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	balance_load(&balances, &account->id, DT_NOBEGIN, snapshot);
	UnregisterSnapshot(snapshot);
	grant = balance_find(&balances, grant_id);
	Assert(grant != NULL);
	tokens = balance_available(grant);
	*known = *grant;
	if (tokens > 0)
		write_entry(&account->id, grant, ledger_next_entry_no(&account->id, balances.last_entry_no),
					now);
	note_event(&account->id, grant_id, tokens, now);
	return tokens;
}

/*
 * Takes back what nobody has used or held; what is held stays held. The caller
 * is inside a call, holds the account's plan lock, and its token lock exclusively,
 * and tells himself of what that does to the plan. Returns the number of tokens.
 */
int64
void_grant_locked(const Account *account, const pg_uuid_t *grant_id, TimestampTz now)
{
	GrantBalance grant;
	int64 tokens = take_back(&grant, account, grant_id, now);

	if (tokens > 0 && grant.has_subscription)
		exhaustion_told(&account->id, &grant.subscription_id);
	return tokens;
}

/*
 * billing.void_grant(grant_id uuid) → bigint
 *
 * Takes back what is left of a grant: nobody can use it any more. Tokens that
 * are held stay held. Returns the tokens taken back; again: 0. NULL: 22004;
 * unknown grant: PB016.
 */
Datum
billing_void_grant(PG_FUNCTION_ARGS)
{
	Call call;
	const pg_uuid_t *grant_id = argument_uuid(fcinfo, 0, "grant_id");
	pg_uuid_t account_id;
	Account account;
	TimestampTz now;
	int64 tokens;
	bool undecided = false;
	GrantBalance grant;

	call_enter(&call);
	account_of_grant(&account_id, grant_id);
	lock_plan_change(&account_id);
	account_require(&account, &account_id);
	now = account_verb_time(&account);
	tokens = take_back(&grant, &account, grant_id, now);
	if (tokens > 0)
		(void) exhaustion_tell(&account, now, &undecided);
	audit_write(fcinfo, &call, &account_id);
	call_leave(&call);
	PG_RETURN_INT64(tokens);
}
