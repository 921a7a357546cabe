# Many clients at once: the same notice, different payments for one order, the same reference for
# different accounts, the same order request.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Billing::Session;

use constant CLIENTS => 32;
use constant ROUNDS  => 20;

my $node = PostgreSQL::Test::Cluster->new('payment_race');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\nmax_connections = 60\n");
$node->start;
$node->safe_psql('postgres', q{
    SET client_min_messages = warning;
    CREATE EXTENSION billing CASCADE;
    SELECT billing.create_plan('free', 'free'),
        billing.create_plan('month', 'subscription', price => '10 USD', duration => '1 month', tokens => 100),
        billing.create_plan('better', 'subscription', price => '20 USD', duration => '1 month')});
my $check = Billing::Session->new($node);
my @clients = map { Billing::Session->new($node) } 1 .. CLIENTS;

# All ask at once; the answers.
sub race
{
    my (@sql) = @_;
    $clients[$_]->send($sql[ $_ % @sql ]) for 0 .. $#clients;
    return map { $_->answer } @clients;
}

sub account { return $check->query("SELECT billing.create_account('a')") }
sub counts
{
    my ($account) = @_;
    return $check->query("SELECT (SELECT count(*) FROM billing.payment WHERE account_id = '$account'), "
          . "(SELECT count(*) FROM billing.subscription_period WHERE account_id = '$account'), "
          . "(SELECT count(*) FROM billing.token_grant WHERE account_id = '$account'), "
          . "(SELECT count(*) FROM billing.event WHERE account_id = '$account' AND kind = 'payment_recorded'), "
          . "(SELECT count(*) FROM billing.account_credit WHERE account_id = '$account'), "
          . "(SELECT count(*) FROM billing.payment_conservation WHERE account_id = '$account' AND billing.minor_units(difference) <> 0)");
}

my ($equal, $once, $first, $mismatch, $several, $shared, $ordered) = (0) x 7;
for my $round (1 .. ROUNDS)
{
    # the same notice from all of them
    my $account = account();
    my $order = $check->query("SELECT billing.order_plan('$account', 'month')");
    my @receipts = race("SELECT payment_id, accepted, reason, subscription_id, replayed FROM billing.record_payment('$order', 'psp', 'same $round', '10 USD')");
    my %same = map { s/\|[tf]$//r => 1 } @receipts;
    $equal++ if keys %same == 1 && (keys %same)[0] =~ /\|t\|accepted\|.{36}$/;
    $first++ if 1 == grep { /\|f$/ } @receipts;
    $once++ if counts($account) eq '1|1|1|1|0|0';

    # the same wrong notice
    $order = $check->query("SELECT billing.order_plan('$account', 'month')");
    @receipts = race("SELECT payment_id, accepted, reason, subscription_id, replayed FROM billing.record_payment('$order', 'psp', 'wrong $round', '10 EUR')");
    %same = map { s/\|[tf]$//r => 1 } @receipts;
    $mismatch++ if keys %same == 1 && (keys %same)[0] =~ /\|f\|payment_mismatch\|$/ && counts($account) eq '2|1|1|1|0|0';

    # different payments for one order: one pays it, the others become account credit
    @receipts = race(map { "SELECT reason FROM billing.record_payment('$order', 'psp', 'other $round/$_', '10 USD')" } 1 .. CLIENTS);
    $several++ if 1 == (grep { $_ eq 'accepted' } @receipts) && CLIENTS - 1 == (grep { $_ eq 'order_closed' } @receipts)
        && counts($account) eq join('|', CLIENTS + 2, 2, 2, CLIENTS + 1, CLIENTS - 1, 0);

    # one reference for orders of different accounts
    my @orders = map { $check->query("SELECT billing.order_plan('" . account() . "', 'month')") } 1 .. CLIENTS;
    @receipts = race(map { "SELECT reason FROM billing.record_payment('$_', 'psp', 'shared $round', '10 USD')" } @orders);
    $shared++ if 1 == (grep { $_ eq 'accepted' } @receipts) && CLIENTS - 1 == grep { $_ eq 'reference_reused' } @receipts;

    # one request to order
    my %orders = map { $_ => 1 } race("SELECT billing.order_plan('$account', 'better', idempotency_key => 'k')");
    $ordered++ if keys %orders == 1 && $check->query("SELECT count(*) FROM billing.plan_order WHERE account_id = '$account' AND plan = 'better'") == 1;
}
is($equal, ROUNDS, CLIENTS . ' receipts of the same notice are equal up to replayed');
is($first, ROUNDS, 'one of them is the first');
is($once, ROUNDS, 'one payment, one activation, one grant, one event');
is($mismatch, ROUNDS, 'the same of a notice that is not accepted');
is($several, ROUNDS, 'of several payments one is accepted, the others are account credit');
is($shared, ROUNDS, 'a reference is recorded once, for one account');
is($ordered, ROUNDS, 'one order');

# Two upgrades at once, to different plans: one replaces, the other is account credit.
$check->query("SELECT billing.create_plan('best', 'subscription', price => '30 USD', duration => '1 month')");
my $upgraded = 0;
for my $round (1 .. ROUNDS)
{
    my $account = account();
    $check->query("SELECT billing.set_test_clock('$account', '2100-01-01')");
    $check->query("SELECT billing.record_payment(billing.order_plan('$account', 'month'), 'psp', 'base $round', '10 USD')");
    $check->query("SELECT billing.advance_test_clock('$account', '15 days 12 hours')");
    my @orders = map { $check->query("SELECT order_id, due FROM billing.plan_order WHERE order_id = '$_'") }
      map { $check->query("SELECT billing.order_plan('$account', '$_')") } qw(better best);
    my @receipts = race(map { my ($order, $due) = split /\|/; "SELECT reason FROM billing.record_payment('$order', 'psp', '$order', '$due')" } @orders);
    my $left = $check->query("SELECT string_agg(plan, ' ') FILTER (WHERE status = 'active'), (SELECT count(*) FROM billing.account_credit_balance WHERE account_id = '$account') "
          . "FROM billing.account_package WHERE account_id = '$account'");
    $upgraded++ if $left =~ /^(better|best)\|1$/ && counts($account) =~ /^3\|2\|1\|.*\|0$/ && !grep { /ERROR/ } @receipts;
}
is($upgraded, ROUNDS, 'of two upgrades one is done');

# An order with nothing due waits for somebody who spends until the plan that it is about has ended,
# and another, for which it counts on credit, has begun.
$check->query("SELECT billing.create_plan('short', 'subscription', price => '9 USD', duration => '4 seconds', tokens => 10), "
      . "billing.create_plan('next', 'subscription', price => '5 USD', duration => '1 hour'), "
      . "billing.create_plan('instead', 'subscription', price => '4 USD', duration => '1 hour')");
my ($spender, $buyer) = @clients;
my $premise = 0;
for my $attempt (1 .. 10)
{
    my $account = account();
    $check->query("SELECT billing.record_payment(billing.order_plan('$account', 'short'), 'psp', 'short $attempt', '9 USD'), "
          . "billing.record_payment(billing.order_plan('$account', 'next'), 'psp', 'next $attempt', '5 USD')");
    $spender->query('BEGIN');
    $spender->query("SELECT billing.consume_tokens('$account', 1)");
    $buyer->send("SELECT billing.order_plan('$account', 'instead')");
    $node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $buyer->{backend} AND NOT granted) "
          . "OR NOT billing.plan_is_active('$account', plan => 'short')");
    $node->poll_query_until('postgres', "SELECT NOT billing.plan_is_active('$account', plan => 'short')");
    $spender->query('COMMIT');
    my $order = $buyer->answer;
    my ($terms, $status) = split /\//, $check->query("SELECT concat_ws(' ', action, credit, due) || '/' || status FROM billing.plan_order WHERE order_id = '$order'");
    next if $terms ne 'downgrade 5.00 USD 0.00 USD';
    $premise = 1;
    is($status, 'closed', 'an order whose terms ended while it waited is closed');
    is($check->query("SELECT string_agg(plan, ' ') FILTER (WHERE status = 'active') FROM billing.account_package WHERE account_id = '$account'"), 'next',
        'nothing but the plan that is paid is in force');
    is($check->query("SELECT count(*) FROM billing.payment_conservation WHERE account_id = '$account' AND billing.minor_units(difference) <> 0"), 0, 'money is conserved');
    last;
}
ok($premise, 'an order was made before the end and could go on after it');

$_->close for $check, @clients;
$node->stop;
done_testing();
