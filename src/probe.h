/*
 * probe.h
 *	  Reading rows through an index with a snapshot of the caller's choice.
 *
 * The hot paths and everything that decides after waiting for a lock read
 * through these rather than SPI: no plan, no ACL, and the snapshot is explicit.
 */
#ifndef BILLING_PROBE_H
#define BILLING_PROBE_H

#include "access/genam.h"
#include "access/sdir.h"
#include "access/skey.h"
#include "executor/tuptable.h"
#include "utils/snapshot.h"
#include "utils/uuid.h"

#include "tables.h"

typedef struct Probe
{
	Relation table;
	Relation index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	ScanDirection direction;
} Probe;

extern void probe_begin(Probe *probe, IndexId index, Snapshot snapshot, ScanKey keys, int nkeys);
extern bool probe_next(Probe *probe);
extern bool probe_is_own(Probe *probe);
extern void probe_require_visible(Probe *probe, const char *detail);
extern void probe_end(Probe *probe);

extern void probe_key_uuid(ScanKey key, AttrNumber column, const pg_uuid_t *value);
extern void probe_key_text(ScanKey key, AttrNumber column, Datum value);
extern void probe_key_int32(ScanKey key, AttrNumber column, int32 value);
extern void probe_key_int64(ScanKey key, AttrNumber column, StrategyNumber strategy, int64 value);
extern void
probe_key_time(ScanKey key, AttrNumber column, StrategyNumber strategy, TimestampTz value);

extern bool probe_is_null(Probe *probe, int column);
extern Datum probe_datum(Probe *probe, int column);
extern int64 probe_int64(Probe *probe, int column);
extern bool probe_bool(Probe *probe, int column);
extern pg_uuid_t probe_uuid(Probe *probe, int column);
extern TimestampTz probe_time(Probe *probe, int column);
extern char *probe_text(Probe *probe, int column);

#endif /* BILLING_PROBE_H */
