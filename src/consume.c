/*
 * consume.c
 *	  SQL functions that consume tokens, and what remains of them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "account.h"
#include "argument.h"
#include "balance.h"
#include "engine.h"
#include "held.h"
#include "lock.h"
#include "settings.h"
#include "spend.h"

PG_FUNCTION_INFO_V1(billing_consume_tokens);
PG_FUNCTION_INFO_V1(billing_try_consume_tokens);
PG_FUNCTION_INFO_V1(billing_consume_tokens_batch);
PG_FUNCTION_INFO_V1(billing_tokens_remaining);

static SpendRequest
request_from_arguments(FunctionCallInfo fcinfo)
{
	SpendRequest request = {0};

	request.account = argument_uuid(fcinfo, 0, "account_id");
	request.tokens = argument_tokens(fcinfo, 1);
	request.app = argument_code_or_null(fcinfo, 2, "app");
	request.key = argument_key_or_null(fcinfo, 3, "idempotency_key");
	request.action = argument_key_or_null(fcinfo, 4, "action");
	request.user = argument_uuid_or_null(fcinfo, 5);
	return request;
}

/*
 * billing.consume_tokens(account_id uuid, tokens bigint, app text,
 *						  idempotency_key text, action text, user_id uuid) → bigint
 *
 * Takes tokens (1 or more) from the account's grants of the app and of no app;
 * with app NULL from grants of no app only. Returns what remains for the same
 * app. A denial is an error with the SQLSTATE of its reason: PB001, PB002,
 * PB003, PB004, PB005, PB006, PB007, PB013. Key used for another request:
 * PB008; unknown app: PB016; NULL account or tokens: 22004; tokens not positive
 * or malformed app: 22023; key or action longer than 255 bytes: 22001.
 */
Datum
billing_consume_tokens(PG_FUNCTION_ARGS)
{
	SpendRequest request;
	SpendAnswer answer;

	spend_prevent("billing.consume_tokens()");
	request = request_from_arguments(fcinfo);
	spend_one(&request, &answer);
	if (!answer.granted)
		spend_raise(&request, &answer);
	PG_RETURN_INT64(answer.remaining);
}

/*
 * billing.try_consume_tokens(the same) → billing.consumption
 *
 * As consume_tokens, but a denial is data: granted, reason, tokens_remaining,
 * replayed (the answer is that of an earlier request with the same key). To be
 * called in FROM. The other errors are those of consume_tokens.
 */
Datum
billing_try_consume_tokens(PG_FUNCTION_ARGS)
{
	SpendRequest request;
	SpendAnswer answer;
	TupleDesc desc;
	Datum values[4];
	bool nulls[4] = {false};

	spend_prevent("billing.try_consume_tokens()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	request = request_from_arguments(fcinfo);
	spend_one(&request, &answer);
	values[0] = BoolGetDatum(answer.granted);
	values[1] = CStringGetTextDatum(reason_name(answer.reason));
	values[2] = Int64GetDatum(answer.remaining);
	values[3] = BoolGetDatum(answer.replayed);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* One array argument of the batch. */
typedef struct Column
{
	int count;
	Datum *values;
	bool *nulls;
} Column;

typedef struct Batch
{
	Column accounts;
	Column tokens;
	Column apps;
	Column keys;
	Column actions;
	Column ordinals;
} Batch;

static void
batch_error(const char *name, const char *problem)
{
	ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR), errmsg("%s %s", name, problem),
					errhint("Pass one-dimensional arrays of the same length, without NULL in "
							"account_ids, tokens and ordinals.")));
}

/* Argument n; an optional one that is NULL has no elements. */
static Column
array_argument(FunctionCallInfo fcinfo, int n, const char *name, Oid type, int count, bool optional,
			   bool nulls_allowed)
{
	Column column = {0};
	ArrayType *array;

	if (PG_ARGISNULL(n) && optional)
		return column;
	argument_require(fcinfo, n, name);
	array = PG_GETARG_ARRAYTYPE_P(n);
	if (ARR_NDIM(array) > 1)
		batch_error(name, "has more than one dimension");
	if (!nulls_allowed && array_contains_nulls(array))
		batch_error(name, "contains NULL");
	if (type == TEXTOID)
		deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &column.values, &column.nulls,
						  &column.count);
	else if (type == UUIDOID)
		deconstruct_array(array, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &column.values,
						  &column.nulls, &column.count);
	else
		deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
						  &column.values, &column.nulls, &column.count);
	if (count >= 0 && column.count != count)
		batch_error(name, "differs in length from account_ids");
	return column;
}

static Batch
batch_from_arguments(FunctionCallInfo fcinfo)
{
	Batch batch;
	int count;

	batch.accounts = array_argument(fcinfo, 0, "account_ids", UUIDOID, -1, false, false);
	count = batch.accounts.count;
	batch.tokens = array_argument(fcinfo, 1, "tokens", INT8OID, count, false, false);
	batch.apps = array_argument(fcinfo, 2, "apps", TEXTOID, count, true, true);
	batch.keys = array_argument(fcinfo, 3, "idempotency_keys", TEXTOID, count, true, true);
	batch.actions = array_argument(fcinfo, 4, "actions", TEXTOID, count, true, true);
	batch.ordinals = array_argument(fcinfo, 5, "ordinals", INT8OID, count, true, false);
	return batch;
}

static char *
column_text(const Column *column, int i)
{
	return column->count == 0 || column->nulls[i] ? NULL : TextDatumGetCString(column->values[i]);
}

static SpendRequest
batch_request(const Batch *batch, int i)
{
	SpendRequest request = {0};

	request.account = DatumGetUUIDP(batch->accounts.values[i]);
	request.tokens = DatumGetInt64(batch->tokens.values[i]);
	argument_check_tokens(request.tokens);
	request.app = column_text(&batch->apps, i);
	if (request.app != NULL)
		argument_check_code(request.app, "app");
	request.key = column_text(&batch->keys, i);
	if (request.key != NULL)
		argument_check_key(request.key, "idempotency_key");
	request.action = column_text(&batch->actions, i);
	if (request.action != NULL)
		argument_check_key(request.action, "action");
	return request;
}

/* Where an item stands in the batch, and what says when its turn is. */
typedef struct BatchTurn
{
	uint64 rank;
	const pg_uuid_t *account;
	int item;
} BatchTurn;

static int
compare_turns(const void *a, const void *b)
{
	const BatchTurn *x = a;
	const BatchTurn *y = b;
	int order = x->rank < y->rank ? -1 : x->rank > y->rank;

	if (order == 0)
		order = memcmp(x->account->data, y->account->data, UUID_LEN);
	return order != 0 ? order : x->item - y->item;
}

/*
 * Account after account, in one order for every session: who waits for one, its
 * lock or what others have taken, holds only those that come before it, so that
 * two batches do not wait for each other. The items of one account stay in the
 * order of the batch.
 */
static BatchTurn *
batch_turns(const Batch *batch)
{
	int count = batch->accounts.count;
	BatchTurn *turns = palloc(sizeof(BatchTurn) * (count + 1));

	for (int i = 0; i < count; i++)
	{
		turns[i].account = DatumGetUUIDP(batch->accounts.values[i]);
		turns[i].rank = hash_bytes_extended(turns[i].account->data, UUID_LEN, 0);
		turns[i].item = i;
	}
	qsort(turns, count, sizeof(BatchTurn), compare_turns);
	return turns;
}

/*
 * A large batch would fill the lock table: it keeps all changes out instead, or
 * everybody, where nothing may be taken from memory. True: it is such a one.
 */
static bool
lock_large_batch(const Batch *batch)
{
	if (batch->accounts.count <= settings_batch_lock_limit)
		return false;
	if (engine_enabled() && !spend_ledger_is_watched())
		lock_all_to_spend();
	else
		lock_all_to_change();
	return true;
}

static SpendAnswer *
serve_batch(const Batch *batch)
{
	int count = batch->accounts.count;
	SpendRequest *requests = palloc(sizeof(SpendRequest) * (count + 1));
	SpendAnswer *answers = palloc(sizeof(SpendAnswer) * (count + 1));
	BatchTurn *turns = batch_turns(batch);
	Spender spender;

	for (int i = 0; i < count; i++)
		requests[i] = batch_request(batch, i);
	spend_begin(&spender, lock_large_batch(batch));
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		spend_serve(&spender, &requests[turns[i].item], &answers[turns[i].item]);
	}
	spend_end(&spender);
	return answers;
}

static void
put_batch_answer(ReturnSetInfo *rsinfo, const Batch *batch, int i, const SpendAnswer *answer)
{
	Datum values[5];
	bool nulls[5] = {false};

	values[0] = batch->ordinals.count > 0 ? batch->ordinals.values[i] : Int64GetDatum(i + 1);
	values[1] = BoolGetDatum(answer->granted);
	values[2] = CStringGetTextDatum(reason_name(answer->reason));
	values[3] = Int64GetDatum(answer->remaining);
	values[4] = BoolGetDatum(answer->replayed);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * billing.consume_tokens_batch(account_ids uuid[], tokens bigint[], apps text[],
 *		idempotency_keys text[], actions text[], ordinals bigint[])
 *		→ SETOF (ordinal, granted, reason, tokens_remaining, replayed)
 *
 * try_consume_tokens for each item; answers, and the items of one account, are
 * in input order; ordinals name the items (default 1, 2, …). Arrays that differ
 * in length or dimension, or a NULL in account_ids, tokens or ordinals: 2202E.
 * The other errors are those of consume_tokens; any error undoes the whole batch.
 */
Datum
billing_consume_tokens_batch(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Batch batch;
	SpendAnswer *answers;

	spend_prevent("billing.consume_tokens_batch()");
	InitMaterializedSRF(fcinfo, 0);
	batch = batch_from_arguments(fcinfo);
	answers = serve_batch(&batch);
	for (int i = 0; i < batch.accounts.count; i++)
		put_batch_answer(rsinfo, &batch, i, &answers[i]);
	return (Datum) 0;
}

/*
 * billing.tokens_remaining(account_id uuid, app text) → bigint
 *
 * What a consumption with the same app could take now: usable grants of the app
 * and of no app; with app NULL of no app only. Tokens of a hold that is over are
 * back: a consumption that needs them lets it lapse first. NULL or unknown
 * account: 0.
 */
Datum
billing_tokens_remaining(PG_FUNCTION_ARGS)
{
	Snapshot snapshot = GetActiveSnapshot();
	TimestampTz now;
	Account account;
	Balances balances;
	TokenScope scope = {0};

	if (PG_ARGISNULL(0) || !account_read(&account, PG_GETARG_UUID_P(0), snapshot))
		PG_RETURN_INT64(0);
	if (!PG_ARGISNULL(1))
		scope.app = text_to_cstring(PG_GETARG_TEXT_PP(1));
	now = account_check_time(&account);
	balance_load(&balances, &account.id, now, snapshot);
	held_return_overdue(&balances, &account.id, now, snapshot);
	PG_RETURN_INT64(balance_remaining(&balances, scope, now));
}
