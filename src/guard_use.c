/*
 * guard_use.c
 *	  Which triggers each trigger function is for.
 *
 * They read columns by their numbers, and rows that an event may not have: as a
 * trigger of somebody's, on another table or for another event, they would read
 * what is not there.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "guard.h"
#include "tables.h"

#define USE_BEFORE    (1 << 0)
#define USE_AFTER     (1 << 1)
#define USE_ROW       (1 << 2)
#define USE_STATEMENT (1 << 3)
#define USE_INSERT    (1 << 4)
#define USE_UPDATE    (1 << 5)
#define USE_DELETE    (1 << 6)
#define USE_TRUNCATE  (1 << 7)

#define ON(table)      (1 << TABLE_##table)
#define ON_ANY_OF_OURS 0

typedef struct GuardUse
{
	const char *function;
	int tables;
	int events;
} GuardUse;

static const GuardUse uses[] = {
	{"guard_balance", ON(LEDGER), USE_AFTER | USE_ROW | USE_INSERT},
	{"guard_checkpoint", ON(CHECKPOINT), USE_BEFORE | USE_AFTER | USE_ROW | USE_INSERT},
	{"guard_engine", ON(ACCOUNT) | ON(GRANT) | ON(LEDGER) | ON(CHECKPOINT) | ON(HOLD),
	 USE_BEFORE | USE_ROW | USE_INSERT | USE_UPDATE | USE_DELETE},
	{"guard_event", ON(EVENT), USE_BEFORE | USE_ROW | USE_INSERT},
	{"guard_grant", ON(GRANT), USE_BEFORE | USE_ROW | USE_UPDATE},
	{"guard_hold", ON(HOLD), USE_BEFORE | USE_ROW | USE_UPDATE},
	{"guard_hold_end", ON(HOLD) | ON(HOLD_END), USE_AFTER | USE_ROW | USE_INSERT | USE_UPDATE},
	{"guard_immutable", ON_ANY_OF_OURS,
	 USE_BEFORE | USE_ROW | USE_STATEMENT | USE_UPDATE | USE_DELETE | USE_TRUNCATE},
	{"guard_order", ON(ORDER), USE_BEFORE | USE_ROW | USE_UPDATE},
	{"guard_period", ON(PERIOD), USE_BEFORE | USE_ROW | USE_UPDATE},
	{"guard_restore", ON_ANY_OF_OURS, USE_BEFORE | USE_AFTER | USE_STATEMENT | USE_INSERT},
	{"guard_user", ON(USER), USE_AFTER | USE_ROW | USE_INSERT | USE_UPDATE | USE_DELETE},
	{"note_due", ON(SUBSCRIPTION) | ON(ORDER) | ON(HOLD) | ON(ACCOUNT),
	 USE_BEFORE | USE_ROW | USE_INSERT | USE_UPDATE},
	{"note_grant_end", ON(GRANT), USE_AFTER | USE_ROW | USE_INSERT | USE_UPDATE},
	{"prepare_user", ON(USER), USE_BEFORE | USE_ROW | USE_INSERT | USE_UPDATE | USE_DELETE},
};

static const GuardUse *
use_of(const char *function)
{
	for (int i = 0; i < (int) lengthof(uses); i++)
		if (strcmp(uses[i].function, function) == 0)
			return &uses[i];
	elog(ERROR, "nothing is known of what billing.%s() is for", function);
}

static int
use_by(TriggerEvent event)
{
	int timing = TRIGGER_FIRED_BEFORE(event)  ? USE_BEFORE
				 : TRIGGER_FIRED_AFTER(event) ? USE_AFTER
											  : 0;
	int level = TRIGGER_FIRED_FOR_ROW(event) ? USE_ROW : USE_STATEMENT;
	int by = TRIGGER_FIRED_BY_INSERT(event)   ? USE_INSERT
			 : TRIGGER_FIRED_BY_UPDATE(event) ? USE_UPDATE
			 : TRIGGER_FIRED_BY_DELETE(event) ? USE_DELETE
											  : USE_TRUNCATE;

	/* INSTEAD OF is none */
	return timing == 0 ? -1 : timing | level | by;
}

static bool
is_for_table(const GuardUse *use, Relation table)
{
	if (use->tables == ON_ANY_OF_OURS)
		return RelationGetNamespace(table) == tables_schema();
	for (int i = 0; i < TABLE_COUNT; i++)
		if ((use->tables & (1 << i)) && RelationGetRelid(table) == tables_oid(i))
			return true;
	return false;
}

/* 39P01: not called as a trigger, or as one that the function is not for. */
TriggerData *
guard_trigger_data(FunctionCallInfo fcinfo, const char *function)
{
	const GuardUse *use = use_of(function);
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	int by;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("billing.%s() must be called as a trigger", function)));
	by = use_by(trigger->tg_event);
	if ((use->events & by) != by || !is_for_table(use, trigger->tg_relation))
		ereport(
			ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("billing.%s() is for triggers of the extension only", function),
			 errdetail("Trigger \"%s\" on table %s is none of them.", trigger->tg_trigger->tgname,
					   quote_qualified_identifier(
						   get_namespace_name(RelationGetNamespace(trigger->tg_relation)),
						   RelationGetRelationName(trigger->tg_relation))),
			 errhint("Drop the trigger.")));
	return trigger;
}
