-- The rival of the worker: what is due, written down by one UPDATE and two INSERTs.
BEGIN;
CREATE TEMP TABLE ended ON COMMIT DROP AS
WITH done AS (
    UPDATE billing.subscription SET ended_at = expires_at
     WHERE ended_at IS NULL AND NOT void AND expires_at <= now()
    RETURNING account_id, subscription_id, plan, expires_at)
SELECT * FROM done;
INSERT INTO billing.event (account_id, event_id, kind, occurred_at, detail)
SELECT account_id, gen_random_uuid(), 'subscription_expired', expires_at,
       jsonb_build_object('subscription_id', subscription_id, 'plan', plan)
  FROM ended;
INSERT INTO billing.event (account_id, event_id, kind, occurred_at, detail)
SELECT account_id, gen_random_uuid(), 'free_plan_assigned', expires_at,
       jsonb_build_object('plan', 'free', 'because', 'package_expired')
  FROM ended;
COMMIT;
