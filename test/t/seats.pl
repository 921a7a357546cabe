# 32 clients take, give up and swap seats by function and by plain DML while plans are bought and
# run out, and admins come and go: what was written is replayed in commit order.

use strict;
use warnings;

use Billing::Clients;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('seats');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
track_commit_timestamp = on
max_connections = 60
deadlock_timeout = 20ms
fsync = off
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION billing CASCADE;
SELECT billing.create_plan('free', 'free', user_limit => 3);
SELECT billing.create_plan('ten', 'subscription', duration => '30 days', user_limit => 10);
SELECT billing.create_plan('six', 'subscription', duration => '30 days', user_limit => 6);
SELECT billing.create_plan('eight', 'subscription', duration => '30 days', user_limit => 8);
SELECT billing.create_plan('many', 'subscription', duration => '30 days');
CREATE FUNCTION seats(account uuid) RETURNS bigint LANGUAGE sql
    RETURN (SELECT count(*) FROM billing.account_user WHERE account_id = account AND disabled_at IS NULL AND removed_at IS NULL);
SQL

my $serial = 0;

sub address
{
    $serial++;
    return "'user$serial\@example.com'";
}

sub account
{
    my ($plan) = @_;
    my $id = $node->safe_psql('postgres', q{SELECT billing.create_account('account')});
    $node->safe_psql('postgres', "SELECT billing.subscribe('$id', '$plan')") if $plan;
    return "'$id'";
}

sub unexpected
{
    my ($states, @expected) = @_;
    my %left = %$states;
    delete @left{@expected};
    is_deeply(\%left, {}, 'no other errors');
    note join ', ', map { "$_: $states->{$_}" } sort keys %$states;
    return;
}

# Exactly as many as there are seats
sub adder
{
    my ($account, $kind) = @_;
    my @statements;
    for (1 .. 4)
    {
        push @statements, "SELECT billing.add_user_within_limit($account, " . address() . ', NULL)' if $kind == 0;
        push @statements, "INSERT INTO billing.account_user (account_id, email, role) VALUES ($account, " . address() . q{, 'member')} if $kind == 1;
        push @statements, 'INSERT INTO billing.account_user (account_id, email, role) SELECT '
          . "$account, a, 'member' FROM unnest(ARRAY[" . join(', ', map { address() } 1 .. 3) . ']) a'
          if $kind == 2;
    }
    return \@statements;
}

for my $round (1 .. 3)
{
    my $account = account('ten');
    my %states = run_clients($node, map { adder($account, (0, 1, 0, 1, 0, 2)[ $_ % 6 ]) } 1 .. 32);
    is($node->safe_psql('postgres', "SELECT seats($account)"), 10, "round $round: exactly the limit");
    unexpected(\%states, 'PB007');
}

# Everything at once
my $seats = account();
my $admins = account('many');

# One user of the account, by chance
sub some
{
    my ($account, $condition) = @_;
    return "SELECT user_id FROM billing.account_user WHERE account_id = $account AND removed_at IS NULL AND ($condition) ORDER BY random() LIMIT 1";
}

my @seat_statements = (
    sub { "SELECT billing.add_user_within_limit($seats, " . address() . ', NULL)' },
    sub { "SELECT billing.add_user_within_limit($seats, " . address() . ', NULL)' },
    sub { "INSERT INTO billing.account_user (account_id, email, role) VALUES ($seats, " . address() . q{, 'member')} },
    sub {
        'INSERT INTO billing.account_user (account_id, email, role) SELECT '
          . "$seats, a, 'member' FROM unnest(ARRAY[" . join(', ', map { address() } 1 .. 2) . ']) a';
    },
    sub {
        'BEGIN; INSERT INTO billing.account_user (account_id, email, role) VALUES '
          . "($seats, " . address() . q{, 'member'); SELECT pg_sleep(random() / 100); } . (rand() < 0.5 ? 'COMMIT' : 'ROLLBACK');
    },
    sub { 'SELECT billing.disable_user(u) FROM (' . some($seats, 'disabled_at IS NULL') . ') s(u)' },
    sub { 'SELECT billing.enable_user(u) FROM (' . some($seats, 'disabled_at IS NOT NULL') . ') s(u)' },
    sub { 'SELECT billing.remove_user(u) FROM (' . some($seats, 'true') . ') s(u)' },
    sub { 'UPDATE billing.account_user SET disabled_at = now() WHERE user_id = (' . some($seats, 'disabled_at IS NULL') . ')' },
    sub { 'UPDATE billing.account_user SET disabled_at = NULL WHERE user_id = (' . some($seats, 'disabled_at IS NOT NULL') . ')' },
    sub { 'DELETE FROM billing.account_user WHERE user_id = (' . some($seats, 'true') . ')' },
    sub {
        'UPDATE billing.account_user SET disabled_at = CASE WHEN disabled_at IS NULL THEN now() END WHERE user_id IN (('
          . some($seats, 'disabled_at IS NULL') . '), (' . some($seats, 'disabled_at IS NOT NULL') . '))';
    });
my @admin_statements = (
    sub { "SELECT billing.add_user_within_limit($admins, " . address() . q{, NULL, 'admin')} },
    sub { 'SELECT billing.set_user_role(u, \'member\') FROM (' . some($admins, q{role = 'admin'}) . ') s(u)' },
    sub { 'SELECT billing.disable_user(u) FROM (' . some($admins, q{role = 'admin'}) . ') s(u)' },
    sub { 'SELECT billing.remove_user(u, v) FROM (' . some($admins, q{role = 'admin'}) . ') s(u), (' . some($admins, q{role = 'admin'}) . ') t(v)' },
    sub { q{UPDATE billing.account_user SET role = 'member' WHERE user_id IN (SELECT user_id FROM billing.account_user WHERE account_id = }
          . "$admins AND role = 'admin' ORDER BY random() LIMIT 2)" },
    sub { 'UPDATE billing.account_user SET disabled_at = now() WHERE user_id = (' . some($admins, 'disabled_at IS NULL') . ')' },
    sub { 'DELETE FROM billing.account_user WHERE user_id = (' . some($admins, 'true') . ')' },
    sub { 'SELECT billing.enable_user(u) FROM (' . some($admins, 'disabled_at IS NOT NULL') . ') s(u)' });

sub mixed
{
    my ($count, @kinds) = @_;
    return [ map { $kinds[ rand @kinds ]->(), 'SELECT pg_sleep(random() / 50)' } 1 .. $count ];
}

# Half a second each, with nothing but the free plan in between.
my @plans = map {
    ("SELECT billing.subscribe($seats, '$_', expires_at => clock_timestamp() + interval '0.4 seconds')", 'SELECT pg_sleep(0.1 + random() / 2)')
} (qw(six eight ten)) x 5;

$node->safe_psql('postgres', "SELECT billing.add_user_within_limit($admins, " . address() . ", NULL, 'admin') FROM generate_series(1, 1)");
my %states = run_clients($node, \@plans, (map { mixed(90, @seat_statements) } 1 .. 22), (map { mixed(60, @admin_statements) } 1 .. 10));
# PB013: removed meanwhile; PB006: the acting user is no admin any more; 22023: a period that the
# next one would begin after
# 25P02: the COMMIT or sleep behind an error
unexpected(\%states, qw(25P02 PB006 PB007 PB013 PB017 40P01 22023));
cmp_ok($states{PB007}, '>', 50, 'the limit was met');
cmp_ok($states{PB017}, '>', 5, 'the last admin was met');

# What happened, in the order of the commits
my $history = <<'SQL';
SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin)), xmin, kind, extract(epoch FROM occurred_at),
    detail->>'user_id', coalesce(detail->>'role', detail->>'to') FROM billing.event WHERE account_id = %s
ORDER BY pg_xact_commit_timestamp(xmin), event_id
SQL

sub history
{
    my ($account) = @_;
    my @transactions;
    for (split /\n/, $node->safe_psql('postgres', sprintf $history, $account))
    {
        my ($committed, $xid, $kind, $at, $user, $role) = split /\|/;
        push @transactions, { xid => $xid, committed => $committed, changes => [] }
          if !@transactions || $transactions[-1]{xid} != $xid;
        push @{ $transactions[-1]{changes} }, { kind => $kind, at => $at, user => $user, role => $role };
    }
    return @transactions;
}

# apply(users, transaction): whether it took a seat
sub apply
{
    my ($users, $transaction) = @_;
    my $took = 0;
    for my $change (@{ $transaction->{changes} })
    {
        my ($kind, $id) = @$change{qw(kind user)};
        if ($kind eq 'user_added') { $users->{$id} = { seat => 1, role => $change->{role} }; $took = 1 }
        elsif ($kind eq 'user_enabled') { $users->{$id}{seat} = 1; $took = 1 }
        elsif ($kind eq 'user_disabled') { $users->{$id}{seat} = 0 }
        elsif ($kind eq 'user_removed') { delete $users->{$id} }
        elsif ($kind eq 'user_role_changed') { $users->{$id}{role} = $change->{role} }
    }
    return $took;
}

sub taken { my ($users) = @_; return scalar grep { $_->{seat} } values %$users }

my %limit_of = (six => 6, eight => 8, ten => 10);
my @periods = map { [ split /\|/ ] } split /\n/, $node->safe_psql('postgres',
    'SELECT plan, extract(epoch FROM effective_at), extract(epoch FROM expires_at), '
      . "extract(epoch FROM pg_xact_commit_timestamp(xmin)) FROM billing.subscription_period WHERE account_id = $seats");
cmp_ok(scalar @periods, '>', 5, 'plans came and went');

sub limit_at
{
    my ($at) = @_;
    my $limit = 3;
    for (@periods)
    {
        my ($plan, $begin, $end, $committed) = @$_;
        $limit = $limit_of{$plan} if $begin <= $at && $at < $end && $committed <= $at && $limit_of{$plan} > $limit;
    }
    return $limit;
}

my (%users, @above, @untimely, %met);
my ($takers, $last_taken) = (0, 0);
for my $transaction (history($seats))
{
    next unless apply(\%users, $transaction);
    my ($first, @others) = map { $_->{at} } grep { $_->{kind} =~ /added|enabled/ } @{ $transaction->{changes} };
    my $count = taken(\%users);
    my $limit = limit_at($first);
    push @above, "$count of $limit at $first" if $count > $limit;
    push @untimely, "$last_taken, $first, $transaction->{committed}"
      unless $last_taken <= $first && $first <= $transaction->{committed};
    $met{$limit}++ if $count == $limit;
    $last_taken = $transaction->{committed};
    $takers++;
}
is_deeply(\@above, [], 'no seat was taken at or above the limit then in force');
is_deeply(\@untimely, [], 'who took one decided after the one before had committed');
is(taken(\%users), $node->safe_psql('postgres', "SELECT seats($seats)"), 'the history is complete');
cmp_ok($takers, '>', 100, "seats were taken by $takers transactions");
cmp_ok(scalar keys %met, '>=', 3, 'several limits were met: ' . join ', ', map { "$_ ($met{$_} times)" } sort { $a <=> $b } keys %met);

# An admin at every moment
my (%members, @leaderless);
my $changes = 0;
for my $transaction (history($admins))
{
    apply(\%members, $transaction);
    my $active = grep { $_->{seat} && $_->{role} eq 'admin' } values %members;
    push @leaderless, "transaction $transaction->{xid}" if !$active && keys %members > 1;
    $changes++;
}
is_deeply(\@leaderless, [], 'no account with several users was ever without an admin');
cmp_ok($changes, '>', 50, "users were changed by $changes transactions");

$node->stop;
done_testing();
