-- Reports on money, and on what needs attention soon. Filtered by account_id each is an index probe.

CREATE VIEW billing.payment_history WITH (security_barrier) AS
SELECT p.account_id,
       billing.shown(p.account_id, p.payment_id) AS payment_id,
       billing.shown(p.account_id, p.received_at) AS received_at,
       billing.shown(p.account_id, p.provider) AS provider,
       billing.shown(p.account_id, p.provider_ref) AS provider_ref,
       p.amount,
       p.tax,
       p.reason = 'accepted' AS accepted,
       p.reason,
       refund.amount AS refunded,
       billing.shown(o.account_id, o.order_id) AS order_id,
       o.action,
       o.plan,
       o.version,
       o.price,
       o.credit,
       o.account_credit,
       o.due,
       CASE WHEN p.reason = 'accepted' THEN o.subscription_id END AS subscription_id
  FROM billing.payment p
  JOIN billing.plan_order o ON o.account_id = p.account_id AND o.order_id = p.order_id
 CROSS JOIN LATERAL (
       SELECT coalesce(billing.sum(r.amount), billing.amount(0, billing.currency(p.amount))) AS amount
         FROM billing.payment_refund r
        WHERE r.account_id = p.account_id AND r.payment_id = p.payment_id) refund
 WHERE billing.visible(p.account_id) AND billing.visible(o.account_id);
COMMENT ON VIEW billing.payment_history IS 'Every payment that a provider told of, with the order it was meant for.';
COMMENT ON COLUMN billing.payment_history.account_id IS 'The account.';
COMMENT ON COLUMN billing.payment_history.payment_id IS 'The payment.';
COMMENT ON COLUMN billing.payment_history.received_at IS 'When it was recorded, by the account''s clock.';
COMMENT ON COLUMN billing.payment_history.provider IS 'Who told.';
COMMENT ON COLUMN billing.payment_history.provider_ref IS 'The provider''s own reference.';
COMMENT ON COLUMN billing.payment_history.amount IS 'What was paid.';
COMMENT ON COLUMN billing.payment_history.tax IS 'The part of it that is tax, where the provider said.';
COMMENT ON COLUMN billing.payment_history.accepted IS 'Whether it paid its order.';
COMMENT ON COLUMN billing.payment_history.reason IS 'accepted; payment_mismatch: it pays for nothing; order_closed: it became account credit.';
COMMENT ON COLUMN billing.payment_history.refunded IS 'What was paid back of it.';
COMMENT ON COLUMN billing.payment_history.order_id IS 'The order.';
COMMENT ON COLUMN billing.payment_history.action IS 'buy, renew, upgrade or downgrade.';
COMMENT ON COLUMN billing.payment_history.plan IS 'The plan ordered.';
COMMENT ON COLUMN billing.payment_history.version IS 'Its version.';
COMMENT ON COLUMN billing.payment_history.price IS 'Its price.';
COMMENT ON COLUMN billing.payment_history.credit IS 'Credit for what was replaced.';
COMMENT ON COLUMN billing.payment_history.account_credit IS 'Account credit set against the price.';
COMMENT ON COLUMN billing.payment_history.due IS 'What was due.';
COMMENT ON COLUMN billing.payment_history.subscription_id IS 'The subscription that it brought or extended; NULL unless accepted.';

-- In what views sum for an account, an amount past the range is the nearest there is: one absurd
-- notice of a payment would else make the view unreadable for everybody.
CREATE VIEW billing.account_credit_balance WITH (security_barrier) AS
SELECT a.account_id,
       c.currency,
       smallest.unit * least(c.balance, 9223372036854775807) AS balance,
       smallest.unit * least(coalesce(o.reserved, 0), 9223372036854775807) AS reserved,
       smallest.unit * least(c.balance - coalesce(o.reserved, 0), 9223372036854775807) AS available
  FROM billing.account a
 CROSS JOIN LATERAL (SELECT coalesce(a.test_clock, statement_timestamp()) AS now) clock
 CROSS JOIN LATERAL (
       SELECT billing.currency(c.amount) AS currency, sum(billing.minor_units(c.amount)) AS balance
         FROM billing.account_credit c
        WHERE c.account_id = a.account_id
        GROUP BY billing.currency(c.amount)) c
 CROSS JOIN LATERAL (
       SELECT sum(billing.minor_units(o.account_credit)) FILTER (WHERE o.expires_at > clock.now) AS reserved
         FROM billing.plan_order o
        WHERE o.account_id = a.account_id AND o.status = 'open'
          AND billing.currency(o.account_credit) = c.currency) o
 CROSS JOIN LATERAL (
       SELECT billing.amount(round(10::numeric ^ (- billing.currency_decimals(c.currency)),
                                   billing.currency_decimals(c.currency)), c.currency) AS unit) smallest
 WHERE billing.visible(a.account_id);
COMMENT ON VIEW billing.account_credit_balance IS 'Money that accounts have left for later orders, by currency. A sum past the range of amounts is shown as the largest there is.';
COMMENT ON COLUMN billing.account_credit_balance.account_id IS 'The account.';
COMMENT ON COLUMN billing.account_credit_balance.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN billing.account_credit_balance.balance IS 'What was credited and neither spent nor paid back.';
COMMENT ON COLUMN billing.account_credit_balance.reserved IS 'The part that open orders have set aside.';
COMMENT ON COLUMN billing.account_credit_balance.available IS 'The part that the next order uses.';

-- Where the money of an account is. A period holds what was paid for it, less what was credited
-- when it was replaced and what was paid back; credit that came into it leaves first.
CREATE VIEW billing.payment_conservation WITH (security_barrier) AS
SELECT a.account_id,
       m.currency,
       smallest.unit * least(m.paid, 9223372036854775807) AS paid,
       smallest.unit * least(m.used, 9223372036854775807) AS used,
       smallest.unit * least(m.credited, 9223372036854775807) AS credited,
       smallest.unit * least(m.refunded, 9223372036854775807) AS refunded,
       smallest.unit * least(m.account_credit, 9223372036854775807) AS account_credit,
       smallest.unit * least(m.unapplied, 9223372036854775807) AS unapplied,
       smallest.unit * greatest(-9223372036854775808, least(9223372036854775807,
           m.paid - m.used - m.credited - m.refunded - m.account_credit - m.unapplied)) AS difference
  FROM billing.account a
 CROSS JOIN LATERAL (
       SELECT billing.currency(part.amount) AS currency,
              coalesce(sum(billing.minor_units(part.amount)) FILTER (WHERE part.kind = 'paid'), 0) AS paid,
              coalesce(sum(billing.minor_units(part.amount)) FILTER (WHERE part.kind = 'used'), 0) AS used,
              coalesce(sum(billing.minor_units(part.amount)) FILTER (WHERE part.kind = 'credited'), 0) AS credited,
              coalesce(sum(billing.minor_units(part.amount)) FILTER (WHERE part.kind = 'refunded'), 0) AS refunded,
              coalesce(sum(billing.minor_units(part.amount)) FILTER (WHERE part.kind = 'account_credit'), 0) AS account_credit,
              coalesce(sum(billing.minor_units(part.amount)) FILTER (WHERE part.kind = 'unapplied'), 0) AS unapplied
         FROM (
              SELECT 'paid' AS kind, p.amount
                FROM billing.payment p
               WHERE p.account_id = a.account_id
              UNION ALL
              SELECT 'unapplied', p.amount
                FROM billing.payment p
               WHERE p.account_id = a.account_id AND p.reason = 'payment_mismatch'
              UNION ALL
              SELECT 'unapplied', - r.amount
                FROM billing.payment_refund r
                JOIN billing.payment p ON p.account_id = r.account_id AND p.payment_id = r.payment_id
               WHERE r.account_id = a.account_id AND p.reason = 'payment_mismatch'
              UNION ALL
              SELECT 'refunded', r.amount
                FROM billing.payment_refund r
               WHERE r.account_id = a.account_id
              UNION ALL
              SELECT 'account_credit', c.amount
                FROM billing.account_credit c
               WHERE c.account_id = a.account_id
              UNION ALL
              SELECT split.kind, split.amount
                FROM billing.subscription_period s
                JOIN billing.plan_order o ON o.account_id = s.account_id AND o.order_id = s.order_id
               CROSS JOIN LATERAL (SELECT s.paid - s.paid AS nothing) z
               CROSS JOIN LATERAL (
                     SELECT s.paid - coalesce(s.credited, z.nothing) - coalesce(s.refunded, z.nothing) AS held,
                            billing.amount_larger(o.price - o.due - coalesce(s.credited, z.nothing), z.nothing) AS came_by_credit) h
               CROSS JOIN LATERAL (VALUES
                     ('credited', billing.amount_smaller(h.came_by_credit, h.held)),
                     ('used', h.held - billing.amount_smaller(h.came_by_credit, h.held))) split (kind, amount)
               WHERE s.account_id = a.account_id) part
        GROUP BY billing.currency(part.amount)) m
 CROSS JOIN LATERAL (
       SELECT billing.amount(round(10::numeric ^ (- billing.currency_decimals(m.currency)),
                                   billing.currency_decimals(m.currency)), m.currency) AS unit) smallest
 WHERE billing.visible(a.account_id);
COMMENT ON VIEW billing.payment_conservation IS
'Where the money of the accounts is, recomputed from the rows, by currency: paid = used + credited + refunded + account_credit + unapplied at every commit. A row whose difference is not zero means that rows were changed by hand. A sum past the range of amounts is shown as the largest there is; difference is of the sums themselves.';
COMMENT ON COLUMN billing.payment_conservation.account_id IS 'The account.';
COMMENT ON COLUMN billing.payment_conservation.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN billing.payment_conservation.paid IS 'All payments, accepted or not.';
COMMENT ON COLUMN billing.payment_conservation.used IS 'Pays for the periods it was paid for, past, current and to come.';
COMMENT ON COLUMN billing.payment_conservation.credited IS 'Pays for other periods than those it was paid for: credit for what was replaced, and account credit spent.';
COMMENT ON COLUMN billing.payment_conservation.refunded IS 'Paid back.';
COMMENT ON COLUMN billing.payment_conservation.account_credit IS 'Left for later orders, what open ones have set aside included.';
COMMENT ON COLUMN billing.payment_conservation.unapplied IS 'Payments of a wrong amount or currency, less what was paid back of them.';
COMMENT ON COLUMN billing.payment_conservation.difference IS 'paid less all others: zero.';

CREATE VIEW billing.revenue_monthly WITH (security_barrier) AS
SELECT part.month,
       part.currency,
       count(*) FILTER (WHERE part.kind = 'booked') AS payments,
       billing.amount(coalesce(sum(part.value) FILTER (WHERE part.kind = 'booked'), 0), part.currency) AS booked,
       billing.amount(coalesce(sum(part.value) FILTER (WHERE part.kind = 'refunded'), 0), part.currency) AS refunded,
       billing.amount(round(coalesce(sum(part.value) FILTER (WHERE part.kind = 'recurring'), 0),
           billing.currency_decimals(part.currency)), part.currency) AS recurring
  FROM (
       SELECT 'booked' AS kind, date_trunc('month', p.received_at AT TIME ZONE 'UTC')::date AS month,
              billing.currency(p.amount) AS currency, p.amount::numeric AS value
         FROM billing.payment p
         JOIN billing.account a ON a.account_id = p.account_id
        WHERE p.reason = 'accepted' AND NOT a.is_test AND billing.visible(a.account_id)
          AND billing.visible(p.account_id)
       UNION ALL
       SELECT 'refunded', date_trunc('month', r.refunded_at AT TIME ZONE 'UTC')::date,
              billing.currency(r.amount), r.amount::numeric
         FROM billing.payment_refund r
         JOIN billing.payment p ON p.account_id = r.account_id AND p.payment_id = r.payment_id
         JOIN billing.account a ON a.account_id = r.account_id
        WHERE p.reason = 'accepted' AND NOT a.is_test AND billing.visible(a.account_id)
          AND billing.visible(r.account_id) AND billing.visible(p.account_id)
       UNION ALL
       SELECT 'recurring', month.start::date, billing.currency(s.price), s.price::numeric / length.months
         FROM billing.subscription_period s
         JOIN billing.account a ON a.account_id = s.account_id
         JOIN billing.plan_version v ON v.plan = s.plan AND v.version = s.version
        CROSS JOIN LATERAL (
              SELECT extract(year FROM v.duration) * 12 + extract(month FROM v.duration) AS whole) months
        CROSS JOIN LATERAL (
              SELECT months.whole + extract(epoch FROM v.duration - make_interval(months => months.whole::integer))
                     / 86400 / 30.436875 AS months) length
        CROSS JOIN LATERAL (
              SELECT start, start + interval '1 month' AS following, statement_timestamp() AT TIME ZONE 'UTC' AS now
                FROM generate_series(
                         date_trunc('month', s.effective_at AT TIME ZONE 'UTC'),
                         least(s.expires_at, statement_timestamp()) AT TIME ZONE 'UTC',
                         interval '1 month') start) month
        WHERE s.kind = 'subscription' AND NOT s.void AND NOT a.is_test AND billing.visible(a.account_id)
          AND billing.visible(s.account_id) AND billing.minor_units(s.paid) > 0
          AND CASE
                  WHEN month.following > month.now THEN
                      s.effective_at AT TIME ZONE 'UTC' <= month.now AND s.expires_at AT TIME ZONE 'UTC' > month.now
                  ELSE
                      s.effective_at AT TIME ZONE 'UTC' < month.following AND s.expires_at AT TIME ZONE 'UTC' >= month.following
              END) part
 GROUP BY part.month, part.currency;
COMMENT ON VIEW billing.revenue_monthly IS
'Revenue by calendar month (UTC) and currency, of all accounts that never had a test clock.';
COMMENT ON COLUMN billing.revenue_monthly.month IS 'First day of the month.';
COMMENT ON COLUMN billing.revenue_monthly.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN billing.revenue_monthly.payments IS 'Number of accepted payments.';
COMMENT ON COLUMN billing.revenue_monthly.booked IS 'Sum of accepted payments, by when they were received.';
COMMENT ON COLUMN billing.revenue_monthly.refunded IS 'What was paid back of accepted payments, by when that was.';
COMMENT ON COLUMN billing.revenue_monthly.recurring IS 'What the paid subscription plans in force in the last instant of the month (of the current one: now) would bring a month if all were renewed: price divided by the duration in months, a month being 30.436875 days where it is given in days. Token plans do not recur.';

CREATE VIEW billing.expiring_soon WITH (security_barrier) AS
SELECT s.account_id,
       a.name,
       billing.shown(s.account_id, s.subscription_id) AS subscription_id,
       s.plan,
       s.kind,
       billing.shown(s.account_id, s.expires_at) AS expires_at,
       s.expires_at - clock.now AS expires_in,
       s.canceled_at IS NOT NULL AS canceled
  FROM billing.account a
 CROSS JOIN LATERAL (SELECT coalesce(a.test_clock, statement_timestamp()) AS now) clock
  JOIN billing.subscription s ON s.account_id = a.account_id
 WHERE billing.visible(a.account_id) AND billing.visible(s.account_id) AND a.closed_at IS NULL AND NOT s.void AND s.replaced_by IS NULL
   AND NOT EXISTS (
       SELECT FROM billing.subscription_period e
         JOIN billing.subscription_period f ON f.account_id = e.account_id
         JOIN billing.subscription n ON n.account_id = f.account_id AND n.subscription_id = f.subscription_id
        WHERE e.account_id = s.account_id AND e.subscription_id = s.subscription_id AND e.expires_at = s.expires_at
          AND NOT e.void AND NOT f.void AND f.kind = e.kind AND (f.apps IS NULL OR e.apps <@ f.apps)
          AND f.effective_at <= s.expires_at AND f.expires_at > s.expires_at AND n.effective_at > s.effective_at)
   AND s.effective_at <= clock.now AND s.expires_at > clock.now
   AND s.expires_at <= clock.now + make_interval(
           days => coalesce(nullif(current_setting('billing.expiring_soon_days', true), ''), '7')::integer);
COMMENT ON VIEW billing.expiring_soon IS
'Subscriptions whose time is over within billing.expiring_soon_days and that are neither renewed nor followed: by what is scheduled in their place, or by a subscription of the same kind that covers their apps, begins after they did and no later than they end, and lasts longer.';
COMMENT ON COLUMN billing.expiring_soon.account_id IS 'The account.';
COMMENT ON COLUMN billing.expiring_soon.name IS 'Its name.';
COMMENT ON COLUMN billing.expiring_soon.subscription_id IS 'The subscription.';
COMMENT ON COLUMN billing.expiring_soon.plan IS 'The plan held.';
COMMENT ON COLUMN billing.expiring_soon.kind IS 'subscription or token.';
COMMENT ON COLUMN billing.expiring_soon.expires_at IS 'When it ends.';
COMMENT ON COLUMN billing.expiring_soon.expires_in IS 'Until then.';
COMMENT ON COLUMN billing.expiring_soon.canceled IS 'Whether it was cancelled, so that no renewal is to be expected.';

CREATE VIEW billing.exhausting_soon WITH (security_barrier) AS
SELECT a.account_id,
       a.name,
       billing.shown(s.account_id, s.subscription_id) AS subscription_id,
       s.plan,
       s.kind,
       granted.tokens AS tokens_granted,
       package.tokens_left
  FROM billing.account a
 CROSS JOIN LATERAL (SELECT coalesce(a.test_clock, statement_timestamp()) AS now) clock
 CROSS JOIN LATERAL billing.packages(a.account_id) package
  JOIN billing.subscription s ON s.account_id = a.account_id AND s.subscription_id = package.subscription_id
 CROSS JOIN LATERAL (
       SELECT sum(g.tokens)::bigint AS tokens
         FROM billing.token_grant g
        WHERE g.account_id = a.account_id AND g.subscription_id = s.subscription_id AND g.voided_at IS NULL
          AND g.effective_at <= clock.now AND g.expires_at > clock.now) granted
 WHERE billing.visible(a.account_id) AND billing.visible(s.account_id) AND a.closed_at IS NULL AND package.tokens_left > 0
   AND package.tokens_left::numeric * 100 <= granted.tokens::numeric
       * coalesce(nullif(current_setting('billing.exhausting_soon_percent', true), ''), '10')::integer;
COMMENT ON VIEW billing.exhausting_soon IS
'Subscriptions of whose usable tokens at most billing.exhausting_soon_percent are left, but not none.';
COMMENT ON COLUMN billing.exhausting_soon.account_id IS 'The account.';
COMMENT ON COLUMN billing.exhausting_soon.name IS 'Its name.';
COMMENT ON COLUMN billing.exhausting_soon.subscription_id IS 'The subscription.';
COMMENT ON COLUMN billing.exhausting_soon.plan IS 'The plan held.';
COMMENT ON COLUMN billing.exhausting_soon.kind IS 'subscription or token.';
COMMENT ON COLUMN billing.exhausting_soon.tokens_granted IS 'Tokens of its grants that are in their time.';
COMMENT ON COLUMN billing.exhausting_soon.tokens_left IS 'Of these neither used nor held.';
