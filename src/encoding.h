/*
 * Conversion between the database's encoding and UTF-8 that reports what cannot
 * be converted instead of raising an error that quotes it.
 */
#ifndef BILLING_ENCODING_H
#define BILLING_ENCODING_H

#include "mb/pg_wchar.h"

/* Room for the UTF-8 form of so many bytes and its terminator. */
#define ENCODING_UTF8_SIZE(length) ((length) *MAX_CONVERSION_GROWTH + 1)

extern int encoding_to_utf8(const char *source, int length, char *utf8);
extern char *encoding_from_utf8(const char *utf8, int length);

#endif /* BILLING_ENCODING_H */
