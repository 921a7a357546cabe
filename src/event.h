/*
 * event.h
 *	  Writing down what happened, in the transaction that did it.
 */
#ifndef BILLING_EVENT_H
#define BILLING_EVENT_H

#include "lib/stringinfo.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "amount.h"
#include "writer.h"

/* The figures of an event, built field by field; names are literals of ours. */
typedef struct EventDetail
{
	StringInfoData json;
} EventDetail;

extern void event_detail_begin(EventDetail *detail);
extern void event_detail_text(EventDetail *detail, const char *name, const char *value);
extern void event_detail_uuid(EventDetail *detail, const char *name, const pg_uuid_t *value);
extern void event_detail_int64(EventDetail *detail, const char *name, int64 value);
extern void event_detail_bool(EventDetail *detail, const char *name, bool value);
extern void event_detail_amount(EventDetail *detail, const char *name, const Amount *value);
extern void event_detail_time(EventDetail *detail, const char *name, TimestampTz value);

extern void event_write(const pg_uuid_t *account, const char *kind, TimestampTz occurred_at,
						EventDetail *detail);
extern void event_insert(Writer *writer, const pg_uuid_t *account, const char *kind,
						 TimestampTz occurred_at, EventDetail *detail);

#endif /* BILLING_EVENT_H */
