/*
 * Unicode case folding that depends on no locale, collation or library version,
 * because keys folded by it are stored and must be equal on every machine.
 */
#ifndef BILLING_CASEFOLD_H
#define BILLING_CASEFOLD_H

#include "mb/pg_wchar.h"

/* The most code points that one folds to. */
#define CASEFOLD_MAX_EXPANSION 3

extern int casefold_char(pg_wchar c, pg_wchar folded[CASEFOLD_MAX_EXPANSION]);
extern bool casefold_is_visible(pg_wchar c);
extern pg_wchar *casefold_key(const pg_wchar *string);

#endif /* BILLING_CASEFOLD_H */
