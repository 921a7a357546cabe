# The whole server is killed, again and again, under a load of everything. After each start: what was
# acknowledged is there, nothing else is there but what was on its way, nothing is half there, and the
# figures are those of plain SQL over the rows.
#
# BILLING_SEED repeats what clients do and when the server is killed, not how they interleave;
# BILLING_KILLS is how often.

package Billing::CrashTest;

use strict;
use warnings;

use Billing::Kill;
use Billing::MixedLoad;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(crash_test unsafe_crash_test);

use constant CLIENTS => 8;

# Every so many kills one waits for a payment under way.
use constant PAYMENT => 4;

my %total;

# crash_test(name, kills)
sub crash_test
{
    my ($name, $kills) = @_;
    $kills = $ENV{BILLING_KILLS} // $kills;
    my $seed = $ENV{BILLING_SEED} // int rand 1_000_000;
    diag "BILLING_SEED=$seed BILLING_KILLS=$kills";
    srand $seed;
    my $dir = PostgreSQL::Test::Utils::tempdir();
    my $node = new_server($name);
    my $began = time;
    %total = map { $_ => 0 } qw(open unfinished payment ok no prepared unanswered whole);
    for my $round (1 .. $kills)
    {
        my ($what, @problems) = round($node, $dir, $round, $seed);
        is(join("\n", @problems), '', $what);
    }
    is(invariants($node, 'true'), '', 'at the end: every account of every round');
    diag sprintf '%d kills in %d s, %d with an open session, %d with an unfinished transaction in the log, %d within record_payment',
        $kills, time - $began, @total{qw(open unfinished payment)};
    diag sprintf 'transactions: %d committed, %d refused or rolled back, %d in doubt, of which %d were there as a whole; %d prepared over a kill',
        @total{qw(ok no unanswered whole prepared)};
    cmp_ok($total{open}, '>=', 0.9 * $kills, 'nine kills in ten hit an open session');
    cmp_ok($total{unfinished}, '>=', 0.9 * $kills, 'and a transaction that had written to the log');
    cmp_ok($total{payment}, '>', 0, 'some hit a payment');
    cmp_ok($total{ok}, '>', 10 * $kills, 'there was load');
    $node->stop;
    done_testing();
    return;
}

# The same where commits are acknowledged before they are written: what the test looks for is there to be
# found, and it must find it.
sub unsafe_crash_test
{
    my ($name, $kills) = @_;
    my $seed = $ENV{BILLING_SEED} // int rand 1_000_000;
    note "BILLING_SEED=$seed";
    srand $seed;
    my $dir = PostgreSQL::Test::Utils::tempdir();
    my $node = new_server($name, "synchronous_commit = off\nwal_writer_delay = 10s\n");
    my ($round, @lost) = (0);
    while (!@lost && $round++ < $kills)
    {
        my ($what, @problems) = round($node, $dir, $round, $seed);
        note $what;
        @lost = grep { /was acknowledged and lacks/ } @problems;
    }
    cmp_ok(scalar @lost, '>', 0, 'what was acknowledged and not written is missed');
    $node->stop;
    done_testing();
    return;
}

# Load, a kill and a start: what to call it, and the problems.
sub round
{
    my ($node, $dir, $round, $seed) = @_;
    load_begin($node, $round);
    my @pids = map { load_start($node, $dir, $round, $_, $seed) } 1 .. CLIENTS;
    my $kill = kill_within($node, $round);
    $kill->{client_failed} = load_stop(@pids);
    $node->start;
    return judge($node, $dir, $round, $kill);
}

sub new_server
{
    my ($name, $conf) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    $node->init;
    $node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'billing'
shared_buffers = 16MB
wal_writer_delay = 10ms
restart_after_crash = off
max_prepared_transactions = 20
update_process_title = on
log_min_messages = error
CONF
    $node->append_conf('postgresql.conf', $conf // '');
    $node->start;
    load_setup($node);
    # also where commits are not flushed: what every check stands on is there
    $node->safe_psql('postgres', 'CHECKPOINT');
    return $node;
}

# At a random moment; or soon after a payment was seen that is held up where it writes.
sub kill_within
{
    my ($node, $round) = @_;
    my ($load, $after) = (0.5 + rand 0.8, rand 0.03);
    if ($round % PAYMENT) { sleep $load }
    else
    {
        $node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%record_payment%'});
        sleep $after;
    }
    return kill_server($node);
}

sub judge
{
    my ($node, $dir, $round, $kill) = @_;
    my ($told, $errors) = told($dir, $round);
    my @problems = @$errors;
    push @problems, "a client failed: $kill->{client_failed}" if $kill->{client_failed};
    push @problems, judge_rows($node, $round, $told);
    my $payment = grep { $_->[0] eq 'begin' && "@$_" =~ / p:/ } values %$told;
    $total{open}++ if $kill->{open};
    $total{unfinished}++ if $kill->{unfinished};
    $total{payment}++ if $payment;
    $total{prepared} += $kill->{prepared};
    return ("kill $round at $kill->{lsn}: $kill->{open} open sessions, $kill->{unfinished} unfinished transactions in the log, "
          . "$payment payments, $kill->{prepared} prepared", grep { length } @problems);
}

# What clients were told against the rows, and the rows against each other.
sub judge_rows
{
    my ($node, $round, $told) = @_;
    return grep { length } access_ended($node, $round), end_prepared($node, $told), compare($told, { effects_of($node, $round) }),
      invariants($node, "reference LIKE '$round.%'"), replays($node, $round);
}

# How many transactions compare() has seen of a kind: ok, no, unanswered, whole.
sub seen { return map { $total{$_} // 0 } @_ }

# Nothing has been written down since the kill perhaps, but access is over.
sub access_ended
{
    my ($node, $round) = @_;
    return $node->safe_psql('postgres', qq{SELECT 'access after its end: ' || account_id FROM billing.account a
WHERE reference LIKE '$round.%' AND billing.plan_is_active(account_id)
AND NOT EXISTS (SELECT FROM billing.subscription s WHERE s.account_id = a.account_id AND NOT void AND expires_at > now())});
}

# Prepared transactions are there exactly if they have to be; they are ended as their clients would have.
sub end_prepared
{
    my ($node, $told) = @_;
    my @problems;
    my %there = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts');
    for my $tag (sort keys %$told)
    {
        my $state = $told->{$tag}[0];
        push @problems, "$tag was prepared and is gone" if $state eq 'prepared' && !$there{$tag};
        push @problems, "$tag was ended and is still prepared" if $state =~ /^(?:ok|no)$/ && $there{$tag};
    }
    for my $tag (sort keys %there)
    {
        my $of = $told->{$tag} // [''];
        push @problems, "$tag was prepared by nobody" if !$of->[0];
        push @problems, "$tag is visible before it is committed" if $node->safe_psql('postgres', "SELECT count(*) FROM public.marker WHERE tag = '$tag'");
        my $commit = $of->[0] eq 'committing' || $of->[0] ne 'aborting' && rand() < 0.5;
        $node->safe_psql('postgres', ($commit ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$tag'");
        $of->[0] = $commit ? 'ok' : 'no';
    }
    # the second phase was asked for and had happened
    for my $of (values %$told)
    {
        $of->[0] = 'ok' if $of->[0] eq 'committing';
        $of->[0] = 'no' if $of->[0] eq 'aborting';
    }
    return @problems;
}

# What clients were told against what is there.
sub compare
{
    my ($told, $there) = @_;
    my (@problems, %known);
    for my $tag (sort keys %$told)
    {
        my ($state, @effects) = @{ $told->{$tag} };
        my $found = grep { $there->{$_} } @effects;
        @known{@effects} = ();
        $total{$state}++ if $state =~ /^(?:ok|no)$/;
        $total{unanswered}++ if $state eq 'begin';
        $total{whole}++ if $state eq 'begin' && $found;
        my @missing = grep { !$there->{$_} } @effects;
        push @problems, "$tag was acknowledged and lacks @missing" if $state eq 'ok' && @missing;
        push @problems, "$tag was undone and left $found of @effects" if $state eq 'no' && $found;
        push @problems, "$tag is half there, without @missing" if $state eq 'begin' && $found && @missing;
    }
    my @strange = grep { !exists $known{$_} } sort keys %$there;
    push @problems, "nobody asked for @strange" if @strange;
    return @problems;
}

# Plain SQL over the rows of some accounts, against what the functions answer. A line a problem.
sub invariants
{
    my ($node, $which) = @_;
    return $node->safe_psql('postgres', <<"SQL");
SET client_min_messages = warning;
CREATE TEMP TABLE done AS SELECT clock_timestamp() AS at;
CREATE TEMP TABLE due AS SELECT billing.expire_due();
-- the worker goes on, so all of it is looked at as it is at one moment
BEGIN ISOLATION LEVEL REPEATABLE READ;
CREATE TEMP TABLE mine AS SELECT account_id, reference FROM billing.account WHERE $which;
ANALYZE mine;
CREATE TEMP TABLE entry AS SELECT l.* FROM billing.ledger l JOIN mine USING (account_id);
CREATE TEMP TABLE taken AS SELECT account_id, grant_id, sum(tokens) AS tokens FROM entry GROUP BY 1, 2;
CREATE TEMP TABLE part AS SELECT account_id, part_of, sum(tokens) AS tokens FROM entry WHERE part_of IS NOT NULL GROUP BY 1, 2;
CREATE TEMP TABLE held AS SELECT e.account_id, e.hold_id, sum(e.tokens) AS tokens, bool_or(e.kind = 'lapse') AS lapsed FROM entry e WHERE hold_id IS NOT NULL GROUP BY 1, 2;
ANALYZE taken; ANALYZE part; ANALYZE held;
CREATE TEMP TABLE paid AS SELECT o.account_id, o.order_id, o.status, o.subscription_id, o.due,
        (SELECT count(*) FROM billing.payment p WHERE p.account_id = o.account_id AND p.order_id = o.order_id AND reason = 'accepted') AS payments,
        (SELECT count(*) FROM billing.subscription_period p WHERE p.account_id = o.account_id AND p.order_id = o.order_id) AS periods,
        (SELECT count(*) FROM billing.event e WHERE e.account_id = o.account_id AND kind = 'order_paid' AND detail->>'order_id' = o.order_id::text) AS events,
        (SELECT count(*) FROM billing.subscription_period p JOIN billing.token_grant g USING (account_id, grant_id) WHERE p.account_id = o.account_id AND p.order_id = o.order_id) AS grants
    FROM billing.plan_order o JOIN mine USING (account_id);

SELECT concat_ws(' ', 'verify_ledger', v) FROM billing.verify_ledger() v
UNION ALL SELECT concat_ws(' ', 'not whole', e.account_id, e.entry_no) FROM entry e LEFT JOIN part p ON (p.account_id, p.part_of) = (e.account_id, e.entry_no)
    WHERE e.asked IS NOT NULL AND e.part_of IS NULL AND e.kind IN ('consume', 'hold') AND e.asked <> e.tokens + coalesce(p.tokens, 0)
UNION ALL SELECT concat_ws(' ', 'overdrawn', t.account_id, t.grant_id) FROM taken t JOIN billing.token_grant g USING (account_id, grant_id)
    WHERE t.tokens NOT BETWEEN 0 AND g.tokens
UNION ALL SELECT concat_ws(' ', 'balance', account_id, app, says, is_left) FROM (
    SELECT m.account_id, app, billing.tokens_remaining(m.account_id, app) AS says,
        (SELECT coalesce(sum(g.tokens - coalesce(t.tokens, 0)), 0) FROM billing.token_grant g LEFT JOIN taken t USING (account_id, grant_id)
         WHERE g.account_id = m.account_id AND voided_at IS NULL AND effective_at <= statement_timestamp() AND expires_at > statement_timestamp() AND (g.app IS NULL OR g.app = v.app))
        -- what holds that are over keep, as long as nobody has written it
        + (SELECT coalesce(sum(e.tokens), 0) FROM entry e JOIN billing.hold h USING (account_id, hold_id) JOIN billing.token_grant g USING (account_id, grant_id)
         WHERE e.account_id = m.account_id AND NOT h.ended AND h.expires_at <= statement_timestamp() AND g.voided_at IS NULL AND g.effective_at <= statement_timestamp()
           AND g.expires_at > statement_timestamp() AND (g.app IS NULL OR g.app = v.app)) AS is_left
    FROM mine m CROSS JOIN (VALUES (NULL), ('mail')) v (app)) b WHERE says <> is_left
UNION ALL SELECT concat_ws(' ', 'hold', h.account_id, h.hold_id) FROM billing.hold h JOIN mine USING (account_id) LEFT JOIN billing.hold_end e USING (account_id, hold_id) LEFT JOIN held USING (account_id, hold_id)
    WHERE h.ended <> (e.hold_id IS NOT NULL) OR coalesce(held.tokens, -1) <> coalesce(e.tokens, h.tokens) OR held.lapsed <> (e.kind IS NOT DISTINCT FROM 'lapsed')
UNION ALL SELECT concat_ws(' ', 'seats', account_id, users) FROM (
    SELECT account_id, count(*) AS users FROM billing.account_user JOIN mine USING (account_id) WHERE removed_at IS NULL AND disabled_at IS NULL GROUP BY 1) u
    WHERE users > billing.seats_allowed(account_id)
UNION ALL SELECT concat_ws(' ', 'users', account_id) FROM mine WHERE
    (SELECT count(*) FROM billing.account_user u WHERE u.account_id = mine.account_id AND removed_at IS NULL) <>
    (SELECT count(*) FILTER (WHERE kind = 'user_added') - count(*) FILTER (WHERE kind = 'user_removed') FROM billing.event e WHERE e.account_id = mine.account_id)
UNION ALL SELECT concat_ws(' ', 'order', account_id, order_id, status, payments, periods, events, grants) FROM paid
    WHERE CASE status WHEN 'paid' THEN (payments, periods, events, grants) <> ((billing.minor_units(due) > 0)::int, 1, 1, 1) ELSE (payments, periods, events, grants) <> (0, 0, 0, 0) END
UNION ALL SELECT concat_ws(' ', 'payment without event', p.account_id, payment_id) FROM billing.payment p JOIN mine USING (account_id)
    WHERE 1 <> (SELECT count(*) FROM billing.event e WHERE e.account_id = p.account_id AND kind = CASE p.reason WHEN 'payment_mismatch' THEN p.reason ELSE 'payment_recorded' END AND detail->>'payment_id' = p.payment_id::text)
UNION ALL SELECT concat_ws(' ', 'money', c.account_id, difference) FROM billing.payment_conservation c JOIN mine USING (account_id) WHERE billing.minor_units(difference) <> 0
UNION ALL SELECT concat_ws(' ', 'grant without event', g.account_id, grant_id) FROM billing.token_grant g JOIN mine USING (account_id)
    WHERE 1 <> (SELECT count(*) FROM billing.event e WHERE e.account_id = g.account_id AND kind = 'tokens_granted' AND detail->>'grant_id' = g.grant_id::text)
UNION ALL SELECT concat_ws(' ', 'expiry', account_id, subscription_id, plan, effective_at, expires_at, 'replaced by', replaced_by, 'ended', ended_at, 'events',
        (SELECT string_agg(kind || ' ' || occurred_at, ', ' ORDER BY event_id) FROM billing.event e WHERE e.account_id = s.account_id AND s.subscription_id::text IN (SELECT value FROM jsonb_each_text(detail)))) FROM billing.subscription s JOIN mine USING (account_id) JOIN done ON expires_at < done.at WHERE NOT void AND 1 <>
    (SELECT count(*) FROM billing.event e WHERE e.account_id = s.account_id AND s.subscription_id::text = CASE kind WHEN 'subscription_expired' THEN CASE WHEN replaced_by IS NULL THEN detail->>'subscription_id' END
        WHEN 'subscription_replaced' THEN CASE WHEN replaced_by IS NOT NULL THEN detail->>'subscription_id' END WHEN 'subscription_upgraded' THEN detail->>'replaced' END)
UNION ALL SELECT concat_ws(' ', 'free plan', account_id) FROM billing.subscription s JOIN mine USING (account_id) JOIN done ON expires_at < done.at WHERE effective_at < done.at - interval '12 hours' AND NOT void AND 1 <>
    (SELECT count(*) FROM billing.event e WHERE e.account_id = s.account_id AND kind = 'free_plan_assigned')
UNION ALL SELECT concat_ws(' ', 'too early', account_id) FROM billing.subscription s JOIN mine USING (account_id) WHERE ended_at IS NOT NULL AND expires_at > clock_timestamp() AND replaced_by IS NULL AND NOT void
LIMIT 20;
COMMIT;
SQL
}

# What was asked for before the kill under a key is answered as it was then, and takes nothing.
sub replays
{
    my ($node, $round) = @_;
    return $node->safe_psql('postgres', <<"SQL");
SELECT concat_ws(' ', 'not replayed:', l.idempotency_key, c.granted, c.replayed, c.tokens_remaining, l.answer)
FROM (SELECT * FROM billing.ledger WHERE account_id IN (SELECT account_id FROM billing.account WHERE reference LIKE '$round.%')
    AND idempotency_key IS NOT NULL AND kind = 'consume' ORDER BY occurred_at DESC LIMIT 20) l,
    billing.try_consume_tokens(l.account_id, l.asked, l.app, l.idempotency_key, l.action) c WHERE (c.replayed AND c.tokens_remaining = l.answer) IS NOT TRUE
UNION ALL SELECT concat_ws(' ', 'not replayed:', p.provider_ref, r.reason, r.replayed)
FROM billing.payment p, billing.record_payment(p.order_id, p.provider, p.provider_ref, p.amount) r
WHERE p.provider_ref LIKE '$round.%' AND NOT (r.replayed AND r.payment_id = p.payment_id AND r.reason = p.reason)
SQL
}

1;
