/*
 * engine.h
 *	  Escrow of tokens in shared memory, with the ledger as its proof.
 *
 * An entry says how many tokens of an account's grants nobody has taken. It may
 * under-state, never over-state: granting is optimistic, denying is certain.
 * doc/engine.md tells the states and why each step stands where it does.
 */
#ifndef BILLING_ENGINE_H
#define BILLING_ENGINE_H

#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* Grants an entry keeps; requests that need more are served from the ledger. */
#define ENGINE_SLOTS 4

typedef enum EngineOutcome
{
	ENGINE_TAKEN,     /* the rows are to be written now: nothing may wait in between */
	ENGINE_READY,     /* there are enough, but none was taken */
	ENGINE_SHORT,     /* certain: there are too few, whatever becomes of others */
	ENGINE_UNCERTAIN, /* depends on transactions still in progress */
	ENGINE_SUSPENDED, /* the account is suspended */
	ENGINE_REBUILD,   /* inside the engine: look again after a build */
	ENGINE_LEDGER     /* to be decided from the ledger, under the exclusive lock */
} EngineOutcome;

typedef struct EngineRequest
{
	const pg_uuid_t *account;
	const char *app; /* NULL: grants of no app only */
	int64 tokens;
} EngineRequest;

typedef struct EnginePart
{
	pg_uuid_t grant;
	int64 tokens;
} EnginePart;

typedef struct EngineTake
{
	bool may_take;
	TimestampTz now;  /* the account's clock, read under its lock */
	int64 remaining;  /* for the same app: after the take, or what there is */
	bool any_in_time; /* SHORT: a grant for the app is in its time, but empty */
	bool emptied;     /* TAKEN: a grant lost its last token */
	bool ran_low;     /* TAKEN: little is left of one, and was not before */
	int parts;
	EnginePart part[ENGINE_SLOTS];
	int64 first_entry_no;
} EngineTake;

/* engine.c */
extern void engine_define_settings(void);
extern void engine_install_hooks(void);
extern bool engine_enabled(void);
extern void engine_count_checkpoint(void);
extern void engine_count_denial(void);
extern void engine_count_ledger(void);
extern void engine_retire_all(void);

/* engine_take.c */
extern EngineOutcome engine_take(const EngineRequest *request, Relation ledger, EngineTake *take);
extern EngineOutcome engine_peek(const EngineRequest *request, Relation ledger, EngineTake *take);
extern bool engine_number(const pg_uuid_t *account, Relation ledger, int rows, EngineTake *take);
extern bool engine_may_number(const pg_uuid_t *account);
extern void engine_land(void);
extern void engine_withdraw(const EngineTake *take);
extern void engine_return(const pg_uuid_t *account, const pg_uuid_t *grant, int64 tokens);
extern void engine_retire(const pg_uuid_t *account);
extern bool engine_may_serve(const pg_uuid_t *account);
extern void engine_note_addition(const pg_uuid_t *account);
extern void engine_note_hold(const pg_uuid_t *account, TimestampTz expires_at);

/* engine_build.c */
extern void engine_wait_for_another(const EngineRequest *request, TimestampTz now);
extern int64 engine_watermark(const pg_uuid_t *account);

#endif /* BILLING_ENGINE_H */
