-- Logins inside an account.

CREATE TABLE billing.account_user (
    account_id    uuid NOT NULL REFERENCES billing.account,
    user_id       uuid NOT NULL UNIQUE,
    email         text,
    email_key     text COLLATE "C",
    password_hash text COLLATE "C",
    role          text COLLATE "C" NOT NULL REFERENCES billing.role (role),
    added_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    added_by      uuid,
    disabled_at   timestamptz,
    removed_at    timestamptz,
    PRIMARY KEY (account_id, user_id),
    CONSTRAINT account_user_removed_check CHECK (
        CASE WHEN removed_at IS NULL THEN email IS NOT NULL AND email_key IS NOT NULL
             ELSE email IS NULL AND email_key IS NULL AND password_hash IS NULL END)
);
CREATE UNIQUE INDEX account_user_email_key ON billing.account_user (email_key) WHERE email_key IS NOT NULL;
-- What ANALYZE samples outlives the row. No plan needs it of what is erased with a person.
ALTER TABLE billing.account_user
    ALTER email SET STATISTICS 0, ALTER email_key SET STATISTICS 0, ALTER password_hash SET STATISTICS 0;
COMMENT ON TABLE billing.account_user IS 'A login inside an account; it occupies a seat unless disabled or removed.';
COMMENT ON COLUMN billing.account_user.account_id IS 'The account.';
COMMENT ON COLUMN billing.account_user.user_id IS 'Time-ordered uuid that ends in the account''s bucket byte; kept after removal.';
COMMENT ON COLUMN billing.account_user.email IS 'As it was given; NULL once removed.';
COMMENT ON COLUMN billing.account_user.email_key IS 'The email without case, by which it is unique in the database; a trigger computes it.';
COMMENT ON COLUMN billing.account_user.password_hash IS 'argon2id, as an encoded string; NULL: no login here.';
COMMENT ON COLUMN billing.account_user.role IS 'Narrows what the plan grants.';
COMMENT ON COLUMN billing.account_user.added_at IS 'When the user was added; who came first keeps access when seats shrink.';
COMMENT ON COLUMN billing.account_user.added_by IS 'The account user who added this one; NULL: an administrator or the first user.';
COMMENT ON COLUMN billing.account_user.disabled_at IS 'Since when disabled; NULL: enabled.';
COMMENT ON COLUMN billing.account_user.removed_at IS 'When removed; NULL: not.';

CREATE TABLE billing.login_client (
    account_id uuid NOT NULL,
    user_id    uuid NOT NULL,
    client     uuid NOT NULL,
    seen_at    timestamptz NOT NULL,
    PRIMARY KEY (account_id, user_id, client),
    FOREIGN KEY (account_id, user_id) REFERENCES billing.account_user ON DELETE CASCADE
);
ALTER TABLE billing.login_client ALTER client SET STATISTICS 0;
COMMENT ON TABLE billing.login_client IS 'Where a user has logged in from: wrong passwords from elsewhere do not lock the user out there. At most ten a user.';
COMMENT ON COLUMN billing.login_client.account_id IS 'The account.';
COMMENT ON COLUMN billing.login_client.user_id IS 'The user.';
COMMENT ON COLUMN billing.login_client.client IS 'Digest of the user''s id and what the application calls the client.';
COMMENT ON COLUMN billing.login_client.seen_at IS 'When the user last logged in from it, to the day.';

CREATE UNLOGGED TABLE billing.login_failure (
    account_id uuid NOT NULL,
    subject    uuid NOT NULL,
    failures   integer NOT NULL,
    failed_at  timestamptz NOT NULL,
    PRIMARY KEY (account_id, subject)
);
COMMENT ON TABLE billing.login_failure IS 'Wrong passwords since the last login, where the library is not preloaded. Unlogged: forgotten by a crash, and not dumped.';
COMMENT ON COLUMN billing.login_failure.account_id IS 'The account; all zero for addresses that nobody has.';
COMMENT ON COLUMN billing.login_failure.subject IS 'The user, or a client the user is known by; for addresses that nobody has one of a few numbers.';
COMMENT ON COLUMN billing.login_failure.failures IS 'Wrong passwords in a row.';
COMMENT ON COLUMN billing.login_failure.failed_at IS 'When the last one was tried.';

CREATE FUNCTION billing.prepare_user() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'billing_prepare_user';
COMMENT ON FUNCTION billing.prepare_user() IS
'Trigger: computes email_key, makes a user_id, erases email and hash of removed users; refuses what is no email (22023), what is no argon2 hash (22023), another account_id, user_id or added_by (22023), missing values (23502), a removed user that comes back (PB013), an added_by who may not manage the account''s users (PB006).';

CREATE FUNCTION billing.guard_user() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'billing_guard_user';
COMMENT ON FUNCTION billing.guard_user() IS
'Trigger: no seat above the limit (PB007) nor in a suspended account (PB002), an admin as long as there are other users (PB017), the first admin alone without added_by unless by an administrator (PB006). Writes the events.';

CREATE TRIGGER prepare BEFORE INSERT OR UPDATE OR DELETE ON billing.account_user
    FOR EACH ROW EXECUTE FUNCTION billing.prepare_user();
CREATE TRIGGER rules AFTER INSERT OR UPDATE OR DELETE ON billing.account_user
    FOR EACH ROW EXECUTE FUNCTION billing.guard_user();
ALTER TABLE billing.account_user ENABLE ALWAYS TRIGGER prepare;
ALTER TABLE billing.account_user ENABLE ALWAYS TRIGGER rules;

CREATE FUNCTION billing.add_user_within_limit(
    account_id uuid,
    email text,
    password text,
    role text DEFAULT 'member',
    added_by uuid DEFAULT NULL
) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_add_user_within_limit';
COMMENT ON FUNCTION billing.add_user_within_limit(uuid, text, text, text, uuid) IS
'Adds a user if the plans in force have a seat for one more; returns its id. email: unique in the database, without case. password: NULL for no login here. role: admin, member or one made by create_role. added_by: a user of the account who may manage its users and has access; NULL: administrators, and the account''s first user, who is then an admin.
Errors: 22004 NULL account, email or role; 22023 invalid email, refused password, malformed role; 23505 email in use; PB001 unknown account; PB002 suspended account; PB006 added_by; PB007 no seat left; PB016 unknown role.';

CREATE FUNCTION billing.remove_user(user_id uuid, acting_user uuid DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_remove_user';
COMMENT ON FUNCTION billing.remove_user(uuid, uuid) IS
'Takes a user out of its account: the id stays, email and password hash are erased, the seat is free. acting_user: a user of the account who may manage its users and has access; NULL: administrators only.
Errors: 22004 NULL user; PB006 acting_user; PB013 unknown or removed user; PB017 the last admin while others remain.';

CREATE FUNCTION billing.set_user_role(user_id uuid, role text, acting_user uuid DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_set_user_role';
COMMENT ON FUNCTION billing.set_user_role(uuid, text, uuid) IS
'Gives a user another role. acting_user: as for remove_user.
Errors: 22004 NULL user or role; 22023 malformed role; PB006 acting_user; PB013 unknown or removed user; PB016 unknown role; PB017 the last admin while others remain.';

CREATE FUNCTION billing.disable_user(user_id uuid, acting_user uuid DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_disable_user';
COMMENT ON FUNCTION billing.disable_user(uuid, uuid) IS
'Keeps a user out until enabled again and frees the seat; a disabled one stays as it is. acting_user: as for remove_user.
Errors: 22004 NULL user; PB006 acting_user; PB013 unknown or removed user; PB017 the last admin while others remain.';

CREATE FUNCTION billing.enable_user(user_id uuid, acting_user uuid DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_enable_user';
COMMENT ON FUNCTION billing.enable_user(uuid, uuid) IS
'Lets a disabled user in again, which takes a seat; an enabled one stays as it is. acting_user: as for remove_user.
Errors: 22004 NULL user; PB002 suspended account; PB006 acting_user; PB007 no seat left; PB013 unknown or removed user.';

CREATE FUNCTION billing.set_user_password(user_id uuid, password text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_set_user_password';
COMMENT ON FUNCTION billing.set_user_password(uuid, text) IS
'Sets a user''s password and ends a lock-out.
Errors: 22004 NULL; 22023 a password that is refused; PB013 unknown or removed user.';

CREATE FUNCTION billing.authenticate_user(
    email text,
    password text,
    client text DEFAULT NULL,
    OUT user_id uuid,
    OUT account_id uuid,
    OUT role text,
    OUT allowed boolean,
    OUT reason text
) RETURNS record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_authenticate_user';
COMMENT ON FUNCTION billing.authenticate_user(text, text, text) IS
'Who has this email and this password; always one row. Unknown address, wrong password, locked out or NULL: NULL ids and ''invalid_credentials'', after the same time. Otherwise allowed and reason are those of check_access for the user without a permission. client: what the application knows the user''s device by, at most 255 bytes; from one that the user has logged in from, only its own wrong passwords count. Call it in FROM: (f()).* would call it once per column, and count a wrong password as often.
Errors: 22023 empty client; 22001 client too long; 25006 in a read-only transaction, unless the library is preloaded.';

CREATE FUNCTION billing.erase_user(user_id uuid) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_erase_user';
COMMENT ON FUNCTION billing.erase_user(uuid) IS
'Erases what is known of a person, removing the user if that has not been done: email, password hash, clients, failed logins. The id stays, in the ledger and the events too. Again: the same.
Errors: 22004 NULL; PB013 a user there never was; PB017 the last admin while others remain.';
