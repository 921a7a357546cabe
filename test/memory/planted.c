/*
 * planted.c
 *	  Errors of the kinds that a run under sanitizers, or under Valgrind, is to
 *	  report.
 *
 * What they depend on comes from the caller, so that no compiler foresees them.
 */
#include "postgres.h"

#include "fmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(planted_beyond_global);
PG_FUNCTION_INFO_V1(planted_beyond_stack);
PG_FUNCTION_INFO_V1(planted_after_free);
PG_FUNCTION_INFO_V1(planted_overflow);
PG_FUNCTION_INFO_V1(planted_shift);
PG_FUNCTION_INFO_V1(planted_unset);

extern Datum planted_beyond_global(PG_FUNCTION_ARGS);
extern Datum planted_beyond_stack(PG_FUNCTION_ARGS);
extern Datum planted_after_free(PG_FUNCTION_ARGS);
extern Datum planted_overflow(PG_FUNCTION_ARGS);
extern Datum planted_shift(PG_FUNCTION_ARGS);
extern Datum planted_unset(PG_FUNCTION_ARGS);

static volatile int global[4];

Datum
planted_beyond_global(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(global[PG_GETARG_INT32(0)]);
}

Datum
planted_beyond_stack(PG_FUNCTION_ARGS)
{
	volatile char local[4] = "abc";
	volatile char *end = local;

	PG_RETURN_INT32(end[PG_GETARG_INT32(0)]);
}

Datum
planted_after_free(PG_FUNCTION_ARGS)
{
	volatile char *memory = malloc(16);

	memory[PG_GETARG_INT32(0)] = 'x';
	free((void *) memory);
	PG_RETURN_INT32(memory[PG_GETARG_INT32(0)]);
}

Datum
planted_overflow(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(PG_GETARG_INT32(0) + PG_INT32_MAX);
}

Datum
planted_shift(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(1 << (PG_GETARG_INT32(0) + 28));
}

Datum
planted_unset(PG_FUNCTION_ARGS)
{
	volatile char *memory = malloc(16);

	/* a call, not a value: that would be reported where it is used */
	if (memory[PG_GETARG_INT32(0)] == 'x')
		elog(DEBUG1, "x");
	free((void *) memory);
	PG_RETURN_INT32(0);
}
