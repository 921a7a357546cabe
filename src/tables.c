/*
 * tables.c
 *	  OIDs of billing's tables and indexes, cached until the catalog says that
 *	  one of them changed.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "tables.h"

typedef struct TableInfo
{
	const char *name;
	int columns; /* that this library knows; later versions may append more */
	const char *last_column;
} TableInfo;

typedef struct IndexInfoEntry
{
	const char *name;
	TableId table;
} IndexInfoEntry;

static const TableInfo table_info[TABLE_COUNT] = {
	[TABLE_ACCOUNT] = {"account", ACCOUNT_IS_TEST, "is_test"},
	[TABLE_APP] = {"app", APP_CREATED_AT, "created_at"},
	[TABLE_PLAN] = {"plan", PLAN_RETIRED_AT, "retired_at"},
	[TABLE_PLAN_VERSION] = {"plan_version", PLAN_VERSION_CREATED_AT, "created_at"},
	[TABLE_ROLE] = {"role", ROLE_CREATED_AT, "created_at"},
	[TABLE_SUBSCRIPTION] = {"subscription", SUBSCRIPTION_EXHAUSTED_ENTRY_NO, "exhausted_entry_no"},
	[TABLE_PERIOD] = {"subscription_period", PERIOD_CREATED_AT, "created_at"},
	[TABLE_ORDER] = {"plan_order", ORDER_CLOSED_AT, "closed_at"},
	[TABLE_GRANT] = {"token_grant", GRANT_VOIDED_AT, "voided_at"},
	[TABLE_LEDGER] = {"ledger", LEDGER_REFUND_OF, "refund_of"},
	[TABLE_CHECKPOINT] = {"checkpoint", CHECKPOINT_CREATED_AT, "created_at"},
	[TABLE_HOLD] = {"hold", HOLD_ENDED, "ended"},
	[TABLE_HOLD_END] = {"hold_end", HOLD_END_ENDED_AT, "ended_at"},
	[TABLE_USER] = {"account_user", USER_REMOVED_AT, "removed_at"},
	[TABLE_EVENT] = {"event", EVENT_XID, "xid"},
};

static const IndexInfoEntry index_info[INDEX_COUNT] = {
	[INDEX_ACCOUNT_PKEY] = {"account_pkey", TABLE_ACCOUNT},
	[INDEX_APP_PKEY] = {"app_pkey", TABLE_APP},
	[INDEX_PLAN_FREE] = {"plan_free_key", TABLE_PLAN},
	[INDEX_PLAN_PKEY] = {"plan_pkey", TABLE_PLAN},
	[INDEX_PLAN_VERSION_PKEY] = {"plan_version_pkey", TABLE_PLAN_VERSION},
	[INDEX_ROLE_PKEY] = {"role_pkey", TABLE_ROLE},
	[INDEX_SUBSCRIPTION_PKEY] = {"subscription_pkey", TABLE_SUBSCRIPTION},
	[INDEX_PERIOD_TIME] = {"subscription_period_time_idx", TABLE_PERIOD},
	[INDEX_ORDER_PKEY] = {"plan_order_pkey", TABLE_ORDER},
	[INDEX_GRANT_PKEY] = {"token_grant_pkey", TABLE_GRANT},
	[INDEX_GRANT_TIME] = {"token_grant_time_idx", TABLE_GRANT},
	[INDEX_GRANT_ID] = {"token_grant_grant_id_key", TABLE_GRANT},
	[INDEX_GRANT_KEY] = {"token_grant_idempotency_key", TABLE_GRANT},
	[INDEX_LEDGER_PKEY] = {"ledger_pkey", TABLE_LEDGER},
	[INDEX_LEDGER_KEY] = {"ledger_idempotency_key", TABLE_LEDGER},
	[INDEX_LEDGER_HOLD] = {"ledger_hold_idx", TABLE_LEDGER},
	[INDEX_LEDGER_REFUND] = {"ledger_refund_key", TABLE_LEDGER},
	[INDEX_LEDGER_VOID] = {"ledger_void_idx", TABLE_LEDGER},
	[INDEX_CHECKPOINT_PKEY] = {"checkpoint_pkey", TABLE_CHECKPOINT},
	[INDEX_CHECKPOINT_THROUGH] = {"checkpoint_through_idx", TABLE_CHECKPOINT},
	[INDEX_HOLD_ID] = {"hold_hold_id_key", TABLE_HOLD},
	[INDEX_HOLD_OPEN] = {"hold_open_idx", TABLE_HOLD},
	[INDEX_HOLD_END_PKEY] = {"hold_end_pkey", TABLE_HOLD_END},
	[INDEX_USER_PKEY] = {"account_user_pkey", TABLE_USER},
	[INDEX_USER_ID] = {"account_user_user_id_key", TABLE_USER},
	[INDEX_USER_EMAIL] = {"account_user_email_key", TABLE_USER},
};

static Oid schema_oid = InvalidOid;
static Oid owner_oid = InvalidOid;
static Oid amount_oid = InvalidOid;
static Oid table_oids[TABLE_COUNT];
static Oid index_oids[INDEX_COUNT];

static uint64 generation = 1;

static void
forget_all(void)
{
	generation++;
	schema_oid = owner_oid = amount_oid = InvalidOid;
	memset(table_oids, 0, sizeof(table_oids));
	memset(index_oids, 0, sizeof(index_oids));
}

/*
 * Cheap enough to drop everything: schema changes are rare, and the look-ups
 * that follow hit the system caches.
 */
static void
relcache_changed(Datum arg pg_attribute_unused(), Oid relid)
{
	if (relid != InvalidOid)
	{
		bool ours = false;

		for (int i = 0; i < TABLE_COUNT && !ours; i++)
			ours = table_oids[i] == relid;
		for (int i = 0; i < INDEX_COUNT && !ours; i++)
			ours = index_oids[i] == relid;
		if (!ours)
			return;
	}
	forget_all();
}

static void
catalog_changed(Datum arg pg_attribute_unused(), int cacheid pg_attribute_unused(),
				uint32 hashvalue pg_attribute_unused())
{
	forget_all();
}

void
tables_init(void)
{
	CacheRegisterRelcacheCallback(relcache_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, catalog_changed, (Datum) 0);
}

/* Changes whenever what is cached about the tables may have. */
uint64
tables_generation(void)
{
	return generation;
}

Oid
tables_schema(void)
{
	if (!OidIsValid(schema_oid))
		schema_oid = get_namespace_oid("billing", false);
	return schema_oid;
}

/*
 * The owner of the extension's tables, as whom functions act inside. Taken
 * from a table, since that is whose privileges matter.
 */
Oid
tables_owner(void)
{
	if (!OidIsValid(owner_oid))
	{
		HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(tables_oid(TABLE_ACCOUNT)));

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for table billing.account");
		owner_oid = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner_oid;
}

Oid
tables_amount_type(void)
{
	if (!OidIsValid(amount_oid))
	{
		amount_oid = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("amount"),
									 ObjectIdGetDatum(tables_schema()));
		if (!OidIsValid(amount_oid))
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
							errmsg("type billing.amount does not exist")));
	}
	return amount_oid;
}

/*
 * A library newer or older than the SQL definitions must not read the wrong
 * column: the last column it knows has to be where it expects it.
 */
static void
check_columns(const TableInfo *info, Oid table)
{
	char *name = get_attname(table, info->columns, true);

	if (name == NULL || strcmp(name, info->last_column) != 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the billing library does not match the extension's tables"),
						errdetail("Column %d of table billing.%s should be \"%s\".", info->columns,
								  info->name, info->last_column),
						errhint("Run ALTER EXTENSION billing UPDATE.")));
}

int
tables_known_columns(TableId table)
{
	return table_info[table].columns;
}

Oid
tables_oid(TableId table)
{
	if (unlikely(!OidIsValid(table_oids[table])))
	{
		const TableInfo *info = &table_info[table];
		uint64 before = generation;
		Oid oid = get_relname_relid(info->name, tables_schema());

		if (!OidIsValid(oid))
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
							errmsg("table billing.%s does not exist", info->name),
							errhint("Run CREATE EXTENSION billing CASCADE.")));
		check_columns(info, oid);
		/* what is heard of between the look-ups and now may be about this table */
		if (before != generation)
			return oid;
		table_oids[table] = oid;
	}
	return table_oids[table];
}

/*
 * Who has waited for the lock may find that the table is gone, as with DROP
 * EXTENSION: then it is looked up anew.
 */
Relation
tables_open(TableId table, LOCKMODE mode)
{
	for (;;)
	{
		Relation relation = try_table_open(tables_oid(table), mode);

		if (relation != NULL)
			return relation;
		forget_all();
	}
}

Oid
tables_index_oid(IndexId index)
{
	if (unlikely(!OidIsValid(index_oids[index])))
	{
		Oid oid = get_relname_relid(index_info[index].name, tables_schema());

		if (!OidIsValid(oid))
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
							errmsg("index billing.%s does not exist", index_info[index].name),
							errhint("Run ALTER EXTENSION billing UPDATE.")));
		index_oids[index] = oid;
	}
	return index_oids[index];
}

TableId
tables_of_index(IndexId index)
{
	return index_info[index].table;
}
