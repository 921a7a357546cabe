/*
 * lockout_table.c
 *	  Failed logins kept in an unlogged table: nothing waits for the disk, and a
 *	  crash forgets them.
 *
 * Every refusal writes one row, whether the user exists or not, so that it takes
 * the same time. It is written in the caller's transaction, whose ROLLBACK takes
 * it back: only shared memory is safe from who holds the application's connection.
 * What is counted for addresses that nobody has goes into a few
 * rows, however many are tried.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "lockout.h"
#include "query.h"

static SqlQuery has_record = {
	.sql = "SELECT FROM billing.login_failure WHERE account_id = $1 AND subject = $2",
	.nargs = 2,
	.argtypes = {UUIDOID, UUIDOID}};

static SqlQuery ensure_record = {
	.sql = "INSERT INTO billing.login_failure (account_id, subject, failures, failed_at) "
		   "VALUES ($1, $2, 0, $3) ON CONFLICT (account_id, subject) DO NOTHING",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID}};

static SqlQuery lock_record = {.sql = "SELECT failures, failed_at FROM billing.login_failure "
									  "WHERE account_id = $1 AND subject = $2 FOR NO KEY UPDATE",
							   .nargs = 2,
							   .argtypes = {UUIDOID, UUIDOID}};

static SqlQuery write_record = {.sql = "UPDATE billing.login_failure SET failures = $3, "
									   "failed_at = $4 WHERE account_id = $1 AND subject = $2",
								.nargs = 4,
								.argtypes = {UUIDOID, UUIDOID, INT4OID, TIMESTAMPTZOID}};

static SqlQuery delete_record = {
	.sql = "DELETE FROM billing.login_failure WHERE account_id = $1 AND subject = $2",
	.nargs = 2,
	.argtypes = {UUIDOID, UUIDOID}};

static SqlQuery sum_of_account = {.sql = "SELECT coalesce(sum(failures), 0)::bigint "
										 "FROM billing.login_failure "
										 "WHERE account_id = $1 AND failed_at > $2",
								  .nargs = 2,
								  .argtypes = {UUIDOID, TIMESTAMPTZOID}};

static int64
account_failures(const pg_uuid_t *account, TimestampTz now)
{
	query_execute(&sum_of_account,
				  (NullableDatum[]){arg_uuid(account), arg_time(now - LOCKOUT_ACCOUNT_MEMORY)});
	return query_int64(0, 1);
}

/* Waits for whoever is deciding about the same subject. */
static LockoutRecord
read_locked(const pg_uuid_t *account, const pg_uuid_t *subject, TimestampTz now)
{
	NullableDatum args[] = {arg_uuid(account), arg_uuid(subject), arg_time(now)};
	LockoutRecord record;

	do
		query_execute(&ensure_record, args);
	while (query_execute(&lock_record, args) == 0);
	record.failures = query_int32(0, 1);
	record.failed_at = query_time(0, 2);
	return record;
}

bool
lockout_table_admit(const pg_uuid_t *account, const pg_uuid_t *subject, bool matches)
{
	TimestampTz now = GetCurrentTimestamp();
	NullableDatum args[4] = {arg_uuid(account), arg_uuid(subject)};
	LockoutRecord record;
	LockoutVerdict verdict;

	if (matches && query_execute(&has_record, args) == 0)
		return true;
	record = read_locked(account, subject, now);
	verdict = lockout_decide(&record, account_failures(account, now), matches, now);
	args[2] = arg_int32(record.failures);
	args[3] = arg_time(record.failed_at);
	query_execute(verdict == LOCKOUT_ADMITTED ? &delete_record : &write_record, args);
	return verdict == LOCKOUT_ADMITTED;
}

void
lockout_table_forget(const pg_uuid_t *account, const pg_uuid_t *subject)
{
	query_execute(&delete_record, (NullableDatum[]){arg_uuid(account), arg_uuid(subject)});
}
