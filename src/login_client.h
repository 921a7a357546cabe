/*
 * login_client.h
 *	  The clients that a user has logged in from: their wrong passwords are
 *	  counted apart, so that whoever guesses elsewhere cannot lock the user out
 *	  there. OWASP calls this device cookies.
 */
#ifndef BILLING_LOGIN_CLIENT_H
#define BILLING_LOGIN_CLIENT_H

#include "utils/uuid.h"

extern void login_client_digest(pg_uuid_t *digest, const pg_uuid_t *user_id, const char *client);
extern bool
login_client_is_known(const pg_uuid_t *account, const pg_uuid_t *user_id, const pg_uuid_t *digest);
extern void
login_client_remember(const pg_uuid_t *account, const pg_uuid_t *user_id, const pg_uuid_t *digest);
extern void login_client_forgive(const pg_uuid_t *account, const pg_uuid_t *user_id);
extern void login_client_forget(const pg_uuid_t *account, const pg_uuid_t *user_id);

#endif /* BILLING_LOGIN_CLIENT_H */
