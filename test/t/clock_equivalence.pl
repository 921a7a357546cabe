# Three accounts with the same script end with equal rows, up to ids and scaled times: one whose clock
# jumps, one whose clock is advanced day by day, and one that lives in real time, where a day takes
# 200 ms and the worker writes down what falls due.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

use Billing::Session;

my $node = PostgreSQL::Test::Cluster->new('clock_equivalence');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\n");
$node->start;
$node->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
my $session = Billing::Session->new($node);

# Amounts are so coarse that a few milliseconds change no credit.
my %plans = (
    small => [ 'subscription', '5 JPY', 3, 'mail', 30 ],
    big => [ 'subscription', '9 JPY', 2, 'mail', undef ],
    tiny => [ 'subscription', '3 JPY', 2, 'mail', undef ],
    other => [ 'subscription', '7 JPY', 1, 'drive', undef ],
    pack => [ 'token', '4 JPY', 4, 'mail', 50 ]);

sub create_plans
{
    my ($prefix, $day) = @_;
    for my $code (sort keys %plans)
    {
        my ($kind, $price, $days, $app, $tokens) = @{ $plans{$code} };
        my $duration = $day == 86_400_000 ? "$days days" : $days * $day . ' milliseconds';
        my $rest = defined $tokens ? ", tokens => $tokens" : '';
        is($session->query("SELECT billing.create_plan('$prefix$code', '$kind', price => '$price', duration => '$duration', app => '$app'$rest)"),
            1, "plan $prefix$code");
    }
    return;
}

# What happens when, in days. Each is one text of SQL; the due amount is the order's.
sub pay
{
    my ($account, $plan, $reference, $timing) = (@_, 'immediate');
    return "SELECT billing.order_plan('$account', '$plan', '$timing') AS o \\gset\n"
      . "SELECT reason FROM billing.plan_order, LATERAL billing.record_payment(order_id, 'psp', '$account $reference', due) WHERE order_id = :'o';\n";
}
my @script = (
    [ 0, sub {
        my ($account, $p) = @_;
        return pay($account, "${p}small", 'a') . pay($account, "${p}small", 'b') . pay($account, "${p}tiny", 'c')
          . "SELECT billing.order_plan('$account', '${p}other');\n" . pay($account, "${p}pack", 'd')
          . "SELECT billing.consume_tokens('$account', 10, 'mail')" } ],
    [ 2.5, sub {
        my ($account, $p) = @_;
        return pay($account, "${p}small", 'e') . "SELECT billing.order_plan('$account', '${p}other')" } ],
    [ 4.5, sub { my ($account, $p) = @_; return pay($account, "${p}other", 'f') . "SELECT billing.consume_tokens('$account', 5, 'mail')" } ],
    [ 7.5, sub { my ($account, $p) = @_; return pay($account, "${p}big", 'g') . "SELECT billing.tokens_remaining('$account', 'mail')" } ],
    [ 8, sub {
        my ($account, $p) = @_;
        return pay($account, "${p}tiny", 'h') . "SELECT billing.record_refund(payment_id, 'psp', '$account r', '2 JPY') FROM billing.payment WHERE provider_ref = '$account a'" } ]);
my $end = 13;

# Everything that is left, without ids, a line a row; times in half days.
sub rows
{
    my ($account, $start, $day, $prefix) = @_;
    my $t = sub { return "round(extract(epoch FROM nullif($_[0], 'infinity') - '$start') * 2000 / $day)" };
    my $plan = "replace(plan, '$prefix', '')";
    my $where = "WHERE account_id = '$account'";
    my %queries = (
        order => "SELECT action, timing, at_period_end, $plan, version, price, credit, account_credit, due, subject_id IS NOT NULL, status, subscription_id IS NOT NULL, "
          . join(', ', map { $t->($_) } qw(created_at expires_at closed_at)) . " FROM billing.plan_order $where",
        order_credit => "SELECT period_no, amount FROM billing.order_credit $where",
        payment => "SELECT amount, tax, reason, " . $t->('received_at') . " FROM billing.payment $where",
        refund => "SELECT amount, end_access, " . $t->('refunded_at') . " FROM billing.payment_refund $where",
        account_credit => "SELECT amount, reason, " . $t->('created_at') . " FROM billing.account_credit $where",
        subscription => "SELECT $plan, kind, void, replaced_by IS NOT NULL, anchor_periods, "
          . join(', ', map { $t->($_) } qw(effective_at expires_at anchor created_at canceled_at ended_at started_at)) . " FROM billing.subscription $where",
        period => "SELECT $plan, period_no, version, apps, void, price, paid, credited, refunded, order_id IS NOT NULL, grant_id IS NOT NULL, "
          . join(', ', map { $t->($_) } qw(effective_at expires_at created_at)) . " FROM billing.subscription_period $where",
        grant => "SELECT app, tokens, priority, reason, " . join(', ', map { $t->($_) } qw(effective_at expires_at granted_at voided_at)) . " FROM billing.token_grant $where",
        ledger => "SELECT entry_no, tokens, kind, app, asked, " . $t->('occurred_at') . " FROM billing.ledger $where",
        event => "SELECT kind, " . $t->('occurred_at') . ", (SELECT jsonb_object_agg(key, replace(value #>> '{}', '$prefix', '')) FROM jsonb_each(detail) "
          . "WHERE key NOT LIKE '%\\_id' AND key NOT LIKE '%\\_at' AND key NOT IN ('replaced', 'provider_ref')) FROM billing.event $where AND kind NOT IN ('account_created')");
    my @rows;
    for my $table (sort keys %queries)
    {
        push @rows, map { "$table $_" } sort split /\n/, $session->query($queries{$table});
    }
    return join "\n", @rows;
}

# Ends, starts and lapses carry the very instant at which they were due.
sub check_exact
{
    my ($account, $name) = @_;
    is($session->query(qq{
        SELECT e.kind, e.occurred_at FROM billing.event e
          LEFT JOIN billing.subscription s ON s.subscription_id = (e.detail ->> 'subscription_id')::uuid
          LEFT JOIN billing.plan_order o ON o.order_id = (e.detail ->> 'order_id')::uuid
         WHERE e.account_id = '$account' AND e.occurred_at <> CASE e.kind
               WHEN 'subscription_expired' THEN s.expires_at WHEN 'subscription_replaced' THEN s.expires_at
               WHEN 'order_lapsed' THEN o.expires_at ELSE e.occurred_at END}), '', "$name: dated at the due time");
    is($session->query("SELECT count(*) FROM (SELECT occurred_at < lag(occurred_at) OVER (ORDER BY event_id) AS back FROM billing.event "
          . "WHERE account_id = '$account' AND kind NOT IN ('account_created')) e WHERE back"), 0, "$name: in due order");
    is($session->query("SELECT count(*) FROM billing.payment_conservation WHERE account_id = '$account' AND billing.minor_units(difference) <> 0"), 0,
        "$name: money is conserved");
    return;
}

$session->query("SELECT billing.create_app('mail', 'Mail'), billing.create_app('drive', 'Drive'), billing.create_plan('free', 'free')");
create_plans('', 86_400_000);
my $start = '2100-01-01 00:00:00+00';

sub on_a_clock
{
    my (@stops) = @_;
    my $account = $session->query("SELECT billing.create_account('frozen')");
    my %actions = map { $_->[0] => $_->[1] } @script;
    for my $stop (@stops)
    {
        $session->query("SELECT billing.set_test_clock('$account', '$start'::timestamptz + $stop * interval '1 day')");
        my $answer = $actions{$stop} ? $session->query($actions{$stop}->($account, '')) : '';
        unlike($answer, qr/ERROR|mismatch|closed/, "day $stop") if $actions{$stop};
    }
    return $account;
}
my $jumped = on_a_clock((map { $_->[0] } @script), $end);
my %stops = map { $_ => 1 } (map { $_->[0] } @script), 0 .. $end;
my $daily = on_a_clock(sort { $a <=> $b } keys %stops);
my $expected = rows($jumped, $start, 86_400_000, '');
cmp_ok(scalar(split /\n/, $expected), '>', 60, 'rows to compare');
is(rows($daily, $start, 86_400_000, ''), $expected, 'advanced day by day: the same rows');
check_exact($jumped, 'jumped');
check_exact($daily, 'day by day');
like($expected, qr/^order buy.*lapsed/m, 'an order lapsed');
like($expected, qr/^event subscription_started\|19\|.*tiny/m, 'a scheduled plan began');
like($expected, qr/^event free_plan_assigned\|23/m, 'the free plan was assigned when the last plan ended');

# In real time an action may come late on a busy machine. Then the life does not follow the script, and
# another begins, in the end with longer days.
my ($real, $real_start, $day, $late);
for my $attempt (1 .. 12)
{
    $day = $attempt <= 6 ? 200 : 200 * ($attempt - 4);
    my $prefix = "real$attempt-";
    create_plans($prefix, $day);
    $real = $session->query("SELECT billing.create_account('real')");
    $session->query("SET billing.order_lifetime = '$day ms'");
    my $began = time;
    $real_start = $session->query('SELECT clock_timestamp()');
    $late = 0;
    for my $action (@script)
    {
        my $due = $began + $action->[0] * $day / 1000;
        sleep($due - time) if $due > time;
        my $answer = $session->query($action->[1]->($real, $prefix));
        my $behind = (time - $due) * 1000 / $day;
        $late = $behind if $behind > $late;
    }
    note(sprintf 'attempt %d: a day of %d ms, at most %.2f days late', $attempt, $day, $late);
    next if $late > 0.22;
    sleep($end * $day / 1000 - (time - $began) + 0.05);
    $node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM billing.subscription WHERE account_id = '$real' AND NOT void AND ended_at IS NULL)");
    is(rows($real, $real_start, $day, $prefix), $expected, 'in real time: the same rows');
    check_exact($real, 'in real time');
    is($session->query("SELECT count(*) FROM billing.subscription_period WHERE account_id = '$real' AND NOT void AND credited IS NULL "
          . "AND expires_at - effective_at <> (SELECT duration FROM billing.plan_version v WHERE v.plan = subscription_period.plan)"), 0, 'periods are as long as they were bought');
    last;
}
cmp_ok($late, '<=', 0.22, "a life that followed the script, a day in $day ms");

$session->close;
$node->stop;
done_testing();
