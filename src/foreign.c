/*
 * foreign.c
 *	  What of our tables is somebody else's: triggers and constraints.
 *
 * A trigger is ours if its function belongs to the extension, wherever it is;
 * constraints belong to no extension and are known by their names. What is
 * neither is treated as somebody's, which costs time and nothing else.
 */
#include "postgres.h"

#include "catalog/dependency.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "foreign.h"

/* Of the tables that the token path and batches write to. */
static const char *const our_constraints[] = {"ledger_account_id_grant_id_fkey",
											  "ledger_entry_no_check",
											  "ledger_kind_check",
											  "hold_account_id_fkey",
											  "hold_tokens_check",
											  "hold_time_check",
											  "checkpoint_account_id_grant_id_fkey",
											  "checkpoint_consumed_check",
											  "checkpoint_entries_check",
											  "event_account_id_fkey",
											  "subscription_time_check",
											  "subscription_kind_check"};

static bool
is_our_constraint(const char *name)
{
	for (int i = 0; name != NULL && i < (int) lengthof(our_constraints); i++)
		if (strcmp(our_constraints[i], name) == 0)
			return true;
	return false;
}

/* A function, or the constraint behind an internal trigger. */
typedef struct Known
{
	Oid catalog;
	Oid object;
	bool ours;
} Known;

#define KNOWN_MAX 64
static Known known[KNOWN_MAX];
static int known_count = 0;

static void
forget(Datum arg pg_attribute_unused(), int cacheid pg_attribute_unused(),
	   uint32 hashvalue pg_attribute_unused())
{
	known_count = 0;
}

static void
watch_catalog(void)
{
	static bool watching = false;

	if (watching)
		return;
	CacheRegisterSyscacheCallback(PROCOID, forget, (Datum) 0);
	CacheRegisterSyscacheCallback(CONSTROID, forget, (Datum) 0);
	watching = true;
}

static bool
look_up(Oid catalog, Oid object)
{
	if (catalog == ConstraintRelationId)
		return is_our_constraint(get_constraint_name(object));
	return getExtensionOfObject(catalog, object) == get_extension_oid("billing", true);
}

static bool
is_ours(Oid catalog, Oid object)
{
	bool ours;

	for (int i = 0; i < known_count; i++)
		if (known[i].object == object && known[i].catalog == catalog)
			return known[i].ours;
	watch_catalog();
	ours = look_up(catalog, object);
	if (known_count == KNOWN_MAX)
		known_count = 0;
	known[known_count++] = (Known){.catalog = catalog, .object = object, .ours = ours};
	return ours;
}

/*
 * Triggers of constraints too: of somebody's foreign key, or deferred unique one.
 * What they are is noted first: a look into the catalog may replace the relation's
 * list of triggers.
 */
bool
foreign_has_trigger(Relation table, bool (*concerns)(const Trigger *))
{
	TriggerDesc *triggers = table->trigdesc;
	Known *objects;
	int count = 0;
	bool found = false;

	if (triggers == NULL)
		return false;
	objects = palloc(triggers->numtriggers * sizeof(Known));
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (trigger->tgenabled == TRIGGER_DISABLED || !concerns(trigger))
			continue;
		objects[count].catalog = trigger->tgisinternal ? ConstraintRelationId : ProcedureRelationId;
		objects[count++].object = trigger->tgisinternal ? trigger->tgconstraint : trigger->tgfoid;
	}
	for (int i = 0; i < count && !found; i++)
		found = !is_ours(objects[i].catalog, objects[i].object);
	pfree(objects);
	return found;
}

bool
foreign_has_check(Relation table)
{
	const TupleConstr *constraints = RelationGetDescr(table)->constr;

	for (int i = 0; constraints != NULL && i < constraints->num_check; i++)
		if (!is_our_constraint(constraints->check[i].ccname))
			return true;
	return false;
}
