package Billing::EveryKind;

# A database with a row of every kind, and what is asked of it before and after it has moved.

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(every_kind contents answers);

# What is not taken along, and why: sql/dump.sql.
our @stays = qw(binding_key login_failure low_balance_mark privilege);

# Accounts: every row of the last byte is of one of them.
our %account = map { $_->[0] => "'d0000000-0000-4000-8000-0000000000$_->[1]'" } (
    [ buyer => 'a1' ], [ crowded => 'a2' ], [ clocked => 'a3' ], [ suspended => 'a4' ],
    [ refunded => 'a5' ], [ scheduled => 'a6' ], [ soon => 'a7' ], [ zoned => 'a8' ]);

# Fills a database that has the extension. Roles are the cluster's: every_kind_app and every_kind_report.
sub every_kind
{
    my ($node, $db) = @_;
    my %a = %account;
    $node->safe_psql($db, <<"SQL");
SELECT billing.create_app('docs', 'Documents'), billing.create_app('mail', 'Mail');
SELECT billing.create_role('reader', '{docs:read}');
SELECT billing.create_plan('none', 'free', user_limit => 2, permissions => '{docs:read}');
SELECT billing.create_plan('basic', 'subscription', price => '10.00 USD', duration => '1 month', tokens => 100, user_limit => 3, app => 'docs');
SELECT billing.create_plan('pro', 'subscription', price => '30.00 USD', duration => '1 month', tokens => 1000, user_limit => 10, app => 'docs');
SELECT billing.create_plan('yen', 'subscription', price => '1500 JPY', duration => '30 days', app => 'mail');
SELECT billing.create_plan('pack', 'token', price => '5.00 USD', tokens => 500, app => 'mail');
SELECT billing.create_plan('old', 'subscription', price => '1.00 USD', duration => '1 day', app => 'mail');
SELECT billing.revise_plan('basic', name => 'Basic', price => '12.00 USD');
SELECT billing.retire_plan('old');
SELECT billing.grant_usage_to('every_kind_app', 'application');
SELECT billing.grant_usage_to('every_kind_report', 'reporting');
SELECT billing.create_account(n, i::uuid, reference => 'crm ' || n, time_zone => z, metadata => '{"tier": 1, "note": "tab\\tand \\u00e4"}')
  FROM (VALUES ('buyer', $a{buyer}, 'UTC'), ('crowded', $a{crowded}, 'UTC'), ('clocked', $a{clocked}, 'UTC'), ('suspended', $a{suspended}, 'UTC'),
    ('refunded', $a{refunded}, 'UTC'), ('scheduled', $a{scheduled}, 'UTC'), ('soon', $a{soon}, 'UTC'), ('zoned', $a{zoned}, 'America/New_York')) v (n, i, z);

-- tokens of every kind of entry, a checkpoint between them
SELECT billing.record_payment(billing.order_plan($a{buyer}, 'pro', idempotency_key => 'order'), 'card', 'pay 1', '30.00 USD', '5.00 USD');
SELECT billing.grant_tokens($a{buyer}, 50, priority => 1, reason => 'welcome', idempotency_key => 'gift');
SELECT billing.consume_tokens($a{buyer}, 70, 'docs', 'spans two grants', 'print');
SELECT billing.consume_tokens($a{buyer}, 1, 'docs') FROM generate_series(1, 20);
SELECT billing.write_checkpoint($a{buyer});
SELECT billing.consume_tokens($a{buyer}, 9, 'docs', 'given back');
SELECT billing.refund_tokens($a{buyer}, 'given back', 4);
SELECT billing.capture_hold(billing.hold_tokens($a{buyer}, 30, '1 day', 'docs', 'captured'), 12);
SELECT billing.release_hold(billing.hold_tokens($a{buyer}, 31, '1 day', 'docs'));
SELECT billing.hold_tokens($a{buyer}, 33, '30 days', 'docs', 'open');
SELECT billing.void_grant(billing.grant_tokens($a{buyer}, 77));
SELECT billing.order_plan($a{buyer}, 'basic', 'period_end', 'later');
SELECT billing.order_plan($a{buyer}, 'pack');
SELECT billing.record_payment(billing.order_plan($a{buyer}, 'pack', idempotency_key => 'pack'), 'card', 'too little', '1.00 USD');
SELECT billing.suspend_account($a{suspended}, 'unpaid');

-- more users than the plan allows, removed and disabled ones, somebody who logs in
SELECT billing.subscribe($a{crowded}, 'pro');
INSERT INTO billing.account_user (account_id, email, email_key, role)
  SELECT $a{crowded}, 'User' || n || '\@Example.com', '', CASE WHEN n < 2 THEN 'admin' ELSE 'member' END FROM generate_series(1, 8) n;
UPDATE billing.account_user SET role = 'reader' WHERE email_key = 'user8\@example.com';
SELECT billing.set_user_password(user_id, 'plum kettle 94 harbour') FROM billing.account_user WHERE email_key = 'user1\@example.com';
SELECT billing.authenticate_user('user1\@example.com', 'plum kettle 94 harbour', 'a browser');
SELECT billing.authenticate_user('user2\@example.com', 'wrong', 'a browser');
SELECT billing.remove_user(user_id) FROM billing.account_user WHERE email_key = 'user6\@example.com';
SELECT billing.disable_user(user_id) FROM billing.account_user WHERE email_key = 'user7\@example.com';
SELECT billing.cancel_subscription(subscription_id, false) FROM billing.subscription WHERE account_id = $a{crowded};

-- a clock that has passed periods, a hold and an order
SELECT billing.set_test_clock($a{clocked}, clock_timestamp());
SELECT billing.subscribe($a{clocked}, 'basic'), billing.subscribe($a{clocked}, 'basic');
SELECT billing.hold_tokens($a{clocked}, 5, '1 hour', 'docs');
SELECT billing.order_plan($a{clocked}, 'yen');
SELECT billing.advance_test_clock($a{clocked}, '40 days');

-- money: upgraded with credit, renewed, refunded, more than was due, too late
SELECT billing.record_payment(billing.order_plan($a{refunded}, 'pack'), 'card', 'pay 2', '5.00 USD');
SELECT billing.record_payment(billing.order_plan($a{refunded}, 'basic'), 'card', 'pay 3', '12.00 USD');
SELECT billing.record_payment(o, 'card', 'pay 4', due) FROM (SELECT billing.order_plan($a{refunded}, 'pro') o) x, billing.plan_order p WHERE false;
SELECT billing.order_plan($a{refunded}, 'pro', idempotency_key => 'upgrade');
SELECT billing.record_payment(order_id, 'card', 'pay 4', due) FROM billing.plan_order WHERE idempotency_key = 'upgrade';
SELECT billing.record_payment(order_id, 'card', 'pay 5', due) FROM billing.plan_order WHERE idempotency_key = 'upgrade';
SELECT billing.record_refund(payment_id, 'card', 'back 1', '2.00 USD') FROM billing.payment WHERE provider_ref = 'pay 2';

-- bought for later, and in a minute's time
SELECT billing.record_payment(billing.order_plan($a{scheduled}, 'pro'), 'card', 'pay 6', '30.00 USD');
SELECT billing.record_payment(billing.order_plan($a{scheduled}, 'basic', 'period_end'), 'card', 'pay 7', '12.00 USD');
SELECT billing.subscribe($a{zoned}, 'yen', effective_at => now() + interval '10 days');
SELECT billing.subscribe($a{zoned}, 'basic', effective_at => '2020-01-31Z', expires_at => '2020-02-29Z');
SELECT billing.subscribe($a{soon}, 'basic', tokens => 10);
SELECT billing.hold_tokens($a{soon}, 3, '1 day', 'docs');
SELECT billing.consume_tokens($a{soon}, 2, 'docs', 'before');

SELECT billing.issue_binding($a{buyer});
INSERT INTO billing.worker_failure VALUES ($a{suspended}, 2, 'XX000', 'an error', now(), now() + interval '1 hour');
SELECT count(*) FROM billing.next_events('mailer', 5);
SELECT billing.ack_events('mailer', (array_agg(event_id ORDER BY event_id))[3]) FROM billing.next_events('mailer', 5);
SELECT count(billing.expire_due());
SQL
    return;
}

sub tables
{
    my ($node, $db) = @_;
    return split /\n/, $node->safe_psql($db, q{SELECT relname FROM pg_class
WHERE relnamespace = 'billing'::regnamespace AND relkind = 'r' ORDER BY 1});
}

# Each table that moves: its number of rows and their hash. except: columns, by table.
sub contents
{
    my ($node, $db, %except) = @_;
    my %stays = map { $_ => 1 } @stays;
    my $sql = join ' UNION ALL ', map {
        my $row = 'to_jsonb(t)' . join('', map { " - '$_'" } @{ $except{$_} // [] });
        "SELECT '$_', count(*), md5(string_agg(r, ',' ORDER BY r)) FROM (SELECT ($row)::text COLLATE \"C\" AS r FROM billing.$_ t) x"
    } grep { !$stays{$_} } tables($node, $db);
    return $node->safe_psql($db, "SET TimeZone = 'UTC'; $sql ORDER BY 1");
}

# What the functions and views say, to be compared between places. Not before all that is due is written down.
sub answers
{
    my ($node, $db) = @_;
    return $node->safe_psql($db, <<'SQL');
SELECT 'problem', * FROM billing.verify_ledger();
SELECT 'access', name, app, c.*, billing.tokens_remaining(account_id, app)
  FROM billing.account, (VALUES (NULL), ('docs'), ('mail')) v (app), billing.check_access(account_id, app || ':read') c ORDER BY name, app;
SELECT 'status', * FROM billing.account_status ORDER BY account_id;
SELECT 'package', * FROM billing.account_package ORDER BY account_id, subscription_id;
SELECT 'member', * FROM billing.account_member ORDER BY account_id, user_id;
SELECT 'credit', * FROM billing.account_credit_balance ORDER BY 2, 3;
SELECT 'conservation', * FROM billing.payment_conservation ORDER BY 2;
SELECT 'history', * FROM billing.payment_history ORDER BY 2, 3;
SELECT 'rights', has_function_privilege('every_kind_app', 'billing.tokens_remaining(uuid, text)', 'EXECUTE'),
    has_function_privilege('every_kind_app', 'billing.grant_tokens(uuid, bigint, timestamptz, bigint, text, text, uuid, text)', 'EXECUTE'),
    has_table_privilege('every_kind_report', 'billing.account_status', 'SELECT'), has_schema_privilege('every_kind_app', 'billing', 'USAGE');
SQL
}

1;
