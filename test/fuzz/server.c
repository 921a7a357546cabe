/*
 * server.c
 *	  What the harnesses that need a little of the server have in its place.
 *
 * Each palloc is a malloc of exactly that size, so that AddressSanitizer sees a
 * byte too far, which in the server it cannot. What is not here is left
 * unresolved: calling it ends the harness.
 */
#include "postgres.h"

#include <stdlib.h>

#include "common/unicode_norm.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "compat.h"
#include "server.h"

#define MOST_ALLOCATIONS 1024

sigjmp_buf *PG_exception_stack = NULL;
ErrorContextCallback *error_context_stack = NULL;

static void *allocated[MOST_ALLOCATIONS];
static int allocations = 0;
static int raised_code;

void
require(bool held)
{
	if (!held)
		abort();
}

static void *
keep(void *memory)
{
	require(memory != NULL && allocations < MOST_ALLOCATIONS);
	allocated[allocations++] = memory;
	return memory;
}

/* To be called at the end of a case. */
void
free_all(void)
{
	while (allocations > 0)
		free(allocated[--allocations]);
}

void *
palloc(Size size)
{
	return keep(malloc(size));
}

void *
repalloc(void *pointer, Size size)
{
	for (int i = 0; i < allocations; i++)
	{
		if (allocated[i] == pointer)
			return allocated[i] = realloc(pointer, size);
	}
	abort();
}

char *
pnstrdup(const char *string, Size length)
{
	return keep(strndup(string, length));
}

char *
pstrdup(const char *string)
{
	return keep(strdup(string));
}

char *
text_to_cstring(const text *string)
{
	return pnstrdup(VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
}

text *
exact_text(const char *string, size_t length)
{
	text *result = palloc(VARHDRSZ + length);

	SET_VARSIZE(result, VARHDRSZ + length);
	memcpy(VARDATA(result), string, length);
	return result;
}

/* Text has no zero bytes: up to the first. */
char *
exact_string(const uint8_t *data, size_t size)
{
	return pnstrdup(size > 0 ? (const char *) data : "", size);
}

/* libpgcommon's is a client's: what it returns is from malloc. */
extern pg_wchar *__real_unicode_normalize(UnicodeNormalizationForm form, const pg_wchar *input);
extern pg_wchar *__wrap_unicode_normalize(UnicodeNormalizationForm form, const pg_wchar *input);

pg_wchar *
__wrap_unicode_normalize(UnicodeNormalizationForm form, const pg_wchar *input)
{
	return keep(__real_unicode_normalize(form, input));
}

int
GetDatabaseEncoding(void)
{
	return PG_UTF8;
}

bool
pg_verify_mbstr(int encoding, const char *string, int length, bool no_error)
{
	require(no_error);
	return pg_encoding_verifymbstr(encoding, string, length) == length;
}

bool
errstart(int elevel, const char *domain pg_attribute_unused())
{
	raised_code = 0;
	return elevel >= ERROR;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

int
errcode(int sqlstate)
{
	raised_code = sqlstate;
	return 0;
}

/* Formatted, so that AddressSanitizer sees what a format reads. */
static void
format(const char *text, va_list arguments)
{
	char formatted[1024];

	require(vsnprintf(formatted, sizeof(formatted), text, arguments) > 0);
}

#define FORMATTED(name)                                                                            \
	int name(const char *text, ...)                                                                \
	{                                                                                              \
		va_list arguments;                                                                         \
                                                                                                   \
		va_start(arguments, text);                                                                 \
		format(text, arguments);                                                                   \
		va_end(arguments);                                                                         \
		return 0;                                                                                  \
	}

FORMATTED(errmsg)
FORMATTED(errdetail)
FORMATTED(errhint)

void
errfinish(const char *file pg_attribute_unused(), int line pg_attribute_unused(),
		  const char *function pg_attribute_unused())
{
	require(raised_code != 0 && PG_exception_stack != NULL);
	siglongjmp(*PG_exception_stack, 1);
}

/* Whether the call raises an error. */
bool
raises(void (*call)(void *), void *argument)
{
	volatile bool raised = false;

	PG_TRY();
	{
		call(argument);
	}
	PG_CATCH();
	{
		raised = true;
	}
	PG_END_TRY();
	return raised;
}
