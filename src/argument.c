/*
 * argument.c
 *	  Arguments of SQL functions, checked.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "argument.h"

void
argument_require(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", name),
				 errhint("Pass a value for %s.", name)));
}

const pg_uuid_t *
argument_uuid(FunctionCallInfo fcinfo, int n, const char *name)
{
	argument_require(fcinfo, n, name);
	return PG_GETARG_UUID_P(n);
}

const pg_uuid_t *
argument_uuid_or_null(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : PG_GETARG_UUID_P(n);
}

static void
check_length(const char *name, int length, int max, const char *unit)
{
	if (length == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must not be empty", name),
				 errhint("Pass a value for %s, or NULL where it may be left out.", name)));
	if (length > max)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION), errmsg("%s is too long", name),
				 errdetail("It has %d %s; at most %d are allowed.", length, unit, max),
				 errhint("Pass a shorter value for %s.", name)));
}

/* Required text of 1 to max_chars characters. */
char *
argument_text(FunctionCallInfo fcinfo, int n, const char *name, int max_chars)
{
	argument_require(fcinfo, n, name);
	return argument_text_or_null(fcinfo, n, name, max_chars);
}

char *
argument_text_or_null(FunctionCallInfo fcinfo, int n, const char *name, int max_chars)
{
	char *value;

	if (PG_ARGISNULL(n))
		return NULL;
	value = text_to_cstring(PG_GETARG_TEXT_PP(n));
	check_length(name, pg_mbstrlen(value), max_chars, "characters");
	return value;
}

/* Keys go into indexes, so their bound is in bytes. */
void
argument_check_key(const char *value, const char *name)
{
	check_length(name, strlen(value), KEY_MAX_LENGTH, "bytes");
}

char *
argument_key_or_null(FunctionCallInfo fcinfo, int n, const char *name)
{
	char *value;

	if (PG_ARGISNULL(n))
		return NULL;
	value = text_to_cstring(PG_GETARG_TEXT_PP(n));
	argument_check_key(value, name);
	return value;
}

bool
code_is_valid(const char *code)
{
	int length = 1;

	if (code[0] < 'a' || code[0] > 'z')
		return false;
	for (const char *c = code + 1; *c; c++, length++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_' || *c == '-'))
			return false;
	return length <= CODE_MAX_LENGTH;
}

/* Required code of an app, plan or role; whether it exists is another question. */
char *
argument_code(FunctionCallInfo fcinfo, int n, const char *name)
{
	argument_require(fcinfo, n, name);
	return argument_code_or_null(fcinfo, n, name);
}

char *
argument_code_or_null(FunctionCallInfo fcinfo, int n, const char *name)
{
	char *value;

	if (PG_ARGISNULL(n))
		return NULL;
	value = text_to_cstring(PG_GETARG_TEXT_PP(n));
	argument_check_code(value, name);
	return value;
}

void
argument_check_code(const char *value, const char *name)
{
	check_length(name, strlen(value), CODE_MAX_LENGTH, "bytes");
	if (!code_is_valid(value))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s \"%s\" is not a valid code", name, value),
			 errdetail("A code begins with a lower-case letter, followed by lower-case letters, "
					   "digits, \"_\" and \"-\"; at most %d in all.",
					   CODE_MAX_LENGTH),
			 errhint("Codes are not folded: write it in lower case.")));
}

void
argument_check_tokens(int64 tokens)
{
	if (tokens <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("tokens must be positive"),
						errdetail("It is " INT64_FORMAT ".", tokens),
						errhint("Pass the number of tokens, 1 or more.")));
}

int64
argument_tokens(FunctionCallInfo fcinfo, int n)
{
	argument_require(fcinfo, n, "tokens");
	argument_check_tokens(PG_GETARG_INT64(n));
	return PG_GETARG_INT64(n);
}

/* Infinity never stands for "no end": NULL does. */
TimestampTz
argument_time(FunctionCallInfo fcinfo, int n, const char *name)
{
	TimestampTz value;

	argument_require(fcinfo, n, name);
	value = PG_GETARG_TIMESTAMPTZ(n);
	if (TIMESTAMP_NOT_FINITE(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must be finite", name),
				 errdetail("It is %s.", TIMESTAMP_IS_NOBEGIN(value) ? "-infinity" : "infinity"),
				 errhint("Pass a point in time, or NULL where it may be left out.")));
	return value;
}
