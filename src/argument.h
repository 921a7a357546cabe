/*
 * argument.h
 *	  Arguments of SQL functions, checked: NULL where a value is required is
 *	  22004, out of range 22023, too long 22001.
 */
#ifndef BILLING_ARGUMENT_H
#define BILLING_ARGUMENT_H

#include "fmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define CODE_MAX_LENGTH 63   /* bytes of the codes of apps, plans, roles */
#define KEY_MAX_LENGTH  255  /* bytes of idempotency keys, actions, provider references */
#define NAME_MAX_LENGTH 255  /* characters of names and references */
#define TEXT_MAX_LENGTH 2000 /* characters of reasons */

extern void argument_require(FunctionCallInfo fcinfo, int n, const char *name);
extern const pg_uuid_t *argument_uuid(FunctionCallInfo fcinfo, int n, const char *name);
extern const pg_uuid_t *argument_uuid_or_null(FunctionCallInfo fcinfo, int n);
extern char *argument_text(FunctionCallInfo fcinfo, int n, const char *name, int max_chars);
extern char *argument_text_or_null(FunctionCallInfo fcinfo, int n, const char *name, int max_chars);
extern char *argument_key_or_null(FunctionCallInfo fcinfo, int n, const char *name);
extern char *argument_code(FunctionCallInfo fcinfo, int n, const char *name);
extern char *argument_code_or_null(FunctionCallInfo fcinfo, int n, const char *name);
extern int64 argument_tokens(FunctionCallInfo fcinfo, int n);
extern TimestampTz argument_time(FunctionCallInfo fcinfo, int n, const char *name);

extern void argument_check_code(const char *value, const char *name);
extern void argument_check_key(const char *value, const char *name);
extern void argument_check_tokens(int64 tokens);
extern bool code_is_valid(const char *code);

#endif /* BILLING_ARGUMENT_H */
