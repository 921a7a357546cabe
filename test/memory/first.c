/*
 * first.c
 *	  Preloaded with AddressSanitizer's run-time library, has that initialised
 *	  before anything else is (-z initfirst).
 *
 * Otherwise the first to allocate is libgpg-error's constructor, within
 * bindtextdomain(): initialising, the run-time library asks dlerror() for a
 * message, whose translation takes and releases the lock that bindtextdomain()
 * holds, and the server's own bindtextdomain() waits for ever.
 */
#include <stdlib.h>

void *volatile billing_first;

__attribute__((constructor)) static void
allocate(void)
{
	billing_first = malloc(1);
	free(billing_first);
}
