/*
 * spend.c
 *	  Taking tokens from an account's grants.
 *
 * A request draws on every usable grant of its app and of no app, whichever
 * plan brought it, in the order priority, expires_at, granted_at, grant_id. It
 * is served from the account's entry in shared memory (engine.h), under a lock
 * that it shares with others who spend; or, where there is none or the entry
 * cannot tell, from the ledger, under the exclusive lock.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/snapmgr.h"

#include "account.h"
#include "balance.h"
#include "binding.h"
#include "checkpoint.h"
#include "compat.h"
#include "engine.h"
#include "errors.h"
#include "exhaustion.h"
#include "hold.h"
#include "holding.h"
#include "identifier.h"
#include "ledger.h"
#include "lock.h"
#include "low_balance.h"
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

bool
spend_ledger_is_watched(void)
{
	Relation ledger = tables_open(TABLE_LEDGER, AccessShareLock);
	bool watched = writer_ledger_is_watched(ledger);

	table_close(ledger, AccessShareLock);
	return watched;
}

void
spend_begin(Spender *spender, bool locked)
{
	spender->locked = locked;
	spender->ledger = NULL;
	spender->open = false;
	spender->shares = false;
	spender->clean = false;
}

/*
 * To be opened after the account's lock: who waits for that is not to hold up
 * who wants every account.
 */
static Relation
ledger_of(Spender *spender)
{
	if (spender->ledger == NULL)
		spender->ledger = tables_open(TABLE_LEDGER, RowExclusiveLock);
	return spender->ledger;
}

static Writer *
writer_of(Spender *spender)
{
	if (!spender->open)
		writer_begin(&spender->writer, TABLE_LEDGER);
	spender->open = true;
	return &spender->writer;
}

void
spend_end(Spender *spender)
{
	if (spender->open)
		writer_end(&spender->writer);
	if (spender->ledger != NULL)
		table_close(spender->ledger, NoLock);
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
replay(const SpendRequest *request, SpendAnswer *answer)
{
	LedgerAnswer stored;

	if (request->key == NULL || !ledger_find_key(&stored, request->account, request->key))
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

static LedgerRequest
ledger_request(const SpendRequest *request, const SpendAnswer *answer)
{
	LedgerRequest ledger = {.kind = request->hold == NULL ? LEDGER_CONSUME : LEDGER_HOLD,
							.account = request->account,
							.occurred_at = answer->now,
							.app = request->app,
							.action = request->action,
							.user = request->user,
							.key = request->key,
							.asked = request->tokens,
							.answer = answer->remaining,
							.hold = request->hold};

	return ledger;
}

static void
grant_request(const SpendRequest *request, SpendAnswer *answer, int64 remaining, TimestampTz now)
{
	answer->granted = true;
	answer->reason = REASON_ALLOWED;
	answer->remaining = remaining;
	answer->now = now;
	if (request->hold != NULL)
		answer->hold = *request->hold;
}

/*
 * The last token of a grant is gone. If that puts a token plan out of force, it
 * is to be told of. What others are taking in transactions still in progress
 * counts as taken: otherwise the last two could each leave it to the other.
 */
static void
note_exhaustion(const SpendRequest *request, TimestampTz now, const EnginePart *parts, int count)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Account account;
	Holdings holdings;
	bool lost = false;

	if (account_read(&account, request->account, snapshot))
	{
		holding_load_undecided(&holdings, &account, now, snapshot);
		for (int i = 0; i < count && !lost; i++)
		{
			const GrantBalance *grant = balance_find(&holdings.balances, &parts[i].grant);

			lost = grant != NULL && grant->has_subscription &&
				   holding_is_empty(&holdings, &grant->subscription_id);
		}
	}
	UnregisterSnapshot(snapshot);
	if (lost)
		exhaustion_suspected(&account, now);
}

/* False: the key turned out to be in use, and nothing is left of what was written. */
static bool
write_parts(Spender *spender, const SpendRequest *request, const SpendAnswer *answer,
			const EnginePart *parts, int count, int64 first)
{
	LedgerRequest ledger = ledger_request(request, answer);

	for (int i = 0; i < count; i++)
		if (!ledger_append(writer_of(spender), &ledger, first + i, i == 0 ? 0 : first,
						   &parts[i].grant, parts[i].tokens))
			return false;
	return true;
}

static void
deny(SpendAnswer *answer, Reason reason, int64 remaining)
{
	answer->granted = false;
	answer->reason = reason;
	answer->remaining = remaining;
}

/* Denied for certain; only an account without a grant in its time needs a look at its plans. */
static void
deny_short(const SpendRequest *request, SpendAnswer *answer, const EngineTake *take)
{
	Snapshot snapshot;
	Account account;
	Holdings holdings;

	engine_count_denial();
	deny(answer, REASON_TOKENS_EXHAUSTED, take->remaining);
	if (take->remaining > 0 || take->any_in_time)
		return;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (account_read(&account, request->account, snapshot))
	{
		holding_load(&holdings, &account, take->now, snapshot);
		answer->reason = shortage_reason(&holdings, (TokenScope){.app = request->app}, 0);
	}
	UnregisterSnapshot(snapshot);
}

/* After the take: rows, landing, and what follows from them. False: the key is in use. */
static bool
complete_take(Spender *spender, const SpendRequest *request, SpendAnswer *answer,
			  const EngineTake *take)
{
	grant_request(request, answer, take->remaining, take->now);
	if (!write_parts(spender, request, answer, take->part, take->parts, take->first_entry_no))
	{
		engine_withdraw(take);
		return false;
	}
	engine_land();
	if (take->emptied)
	{
		CommandCounterIncrement();
		note_exhaustion(request, take->now, take->part, take->parts);
	}
	if (take->ran_low)
		low_balance_suspected(request->account);
	checkpoint_note_growth(request->account, take->first_entry_no, take->parts);
	return true;
}

static bool
user_denied(const SpendRequest *request, SpendAnswer *answer)
{
	Snapshot snapshot;
	Account account;
	Holdings holdings;
	Reason reason = REASON_ALLOWED;

	if (request->user == NULL)
		return false;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (account_read(&account, request->account, snapshot) && !account.suspended)
	{
		holding_load(&holdings, &account, account_verb_time(&account), snapshot);
		reason = user_reason(request, &holdings);
		if (reason != REASON_ALLOWED)
		{
			holding_return_overdue(&holdings);
			reason = user_reason(request, &holdings);
		}
		if (reason != REASON_ALLOWED)
			deny(answer, reason,
				 balance_remaining(holding_balances(&holdings), (TokenScope){.app = request->app},
								   holdings.now));
	}
	UnregisterSnapshot(snapshot);
	return reason != REASON_ALLOWED;
}

/*
 * A client that was just denied will probably be denied again: it looks before
 * it is given a transaction id and the means to write.
 */
static EngineOutcome
take(Spender *spender, const EngineRequest *request, EngineTake *take)
{
	static bool denied = false;
	EngineOutcome outcome = ENGINE_READY;

	if (denied)
		outcome = engine_peek(request, ledger_of(spender), take);
	if (outcome == ENGINE_READY)
	{
		(void) writer_of(spender);
		outcome = engine_take(request, ledger_of(spender), take);
	}
	denied = outcome == ENGINE_SHORT;
	return outcome;
}

/* What was not taken, and not for want of a decision by others. False: the ledger has to decide. */
static bool
deny_as(const SpendRequest *request, SpendAnswer *answer, EngineOutcome outcome,
		const EngineTake *taken)
{
	if (outcome == ENGINE_SHORT)
		deny_short(request, answer, taken);
	else if (outcome == ENGINE_SUSPENDED)
		deny(answer, REASON_ACCOUNT_SUSPENDED, 0);
	else
		return false;
	return true;
}

/*
 * False: the ledger has to decide.
 *
 * A new key costs no look at the index: inserting the row finds out whether the
 * key is in use. Only then, and before anything but a take, the stored answer is
 * looked for. A client whose last key had one is probably sending a series once
 * more, and looks first: a row that gives way leaves a dead one behind.
 */
static bool
serve_from_engine(Spender *spender, const SpendRequest *request, SpendAnswer *answer)
{
	static bool replaying = false;
	EngineRequest wanted = {
		.account = request->account, .app = request->app, .tokens = request->tokens};

	for (bool look = replaying || request->key == NULL;; look = true)
	{
		EngineTake taken;
		EngineOutcome outcome;

		if (look && replay(request, answer))
			return replaying = true;
		if (user_denied(request, answer))
		{
			if (look)
				return true;
			continue;
		}
		outcome = take(spender, &wanted, &taken);
		if (outcome == ENGINE_TAKEN)
		{
			spender->clean = false;
			if (complete_take(spender, request, answer, &taken))
			{
				replaying &= request->key == NULL;
				return true;
			}
		}
		else if (look && outcome != ENGINE_UNCERTAIN)
			return deny_as(request, answer, outcome, &taken);
		else if (look)
			engine_wait_for_another(&wanted, taken.now);
	}
}

/* What taking tokens did to a grant, or to several. */
typedef struct Drawn
{
	bool emptied;
	bool ran_low;
} Drawn;

/*
 * Without shared memory nobody looks again later: so a grant that was low before,
 * as when the percentage is raised, counts too.
 */
static bool
runs_low(const GrantBalance *grant, int64 taken)
{
	int64 before = balance_available(grant);

	return engine_enabled() ? low_balance_crosses(grant->tokens, before, before - taken)
							: low_balance_is(grant->tokens, before - taken);
}

/* Which grants give how much, in the order in which they are drawn on. */
static EnginePart *
draw(const Balances *balances, const SpendRequest *request, TimestampTz now, int *count,
	 Drawn *drawn)
{
	TokenScope scope = {.app = request->app};
	EnginePart *parts = palloc(sizeof(EnginePart) * (balances->count + 1));
	int64 wanted = request->tokens;

	*count = 0;
	memset(drawn, 0, sizeof(*drawn));
	for (int i = 0; i < balances->count && wanted > 0; i++)
	{
		const GrantBalance *grant = &balances->grants[i];
		int64 taken = Min(wanted, balance_available(grant));

		if (taken <= 0 || !balance_usable(grant, now) || !balance_in_scope(grant, scope))
			continue;
		drawn->emptied |= taken == balance_available(grant);
		drawn->ran_low |= runs_low(grant, taken);
		parts[*count].grant = grant->grant_id;
		parts[(*count)++].tokens = taken;
		wanted -= taken;
	}
	Assert(wanted == 0);
	return parts;
}

static bool
decide(const SpendRequest *request, SpendAnswer *answer, Holdings *holdings)
{
	TokenScope scope = {.app = request->app};
	const Balances *balances = holding_balances(holdings);
	int64 remaining = balance_remaining(balances, scope, holdings->now);
	Reason reason = user_reason(request, holdings);

	if (reason == REASON_ALLOWED && remaining < request->tokens)
		reason = shortage_reason(holdings, scope, remaining);
	if (reason == REASON_ALLOWED)
		grant_request(request, answer, remaining - request->tokens, holdings->now);
	else
		deny(answer, reason, remaining);
	return answer->granted;
}

static void
spend_from_ledger(Spender *spender, const SpendRequest *request, SpendAnswer *answer,
				  const Account *account, Snapshot snapshot)
{
	Holdings holdings;
	EnginePart *parts;
	int count;
	Drawn drawn;
	const Balances *balances;

	holding_load(&holdings, account, account_verb_time(account), snapshot);
	if (!decide(request, answer, &holdings))
		return;
	balances = holding_balances(&holdings);
	parts = draw(balances, request, holdings.now, &count, &drawn);
	if (!write_parts(spender, request, answer, parts, count,
					 ledger_next_entry_no(request->account, balances->last_entry_no)))
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						errmsg("could not serialize access due to concurrent update"),
						errdetail("Another transaction used the idempotency key by plain INSERT."),
						errhint("Retry the transaction.")));
	CommandCounterIncrement();
	if (drawn.emptied)
		note_exhaustion(request, holdings.now, parts, count);
	if (drawn.ran_low)
		low_balance_suspected(request->account);
	/* the tail had to be read for the request; the lock lets its own rows be summed too */
	if (balances->tail_entries >= settings_checkpoint_entries)
		(void) checkpoint_try(request->account);
}

/*
 * The whole request from the ledger, with the account's lock held exclusively. A
 * denial moves nothing and claims no key. Holds that are over give their tokens
 * back first.
 */
static void
serve_from_ledger(Spender *spender, const SpendRequest *request, SpendAnswer *answer)
{
	Snapshot snapshot;
	Account account;

	engine_count_ledger();
	/* earlier items of a batch were served from memory, and their rows count as any others */
	CommandCounterIncrement();
	(void) hold_lapse_due(request->account, HOLDS_ALL);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (!account_read(&account, request->account, snapshot))
		deny(answer, REASON_ACCOUNT_NOT_FOUND, 0);
	else if (!replay(request, answer))
	{
		if (account.suspended)
			deny(answer, REASON_ACCOUNT_SUSPENDED, 0);
		else
			spend_from_ledger(spender, request, answer, &account, snapshot);
	}
	UnregisterSnapshot(snapshot);
}

static void
share_account(Spender *spender, const pg_uuid_t *account)
{
	if (spender->locked ||
		(spender->shares && memcmp(spender->account.data, account->data, UUID_LEN) == 0))
		return;
	spender->clean = lock_account_fresh(account, LOCK_TOKENS, RowExclusiveLock);
	spender->shares = true;
	spender->account = *account;
}

/*
 * A shared lock taken for nothing is given back, so that two who go on to the
 * exclusive one cannot deadlock. Not so after a take, even one that gave way to
 * another's key: the entry is settled with it when this transaction ends.
 */
static bool
serve_sharing(Spender *spender, const SpendRequest *request, SpendAnswer *answer)
{
	share_account(spender, request->account);
	if (!writer_ledger_is_watched(ledger_of(spender)) &&
		serve_from_engine(spender, request, answer))
		return true;
	if (spender->clean)
		lock_account_release(request->account, LOCK_TOKENS, RowExclusiveLock);
	spender->shares = spender->clean = false;
	return false;
}

void
spend_serve(Spender *spender, const SpendRequest *request, SpendAnswer *answer)
{
	memset(answer, 0, sizeof(*answer));
	if (request->app != NULL)
		app_require_cached(request->app);
	if (!binding_admits(request->account))
	{
		deny(answer, REASON_ACCOUNT_NOT_FOUND, 0);
		return;
	}
	if (engine_may_serve(request->account) && serve_sharing(spender, request, answer))
		return;
	lock_account(request->account, LOCK_TOKENS, ExclusiveLock);
	serve_from_ledger(spender, request, answer);
}

void
spend_one(const SpendRequest *request, SpendAnswer *answer)
{
	Spender spender;

	spend_begin(&spender, false);
	spend_serve(&spender, request, answer);
	spend_end(&spender);
}

/* In grants for other apps: what the caller may have meant. */
static int64
remaining_elsewhere(const SpendRequest *request)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Account account;
	Balances balances;
	int64 remaining = 0;

	if (account_read(&account, request->account, snapshot))
	{
		TimestampTz now = account_verb_time(&account);

		balance_load(&balances, request->account, now, snapshot);
		remaining = balance_remaining(&balances, (TokenScope){.every_app = true}, now) -
					balance_remaining(&balances, (TokenScope){.app = request->app}, now);
	}
	UnregisterSnapshot(snapshot);
	return remaining;
}

void
spend_raise(const SpendRequest *request, const SpendAnswer *answer)
{
	bool shortage = answer->reason == REASON_TOKENS_EXHAUSTED ||
					answer->reason == REASON_PACKAGE_EXPIRED ||
					answer->reason == REASON_NO_ACTIVE_PLAN;
	int64 elsewhere = shortage ? remaining_elsewhere(request) : 0;

	ereport(ERROR,
			(errcode(reason_sqlstate(answer->reason)), errmsg("%s", reason_error(answer->reason)),
			 errdetail("Account %s was asked for " INT64_FORMAT " tokens and has " INT64_FORMAT
					   " that can be used for this.",
					   identifier_text(request->account), request->tokens, answer->remaining),
			 elsewhere > 0
				 ? errhint("%s " INT64_FORMAT " tokens are left in grants for other apps.",
						   reason_message(answer->reason), elsewhere)
				 : errhint("%s", reason_message(answer->reason))));
}
