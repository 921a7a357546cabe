/*
 * binding.c
 *	  Transactions that act for one account only.
 *
 * A token says for which account, until when and for which database role, and
 * carries a MAC under a key that only the extension's owner can read. What a
 * transaction is bound to is kept in a setting that nobody but bind_account()
 * can set: settings end with their transaction, go back with a savepoint that
 * was set before them, and reach parallel workers.
 */
#include "postgres.h"

#include <sodium.h>

#include "access/parallel.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "account.h"
#include "argument.h"
#include "audit.h"
#include "binding.h"
#include "call.h"
#include "errors.h"
#include "identifier.h"
#include "period.h"
#include "query.h"
#include "tables.h"

PG_FUNCTION_INFO_V1(billing_issue_binding);
PG_FUNCTION_INFO_V1(billing_bind_account);
PG_FUNCTION_INFO_V1(billing_rotate_binding_key);

/* Nobody can call a token back but by a new key, so none is valid for longer. */
#define MAX_VALIDITY (24 * USECS_PER_HOUR)

#define TOKEN_VERSION 1

/* BLAKE2b with a key: four times as fast here as HMAC-SHA-512, and every request pays it. */
#define KEY_BYTES 32
#define MAC_BYTES 32

/* Integers in network byte order. */
typedef struct Token
{
	uint8 version;
	uint8 account[UUID_LEN];
	uint8 expires_at[8];
	uint8 role[4]; /* that may use it; 0: any */
	uint8 mac[MAC_BYTES];
} Token;

#define TOKEN_SIGNED_BYTES offsetof(Token, mac)

/* With the end of the string. */
#define TOKEN_TEXT_BYTES                                                                           \
	sodium_base64_ENCODED_LEN(sizeof(Token), sodium_base64_VARIANT_URLSAFE_NO_PADDING)

static SqlQuery select_key = {.sql = "SELECT key FROM billing.binding_key"};

static SqlQuery insert_key = {
	.sql = "INSERT INTO billing.binding_key (key) VALUES ($1) ON CONFLICT DO NOTHING",
	.nargs = 1,
	.argtypes = {BYTEAOID}};

static SqlQuery replace_key = {
	.sql = "INSERT INTO billing.binding_key (key) VALUES ($1) "
		   "ON CONFLICT (single) DO UPDATE SET key = excluded.key, created_at = clock_timestamp()",
	.nargs = 1,
	.argtypes = {BYTEAOID}};

/* Settings. */
static char *bound_account = NULL; /* as text; empty: none */
static bool require_binding = false;

/* The same, as it is asked for. */
static bool is_bound = false;
static pg_uuid_t bound;

static bool binding = false; /* bind_account() is setting it */

static bool key_known = false;
static uint64 key_forgotten = 0; /* how often */
static uint8 key[KEY_BYTES];
static Oid key_table = InvalidOid;

/*
 * The token that this session verified last under the key it knows. A session
 * of one tenant shows the same one with every request, and decoding and
 * verifying it is most of what binding costs.
 */
static bool verified_known = false;
static char verified_text[TOKEN_TEXT_BYTES];
static Token verified;

static bool
check_bound_account(char **newval pg_attribute_unused(), void **extra pg_attribute_unused(),
					GucSource source)
{
	if (source == PGC_S_DEFAULT || binding || InitializingParallelWorker)
		return true;
	GUC_check_errcode(ERRCODE_INSUFFICIENT_PRIVILEGE);
	GUC_check_errmsg("billing.bound_account cannot be set");
	GUC_check_errhint("Call billing.bind_account.");
	return false;
}

static int
hex_digit(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* The value is uuid_out()'s, or empty. */
static void
assign_bound_account(const char *newval, void *extra pg_attribute_unused())
{
	int digits = 0;

	is_bound = newval != NULL && newval[0] != '\0';
	for (const char *c = newval; is_bound && *c && digits < 2 * UUID_LEN; c++)
		if (*c != '-')
		{
			bound.data[digits / 2] = (uint8) (bound.data[digits / 2] << 4 | hex_digit(*c));
			digits++;
		}
}

/*
 * Without shared_preload_libraries the server does not know at the start of a
 * session that these settings are not for everybody to give, and a client's
 * options go before what ALTER ROLE says. Whoever has given this one at all is
 * then held to it.
 */
void
binding_define_settings(void)
{
	bool given = !process_shared_preload_libraries_in_progress &&
				 GetConfigOption("billing.require_binding", true, false) != NULL;

	DefineCustomStringVariable("billing.bound_account",
							   "The account that this transaction is bound to.",
							   "Only billing.bind_account sets it.", &bound_account, "", PGC_SUSET,
							   GUC_NO_RESET_ALL | GUC_DISALLOW_IN_FILE | GUC_NOT_IN_SAMPLE,
							   check_bound_account, assign_bound_account, NULL);
	DefineCustomBoolVariable("billing.require_binding",
							 "Whether a transaction sees no account before it is bound to one.",
							 "Set it for the role of an application with ALTER ROLE.",
							 &require_binding, false, PGC_SUSET, GUC_NO_RESET_ALL, NULL, NULL,
							 NULL);
	if (given)
		SetConfigOption("billing.require_binding", "on", PGC_SUSET, PGC_S_OVERRIDE);
}

/* Whether the transaction may know of the account. */
bool
binding_admits(const pg_uuid_t *account)
{
	if (likely(!is_bound))
		return !require_binding;
	return memcmp(bound.data, account->data, UUID_LEN) == 0;
}

/* The account that the transaction is bound to; NULL: none. */
const pg_uuid_t *
binding_account(void)
{
	return is_bound ? &bound : NULL;
}

/* Whether the transaction may know of one account at most. */
bool
binding_is_restricted(void)
{
	return is_bound || require_binding;
}

/* PB006 in a transaction that may act for one account only. */
void
binding_refuse(void)
{
	if (binding_is_restricted())
		ereport(ERROR, (errcode(ERRCODE_BILLING_PERMISSION_DENIED),
						errmsg("this transaction may act for one account only"),
						errdetail("What was asked for concerns more than one account."),
						errhint("Use a transaction that is not bound to an account, as a role "
								"that need not be.")));
}

static void
forget_key(Datum arg pg_attribute_unused(), Oid relid)
{
	if (relid != InvalidOid && relid != key_table)
		return;
	sodium_memzero(key, sizeof(key));
	sodium_memzero(verified_text, sizeof(verified_text));
	key_known = verified_known = false;
	key_forgotten++;
}

void
binding_init(void)
{
	CacheRegisterRelcacheCallback(forget_key, (Datum) 0);
}

/*
 * The key in force, for this call; kept for the next ones unless it may have been
 * replaced meanwhile. The table is locked before the snapshot is taken: who waits
 * for it waits for whoever replaces the key.
 */
static bool
read_key(uint8 *current)
{
	uint64 forgotten;
	bytea *stored;

	LockRelationOid(key_table, AccessShareLock);
	forgotten = key_forgotten;
	if (query_execute(&select_key, NULL) == 0)
		return false;
	stored = DatumGetByteaPP(query_datum(0, 1));
	if (VARSIZE_ANY_EXHDR(stored) != KEY_BYTES)
		elog(ERROR, "billing.binding_key holds a key of the wrong length");
	memcpy(current, VARDATA_ANY(stored), KEY_BYTES);
	if (forgotten == key_forgotten)
	{
		memcpy(key, current, KEY_BYTES);
		key_known = true;
	}
	return true;
}

/* Other sessions forget theirs when this one commits, and this one if it does not. */
static void
write_key(SqlQuery *query)
{
	bytea *fresh = palloc(VARHDRSZ + KEY_BYTES);

	SET_VARSIZE(fresh, VARHDRSZ + KEY_BYTES);
	if (!pg_strong_random(VARDATA(fresh), KEY_BYTES))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values")));
	query_execute(query, (NullableDatum[]){arg_datum(PointerGetDatum(fresh))});
	sodium_memzero(fresh, VARHDRSZ + KEY_BYTES);
	CacheInvalidateRelcacheByRelid(key_table);
}

static void
find_key_table(void)
{
	key_table = get_relname_relid("binding_key", tables_schema());
}

/* Within a call. False: no token was ever issued. */
static bool
load_key(uint8 *current)
{
	find_key_table();
	if (sodium_init() < 0)
		elog(ERROR, "libsodium could not be initialized");
	if (!key_known)
		return read_key(current);
	memcpy(current, key, KEY_BYTES);
	return true;
}

static void
require_key(uint8 *current)
{
	if (load_key(current))
		return;
	write_key(&insert_key);
	if (!read_key(current))
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						errmsg("could not serialize access due to concurrent update"),
						errhint("Retry the transaction.")));
}

static void
authenticate(uint8 *mac, const Token *token, const uint8 *current)
{
	crypto_generichash(mac, MAC_BYTES, (const uint8 *) token, TOKEN_SIGNED_BYTES, current,
					   KEY_BYTES);
}

static void
seal(Token *token, const pg_uuid_t *account, TimestampTz expires_at, Oid role, const uint8 *current)
{
	uint64 expires = pg_hton64((uint64) expires_at);
	uint32 only = pg_hton32(role);

	token->version = TOKEN_VERSION;
	memcpy(token->account, account->data, UUID_LEN);
	memcpy(token->expires_at, &expires, sizeof(expires));
	memcpy(token->role, &only, sizeof(only));
	authenticate(token->mac, token, current);
}

static text *
token_text(const Token *token)
{
	char encoded[TOKEN_TEXT_BYTES];

	sodium_bin2base64(encoded, sizeof(encoded), (const uint8 *) token, sizeof(Token),
					  sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	return cstring_to_text(encoded);
}

static void
raise_too_long(const Interval *valid_for)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("valid_for is longer than a day"),
			 errdetail(
				 "It is %s. A token cannot be called back.",
				 DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(valid_for)))),
			 errhint("Issue one for a day at most, and another one then.")));
}

static TimestampTz
expiry_argument(FunctionCallInfo fcinfo, int n)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz expires_at;
	Interval *valid_for;

	argument_require(fcinfo, n, "valid_for");
	valid_for = PG_GETARG_INTERVAL_P(n);
	period_check_duration(valid_for);
	/* before it is added to anything: the sum could be beyond the calendar */
	if (valid_for->month > 0 || valid_for->day > 1 || valid_for->time > MAX_VALIDITY)
		raise_too_long(valid_for);
	expires_at = period_end(now, valid_for, 1, "UTC");
	if (expires_at - now > MAX_VALIDITY)
		raise_too_long(valid_for);
	return expires_at;
}

static Oid
role_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? InvalidOid : get_role_oid(NameStr(*PG_GETARG_NAME(n)), false);
}

/*
 * billing.issue_binding(account_id uuid, valid_for interval, role name) → text
 *
 * A token by which a transaction can be bound to the account, for more than
 * nothing and at most a day; role: the only database role whose sessions may
 * use it, NULL: any. NULL account or valid_for: 22004; valid_for out of range:
 * 22023; unknown role: 42704; unknown account: PB001; in a transaction that is
 * bound itself: PB006.
 */
Datum
billing_issue_binding(PG_FUNCTION_ARGS)
{
	const pg_uuid_t *id = argument_uuid(fcinfo, 0, "account_id");
	TimestampTz expires_at = expiry_argument(fcinfo, 1);
	Oid role = role_argument(fcinfo, 2);
	Account account;
	Token token;
	uint8 current[KEY_BYTES];
	Call call;

	binding_refuse();
	call_enter(&call);
	account_require(&account, id);
	require_key(current);
	seal(&token, id, expires_at, role, current);
	sodium_memzero(current, KEY_BYTES);
	audit_write(fcinfo, &call, id);
	call_leave(&call);
	PG_RETURN_TEXT_P(token_text(&token));
}

/*
 * billing.rotate_binding_key() → void
 *
 * Makes a new key: every token issued before is void once this commits.
 */
Datum
billing_rotate_binding_key(PG_FUNCTION_ARGS)
{
	Call call;

	call_enter(&call);
	find_key_table();
	write_key(&replace_key);
	audit_write(fcinfo, &call, NULL);
	call_leave(&call);
	PG_RETURN_VOID();
}

static void
raise_refused(const char *detail)
{
	ereport(ERROR, (errcode(ERRCODE_BILLING_PERMISSION_DENIED),
					errmsg("binding token is not accepted"), errdetail("%s", detail),
					errhint("Ask for a new one, which billing.issue_binding makes.")));
}

static void
load_key_for_binding(uint8 *current)
{
	Call call;
	bool found;

	call_enter(&call);
	found = load_key(current);
	call_leave(&call);
	if (!found)
		raise_refused("None has been issued in this database.");
}

/* In constant time: the last one may be another tenant's, which nobody may guess by the clock. */
static bool
is_verified(const text *encoded)
{
	return verified_known && VARSIZE_ANY_EXHDR(encoded) == TOKEN_TEXT_BYTES - 1 &&
		   sodium_memcmp(VARDATA_ANY(encoded), verified_text, TOKEN_TEXT_BYTES - 1) == 0;
}

/* libsodium's decoder takes every byte above 127 for a digit, so that a token had other texts. */
static bool
is_ascii(const text *encoded)
{
	for (size_t i = 0; i < VARSIZE_ANY_EXHDR(encoded); i++)
	{
		if (IS_HIGHBIT_SET(VARDATA_ANY(encoded)[i]))
			return false;
	}
	return true;
}

/* Says nothing of what the token holds before its MAC is verified. */
static void
verify_token(Token *token, const text *encoded)
{
	size_t length;
	uint8 mac[MAC_BYTES];
	uint8 current[KEY_BYTES];

	if (!is_ascii(encoded) ||
		sodium_base642bin((uint8 *) token, sizeof(Token), VARDATA_ANY(encoded),
						  VARSIZE_ANY_EXHDR(encoded), NULL, &length, NULL,
						  sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
		length != sizeof(Token) || token->version != TOKEN_VERSION)
		raise_refused("It is malformed.");
	if (key_known)
		memcpy(current, key, KEY_BYTES);
	else
		load_key_for_binding(current);
	authenticate(mac, token, current);
	sodium_memzero(current, KEY_BYTES);
	if (sodium_memcmp(mac, token->mac, MAC_BYTES) != 0)
		raise_refused("It was not issued in this database, or its key has been replaced.");
}

static void
open_token(Token *token, const text *encoded)
{
	if (!is_verified(encoded))
	{
		verified_known = false;
		verify_token(&verified, encoded);
		memcpy(verified_text, VARDATA_ANY(encoded), TOKEN_TEXT_BYTES - 1);
		verified_known = key_known;
	}
	*token = verified;
}

static void
check_token(const Token *token)
{
	uint64 expires;
	uint32 role;

	memcpy(&expires, token->expires_at, sizeof(expires));
	memcpy(&role, token->role, sizeof(role));
	if (GetCurrentTimestamp() >= (TimestampTz) pg_ntoh64(expires))
		raise_refused("It has expired.");
	if (role != 0 && pg_ntoh32(role) != GetSessionUserId())
		raise_refused("It was issued for another database role.");
	if (is_bound && memcmp(bound.data, token->account, UUID_LEN) != 0)
		raise_refused("This transaction is bound to another account.");
}

static void
bind_transaction(const pg_uuid_t *account)
{
	binding = true;
	PG_TRY();
	{
		(void) set_config_option("billing.bound_account", identifier_text(account), PGC_SUSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	}
	PG_FINALLY();
	{
		binding = false;
	}
	PG_END_TRY();
}

/*
 * billing.bind_account(token text) → uuid
 *
 * Binds the transaction to the token's account until its end: every other
 * account is as if it did not exist, and nothing but the transaction's end, or
 * a rollback to a savepoint set before, undoes it. Returns the account, so that
 * the call can stand where another one takes its account. NULL: 22004; a token
 * that is malformed, not ours, expired or for another role, or a transaction
 * bound to another account: PB006.
 */
Datum
billing_bind_account(PG_FUNCTION_ARGS)
{
	pg_uuid_t *account = palloc(sizeof(pg_uuid_t));
	Token token;

	argument_require(fcinfo, 0, "token");
	open_token(&token, PG_GETARG_TEXT_PP(0));
	check_token(&token);
	memcpy(account->data, token.account, UUID_LEN);
	if (!is_bound)
		bind_transaction(account);
	PG_RETURN_UUID_P(account);
}
