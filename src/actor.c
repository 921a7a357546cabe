/*
 * actor.c
 *	  Who may change an account's users.
 */
#include "postgres.h"

#include "access.h"
#include "actor.h"
#include "errors.h"
#include "identifier.h"

/* PB006 unless the user is one of the account, has access and may manage users now. */
void
actor_require_manager(Holdings *holdings, const pg_uuid_t *actor)
{
	Access access;

	access_decide(&access, holdings, PERMISSION_MANAGE_USERS, actor);
	if (!access.allowed)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_PERMISSION_DENIED),
				 errmsg("user may not manage the users of the account"),
				 errdetail("User %s: %s.", identifier_text(actor), reason_error(access.reason)),
				 errhint("An admin of the same account who has access can.")));
}

/* Acting for nobody in particular is for administrators. argument: what would name the actor. */
void
actor_require(const Call *call, Holdings *holdings, const pg_uuid_t *actor, const char *argument)
{
	if (actor != NULL)
		actor_require_manager(holdings, actor);
	else if (!call_is_administrator(call))
		ereport(ERROR, (errcode(ERRCODE_BILLING_PERMISSION_DENIED),
						errmsg("%s must name a user who may manage the account's users", argument),
						errdetail("Only administrators of billing may leave it out."),
						errhint("Pass the user_id of an admin of the account.")));
}

/* Who is no administrator begins an account with its first admin, and only so. */
void
actor_require_first_admin(const Account *account, const char *role, bool is_first)
{
	if (!is_first)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_PERMISSION_DENIED),
				 errmsg("added_by must name a user who may manage the account's users"),
				 errdetail("Account %s has had its first user; only administrators of billing may "
						   "leave added_by out.",
						   identifier_text(&account->id)),
				 errhint("Pass the user_id of an admin of the account.")));
	if (strcmp(role, "admin") != 0)
		ereport(ERROR, (errcode(ERRCODE_BILLING_PERMISSION_DENIED),
						errmsg("the first user of an account must have the role admin"),
						errdetail("The role asked for is \"%s\".", role),
						errhint("Add the admin first.")));
}
