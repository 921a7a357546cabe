# Interleavings of the engine that the isolation tester cannot bring about: sessions are held up between
# a take and the landing of its rows (by a function in an index of the ledger) and between a
# transaction's end and its callbacks (by a module), and transactions are prepared, over a crash too.

use strict;
use warnings;

use Billing::Clients;
use Billing::Pause qw(pause_library pause_landing);
use Billing::Session;
use IO::Select;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $dir = PostgreSQL::Test::Utils::tempdir();

my ($node, $number);

sub start
{
    my ($name, $conf) = @_;
    $node = PostgreSQL::Test::Cluster->new("engine_$name");
    $node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
    $node->append_conf('postgresql.conf', "$conf\nmax_connections = 30\nmax_prepared_transactions = 5\n"
          . "jit = off\ndeadlock_timeout = 20ms\n");
    $node->start;
    $node->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
    return;
}

# A new account with so many tokens.
sub account
{
    my ($tokens) = @_;
    my $id = $node->safe_psql('postgres', 'SELECT billing.create_account(\'interleavings\')');
    $node->safe_psql('postgres', "SELECT billing.grant_tokens('$id', $tokens)");
    return $id;
}

sub session { return Billing::Session->new($node); }
sub sessions { return map { session() } 1 .. $_[0]; }

sub take { my ($id, $tokens, $key) = @_; return "SELECT granted, tokens_remaining FROM billing.try_consume_tokens('$id', $tokens, NULL, " . (defined $key ? "'$key'" : 'NULL') . ')'; }

sub wait_event
{
    my ($session, $condition) = @_;
    $node->poll_query_until('postgres', "SELECT $condition FROM pg_stat_activity WHERE pid = $session->{backend}")
      or die "session $session->{backend} does not come to: $condition";
    return;
}

sub blocked { return wait_event($_[0], "wait_event_type = 'Lock'"); }
# on a condition variable of the engine, unseen by the deadlock detector
sub asleep { return wait_event($_[0], "wait_event = 'Extension'"); }

sub sound
{
    my ($what, $id) = @_;
    is($node->safe_psql('postgres', "SELECT problem FROM billing.verify_ledger('$id')"), '', "$what: the ledger is sound");
    return;
}

# The first of them that has answered.
sub first
{
    my (@sessions) = @_;
    my ($ready) = IO::Select->new(map { $_->{out} } @sessions)->can_read(60) or die 'nobody answers';
    my ($first) = grep { $_->{out} == $ready } @sessions;
    return $first, grep { $_ != $first } @sessions;
}

sub take_and_pause { my ($id, $tokens) = @_; return "SELECT granted, tokens_remaining FROM billing.try_consume_tokens('$id', $tokens, NULL, NULL, 'pause')"; }

sub build_between_take_and_landing
{
    for my $end ('goes on', 'is cancelled')
    {
        my $what = "build between take and landing, which $end";
        my $id = account(10);
        my ($gate, $one, $two, $three) = sessions(4);
        $gate->query('SELECT pg_advisory_lock(1)');
        $one->send(take_and_pause($id, 6));
        blocked($one);
        # retires the entry and, being an addition, waits for nobody
        $three->query("SELECT count(billing.grant_tokens('$id', 1))");
        $two->send(take($id, 7));
        asleep($two);
        # a builder that waits can be cancelled, and leaves the entry to others
        $node->safe_psql('postgres', "SELECT pg_cancel_backend($two->{backend})");
        is($two->answer, 'ERROR:  57014', "$what: who builds can be cancelled");
        $two->send(take($id, 7));
        asleep($two);
        $node->safe_psql('postgres', "SELECT pg_cancel_backend($one->{backend})") if $end eq 'is cancelled';
        $gate->query('SELECT pg_advisory_unlock(1)') if $end eq 'goes on';
        is($one->answer, $end eq 'goes on' ? 't|4' : 'ERROR:  57014', "$what: the one");
        is($two->answer, $end eq 'goes on' ? 'f|5' : 't|4', "$what: the other reckons with it");
        sound($what, $id);
        $_->close for $gate, $one, $two, $three;
    }
    return;
}

# One item is served from memory, the next on the same account needs a grant beyond the entry's four slots:
# the ledger decides, and what the batch has taken itself counts, also when others have taken meanwhile.
sub batch_on_to_the_ledger
{
    my ($id, $other) = map { account(40) } 1 .. 2;
    $node->safe_psql('postgres', "SELECT billing.grant_tokens('$id', 40) FROM generate_series(1, 5)");
    my ($gate, $one, $two) = sessions(3);
    my $batch = "SELECT string_agg(concat_ws(' ', granted, tokens_remaining), ', ' ORDER BY ordinal) FROM billing.consume_tokens_batch";
    is($one->query("$batch(ARRAY['$id', '$id']::uuid[], '{5, 165}')"), 't 235, t 70', 'a batch goes on to the ledger');
    $node->safe_psql('postgres', "SELECT billing.grant_tokens('$id', 40) FROM generate_series(1, 5)");
    $gate->query('SELECT pg_advisory_lock(1)');
    $one->send("$batch(ARRAY['$id', '$other', '$id']::uuid[], '{10, 1, 260}', NULL, NULL, ARRAY['pause', NULL, NULL])");
    blocked($one);
    is($two->query(take($id, 1)), 't|259', 'somebody takes between two items of a batch');
    $gate->query('SELECT pg_advisory_unlock(1)');
    is($one->answer, 't 260, t 39, f 259', 'and the batch reckons with both');
    sound('a batch on to the ledger', $id);
    $_->close for $gate, $one, $two;
    return;
}

# Nothing is left of the row of who came second with a key; its number is not used again, also when the entry
# that knew it has made room for others. Nobody waits for it.
sub number_of_a_loser
{
    my $id = account(100);
    my @others = map { account(100) } 1 .. 40;
    my ($first, $second) = sessions(2);
    $first->query('BEGIN');
    is($first->query(take($id, 1, 'k')), 't|99', 'the first with a key');
    $second->query('BEGIN');
    $second->send(take($id, 1, 'k'));
    blocked($second);
    $node->safe_psql('postgres', join ';', map { take($_, 1) } @others);
    $first->query('ROLLBACK');
    is($second->answer, 't|99', 'is rolled back: the second takes');
    is($second->query("SELECT entry_no FROM billing.ledger WHERE account_id = '$id'"), 3, 'under a number that is nobody\'s');
    is($node->safe_psql('postgres', "SET statement_timeout = '20s'; " . take($id, 1)), 't|98', 'nobody waits for it');
    $second->query('COMMIT');
    sound('number of a loser', $id);
    $_->close for $first, $second;
    return;
}

# Rows are being written, and code that an index runs ends a subtransaction of its own: that undoes nothing.
sub subtransaction_while_landing
{
    my $id = account(10);
    pause_landing($node, 'pause_for_subtransaction');
    my ($one) = sessions(1);
    $one->query('BEGIN');
    is($one->query(take($id, 1)), 't|9', 'a subtransaction ends while rows land: before it');
    is($one->query(take_and_pause($id, 6)), 't|3', 'a subtransaction ends while rows land');
    is($one->query(take_and_pause($id, 6)), 'f|3', 'a subtransaction ends while rows land: what was taken stays taken');
    $one->query('COMMIT');
    $node->safe_psql('postgres', "SELECT billing.grant_tokens('$id', 10)");
    $one->query("SET statement_timeout = '20s'");
    is($one->query(take($id, 6)), 't|7', 'a subtransaction ends while rows land: a build waits for nobody');
    sound('a subtransaction ends while rows land', $id);
    $one->close;
    $node->safe_psql('postgres', 'DROP INDEX billing.pause');
    return;
}

sub callbacks_late
{
    my $gate = "$dir/gate";
    for my $end ('ROLLBACK', 'COMMIT', 'ROLLBACK TO s')
    {
        my $id = account(10);
        my ($one, $two) = sessions(2);
        $one->query(take($id, 1));
        $one->query("LOAD '" . pause_library() . "'");
        $one->query("SET pause.at_" . ($end =~ /TO/ ? 'rollback_to' : $end eq 'COMMIT' ? 'commit' : 'abort') . " = '$gate'");
        $one->query('BEGIN');
        $one->query('SAVEPOINT s');
        is($one->query(take($id, 6)), 't|3', "$end: taken");
        append_to_file($gate, '');
        $one->send($end);
        $node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE pid = $one->{backend} AND query LIKE '$end%' AND state = 'active'");
        # a new grant has the entry built anew; what became of the 6 is to be seen already, to the last token
        $two->query("SELECT count(billing.grant_tokens('$id', 2))");
        my $left = $end eq 'COMMIT' ? 5 : 11;
        # until the transaction has ended for the others, they wait for it or are told of it
        $two->send(take($id, $left));
        is($two->answer, "t|0", "$end: before its callbacks all that is left can be taken");
        unlink $gate;
        $one->answer;
        is($two->query(take($id, 1)), 'f|0', "$end: and its callbacks bring nothing back");
        $one->query('COMMIT');
        is($two->query(take($id, 1)), 'f|0', "$end: nor does its end");
        sound($end, $id);
        $_->close for $one, $two;
    }
    return;
}

sub prepared
{
    my ($mode) = @_;
    for my $crash (0, 1)
    {
        for my $end ('COMMIT', 'ROLLBACK')
        {
            my $what = "$mode, $end PREPARED" . ($crash ? ' after a crash' : '');
            my ($voided, $taken, $given) = (account(10), account(10), account(10));
            my $one = session();
            $one->query("SELECT granted FROM billing.try_consume_tokens('$_', 1)") for $voided, $taken, $given;
            $one->query('BEGIN');
            is($one->query("SELECT billing.void_grant(grant_id) FROM billing.token_grant WHERE account_id = '$voided'"), 9, "$what: voided");
            $one->query(take($taken, 5));
            $one->query("SELECT count(billing.grant_tokens('$given', 5))");
            is($one->query("PREPARE TRANSACTION 'p'"), '', "$what: prepared");
            if ($crash)
            {
                $one->close;
                $node->stop('immediate');
                $node->start;
                $one = session();
            }
            my ($two, $three, $four, $five) = sessions(4);
            $two->send(take($voided, 3));
            $three->send(take($taken, 6));
            $four->send(take($given, 12));
            blocked($_) for $two, $three, $four;
            if ($mode eq 'preloaded')
            {
                is($five->query(take($taken, 3)), 't|1', "$what: what fits does not wait");
                is($five->query(take($given, 3)), 't|6', "$what: nor there") if $end eq 'ROLLBACK';
            }
            $one->query("$end PREPARED 'p'");
            my $commit = $end eq 'COMMIT';
            my $fits = $mode eq 'preloaded' ? 3 : 0;
            is($two->answer, $commit ? 'f|0' : 't|6', "$what: who waits for a void");
            is($three->answer, $commit ? 'f|' . (4 - $fits) : $fits ? 't|0' : 't|3', "$what: for a consumption");
            is($four->answer, $commit ? 't|2' : $fits ? 'f|6' : 'f|9', "$what: for a grant");
            sound($what, $_) for $voided, $taken, $given;
            $_->close for $one, $two, $three, $four, $five;
        }
    }
    return;
}

# Several find no such key, and then insert it: they are held up in between by a build. The one that
# comes first is rolled back.
sub losers_of_a_key
{
    for my $round (1 .. 5)
    {
        my $id = account(100);
        my ($gate, $hold, $builder, @three) = sessions(6);
        $gate->query('SELECT pg_advisory_lock(1)');
        $hold->send(take_and_pause($id, 1));
        blocked($hold);
        $gate->query("SELECT count(billing.grant_tokens('$id', 1))");
        $builder->send(take($id, 1));
        asleep($builder);
        for my $session (@three)
        {
            $session->query('BEGIN');
            $session->send("SELECT granted, replayed FROM billing.try_consume_tokens('$id', 5, NULL, 'k')");
            asleep($session);
        }
        $gate->query('SELECT pg_advisory_unlock(1)');
        $_->answer for $hold, $builder;
        my ($first, @others) = first(@three);
        is($first->answer, 't|f', 'losers of a key: one is first');
        $first->query('ROLLBACK');
        my ($second, $third) = first(@others);
        is($second->answer, 't|f', 'losers of a key: it is rolled back, and another goes on');
        $second->query('COMMIT');
        is($third->answer, 't|t', 'losers of a key: the last is told what that one was');
        $third->query('COMMIT');
        is($gate->query("SELECT sum(tokens) FROM billing.ledger WHERE account_id = '$id' AND idempotency_key = 'k'"), 5, 'losers of a key: one effect');
        sound('losers of a key', $id);
        $_->close for $gate, $hold, $builder, @three;
    }
    return;
}

sub waiting
{
    my ($mode) = @_;
    my $id = account(10);
    my $other = account(10);
    my ($idle, $two, $three) = sessions(3);
    $idle->query('BEGIN');
    is($idle->query(take($id, 6)), 't|4', "$mode: taken, and then idle");
    if ($mode eq 'preloaded')
    {
        is($three->query(take($id, 1)), 't|3', "$mode: what fits does not wait for it");
        is($three->query("SELECT billing.hold_tokens('$id', 1) IS NOT NULL"), 't', "$mode: nor does a hold that fits");
        is($three->query("SELECT count(billing.write_checkpoint('$id'))"), '1', "$mode: nor a checkpoint");
        is($three->query("SELECT granted FROM billing.consume_tokens_batch(ARRAY['$id', '$other']::uuid[], '{1,1}')"), "t\nt", "$mode: nor a batch that fits");
        is($three->query(take($id, 100)), 'f|1', "$mode: nor what never fits");
        is($three->query("SELECT count(billing.grant_tokens('$id', 1))"), '1', "$mode: nor a grant");
    }
    $two->query("SET lock_timeout = '50ms'");
    is($two->query(take($id, 5)), 'ERROR:  55P03', "$mode: who waits for it obeys lock_timeout");
    $two->query('SET lock_timeout = 0');
    $two->query("SET statement_timeout = '50ms'");
    is($two->query(take($id, 5)), 'ERROR:  57014', "$mode: and statement_timeout");
    $two->query('SET statement_timeout = 0');
    $two->send(take($id, 5));
    blocked($two);
    $node->safe_psql('postgres', "SELECT pg_cancel_backend($two->{backend})");
    is($two->answer, 'ERROR:  57014', "$mode: and can be cancelled");
    $two->send(take($id, 5));
    blocked($two);
    $idle->query('ROLLBACK');
    like($two->answer, qr/^t\|/, "$mode: and goes on when it ends");
    sound($mode, $id);

    # each has taken where the other waits
    my @ids = (account(10), account(10));
    $_->query('BEGIN') for $idle, $two;
    $idle->query(take($ids[0], 6));
    $two->query(take($ids[1], 6));
    $idle->send(take($ids[1], 5));
    blocked($idle);
    $two->send(take($ids[0], 5));
    # in some order: the victim lets go of its locks at once
    is(join(' ', sort map { $_->answer } $idle, $two), 'ERROR:  40P01 t|5', "$mode: a deadlock is found, and the other goes on");
    $_->query('COMMIT') for $idle, $two;
    sound($mode, $_) for @ids;
    $_->close for $idle, $two, $three;
    return;
}

# No plan ships these functions to a worker; who lies about a function of his own is told so.
sub in_a_parallel_worker
{
    my ($mode) = @_;
    my $id = account(1000);
    my $hold = $node->safe_psql('postgres', "SELECT billing.hold_tokens('$id', 1)");
    my $version = $node->safe_psql('postgres', 'SHOW server_version_num');
    my $force = $version >= 160000 ? 'debug_parallel_query' : 'force_parallel_mode';
    $node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION public.lie(sql text) RETURNS text PARALLEL SAFE LANGUAGE plpgsql AS $$ DECLARE r text; BEGIN EXECUTE sql INTO r; RETURN r; END $$;
CREATE TABLE public.one AS SELECT 1 AS n;
SQL
    my $session = session();
    $session->query("SET $force = on");
    for my $call (
        "consume_tokens('$id', 1)", "try_consume_tokens('$id', 1)", "consume_tokens_batch(ARRAY['$id']::uuid[], '{1}')",
        "hold_tokens('$id', 1)", "capture_hold('$hold')", "release_hold('$hold')", "refund_tokens('$id', 'k')",
        "grant_tokens('$id', 1)", "write_checkpoint('$id')")
    {
        my ($name) = $call =~ /^(\w+)/;
        is($session->query("SELECT lie(\$\$SELECT * FROM billing.$call\$\$) FROM one"), 'ERROR:  25000', "$mode: $name in a parallel worker");
    }
    is($session->query("SELECT lie('SELECT billing.tokens_remaining(''$id'')') FROM one"), '999', "$mode: a check is answered there");
    $session->close;
    return;
}

# A trigger of somebody's makes every row come by the executor, and needs the exclusive lock: what ends
# holds takes that at once.
sub watched_ledger
{
    my ($mode) = @_;
    my $id = account(10_000);
    $node->safe_psql('postgres', 'CREATE TABLE seen (n bigint); CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS '
          . '$$ BEGIN INSERT INTO public.seen VALUES (NEW.tokens); RETURN NULL; END $$; '
          . 'CREATE TRIGGER see AFTER INSERT ON billing.ledger FOR EACH ROW EXECUTE FUNCTION public.see()');
    my @statements = map { ("SELECT billing.capture_hold(billing.hold_tokens('$id', 5), 2)", "SELECT billing.release_hold(billing.hold_tokens('$id', 3))",
            "SELECT count(billing.consume_tokens('$id', 1, NULL, pg_backend_pid() || '.$_'))",
            "SELECT count(billing.refund_tokens('$id', pg_backend_pid() || '.$_'))") } 1 .. 10;
    my %states = run_clients($node, map { [@statements] } 1 .. 8);
    is(join("\n", map { "$_ $states{$_}" } sort keys %states), "", "$mode: with somebody's trigger on the ledger nobody waits in a ring");
    is($node->safe_psql('postgres', "SELECT billing.tokens_remaining('$id')"), 10_000 - 8 * 10 * 2, "$mode: and every token is where it should be");
    is($node->safe_psql('postgres', 'SELECT sum(n) FROM seen'), 8 * 10 * 2, "$mode: and was seen");
    sound($mode, $id);
    return;
}

start('preloaded', "shared_preload_libraries = 'billing'\nbilling.worker = off");
pause_landing($node);
build_between_take_and_landing();
batch_on_to_the_ledger();
losers_of_a_key();
$node->safe_psql('postgres', 'DROP INDEX billing.pause');
subtransaction_while_landing();
callbacks_late();
prepared('preloaded');
waiting('preloaded');
in_a_parallel_worker('preloaded');
watched_ledger('preloaded');
$node->stop;

start('small', "shared_preload_libraries = 'billing'\nbilling.worker = off\nbilling.engine_accounts = 8");
number_of_a_loser();
$node->stop;

start('plain', '');
prepared('plain');
waiting('plain');
in_a_parallel_worker('plain');
watched_ledger('plain');
$node->stop;
done_testing();
