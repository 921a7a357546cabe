# Money is conserved: paid = used + credited + refunded + account credit + unapplied after every step
# of a random life of many accounts, recomputed here from the rows. What an order says is compared
# with a second implementation of the rules, and the periods with what must always hold.
#
# BILLING_SEED and BILLING_STEPS repeat a run or make it longer.
#
# Minutes: 1

use strict;
use warnings;
use integer;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Billing::Session;

use constant ACCOUNTS => 80;
use constant FOREVER => 9_223_372_036_854_775_807;
use constant DAY => 86_400_000_000;

my $steps = $ENV{BILLING_STEPS} // 10_000;
my $seed = $ENV{BILLING_SEED} // int(rand(2**31));
note("BILLING_SEED=$seed BILLING_STEPS=$steps");
srand($seed);

my $node = PostgreSQL::Test::Cluster->new('conservation');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\n");
$node->start;
$node->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
my $session = Billing::Session->new($node);

# code => kind, price, other arguments
my %plans = (
    one => [ 'subscription', '10 USD', "duration => '30 days', app => 'mail'" ],
    two => [ 'subscription', '25 USD', "duration => '1 month', app => 'mail', tokens => 100" ],
    three => [ 'subscription', '40.01 USD', "duration => '3 months', app => 'mail', tokens => 500" ],
    four => [ 'subscription', '33.33 EUR', "duration => '1 month', app => 'mail'" ],
    five => [ 'subscription', '7 USD', "duration => '7 days', app => 'drive'" ],
    six => [ 'subscription', '0 USD', "duration => '1 day 1 hour', app => 'drive', tokens => 3" ],
    seven => [ 'subscription', '12.345 KWD', "duration => '6 months'" ],
    small => [ 'token', '5 USD', "tokens => 50, app => 'mail'" ],
    medium => [ 'token', '12 USD', "tokens => 200, app => 'mail', duration => '20 days'" ],
    large => [ 'token', '9.99 USD', "tokens => 150, app => 'mail', duration => '10 days'" ],
    yen => [ 'token', '700 JPY', "tokens => 80, app => 'mail', duration => '1 month'" ]);
my @codes = sort keys %plans;
$session->query("SELECT billing.create_app('mail', 'Mail'), billing.create_app('drive', 'Drive'), billing.create_plan('free', 'free')");
for my $code (@codes)
{
    my ($kind, $price, $rest) = @{ $plans{$code} };
    is($session->query("SELECT billing.create_plan('$code', '$kind', price => '$price', $rest)"), 1, "plan $code");
}
my @zones = qw(UTC Europe/Berlin America/New_York Asia/Kathmandu Pacific/Auckland);
my @accounts = map {
    my $id = $session->query("SELECT billing.create_account('a', time_zone => '$zones[$_ % @zones]')");
    my $second = int(rand(365 * 86_400));
    $session->query("SELECT billing.set_test_clock('$id', '2100-01-01 UTC'::timestamptz + interval '$second.123456 seconds')");
    $id
} 1 .. ACCOUNTS;

# Everything about one account, a line a row; times in microseconds. What a hold that is over keeps
# is left again, written or not: the worker writes it between any two steps, also after the account
# was read for the last time before an order, and what is ordered does not depend on that.
sub micros { return "CASE WHEN $_[0] = 'infinity' THEN 'infinity' ELSE (extract(epoch FROM $_[0]) * 1000000)::bigint::text END" }
my $state_query = sprintf q{PREPARE state (uuid) AS
SELECT concat_ws('|', 'account', %1$s, suspended_at IS NOT NULL) FROM billing.account a
 CROSS JOIN LATERAL (SELECT billing.now(a.account_id) AS now) n WHERE account_id = $1
UNION ALL SELECT concat_ws('|', 'payment', payment_id, minor_units(amount), currency(amount), reason, order_id) FROM billing.payment WHERE account_id = $1
UNION ALL SELECT concat_ws('|', 'refund', refund_id, payment_id, minor_units(amount), currency(amount)) FROM billing.payment_refund WHERE account_id = $1
UNION ALL SELECT concat_ws('|', 'credit', minor_units(amount), currency(amount), reason) FROM billing.account_credit WHERE account_id = $1
UNION ALL SELECT concat_ws('|', 'order', order_id, action, at_period_end, plan, minor_units(price), minor_units(credit), minor_units(account_credit),
    minor_units(due), currency(price), coalesce(subject_id::text, ''), status, %2$s) FROM billing.plan_order WHERE account_id = $1
UNION ALL SELECT concat_ws('|', 'subscription', subscription_id, plan, kind, %3$s, %4$s, void, coalesce(replaced_by::text, ''), ended_at IS NOT NULL)
    FROM billing.subscription WHERE account_id = $1
UNION ALL SELECT concat_ws('|', 'period', subscription_id, period_no, plan, kind, coalesce(array_to_string(apps, ','), '*'), %3$s, %4$s, void,
    coalesce(minor_units(price)::text, ''), coalesce(minor_units(paid)::text, ''), coalesce(currency(coalesce(paid, price)), ''),
    coalesce(minor_units(credited), 0), coalesce(minor_units(refunded), 0), coalesce(order_id::text, ''), coalesce(grant_id::text, ''))
    FROM billing.subscription_period WHERE account_id = $1
UNION ALL SELECT concat_ws('|', 'grant', g.grant_id, coalesce(g.subscription_id::text, ''), g.tokens, %3$s, %4$s, g.voided_at IS NOT NULL,
    g.tokens - coalesce((SELECT sum(l.tokens) FROM billing.ledger l WHERE l.account_id = g.account_id AND l.grant_id = g.grant_id
        AND NOT EXISTS (SELECT FROM billing.hold h WHERE h.account_id = l.account_id AND h.hold_id = l.hold_id AND NOT h.ended AND h.expires_at <= n.now)), 0))
    FROM billing.token_grant g CROSS JOIN LATERAL (SELECT billing.now(g.account_id) AS now) n WHERE g.account_id = $1
UNION ALL SELECT concat_ws('|', 'view', minor_units(paid), minor_units(used), minor_units(credited), minor_units(refunded), minor_units(account_credit),
    minor_units(unapplied), minor_units(difference), currency) FROM billing.payment_conservation WHERE account_id = $1},
    micros('now'), micros('expires_at'), map { micros($_) } qw(effective_at expires_at);
$session->query('SET search_path = billing, pg_catalog');
$session->query($state_query);

my %columns = (
    account => [qw(now suspended)],
    payment => [qw(id minor currency reason order)],
    refund => [qw(id payment minor currency)],
    credit => [qw(minor currency reason)],
    order => [qw(id action at_end plan price credit account_credit due currency subject status expires)],
    subscription => [qw(id plan kind from to void replaced_by ended)],
    period => [qw(subscription no plan kind apps from to void price paid currency credited refunded order grant)],
    grant => [qw(id subscription tokens from to void left)],
    view => [qw(paid used credited refunded account_credit unapplied difference currency)]);

sub load
{
    my ($account) = @_;
    my %state = map { $_ => [] } keys %columns;
    for my $row ($session->rows("EXECUTE state ('$account')"))
    {
        my ($kind, @values) = @$row;
        die "no row of the state: $kind" if !$columns{$kind};
        my %row;
        @row{ @{ $columns{$kind} } } = map { $_ eq 't' ? 1 : $_ eq 'f' ? 0 : $_ eq 'infinity' ? FOREVER : $_ } @values;
        push @{ $state{$kind} }, \%row;
    }
    return \%state;
}

# What must always hold.

my @problems;
my ($step, $last) = (0, '');
sub problem { push @problems, "step $step ($last): @_"; return }

# The money, from payments, refunds, account credit and periods.
sub check_money
{
    my ($state, $cash) = @_;
    my (%paid, %unapplied, %refunded, %credit, %used, %credited, %reason, %left, %reserved, %currencies);
    for (@{ $state->{payment} })
    {
        $paid{ $_->{currency} } += $_->{minor};
        $reason{ $_->{id} } = $_->{reason};
        $left{ $_->{id} } = $_->{minor};
        $unapplied{ $_->{currency} } += $_->{minor} if $_->{reason} eq 'payment_mismatch';
    }
    for (@{ $state->{refund} })
    {
        $refunded{ $_->{currency} } += $_->{minor};
        $left{ $_->{payment} } -= $_->{minor};
        problem("more was refunded than paid") if $left{ $_->{payment} } < 0;
        $unapplied{ $_->{currency} } -= $_->{minor} if $reason{ $_->{payment} } eq 'payment_mismatch';
    }
    $credit{ $_->{currency} } += $_->{minor} for @{ $state->{credit} };
    my %orders = map { $_->{id} => $_ } @{ $state->{order} };
    for (@{ $state->{period} })
    {
        next if $_->{paid} eq '';
        my $order = $orders{ $_->{order} };
        problem("a period was not paid its price") if $_->{paid} != $order->{price};
        my $holds = $_->{paid} - $_->{credited} - $_->{refunded};
        problem("a period holds less than nothing") if $holds < 0;
        my $by_credit = $order->{price} - $order->{due} - $_->{credited};
        $by_credit = 0 if $by_credit < 0;
        $by_credit = $holds if $by_credit > $holds;
        $credited{ $_->{currency} } += $by_credit;
        $used{ $_->{currency} } += $holds - $by_credit;
    }
    for (grep { $_->{status} eq 'open' && $_->{expires} > $state->{account}[0]{now} } @{ $state->{order} })
    {
        $reserved{ $_->{currency} } += $_->{account_credit};
    }
    $currencies{$_} = 1 for map { keys %$_ } \(%paid, %credit, %used, %credited);
    my %views = map { $_->{currency} => $_ } @{ $state->{view} };
    for my $currency (keys %currencies)
    {
        my @parts = map { $_->{$currency} // 0 } \(%used, %credited, %refunded, %credit, %unapplied);
        my $sum = 0;
        $sum += $_ for @parts;
        my $in = $paid{$currency} // 0;
        problem("$currency: paid $in, but it is @parts") if $sum != $in;
        problem("$currency: less than nothing in @parts") if grep { $_ < 0 } @parts;
        problem("$currency: more is set aside than there is") if ($reserved{$currency} // 0) > ($credit{$currency} // 0);
        problem("$currency: the provider says otherwise")
          if $in != ($cash->{paid}{$currency} // 0) || ($refunded{$currency} // 0) != ($cash->{refunded}{$currency} // 0);
        my $view = $views{$currency};
        my @view = map { $view->{$_} // 0 } qw(used credited refunded account_credit unapplied);
        problem("$currency: the view says @view, the rows @parts") if "@view" ne "@parts" || ($view->{difference} // 0) != 0;
    }
    return;
}

# Periods of a subscription follow each other without a gap, those of a plan never overlap, what is
# scheduled begins where what it follows ends, and tokens end with their period.
sub check_periods
{
    my ($state) = @_;
    my $now = $state->{account}[0]{now};
    my (%periods, %plans, %subscriptions, %grants);
    %subscriptions = map { $_->{id} => $_ } @{ $state->{subscription} };
    %grants = map { $_->{id} => $_ } @{ $state->{grant} };
    for my $period (sort { $a->{no} <=> $b->{no} } grep { !$_->{void} } @{ $state->{period} })
    {
        push @{ $periods{ $period->{subscription} } }, $period;
        push @{ $plans{ $period->{plan} } }, $period;
        my $grant = $grants{ $period->{grant} } or next;
        # a plan without end that was renewed leaves its tokens without end
        problem("tokens do not end with their period")
          if !$grant->{void} && $grant->{to} != FOREVER && $grant->{subscription} eq $period->{subscription} && $grant->{to} != $period->{to};
        problem("tokens do not begin with their period")
          if !$grant->{void} && $period->{kind} eq 'subscription' && $grant->{from} != $period->{from};
    }
    for my $id (keys %subscriptions)
    {
        my ($subscription, @mine) = ($subscriptions{$id}, @{ $periods{$id} // [] });
        if ($subscription->{void})
        {
            problem("a void subscription has periods") if @mine;
            next;
        }
        problem("a subscription has no period") or next if !@mine;
        problem("a subscription's times are not those of its periods")
          if $mine[0]{from} != $subscription->{from} || $mine[-1]{to} != $subscription->{to};
        for (1 .. $#mine) { problem("a gap between periods") if $mine[$_]{from} != $mine[ $_ - 1 ]{to} }
        problem("an end is not written") if $subscription->{to} <= $now && !$subscription->{ended};
        problem("an end is written too early") if $subscription->{to} > $now && $subscription->{ended};
        my $next = $subscriptions{ $subscription->{replaced_by} } or next;
        problem("what follows does not begin where it should")
          if $subscription->{to} > $now && ($next->{void} || $next->{from} != $subscription->{to});
    }
    for my $plan (values %plans)
    {
        my @sorted = sort { $a->{from} <=> $b->{from} } @$plan;
        for (1 .. $#sorted) { problem("periods of a plan overlap") if $sorted[$_]{from} < $sorted[ $_ - 1 ]{to} }
    }
    for (values %grants)
    {
        problem("a grant is overdrawn") if $_->{left} < 0 || $_->{left} > $_->{tokens};
        # those that moved to a token plan keep their own end
        my $holder = $subscriptions{ $_->{subscription} } or next;
        problem("a subscription that is over has usable tokens")
          if !$_->{void} && $_->{to} > $now && $_->{left} > 0
          && $holder->{kind} eq 'subscription' && ($holder->{void} || $holder->{to} <= $now);
    }
    problem("an order lapsed, but is open") if grep { $_->{status} eq 'open' && $_->{expires} <= $now } @{ $state->{order} };
    return;
}

# The second implementation of what an order says.

sub price_of
{
    my ($code) = @_;
    return $session->query("SELECT minor_units(price) || ' ' || currency(price) FROM plan_version WHERE plan = '$code' ORDER BY version DESC LIMIT 1");
}

sub in_force
{
    my ($state, $period) = @_;
    my $now = $state->{account}[0]{now};
    return 0 if $period->{void} || $period->{from} > $now || $period->{to} <= $now;
    return 1 if $period->{kind} eq 'subscription';
    return 0 < grep { $_->{subscription} eq $period->{subscription} && !$_->{void} && $_->{from} <= $now && $_->{to} > $now && $_->{left} > 0 }
      @{ $state->{grant} };
}

# floor(paid × min(share of time unused, share of its tokens unused))
sub unused
{
    my ($state, $period) = @_;
    my $now = $state->{account}[0]{now};
    my $holds = $period->{paid} - $period->{refunded};
    my ($grant) = grep { $_->{id} eq $period->{grant} } @{ $state->{grant} };
    my @shares = ($now <= $period->{from} ? [ 1, 1 ] : [ $period->{to} - $now, $period->{to} - $period->{from} ]);
    push @shares, $grant->{void} ? [ 0, 1 ] : [ $grant->{left}, $grant->{tokens} ] if $grant;
    my ($least) = sort { $a <=> $b } map { $holds * $_->[0] / $_->[1] } @shares;
    return $least;
}

sub credits_of
{
    my ($state, $subscription) = @_;
    return grep { $_->{subscription} eq $subscription && !$_->{void} && $_->{to} > $state->{account}[0]{now} && $_->{kind} eq 'subscription' && $_->{paid} ne '' }
      @{ $state->{period} };
}

# undef: refused.
sub expect_order
{
    my ($state, $code, $timing) = @_;
    my ($now, %is) = ($state->{account}[0]{now});
    my ($price, $currency) = split / /, price_of($code);
    my ($kind, undef, $rest) = @{ $plans{$code} };
    my ($app) = $rest =~ /app => '(\w+)'/;
    $app //= '*';
    my %ends = map { $_->{id} => $_->{to} } @{ $state->{subscription} };
    %is = (action => 'buy', at_end => 0, credit => 0, subject => '', price => $price, currency => $currency);
    my ($held) = sort { $b->{to} <=> $a->{to} } grep { $_->{plan} eq $code && !$_->{void} && $_->{to} > $now } @{ $state->{subscription} };
    my ($replaced) = sort { $ends{ $b->{subscription} } <=> $ends{ $a->{subscription} } || $a->{plan} cmp $b->{plan} }
      grep { $_->{kind} eq $kind && $_->{apps} eq $app && in_force($state, $_) } @{ $state->{period} };
    if ($held) { @is{qw(action subject)} = ('renew', $held->{id}) }
    elsif ($replaced)
    {
        my $cost = $replaced->{paid} ne '' ? $replaced->{paid} : $replaced->{price};
        my $comparable = $cost eq '' || $replaced->{currency} eq $currency;
        return if !$comparable && $timing eq 'immediate';
        my $better = $comparable && ($cost eq '' || $price >= $cost);
        my $endless = $ends{ $replaced->{subscription} } == FOREVER;
        my $at_end = $timing eq 'period_end' || !$better ? 1 : 0;
        return if $endless && $timing eq 'period_end';
        if (!$endless || !$at_end)
        {
            @is{qw(action at_end subject)} = ($better ? 'upgrade' : 'downgrade', $at_end, $replaced->{subscription});
            my ($own) = grep { $_->{id} eq $replaced->{subscription} } @{ $state->{subscription} };
            my @gone = (credits_of($state, $own->{replaced_by}));
            unshift @gone, credits_of($state, $own->{id}) if !$at_end;
            return if !$at_end && grep { $_->{currency} ne $currency } @gone;
            $is{credit} += unused($state, $_) for grep { $_->{currency} eq $currency } @gone;
        }
    }
    my $available = 0;
    $available += $_->{minor} for grep { $_->{currency} eq $currency } @{ $state->{credit} };
    $available -= $_->{account_credit} for grep { $_->{status} eq 'open' && $_->{currency} eq $currency } @{ $state->{order} };
    my $rest_due = $price - $is{credit};
    $rest_due = 0 if $rest_due < 0;
    $is{account_credit} = $available < $rest_due ? $available : $rest_due;
    $is{due} = $rest_due - $is{account_credit};
    return \%is;
}

# One step of an account's life.

my %decimals = (JPY => 0, KWD => 3);
sub text
{
    my ($minor, $currency) = @_;
    my $decimals = $decimals{$currency} // 2;
    return "$minor $currency" if !$decimals;
    my $sign = $minor < 0 ? '-' : '';
    return sprintf "%s%d.%0*d %s", $sign, abs($minor) / 10**$decimals, $decimals, abs($minor) % 10**$decimals, $currency;
}
# Under integer arithmetic rand() alone would always be zero.
sub chance { my ($percent) = @_; return int(rand(100)) < $percent }
sub any { my (@list) = @_; return $list[ int(rand(scalar @list)) ] }

my ($references, %count) = (0);
my %allowed = (
    order => qr/^ERROR:  (PB015|22023|PB011)$/,
    consume => qr/^ERROR:  PB00[2345]$/,
    hold => qr/^ERROR:  PB00[2345]$/,
    gift => qr/^ERROR:  (PB002|PB011)$/);

sub call
{
    my ($what, $sql) = @_;
    $last = "$what: $sql";
    my $answer = $session->query($sql);
    $count{$what}++;
    die "step $step: the server is gone after $sql" if !defined $answer;
    if ($answer =~ /ERROR/)
    {
        problem("raised $answer") if $answer !~ ($allowed{$what} // qr/^$/);
        $count{"$what refused"}++;
        return;
    }
    return $answer;
}

sub pay
{
    my ($cash, $order, $minor, $currency, $overtaken) = @_;
    my $reference = ++$references;
    my $amount = text($minor, $currency);
    my $sql = "SELECT payment_id, accepted, reason, subscription_id IS NOT NULL, replayed FROM billing.record_payment('$order->{id}', 'psp', '$reference', '$amount')";
    my $receipt = call('pay', $sql);
    return problem('no receipt') if !defined $receipt;
    $cash->{paid}{$currency} += $minor;
    my ($id, $accepted, $reason, $subscription, $replayed) = split /\|/, $receipt, -1;
    my $expected = $order->{status} ne 'open' ? 'order_closed'
      : $minor != $order->{due} || $currency ne $order->{currency} ? 'payment_mismatch'
      : $overtaken ? 'order_closed' : 'accepted';
    problem("is $reason, not $expected") if $reason ne $expected;
    problem("receipt $receipt") if ($accepted eq 't') != ($reason eq 'accepted') || $subscription ne $accepted || $replayed ne 'f';
    $count{$reason}++;
    return if chance(80);
    my $again = call('pay again', $sql);
    problem("again: $again instead of $receipt") if $again ne $receipt =~ s/f$/t/r;
    my $other = call('pay otherwise', $sql =~ s/'\Q$amount\E'/"'" . text($minor + 1, $currency) . "'"/er);
    problem("reused: $other") if $other ne '|f|reference_reused|f|f';
    return;
}

sub place_order
{
    my ($account, $state, $cash) = @_;
    my $code = any(@codes);
    my $timing = chance(15) ? 'period_end' : 'immediate';
    my $expected = expect_order($state, $code, $timing);
    my $id = call('order', "SELECT billing.order_plan('$account', '$code', '$timing')");
    return problem("is ", defined $id ? 'accepted' : 'refused') if defined $id ne defined $expected;
    return if !defined $id;
    my %order;
    @order{ @{ $columns{order} } } = map { $_ eq 't' ? 1 : $_ eq 'f' ? 0 : $_ } split /\|/, $session->query(
        'SELECT order_id, action, at_period_end, plan, minor_units(price), minor_units(credit), minor_units(account_credit), minor_units(due), currency(price), '
          . "coalesce(subject_id::text, ''), status, 0 FROM billing.plan_order WHERE order_id = '$id'"), -1;
    for (qw(action at_end price currency credit account_credit due subject))
    {
        problem("$_ is $order{$_}, not $expected->{$_}") if $order{$_} ne $expected->{$_};
    }
    problem("is $order{status}") if $order{status} ne ($order{due} == 0 ? 'paid' : 'open');
    $count{ $order{action} }++;
    return if $order{due} == 0;
    my ($subject) = grep { $_->{id} eq $order{subject} } @{ $state->{subscription} };
    my $left = $order{action} eq 'upgrade' && $order{credit} > 0 ? $subject->{to} - $state->{account}[0]{now} : FOREVER;
    # paid when what the credit is for has been used to its end
    if ($left < DAY && chance(50))
    {
        call('time', "SELECT billing.advance_test_clock('$account', '$left microseconds')");
        $count{'upgrade of what is over'}++;
        pay($cash, \%order, $order{due}, $order{currency}, 1);
    }
    elsif (chance(75)) { pay($cash, \%order, $order{due}, $order{currency}) }
    return;
}

sub pay_some_order
{
    my ($account, $state, $cash) = @_;
    my @open = grep { $_->{status} eq 'open' } @{ $state->{order} };
    my $order = @open && chance(80) ? any(@open) : any(@{ $state->{order} });
    return if !$order;
    my $way = int(rand(100));
    return pay($cash, $order, $order->{due} + any(-1, 1, 100), $order->{currency}) if $way < 10 && $order->{due} > 0;
    return pay($cash, $order, $order->{due}, $order->{currency} eq 'EUR' ? 'USD' : 'EUR') if $way < 20;
    # it would be renewed, and the plan to follow, for which the order counts on credit, stay
    my $overtaken = $order->{at_end} && $order->{credit} > 0
      && grep { $_->{plan} eq $order->{plan} && !$_->{void} && $_->{to} > $state->{account}[0]{now} } @{ $state->{subscription} };
    # what the credit is for has been used to its end
    my ($subject) = grep { $_->{id} eq $order->{subject} } @{ $state->{subscription} };
    my $used = $order->{action} =~ /grade$/ && $order->{credit} > 0 && $subject->{to} <= $state->{account}[0]{now};
    $count{'upgrade of what is over'}++ if $used && $order->{status} eq 'open';
    return pay($cash, $order, $order->{due}, $order->{currency}, $overtaken || $used);
}

# The tokens that the payment bought are gone, wherever they are; tokens that were usable before by a
# token plan, and are there still, have not lost it.
sub check_access_ended
{
    my ($before, $after, $payment) = @_;
    my $now = $after->{account}[0]{now};
    my $lives = sub { my ($it) = @_; return !$it->{void} && $it->{from} <= $now && $it->{to} > $now };
    my %lived = map { $_->{id} => 1 } grep { $_->{kind} eq 'token' && $lives->($_) } @{ $before->{subscription} };
    my %lives = map { $_->{id} => 1 } grep { $lives->($_) } @{ $after->{subscription} };
    my ($bought) = grep { $_->{order} eq $payment->{order} } @{ $after->{period} };
    for (grep { $lives->($_) } @{ $after->{grant} })
    {
        problem("tokens that were paid back are usable") if $_->{id} eq $bought->{grant};
        problem("tokens lost the plan that they need") if $_->{left} > 0 && $lived{ $_->{subscription} } && !$lives{ $_->{subscription} };
        $count{'tokens beside a refund'}++ if $_->{left} > 0 && $lived{ $_->{subscription} };
    }
    return;
}

sub refund
{
    my ($account, $state, $cash) = @_;
    my $payment = any(@{ $state->{payment} }) or return;
    my $left = $payment->{minor};
    $left -= $_->{minor} for grep { $_->{payment} eq $payment->{id} } @{ $state->{refund} };
    return if $left == 0;
    my $minor = chance(50) ? $left : 1 + int(rand($left));
    my ($amount, $end) = (text($minor, $payment->{currency}), any('true', 'false'));
    my $reference = ++$references;
    my $sql = "SELECT billing.record_refund('$payment->{id}', 'psp', '$reference', '$amount', $end)";
    my $id = call('refund', $sql);
    return problem('no refund') if !defined $id;
    $cash->{refunded}{ $payment->{currency} } += $minor;
    check_access_ended($state, load($account), $payment) if $end eq 'true' && $payment->{reason} eq 'accepted';
    problem('another refund') if chance(20) && call('refund again', $sql) ne $id;
    return;
}

sub cancel
{
    my ($account, $state) = @_;
    my @living = grep { !$_->{void} && $_->{to} > $state->{account}[0]{now} } @{ $state->{subscription} };
    my $subscription = @living && chance(90) ? any(@living) : any(@{ $state->{subscription} });
    return if !$subscription;
    call('cancel', "SELECT billing.cancel_subscription('$subscription->{id}', " . any('true', 'true', 'false') . ')');
    return;
}

sub time_passes
{
    my ($account, $state) = @_;
    my $now = $state->{account}[0]{now};
    my @ends = grep { $_ > $now && $_ < FOREVER } map { $_->{to} } @{ $state->{period} };
    my $by = any('1 second', '3 hours', '1 day', '9 days', '26 days', '40 days');
    # to the last microsecond of a period, or to its end
    $by = (any(@ends) - $now - int(rand(2))) . ' microseconds' if @ends && chance(30);
    # to the last hours of a period, when an order may outlive it
    my ($soon) = sort { $a <=> $b } grep { $_ > $now + DAY } @ends;
    $by = ($soon - $now - 1 - int(rand(DAY - 1))) . ' microseconds' if $soon && chance(15);
    call('time', "SELECT billing.advance_test_clock('$account', '$by')") if $by ne '0 microseconds';
    return;
}

my @actions = (
    [ 32, \&place_order ],
    [ 12, \&pay_some_order ],
    [ 9, \&refund ],
    [ 6, \&cancel ],
    [ 20, \&time_passes ],
    [ 10, sub { call('consume', "SELECT billing.consume_tokens('$_[0]', " . (1 + int(rand(60))) . ", 'mail')"); return } ],
    [ 3, sub { call('hold', "SELECT billing.hold_tokens('$_[0]', " . (1 + int(rand(20))) . ", '2 days', 'mail')"); return } ],
    [ 3, sub { call('gift', "SELECT billing.subscribe('$_[0]', '" . any(@codes) . "')"); return } ],
    [ 2, sub { call('suspend', "SELECT billing.suspend_account('$_[0]', 'x')"); return } ],
    [ 3, sub { call('reinstate', "SELECT billing.reinstate_account('$_[0]')"); return } ],
    [ 1, sub {
        my $code = any(@codes);
        my ($minor, $currency) = split / /, price_of($code);
        $minor = $minor * (80 + int(rand(45))) / 100;
        call('revise', "SELECT billing.revise_plan('$code', price => '" . text($minor, $currency) . "')");
        return } ],
    [ 1, sub { call('expire', 'SELECT billing.expire_due()'); return } ]);
my $weights = 0;
$weights += $_->[0] for @actions;

my (%cash, %known);
while ($step < $steps && @problems < 10)
{
    $step++;
    my $account = any(@accounts);
    my $pick = int(rand($weights));
    my ($action) = grep { ($pick -= $_->[0]) < 0 } @actions;
    $cash{$account} //= { paid => {}, refunded => {} };
    $last = '';
    $action->[1]->($account, $known{$account} //= load($account), $cash{$account});
    my $state = $known{$account} = load($account);
    check_money($state, $cash{$account});
    check_periods($state);
}
is(join("\n", @problems), '', "$step steps without a problem");
is($step, $steps, 'all steps');

for my $account (@accounts)
{
    check_money(load($account), $cash{$account} // {});
}
is(join("\n", @problems), '', 'all accounts at the end');
is($session->query('SELECT count(*) FROM billing.verify_ledger()'), 0, 'the ledger is sound');
is($session->query('SELECT count(*) FROM billing.payment_conservation WHERE minor_units(difference) <> 0'), 0, 'the view has no difference');
cmp_ok($count{$_} // 0, '>', $steps / 1000, "$_: " . ($count{$_} // 0))
  for qw(buy renew upgrade downgrade accepted payment_mismatch order_closed refund cancel), 'pay again', 'order refused';
note(join ', ', map { "$_ $count{$_}" } sort keys %count);

$session->close;
$node->stop;
done_testing();
1;
