/*
 * exhaustion.c
 *	  Writing down that a token plan has lost its last token.
 */
#include "postgres.h"

#include "call.h"
#include "event.h"
#include "exhaustion.h"
#include "expiry.h"

/*
 * holdings are those after the tokens were taken. Nothing happens if the
 * subscription is none of a token plan in its time, or still has tokens.
 */
void
exhaustion_note(Holdings *holdings, const pg_uuid_t *subscription)
{
	Call call;
	EventDetail detail;
	const Holding *lost = NULL;

	for (int i = 0; i < holdings->count; i++)
		if (memcmp(holdings->items[i].subscription_id.data, subscription->data, UUID_LEN) == 0)
			lost = &holdings->items[i];
	if (lost == NULL || lost->in_force)
		return;
	call_enter(&call);
	event_detail_begin(&detail);
	event_detail_uuid(&detail, "subscription_id", subscription);
	event_detail_text(&detail, "plan", lost->plan);
	event_write(&holdings->account->id, "tokens_exhausted", holdings->now, &detail);
	if (!holding_any_in_force(holdings, NULL, NULL))
		expiry_free_plan_assigned(holdings->account, holdings->now, "tokens_exhausted");
	call_leave(&call);
}
