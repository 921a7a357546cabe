/*
 * member.c
 *	  SQL functions by which admins manage the users of their account.
 *
 * Each takes the account's seat lock, reads everything anew, decides who may
 * act, and then writes the row with plain DML: the triggers (user_guard.c) count
 * seats, keep the last admin and write the events, for these functions as for
 * everybody else.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "actor.h"
#include "argument.h"
#include "audit.h"
#include "conceal.h"
#include "email.h"
#include "errors.h"
#include "identifier.h"
#include "password.h"
#include "probe.h"
#include "query.h"
#include "spend.h"
#include "user.h"

PG_FUNCTION_INFO_V1(billing_add_user_within_limit);
PG_FUNCTION_INFO_V1(billing_remove_user);
PG_FUNCTION_INFO_V1(billing_set_user_role);
PG_FUNCTION_INFO_V1(billing_disable_user);
PG_FUNCTION_INFO_V1(billing_enable_user);

/* The unique violation is answered by us: the server's own would name the other's address. */
static SqlQuery insert_user = {
	.sql = "INSERT INTO billing.account_user (account_id, user_id, email, password_hash, role, "
		   "added_at, added_by) VALUES ($1, $2, $3, $4, $5, $6, $7) "
		   "ON CONFLICT (email_key) WHERE email_key IS NOT NULL DO NOTHING",
	.nargs = 7,
	.argtypes = {UUIDOID, UUIDOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, UUIDOID}};

static SqlQuery remove_user = {.sql = "UPDATE billing.account_user SET removed_at = $3 "
									  "WHERE account_id = $1 AND user_id = $2 "
									  "AND removed_at IS NULL",
							   .nargs = 3,
							   .argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID}};

static SqlQuery set_role = {.sql = "UPDATE billing.account_user SET role = $3 "
								   "WHERE account_id = $1 AND user_id = $2 "
								   "AND removed_at IS NULL",
							.nargs = 3,
							.argtypes = {UUIDOID, UUIDOID, TEXTOID}};

static SqlQuery disable_user = {.sql = "UPDATE billing.account_user SET disabled_at = $3 "
									   "WHERE account_id = $1 AND user_id = $2 "
									   "AND removed_at IS NULL AND disabled_at IS NULL",
								.nargs = 3,
								.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID}};

static SqlQuery enable_user = {.sql = "UPDATE billing.account_user SET disabled_at = NULL "
									  "WHERE account_id = $1 AND user_id = $2 "
									  "AND removed_at IS NULL AND disabled_at IS NOT NULL",
							   .nargs = 2,
							   .argtypes = {UUIDOID, UUIDOID}};

/* A user as it is asked for. */
typedef struct NewUser
{
	const pg_uuid_t *account_id;
	text *email;
	char *email_key;
	text *password; /* as it was given, not detoasted; NULL: no login here */
	char *role;
	const pg_uuid_t *added_by; /* NULL: nobody named */
} NewUser;

static void
require_role(const char *role, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	bool found;

	probe_key_text(&key, 1, CStringGetTextDatum(role));
	probe_begin(&probe, INDEX_ROLE_PKEY, snapshot, &key, 1);
	found = probe_next(&probe);
	probe_end(&probe);
	if (!found)
		ereport(ERROR, (errcode(ERRCODE_BILLING_NOT_FOUND), errmsg("role does not exist"),
						errdetail("There is no role \"%s\".", role),
						errhint("Create it with billing.create_role, or use admin or member.")));
}

/* The same whichever account has the address: nobody learns of another tenant's users. */
static void
raise_email_taken(void)
{
	ereport(ERROR, (errcode(ERRCODE_UNIQUE_VIOLATION), errmsg("email address is already in use"),
					errdetail("Addresses are compared without case, over all accounts."),
					errhint("Use another address, or remove the user who has it.")));
}

static void
require_free_email(const char *email_key, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	bool found;

	probe_key_text(&key, 1, CStringGetTextDatum(email_key));
	probe_begin(&probe, INDEX_USER_EMAIL, snapshot, &key, 1);
	found = probe_next(&probe);
	probe_end(&probe);
	if (found)
		raise_email_taken();
}

/* Whether the account takes the user now; returns when that is. */
static TimestampTz
check_addition(const Call *call, const NewUser *new)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Account account;
	Holdings holdings;

	account_require_usable(&account, new->account_id);
	holding_load_due(&holdings, &account, account_verb_time(&account), snapshot);
	if (new->added_by == NULL && !call_is_administrator(call))
		actor_require_first_admin(&account, new->role, user_rows(&account.id, 1, snapshot) == 0);
	else
		actor_require(call, &holdings, new->added_by, "added_by");
	require_role(new->role, snapshot);
	require_free_email(new->email_key, snapshot);
	seat_require(&holdings, seat_count(&account.id, snapshot) + 1);
	UnregisterSnapshot(snapshot);
	return holdings.now;
}

static void
read_new_user(FunctionCallInfo fcinfo, NewUser *new)
{
	new->account_id = argument_uuid(fcinfo, 0, "account_id");
	argument_require(fcinfo, 1, "email");
	new->email = cstring_to_text(email_normalize((text *) PG_GETARG_POINTER(1), &new->email_key));
	new->password = PG_ARGISNULL(2) ? NULL : (text *) PG_GETARG_POINTER(2);
	new->role = argument_code(fcinfo, 3, "role");
	new->added_by = argument_uuid_or_null(fcinfo, 4);
}

static void
insert_new_user(const NewUser *new, const pg_uuid_t *id, const char *hash, TimestampTz now)
{
	if (query_execute(&insert_user, (NullableDatum[]){arg_uuid(new->account_id), arg_uuid(id),
													  arg_datum(PointerGetDatum(new->email)),
													  arg_text(hash), arg_text(new->role),
													  arg_time(now), arg_uuid(new->added_by)}) == 0)
		raise_email_taken();
}

/*
 * billing.add_user_within_limit(account_id uuid, email text, password text,
 *		role text, added_by uuid) → uuid
 *
 * Adds a user if the plans in force have a seat for one more; returns its id.
 * password NULL: no login here. added_by: a user of the account who may manage
 * its users and has access; NULL: administrators, and the account's first user,
 * who is then an admin; else PB006. Hashing takes its time before any lock is
 * held, so everything is checked twice: cheaply before it, and under the locks.
 * NULL account, email or role: 22004; invalid email, refused password, malformed
 * role: 22023; unknown account: PB001, suspended: PB002; unknown role: PB016; no
 * seat left: PB007; the address belongs to a user already: 23505.
 */
Datum
billing_add_user_within_limit(PG_FUNCTION_ARGS)
{
	ErrorContextCallback concealed;
	Call call;
	NewUser new;
	char *hash = NULL;
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));
	TimestampTz now;

	conceal_begin(&concealed);
	read_new_user(fcinfo, &new);
	spend_prevent("billing.add_user_within_limit()");
	call_enter(&call);
	call.frame->actor = new.added_by;
	(void) check_addition(&call, &new);
	if (new.password != NULL)
	{
		password_check_strength(new.password, new.email);
		hash = password_hash(new.password);
	}
	seat_lock(new.account_id);
	now = check_addition(&call, &new);
	identifier_new(id, new.account_id);
	insert_new_user(&new, id, hash, now);
	audit_write(fcinfo, &call, new.account_id);
	call_leave(&call);
	conceal_end(&concealed);
	PG_RETURN_UUID_P(id);
}

/* Locks and reads what a change of a user needs; returns when it happens. */
static TimestampTz
begin_change(const char *function, Call *call, AccountUser *user, const pg_uuid_t *user_id,
			 const pg_uuid_t *actor)
{
	Account account;
	Holdings holdings;
	Snapshot snapshot;

	spend_prevent(function);
	call_enter(call);
	call->frame->actor = actor;
	user_require(user, user_id);
	seat_lock(&user->account_id);
	account_require(&account, &user->account_id);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	holding_load_due(&holdings, &account, account_verb_time(&account), snapshot);
	actor_require(call, &holdings, actor, "acting_user");
	UnregisterSnapshot(snapshot);
	user_require(user, user_id);
	return holdings.now;
}

/*
 * billing.remove_user(user_id uuid, acting_user uuid) → void
 *
 * Takes a user out of its account: the id stays, email and password hash are
 * erased, the seat is free. acting_user: a user of the account who may manage
 * its users and has access; NULL: administrators only; else PB006. NULL user:
 * 22004; unknown or removed user: PB013; the last admin while others remain:
 * PB017.
 */
Datum
billing_remove_user(PG_FUNCTION_ARGS)
{
	Call call;
	AccountUser user;
	const pg_uuid_t *id = argument_uuid(fcinfo, 0, "user_id");
	TimestampTz now =
		begin_change("billing.remove_user()", &call, &user, id, argument_uuid_or_null(fcinfo, 1));

	if (query_execute(&remove_user, (NullableDatum[]){arg_uuid(&user.account_id), arg_uuid(id),
													  arg_time(now)}) == 0)
		user_raise_not_found(id);
	audit_write(fcinfo, &call, &user.account_id);
	call_leave(&call);
	PG_RETURN_VOID();
}

/*
 * billing.set_user_role(user_id uuid, role text, acting_user uuid) → void
 *
 * Gives a user another role. acting_user as for remove_user. NULL user or role:
 * 22004; malformed role: 22023; unknown role: PB016; unknown or removed user:
 * PB013; the last admin while others remain: PB017.
 */
Datum
billing_set_user_role(PG_FUNCTION_ARGS)
{
	Call call;
	AccountUser user;
	const pg_uuid_t *id = argument_uuid(fcinfo, 0, "user_id");
	char *role = argument_code(fcinfo, 1, "role");
	Snapshot snapshot;

	(void) begin_change("billing.set_user_role()", &call, &user, id,
						argument_uuid_or_null(fcinfo, 2));
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	require_role(role, snapshot);
	UnregisterSnapshot(snapshot);
	if (strcmp(user.role, role) != 0 &&
		query_execute(&set_role, (NullableDatum[]){arg_uuid(&user.account_id), arg_uuid(id),
												   arg_text(role)}) == 0)
		user_raise_not_found(id);
	audit_write(fcinfo, &call, &user.account_id);
	call_leave(&call);
	PG_RETURN_VOID();
}

/*
 * billing.disable_user(user_id uuid, acting_user uuid) → void
 *
 * Keeps a user out until enabled again, and frees the seat; one that is disabled
 * stays as it is. acting_user as for remove_user. NULL user: 22004; unknown or
 * removed user: PB013; the last admin while others remain: PB017.
 */
Datum
billing_disable_user(PG_FUNCTION_ARGS)
{
	Call call;
	AccountUser user;
	const pg_uuid_t *id = argument_uuid(fcinfo, 0, "user_id");
	TimestampTz now =
		begin_change("billing.disable_user()", &call, &user, id, argument_uuid_or_null(fcinfo, 1));

	query_execute(&disable_user,
				  (NullableDatum[]){arg_uuid(&user.account_id), arg_uuid(id), arg_time(now)});
	audit_write(fcinfo, &call, &user.account_id);
	call_leave(&call);
	PG_RETURN_VOID();
}

/*
 * billing.enable_user(user_id uuid, acting_user uuid) → void
 *
 * Lets a disabled user in again, which takes a seat; one that is not disabled
 * stays as it is. acting_user as for remove_user. NULL user: 22004; unknown or
 * removed user: PB013; suspended account: PB002; no seat left: PB007.
 */
Datum
billing_enable_user(PG_FUNCTION_ARGS)
{
	Call call;
	AccountUser user;
	const pg_uuid_t *id = argument_uuid(fcinfo, 0, "user_id");

	(void) begin_change("billing.enable_user()", &call, &user, id,
						argument_uuid_or_null(fcinfo, 1));
	query_execute(&enable_user, (NullableDatum[]){arg_uuid(&user.account_id), arg_uuid(id)});
	audit_write(fcinfo, &call, &user.account_id);
	call_leave(&call);
	PG_RETURN_VOID();
}
