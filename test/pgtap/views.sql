-- The views against a model in plain SQL that knows neither their functions nor checkpoints, over
-- generated accounts in every state; and what they promise about their columns and their cost.

BEGIN;

SET LOCAL search_path = public, pg_temp;
SET LOCAL client_min_messages = warning;
-- So that most balances come from a checkpoint and a tail.
SET LOCAL billing.checkpoint_entries = 3;
-- A restore: users over their limit may be loaded.
SET LOCAL check_function_bodies = off;

SELECT no_plan();

-- The contract: at least these columns, in this order.
CREATE TEMP TABLE contract (view text, columns text);
INSERT INTO contract VALUES
    ('account_status', 'account_id,name,status,level,reason,message,plans,expires_at,tokens_remaining,seats_used,seats_allowed,packages'),
    ('account_package', 'account_id,subscription_id,plan,version,kind,apps,status,effective_at,expires_at,tokens_granted,tokens_used,tokens_held,tokens_left'),
    ('account_member', 'account_id,user_id,email,role,status,has_seat,reason,added_at'),
    ('usage_daily', 'account_id,app,action,user_id,day,tokens,calls');
SELECT is((SELECT string_agg(a.attname, ',' ORDER BY a.attnum)
             FROM pg_attribute a
            WHERE a.attrelid = format('billing.%I', c.view)::regclass AND a.attnum > 0
              AND a.attnum <= cardinality(string_to_array(c.columns, ','))),
          c.columns, c.view || ': columns')
  FROM contract c;

-- Catalogue.
SELECT billing.create_app('crm', 'CRM'), billing.create_app('ai', 'AI'), billing.create_app('mail', 'Mail');
SELECT billing.create_plan('free', 'free', 'Free', user_limit => 2, permissions => '{crm:read}'),
       billing.create_plan('small', 'subscription', 'Small', '10 USD', '30 days', user_limit => 3, permissions => '{crm:*}'),
       billing.create_plan('large', 'subscription', 'Large', '50 USD', '1 month', tokens => 40, user_limit => 5),
       billing.create_plan('open', 'subscription', NULL, '0 USD', '720 hours', permissions => '{mail:*}'),
       billing.create_plan('pack', 'token', 'Pack', '5 USD', tokens => 25, app => 'ai'),
       billing.create_plan('monthpack', 'token', NULL, '7 USD', '1 month', tokens => 30, user_limit => 4),
       billing.create_plan('unpriced', 'subscription', 'By hand', duration => '1 year'),
       billing.create_plan('gone', 'subscription', 'Gone', '1 USD', '1 day');
SELECT billing.revise_plan('small', price => '12 USD', user_limit => 4), billing.retire_plan('gone');

SELECT results_eq('SELECT c::text FROM (SELECT plan, version, name, price, user_limit FROM billing.plan_catalogue ORDER BY plan) c',
    ARRAY['(large,1,Large,"50.00 USD",5)', '(monthpack,1,monthpack,"7.00 USD",4)', '(open,1,open,"0.00 USD",)',
          '(pack,1,Pack,"5.00 USD",)', '(small,2,Small,"12.00 USD",4)'],
    'plan_catalogue: the newest versions of what can be ordered');

-- Accounts in every state, on test clocks and on real time.
CREATE TEMP TABLE sample AS
SELECT n, billing.create_account('Account ' || n,
              time_zone => (ARRAY['UTC', 'Asia/Kolkata', 'America/New_York', 'Pacific/Auckland'])[1 + n % 4]) AS account_id
  FROM generate_series(1, 150) n;
SELECT setseed(0.42);

DO $$
DECLARE
    s record;
    code text;
    step integer;
    held uuid;
    clock timestamptz;
BEGIN
    PERFORM billing.set_test_clock(account_id, now() + n * interval '1 minute') FROM sample WHERE n % 5 <> 0;
    FOR step IN 1 .. 8 LOOP
        PERFORM billing.revise_plan(c, user_limit => 2 + step % 4) FROM unnest('{small,large,monthpack}'::text[]) c;
        FOR s IN SELECT * FROM sample WHERE random() < 0.75 ORDER BY n LOOP
            code := (ARRAY['small', 'large', 'open', 'pack', 'monthpack', 'unpriced'])[1 + floor(random() * 6)];
            clock := billing.now(s.account_id);
            CASE floor(random() * 10)
                WHEN 0 THEN
                    BEGIN
                        PERFORM billing.subscribe(s.account_id, code, clock + random() * interval '40 days');
                    EXCEPTION WHEN exclusion_violation THEN
                    END;
                WHEN 1, 2, 3 THEN
                    PERFORM billing.subscribe(s.account_id, code,
                        tokens => CASE WHEN random() < 0.3 THEN 1 + floor(random() * 20)::bigint END);
                WHEN 4 THEN
                    PERFORM billing.grant_tokens(s.account_id, 1 + floor(random() * 9)::bigint,
                        expires_at => CASE WHEN random() < 0.5 THEN clock + random() * interval '40 days' END,
                        priority => floor(random() * 200)::bigint,
                        app => (ARRAY['crm', 'ai', NULL])[1 + floor(random() * 3)],
                        subscription_id => CASE WHEN random() < 0.5 THEN
                            (SELECT x.subscription_id FROM billing.subscription x WHERE x.account_id = s.account_id LIMIT 1) END);
                WHEN 5, 6, 7 THEN
                    PERFORM billing.try_consume_tokens(s.account_id, 1 + floor(random() * 25)::bigint,
                        app => (ARRAY['crm', 'ai', NULL])[1 + floor(random() * 3)],
                        action => (ARRAY['write', 'draw', NULL])[1 + floor(random() * 3)])
                       FROM generate_series(1, 1 + (random() * 4)::integer);
                ELSE
                    IF s.n % 5 <> 0 THEN
                        PERFORM billing.advance_test_clock(s.account_id, random() * interval '45 days' + interval '1 hour');
                    END IF;
            END CASE;
        END LOOP;
    END LOOP;
END $$;

-- Cancellations and replacements, as rows.
UPDATE billing.subscription SET void = true WHERE effective_at > billing.now(account_id) AND random() < 0.2;
UPDATE billing.subscription_period p SET void = true
  FROM billing.subscription s WHERE s.subscription_id = p.subscription_id AND s.void;
CREATE TEMP TABLE dropped AS
SELECT subscription_id, min(period_no) AS period_no FROM billing.subscription_period
 WHERE period_no > 1 AND effective_at > billing.now(account_id) AND random() < 0.3 GROUP BY subscription_id;
UPDATE billing.subscription_period p SET void = true
  FROM dropped d WHERE d.subscription_id = p.subscription_id AND p.period_no >= d.period_no;
UPDATE billing.subscription s
   SET expires_at = (SELECT max(p.expires_at) FROM billing.subscription_period p
                      WHERE p.subscription_id = s.subscription_id AND p.period_no < d.period_no)
  FROM dropped d WHERE d.subscription_id = s.subscription_id;
UPDATE billing.subscription s SET canceled_at = expires_at WHERE expires_at <= billing.now(account_id) AND random() < 0.3;
UPDATE billing.subscription s SET canceled_at = effective_at WHERE canceled_at IS NULL AND NOT void AND random() < 0.1;
UPDATE billing.subscription s SET replaced_by = gen_random_uuid() WHERE random() < 0.1;

-- Holds, open, open still although they are over, captured in whole and in part, released; refunds; voided grants: as ledger rows.
CREATE FUNCTION pg_temp.next_entry(uuid) RETURNS bigint LANGUAGE sql AS
    'SELECT coalesce(max(entry_no), 0) + 1 FROM billing.ledger WHERE account_id = $1';
CREATE FUNCTION pg_temp.available(uuid, uuid) RETURNS bigint LANGUAGE sql AS
    'SELECT g.tokens - coalesce((SELECT sum(l.tokens) FROM billing.ledger l WHERE l.account_id = $1 AND l.grant_id = $2), 0)
       FROM billing.token_grant g WHERE g.account_id = $1 AND g.grant_id = $2';

DO $$
DECLARE
    g record;
    l record;
    held uuid;
    used bigint;
    at timestamptz;
BEGIN
    FOR g IN SELECT account_id, grant_id, billing.now(account_id) AS now FROM billing.token_grant ORDER BY grant_id LOOP
        at := g.now - random() * interval '3 days';
        IF random() < 0.5 AND pg_temp.available(g.account_id, g.grant_id) >= 2 THEN
            held := gen_random_uuid();
            INSERT INTO billing.hold (account_id, hold_id, tokens, created_at, expires_at)
            VALUES (g.account_id, held, 2, at, at + CASE WHEN random() < 0.5 THEN interval '15 minutes' ELSE interval '10 days' END);
            INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens, kind, occurred_at, app, action, hold_id, asked)
            VALUES (g.account_id, pg_temp.next_entry(g.account_id), g.grant_id, 2, 'hold', at, 'ai', 'train', held, 2);
            IF random() < 0.7 THEN
                used := floor(random() * 3)::bigint;
                IF used < 2 THEN
                    INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens, kind, occurred_at, hold_id)
                    VALUES (g.account_id, pg_temp.next_entry(g.account_id), g.grant_id, used - 2,
                        CASE used WHEN 0 THEN 'release' ELSE 'capture' END, at, held);
                END IF;
                INSERT INTO billing.hold_end (account_id, hold_id, kind, tokens, answer, ended_at)
                VALUES (g.account_id, held, CASE used WHEN 0 THEN 'released' ELSE 'captured' END, used, 0, at + interval '14 hours');
                UPDATE billing.hold SET ended = true WHERE account_id = g.account_id AND hold_id = held;
            END IF;
        END IF;
        IF random() < 0.2 AND pg_temp.available(g.account_id, g.grant_id) > 0 THEN
            INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens, kind, occurred_at)
            VALUES (g.account_id, pg_temp.next_entry(g.account_id), g.grant_id,
                pg_temp.available(g.account_id, g.grant_id), 'void', g.now);
            UPDATE billing.token_grant SET voided_at = g.now WHERE account_id = g.account_id AND grant_id = g.grant_id;
        END IF;
    END LOOP;
    FOR l IN SELECT * FROM billing.ledger WHERE kind = 'consume' AND part_of IS NULL AND random() < 0.3 ORDER BY account_id, entry_no LOOP
        INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens, kind, occurred_at, refund_of)
        VALUES (l.account_id, pg_temp.next_entry(l.account_id), l.grant_id, -1, 'refund', l.occurred_at + interval '2 days', l.entry_no);
        INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens, kind, occurred_at, part_of)
        SELECT c.account_id, pg_temp.next_entry(c.account_id), c.grant_id, -1, 'refund', l.occurred_at + interval '2 days',
               pg_temp.next_entry(c.account_id) - 1
          FROM billing.ledger c WHERE c.account_id = l.account_id AND c.part_of = l.entry_no LIMIT 1;
    END LOOP;
END $$;

-- Users: more than any limit, some disabled, some removed, some added at the same instant.
INSERT INTO billing.account_user (account_id, user_id, email, email_key, role, added_at, disabled_at, removed_at)
SELECT s.account_id, gen_random_uuid(),
       CASE WHEN NOT removed THEN format('user%s@account%s.example', i, s.n) END,
       CASE WHEN NOT removed THEN format('user%s@account%s.example', i, s.n) END,
       CASE WHEN random() < 0.3 THEN 'admin' ELSE 'member' END,
       now() + floor(random() * 3) * interval '1 second',
       CASE WHEN random() < 0.2 THEN now() END,
       CASE WHEN removed THEN now() END
  FROM sample s, generate_series(1, 7) i, LATERAL (SELECT random() < 0.1 + 0 * i AS removed) r
 WHERE s.n % 7 <> 0;

-- What chance may have left out.
INSERT INTO sample SELECT 1000, billing.create_account('Used up');
SELECT billing.subscribe(account_id, 'pack', tokens => 3), billing.consume_tokens(account_id, 3, 'ai') FROM sample WHERE n = 1000;

SELECT billing.suspend_account(account_id, 'test') FROM sample WHERE n % 11 = 0;
SELECT billing.close_account(account_id) FROM sample WHERE n % 31 = 0;

-- The model.
CREATE TEMP VIEW model_account AS
SELECT *, coalesce(test_clock, statement_timestamp()) AS now, suspended_at IS NULL AS may FROM billing.account;

CREATE TEMP VIEW model_grant AS
SELECT g.account_id, g.grant_id, g.subscription_id, g.tokens,
       coalesce(sum(l.tokens) FILTER (WHERE l.kind <> 'void' AND (l.hold_id IS NULL OR e.hold_id IS NOT NULL)), 0) AS used,
       coalesce(sum(l.tokens) FILTER (WHERE l.hold_id IS NOT NULL AND e.hold_id IS NULL), 0) AS held,
       CASE WHEN g.voided_at IS NULL AND g.effective_at <= a.now AND a.now < g.expires_at
            THEN g.tokens - coalesce(sum(l.tokens), 0) ELSE 0 END AS usable
  FROM billing.token_grant g
  JOIN model_account a USING (account_id)
  LEFT JOIN billing.ledger l ON l.account_id = g.account_id AND l.grant_id = g.grant_id
       AND NOT EXISTS (SELECT FROM billing.hold h WHERE h.account_id = l.account_id AND h.hold_id = l.hold_id AND NOT h.ended AND h.expires_at <= a.now)
  LEFT JOIN billing.hold_end e ON e.account_id = l.account_id AND e.hold_id = l.hold_id
 GROUP BY g.account_id, g.grant_id, a.now;

CREATE TEMP VIEW model_current AS
SELECT p.*, a.may AND (p.kind = 'subscription' OR EXISTS (
           SELECT FROM model_grant g WHERE g.subscription_id = p.subscription_id AND g.usable > 0)) AS in_force
  FROM billing.subscription_period p
  JOIN model_account a USING (account_id)
 WHERE NOT p.void AND p.effective_at <= a.now AND a.now < p.expires_at;

CREATE TEMP VIEW model_package AS
SELECT s.account_id, s.subscription_id, s.plan,
       coalesce((SELECT c.version FROM model_current c WHERE c.subscription_id = s.subscription_id),
                (SELECT p.version FROM billing.subscription_period p WHERE p.subscription_id = s.subscription_id
                    AND p.expires_at <= a.now AND p.void = s.void ORDER BY p.period_no DESC LIMIT 1),
                (SELECT p.version FROM billing.subscription_period p WHERE p.subscription_id = s.subscription_id
                    AND p.void = s.void ORDER BY p.period_no LIMIT 1)) AS version,
       s.kind,
       CASE WHEN s.void AND s.replaced_by IS NOT NULL THEN 'replaced'
            WHEN s.void THEN 'cancelled'
            WHEN a.now < s.effective_at THEN 'scheduled'
            WHEN a.now >= s.expires_at AND s.replaced_by IS NOT NULL THEN 'replaced'
            WHEN a.now >= s.expires_at AND s.canceled_at >= s.expires_at THEN 'cancelled'
            WHEN a.now >= s.expires_at THEN 'expired'
            WHEN NOT a.may THEN 'suspended'
            WHEN EXISTS (SELECT FROM model_current c WHERE c.subscription_id = s.subscription_id AND c.in_force) THEN 'active'
            ELSE 'exhausted' END AS status,
       s.effective_at,
       CASE WHEN isfinite(s.expires_at) THEN s.expires_at END AS expires_at,
       t.*
  FROM billing.subscription s
  JOIN model_account a USING (account_id)
 CROSS JOIN LATERAL (SELECT coalesce(sum(g.tokens), 0) AS granted, coalesce(sum(g.used), 0) AS used,
                            coalesce(sum(g.held), 0) AS held, coalesce(sum(g.usable), 0) AS usable
                       FROM model_grant g WHERE g.subscription_id = s.subscription_id) t;

CREATE TEMP VIEW model_free AS
SELECT v.* FROM billing.plan p JOIN billing.plan_version v ON v.plan = p.code
 WHERE p.is_free_plan ORDER BY v.version DESC LIMIT 1;

CREATE TEMP VIEW model_seats AS
SELECT a.account_id,
       CASE WHEN bool_or(v.user_limit IS NULL AND v.kind = 'subscription') THEN NULL
            WHEN max(v.user_limit) IS NOT NULL THEN max(v.user_limit)
            WHEN EXISTS (SELECT FROM model_free) THEN (SELECT f.user_limit FROM model_free f)
            ELSE 1 END AS allowed
  FROM model_account a
  LEFT JOIN model_current c ON c.account_id = a.account_id AND c.in_force
  LEFT JOIN billing.plan_version v ON v.plan = c.plan AND v.version = c.version
 GROUP BY a.account_id;

CREATE TEMP VIEW model_status AS
SELECT a.account_id, a.name,
       CASE WHEN a.closed_at IS NOT NULL THEN 'closed' WHEN NOT a.may THEN 'suspended'
            WHEN f.plans IS NOT NULL THEN 'active' WHEN EXISTS (SELECT FROM model_free) THEN 'limited'
            ELSE 'inactive' END AS status,
       CASE WHEN NOT a.may THEN 'none' WHEN f.plans IS NOT NULL THEN 'full'
            WHEN EXISTS (SELECT FROM model_free) THEN 'limited' ELSE 'none' END AS level,
       CASE WHEN NOT a.may THEN 'account_suspended' WHEN f.plans IS NOT NULL THEN 'allowed'
            WHEN EXISTS (SELECT FROM model_current c WHERE c.account_id = a.account_id) THEN 'tokens_exhausted'
            WHEN EXISTS (SELECT FROM billing.subscription_period p WHERE p.account_id = a.account_id AND NOT p.void
                            AND p.expires_at <= a.now) THEN 'package_expired'
            ELSE 'no_active_plan' END AS reason,
       CASE WHEN NOT a.may THEN '{}' ELSE coalesce(f.plans, (SELECT ARRAY[plan::text] FROM model_free), '{}') END AS plans,
       CASE WHEN isfinite(f.expires_at) THEN f.expires_at END AS expires_at,
       (SELECT coalesce(sum(g.usable), 0) FROM model_grant g WHERE g.account_id = a.account_id) AS tokens_remaining,
       (SELECT count(*) FROM billing.account_user u
         WHERE u.account_id = a.account_id AND coalesce(u.disabled_at, u.removed_at) IS NULL) AS seats_used,
       (SELECT s.allowed FROM model_seats s WHERE s.account_id = a.account_id) AS seats_allowed
  FROM model_account a
  LEFT JOIN (SELECT c.account_id, array_agg(c.plan::text ORDER BY c.plan) AS plans, max(s.expires_at) AS expires_at
               FROM model_current c JOIN billing.subscription s USING (subscription_id)
              WHERE c.in_force GROUP BY c.account_id) f USING (account_id);

CREATE TEMP VIEW model_member AS
SELECT u.account_id, u.user_id, u.email, u.role,
       CASE WHEN u.disabled_at IS NOT NULL THEN 'disabled' WHEN seat THEN 'active' ELSE 'over_limit' END AS status,
       seat AS has_seat,
       CASE WHEN NOT a.may THEN 'account_suspended' WHEN u.disabled_at IS NOT NULL THEN 'user_disabled'
            WHEN NOT seat THEN 'user_over_limit' ELSE st.reason END AS reason,
       u.added_at
  FROM (SELECT *, row_number() OVER (PARTITION BY account_id, disabled_at IS NULL
                                     ORDER BY (role = 'admin') DESC, added_at, user_id) AS place
          FROM billing.account_user WHERE removed_at IS NULL) u
  JOIN model_account a USING (account_id)
  JOIN model_status st USING (account_id)
 CROSS JOIN LATERAL (SELECT u.disabled_at IS NULL AND u.place <= coalesce(st.seats_allowed, u.place) AS seat) s;

CREATE TEMP VIEW model_usage AS
SELECT account_id, app, action, user_id, (at AT TIME ZONE time_zone)::date AS day,
       sum(tokens)::bigint AS tokens, sum(calls)::bigint AS calls
  FROM (SELECT c.account_id, c.app, c.action, c.user_id, c.occurred_at AS at,
               c.tokens + coalesce((SELECT sum(p.tokens) FROM billing.ledger p
                                     WHERE p.account_id = c.account_id AND p.part_of = c.entry_no), 0)
                        + coalesce((SELECT r.tokens + coalesce((SELECT sum(p.tokens) FROM billing.ledger p
                                                WHERE p.account_id = r.account_id AND p.part_of = r.entry_no), 0)
                                      FROM billing.ledger r
                                     WHERE r.account_id = c.account_id AND r.refund_of = c.entry_no), 0) AS tokens,
               1 AS calls
          FROM billing.ledger c WHERE c.kind = 'consume' AND c.part_of IS NULL
         UNION ALL
        SELECT e.account_id, 'ai', 'train', NULL, e.ended_at, e.tokens, 1
          FROM billing.hold_end e WHERE e.kind = 'captured') u
  JOIN billing.account USING (account_id)
 GROUP BY 1, 2, 3, 4, 5;

CREATE FUNCTION pg_temp.compare(label text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN NEXT bag_eq(
        'SELECT account_id, subscription_id, plan, version, kind, status, effective_at, expires_at,
                tokens_granted, tokens_used, tokens_held, tokens_left FROM billing.account_package',
        'SELECT account_id, subscription_id, plan, version, kind, status, effective_at, expires_at,
                granted::bigint, used::bigint, held::bigint, usable::bigint FROM model_package',
        label || ': account_package');
    RETURN NEXT bag_eq(
        'SELECT account_id, name, status, level, reason, plans, expires_at, tokens_remaining, seats_used, seats_allowed
           FROM billing.account_status',
        'SELECT account_id, name, status, level, reason, plans, expires_at, tokens_remaining::bigint, seats_used, seats_allowed
           FROM model_status',
        label || ': account_status');
    RETURN NEXT bag_eq('SELECT * FROM billing.account_member', 'SELECT * FROM model_member', label || ': account_member');
    RETURN NEXT bag_eq('SELECT account_id, app, action, user_id, day, tokens, calls FROM billing.usage_daily',
        'SELECT * FROM model_usage', label || ': usage_daily');
    RETURN NEXT is_empty(
        'SELECT m.* FROM billing.account_member m,
                LATERAL billing.check_access(m.account_id, NULL, m.user_id) c
          WHERE c.reason <> m.reason',
        label || ': a member''s reason is what check_access answers');
    RETURN NEXT is_empty(
        'SELECT s.account_id FROM billing.account_status s
          WHERE s.packages IS DISTINCT FROM
                CASE s.level WHEN ''limited'' THEN (SELECT jsonb_build_array(jsonb_build_object(''plan'', plan, ''name'', name,
                    ''version'', version, ''kind'', kind, ''apps'', apps, ''status'', ''active'')) FROM model_free)
                ELSE ''[]'' END ||
                (SELECT coalesce(jsonb_agg(to_jsonb(p) - ''account_id'' ORDER BY p.plan, p.effective_at), ''[]'')
                   FROM billing.account_package p
                   JOIN billing.subscription b USING (account_id, subscription_id)
                  WHERE p.account_id = s.account_id AND NOT b.void AND b.expires_at > billing.now(s.account_id))',
        label || ': packages are those of account_package that are not over');
END $$;

SELECT cmp_ok((SELECT count(*) FROM billing.checkpoint), '>', 20::bigint, 'the data: balances with checkpoints');
SELECT set_eq('SELECT DISTINCT status FROM billing.account_package',
    ARRAY['active', 'exhausted', 'suspended', 'scheduled', 'expired', 'replaced', 'cancelled'],
    'the data: packages in every status');
SELECT set_eq('SELECT DISTINCT status FROM billing.account_status',
    ARRAY['active', 'limited', 'suspended', 'closed'], 'the data: accounts in every status but one');
SELECT set_eq('SELECT DISTINCT reason FROM billing.account_status',
    ARRAY['allowed', 'account_suspended', 'tokens_exhausted', 'package_expired', 'no_active_plan'],
    'the data: every reason of an account');
SELECT set_eq('SELECT DISTINCT status FROM billing.account_member',
    ARRAY['active', 'over_limit', 'disabled'], 'the data: users in every status');
SELECT isnt_empty('SELECT FROM billing.account_status WHERE seats_allowed IS NULL', 'the data: accounts without a limit');
SELECT isnt_empty('SELECT FROM billing.account_package WHERE tokens_held > 0 AND tokens_used > 0 AND tokens_left > 0',
    'the data: packages with tokens used, held and left');
SELECT isnt_empty('SELECT FROM billing.ledger WHERE part_of IS NOT NULL', 'the data: requests over several grants');
SELECT isnt_empty($$SELECT FROM billing.ledger WHERE kind = 'void'$$, 'the data: voided grants');

SELECT * FROM pg_temp.compare('with a free plan');

-- Time moves, nothing else happens: the views move along.
UPDATE billing.account SET test_clock = test_clock + interval '20 days' WHERE test_clock IS NOT NULL;
SELECT * FROM pg_temp.compare('twenty days later, with no worker');

UPDATE billing.plan SET is_free_plan = false;
SELECT * FROM pg_temp.compare('without a free plan');
SELECT isnt_empty($$SELECT FROM billing.account_status WHERE status = 'inactive' AND level = 'none' AND plans = '{}'$$,
    'without a free plan: inactive');

-- The functions beneath: unknown accounts.
SELECT is(billing.seats_allowed(NULL), 0::bigint, 'seats_allowed: NULL');
SELECT is(billing.seats_allowed(gen_random_uuid()), 0::bigint, 'seats_allowed: an unknown account');
SELECT is_empty('SELECT * FROM billing.packages(NULL)', 'packages: NULL');
SELECT is_empty('SELECT * FROM billing.packages(gen_random_uuid())', 'packages: an unknown account');
SELECT is_empty('SELECT * FROM billing.roster(NULL)', 'roster: NULL');
SELECT is_empty('SELECT * FROM billing.roster(gen_random_uuid())', 'roster: an unknown account');

-- Filtered by account_id, every view reaches the tenants' tables through an index on it.
SET LOCAL enable_seqscan = off;
SET LOCAL plan_cache_mode = force_generic_plan;

CREATE FUNCTION pg_temp.plan_nodes(view text) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
BEGIN
    EXECUTE format('PREPARE probe (uuid) AS SELECT * FROM billing.%I WHERE account_id = $1', view);
    EXECUTE $q$EXPLAIN (FORMAT json) EXECUTE probe ('01a20e38-9ba1-77e7-8d53-3590da547b76')$q$ INTO plan;
    DEALLOCATE probe;
    RETURN QUERY SELECT node FROM jsonb_path_query(plan, 'strict $.**') node
                  WHERE jsonb_typeof(node) = 'object' AND node ? 'Node Type';
END $$;

CREATE TEMP VIEW tenant_view AS
SELECT c.relname::text AS view
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'account_id'
 WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'v';
-- A probe of an id that is unique by itself reads one row.
CREATE TEMP VIEW tenant_index AS
SELECT t.relname::text AS table, i.indexrelid::regclass::text AS index
  FROM pg_index i
  JOIN pg_class t ON t.oid = i.indrelid
  JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = 'account_id'
 WHERE t.relnamespace = 'billing'::regnamespace AND t.relkind = 'r' AND NOT (i.indisunique AND i.indnkeyatts = 1);

SELECT is_empty(format(
    $q$SELECT n ->> 'Node Type', n ->> 'Relation Name' FROM pg_temp.plan_nodes(%L) n
        WHERE n ->> 'Node Type' LIKE '%%Seq Scan' AND n ->> 'Relation Name' IN (SELECT "table" FROM tenant_index)$q$, view),
    view || ': no sequential scan')
  FROM tenant_view ORDER BY view;
SELECT is_empty(format(
    $q$SELECT n ->> 'Index Name', n ->> 'Index Cond' FROM pg_temp.plan_nodes(%L) n
        WHERE 'billing.' || (n ->> 'Index Name') IN (SELECT index FROM tenant_index)
          AND coalesce(n ->> 'Index Cond', '') NOT LIKE '%%account_id =%%'$q$, view),
    view || ': every index scan by account_id')
  FROM tenant_view ORDER BY view;

SELECT finish();

ROLLBACK;
