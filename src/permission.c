/*
 * permission.c
 *	  Permissions "app:name" and the patterns that grant them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "argument.h"
#include "permission.h"

/* Of any names; NULL elements are 22004; the array's shape does not matter. */
PermissionSet
permission_set_from_array(Datum array)
{
	PermissionSet set;
	Datum *values;
	bool *nulls;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls,
					  &set.count);
	set.items = palloc(sizeof(char *) * (set.count + 1));
	for (int i = 0; i < set.count; i++)
	{
		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("an element of the array is null"),
							errhint("Leave it out of the array.")));
		set.items[i] = TextDatumGetCString(values[i]);
	}
	return set;
}

Datum
permission_set_to_array(const PermissionSet *set)
{
	Datum *values = palloc(sizeof(Datum) * (set->count + 1));

	for (int i = 0; i < set->count; i++)
		values[i] = CStringGetTextDatum(set->items[i]);
	return PointerGetDatum(construct_array(values, set->count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Keeps the set sorted and without duplicates. */
void
permission_set_add(PermissionSet *set, const char *permission)
{
	int at = 0;

	while (at < set->count && strcmp(set->items[at], permission) < 0)
		at++;
	if (at < set->count && strcmp(set->items[at], permission) == 0)
		return;
	if (set->items == NULL)
		set->items = palloc(sizeof(char *));
	else
		set->items = repalloc(set->items, sizeof(char *) * (set->count + 1));
	memmove(set->items + at + 1, set->items + at, sizeof(char *) * (set->count - at));
	set->items[at] = pstrdup(permission);
	set->count++;
}

static bool
is_app_star(const char *pattern)
{
	size_t length = strlen(pattern);

	return length > 2 && strcmp(pattern + length - 2, ":*") == 0;
}

static bool
pattern_grants(const char *pattern, const char *permission)
{
	if (strcmp(pattern, "*") == 0 || strcmp(pattern, permission) == 0)
		return true;
	return is_app_star(pattern) && strncmp(pattern, permission, strlen(pattern) - 1) == 0;
}

bool
permission_set_grants(const PermissionSet *set, const char *permission)
{
	for (int i = 0; i < set->count; i++)
		if (pattern_grants(set->items[i], permission))
			return true;
	return false;
}

/* app:name or app:*, by form; whether the app exists is for the caller. */
bool
permission_is_valid(const char *permission)
{
	char *app = permission_app(permission);
	const char *name;

	if (app == NULL)
		return false;
	name = permission + strlen(app) + 1;
	return code_is_valid(app) && (strcmp(name, "*") == 0 || code_is_valid(name));
}

void
permission_check_pattern(const char *pattern, bool star_allowed)
{
	if (star_allowed && strcmp(pattern, "*") == 0)
		return;
	if (!permission_is_valid(pattern))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid permission"),
				 errdetail("\"%.130s\" is not of the form app:name or app:*.", pattern),
				 errhint("Both halves are codes: a lower-case letter, then at most 62 lower-case "
						 "letters, digits, \"_\" and \"-\".")));
}

/* Whether a plan that covers these apps covers app; NULL: any. Every plan covers the built-in one. */
bool
permission_apps_cover(bool every_app, const PermissionSet *apps, const char *app)
{
	if (app == NULL || every_app || strcmp(app, BUILTIN_APP) == 0)
		return true;
	for (int i = 0; i < apps->count; i++)
		if (strcmp(apps->items[i], app) == 0)
			return true;
	return false;
}

/* The half before the colon; NULL where there is none. */
char *
permission_app(const char *permission)
{
	const char *colon = strchr(permission, ':');

	return colon == NULL ? NULL : pnstrdup(permission, colon - permission);
}

/* What both patterns grant, as one pattern; NULL if nothing. */
char *
permission_narrow(const char *left, const char *right)
{
	if (pattern_grants(left, right))
		return pstrdup(right);
	if (pattern_grants(right, left))
		return pstrdup(left);
	return NULL;
}
