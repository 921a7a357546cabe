/*
 * Email addresses: which are accepted, and the key that makes two of them the same.
 */
#ifndef BILLING_EMAIL_H
#define BILLING_EMAIL_H

extern char *email_normalize(const text *email, char **key);
extern char *email_lookup_key(const text *email);

#endif /* BILLING_EMAIL_H */
