/*
 * lockout.c
 *	  How often a password may be guessed: the rule.
 *
 * A lock-out ends by itself, is at most billing.login_lockout_limit long, and
 * neither grows nor is prolonged by what is tried while it lasts, for otherwise
 * anybody could keep a user out for good. It keeps out nobody but the user whose
 * password was got wrong: an account under attack makes it begin earlier and grow
 * faster for those of its users with a failure of their own, and leaves the
 * others alone.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"

#include "lockout.h"

static int login_attempts;
static int login_account_attempts;
static int login_lockout;
static int login_lockout_limit;

static void
define_settings(void)
{
	/* People mistype; NIST SP 800-63B allows up to 100 failures in a row. */
	DefineCustomIntVariable("billing.login_attempts",
							"Sets after how many wrong passwords in a row a user is locked out.",
							NULL, &login_attempts, 5, 1, 100, PGC_SUSET, 0, NULL, NULL, NULL);

	/* More than the typing errors of an hour in a large account. */
	DefineCustomIntVariable(
		"billing.login_account_attempts",
		"Sets how many wrong passwords an hour make an account count as attacked.",
		"Its users are then locked out after one wrong password, and for longer.",
		&login_account_attempts, 50, 1, 1000000, PGC_SUSET, 0, NULL, NULL, NULL);

	/* Long enough that guessing is hopeless, short enough to be waited for. */
	DefineCustomIntVariable("billing.login_lockout", "Sets how long the first lock-out is.",
							"Each further wrong password doubles it.", &login_lockout, 10, 1, 3600,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);

	/* At 15 minutes, some 100 guesses a day. */
	DefineCustomIntVariable("billing.login_lockout_limit", "Sets how long a lock-out is at most.",
							NULL, &login_lockout_limit, 900, 1, 3600, PGC_SUSET, GUC_UNIT_S, NULL,
							NULL, NULL);
}

void
lockout_init(void)
{
	define_settings();
	if (process_shared_preload_libraries_in_progress)
		lockout_memory_request();
}

/* Each doubling of the account's failures above the threshold counts as one more of the user's. */
static int
surcharge(int64 account_failures)
{
	int doublings = 0;

	for (int64 n = account_failures / login_account_attempts; n > 1; n /= 2)
		doublings++;
	return doublings;
}

static int64
lockout_length(const LockoutRecord *record, int64 account_failures)
{
	bool attacked = account_failures >= login_account_attempts;
	int exponent = record->failures - (attacked ? 1 : login_attempts);
	int64 seconds;

	if (record->failures == 0 || exponent < 0)
		return 0;
	exponent += surcharge(account_failures);
	seconds = (int64) login_lockout << Min(exponent, 20);
	return Min(seconds, login_lockout_limit) * USECS_PER_SEC;
}

/*
 * What a login comes to, and what is remembered afterwards. Within a lock-out the
 * right password is as wrong as any other.
 */
LockoutVerdict
lockout_decide(LockoutRecord *record, int64 account_failures, bool matches, TimestampTz now)
{
	/* a clock that was set back must not prolong anything */
	record->failed_at = Min(record->failed_at, now);
	if (now - record->failed_at > LOCKOUT_MEMORY)
		record->failures = 0;
	if (now < record->failed_at + lockout_length(record, account_failures))
		return LOCKOUT_LOCKED;
	if (matches)
	{
		record->failures = 0;
		return LOCKOUT_ADMITTED;
	}
	record->failures = Min(record->failures + 1, 1000);
	record->failed_at = now;
	return LOCKOUT_COUNTED;
}

/* Without shared memory nobody logs in where failures cannot be written down. */
void
lockout_prevent_read_only(void)
{
	if (!lockout_memory_exists())
		PreventCommandIfReadOnly("authenticate_user()");
}

/* Whether a login is to be let in; to be called within a call (call.h). */
bool
lockout_admit(const pg_uuid_t *account, const pg_uuid_t *subject, bool matches)
{
	return lockout_memory_exists() ? lockout_memory_admit(account, subject, matches)
								   : lockout_table_admit(account, subject, matches);
}

void
lockout_forget(const pg_uuid_t *account, const pg_uuid_t *subject)
{
	if (lockout_memory_exists())
		lockout_memory_forget(account, subject);
	else
		lockout_table_forget(account, subject);
}
