/*
 * login.c
 *	  SQL functions for passwords: logging in, and setting one.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "access.h"
#include "argument.h"
#include "audit.h"
#include "binding.h"
#include "call.h"
#include "conceal.h"
#include "email.h"
#include "lockout.h"
#include "login_client.h"
#include "password.h"
#include "probe.h"
#include "query.h"
#include "spend.h"

PG_FUNCTION_INFO_V1(billing_authenticate_user);
PG_FUNCTION_INFO_V1(billing_set_user_password);

/* Under the hash that was read: a password that was set meanwhile stays. Waits for nobody. */
static SqlQuery replace_hash = {
	.sql = "UPDATE billing.account_user SET password_hash = $3 WHERE (account_id, user_id) IN "
		   "(SELECT account_id, user_id FROM billing.account_user WHERE account_id = $1 "
		   "AND user_id = $2 AND password_hash = $4 FOR NO KEY UPDATE SKIP LOCKED)",
	.nargs = 4,
	.argtypes = {UUIDOID, UUIDOID, TEXTOID, TEXTOID}};

static SqlQuery set_hash = {.sql = "UPDATE billing.account_user SET password_hash = $3 "
								   "WHERE account_id = $1 AND user_id = $2 "
								   "AND removed_at IS NULL",
							.nargs = 3,
							.argtypes = {UUIDOID, UUIDOID, TEXTOID}};

static SqlQuery select_email = {.sql = "SELECT email FROM billing.account_user "
									   "WHERE account_id = $1 AND user_id = $2 "
									   "AND removed_at IS NULL",
								.nargs = 2,
								.argtypes = {UUIDOID, UUIDOID}};

/* What a login is about: the user with the address, or nobody. */
typedef struct Login
{
	pg_uuid_t account_id;
	pg_uuid_t user_id;
	char *hash;        /* NULL: nobody has the address, or who has it cannot log in here */
	bool has_client;   /* the application said where the login comes from */
	pg_uuid_t client;  /* digest of it */
	pg_uuid_t subject; /* whose failures count */
} Login;

/* Failures of addresses that nobody has share a few records of no account. */
#define STRANGER_RECORDS 256

static void
be_stranger(Login *login, const char *email_key)
{
	uint32 hash = email_key == NULL
					  ? 0
					  : hash_bytes((const unsigned char *) email_key, (int) strlen(email_key));

	memset(login, 0, sizeof(*login));
	login->user_id.data[UUID_LEN - 1] = hash % STRANGER_RECORDS;
}

static void
find_user(Login *login, const char *email_key)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Probe probe;
	ScanKeyData key;

	be_stranger(login, email_key);
	if (email_key != NULL)
	{
		probe_key_text(&key, 1, CStringGetTextDatum(email_key));
		probe_begin(&probe, INDEX_USER_EMAIL, snapshot, &key, 1);
		if (probe_next(&probe) && !probe_is_null(&probe, USER_PASSWORD_HASH) &&
			binding_admits(DatumGetUUIDP(probe_datum(&probe, USER_ACCOUNT_ID))))
		{
			login->account_id = probe_uuid(&probe, USER_ACCOUNT_ID);
			login->user_id = probe_uuid(&probe, USER_USER_ID);
			login->hash = probe_text(&probe, USER_PASSWORD_HASH);
		}
		probe_end(&probe);
	}
	UnregisterSnapshot(snapshot);
}

/* Wrong passwords from elsewhere do not count against a client that the user is known by. */
static void
choose_subject(Login *login, const char *client)
{
	login->subject = login->user_id;
	login->has_client = client != NULL;
	if (client == NULL)
		return;
	login_client_digest(&login->client, &login->user_id, client);
	if (login_client_is_known(&login->account_id, &login->user_id, &login->client))
		login->subject = login->client;
}

static void
renew_hash(Login *login, const text *password, Call *call)
{
	char *hash = password_hash(password);

	call->frame->silent = true;
	if (query_execute(&replace_hash,
					  (NullableDatum[]){arg_uuid(&login->account_id), arg_uuid(&login->user_id),
										arg_text(hash), arg_text(login->hash)}) == 1)
		login->hash = hash;
	call->frame->silent = false;
}

/* Whether another hash is stored by now, which is then the login's. */
static bool
read_newer_hash(Login *login)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Probe probe;
	ScanKeyData key;
	char *hash = NULL;
	bool same;

	probe_key_uuid(&key, 1, &login->user_id);
	probe_begin(&probe, INDEX_USER_ID, snapshot, &key, 1);
	if (probe_next(&probe))
		hash = probe_text(&probe, USER_PASSWORD_HASH);
	probe_end(&probe);
	UnregisterSnapshot(snapshot);
	same = login->hash == NULL || (hash != NULL && strcmp(hash, login->hash) == 0);
	if (!same)
		login->hash = hash;
	return !same;
}

/* Who waits for a turn to hash may have waited past a new password. */
static bool
verify_newest(Login *login, const text *password, bool *needs_rehash)
{
	bool matches;

	do
		matches = password_verify(login->hash, password, needs_rehash);
	while (read_newer_hash(login));
	return matches;
}

/* After what may have waited for another transaction. */
static bool
still_matches(Login *login, const text *password)
{
	bool needs_rehash;

	return !read_newer_hash(login) || verify_newest(login, password, &needs_rehash);
}

/* Whether the password is the user's and may be used now; costs the same whatever the answer. */
static bool
admit(Login *login, const text *password, Call *call)
{
	bool needs_rehash;
	bool matches = verify_newest(login, password, &needs_rehash);

	if (!lockout_admit(&login->account_id, &login->subject, matches))
		return false;
	if (!still_matches(login, password))
		return false;
	if (!XactReadOnly)
	{
		if (needs_rehash)
			renew_hash(login, password, call);
		if (login->has_client)
			login_client_remember(&login->account_id, &login->user_id, &login->client);
	}
	return still_matches(login, password);
}

/* A user removed while the password was verified is nobody any more. */
static bool
describe(const Login *login, Datum values[5])
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	AccountUser user;
	Access access;
	bool found = user_read(&user, &login->user_id, snapshot) && !user.removed;

	if (found)
	{
		access_check(&access, &user.account_id, NULL, &user.user_id, snapshot);
		values[0] = UUIDPGetDatum(&login->user_id);
		values[1] = UUIDPGetDatum(&login->account_id);
		values[2] = CStringGetTextDatum(user.role);
		values[3] = BoolGetDatum(access.allowed);
		values[4] = CStringGetTextDatum(reason_name(access.reason));
	}
	UnregisterSnapshot(snapshot);
	return found;
}

static Datum
login_tuple(FunctionCallInfo fcinfo, const Login *login, bool admitted)
{
	TupleDesc desc;
	Datum values[5];
	bool nulls[5] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!admitted || !describe(login, values))
	{
		nulls[0] = nulls[1] = nulls[2] = true;
		values[3] = BoolGetDatum(false);
		values[4] = CStringGetTextDatum("invalid_credentials");
	}
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * billing.authenticate_user(email text, password text, client text,
 *		OUT user_id uuid, OUT account_id uuid, OUT role text, OUT allowed boolean,
 *		OUT reason text)
 *
 * Always one row. An unknown address, a wrong password and a user who is locked
 * out are answered alike, in the same time: no ids, not allowed,
 * 'invalid_credentials'; so is NULL. Otherwise allowed and reason are what
 * check_access says of the user without a permission. client: what the
 * application knows the user's device by, 1 to 255 bytes; from one that the user
 * has logged in from before, only its own wrong passwords count. Renews the hash
 * when the cost settings rose. Empty client: 22023, too long: 22001.
 */
Datum
billing_authenticate_user(PG_FUNCTION_ARGS)
{
	ErrorContextCallback concealed;
	Call call;
	Login login;
	char *key = NULL;
	char *client;
	text *password;
	bool admitted;
	Datum result;

	conceal_begin(&concealed);
	lockout_prevent_read_only();
	password = PG_ARGISNULL(1) ? cstring_to_text("") : (text *) PG_GETARG_POINTER(1);
	client = argument_key_or_null(fcinfo, 2, "client");
	if (!PG_ARGISNULL(0))
		key = email_lookup_key((text *) PG_GETARG_POINTER(0));
	call_enter(&call);
	find_user(&login, key);
	choose_subject(&login, client);
	admitted = admit(&login, password, &call);
	call_leave(&call);
	result = login_tuple(fcinfo, &login, admitted);
	conceal_end(&concealed);
	return result;
}

/* The newest address, to compare the password with. */
static text *
email_of(const AccountUser *user)
{
	if (query_execute(&select_email, (NullableDatum[]){arg_uuid(&user->account_id),
													   arg_uuid(&user->user_id)}) == 0)
		user_raise_not_found(&user->user_id);
	return DatumGetTextPP(query_datum(0, 1));
}

/*
 * billing.set_user_password(user_id uuid, password text) → void
 *
 * Sets a user's password and ends its lock-outs. NULL: 22004; a refused password:
 * 22023 (doc/passwords.md); unknown or removed user: PB013.
 */
Datum
billing_set_user_password(PG_FUNCTION_ARGS)
{
	ErrorContextCallback concealed;
	Call call;
	AccountUser user;
	const pg_uuid_t *id;
	const text *password;
	char *hash;

	conceal_begin(&concealed);
	id = argument_uuid(fcinfo, 0, "user_id");
	argument_require(fcinfo, 1, "password");
	password = (const text *) PG_GETARG_POINTER(1);
	spend_prevent("billing.set_user_password()");
	call_enter(&call);
	user_require(&user, id);
	password_check_strength(password, email_of(&user));
	hash = password_hash(password);
	if (query_execute(&set_hash, (NullableDatum[]){arg_uuid(&user.account_id), arg_uuid(id),
												   arg_text(hash)}) == 0)
		user_raise_not_found(id);
	login_client_forgive(&user.account_id, id);
	audit_write(fcinfo, &call, &user.account_id);
	call_leave(&call);
	conceal_end(&concealed);
	PG_RETURN_VOID();
}
