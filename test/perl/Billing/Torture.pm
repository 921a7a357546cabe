# Many clients use tokens in every way at once; afterwards a model that knows nothing but the rows
# and the times of the commits judges every balance and every denial.
#
# A denial is explained if at some moment between request and answer fewer tokens were there than
# were asked for: granted by then (commit timestamps), in their time, minus what was taken by then,
# plus what holds that are over keep. What others had taken without having committed it counts as
# there: who depends on them has to wait, not to be denied.

package Billing::Torture;

use strict;
use warnings;

use Exporter 'import';
use IO::Handle;
use IPC::Open2;
use List::Util qw(max min sum0);
use POSIX ();
use PostgreSQL::Test::Cluster;
use Storable qw(nstore retrieve);
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(engine_torture);

my $accounts = 24;
my $clients = 16;
my @ids = map { sprintf '7011ed00-0000-4000-8000-0000000000%02x', $_ } 1 .. $accounts;

# What may happen to a client; anything else fails the test.
my %expected = map { $_ => 1 } qw(
    00000 PB002 PB003 PB004 PB005 PB008 PB009 PB016 22012 25P02 40001 40P01 57014
    57P01 57P02 57P03 08000 08003 08006 lost);

# engine_torture(name, preload => shared memory or not, seconds => as long as that, kills => how often
# the server is killed meanwhile). BILLING_TEST_SEED repeats what the clients choose (not how they
# interleave), BILLING_TEST_SECONDS makes it longer, BILLING_TEST_LIBRARY names a build of the extension
# to use instead of the one installed.
sub engine_torture
{
    my ($name, %o) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    $node->init;
    $node->append_conf('postgresql.conf', <<'CONF');
billing.engine_accounts = 8
billing.checkpoint_entries = 20
billing.worker = off
max_connections = 60
max_prepared_transactions = 20
track_commit_timestamp = on
deadlock_timeout = 100ms
log_min_messages = fatal
restart_after_crash = off
CONF
    set_up($node, $o{preload} ? $ENV{BILLING_TEST_LIBRARY} // 'billing' : '');
    torture($node, kills => $o{kills} // 0, seed => $ENV{BILLING_TEST_SEED} // int rand 1_000_000,
        seconds => $ENV{BILLING_TEST_SECONDS} // $o{seconds});
    $node->stop;
    done_testing();
    return;
}

sub torture
{
    my ($node, %o) = @_;
    note "BILLING_TEST_SEED=$o{seed}, $o{seconds} seconds";
    my $end = time + $o{seconds};
    my @pids = map { start_client($node, $_, $o{seed}, $end) } 1 .. $clients;
    srand $o{seed};
    for my $n (1 .. $o{kills} // 0)
    {
        sleep $o{seconds} / ($o{kills} + 1) * (0.7 + rand 0.6);
        $node->kill9;
        start_again($node);
    }
    my $hung = 0;
    for my $pid (@pids)
    {
        my $limit = $end + 60;
        sleep 0.1 while !waitpid($pid, POSIX::WNOHANG()) && time < $limit;
        next if time < $limit;
        $hung++;
        diag $node->safe_psql('postgres', 'SELECT pid, state, wait_event_type, wait_event, query '
              . 'FROM pg_stat_activity WHERE application_name = \'torture\'')
            if $hung == 1;
        kill 'KILL', $pid;
        waitpid $pid, 0;
    }
    is($hung, 0, 'no client hangs');
    judge($node, map { result_file($_) } 1 .. $clients);
    return;
}

# The killed server's processes see to their end by themselves, which takes a moment. Its lock files
# name a process that may wait, dead, for somebody to take note.
sub start_again
{
    my $node = shift;
    my $data = $node->data_dir;
    for (1 .. 300)
    {
        last unless grep { (readlink($_) // '') eq $data } glob '/proc/[0-9]*/cwd';
        sleep 0.1;
    }
    unlink "$data/postmaster.pid", $node->host . '/.s.PGSQL.' . $node->port . '.lock';
    $node->start;
    return;
}

sub set_up
{
    my ($node, $library) = @_;
    $node->start;
    # not preloaded: another build of the library would bar this one
    $node->safe_psql('postgres', 'CREATE EXTENSION billing CASCADE');
    $node->safe_psql('postgres', "UPDATE pg_proc SET probin = '$library' WHERE probin = '\$libdir/billing'") if $library =~ m{/};
    $node->append_conf('postgresql.conf', "shared_preload_libraries = '$library'");
    $node->restart;
    $node->safe_psql('postgres', "SELECT billing.create_app('x', 'X'); "
          . "SELECT billing.create_plan('bag', 'token', tokens => 300);");
    for my $n (0 .. $#ids)
    {
        my $bought = $n % 2 ? "SELECT billing.subscribe('$ids[$n]', 'bag');" : '';
        $node->safe_psql('postgres', "SELECT billing.create_account('a$n', '$ids[$n]'); $bought "
              . "SELECT billing.grant_tokens('$ids[$n]', 200, app => CASE $n % 3 WHEN 0 THEN 'x' END)");
    }
    return;
}

my $parent = $$;

sub result_file { return "$ENV{TESTDIR}/torture.$parent.$_[0]"; }

# A client: one psql, spoken to statement by statement

my ($from, $to, $connection, %log, @mine);
my $connections = 0;

sub start_client
{
    my ($node, $n, $seed, $end) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    $connection = $node->connstr('postgres') . ' application_name=torture';
    srand $seed * 1000 + $n;
    $SIG{PIPE} = 'IGNORE';
    # should the parent die, nobody else sees to it that this ends
    alarm $end - time + 120;
    %log = (denials => [], suspended => [], keyed => {}, errors => {}, done => {});
    # without what Perl does at its end: the server is the parent's
    eval { transaction($n) while time < $end; 1 } or POSIX::_exit(1);
    disconnect();
    nstore \%log, result_file($n);
    POSIX::_exit(0);
}

sub connect_again
{
    $connections++;
    for (1 .. 300)
    {
        open2($from, $to, 'psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-d', $connection);
        print {$to} "SET statement_timeout = '20s';\n";
        my @rows;
        my $state = run('SELECT 1', \@rows);
        return if $state eq '00000';
        sleep 0.1;
    }
    die 'cannot connect again';
}

sub disconnect
{
    return unless $to;
    close $to;
    close $from;
    ($to, $from) = ();
    1 while waitpid(-1, POSIX::WNOHANG()) > 0;
    return;
}

# The SQLSTATE; rows, split into columns, into @$rows. "lost": whatever became of it.
sub run
{
    my ($sql, $rows) = @_;
    @$rows = () if $rows;
    connect_again() unless $to;
    print {$to} "$sql;\n\\echo =:SQLSTATE\n";
    $to->flush;
    while (defined(my $line = <$from>))
    {
        chomp $line;
        # without a connection there is no SQLSTATE either
        last if $line =~ /^=(?!\w{5}$)/;
        if ($line =~ /^=(\w{5})$/)
        {
            my $state = $1;
            $log{errors}{"$state " . message() . " of $sql"}++ unless $expected{$state};
            return $state unless $state =~ /^(57P|08)/;
            last;
        }
        push @$rows, [ split /\|/, $line, -1 ] if $rows;
    }
    disconnect();
    return 'lost';
}

# Of the last error.
sub message
{
    print {$to} "\\echo :LAST_ERROR_MESSAGE\n";
    $to->flush;
    return <$from> =~ s/\n//r;
}

sub pick { return $_[ rand @_ ]; }
sub account { return $ids[ rand() < 0.7 ? rand 4 : rand @ids ]; }
sub now_us { return int(time * 1e6); }

sub shortage { return $_[0] =~ /^(tokens_exhausted|no_active_plan|package_expired)$/; }

# What this transaction itself has added minus taken, for requests of the app; autocommit: nothing.
sub own_net
{
    my ($id, $app, $open, $t0) = @_;
    return 0 unless $open;
    my $scope = $app ? 'true' : 'g.app IS NULL';
    my @rows;
    if ($open eq 'snapshot')
    {
        # cannot see what it took from, if that came later; so only one that has done nothing is judged
        run("SELECT count(*) FROM (SELECT xmin FROM billing.ledger WHERE account_id = '$id' UNION ALL "
              . "SELECT xmin FROM billing.event WHERE account_id = '$id') r "
              . "WHERE pg_xact_status(xmin::text::xid8) = 'in progress'", \@rows) eq '00000' or return undef;
        return $rows[0][0] ? undef : 0;
    }
    # what it took counts although the grant has expired since the denial; what it added, not
    run("SELECT coalesce(sum(net) FILTER (WHERE net < 0 AND expires_at > to_timestamp($t0 / 1000000.0) OR expires_at > clock_timestamp()), 0) "
          . 'FROM (SELECT CASE WHEN own THEN g.tokens ELSE 0 END - coalesce(t, 0) AS net, g.expires_at '
          . 'FROM (SELECT grant_id, tokens, app, expires_at, voided_at, '
          . "EXISTS (SELECT FROM billing.event e WHERE e.account_id = '$id' AND kind = 'tokens_granted' "
          . "AND detail->>'grant_id' = tg.grant_id::text AND pg_xact_status(e.xmin::text::xid8) = 'in progress') AS own "
          . "FROM billing.token_grant tg WHERE account_id = '$id') g "
          . "LEFT JOIN (SELECT grant_id, sum(tokens) AS t FROM billing.ledger l WHERE account_id = '$id' "
          . "AND (pg_xact_status(xmin::text::xid8) = 'in progress' "
          # a hold that is over keeps nothing by the model; one that we ended now gave it back once
          . "OR kind = 'hold' AND EXISTS (SELECT FROM billing.hold_end e JOIN billing.hold h USING (account_id, hold_id) "
          . "WHERE e.hold_id = l.hold_id AND pg_xact_status(e.xmin::text::xid8) = 'in progress' "
          . 'AND h.expires_at <= clock_timestamp())) GROUP BY 1) l USING (grant_id) '
          . "WHERE $scope AND (g.voided_at IS NULL "
          # what is left of a grant that we voided is taken by an entry of ours
          . "OR EXISTS (SELECT FROM billing.event e WHERE e.account_id = '$id' AND kind = 'grant_voided' "
          . "AND detail->>'grant_id' = g.grant_id::text AND pg_xact_status(e.xmin::text::xid8) = 'in progress'))) n", \@rows)
        eq '00000' or return undef;
    return $rows[0][0];
}

sub note_answer
{
    my ($id, $tokens, $app, $open, $t0, $row) = @_;
    my ($granted, $reason, $left, $replayed) = @$row;
    my $t1 = now_us() + 1;
    return if $granted eq 't';
    push @{ $log{suspended} }, [ $id, $t0, $t1 ] if $reason eq 'account_suspended' && !$open;
    return unless shortage($reason);
    my $own = own_net($id, $app, $open, $t0);
    push @{ $log{denials} }, [ $id, $tokens, $app, $t0, $t1, $own, "$reason, $left left" ] if defined $own;
    return;
}

sub consume
{
    my ($open) = @_;
    my ($id, $tokens, $app) = (account(), pick(1, 2, 5, 17, 40), pick('', 'x'));
    my $key = rand() < 0.4 ? sprintf('k%d', rand 400) : undef;
    # a key's payload is a matter of the key, now and then of another request
    ($tokens, $app) = (1 + ($key =~ s/k//r) % 9, '') if $key;
    # one that everybody sends at the same moment
    ($id, $tokens, $app, $key) = ($ids[0], 3, '', sprintf 'now%d', time * 50) if rand() < 0.15;
    $tokens++ if $key && rand() < 0.05;
    my $sql_app = $app ? "'x'" : 'NULL';
    my $sql_key = $key ? "'$key'" : 'NULL';
    my $t0 = now_us();
    my @rows;
    my $state = run("SELECT * FROM billing.try_consume_tokens('$id', $tokens, $sql_app, $sql_key, 'torture')", \@rows);
    return $state if $state ne '00000';
    note_answer($id, $tokens, $app, $open, $t0, $rows[0]);
    $log{keyed}{"$id $key $tokens"}{ $rows[0][2] }++ if $key && !$open && $rows[0][0] eq 't';
    return $state;
}

sub batch
{
    my ($open) = @_;
    my %seen;
    my @who = grep { !$seen{$_}++ } map { account() } 1 .. 1 + rand 6;
    my ($tokens, $app, @rows) = (pick(1, 3, 20), pick('', 'x'));
    my ($t0, $n) = (now_us(), scalar @who);
    my $state = run("SELECT granted, reason, tokens_remaining, replayed FROM billing.consume_tokens_batch("
          . "ARRAY[@{[ join ',', map { qq('$_') } @who ]}]::uuid[], array_fill(${tokens}::bigint, ARRAY[$n])"
          . ($app ? ", array_fill('x'::text, ARRAY[$n])" : '') . ')', \@rows);
    return $state if $state ne '00000';
    note_answer($who[$_], $tokens, $app, $open, $t0, $rows[$_]) for 0 .. $#who;
    return $state;
}

sub hold
{
    my @rows;
    my $state = run(sprintf("SELECT billing.hold_tokens('%s', %d, interval '%d ms'%s)", account(),
            pick(1, 4, 30), pick(40, 200, 1500), pick('', ", 'x'")), \@rows);
    push @mine, $rows[0][0] if $state eq '00000';
    return $state;
}

sub end_hold
{
    my $hold = @mine ? splice(@mine, rand @mine, 1) : return hold();
    return run(rand() < 0.5 ? "SELECT billing.release_hold('$hold')"
        : "SELECT billing.capture_hold('$hold', (SELECT 1 + (random() * (tokens - 1))::bigint FROM billing.hold WHERE hold_id = '$hold'))");
}

sub refund
{
    my ($id, $key) = (account(), int rand 400);
    return run("SELECT billing.refund_tokens('$id', 'k$key')");
}

sub grant
{
    my $until = pick('NULL', 'NULL', "clock_timestamp() + interval '150 ms'", "clock_timestamp() + interval '1 s'");
    # 22023: it waited past its own end
    local $expected{22023} = 1;
    return run(sprintf("SELECT billing.grant_tokens('%s', %d, %s, %d, %s)", account(), pick(1, 20, 60), $until,
            pick(50, 100, 150), pick('NULL', "'x'")));
}

sub void
{
    my $id = account();
    return run("SELECT billing.void_grant(g) FROM (SELECT grant_id AS g FROM billing.token_grant "
          . "WHERE account_id = '$id' AND voided_at IS NULL ORDER BY random() LIMIT 1) s");
}

sub suspend
{
    my $id = account();
    my $state = run("SELECT billing.suspend_account('$id', 'torture')");
    sleep rand 0.005;
    run("SELECT billing.reinstate_account('$id')");
    return $state;
}

sub retire { return run("UPDATE billing.account SET name = name WHERE account_id = '@{[ account() ]}'"); }
sub checkpoint { return run("SELECT billing.write_checkpoint('@{[ account() ]}')"); }

sub end_session
{
    my $how = pick('pg_terminate_backend', 'pg_cancel_backend', 'pg_cancel_backend');
    return run("SELECT $how(pid) FROM (SELECT pid FROM pg_stat_activity WHERE application_name = 'torture' "
          . "AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1) s");
}

my @everything = (
    [ \&consume, 50 ], [ \&batch, 8 ], [ \&hold, 8 ], [ \&end_hold, 8 ], [ \&refund, 5 ], [ \&grant, 7 ],
    [ \&void, 1 ], [ \&checkpoint, 2 ], [ \&retire, 2 ], [ \&suspend, 1 ], [ \&end_session, 0.6 ]);
# under locks that it keeps, no transaction suspends or voids before it goes on: 40P01 would be all there is
my @within = (@everything[ 0 .. 5 ], [ \&void, 0.5 ], [ \&checkpoint, 2 ]);

sub any_of
{
    my $at = rand sum0(map { $_->[1] } @_);
    for (@_) { return $_->[0] if ($at -= $_->[1]) < 0 }
    return $_[0][0];
}

sub transaction
{
    my ($n) = @_;
    if (rand() < 0.6)
    {
        $log{done}{alone}++;
        # a cancel may have come just before the end of what was begun
        run('ROLLBACK') if any_of(@everything)->(0) eq '25P02';
        return;
    }
    my $level = pick('READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE');
    run("BEGIN ISOLATION LEVEL $level") eq '00000' or return;
    my $open = $level eq 'READ COMMITTED' ? 'newest' : 'snapshot';
    my $connected = $connections;
    for (1 .. 1 + rand 4)
    {
        return if !$to || $connections != $connected;
        my $save = rand() < 0.4;
        return run('ROLLBACK') if $save && run('SAVEPOINT s') ne '00000';
        my $state = any_of(@within)->($open);
        $state = run('SELECT 1/0') if $state eq '00000' && rand() < 0.04;
        # what comes after would be in no transaction
        return if !$to || $connections != $connected;
        run($state ne '00000' || rand() < 0.5 ? 'ROLLBACK TO s' : 'RELEASE s') if $save;
        return run('ROLLBACK') if $state ne '00000' && !$save;
    }
    sleep rand 0.01 if rand() < 0.3;
    return end_transaction($n);
}

sub end_transaction
{
    my ($n) = @_;
    my $how = rand;
    $log{done}{$how < 0.7 ? 'committed' : $how < 0.85 ? 'rolled back' : 'prepared'}++;
    return run('COMMIT') if $how < 0.7;
    return run('ROLLBACK') if $how < 0.85;
    my $state = run("PREPARE TRANSACTION 'torture$n'");
    return if $state ne '00000' && $state ne 'lost';
    sleep rand 0.05;
    # over a crash, and whatever became of the session
    for (1 .. 50)
    {
        my @rows;
        my $seen = run("SELECT count(*) FROM pg_prepared_xacts WHERE gid = 'torture$n'", \@rows);
        return if $seen eq '00000' && $rows[0][0] == 0;
        run((rand() < 0.6 ? 'COMMIT' : 'ROLLBACK') . " PREPARED 'torture$n'") if $seen eq '00000';
    }
    return;
}

# The model.

sub rows
{
    my ($node, $sql) = @_;
    return map { [ split /\|/, $_, -1 ] } split /\n/, $node->safe_psql('postgres', $sql);
}

sub us { return "(extract(epoch FROM $_[0]) * 1000000)::bigint"; }
sub committed_at { return us("pg_xact_commit_timestamp($_[0].xmin)"); }

sub judge
{
    my ($node, @files) = @_;
    my @logs = map { -f $_ ? retrieve($_) : () } @files;
    is(scalar @logs, scalar @files, 'every client came to its end');
    $node->safe_psql('postgres', "ROLLBACK PREPARED '$_->[0]'")
        for rows($node, 'SELECT gid FROM pg_prepared_xacts');
    my %errors;
    for my $log (@logs) { $errors{$_} += $log->{errors}{$_} for keys %{ $log->{errors} } }
    is(join("\n", map { "$errors{$_} times $_" } sort keys %errors), '', 'no error that cannot be expected');
    is($node->safe_psql('postgres', 'SELECT * FROM billing.verify_ledger()'), '', 'verify_ledger() is clean');
    judge_keys($node, @logs);
    judge_overdrawn($node);
    judge_time($node);
    judge_denials($node, @logs);
    judge_what_is_left($node);
    my %done;
    for my $log (@logs) { $done{$_} += $log->{done}{$_} for keys %{ $log->{done} } }
    note 'transactions: ' . join ', ', map { "$done{$_} $_" } sort keys %done;
    note $node->safe_psql('postgres', "SELECT string_agg(name || ' ' || value, ', ') FROM billing.engine_status");
    note 'rows in the ledger: ' . $node->safe_psql('postgres', 'SELECT count(*) FROM billing.ledger');
    return;
}

sub judge_keys
{
    my ($node, @logs) = @_;
    my %answers;
    for my $log (@logs)
    {
        for my $key (keys %{ $log->{keyed} })
        {
            $answers{$key}{$_}++ for keys %{ $log->{keyed}{$key} };
        }
    }
    is(scalar(grep { keys %$_ > 1 } values %answers), 0, 'a key had one answer, whoever asked');
    is(scalar rows($node, 'SELECT account_id, idempotency_key FROM billing.ledger WHERE idempotency_key IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1'),
        0, 'a key has one effect');
    my %stored = map { ("$_->[0] $_->[1] $_->[2]" => $_->[3]) }
        rows($node, 'SELECT account_id, idempotency_key, asked, answer FROM billing.ledger WHERE idempotency_key IS NOT NULL');
    my @lost = grep { my ($answer) = keys %{ $answers{$_} }; ($stored{$_} // 'none') ne $answer } sort keys %answers;
    is("@lost", '', 'what was answered for a key is in the ledger');
    return;
}

# In the order of the commits every grant stays within 0 and its tokens.
sub judge_overdrawn
{
    my ($node) = @_;
    is($node->safe_psql('postgres', <<"SQL"), '0', 'no grant is overdrawn, nor overfilled, at any commit');
SELECT count(*) FROM (
    SELECT sum(sum(tokens)) OVER (PARTITION BY grant_id ORDER BY pg_xact_commit_timestamp(xmin)) AS taken, grant_id
    FROM billing.ledger GROUP BY grant_id, pg_xact_commit_timestamp(xmin)) l
JOIN billing.token_grant g USING (grant_id) WHERE taken NOT BETWEEN 0 AND g.tokens
SQL
    return;
}

# Tokens are taken from a grant in its time, by the clock that the entry carries.
sub judge_time
{
    my ($node) = @_;
    is($node->safe_psql('postgres', "SELECT count(*) FROM billing.ledger JOIN billing.token_grant g USING (account_id, grant_id) "
          . "WHERE kind IN ('consume', 'hold') AND (occurred_at < effective_at OR occurred_at >= expires_at)"), '0', 'nothing is taken from a grant outside its time');
    return;
}

# Per account: when how much was there, for requests of no app and of app x.
sub timelines
{
    my ($node) = @_;
    my (%grant, %events, %holds);
    $grant{ $_->[1] } = { account => $_->[0], tokens => $_->[2], x => $_->[3] eq 'x', expires => $_->[4] }
        for rows($node, 'SELECT account_id, grant_id, tokens, app, '
          . "CASE WHEN expires_at = 'infinity' THEN 9e18 ELSE @{[ us('expires_at') ]} END FROM billing.token_grant");
    for (rows($node, "SELECT account_id, detail->>'grant_id', kind, @{[ committed_at('e') ]} FROM billing.event e "
          . "WHERE kind IN ('tokens_granted', 'grant_voided')"))
    {
        push @{ $events{ $_->[0] } }, [ $_->[3], $_->[2] eq 'grant_voided' ? 'end' : 'begin', $_->[1] ];
    }
    push @{ $events{ $_->{account} } }, [ $_->{expires}, 'end', $_->{id} ]
        for map { { %{ $grant{$_} }, id => $_ } } keys %grant;
    for (rows($node, "SELECT account_id, grant_id, tokens, @{[ committed_at('l') ]}, kind, hold_id FROM billing.ledger l"))
    {
        push @{ $events{ $_->[0] } }, [ $_->[3], 'move', $_->[1], -$_->[2] ];
        push @{ $holds{ $_->[5] } }, [ @$_ ] if $_->[4] eq 'hold';
    }
    my %ended = map { @$_ } rows($node, "SELECT hold_id, @{[ committed_at('h') ]} FROM billing.hold_end h");
    my %due = map { @$_ } rows($node, "SELECT hold_id, @{[ us('expires_at') ]} FROM billing.hold");
    for my $hold (keys %holds)
    {
        for my $part (@{ $holds{$hold} })
        {
            my $from = max($due{$hold}, $part->[3]);
            next if exists $ended{$hold} && $ended{$hold} <= $from;
            push @{ $events{ $part->[0] } }, [ $from, 'move', $part->[1], $part->[2] ];
            push @{ $events{ $part->[0] } }, [ $ended{$hold}, 'move', $part->[1], -$part->[2] ] if exists $ended{$hold};
        }
    }
    return map { ($_ => timeline(\%grant, sort { $a->[0] <=> $b->[0] } @{ $events{$_} })) } keys %events;
}

sub timeline
{
    my ($grant, @events) = @_;
    my (%left, %usable, @steps);
    my ($none, $x) = (0, 0);
    for my $event (@events)
    {
        my ($at, $what, $id, $tokens) = @$event;
        my $change = 0;
        $left{$id} //= $grant->{$id}{tokens};
        if ($what eq 'move')
        {
            $left{$id} += $tokens;
            $change = $tokens if $usable{$id};
        }
        elsif ($what eq 'begin' && $at < $grant->{$id}{expires})
        {
            $usable{$id} = 1;
            $change = $left{$id};
        }
        elsif ($what eq 'end' && delete $usable{$id})
        {
            $change = -$left{$id};
        }
        $x += $change;
        $none += $change unless $grant->{$id}{x};
        pop @steps if @steps && $steps[-1][0] == $at;
        push @steps, [ $at, $none, $x ];
    }
    return \@steps;
}

# The least that was there from one moment to another.
sub least
{
    my ($steps, $app, $from, $until) = @_;
    my ($low, $high) = (0, scalar @$steps);
    while ($low < $high)
    {
        my $middle = int(($low + $high) / 2);
        if ($steps->[$middle][0] <= $from) { $low = $middle + 1 }
        else { $high = $middle }
    }
    my $column = $app ? 2 : 1;
    my $least = $low > 0 ? $steps->[ $low - 1 ][$column] : 0;
    for (my $i = $low; $i < @$steps && $steps->[$i][0] <= $until; $i++)
    {
        $least = min($least, $steps->[$i][$column]);
    }
    return $least;
}

# What happened to an account about the time of a denial; times in microseconds from the request on.
sub tell_all
{
    my ($node, $id, $from, $until) = @_;
    my $at = sub { return "$_[0] - $from" };
    my $commit = sub { return $at->(committed_at($_[0])) . " BETWEEN -500000 AND $until - $from + 200000" };
    diag "grant: @$_" for rows($node, "SELECT grant_id, tokens, app, priority, @{[ $at->(us('nullif(expires_at, \'infinity\')')) ]}, "
          . "@{[ $at->(us('granted_at')) ]}, @{[ $at->(us('voided_at')) ]}, @{[ $at->(committed_at('g')) ]}, xmin, "
          . "(SELECT @{[ $at->(committed_at('e')) ]} FROM billing.event e WHERE account_id = '$id' AND kind = 'tokens_granted' "
          . "AND detail->>'grant_id' = grant_id::text) FROM billing.token_grant g WHERE account_id = '$id' "
          . "AND (expires_at = 'infinity' OR @{[ us('expires_at') ]} > $from - 500000) AND (voided_at IS NULL OR @{[ us('voided_at') ]} > $from - 500000) ORDER BY priority, expires_at, granted_at");
    diag "entry: @$_" for rows($node, "SELECT @{[ $at->(committed_at('l')) ]}, entry_no, kind, tokens, app, grant_id, hold_id, "
          . "@{[ $at->(us('occurred_at')) ]}, xmin FROM billing.ledger l WHERE account_id = '$id' AND @{[ $commit->('l') ]} ORDER BY 1, 2");
    diag "hold: @$_" for rows($node, "SELECT hold_id, h.tokens, @{[ $at->(us('expires_at')) ]}, e.kind, e.tokens, @{[ $at->(committed_at('e')) ]}, e.xmin "
          . "FROM billing.hold h LEFT JOIN billing.hold_end e USING (account_id, hold_id) WHERE account_id = '$id' "
          . "AND @{[ us('expires_at') ]} - $from BETWEEN -1000000 AND 2000000 ORDER BY 3");
    return;
}

sub judge_denials
{
    my ($node, @logs) = @_;
    my %timeline = timelines($node);
    my ($count, @unexplained) = (0);
    for my $denial (map { @{ $_->{denials} } } @logs)
    {
        my ($id, $tokens, $app, $from, $until, $own, $answer) = @$denial;
        my $least = least($timeline{$id}, $app, $from, $until) + $own;
        $count++;
        next if $tokens > $least;
        push @unexplained, "$id asked for $tokens (app '$app') from $from to $until: at least $least, own $own, "
            . "answer $answer";
        tell_all($node, $id, $from, $until) if @unexplained == 1;
    }
    is(join("\n", @unexplained), '', "$count denials, each explained");
    cmp_ok($count, '>', 0, 'there were denials');

    my %changes;
    push @{ $changes{ $_->[0] } }, $_
        for rows($node, "SELECT account_id, @{[ committed_at('e') ]}, (kind = 'account_suspended')::int FROM billing.event e "
          . "WHERE kind IN ('account_suspended', 'account_reinstated') ORDER BY 2");
    my @wrong;
    for my $denial (map { @{ $_->{suspended} } } @logs)
    {
        my ($id, $from, $until) = @$denial;
        my $suspended = 0;
        my $ever = 0;
        for (@{ $changes{$id} // [] })
        {
            $ever ||= $suspended if $_->[1] >= $from;
            last if $_->[1] > $until;
            $suspended = $_->[2];
            $ever = 1 if $suspended && $_->[1] >= $from;
        }
        push @wrong, "$id from $from to $until" unless $ever || $suspended;
    }
    is(join("\n", @wrong), '', 'suspended only who was');
    return;
}

# Nothing is lost: what the rows say is left can be taken to the last token, and no more.
sub judge_what_is_left
{
    my ($node) = @_;
    $node->safe_psql('postgres', 'SELECT billing.reinstate_account(account_id) FROM billing.account; '
          . "SELECT pg_sleep(greatest(0, extract(epoch FROM max(t) - clock_timestamp()) + 0.1)) FROM ("
          . 'SELECT max(expires_at) AS t FROM billing.hold WHERE NOT ended UNION ALL '
          . "SELECT max(expires_at) FROM billing.token_grant WHERE expires_at < 'infinity') s");
    my $left = "SELECT coalesce(sum(g.tokens - coalesce(l.t, 0)), 0) FROM billing.token_grant g LEFT JOIN "
        . '(SELECT account_id, grant_id, sum(tokens) AS t FROM billing.ledger GROUP BY 1, 2) l USING (account_id, grant_id) '
        . "WHERE g.account_id = a.account_id AND g.voided_at IS NULL AND g.expires_at > now()";
    my $held = "SELECT coalesce(sum(l.tokens), 0) FROM billing.ledger l JOIN billing.hold h USING (account_id, hold_id) "
        . 'JOIN billing.token_grant g USING (account_id, grant_id) WHERE NOT h.ended AND l.account_id = a.account_id '
        . 'AND g.voided_at IS NULL AND g.expires_at > now()';
    # the holds are over: what they keep is there, although nobody may have written it
    is($node->safe_psql('postgres', "SELECT count(*) FROM billing.account a WHERE ($left) + ($held) <> billing.tokens_remaining(account_id, 'x') "
          . "OR ($left AND g.app IS NULL) + ($held AND g.app IS NULL) <> billing.tokens_remaining(account_id)"), '0', 'every balance is as the rows say');
    my @wrong;
    for (rows($node, "SELECT account_id, ($left) + ($held) FROM billing.account a"))
    {
        my ($id, $tokens) = @$_;
        my $take = $tokens > 0 ? "SELECT granted, tokens_remaining FROM billing.try_consume_tokens('$id', $tokens, 'x');" : '';
        my $answer = $node->safe_psql('postgres', "$take SELECT granted FROM billing.try_consume_tokens('$id', 1, 'x'); "
              . "SELECT granted FROM billing.try_consume_tokens('$id', 1)");
        push @wrong, "$id had $tokens: $answer" if $answer ne ($tokens > 0 ? "t|0\n" : '') . "f\nf";
    }
    is(join("\n", @wrong), '', 'what is left can be taken, and not one more');
    is($node->safe_psql('postgres', 'SELECT * FROM billing.verify_ledger()'), '', 'verify_ledger() is clean at the end');
    return;
}

1;
