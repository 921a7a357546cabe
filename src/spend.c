/*
 * spend.c
 *	  Taking tokens from an account's grants.
 *
 * A request draws on every usable grant of its app and of no app, whichever
 * plan brought it, in the order priority, expires_at, granted_at, grant_id.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/snapmgr.h"

#include "account.h"
#include "balance.h"
#include "errors.h"
#include "holding.h"
#include "identifier.h"
#include "ledger.h"
#include "lock.h"
#include "settings.h"
#include "spend.h"
#include "user.h"

/* PostgreSQL's own errors for what may not write. */
void
spend_prevent(const char *function)
{
	if (XactReadOnly)
		PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	PreventCommandDuringRecovery(function);
}

void
spend_lock(const pg_uuid_t *account)
{
	lock_account(account, LOCK_TOKENS, ExclusiveLock);
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool
same_payload(const SpendRequest *request, const LedgerAnswer *stored)
{
	return stored->kind == (request->hold == NULL ? LEDGER_CONSUME : LEDGER_HOLD) &&
		   stored->asked == request->tokens && same_text(stored->app, request->app) &&
		   same_text(stored->action, request->action) &&
		   stored->has_user == (request->user != NULL) &&
		   (request->user == NULL || memcmp(stored->user.data, request->user->data, UUID_LEN) == 0);
}

/* Keys never expire: the stored first answer stands whatever became of the account since. */
static bool
replay(const SpendRequest *request, SpendAnswer *answer, Snapshot snapshot)
{
	LedgerAnswer stored;

	if (request->key == NULL || !ledger_find_key(&stored, request->account, request->key, snapshot))
		return false;
	if (!same_payload(request, &stored))
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_IDEMPOTENCY_CONFLICT),
				 errmsg("idempotency key was used for another request"),
				 errdetail("It was used to %s " INT64_FORMAT " tokens, entry " INT64_FORMAT
						   " of account %s; verb, tokens, app, action and user must be the same.",
						   ledger_kind_name(stored.kind), stored.asked, stored.entry_no,
						   identifier_text(request->account)),
				 errhint("Use a new key for a new request.")));
	answer->granted = answer->replayed = true;
	answer->reason = REASON_ALLOWED;
	answer->remaining = stored.answer;
	answer->hold = stored.hold;
	return true;
}

static Reason
user_reason(const SpendRequest *request, Holdings *holdings)
{
	AccountUser user;

	if (request->user == NULL)
		return REASON_ALLOWED;
	if (!user_read(&user, request->user, holdings->snapshot) ||
		memcmp(user.account_id.data, request->account->data, UUID_LEN) != 0)
		return REASON_USER_NOT_FOUND;
	return user_denial(&user, holdings);
}

/*
 * Some left, or grants in their time that are empty: the tokens are exhausted.
 * Otherwise it is a question of plans.
 */
static Reason
shortage_reason(Holdings *holdings, TokenScope scope, int64 remaining)
{
	const Balances *balances = holding_balances(holdings);

	if (remaining > 0 || holding_any_in_force(holdings, scope.app, NULL))
		return REASON_TOKENS_EXHAUSTED;
	for (int i = 0; i < balances->count; i++)
		if (balance_usable(&balances->grants[i], holdings->now) &&
			balance_in_scope(&balances->grants[i], scope))
			return REASON_TOKENS_EXHAUSTED;
	return holding_why_none(holdings, scope.app);
}

static void
write_entries(const SpendRequest *request, const SpendAnswer *answer, const Balances *balances,
			  TimestampTz now)
{
	LedgerRequest ledger = {.kind = request->hold == NULL ? LEDGER_CONSUME : LEDGER_HOLD,
							.account = request->account,
							.occurred_at = now,
							.app = request->app,
							.action = request->action,
							.user = request->user,
							.key = request->key,
							.asked = request->tokens,
							.answer = answer->remaining,
							.hold = request->hold};
	TokenScope scope = {.app = request->app};
	int64 first = balances->last_entry_no + 1;
	int64 entry_no = first;
	int64 wanted = request->tokens;
	Writer writer;

	writer_begin(&writer, TABLE_LEDGER);
	for (int i = 0; i < balances->count && wanted > 0; i++)
	{
		const GrantBalance *grant = &balances->grants[i];
		int64 taken = Min(wanted, balance_available(grant));

		if (taken <= 0 || !balance_usable(grant, now) || !balance_in_scope(grant, scope))
			continue;
		ledger_append(&writer, &ledger, entry_no, entry_no == first ? 0 : first, &grant->grant_id,
					  taken);
		entry_no++;
		wanted -= taken;
	}
	writer_end(&writer);
	Assert(wanted == 0);
}

static void
decide(const SpendRequest *request, SpendAnswer *answer, Holdings *holdings)
{
	TokenScope scope = {.app = request->app};
	const Balances *balances = holding_balances(holdings);
	int64 remaining = balance_remaining(balances, scope, holdings->now);

	answer->reason = user_reason(request, holdings);
	if (answer->reason == REASON_ALLOWED && remaining < request->tokens)
		answer->reason = shortage_reason(holdings, scope, remaining);
	answer->granted = answer->reason == REASON_ALLOWED;
	answer->remaining = answer->granted ? remaining - request->tokens : remaining;
	answer->hold = request->hold == NULL ? (pg_uuid_t){{0}} : *request->hold;
	if (!answer->granted)
		answer->remaining_elsewhere =
			balance_remaining(balances, (TokenScope){.every_app = true}, holdings->now) - remaining;
}

/*
 * The whole request, with the account's lock held. A denial moves nothing and
 * claims no key.
 */
void
spend_locked(const SpendRequest *request, SpendAnswer *answer)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Account account;
	Holdings holdings;

	memset(answer, 0, sizeof(*answer));
	if (!account_read(&account, request->account, snapshot))
		answer->reason = REASON_ACCOUNT_NOT_FOUND;
	else if (!replay(request, answer, snapshot))
	{
		if (account.suspended)
			answer->reason = REASON_ACCOUNT_SUSPENDED;
		else
		{
			if (request->app != NULL)
				app_require(request->app, snapshot);
			holding_load(&holdings, &account, account_verb_time(&account), snapshot);
			decide(request, answer, &holdings);
			if (answer->granted)
				write_entries(request, answer, holding_balances(&holdings), holdings.now);
			if (holding_balances(&holdings)->tail_entries >= settings_checkpoint_entries)
				ledger_checkpoint(request->account, snapshot);
		}
	}
	UnregisterSnapshot(snapshot);
}

void
spend_raise(const SpendRequest *request, const SpendAnswer *answer)
{
	bool shortage = answer->reason == REASON_TOKENS_EXHAUSTED ||
					answer->reason == REASON_PACKAGE_EXPIRED ||
					answer->reason == REASON_NO_ACTIVE_PLAN;
	bool other_apps = shortage && answer->remaining_elsewhere > 0;

	ereport(ERROR,
			(errcode(reason_sqlstate(answer->reason)), errmsg("%s", reason_error(answer->reason)),
			 errdetail("Account %s was asked for " INT64_FORMAT " tokens and has " INT64_FORMAT
					   " that can be used for this.",
					   identifier_text(request->account), request->tokens, answer->remaining),
			 other_apps ? errhint("%s " INT64_FORMAT " tokens are left in grants for other apps.",
								  reason_message(answer->reason), answer->remaining_elsewhere)
						: errhint("%s", reason_message(answer->reason))));
}
