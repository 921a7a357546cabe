/*
 * login_client.c
 *	  The clients that a user has logged in from.
 *
 * To be called within a call (call.h). Of a client only a digest is kept, made
 * together with the user's id: nobody can tell from the table which address it
 * was, nor whether two users share it.
 */
#include "postgres.h"

#include <sodium.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "lockout.h"
#include "login_client.h"
#include "password.h"
#include "query.h"

/* More devices than people use; the ones not seen for longest are forgotten. */
#define CLIENTS_OF_A_USER "10"

static SqlQuery is_known = {.sql = "SELECT FROM billing.login_client "
								   "WHERE account_id = $1 AND user_id = $2 AND client = $3",
							.nargs = 3,
							.argtypes = {UUIDOID, UUIDOID, UUIDOID}};

/* A login a day is written down, not each. */
static SqlQuery remember = {
	.sql = "INSERT INTO billing.login_client (account_id, user_id, client, seen_at) "
		   "VALUES ($1, $2, $3, now()) ON CONFLICT (account_id, user_id, client) "
		   "DO UPDATE SET seen_at = excluded.seen_at "
		   "WHERE login_client.seen_at < excluded.seen_at - interval '1 day'",
	.nargs = 3,
	.argtypes = {UUIDOID, UUIDOID, UUIDOID}};

static SqlQuery prune = {
	.sql = "DELETE FROM billing.login_client WHERE account_id = $1 AND user_id = $2 "
		   "AND client IN (SELECT client FROM billing.login_client "
		   "WHERE account_id = $1 AND user_id = $2 "
		   "ORDER BY seen_at DESC, client OFFSET " CLIENTS_OF_A_USER ")",
	.nargs = 2,
	.argtypes = {UUIDOID, UUIDOID}};

static SqlQuery clients_of = {.sql = "SELECT client FROM billing.login_client "
									 "WHERE account_id = $1 AND user_id = $2",
							  .nargs = 2,
							  .argtypes = {UUIDOID, UUIDOID}};

static SqlQuery forget = {
	.sql = "DELETE FROM billing.login_client WHERE account_id = $1 AND user_id = $2",
	.nargs = 2,
	.argtypes = {UUIDOID, UUIDOID}};

void
login_client_digest(pg_uuid_t *digest, const pg_uuid_t *user_id, const char *client)
{
	crypto_generichash_state state;

	password_require_sodium();
	(void) crypto_generichash_init(&state, NULL, 0, UUID_LEN);
	(void) crypto_generichash_update(&state, user_id->data, UUID_LEN);
	(void) crypto_generichash_update(&state, (const unsigned char *) client, strlen(client));
	(void) crypto_generichash_final(&state, digest->data, UUID_LEN);
}

bool
login_client_is_known(const pg_uuid_t *account, const pg_uuid_t *user_id, const pg_uuid_t *digest)
{
	return query_execute(&is_known, (NullableDatum[]){arg_uuid(account), arg_uuid(user_id),
													  arg_uuid(digest)}) > 0;
}

void
login_client_remember(const pg_uuid_t *account, const pg_uuid_t *user_id, const pg_uuid_t *digest)
{
	NullableDatum args[] = {arg_uuid(account), arg_uuid(user_id), arg_uuid(digest)};

	if (query_execute(&remember, args) > 0)
		query_execute(&prune, args);
}

/* Ends every lock-out of the user. */
void
login_client_forgive(const pg_uuid_t *account, const pg_uuid_t *user_id)
{
	uint64 count =
		query_execute(&clients_of, (NullableDatum[]){arg_uuid(account), arg_uuid(user_id)});
	pg_uuid_t *clients = palloc(sizeof(pg_uuid_t) * (count + 1));

	for (uint64 i = 0; i < count; i++)
		clients[i] = query_uuid(i, 1);
	for (uint64 i = 0; i < count; i++)
		lockout_forget(account, &clients[i]);
	lockout_forget(account, user_id);
}

/* For a user who is gone. */
void
login_client_forget(const pg_uuid_t *account, const pg_uuid_t *user_id)
{
	login_client_forgive(account, user_id);
	query_execute(&forget, (NullableDatum[]){arg_uuid(account), arg_uuid(user_id)});
}
