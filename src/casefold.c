#include "postgres.h"

#include "casefold.h"
#include "common/unicode_norm.h"

typedef struct CasefoldMapping
{
	pg_wchar from;
	pg_wchar to[CASEFOLD_MAX_EXPANSION];
} CasefoldMapping;

typedef struct CasefoldRange
{
	pg_wchar first;
	pg_wchar last;
} CasefoldRange;

#include "casefold_table.h"

static int
casefold_compare_mapping(const void *key, const void *element)
{
	pg_wchar c = *(const pg_wchar *) key;
	const CasefoldMapping *mapping = element;

	return c < mapping->from ? -1 : c > mapping->from;
}

static int
casefold_compare_range(const void *key, const void *element)
{
	pg_wchar c = *(const pg_wchar *) key;
	const CasefoldRange *range = element;

	return c < range->first ? -1 : c > range->last;
}

/*
 * Full, not Turkic, case folding of one code point (the C and F mappings of
 * Unicode's CaseFolding.txt). Returns how many code points it folds to.
 */
int
casefold_char(pg_wchar c, pg_wchar folded[CASEFOLD_MAX_EXPANSION])
{
	const CasefoldMapping *mapping;
	int count = 0;

	mapping = bsearch(&c, casefold_mappings, lengthof(casefold_mappings), sizeof(CasefoldMapping),
					  casefold_compare_mapping);
	if (mapping == NULL)
	{
		folded[0] = c;
		return 1;
	}
	while (count < CASEFOLD_MAX_EXPANSION && mapping->to[count] != 0)
	{
		folded[count] = mapping->to[count];
		count++;
	}
	return count;
}

/*
 * Whether a code point is assigned, has a glyph of its own and is not white
 * space, in the version of Unicode whose foldings are known here.
 */
bool
casefold_is_visible(pg_wchar c)
{
	return bsearch(&c, casefold_visible, lengthof(casefold_visible), sizeof(CasefoldRange),
				   casefold_compare_range) != NULL;
}

static pg_wchar *
casefold_string(const pg_wchar *string)
{
	size_t length = 0;
	pg_wchar *folded;
	pg_wchar *end;

	while (string[length] != 0)
		length++;
	folded = palloc((length * CASEFOLD_MAX_EXPANSION + 1) * sizeof(pg_wchar));
	end = folded;
	for (size_t i = 0; i < length; i++)
		end += casefold_char(string[i], end);
	*end = 0;
	return folded;
}

/*
 * A string to compare by: equal for strings that are a compatibility caseless
 * match (Unicode, definition D147), and composed, so that what is plain text
 * stays readable. Folding twice is part of the definition: some compatibility
 * characters decompose to letters that have a case.
 */
pg_wchar *
casefold_key(const pg_wchar *string)
{
	pg_wchar *folded;

	folded = casefold_string(unicode_normalize(UNICODE_NFD, string));
	folded = casefold_string(unicode_normalize(UNICODE_NFKD, folded));
	return unicode_normalize(UNICODE_NFKC, folded);
}
