/*
 * errors.h
 *	  SQLSTATEs of class PB, one for each thing that billing refuses.
 *
 * Arguments out of range use the standard codes of class 22.
 */
#ifndef BILLING_ERRORS_H
#define BILLING_ERRORS_H

#include "utils/elog.h"

#define ERRCODE_BILLING_ACCOUNT_NOT_FOUND    MAKE_SQLSTATE('P', 'B', '0', '0', '1')
#define ERRCODE_BILLING_ACCOUNT_SUSPENDED    MAKE_SQLSTATE('P', 'B', '0', '0', '2')
#define ERRCODE_BILLING_PACKAGE_EXPIRED      MAKE_SQLSTATE('P', 'B', '0', '0', '3')
#define ERRCODE_BILLING_TOKENS_EXHAUSTED     MAKE_SQLSTATE('P', 'B', '0', '0', '4')
#define ERRCODE_BILLING_NO_ACTIVE_PLAN       MAKE_SQLSTATE('P', 'B', '0', '0', '5')
#define ERRCODE_BILLING_PERMISSION_DENIED    MAKE_SQLSTATE('P', 'B', '0', '0', '6')
#define ERRCODE_BILLING_USER_LIMIT_REACHED   MAKE_SQLSTATE('P', 'B', '0', '0', '7')
#define ERRCODE_BILLING_IDEMPOTENCY_CONFLICT MAKE_SQLSTATE('P', 'B', '0', '0', '8')
#define ERRCODE_BILLING_HOLD_CLOSED          MAKE_SQLSTATE('P', 'B', '0', '0', '9')
#define ERRCODE_BILLING_PLAN_NOT_FOUND       MAKE_SQLSTATE('P', 'B', '0', '1', '1')
#define ERRCODE_BILLING_LEDGER_IMMUTABLE     MAKE_SQLSTATE('P', 'B', '0', '1', '2')
#define ERRCODE_BILLING_USER_NOT_FOUND       MAKE_SQLSTATE('P', 'B', '0', '1', '3')
#define ERRCODE_BILLING_ORDER_CLOSED         MAKE_SQLSTATE('P', 'B', '0', '1', '4')
#define ERRCODE_BILLING_INVALID_AMOUNT       MAKE_SQLSTATE('P', 'B', '0', '1', '5')
#define ERRCODE_BILLING_NOT_FOUND            MAKE_SQLSTATE('P', 'B', '0', '1', '6')
#define ERRCODE_BILLING_LAST_ADMIN           MAKE_SQLSTATE('P', 'B', '0', '1', '7')
#define ERRCODE_BILLING_ACCOUNT_ELSEWHERE    MAKE_SQLSTATE('P', 'B', '0', '1', '8')
#define ERRCODE_BILLING_ROW_ALTERED          MAKE_SQLSTATE('P', 'B', '0', '1', '9')

#endif /* BILLING_ERRORS_H */
