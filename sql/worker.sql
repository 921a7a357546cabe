-- The background worker: what it is told, what it tells.

CREATE FUNCTION billing.note_due() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'billing_note_due';
COMMENT ON FUNCTION billing.note_due() IS 'Trigger: tells the background worker''s launcher, at commit, of the times in the columns named by its arguments; without arguments: of now.';

CREATE TRIGGER due BEFORE INSERT OR UPDATE ON billing.subscription
    FOR EACH ROW WHEN (NEW.ended_at IS NULL AND NOT NEW.void) EXECUTE FUNCTION billing.note_due('expires_at', 'grant_ends_at');
ALTER TABLE billing.subscription ENABLE ALWAYS TRIGGER due;
CREATE TRIGGER due_start BEFORE INSERT OR UPDATE ON billing.subscription
    FOR EACH ROW WHEN (NEW.started_at IS NULL AND NOT NEW.void) EXECUTE FUNCTION billing.note_due('effective_at');
ALTER TABLE billing.subscription ENABLE ALWAYS TRIGGER due_start;
-- what it was to follow may have to be announced
CREATE TRIGGER due_void BEFORE UPDATE ON billing.subscription
    FOR EACH ROW WHEN (NEW.void AND NOT OLD.void) EXECUTE FUNCTION billing.note_due();
ALTER TABLE billing.subscription ENABLE ALWAYS TRIGGER due_void;
CREATE TRIGGER due BEFORE INSERT OR UPDATE ON billing.plan_order
    FOR EACH ROW WHEN (NEW.closed_at IS NULL) EXECUTE FUNCTION billing.note_due('expires_at');
ALTER TABLE billing.plan_order ENABLE ALWAYS TRIGGER due;
CREATE TRIGGER due BEFORE INSERT OR UPDATE ON billing.hold
    FOR EACH ROW WHEN (NOT NEW.ended) EXECUTE FUNCTION billing.note_due('expires_at');
ALTER TABLE billing.hold ENABLE ALWAYS TRIGGER due;
CREATE TRIGGER due BEFORE UPDATE ON billing.account
    FOR EACH ROW WHEN (NEW.test_clock IS DISTINCT FROM OLD.test_clock) EXECUTE FUNCTION billing.note_due();
ALTER TABLE billing.account ENABLE ALWAYS TRIGGER due;

CREATE FUNCTION billing.note_grant_end() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'billing_note_grant_end';
COMMENT ON FUNCTION billing.note_grant_end() IS 'Trigger: lowers a subscription''s grant_ends_at to the end of a grant of its own, so that the worker looks at it then.';

-- Where rows are restored or replicated the subscription's own row brings the time.
CREATE TRIGGER note_end AFTER INSERT OR UPDATE OF subscription_id, expires_at ON billing.token_grant
    FOR EACH ROW WHEN (NEW.subscription_id IS NOT NULL AND NEW.voided_at IS NULL AND NEW.expires_at < 'infinity')
    EXECUTE FUNCTION billing.note_grant_end();

CREATE TABLE billing.worker_failure (
    account_id uuid NOT NULL PRIMARY KEY REFERENCES billing.account ON DELETE CASCADE,
    failures   integer NOT NULL,
    sqlstate   text COLLATE "C" NOT NULL,
    error      text NOT NULL,
    failed_at  timestamptz NOT NULL,
    retry_at   timestamptz NOT NULL,
    CONSTRAINT worker_failure_failures_check CHECK (failures > 0)
);
CREATE INDEX worker_failure_retry_idx ON billing.worker_failure (retry_at);
COMMENT ON TABLE billing.worker_failure IS 'Accounts for which the background worker could not write down what is due. A row goes when it succeeds; deleting it makes the worker try at its next run.';
COMMENT ON COLUMN billing.worker_failure.account_id IS 'The account.';
COMMENT ON COLUMN billing.worker_failure.failures IS 'Failures in a row.';
COMMENT ON COLUMN billing.worker_failure.sqlstate IS 'Of the last error.';
COMMENT ON COLUMN billing.worker_failure.error IS 'Message of the last error.';
COMMENT ON COLUMN billing.worker_failure.failed_at IS 'When it failed last.';
COMMENT ON COLUMN billing.worker_failure.retry_at IS 'When it is tried again: after 2 seconds, doubled each time, up to an hour.';

CREATE FUNCTION billing.worker_databases(
    OUT database oid,
    OUT state text,
    OUT pid integer,
    OUT last_run_at timestamptz,
    OUT next_due_at timestamptz,
    OUT last_lateness interval,
    OUT runs bigint,
    OUT rows_done bigint,
    OUT error_at timestamptz,
    OUT error text
) RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'billing_worker_databases';
COMMENT ON FUNCTION billing.worker_databases() IS
'What launcher and workers know of every database since the server started; worker_status shows it with names. No row where the library is not preloaded. Call it in FROM. Raises nothing.';

CREATE VIEW billing.worker_status AS
SELECT d.datname AS database,
       CASE
           WHEN current_setting('billing.worker', true) = 'off' THEN 'off'
           ELSE coalesce(w.state, 'unknown')
       END AS state,
       w.pid,
       w.last_run_at,
       w.next_due_at,
       greatest(clock_timestamp() - w.next_due_at, interval '0') AS lag,
       w.last_lateness,
       w.runs,
       w.rows_done,
       f.accounts_failing,
       f.failures,
       w.error_at AS last_error_at,
       w.error AS last_error
  FROM billing.worker_databases() w
  FULL JOIN (SELECT oid, datname FROM pg_catalog.pg_database WHERE datname = current_database()) own
       ON own.oid = w.database
  JOIN pg_catalog.pg_database d ON d.oid = coalesce(w.database, own.oid)
  LEFT JOIN LATERAL (
       SELECT count(*) AS accounts_failing,
              coalesce(jsonb_agg(to_jsonb(n) ORDER BY n.failed_at DESC), '[]') AS failures
         FROM billing.worker_failure n
        WHERE billing.visible(n.account_id)) f ON own.oid IS NOT NULL;
COMMENT ON VIEW billing.worker_status IS
'What the background worker does in each database of the server. Access never waits for it: it only makes visible what is already true.';
COMMENT ON COLUMN billing.worker_status.database IS 'The database.';
COMMENT ON COLUMN billing.worker_status.state IS 'waiting for something to fall due; starting; running; skipped: a template, or connections are not allowed; off: billing.worker is off; unknown: the library is not preloaded, or the launcher has not seen the database yet.';
COMMENT ON COLUMN billing.worker_status.pid IS 'The worker''s process; NULL: none is running there.';
COMMENT ON COLUMN billing.worker_status.last_run_at IS 'When it last began to look for what is due.';
COMMENT ON COLUMN billing.worker_status.next_due_at IS 'When it will look next; NULL: nothing is known that will be due.';
COMMENT ON COLUMN billing.worker_status.lag IS 'How long it has been due; zero: nothing is late.';
COMMENT ON COLUMN billing.worker_status.last_lateness IS 'How late the first of the last rows was written down.';
COMMENT ON COLUMN billing.worker_status.runs IS 'Runs since the server started.';
COMMENT ON COLUMN billing.worker_status.rows_done IS 'Rows written down since the server started: subscriptions ended, holds lapsed, ledgers summed, and so on.';
COMMENT ON COLUMN billing.worker_status.accounts_failing IS 'Accounts in worker_failure; NULL for other databases than this one.';
COMMENT ON COLUMN billing.worker_status.failures IS 'The rows of worker_failure as an array of objects, newest first; NULL for other databases than this one.';
COMMENT ON COLUMN billing.worker_status.last_error_at IS 'When the last run failed as a whole; NULL: it did not.';
COMMENT ON COLUMN billing.worker_status.last_error IS 'Message of that error.';
