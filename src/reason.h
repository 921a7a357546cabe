/*
 * reason.h
 *	  Why something is denied: one reason, in a fixed order, each with a name, a
 *	  SQLSTATE and a message that tells what to do.
 */
#ifndef BILLING_REASON_H
#define BILLING_REASON_H

/* In the order of precedence: the first that applies is the answer. */
typedef enum Reason
{
	REASON_ALLOWED,
	REASON_ACCOUNT_NOT_FOUND,
	REASON_ACCOUNT_SUSPENDED,
	REASON_USER_NOT_FOUND,
	REASON_USER_DISABLED,
	REASON_USER_OVER_LIMIT,
	REASON_TOKENS_EXHAUSTED,
	REASON_PACKAGE_EXPIRED,
	REASON_NO_ACTIVE_PLAN,
	REASON_PERMISSION_NOT_IN_PLAN,
	REASON_PERMISSION_NOT_IN_ROLE
} Reason;

extern Reason reason_first(Reason a, Reason b);
extern const char *reason_name(Reason reason);
extern const char *reason_error(Reason reason);
extern const char *reason_message(Reason reason);
extern int reason_sqlstate(Reason reason);

#endif /* BILLING_REASON_H */
