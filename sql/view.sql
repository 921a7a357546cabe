-- Views for status pages and reports, with the functions beneath them. Everything derives from the
-- account's now, nothing waits for the worker. Filtered by account_id each is an index probe: none
-- aggregates over accounts, and what one account needs hangs below its row by LATERAL.
--
-- Each table that is joined is filtered by billing.visible() itself, not only the one that the others
-- hang on: a leakproof condition goes down to the table it is about, and EXPLAIN ANALYZE tells how
-- many rows it let through there. What hangs by LATERAL is read for rows that may be seen. A column
-- that an index of its own begins with is shown().

CREATE FUNCTION billing.seats_allowed(account_id uuid) RETURNS bigint
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_seats_allowed';
COMMENT ON FUNCTION billing.seats_allowed(uuid) IS
'How many users the account may have now: the largest limit of the plans in force, else the free plan''s; with no plan at all 1. NULL: no limit. 0 for a NULL or unknown account. Raises nothing.';

CREATE FUNCTION billing.roster(
    account_id uuid,
    OUT user_id uuid,
    OUT has_seat boolean,
    OUT reason text
) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'billing_roster';
COMMENT ON FUNCTION billing.roster(uuid) IS
'The account''s users that are not removed, by their claim to a seat: admins first, then the earliest added. has_seat: enabled and within the seats allowed. reason: as check_access(account_id, NULL, user_id) gives it. Call it in FROM. No row for a NULL or unknown account. Raises nothing.';

CREATE FUNCTION billing.packages(
    account_id uuid,
    OUT subscription_id uuid,
    OUT in_force boolean,
    OUT tokens_granted bigint,
    OUT tokens_used bigint,
    OUT tokens_held bigint,
    OUT tokens_left bigint
) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'billing_packages';
COMMENT ON FUNCTION billing.packages(uuid) IS
'Every subscription the account has or had, whether it is in force, and the tokens of its own grants: used is what was consumed or captured, less refunds; held is in holds that are not over; left can be used now. What was voided, expired or has not begun is in granted only. Call it in FROM. No row for a NULL or unknown account. Raises nothing.';

CREATE VIEW billing.account_package WITH (security_barrier) AS
SELECT s.account_id,
       billing.shown(s.account_id, s.subscription_id) AS subscription_id,
       s.plan,
       period.version,
       s.kind,
       period.apps,
       CASE
           WHEN s.effective_at > clock.now AND NOT s.void THEN 'scheduled'
           WHEN s.expires_at > clock.now AND NOT s.void THEN
               CASE
                   WHEN a.suspended_at IS NOT NULL THEN 'suspended'
                   WHEN package.in_force THEN 'active'
                   ELSE 'exhausted'
               END
           WHEN s.replaced_by IS NOT NULL THEN 'replaced'
           WHEN s.void OR s.expires_at <= s.canceled_at THEN 'cancelled'
           ELSE 'expired'
       END AS status,
       billing.shown(s.account_id, s.effective_at) AS effective_at,
       nullif(s.expires_at, 'infinity') AS expires_at,
       coalesce(package.tokens_granted, 0) AS tokens_granted,
       coalesce(package.tokens_used, 0) AS tokens_used,
       coalesce(package.tokens_held, 0) AS tokens_held,
       coalesce(package.tokens_left, 0) AS tokens_left,
       coalesce(version.name, s.plan) AS name
  FROM billing.account a
 CROSS JOIN LATERAL (SELECT coalesce(a.test_clock, statement_timestamp()) AS now) clock
  JOIN billing.subscription s ON s.account_id = a.account_id
  LEFT JOIN LATERAL billing.packages(a.account_id) package ON package.subscription_id = s.subscription_id
  LEFT JOIN LATERAL (
       -- the period that covers now, else the last one that is over, else the first to come
       SELECT p.version, p.apps
         FROM billing.subscription_period p
        WHERE p.account_id = s.account_id AND p.subscription_id = s.subscription_id
        ORDER BY p.void,
                 CASE WHEN p.effective_at <= clock.now THEN p.effective_at END DESC NULLS LAST,
                 p.effective_at
        LIMIT 1) period ON true
  LEFT JOIN billing.plan_version version ON version.plan = s.plan AND version.version = period.version
 WHERE billing.visible(a.account_id) AND billing.visible(s.account_id);
COMMENT ON VIEW billing.account_package IS
'What the accounts have bought or been given: a row a subscription, past and future ones too.';
COMMENT ON COLUMN billing.account_package.account_id IS 'The account.';
COMMENT ON COLUMN billing.account_package.subscription_id IS 'The subscription.';
COMMENT ON COLUMN billing.account_package.plan IS 'The plan held.';
COMMENT ON COLUMN billing.account_package.version IS 'Its version in the current period; before the first one that one''s, after the last one that one''s.';
COMMENT ON COLUMN billing.account_package.kind IS 'subscription (works for a time) or token (works until its tokens are used).';
COMMENT ON COLUMN billing.account_package.apps IS 'The apps it covers; NULL: every app.';
COMMENT ON COLUMN billing.account_package.status IS 'active: in force; exhausted: a token plan in its time whose tokens are used or held; suspended: in its time, but the account is suspended or closed; scheduled: begins later; expired: its time is over; replaced: over, and another plan has taken its place; cancelled: ended before its time, or dropped before it began.';
COMMENT ON COLUMN billing.account_package.effective_at IS 'Start, inclusive.';
COMMENT ON COLUMN billing.account_package.expires_at IS 'End of what is paid so far, exclusive; NULL: none.';
COMMENT ON COLUMN billing.account_package.tokens_granted IS 'Tokens that came with it, in all its periods.';
COMMENT ON COLUMN billing.account_package.tokens_used IS 'Of these consumed or captured, less refunds.';
COMMENT ON COLUMN billing.account_package.tokens_held IS 'Of these in holds that are not over.';
COMMENT ON COLUMN billing.account_package.tokens_left IS 'Of these usable now; those that were voided, have expired or are for a later period are in none of the three.';
COMMENT ON COLUMN billing.account_package.name IS 'The plan''s name for people.';

CREATE VIEW billing.account_status WITH (security_barrier) AS
SELECT a.account_id,
       a.name,
       CASE
           WHEN a.closed_at IS NOT NULL THEN 'closed'
           WHEN a.suspended_at IS NOT NULL THEN 'suspended'
           WHEN access.level = 'full' THEN 'active'
           WHEN access.level = 'limited' THEN 'limited'
           ELSE 'inactive'
       END AS status,
       access.level,
       access.reason,
       access.message,
       CASE access.level
           WHEN 'full' THEN bought.plans
           WHEN 'limited' THEN ARRAY[access.plan]
           ELSE '{}'
       END AS plans,
       access.expires_at,
       access.tokens_remaining,
       (SELECT count(*)
          FROM billing.account_user u
         WHERE u.account_id = a.account_id AND u.disabled_at IS NULL AND u.removed_at IS NULL) AS seats_used,
       billing.seats_allowed(a.account_id) AS seats_allowed,
       CASE access.level WHEN 'limited' THEN free.package ELSE '[]' END || bought.packages AS packages
  FROM billing.account a
 CROSS JOIN LATERAL billing.check_access(a.account_id) access
 CROSS JOIN LATERAL (
       SELECT coalesce(array_agg(p.plan ORDER BY p.plan) FILTER (WHERE p.status = 'active'), '{}') AS plans,
              coalesce(jsonb_agg(to_jsonb(p) - 'account_id' ORDER BY p.plan, p.effective_at), '[]') AS packages
         FROM billing.account_package p
        WHERE p.account_id = a.account_id AND p.status IN ('active', 'exhausted', 'suspended', 'scheduled')) bought
  LEFT JOIN LATERAL (
       SELECT jsonb_build_array(jsonb_build_object(
                  'plan', v.plan, 'name', coalesce(v.name, v.plan), 'version', v.version,
                  'kind', v.kind, 'apps', v.apps, 'status', 'active')) AS package
         FROM billing.plan_version v
        WHERE v.plan = access.plan
        ORDER BY v.version DESC
        LIMIT 1) free ON true
 WHERE billing.visible(a.account_id);
COMMENT ON VIEW billing.account_status IS
'The status page of the accounts, the manual''s Billing Account Master: whether the account is active, which packages it has and for which apps, until when, how many tokens and seats.';
COMMENT ON COLUMN billing.account_status.account_id IS 'The account.';
COMMENT ON COLUMN billing.account_status.name IS 'Its name.';
COMMENT ON COLUMN billing.account_status.status IS 'active: a bought plan is in force; limited: only the free plan; inactive: no plan at all; suspended; closed.';
COMMENT ON COLUMN billing.account_status.level IS 'The access that gives: full, limited or none.';
COMMENT ON COLUMN billing.account_status.reason IS 'allowed, or why no bought plan is in force, as check_access says.';
COMMENT ON COLUMN billing.account_status.message IS 'The reason in words, and what to do.';
COMMENT ON COLUMN billing.account_status.plans IS 'The plans in force: bought ones, else the free plan; empty: none.';
COMMENT ON COLUMN billing.account_status.expires_at IS 'When the bought plan that lasts longest ends; NULL: none does.';
COMMENT ON COLUMN billing.account_status.tokens_remaining IS 'Tokens that can be used now, of all apps.';
COMMENT ON COLUMN billing.account_status.seats_used IS 'Users that are neither disabled nor removed.';
COMMENT ON COLUMN billing.account_status.seats_allowed IS 'Users that the plans in force allow; NULL: no limit.';
COMMENT ON COLUMN billing.account_status.packages IS 'The packages that are not over, as an array of objects with the columns of account_package; first the free plan where only that is in force.';

CREATE VIEW billing.account_member WITH (security_barrier) AS
SELECT u.account_id,
       billing.shown(u.account_id, u.user_id) AS user_id,
       u.email,
       u.role,
       CASE
           WHEN u.disabled_at IS NOT NULL THEN 'disabled'
           WHEN r.has_seat THEN 'active'
           ELSE 'over_limit'
       END AS status,
       r.has_seat,
       r.reason,
       u.added_at
  FROM billing.account a
 CROSS JOIN LATERAL billing.roster(a.account_id) r
  JOIN billing.account_user u ON u.account_id = a.account_id AND u.user_id = r.user_id
 WHERE billing.visible(a.account_id) AND billing.visible(u.account_id);
COMMENT ON VIEW billing.account_member IS 'The users of the accounts, without those that were removed.';
COMMENT ON COLUMN billing.account_member.account_id IS 'The account.';
COMMENT ON COLUMN billing.account_member.user_id IS 'The user.';
COMMENT ON COLUMN billing.account_member.email IS 'As it was given.';
COMMENT ON COLUMN billing.account_member.role IS 'Narrows what the plan grants.';
COMMENT ON COLUMN billing.account_member.status IS 'active; over_limit: enabled, but the account has more users than its plans allow and this one has no seat; disabled.';
COMMENT ON COLUMN billing.account_member.has_seat IS 'Whether it is enabled and within the seats: admins first, then the earliest added.';
COMMENT ON COLUMN billing.account_member.reason IS 'allowed, or why the user has no full access, as check_access says.';
COMMENT ON COLUMN billing.account_member.added_at IS 'When the user was added.';

CREATE VIEW billing.plan_catalogue AS
SELECT p.code AS plan,
       v.version,
       v.kind,
       coalesce(v.name, p.code) AS name,
       v.price,
       v.duration,
       v.tokens,
       v.user_limit,
       v.permissions,
       v.app,
       v.apps
  FROM billing.plan p
 CROSS JOIN LATERAL (
       SELECT *
         FROM billing.plan_version n
        WHERE n.plan = p.code
        ORDER BY n.version DESC
        LIMIT 1) v
 WHERE p.retired_at IS NULL AND v.kind <> 'free' AND v.price IS NOT NULL;
COMMENT ON VIEW billing.plan_catalogue IS
'What can be bought, with prices: the newest version of every plan that order_plan accepts. Not here are the free plan, plans without a price and retired ones.';
COMMENT ON COLUMN billing.plan_catalogue.plan IS 'The code to order it by.';
COMMENT ON COLUMN billing.plan_catalogue.version IS 'The version that is sold now.';
COMMENT ON COLUMN billing.plan_catalogue.kind IS 'subscription (works for a time) or token (works until its tokens are used).';
COMMENT ON COLUMN billing.plan_catalogue.name IS 'Name for people.';
COMMENT ON COLUMN billing.plan_catalogue.price IS 'Price of one period.';
COMMENT ON COLUMN billing.plan_catalogue.duration IS 'Length of a period; NULL: without end.';
COMMENT ON COLUMN billing.plan_catalogue.tokens IS 'Tokens granted with every period; NULL: none.';
COMMENT ON COLUMN billing.plan_catalogue.user_limit IS 'Users the account may have; NULL: no limit for a subscription plan, nothing said by a token plan.';
COMMENT ON COLUMN billing.plan_catalogue.permissions IS 'app:name or app:*; empty: everything in its apps.';
COMMENT ON COLUMN billing.plan_catalogue.app IS 'The app its tokens are for; NULL: every app.';
COMMENT ON COLUMN billing.plan_catalogue.apps IS 'The apps it covers; NULL: every app.';

CREATE VIEW billing.usage_daily WITH (security_barrier) AS
SELECT a.account_id,
       used.app,
       used.action,
       used.user_id,
       (used.at AT TIME ZONE a.time_zone)::date AS day,
       sum(used.tokens)::bigint AS tokens,
       sum(used.calls)::bigint AS calls
  FROM billing.account a
  JOIN (
       SELECT l.account_id, l.app, l.action, l.user_id, l.occurred_at AS at, l.tokens,
              (l.part_of IS NULL)::integer AS calls
         FROM billing.ledger l
        WHERE l.kind = 'consume' AND billing.visible(l.account_id)
        UNION ALL
       SELECT e.account_id, l.app, l.action, l.user_id, e.ended_at, e.tokens, 1
         FROM billing.hold_end e
         JOIN billing.ledger l ON l.account_id = e.account_id AND l.hold_id = e.hold_id
        WHERE e.kind = 'captured' AND l.kind = 'hold' AND l.part_of IS NULL
          AND billing.visible(e.account_id) AND billing.visible(l.account_id)
        UNION ALL
       -- what is refunded counts where it was used
       SELECT r.account_id, o.app, o.action, o.user_id, coalesce(e.ended_at, o.occurred_at), r.tokens, 0
         FROM billing.ledger r
         JOIN billing.ledger f ON f.account_id = r.account_id AND f.entry_no = coalesce(r.part_of, r.entry_no)
         JOIN billing.ledger o ON o.account_id = r.account_id AND o.entry_no = coalesce(f.refund_of, f.entry_no)
         LEFT JOIN billing.hold_end e ON e.account_id = o.account_id AND e.hold_id = o.hold_id
                                     AND billing.visible(e.account_id)
        WHERE r.kind = 'refund' AND billing.visible(r.account_id) AND billing.visible(f.account_id)
          AND billing.visible(o.account_id)) used ON used.account_id = a.account_id
 WHERE billing.visible(a.account_id)
 GROUP BY a.account_id, used.app, used.action, used.user_id, (used.at AT TIME ZONE a.time_zone)::date;
COMMENT ON VIEW billing.usage_daily IS
'Tokens used by day. A captured hold counts with what was captured, on the day of its capture; a refund is taken off the day and the use that it belongs to.';
COMMENT ON COLUMN billing.usage_daily.account_id IS 'The account.';
COMMENT ON COLUMN billing.usage_daily.app IS 'The app they were asked for; NULL: none in particular.';
COMMENT ON COLUMN billing.usage_daily.action IS 'What they were used for, in the application''s words.';
COMMENT ON COLUMN billing.usage_daily.user_id IS 'Who used them, as the application said.';
COMMENT ON COLUMN billing.usage_daily.day IS 'The day in the account''s time zone.';
COMMENT ON COLUMN billing.usage_daily.tokens IS 'Tokens consumed or captured, less refunds.';
COMMENT ON COLUMN billing.usage_daily.calls IS 'Requests, refunded ones too: consumptions and captures.';
