/*
 * conceal.c
 *	  Keeping statements that contain a password out of the server log.
 */
#include "postgres.h"

#include "conceal.h"

/* The context is hidden as well: it quotes the statements of the PL function that called. */
static void
hide(void *arg pg_attribute_unused())
{
	errhidestmt(true);
	errhidecontext(true);
}

/* After an error the server itself takes the frame off the stack. */
void
conceal_begin(ErrorContextCallback *frame)
{
	frame->callback = hide;
	frame->arg = NULL;
	frame->previous = error_context_stack;
	error_context_stack = frame;
}

void
conceal_end(ErrorContextCallback *frame)
{
	error_context_stack = frame->previous;
}
