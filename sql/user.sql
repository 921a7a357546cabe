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
