/*
 * actor.h
 *	  Who may change an account's users: its admins, and administrators of billing.
 */
#ifndef BILLING_ACTOR_H
#define BILLING_ACTOR_H

#include "call.h"
#include "holding.h"

extern void
actor_require(const Call *call, Holdings *holdings, const pg_uuid_t *actor, const char *argument);
extern void actor_require_manager(Holdings *holdings, const pg_uuid_t *actor);
extern void actor_require_first_admin(const Account *account, const char *role, bool is_first);

#endif /* BILLING_ACTOR_H */
