/*
 * grant.c
 *	  Giving tokens to an account.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "account.h"
#include "argument.h"
#include "audit.h"
#include "call.h"
#include "engine.h"
#include "errors.h"
#include "event.h"
#include "grant.h"
#include "identifier.h"
#include "lock.h"
#include "plan.h"
#include "query.h"
#include "spend.h"

PG_FUNCTION_INFO_V1(billing_grant_tokens);

static SqlQuery insert_grant = {
	.sql = "INSERT INTO billing.token_grant (account_id, grant_id, subscription_id, app, tokens, "
		   "priority, "
		   "effective_at, expires_at, granted_at, reason, idempotency_key) "
		   "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) "
		   "ON CONFLICT (account_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING",
	.nargs = 11,
	.argtypes = {UUIDOID, UUIDOID, UUIDOID, TEXTOID, INT8OID, INT8OID, TIMESTAMPTZOID,
				 TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID}};

static SqlQuery select_key = {
	.sql = "SELECT grant_id, tokens = $3 AND coalesce(expires_at = $4, $8 IS NOT NULL OR "
		   "expires_at = 'infinity') AND priority = $5 "
		   "AND app IS NOT DISTINCT FROM $6 AND reason IS NOT DISTINCT FROM $7 "
		   "AND subscription_id IS NOT DISTINCT FROM $8 "
		   "FROM billing.token_grant WHERE account_id = $1 AND idempotency_key = $2",
	.nargs = 8,
	.argtypes = {UUIDOID, TEXTOID, INT8OID, TIMESTAMPTZOID, INT8OID, TEXTOID, TEXTOID, UUIDOID}};

static SqlQuery select_subscription = {.sql = "SELECT expires_at FROM billing.subscription WHERE "
											  "account_id = $1 AND subscription_id = $2 "
											  "AND NOT void",
									   .nargs = 2,
									   .argtypes = {UUIDOID, UUIDOID}};

/* False: a grant with the same key came first; it is committed by now. */
bool
grant_insert(pg_uuid_t *grant_id, const GrantTerms *terms)
{
	EventDetail detail;

	identifier_new(grant_id, terms->account);
	if (query_execute(&insert_grant,
					  (NullableDatum[]){arg_uuid(terms->account), arg_uuid(grant_id),
										arg_uuid(terms->subscription_id), arg_text(terms->app),
										arg_int64(terms->tokens), arg_int64(terms->priority),
										arg_time(terms->effective_at), arg_time(terms->expires_at),
										arg_time(terms->granted_at), arg_text(terms->reason),
										arg_text(terms->key)}) == 0)
		return false;
	engine_note_addition(terms->account);
	event_detail_begin(&detail);
	event_detail_uuid(&detail, "grant_id", grant_id);
	event_detail_int64(&detail, "tokens", terms->tokens);
	event_detail_text(&detail, "app", terms->app);
	event_detail_uuid(&detail, "subscription_id", terms->subscription_id);
	event_detail_time(&detail, "expires_at", terms->expires_at);
	event_write(terms->account, "tokens_granted", terms->granted_at, &detail);
	return true;
}

static bool
replay(pg_uuid_t *grant_id, const GrantTerms *terms, bool has_end)
{
	if (terms->key == NULL ||
		query_execute(&select_key,
					  (NullableDatum[]){
						  arg_uuid(terms->account), arg_text(terms->key), arg_int64(terms->tokens),
						  has_end ? arg_time(terms->expires_at) : arg_null(),
						  arg_int64(terms->priority), arg_text(terms->app), arg_text(terms->reason),
						  arg_uuid(terms->subscription_id)}) == 0)
		return false;
	*grant_id = query_uuid(0, 1);
	if (!query_bool(0, 2))
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_IDEMPOTENCY_CONFLICT),
				 errmsg("idempotency key was used for another request"),
				 errdetail("It led to grant %s with other values.", identifier_text(grant_id)),
				 errhint("Use a new key for a new request.")));
	return true;
}

/* A grant ends with its subscription unless its own end is given. */
static void
apply_subscription(GrantTerms *terms, bool has_end)
{
	if (terms->subscription_id == NULL)
		return;
	if (query_execute(&select_subscription, (NullableDatum[]){arg_uuid(terms->account),
															  arg_uuid(terms->subscription_id)}) ==
		0)
		ereport(
			ERROR,
			(errcode(ERRCODE_BILLING_NOT_FOUND), errmsg("subscription does not exist"),
			 errdetail("Account %s has no subscription %s.", identifier_text(terms->account),
					   identifier_text(terms->subscription_id)),
			 errhint("The view billing.account_package lists the subscriptions of an account.")));
	if (!has_end)
		terms->expires_at = query_time(0, 1);
}

static void
check_end(const GrantTerms *terms)
{
	if (terms->expires_at <= terms->granted_at)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expires_at must be later than now"),
				 errdetail("It is %s; now is %s.", pstrdup(timestamptz_to_str(terms->expires_at)),
						   pstrdup(timestamptz_to_str(terms->granted_at))),
				 errhint("Pass a later expires_at, or NULL for tokens that never expire.")));
}

static GrantTerms
terms_from_arguments(FunctionCallInfo fcinfo)
{
	GrantTerms terms = {0};

	terms.account = argument_uuid(fcinfo, 0, "account_id");
	terms.tokens = argument_tokens(fcinfo, 1);
	terms.expires_at = PG_ARGISNULL(2) ? DT_NOEND : argument_time(fcinfo, 2, "expires_at");
	argument_require(fcinfo, 3, "priority");
	terms.priority = PG_GETARG_INT64(3);
	terms.app = argument_code_or_null(fcinfo, 4, "app");
	terms.reason = argument_text_or_null(fcinfo, 5, "reason", TEXT_MAX_LENGTH);
	terms.subscription_id = argument_uuid_or_null(fcinfo, 6);
	terms.key = argument_key_or_null(fcinfo, 7, "idempotency_key");
	return terms;
}

/*
 * billing.grant_tokens(account_id uuid, tokens bigint, expires_at timestamptz,
 *		priority bigint, app text, reason text, subscription_id uuid,
 *		idempotency_key text) → uuid
 *
 * Gives tokens (1 or more) that can be used from now until expires_at (NULL: to
 * the end of the subscription, or for ever without one), for one app (NULL:
 * all); lower priority is used first. With a subscription they count as its own,
 * which keeps a token plan in force. Returns
 * the grant. NULL account, tokens or priority: 22004; tokens not positive,
 * expires_at not later than now: 22023; unknown account: PB001, suspended:
 * PB002; unknown app or subscription: PB016; key used for another request:
 * PB008.
 */
Datum
billing_grant_tokens(PG_FUNCTION_ARGS)
{
	Call call;
	GrantTerms terms = terms_from_arguments(fcinfo);
	pg_uuid_t *grant_id = palloc(sizeof(pg_uuid_t));
	Account account;

	spend_prevent("billing.grant_tokens()");
	call_enter(&call);
	/* its row says when the next of its grants ends */
	if (terms.subscription_id != NULL)
	{
		lock_account(terms.account, LOCK_PLANS, ExclusiveLock);
		(void) lock_tokens_after_plans(terms.account, RowExclusiveLock);
	}
	else
		lock_account(terms.account, LOCK_TOKENS, RowExclusiveLock);
	account_require(&account, terms.account);
	if (!replay(grant_id, &terms, !PG_ARGISNULL(2)))
	{
		if (account.suspended)
			account_raise_suspended(&account);
		terms.granted_at = terms.effective_at = account_verb_time(&account);
		if (terms.app != NULL)
			app_require(terms.app, GetActiveSnapshot());
		apply_subscription(&terms, !PG_ARGISNULL(2));
		check_end(&terms);
		/* additions do not lock each other out: two may come with one key */
		if (!grant_insert(grant_id, &terms))
			(void) replay(grant_id, &terms, !PG_ARGISNULL(2));
	}
	audit_write(fcinfo, &call, terms.account);
	call_leave(&call);
	PG_RETURN_UUID_P(grant_id);
}
