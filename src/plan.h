/*
 * plan.h
 *	  Plan versions as the rules read them.
 */
#ifndef BILLING_PLAN_H
#define BILLING_PLAN_H

#include "utils/snapshot.h"
#include "utils/timestamp.h"

#include "amount.h"
#include "compat.h"
#include "permission.h"

typedef enum PlanKind
{
	PLAN_FREE,
	PLAN_SUBSCRIPTION,
	PLAN_TOKEN
} PlanKind;

typedef struct PlanVersion
{
	char *code;
	int32 version;
	PlanKind kind;
	char *name;         /* NULL: none */
	Amount *price;      /* NULL: not for sale by order */
	Interval *duration; /* NULL: without end */
	int64 tokens;       /* 0: none */
	int64 user_limit;   /* -1: none said */
	PermissionSet permissions;
	char *app; /* NULL: none in particular */
	bool covers_every_app;
	PermissionSet apps; /* the apps it covers, unless every */
} PlanVersion;

extern const char *plan_kind_name(PlanKind kind);
extern bool plan_kind_from_name(const char *name, PlanKind *kind);
extern PlanVersion *plan_version_read(const char *code, int32 version, Snapshot snapshot);
extern PlanVersion *plan_version_newest(const char *code, Snapshot snapshot);
extern PlanVersion *plan_version_on_sale(const char *code);
extern PlanVersion *plan_free(Snapshot snapshot);
extern bool plan_covers(const PlanVersion *plan, const char *app);
extern bool plan_grants(const PlanVersion *plan, const char *permission);
extern bool app_exists(const char *code, Snapshot snapshot);
extern void app_require(const char *code, Snapshot snapshot);
extern void app_require_cached(const char *code);
extern void plan_raise_not_found(const char *code) pg_attribute_noreturn();

#endif /* BILLING_PLAN_H */
