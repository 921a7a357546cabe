/*
 * call.h
 *	  The frame around every function that writes: it acts as the owner of the
 *	  extension's tables, with a search path that nobody else can write to.
 */
#ifndef BILLING_CALL_H
#define BILLING_CALL_H

#include "utils/palloc.h"
#include "utils/uuid.h"

/* One call under way. */
typedef struct CallFrame
{
	MemoryContext memory;
	int nest_level;         /* of the transaction */
	const pg_uuid_t *actor; /* the account user on whose behalf it is; NULL: none was named */
	bool silent;            /* what it changes is no event */
	int trigger_depth;      /* at which its statement under way was begun; -1: none is */
	struct CallFrame *outer;
} CallFrame;

typedef struct Call
{
	Oid user;
	int security_context;
	int guc_level;
	CallFrame *frame;
} Call;

extern void call_enter(Call *call);
extern void call_leave(Call *call);
extern MemoryContext call_memory(void);
extern int call_begin_statement(void);
extern void call_end_statement(int outer);
extern CallFrame *call_begin_firing(void);
extern void call_end_firing(CallFrame *frame);
extern bool call_is_own_statement(void);
extern bool call_is_administrator(const Call *call);
extern bool call_is_restore(void);
extern void call_init(void);

#endif /* BILLING_CALL_H */
