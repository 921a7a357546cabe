-- Every call that changes accounts, users, the catalogue or privileges is on record, with who made
-- it; consumption is not, it has the ledger; secrets never are; nobody can change the record.

BEGIN;

SET LOCAL client_min_messages = warning;

SELECT no_plan();

CREATE ROLE office;
CREATE ROLE clerk IN ROLE office;
CREATE ROLE shop;
SELECT billing.grant_usage_to('office', 'administrator'), billing.grant_usage_to('shop', 'application');
SELECT billing.revoke_usage_from('shop', 'application'), billing.grant_usage_to('shop', 'application');

SET LOCAL ROLE clerk;
SELECT billing.create_app('ai', 'AI');
SELECT billing.create_plan('pack', 'token', 'Pack', '5 USD', tokens => 100, user_limit => 5),
       billing.create_plan('gone', 'subscription', price => '1 USD', duration => '1 month');
SELECT billing.revise_plan('pack', price => '6 USD');
SELECT billing.retire_plan('gone');
SELECT billing.create_role('writer', '{ai:write}');
SELECT billing.create_account('One', '00000000-0000-4000-8000-000000000001');
SELECT billing.update_account('00000000-0000-4000-8000-000000000001', time_zone => 'Europe/Berlin');
SELECT billing.suspend_account('00000000-0000-4000-8000-000000000001', 'unpaid');
SELECT billing.reinstate_account('00000000-0000-4000-8000-000000000001');
SELECT billing.subscribe('00000000-0000-4000-8000-000000000001', 'pack');
SELECT billing.order_plan('00000000-0000-4000-8000-000000000001', 'pack') AS order_id \gset
SELECT payment_id, subscription_id FROM billing.record_payment(:'order_id', 'bank', '1', '6 USD') \gset
SELECT billing.record_refund(:'payment_id', 'bank', '2', '6 USD');
SELECT billing.cancel_subscription(:'subscription_id');
SELECT billing.void_grant(billing.grant_tokens('00000000-0000-4000-8000-000000000001', 7, reason => 'goodwill'));
SELECT billing.consume_tokens('00000000-0000-4000-8000-000000000001', 7);
SELECT billing.set_test_clock('00000000-0000-4000-8000-000000000001', '2100-01-01 00:00+00');
SELECT billing.advance_test_clock('00000000-0000-4000-8000-000000000001', '1 day');
SELECT billing.add_user_within_limit('00000000-0000-4000-8000-000000000001', 'admin@one.example', 'correct horse 7 battery', 'admin') AS admin \gset
SELECT billing.add_user_within_limit('00000000-0000-4000-8000-000000000001', 'member@one.example', NULL, added_by => :'admin') AS member \gset
SELECT billing.set_user_role(:'member', 'writer', :'admin');
SELECT billing.set_user_password(:'member', 'correct horse 7 battery');
SELECT billing.disable_user(:'member', :'admin');
SELECT billing.enable_user(:'member', :'admin');
SELECT billing.remove_user(:'member', :'admin');
SELECT billing.close_account('00000000-0000-4000-8000-000000000001');
SELECT throws_ok('SELECT billing.close_account(''00000000-0000-4000-8000-000000000009'')', 'PB001', NULL,
    'a call that fails');
RESET ROLE;

SELECT results_eq(
    'SELECT function COLLATE "default" FROM billing.audit WHERE account_id = ''00000000-0000-0000-0000-000000000000'' ORDER BY audit_id',
    ARRAY['grant_usage_to', 'grant_usage_to', 'revoke_usage_from', 'grant_usage_to', 'create_app',
          'create_plan', 'create_plan', 'revise_plan', 'retire_plan', 'create_role'],
    'what was done to the catalogue and to privileges, in order');
SELECT results_eq(
    'SELECT function COLLATE "default" FROM billing.audit WHERE account_id = ''00000000-0000-4000-8000-000000000001'' ORDER BY audit_id',
    ARRAY['create_account', 'update_account', 'suspend_account', 'reinstate_account', 'subscribe',
          'order_plan', 'record_payment', 'record_refund', 'cancel_subscription', 'grant_tokens', 'void_grant', 'set_test_clock', 'advance_test_clock',
          'add_user_within_limit', 'add_user_within_limit', 'set_user_role', 'set_user_password',
          'disable_user', 'enable_user', 'remove_user', 'close_account'],
    'what was done to the account, in order, without its consumption');
SELECT is(count(*), 31::bigint, 'nothing else, nor the call that failed') FROM billing.audit;
SELECT results_eq(
    'SELECT DISTINCT session_role::text COLLATE "default", role::text COLLATE "default" FROM billing.audit WHERE function LIKE ''create%''',
    format('VALUES (%L, ''clerk'')', session_user), 'by whom: who had logged in, and as whom it was called');
SELECT results_eq(
    'SELECT arguments FROM billing.audit WHERE function IN (''suspend_account'', ''grant_tokens'') ORDER BY audit_id',
    ARRAY['{"account_id": "00000000-0000-4000-8000-000000000001", "reason": "unpaid"}',
          '{"account_id": "00000000-0000-4000-8000-000000000001", "tokens": 7, "priority": 100, "reason": "goodwill"}']::jsonb[],
    'with what: the arguments that are not NULL');
SELECT is(array_agg(DISTINCT acting_user), ARRAY[:'admin', NULL]::uuid[], 'for which account user')
  FROM billing.audit WHERE function LIKE '%user%';
SELECT ok(bool_and(audit::text !~ 'horse|example|argon'), 'but neither passwords nor addresses') FROM billing.audit;
SELECT ok(bool_and(occurred_at BETWEEN now() AND clock_timestamp()), 'when: by the server''s clock') FROM billing.audit;
SELECT ok(bool_and(right(audit_id::text, 2) = right(account_id::text, 2)), 'in the bucket of the account') FROM billing.audit;

SELECT throws_ok('UPDATE billing.audit SET role = ''nobody''', 'PB012', NULL, 'no UPDATE');
SELECT throws_ok('DELETE FROM billing.audit', 'PB012', NULL, 'no DELETE');
SELECT throws_ok('TRUNCATE billing.audit', 'PB012', NULL, 'no TRUNCATE');
SET LOCAL session_replication_role = replica;
SELECT throws_ok('DELETE FROM billing.audit', 'PB012', NULL, 'not as a replica either');

SELECT finish();

ROLLBACK;
