\echo Use "ALTER EXTENSION billing UPDATE TO '1.1'" to load this file. \quit
SET LOCAL search_path = pg_catalog, billing, pg_temp;

CREATE VIEW billing.open_hold WITH (security_barrier) AS
SELECT h.account_id,
       billing.shown(h.account_id, h.hold_id) AS hold_id,
       h.app,
       h.tokens,
       h.created_at,
       billing.shown(h.account_id, h.expires_at) AS expires_at
  FROM billing.hold h
  JOIN billing.account a ON a.account_id = h.account_id
 WHERE NOT h.ended AND h.expires_at > coalesce(a.test_clock, statement_timestamp()) AND billing.visible(h.account_id)
   AND billing.visible(a.account_id);
COMMENT ON VIEW billing.open_hold IS 'Tokens that are set aside: holds that are neither captured nor released nor over.';
COMMENT ON COLUMN billing.open_hold.account_id IS 'The account.';
COMMENT ON COLUMN billing.open_hold.hold_id IS 'What capture_hold and release_hold take.';
COMMENT ON COLUMN billing.open_hold.app IS 'The app it was made for; NULL: none.';
COMMENT ON COLUMN billing.open_hold.tokens IS 'Tokens held.';
COMMENT ON COLUMN billing.open_hold.created_at IS 'When it was made.';
COMMENT ON COLUMN billing.open_hold.expires_at IS 'From when on its tokens are free again.';

INSERT INTO billing.privilege (object, name, application, administrator, reporting) VALUES
    ('relation', 'open_hold', true, true, true);
REVOKE ALL ON TABLE billing.open_hold FROM PUBLIC;
REVOKE ALL ON TYPE billing.open_hold FROM PUBLIC;
DELETE FROM pg_catalog.pg_init_privs
 WHERE classoid = 'pg_catalog.pg_type'::pg_catalog.regclass
   AND objoid = 'billing.open_hold'::pg_catalog.regtype;
