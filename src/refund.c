/*
 * refund.c
 *	  Tokens returned after they were consumed.
 */
#include "postgres.h"

#include "utils/snapmgr.h"

#include "account.h"
#include "argument.h"
#include "errors.h"
#include "giveback.h"
#include "identifier.h"
#include "lock.h"
#include "probe.h"
#include "spend.h"

PG_FUNCTION_INFO_V1(billing_refund_tokens);

static bool
find_refund(const pg_uuid_t *account, int64 refund_of, int64 *asked, int64 *answer)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Probe probe;
	ScanKeyData keys[2];
	bool found;

	probe_key_uuid(&keys[0], 1, account);
	probe_key_int64(&keys[1], 2, BTEqualStrategyNumber, refund_of);
	probe_begin(&probe, INDEX_LEDGER_REFUND, snapshot, keys, 2);
	found = probe_next(&probe);
	if (found)
	{
		probe_require_visible(&probe, "The consumption was refunded by a transaction that "
									  "committed after this one began.");
		/* rows of plain DML may say neither */
		*asked = probe_is_null(&probe, LEDGER_ASKED) ? -probe_int64(&probe, LEDGER_TOKENS)
													 : probe_int64(&probe, LEDGER_ASKED);
		*answer = probe_is_null(&probe, LEDGER_ANSWER) ? 0 : probe_int64(&probe, LEDGER_ANSWER);
	}
	probe_end(&probe);
	UnregisterSnapshot(snapshot);
	return found;
}

static void
find_consumption(LedgerAnswer *consumption, const pg_uuid_t *account, const char *key)
{
	if (ledger_find_key(consumption, account, key) && consumption->kind == LEDGER_CONSUME)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_BILLING_NOT_FOUND), errmsg("no consumption was made with this key"),
			 errdetail("Account %s has none.", identifier_text(account)),
			 errhint("Pass the idempotency key of a consumption; a hold is given back with "
					 "billing.release_hold.")));
}

static void
check_replay(const LedgerAnswer *consumption, int64 tokens, int64 refunded)
{
	if (tokens != refunded)
		ereport(ERROR, (errcode(ERRCODE_BILLING_IDEMPOTENCY_CONFLICT),
						errmsg("the consumption was refunded with another amount"),
						errdetail("Of " INT64_FORMAT " tokens " INT64_FORMAT
								  " were refunded; now it was to be " INT64_FORMAT ".",
								  consumption->asked, refunded, tokens),
						errhint("There is one refund for a key; give more with "
								"billing.grant_tokens.")));
}

static int64
refund(const Account *account, const LedgerAnswer *consumption, int64 tokens)
{
	DrawnList drawn = giveback_drawn_by_request(&account->id, consumption->entry_no);
	TimestampTz now = account_verb_time(account);
	LedgerRequest request = {.kind = LEDGER_REFUND,
							 .account = &account->id,
							 .occurred_at = now,
							 .app = consumption->app,
							 .action = consumption->action,
							 .user = consumption->has_user ? &consumption->user : NULL,
							 .asked = tokens,
							 .refund_of = consumption->entry_no};

	if (tokens > drawn.total)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("more tokens than were consumed"),
				 errdetail("The consumption was of " INT64_FORMAT " tokens; " INT64_FORMAT
						   " were to be refunded.",
						   drawn.total, tokens),
				 errhint("Refund at most what was consumed.")));
	/* the answer is stored with the row, so it is reckoned before there is one */
	request.answer = giveback_remaining_after(&account->id, consumption->app, now, &drawn, tokens);
	giveback_write(&request, &drawn, tokens);
	return request.answer;
}

/*
 * billing.refund_tokens(account_id uuid, idempotency_key text, tokens bigint) → bigint
 *
 * Returns tokens (NULL: all) of the consumption made with that key to the grants
 * they came from; answers what remains for its app. One refund per key: the same
 * again gets the same answer, another amount is PB008. To a grant that expired
 * or was voided they are booked but not usable. NULL account or key: 22004;
 * tokens not positive or more than were consumed: 22023; unknown account: PB001,
 * suspended: PB002; no such consumption: PB016.
 */
Datum
billing_refund_tokens(PG_FUNCTION_ARGS)
{
	const pg_uuid_t *id = argument_uuid(fcinfo, 0, "account_id");
	char *key;
	LedgerAnswer consumption;
	Account account;
	int64 tokens;
	int64 refunded;
	int64 answer;

	spend_prevent("billing.refund_tokens()");
	argument_require(fcinfo, 1, "idempotency_key");
	key = argument_key_or_null(fcinfo, 1, "idempotency_key");
	if (!PG_ARGISNULL(2))
		argument_check_tokens(PG_GETARG_INT64(2));
	giveback_lock(id);
	lock_account(id, LOCK_REFUNDS, ExclusiveLock);
	account_require(&account, id);
	find_consumption(&consumption, id, key);
	tokens = PG_ARGISNULL(2) ? consumption.asked : PG_GETARG_INT64(2);
	if (find_refund(id, consumption.entry_no, &refunded, &answer))
		check_replay(&consumption, tokens, refunded);
	else
	{
		if (account.suspended)
			account_raise_suspended(&account);
		answer = refund(&account, &consumption, tokens);
	}
	PG_RETURN_INT64(answer);
}
