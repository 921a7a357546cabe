/*
 * permission_fuzz.c
 *		libFuzzer harness for codes, permissions and the patterns that grant them.
 *
 * Two strings, separated by a zero byte, against a regular expression and the
 * laws of patterns.
 */
#include "postgres.h"

#include <regex.h>

#include "argument.h"
#include "permission.h"
#include "server.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CODE "[a-z][a-z0-9_-]{0,62}"

static bool
matches(const char *string, const char *pattern, regex_t *compiled, bool *is_compiled)
{
	if (!*is_compiled)
		require(regcomp(compiled, pattern, REG_EXTENDED | REG_NOSUB) == 0);
	*is_compiled = true;
	return regexec(compiled, string, 0, NULL, 0) == 0;
}

static bool
is_code(const char *string)
{
	static regex_t compiled;
	static bool is_compiled = false;

	return matches(string, "^" CODE "$", &compiled, &is_compiled);
}

static bool
is_permission(const char *string)
{
	static regex_t compiled;
	static bool is_compiled = false;

	return matches(string, "^" CODE ":(\\*|" CODE ")$", &compiled, &is_compiled);
}

static void
check_pattern(void *pattern)
{
	permission_check_pattern(pattern, false);
}

static void
check_pattern_or_star(void *pattern)
{
	permission_check_pattern(pattern, true);
}

static bool
check_forms(char *string)
{
	bool valid = is_permission(string);

	require(code_is_valid(string) == is_code(string));
	require(permission_is_valid(string) == valid);
	require(raises(check_pattern, string) == !valid);
	require(raises(check_pattern_or_star, string) == !(valid || strcmp(string, "*") == 0));
	return valid || strcmp(string, "*") == 0;
}

static bool
grants(char *pattern, const char *permission)
{
	PermissionSet set = {.count = 1, .items = &pattern};

	return permission_set_grants(&set, permission);
}

/* What both grant is what the narrower of them grants. */
static void
check_narrow(char *left, char *right)
{
	char *both = permission_narrow(left, right);
	char *other = permission_narrow(right, left);

	require((both == NULL) == (other == NULL));
	if (both == NULL)
	{
		require(!grants(left, right) && !grants(right, left));
		return;
	}
	require(strcmp(both, other) == 0);
	require(grants(left, both) && grants(right, both));
	require(strcmp(both, left) == 0 || strcmp(both, right) == 0);
}

static void
check_set(const char *left, const char *right)
{
	PermissionSet set = {0};

	permission_set_add(&set, left);
	permission_set_add(&set, right);
	permission_set_add(&set, left);
	require(set.count == (strcmp(left, right) == 0 ? 1 : 2));
	require(set.count == 1 || strcmp(set.items[0], set.items[1]) < 0);
	require(permission_set_grants(&set, left) && permission_set_grants(&set, right));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *left = exact_string(data, size);
	size_t used = Min(strlen(left) + 1, size);
	char *right = exact_string(data + used, size - used);
	bool left_valid = check_forms(left);
	bool right_valid = check_forms(right);

	check_set(left, right);
	if (left_valid && right_valid)
		check_narrow(left, right);
	free_all();
	return 0;
}
