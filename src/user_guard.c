/*
 * user_guard.c
 *	  Triggers on account users: the rules of seats and admins, whoever writes the
 *	  row and however, and the events that say what was written.
 *
 * An INSERT takes the seat lock before its row gets into any index, an UPDATE
 * that takes a seat or an admin away after it: seats are counted when all rows
 * of the statement are there, under the lock, with a snapshot that sees what
 * others have committed and what this transaction has written.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "replication/logicalworker.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "actor.h"
#include "call.h"
#include "compat.h"
#include "email.h"
#include "errors.h"
#include "event.h"
#include "guard.h"
#include "identifier.h"
#include "login_client.h"
#include "password_argon2.h"
#include "probe.h"
#include "user.h"

PG_FUNCTION_INFO_V1(billing_prepare_user);
PG_FUNCTION_INFO_V1(billing_guard_user);

/* Rows written by this backend: as long as it stands still, so does the number of seats taken. */
static uint64 rows_written = 0;

/* A row version as the rules see it. */
typedef struct UserRow
{
	bool exists;
	pg_uuid_t account_id;
	pg_uuid_t user_id;
	bool has_added_by;
	pg_uuid_t added_by;
	char *role;
	char *password_hash; /* NULL: none */
	bool disabled;
	bool removed;
} UserRow;

static Datum
column(HeapTuple tuple, TriggerData *trigger, UserColumn number, bool *isnull)
{
	return heap_getattr(tuple, number, RelationGetDescr(trigger->tg_relation), isnull);
}

static bool
is_null(HeapTuple tuple, TriggerData *trigger, UserColumn number)
{
	return heap_attisnull(tuple, number, RelationGetDescr(trigger->tg_relation));
}

static pg_uuid_t
uuid_column(HeapTuple tuple, TriggerData *trigger, UserColumn number)
{
	bool isnull;
	Datum value = column(tuple, trigger, number, &isnull);

	if (isnull)
		elog(ERROR, "column %d of an account user is null", number);
	return *DatumGetUUIDP(value);
}

static char *
text_column(HeapTuple tuple, TriggerData *trigger, UserColumn number)
{
	bool isnull;
	Datum value = column(tuple, trigger, number, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static UserRow
read_row(HeapTuple tuple, TriggerData *trigger)
{
	UserRow row = {.exists = tuple != NULL};

	if (tuple == NULL)
		return row;
	row.account_id = uuid_column(tuple, trigger, USER_ACCOUNT_ID);
	row.user_id = uuid_column(tuple, trigger, USER_USER_ID);
	row.has_added_by = !is_null(tuple, trigger, USER_ADDED_BY);
	if (row.has_added_by)
		row.added_by = uuid_column(tuple, trigger, USER_ADDED_BY);
	row.role = text_column(tuple, trigger, USER_ROLE);
	row.password_hash = text_column(tuple, trigger, USER_PASSWORD_HASH);
	row.disabled = !is_null(tuple, trigger, USER_DISABLED_AT);
	row.removed = !is_null(tuple, trigger, USER_REMOVED_AT);
	return row;
}

static bool
has_seat(const UserRow *row)
{
	return row->exists && !row->disabled && !row->removed;
}

static bool
is_active_admin(const UserRow *row)
{
	return has_seat(row) && strcmp(row->role, "admin") == 0;
}

/*
 * Restored and replicated rows were judged where they were written, may come
 * before the plans that allow them, and may be more than the plans allow by now.
 */
static bool
comes_from_elsewhere(void)
{
	return call_is_restore() || IsLogicalWorker();
}

/* The server's own message would quote the whole row, password hash included. */
static void
require_columns(HeapTuple tuple, TriggerData *trigger)
{
	static const UserColumn required[] = {USER_ACCOUNT_ID, USER_ROLE, USER_ADDED_AT};

	for (int i = 0; i < (int) lengthof(required); i++)
		if (is_null(tuple, trigger, required[i]))
			ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION),
							errmsg("%s of an account user must not be null",
								   NameStr(TupleDescAttr(RelationGetDescr(trigger->tg_relation),
														 required[i] - 1)
											   ->attname)),
							errhint("Give it a value.")));
}

static bool
uuid_changed(TriggerData *trigger, UserColumn number)
{
	bool old_null;
	bool new_null;
	Datum old_value = column(trigger->tg_trigtuple, trigger, number, &old_null);
	Datum new_value = column(trigger->tg_newtuple, trigger, number, &new_null);

	if (old_null || new_null)
		return old_null != new_null;
	return memcmp(DatumGetUUIDP(old_value), DatumGetUUIDP(new_value), UUID_LEN) != 0;
}

static void
check_update(TriggerData *trigger)
{
	if (uuid_changed(trigger, USER_ACCOUNT_ID) || uuid_changed(trigger, USER_USER_ID) ||
		uuid_changed(trigger, USER_ADDED_BY))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("account_id, user_id and added_by of a user cannot be changed"),
						errdetail("They say who was added where by whom."),
						errhint("Add another user instead.")));
	if (!is_null(trigger->tg_trigtuple, trigger, USER_REMOVED_AT) &&
		is_null(trigger->tg_newtuple, trigger, USER_REMOVED_AT))
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_USER_NOT_FOUND), errmsg("a removed user cannot come back"),
				 errdetail("Its email address and password hash have been erased."),
				 errhint("Add a new user with billing.add_user_within_limit.")));
}

/* Columns to be replaced in the row that is about to be written. */
typedef struct Replacement
{
	Datum *values;
	bool *nulls;
	bool *replace;
} Replacement;

static void
replace_column(Replacement *replacement, UserColumn number, Datum value, bool isnull)
{
	replacement->values[number - 1] = value;
	replacement->nulls[number - 1] = isnull;
	replacement->replace[number - 1] = true;
}

/* The key is always computed: whoever writes the row cannot choose another. */
static void
replace_email_key(Replacement *replacement, HeapTuple tuple, TriggerData *trigger)
{
	bool isnull;
	Datum email = column(tuple, trigger, USER_EMAIL, &isnull);
	char *key;

	if (isnull)
		ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION),
						errmsg("email of an account user must not be null"),
						errdetail("Only a removed user has none."), errhint("Give an address.")));
	(void) email_normalize((text *) DatumGetPointer(email), &key);
	replace_column(replacement, USER_EMAIL_KEY, CStringGetTextDatum(key), false);
}

static void
erase_person(Replacement *replacement)
{
	replace_column(replacement, USER_EMAIL, (Datum) 0, true);
	replace_column(replacement, USER_EMAIL_KEY, (Datum) 0, true);
	replace_column(replacement, USER_PASSWORD_HASH, (Datum) 0, true);
}

/* A password written into the table by mistake must not get there, nor into the message. */
static void
check_hash(HeapTuple tuple, TriggerData *trigger)
{
	char *hash = text_column(tuple, trigger, USER_PASSWORD_HASH);

	if (hash != NULL && !argon2_looks_encoded(hash))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("password_hash is not an argon2 hash in PHC format"),
						errdetail("It has the form $argon2id$v=19$m=65536,t=2,p=1$salt$hash."),
						errhint("Set a password with billing.set_user_password."),
						errhidestmt(true), errhidecontext(true)));
}

static HeapTuple
complete_row(HeapTuple tuple, TriggerData *trigger)
{
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	Replacement replacement = {.values = palloc0(sizeof(Datum) * desc->natts),
							   .nulls = palloc0(sizeof(bool) * desc->natts),
							   .replace = palloc0(sizeof(bool) * desc->natts)};
	pg_uuid_t account = uuid_column(tuple, trigger, USER_ACCOUNT_ID);
	pg_uuid_t id;

	if (is_null(tuple, trigger, USER_USER_ID))
	{
		identifier_new(&id, &account);
		replace_column(&replacement, USER_USER_ID, UUIDPGetDatum(&id), false);
	}
	if (is_null(tuple, trigger, USER_REMOVED_AT))
	{
		replace_email_key(&replacement, tuple, trigger);
		check_hash(tuple, trigger);
	}
	else
		erase_person(&replacement);
	return heap_modify_tuple(tuple, desc, replacement.values, replacement.nulls,
							 replacement.replace);
}

/* Before the row is there, so that nobody is added by himself. */
static void
check_added_by(HeapTuple tuple, TriggerData *trigger)
{
	pg_uuid_t account_id = uuid_column(tuple, trigger, USER_ACCOUNT_ID);
	Snapshot snapshot;
	Account account;
	Holdings holdings;
	pg_uuid_t added_by;

	seat_lock(&account_id);
	if (is_null(tuple, trigger, USER_ADDED_BY))
		return;
	added_by = uuid_column(tuple, trigger, USER_ADDED_BY);
	account_require(&account, &account_id);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	holding_load_due(&holdings, &account, account_verb_time(&account), snapshot);
	actor_require_manager(&holdings, &added_by);
	UnregisterSnapshot(snapshot);
}

/*
 * billing.prepare_user(): trigger
 *
 * BEFORE INSERT, UPDATE or DELETE of a user's row: computes email_key, makes a
 * user_id where none is given, erases email and hash of a removed user. Missing
 * values: 23502; an invalid email, a hash that is none, another account_id,
 * user_id or added_by: 22023; a removed user that comes back: PB013; added_by
 * may not manage the account's users: PB006.
 */
Datum
billing_prepare_user(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guard_trigger_data(fcinfo, "prepare_user");
	bool is_insert = TRIGGER_FIRED_BY_INSERT(trigger->tg_event);
	HeapTuple tuple = trigger->tg_trigtuple;

	rows_written++;
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		return PointerGetDatum(tuple);
	if (!is_insert)
		tuple = trigger->tg_newtuple;
	require_columns(tuple, trigger);
	if (!is_insert)
		check_update(trigger);
	tuple = complete_row(tuple, trigger);
	if (is_insert && !comes_from_elsewhere())
		check_added_by(tuple, trigger);
	return PointerGetDatum(tuple);
}

/* All rows of a statement are there when the first is judged: the others need no count. */
static bool
counted_already(const pg_uuid_t *account)
{
	static uint64 counted_rows = 0;
	static LocalTransactionId counted_transaction = InvalidLocalTransactionId;
	static pg_uuid_t counted_account;
	bool same = counted_rows == rows_written &&
				counted_transaction == compat_transaction_number() &&
				memcmp(counted_account.data, account->data, UUID_LEN) == 0;

	counted_rows = rows_written;
	counted_transaction = compat_transaction_number();
	counted_account = *account;
	return same;
}

static void
check_seats(const Account *account, TimestampTz now, Snapshot snapshot)
{
	Holdings holdings;

	if (account->suspended)
		account_raise_suspended(account);
	holding_load_due(&holdings, account, now, snapshot);
	seat_require(&holdings, seat_count(&account->id, snapshot));
}

/* There must be an admin who is neither disabled nor removed as long as there is any other user. */
static void
check_last_admin(const UserRow *was, Snapshot snapshot)
{
	Probe probe;
	ScanKeyData key;
	int64 others = 0;
	bool has_admin = false;

	probe_key_uuid(&key, 1, &was->account_id);
	probe_begin(&probe, INDEX_USER_PKEY, snapshot, &key, 1);
	while (!has_admin && probe_next(&probe))
	{
		pg_uuid_t id = probe_uuid(&probe, USER_USER_ID);

		if (!probe_is_null(&probe, USER_REMOVED_AT))
			continue;
		others += memcmp(id.data, was->user_id.data, UUID_LEN) != 0;
		has_admin = probe_is_null(&probe, USER_DISABLED_AT) &&
					strcmp(probe_text(&probe, USER_ROLE), "admin") == 0;
	}
	probe_end(&probe);
	if (!has_admin && others > 0)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_LAST_ADMIN),
				 errmsg("the last admin of an account must stay while others remain"),
				 errdetail("Account %s would have " INT64_FORMAT " other users and no admin.",
						   identifier_text(&was->account_id), others),
				 errhint("Give another user the role admin first.")));
}

static void
event_of_insert(const UserRow *row, TimestampTz now)
{
	EventDetail detail;

	event_detail_begin(&detail);
	event_detail_uuid(&detail, "user_id", &row->user_id);
	event_detail_text(&detail, "role", row->role);
	event_detail_uuid(&detail, "added_by", row->has_added_by ? &row->added_by : NULL);
	event_write(&row->account_id, "user_added", now, &detail);
}

/* Names, never addresses or secrets. */
static void
event_of_change(const char *kind, const UserRow *row, const pg_uuid_t *actor, TimestampTz now)
{
	EventDetail detail;

	event_detail_begin(&detail);
	event_detail_uuid(&detail, "user_id", &row->user_id);
	event_detail_uuid(&detail, "acting_user", actor);
	event_write(&row->account_id, kind, now, &detail);
}

static void
event_of_role(const UserRow *was, const UserRow *is, const pg_uuid_t *actor, TimestampTz now)
{
	EventDetail detail;

	event_detail_begin(&detail);
	event_detail_uuid(&detail, "user_id", &is->user_id);
	event_detail_text(&detail, "from", was->role);
	event_detail_text(&detail, "to", is->role);
	event_detail_uuid(&detail, "acting_user", actor);
	event_write(&is->account_id, "user_role_changed", now, &detail);
}

static bool
hash_changed(const UserRow *was, const UserRow *is)
{
	if (was->password_hash == NULL || is->password_hash == NULL)
		return was->password_hash != is->password_hash;
	return strcmp(was->password_hash, is->password_hash) != 0;
}

static void
write_events(const UserRow *was, const UserRow *is, const pg_uuid_t *actor, TimestampTz now)
{
	if (!was->exists)
		event_of_insert(is, now);
	else if (!is->exists || is->removed)
	{
		if (!was->removed)
			event_of_change("user_removed", was, actor, now);
	}
	else
	{
		if (was->disabled != is->disabled)
			event_of_change(is->disabled ? "user_disabled" : "user_enabled", is, actor, now);
		if (strcmp(was->role, is->role) != 0)
			event_of_role(was, is, actor, now);
		if (hash_changed(was, is))
			event_of_change("password_changed", is, actor, now);
	}
}

/* What follows from a row that is now there, or now gone. */
static void
judge(const UserRow *was, const UserRow *is)
{
	const pg_uuid_t *account_id = is->exists ? &is->account_id : &was->account_id;
	bool takes_seat = has_seat(is) && !has_seat(was);
	bool loses_admin = is_active_admin(was) && !is_active_admin(is);
	Call call;
	Account account;
	Snapshot snapshot;
	TimestampTz now;

	if (takes_seat || loses_admin)
		seat_lock(account_id);
	CommandCounterIncrement();
	account_require(&account, account_id);
	now = account_verb_time(&account);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	call_enter(&call);
	if (!was->exists && !is->has_added_by && !call_is_administrator(&call))
		actor_require_first_admin(&account, is->role, user_rows(account_id, 2, snapshot) == 1);
	if (takes_seat && !counted_already(account_id))
		check_seats(&account, now, snapshot);
	if (loses_admin)
		check_last_admin(was, snapshot);
	if (was->exists && !was->removed && (!is->exists || is->removed))
		login_client_forget(account_id, &was->user_id);
	if (!call.frame->silent)
		write_events(was, is, call.frame->actor, now);
	call_leave(&call);
	UnregisterSnapshot(snapshot);
}

/*
 * billing.guard_user(): trigger
 *
 * AFTER INSERT, UPDATE or DELETE of a user's row: no seat is taken above the
 * limit (PB007) nor in a suspended account (PB002), the last admin stays while
 * others remain (PB017), and who is no administrator adds without added_by only
 * an account's first admin (PB006). Writes the event.
 */
Datum
billing_guard_user(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guard_trigger_data(fcinfo, "guard_user");
	HeapTuple first = trigger->tg_trigtuple;
	UserRow was;
	UserRow is;

	if (comes_from_elsewhere())
		return PointerGetDatum(NULL);
	was = read_row(TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? NULL : first, trigger);
	is = read_row(TRIGGER_FIRED_BY_INSERT(trigger->tg_event)   ? first
				  : TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ? NULL
															   : trigger->tg_newtuple,
				  trigger);
	judge(&was, &is);
	return PointerGetDatum(NULL);
}
