/*
 * grant_end.c
 *	  When the grants end that keep a token plan in force.
 *
 * A token plan is lost when the last of its grants with tokens ends, which may
 * be before the subscription does. So that this is found by its time, the
 * subscription has the time of the next of these ends that nobody has looked at.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"

#include "call.h"
#include "grant_end.h"
#include "guard.h"
#include "query.h"
#include "tables.h"

PG_FUNCTION_INFO_V1(billing_note_grant_end);

static SqlQuery note_end = {
	.sql = "UPDATE billing.subscription SET grant_ends_at = $3 WHERE account_id = $1 "
		   "AND subscription_id = $2 AND kind = 'token' "
		   "AND (grant_ends_at IS NULL OR grant_ends_at > $3)",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID}};

static SqlQuery pass_end = {
	.sql = "UPDATE billing.subscription SET grant_ends_at = (SELECT min(g.expires_at) "
		   "FROM billing.token_grant g WHERE g.account_id = $1 AND g.subscription_id = $2 "
		   "AND g.voided_at IS NULL AND g.expires_at > $3 AND g.expires_at < 'infinity') "
		   "WHERE account_id = $1 AND subscription_id = $2",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, TIMESTAMPTZOID}};

/* The ends through that time have been looked at. */
void
grant_end_passed(const pg_uuid_t *account, const pg_uuid_t *subscription, TimestampTz through)
{
	query_execute(&pass_end,
				  (NullableDatum[]){arg_uuid(account), arg_uuid(subscription), arg_time(through)});
}

static NullableDatum
column_of(HeapTuple row, AttrNumber column, TupleDesc desc)
{
	NullableDatum value;

	value.value = heap_getattr(row, column, desc, &value.isnull);
	return value;
}

/*
 * billing.note_grant_end(): trigger
 *
 * AFTER INSERT or UPDATE of a grant that has a subscription and an end: the
 * subscription's grant_ends_at is not later than that.
 */
Datum
billing_note_grant_end(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guard_trigger_data(fcinfo, "note_grant_end");
	HeapTuple row =
		TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	Call call;

	call_enter(&call);
	query_execute(&note_end, (NullableDatum[]){column_of(row, GRANT_ACCOUNT_ID, desc),
											   column_of(row, GRANT_SUBSCRIPTION_ID, desc),
											   column_of(row, GRANT_EXPIRES_AT, desc)});
	call_leave(&call);
	return PointerGetDatum(NULL);
}
