/*
 * reason.c
 *	  Why something is denied.
 */
#include "postgres.h"

#include "errors.h"
#include "reason.h"

typedef struct ReasonInfo
{
	const char *name;
	int sqlstate;
	const char *error;   /* what is wrong, for an errmsg */
	const char *message; /* and what to do, for people */
} ReasonInfo;

static const ReasonInfo reasons[] = {
	[REASON_ALLOWED] = {"allowed", 0, "access is allowed", "Access is allowed."},
	[REASON_ACCOUNT_NOT_FOUND] =
		{"account_not_found", ERRCODE_BILLING_ACCOUNT_NOT_FOUND, "account does not exist",
		 "There is no such billing account. Check the account, or create it."},
	[REASON_ACCOUNT_SUSPENDED] = {"account_suspended", ERRCODE_BILLING_ACCOUNT_SUSPENDED,
								  "account is suspended",
								  "The billing account is suspended. Contact support."},
	[REASON_USER_NOT_FOUND] =
		{"user_not_found", ERRCODE_BILLING_USER_NOT_FOUND, "account has no such user",
		 "The account has no such user. An admin of the account can add one."},
	[REASON_USER_DISABLED] = {"user_disabled", ERRCODE_BILLING_PERMISSION_DENIED,
							  "user is disabled",
							  "The user is disabled. An admin of the account can enable it."},
	[REASON_USER_OVER_LIMIT] =
		{"user_over_limit", ERRCODE_BILLING_USER_LIMIT_REACHED, "user has no seat",
		 "The account has more users than its plan allows, and this one has no seat. "
		 "Upgrade the plan or remove users."},
	[REASON_TOKENS_EXHAUSTED] =
		{"tokens_exhausted", ERRCODE_BILLING_TOKENS_EXHAUSTED, "tokens are exhausted",
		 "The tokens of the plan are used up. Buy or renew tokens to go on."},
	[REASON_PACKAGE_EXPIRED] = {"package_expired", ERRCODE_BILLING_PACKAGE_EXPIRED,
								"package has expired",
								"The package has expired. Renew it, or choose a new plan and pay."},
	[REASON_NO_ACTIVE_PLAN] = {"no_active_plan", ERRCODE_BILLING_NO_ACTIVE_PLAN,
							   "account has no active plan",
							   "The account has no active plan. Choose a plan and pay."},
	[REASON_PERMISSION_NOT_IN_PLAN] =
		{"permission_not_in_plan", ERRCODE_BILLING_PERMISSION_DENIED,
		 "permission is not in the plan",
		 "No plan of the account grants this permission. Upgrade to one that does."},
	[REASON_PERMISSION_NOT_IN_ROLE] =
		{"permission_not_in_role", ERRCODE_BILLING_PERMISSION_DENIED,
		 "permission is not in the role",
		 "The plan grants this permission, but the user's role does not keep it. "
		 "Ask an admin of the account for another role."},
};

/* Of two answers the one that is given. */
Reason
reason_first(Reason a, Reason b)
{
	if (a == REASON_ALLOWED || b == REASON_ALLOWED)
		return Max(a, b);
	return Min(a, b);
}

const char *
reason_name(Reason reason)
{
	return reasons[reason].name;
}

const char *
reason_error(Reason reason)
{
	return reasons[reason].error;
}

const char *
reason_message(Reason reason)
{
	return reasons[reason].message;
}

int
reason_sqlstate(Reason reason)
{
	return reasons[reason].sqlstate;
}
