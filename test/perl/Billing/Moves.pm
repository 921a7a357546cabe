package Billing::Moves;

# What is asked of a database wherever it has been moved to, and moving it by logical replication.

use strict;
use warnings;

use Billing::EveryKind;
use Exporter 'import';
use Test::More;

our @EXPORT = qw(create_roles goes_on move_logically);

sub create_roles
{
    my ($node) = @_;
    $node->safe_psql('postgres', 'CREATE ROLE every_kind_app; CREATE ROLE every_kind_report');
    return;
}

# Consumption, replay, renewal, payment and expiry. Writes.
sub goes_on
{
    my ($name, $where, $database) = @_;
    my %account = %Billing::EveryKind::account;
    my $ask = sub { return $where->safe_psql($database, @_) };
    is($ask->("SELECT granted, replayed FROM billing.try_consume_tokens($account{buyer}, 70, 'docs', 'spans two grants', 'print')"),
        't|t', "$name: a key that was used is known");
    is($ask->("SELECT billing.consume_tokens($account{soon}, 5, 'docs')"), '0', "$name: the last token");
    is($ask->("SELECT reason FROM billing.try_consume_tokens($account{soon}, 1, 'docs')"), 'tokens_exhausted', "$name: and not one more");
    is($ask->("SELECT billing.capture_hold(hold_id, 2) FROM billing.hold WHERE account_id = $account{soon}"), '1', "$name: an open hold is captured");
    is($ask->("SELECT count(billing.subscribe($account{scheduled}, 'basic'))"), '1', "$name: what is scheduled is renewed");
    is($ask->("SELECT (billing.record_payment(order_id, 'card', 'pay 8', due)).accepted FROM billing.plan_order WHERE account_id = $account{buyer} AND status = 'open' AND plan = 'pack' AND idempotency_key IS NULL"),
        't', "$name: an open order is paid");
    is($ask->("SELECT replayed FROM billing.plan_order o, billing.record_payment(o.order_id, 'card', 'pay 1', '30.00 USD', '5.00 USD') WHERE idempotency_key = 'order'"),
        't', "$name: a notice of payment is known");
    $ask->("SELECT billing.advance_test_clock($account{clocked}, '70 days')");
    is($ask->("SELECT reason FROM billing.check_access($account{clocked})"), 'package_expired', "$name: a plan ends in its time");
    is($ask->("SELECT count(*) FROM billing.event WHERE account_id = $account{clocked} AND kind = 'free_plan_assigned'"), '1', "$name: and the free plan is assigned, once");
    refused($name, $where, $database, "INSERT INTO billing.account_user (account_id, email, email_key, role) VALUES ($account{crowded}, 'more\@example.com', '', 'member')",
        qr/seat|limit/, 'who connects as the owner is held to the limit of users');
    refused($name, $where, $database, "INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens) SELECT account_id, 1000, grant_id, tokens + 1 FROM billing.token_grant WHERE account_id = $account{soon}",
        qr/overdrawn/, 'and to the balance');
    refused($name, $where, $database, "DELETE FROM billing.ledger WHERE account_id = $account{soon}", qr/cannot be deleted/, 'and to the record');
    refused($name, $where, $database, "INSERT INTO billing.hold_end VALUES ($account{buyer}, $account{buyer}, 'released', 0, 0, now())",
        qr/foreign key/, 'and to the foreign keys');
    is($ask->('SELECT count(*) FROM billing.verify_ledger()'), '0', "$name: the ledger is sound afterwards");
    return;
}

sub refused
{
    my ($name, $where, $database, $sql, $message, $what) = @_;
    my ($status, undef, $err) = $where->psql($database, $sql);
    like($err, $message, "$name: $what");
    return;
}

# The whole schema to another server and cut-over, while the first is in use. Publisher: wal_level = logical.
sub move_logically
{
    my ($name, $from, $to, $database) = @_;
    my %account = %Billing::EveryKind::account;
    my $connection = $from->connstr($database);

    $to->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0");
    $to->safe_psql($database, 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
    # what CREATE EXTENSION has made there already
    my $tables = join ', ', grep { !/billing\.(privilege|login_failure|binding_key|event_consumer|worker_failure|low_balance_mark|usage_level)$/ }
        split /\n/, $from->safe_psql($database, q{SELECT oid::regclass FROM pg_class WHERE relnamespace = 'billing'::regnamespace AND relkind = 'r'});
    $from->safe_psql($database, "CREATE PUBLICATION everything FOR TABLE $tables");
    $to->safe_psql($database, q{BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM billing.role; COMMIT});
    $to->safe_psql($database, "CREATE SUBSCRIPTION everything CONNECTION \$c\$$connection\$c\$ PUBLICATION everything");
    $from->safe_psql($database, "SELECT billing.consume_tokens($account{buyer}, 1, 'docs') FROM generate_series(1, 50)");
    $to->wait_for_subscription_sync($from, 'everything', $database);

    # an hour passes for a plan on the publisher: its worker or functions write it down, once
    $from->safe_psql($database, "SELECT billing.subscribe($account{clocked}, 'yen'), billing.consume_tokens($account{buyer}, 2, 'docs', 'late')");
    $from->safe_psql($database, "SELECT billing.hold_tokens($account{buyer}, 4, '1 second', 'docs')");
    ok($from->poll_query_until($database, "SELECT count(*) = 0 FROM billing.hold WHERE account_id = $account{buyer} AND NOT ended AND expires_at < clock_timestamp() + interval '1 minute'"),
        "$name: a hold lapses on the publisher");
    $from->wait_for_catchup('everything');
    is($to->safe_psql($database, q{SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'}), '0', "$name: every table is in step");
    my @except = (event => [ 'origin', 'xid' ], event_consumer => [qw(consumer origin acked batch first_event through)], role => ['created_at']);
    my $moves = sub { return join "\n", grep { !/^(?:event_consumer|worker_failure|low_balance_mark|usage_level)\|/ } split /\n/, contents($_[0], $database, @except) };
    is($moves->($to), $moves->($from), "$name: every row is equal");
    # rights are given anew there
    my $sound = sub { return answers($_[0], $database) =~ s/^rights.*//mr };
    is($sound->($to), $sound->($from), "$name: every answer is equal, the ledger sound");

    # cut-over: nobody writes to the first any more
    my $seen = $from->safe_psql($database, q{SELECT event_id FROM billing.next_events('mover', 10) ORDER BY 1 DESC LIMIT 1});
    $from->safe_psql($database, "SELECT billing.ack_events('mover', '$seen')");
    my $next = $from->safe_psql($database, q{SELECT string_agg(event_id::text, ' ') FROM billing.next_events('mover', 1000)});
    $to->safe_psql($database, 'DROP SUBSCRIPTION everything');
    $to->safe_psql($database, q{SELECT billing.grant_usage_to('every_kind_app', 'application'), billing.grant_usage_to('every_kind_report', 'reporting')});
    # a consumer says once more how far it was
    $to->safe_psql($database, q{SELECT count(*) FROM billing.next_events('mover', 1)});
    $to->safe_psql($database, "SELECT billing.ack_events('mover', '$seen')");
    is($to->safe_psql($database, q{SELECT string_agg(event_id::text, ' ') FROM billing.next_events('mover', 1000) WHERE kind NOT IN ('usage_granted')}), $next, "$name: a consumer goes on where it was");
    goes_on($name, $to, $database);
    return;
}

1;
