-- What a binding is: of one transaction, undone only with it or by a savepoint before it, and asked
-- for by every view of tenants' rows.

BEGIN;

SET LOCAL client_min_messages = warning;

SELECT no_plan();

SELECT is_empty($$
    SELECT c.oid::regclass FROM pg_class c
     WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'v'
       AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'account_id')
       AND (NOT coalesce('security_barrier=true' = ANY (c.reloptions), false)
            OR pg_get_viewdef(c.oid) !~ 'WHERE .*billing\.visible\(')$$,
    'every view with an account_id filters by billing.visible() behind a security barrier');

SELECT billing.create_app('ai', 'AI'), billing.create_plan('pack', 'token', tokens => 100);
SELECT billing.create_account('One', '00000000-0000-4000-8000-000000000001'),
       billing.create_account('Two', '00000000-0000-4000-8000-000000000002');
SELECT billing.subscribe(account_id, 'pack') FROM billing.account;
SELECT billing.grant_tokens('00000000-0000-4000-8000-000000000002', 5) AS their_grant \gset
SELECT billing.create_plan('month', 'subscription', price => '9 USD', duration => '5 days');
SELECT billing.order_plan('00000000-0000-4000-8000-000000000002', 'month') AS their_order \gset
SELECT payment_id AS their_payment, subscription_id AS their_subscription
  FROM billing.record_payment(:'their_order', 'bank', '1', '9 USD') \gset
SELECT is((SELECT count(*) FROM billing.payment_history) + (SELECT count(*) FROM billing.payment_conservation)
          + (SELECT count(*) FROM billing.revenue_monthly) + (SELECT count(*) FROM billing.expiring_soon), 4::bigint,
    'there is something to hide');
SELECT billing.issue_binding('00000000-0000-4000-8000-000000000001') AS one \gset
SELECT billing.issue_binding('00000000-0000-4000-8000-000000000002', '1 day', session_user) AS two \gset

SELECT ok(billing.visible('00000000-0000-4000-8000-000000000002'), 'unbound: everything is visible');
SELECT ok(NOT billing.visible(NULL), 'but NULL');
CREATE FUNCTION pg_temp.range() RETURNS uuid[] LANGUAGE sql AS 'SELECT ARRAY[billing.first_visible(), billing.last_visible()]';
-- kept plans of both functions have to do for what comes
CREATE FUNCTION pg_temp.names() RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT array_agg(plan ORDER BY plan) FROM billing.account_package);
END $$;
CREATE FUNCTION pg_temp.bound_names() RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT array_agg(plan ORDER BY plan) FROM billing.account_package);
END $$;
SELECT is(pg_temp.range(), '{00000000-0000-0000-0000-000000000000,ffffffff-ffff-ffff-ffff-ffffffffffff}', 'in the range of all');
SELECT is(billing.shown('00000000-0000-4000-8000-000000000002', 'x'::text), 'x', 'and shown');
SELECT is(pg_temp.names(), '{month,pack,pack}', 'of all tenants');

SELECT throws_ok('SELECT billing.issue_binding(NULL)', '22004', NULL, 'a token for NULL');
SELECT throws_ok('SELECT billing.issue_binding(''00000000-0000-4000-8000-000000000001'', NULL)', '22004', NULL, 'for NULL time');
SELECT throws_ok('SELECT billing.issue_binding(''00000000-0000-4000-8000-000000000001'', ''0'')', '22023', NULL, 'for no time');
SELECT throws_ok('SELECT billing.issue_binding(''00000000-0000-4000-8000-000000000001'', ''-1 hour'')', '22023', NULL, 'for negative time');
SELECT throws_ok('SELECT billing.issue_binding(''00000000-0000-4000-8000-000000000001'', ''25 hours'')', '22023', NULL, 'for more than a day');
SELECT throws_ok('SELECT billing.issue_binding(''00000000-0000-4000-8000-000000000001'', ''178000000 years'')', '22023', NULL, 'for longer than the calendar');
SELECT throws_ok('SELECT billing.issue_binding(''00000000-0000-4000-8000-000000000009'')', 'PB001', NULL, 'for an unknown account');
SELECT throws_ok('SELECT billing.issue_binding(''00000000-0000-4000-8000-000000000001'', role => ''nobody'')', '42704', NULL, 'for an unknown role');

SAVEPOINT unbound;
SELECT is(billing.bind_account(:'one'), '00000000-0000-4000-8000-000000000001', 'binding answers with the account');
SELECT is(current_setting('billing.bound_account'), '00000000-0000-4000-8000-000000000001', 'bound');
SELECT is(pg_temp.range(), '{00000000-0000-4000-8000-000000000001,00000000-0000-4000-8000-000000000001}', 'to a range of one');
SELECT is(billing.shown(v, 'x'::text), s, 'of which values are shown alone')
  FROM (VALUES ('00000000-0000-4000-8000-000000000001'::uuid, 'x'), ('00000000-0000-4000-8000-000000000002', NULL), (NULL, NULL)) v (v, s);
SELECT is(pg_temp.names(), '{pack}', 'in a plan that was made before');
SELECT is(pg_temp.bound_names(), '{pack}', 'and in one that is made now');
SELECT is(tokens_remaining, 99::bigint, 'functions work for the account')
  FROM billing.try_consume_tokens('00000000-0000-4000-8000-000000000001', 1);
SELECT is(reason, 'account_not_found', 'another does not exist')
  FROM billing.try_consume_tokens('00000000-0000-4000-8000-000000000002', 1);
SELECT is(reason, 'account_not_found', 'not for a check') FROM billing.check_access('00000000-0000-4000-8000-000000000002');
SELECT results_eq('SELECT account_id FROM billing.account_status',
    'VALUES (''00000000-0000-4000-8000-000000000001''::uuid)', 'nor in a view');
SELECT lives_ok(format('SELECT billing.bind_account(%L)', :'one'), 'bound to the same again');
SELECT throws_ok(format('SELECT billing.bind_account(%L)', :'two'), 'PB006', NULL, 'not to another');

-- administrators too, also in what they alone may do
SELECT throws_ok(format('SELECT billing.%s(''00000000-0000-4000-8000-000000000002''%s)', f, a), 'PB001', NULL, f || ' for another')
  FROM (VALUES ('update_account', ', name => ''x'''), ('suspend_account', ', ''x'''), ('reinstate_account', ''),
               ('close_account', ''), ('set_test_clock', ', ''2100-01-01'''), ('advance_test_clock', ', ''1 day'''),
               ('subscribe', ', ''pack'''), ('grant_tokens', ', 5'), ('write_checkpoint', '')) v (f, a);
SELECT throws_ok(format('SELECT billing.cancel_subscription(%L)', :'their_subscription'), 'PB016', NULL, 'cancel_subscription for another');
SELECT throws_ok(format('SELECT billing.record_payment(%L, ''bank'', ''2'', ''1 USD'')', :'their_order'), 'PB016', NULL, 'record_payment for another');
SELECT throws_ok(format('SELECT billing.record_refund(%L, ''bank'', ''2'', ''1 USD'')', :'their_payment'), 'PB016', NULL, 'record_refund for another');
SELECT is_empty(format('SELECT * FROM billing.%I', v), v || ' has nothing of another')
  FROM unnest('{payment_history,account_credit_balance,payment_conservation,revenue_monthly,expiring_soon}'::text[]) v;
SELECT throws_ok(format('SELECT billing.void_grant(%L)', :'their_grant'), 'PB016', NULL, 'void_grant for another');
SELECT is_empty('SELECT billing.verify_ledger(''00000000-0000-4000-8000-000000000002'')', 'verify_ledger for another');
SELECT throws_ok('SELECT billing.' || f, 'PB006', NULL, f)
  FROM unnest(ARRAY['create_account(''Three'')', 'create_app(''crm'', ''CRM'')', 'create_role(''x'', ''{}'')',
      'create_plan(''x'', ''token'', tokens => 1)', 'revise_plan(''pack'', tokens => 1)', 'retire_plan(''pack'')',
      'expire_due()', 'verify_ledger()', 'rotate_binding_key()',
      'issue_binding(''00000000-0000-4000-8000-000000000001'')', 'grant_usage_to(''pg_monitor'', ''reporting'')',
      'revoke_usage_from(''pg_monitor'', ''reporting'')']) f;

SAVEPOINT bound;
ROLLBACK TO bound;
SELECT ok(NOT billing.visible('00000000-0000-4000-8000-000000000002'), 'a savepoint within does not undo it');
ROLLBACK TO unbound;
SELECT ok(billing.visible('00000000-0000-4000-8000-000000000002'), 'one before it does');
SELECT is(pg_temp.bound_names(), '{month,pack,pack}', 'for the plan that was made within as well');

SELECT throws_ok(format('SELECT billing.bind_account(%L)',
           overlay(:'one' PLACING CASE substr(:'one', i, 1) WHEN 'A' THEN 'B' ELSE 'A' END FROM i FOR 1)),
       'PB006', NULL, 'a token that differs from the last good one in character ' || i)
  FROM generate_series(1, length(:'one'), 9) i;
SELECT throws_ok(format('SELECT billing.bind_account(%L)', :'one' || 'A'), 'PB006', NULL, 'one with a character more');
SELECT throws_ok(format('SELECT billing.bind_account(%L)', left(:'one', -1)), 'PB006', NULL, 'one with a character less');

-- libsodium takes any byte above 127 for "_", of which this account's token has many
SAVEPOINT foreign_bytes;
SELECT billing.create_account('Ones', 'ffffffff-ffff-4fff-8fff-ffffffffff01');
SELECT billing.issue_binding('ffffffff-ffff-4fff-8fff-ffffffffff01') AS ones \gset
SELECT matches(:'ones'::text, '__', 'there is something to replace');
SELECT throws_ok(format('SELECT billing.bind_account(%L)', replace(:'ones', '__', 'é')), 'PB006', NULL, 'one with bytes that are no digits');
SELECT lives_ok(format('SELECT billing.bind_account(%L)', :'ones'), 'the same with its digits');
ROLLBACK TO foreign_bytes;

SELECT is(billing.tokens_remaining(billing.bind_account(:'two')), billing.tokens_remaining('00000000-0000-4000-8000-000000000002'),
    'bound to the other one in the call that it is for');
SELECT ok(NOT billing.visible('00000000-0000-4000-8000-000000000001'), 'the first one is gone');
ROLLBACK TO unbound;

SET LOCAL billing.require_binding = on;
SELECT ok(NOT billing.visible('00000000-0000-4000-8000-000000000001'), 'required and not bound: nothing is visible');
SELECT is(pg_temp.range(), '{00000000-0000-0000-0000-000000000000,00000000-0000-0000-0000-000000000000}', 'in a range of nobody');
SELECT is(billing.shown('00000000-0000-4000-8000-000000000001', now()), NULL, 'nor shown');
SELECT is(pg_temp.names(), NULL, 'of no tenant');
SELECT is(billing.tokens_remaining('00000000-0000-4000-8000-000000000001'), 0::bigint, 'nor for a function');
SELECT throws_ok('SELECT billing.create_account(''Three'')', 'PB006', NULL, 'nor can anything be made');
SELECT billing.bind_account(:'one');
SELECT ok(billing.visible('00000000-0000-4000-8000-000000000001'), 'required and bound: the account is');
SELECT ok(NOT billing.visible('00000000-0000-4000-8000-000000000002'), 'others are not');

SELECT finish();

ROLLBACK;
