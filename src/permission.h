/*
 * permission.h
 *	  Permissions "app:name" and the patterns that grant them.
 */
#ifndef BILLING_PERMISSION_H
#define BILLING_PERMISSION_H

/* Built in and granted by every plan. */
#define PERMISSION_MANAGE_USERS "billing:manage_users"
#define BUILTIN_APP             "billing"

/* Patterns: app:name, app:* or *. */
typedef struct PermissionSet
{
	int count;
	char **items;
} PermissionSet;

extern PermissionSet permission_set_from_array(Datum array);
extern Datum permission_set_to_array(const PermissionSet *set);
extern void permission_set_add(PermissionSet *set, const char *permission);
extern bool permission_set_grants(const PermissionSet *set, const char *permission);
extern bool permission_is_valid(const char *permission);
extern void permission_check_pattern(const char *pattern, bool star_allowed);
extern bool permission_apps_cover(bool every_app, const PermissionSet *apps, const char *app);
extern char *permission_app(const char *permission);
extern char *permission_narrow(const char *left, const char *right);

#endif /* BILLING_PERMISSION_H */
