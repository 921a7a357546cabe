/*
 * memory.c
 *	  Runs a backend out of memory: the n-th request for memory of a transaction
 *	  is refused. SET memory.fail_at = n begins to count; 0 afterwards says that
 *	  it was refused.
 *
 * To be preloaded before what is tested, whose callbacks at the end of a
 * transaction are then called before ours, which stops counting. Not counted
 * is what the server would stop for, within a critical section.
 */
#include "postgres.h"

#include <limits.h>
#include <sys/mman.h>
#include <unistd.h>

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/memnodes.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#if PG_VERSION_NUM >= 170000
#include "utils/memutils_internal.h"
#endif

PG_MODULE_MAGIC;

void _PG_init(void);

static int fail_at = 0;
static bool counting = false;
static MemoryContextMethods original;

static bool
refused(void)
{
	if (!counting || CritSectionCount > 0 || --fail_at > 0)
		return false;
	counting = false;
	return true;
}

#if PG_VERSION_NUM >= 170000
static void *
allocate(MemoryContext context, Size size, int flags)
{
	return refused() ? MemoryContextAllocationFailure(context, size, flags)
					 : original.alloc(context, size, flags);
}

static void *
reallocate(void *pointer, Size size, int flags)
{
	return refused() ? MemoryContextAllocationFailure(GetMemoryChunkContext(pointer), size, flags)
					 : original.realloc(pointer, size, flags);
}
#elif PG_VERSION_NUM >= 160000
#error "what a context answers in this version is not known"
#else
static void *
allocate(MemoryContext context, Size size)
{
	return refused() ? NULL : original.alloc(context, size);
}

static void *
reallocate(MemoryContext context, void *pointer, Size size)
{
	return refused() ? NULL : original.realloc(context, pointer, size);
}
#endif

static void
begin_to_count(int newval, void *extra pg_attribute_unused())
{
	counting = newval > 0;
}

static void
transaction_ended(XactEvent event, void *arg pg_attribute_unused())
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		counting = false;
}

/* What every context of the common kind is asked by, which is not meant to be changed. */
static void
take_over(MemoryContextMethods *methods)
{
	Size page = (Size) sysconf(_SC_PAGESIZE);
	char *begin = (char *) TYPEALIGN_DOWN(page, methods);
	char *end = (char *) TYPEALIGN(page, methods + 1);

	original = *methods;
	if (mprotect(begin, end - begin, PROT_READ | PROT_WRITE) != 0)
		elog(ERROR, "mprotect: %m");
	methods->alloc = allocate;
	methods->realloc = reallocate;
}

void
_PG_init(void)
{
	DefineCustomIntVariable("memory.fail_at", "Request", NULL, &fail_at, 0, 0, INT_MAX, PGC_USERSET,
							0, NULL, begin_to_count, NULL);
	RegisterXactCallback(transaction_ended, NULL);
	take_over(
		(MemoryContextMethods *) unconstify(MemoryContextMethods *, TopMemoryContext->methods));
}
