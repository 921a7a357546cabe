# A grant of which little is left is told of exactly once, whoever is at work, whatever is rolled
# back, restarted or killed, and by whoever looks: the worker, expire_due(), or who consumes.

use strict;
use warnings;

use Billing::Worker;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# So long a nap that nothing in this test can come of it.
my $node = worker_cluster('low', "billing.worker_naptime = 1h\nautovacuum = off\n");
worker_setup($node, 'postgres');
my $next = 0;

# A new account with a grant.
sub granted
{
    my ($tokens, $database) = @_;
    my $id = sprintf '00000000-0000-4000-8000-%012d', ++$next;
    $node->safe_psql($database // 'postgres',
        "SELECT billing.create_account('a', '$id'), billing.grant_tokens('$id', $tokens)");
    return $id;
}

sub consume
{
    my ($account, $tokens) = @_;
    return $node->safe_psql('postgres', "SELECT billing.consume_tokens('$account', $tokens)");
}

sub events
{
    my ($account) = @_;
    return "(SELECT count(*) FROM billing.event WHERE account_id = '$account' AND kind = 'low_balance')";
}

sub told
{
    my ($account, $name) = @_;
    ok($node->poll_query_until('postgres', 'SELECT ' . events($account) . ' = 1'), $name);
    return;
}

# The worker has seen everything that was noted before: another account's crossing comes behind.
sub untold
{
    my ($account, $name, $count) = @_;
    my $last = granted(1);
    consume($last, 1);
    $node->poll_query_until('postgres', 'SELECT ' . events($last) . ' = 1');
    is($node->safe_psql('postgres', 'SELECT ' . events($account)), $count // 0, $name);
    return;
}

# Nobody ever uses these.
granted(5);

# The mark: 10 percent, in whole tokens.
my $a = granted(25);
consume($a, 22);
untold($a, 'above a tenth nothing is said');
consume($a, 1);
told($a, 'at a tenth it is');
is($node->safe_psql('postgres', qq{SELECT detail - 'grant_id', account_id = '$a' AND detail ->> 'grant_id' =
        (SELECT grant_id::text FROM billing.token_grant WHERE account_id = '$a') FROM billing.event
        WHERE kind = 'low_balance' AND account_id = '$a'}),
    '{"tokens_left": 2, "tokens_granted": 25}|t', 'with its figures');
consume($a, 2);
untold($a, 'once', 1);

# Of a subscription.
my $b = granted(1000);
$node->safe_psql('postgres', qq{SELECT billing.create_app('ai', 'AI');
    SELECT billing.create_plan('pack', 'token', tokens => 10, app => 'ai');
    SELECT billing.subscribe('$b', 'pack');
    SELECT billing.consume_tokens('$b', 9, 'ai') FROM billing.void_grant((SELECT grant_id FROM billing.token_grant
        WHERE account_id = '$b' AND subscription_id IS NULL)) v});
told($b, 'of a plan too');
is($node->safe_psql('postgres', qq{SELECT detail ->> 'plan', detail ->> 'app', detail ? 'subscription_id' FROM billing.event
        WHERE kind = 'low_balance' AND account_id = '$b'}), 'pack|ai|t', 'with its plan');
is($node->safe_psql('postgres', q{SELECT count(*) FROM billing.next_events('reader', 1000) WHERE kind = 'low_balance'}),
    $node->safe_psql('postgres', q{SELECT count(*) FROM billing.event WHERE kind = 'low_balance'}), 'consumers are given it');

# What returns and is used again; what is rolled back; what is held.
my $c = granted(100);
$node->safe_psql('postgres', "SELECT billing.consume_tokens('$c', 95, idempotency_key => 'k')");
told($c, 'used');
$node->safe_psql('postgres', "SELECT billing.refund_tokens('$c', 'k')");
consume($c, 95);
untold($c, 'used, returned and used again: once', 1);
my $d = granted(100);
$node->safe_psql('postgres', "BEGIN; SELECT billing.consume_tokens('$d', 95); ROLLBACK");
$node->safe_psql('postgres', "BEGIN; SAVEPOINT s; SELECT billing.consume_tokens('$d', 95); ROLLBACK TO s; COMMIT");
untold($d, 'rolled back');
$node->safe_psql('postgres', "SELECT billing.hold_tokens('$d', 95)");
told($d, 'held');
my $e = granted(100);
$node->safe_psql('postgres', "SELECT billing.grant_tokens('$e', 100); SELECT billing.consume_tokens('$e', 195)");
ok($node->poll_query_until('postgres', 'SELECT ' . events($e) . ' = 2'), 'one consumption that makes two grants low');
my $f = granted(100);
$node->safe_psql('postgres', qq{INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens)
    SELECT account_id, 1, grant_id, 95 FROM billing.token_grant WHERE account_id = '$f'});
told($f, 'by plain INSERT');

# It depends on transactions in progress; the last to cross the mark is not the last to end.
my $g = granted(100);
my $first = $node->background_psql('postgres', on_error_stop => 1);
$first->query_safe("BEGIN; SELECT billing.consume_tokens('$g', 50)");
consume($g, 45);
untold($g, 'not while that much is undecided');
$first->query_safe('COMMIT');
told($g, 'when it is decided');
my $h = granted(100);
$first->query_safe("BEGIN; SELECT billing.consume_tokens('$h', 50)");
consume($h, 45);
$first->query_safe('ROLLBACK');
untold($h, 'nor when it is decided otherwise');
$node->safe_psql('postgres', "BEGIN; SELECT billing.consume_tokens('$h', 50); PREPARE TRANSACTION 'p'");
untold($h, 'prepared');
$node->safe_psql('postgres', "COMMIT PREPARED 'p'");
told($h, 'and committed');
$first->quit;

# Many at once, down to the last token.
my @hot = map { granted(500) } 1 .. 4;
my @sessions = map { $node->background_psql('postgres') } 1 .. 4;
for my $session (@sessions)
{
    $session->{stdin} .= "SELECT billing.consume_tokens('$_', 1) FROM generate_series(1, 125);\n" x 1 for @hot;
    $session->{run}->pump_nb;
}
$_->quit for @sessions;
told($_, 'many consumers, one event') for @hot;
untold($hot[0], 'and no other', 1);

# Without the worker: by hand, by several, in part, rolled back.
sub set_worker
{
    my ($state) = @_;
    $node->append_conf('postgresql.conf', "billing.worker = $state");
    $node->reload;
    $node->poll_query_until('postgres', "SELECT current_setting('billing.worker') = '$state'");
    return;
}
set_worker('off');
$node->safe_psql('postgres', 'SELECT billing.expire_due()');
my @off = map { granted(10) } 1 .. 20;
consume($_, 9) for @off;
my $events = q{SELECT count(*), count(DISTINCT detail ->> 'grant_id') FROM billing.event WHERE kind = 'low_balance' AND account_id IN ('}
  . join(q{', '}, @off) . q{')};
is($node->safe_psql('postgres', $events), '0|0', 'nobody tells while the worker is off');
$node->safe_psql('postgres', 'BEGIN; SELECT billing.expire_due(); ROLLBACK');
is($node->safe_psql('postgres', 'SELECT billing.expire_due(5)'), 5, 'expire_due() tells, as many as it is to');
is($node->safe_psql('postgres', $events), '5|5', 'of as many grants');
@sessions = map { $node->background_psql('postgres') } 1 .. 3;
$_->{stdin} .= "SELECT billing.expire_due();\n" for @sessions;
$_->{run}->pump_nb for @sessions;
$_->quit for @sessions;
$node->poll_query_until('postgres', "SELECT billing.expire_due() IS NOT NULL AND ($events) = 20" =~ s/, count\(DISTINCT detail ->> 'grant_id'\)//r);
is($node->safe_psql('postgres', $events), '20|20', 'in several sessions, once');
is($node->safe_psql('postgres', 'SELECT billing.expire_due()'), 0, 'then there is nothing left');

# A crash forgets whom to look at: what was taken since the mark is looked through.
my ($quiet, $crossed) = (granted(10), granted(10));
consume($quiet, 9);
$node->safe_psql('postgres', q{INSERT INTO billing.low_balance_mark (through, percent) VALUES (clock_timestamp(), 10)
    ON CONFLICT (single) DO UPDATE SET through = excluded.through, percent = excluded.percent});
consume($crossed, 9);
$node->safe_psql('postgres', 'CHECKPOINT');
$node->stop('immediate');
set_worker_on_disk('on');
$node->start;
told($crossed, 'a crash before anybody looked');
untold($quiet, 'what was taken before the mark is taken to be looked at');
is($node->safe_psql('postgres', $events), '20|20', 'nothing is told of again');
$node->safe_psql('postgres', 'DELETE FROM billing.low_balance_mark');
$node->restart;
told($quiet, 'without a mark every account is looked at');

sub set_worker_on_disk
{
    my ($state) = @_;
    $node->append_conf('postgresql.conf', "billing.worker = $state");
    return;
}

# The mark moves when what was in progress has ended.
$node->append_conf('postgresql.conf', 'billing.worker_naptime = 1s');
$node->restart;
my $old = $node->background_psql('postgres', on_error_stop => 1);
my $waits = granted(100);
$old->query_safe("BEGIN; SELECT billing.consume_tokens('$waits', 1)");
my $began = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
sub busy { consume(granted(1), 1); return }
for (1 .. 4) { busy(); select undef, undef, undef, 1.1 }
is($node->safe_psql('postgres', "SELECT count(*) FROM billing.low_balance_mark WHERE through > '$began'"), 0,
    'the mark stays before a transaction in progress');
$old->query_safe('COMMIT');
$old->quit;
my $marked = 0;
for (1 .. 60)
{
    busy();
    $marked = $node->safe_psql('postgres', "SELECT count(*) FROM billing.low_balance_mark WHERE through > '$began'");
    last if $marked;
    select undef, undef, undef, 1.1;
}
is($marked, 1, 'and moves when that has ended');
$node->append_conf('postgresql.conf', 'billing.worker_naptime = 1h');

# Another percentage.
my $half = granted(100);
consume($half, 60);
untold($half, 'not low');
$node->append_conf('postgresql.conf', 'billing.low_balance_percent = 50');
$node->reload;
told($half, 'low by a percentage that was raised');
$node->append_conf('postgresql.conf', 'billing.low_balance_percent = 0');
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('billing.low_balance_percent') = '0'});
my $none = granted(10);
consume($none, 10);
$node->safe_psql('postgres', 'SELECT pg_sleep(0.5), billing.expire_due()');
is($node->safe_psql('postgres', 'SELECT ' . events($none)), 0, 'switched off');
$node->append_conf('postgresql.conf', 'billing.low_balance_percent = 10');
$node->reload;
told($none, 'switched on again');

# More than the queue can hold.
$node->safe_psql('postgres', q{
    CREATE TABLE many AS SELECT billing.create_account('many') AS id FROM generate_series(1, 3000);
    SELECT count(billing.grant_tokens(id, 10)) FROM many;
    SELECT count(*) FROM many, billing.consume_tokens(id, 9)});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3000 FROM billing.event JOIN many ON id = account_id WHERE kind = 'low_balance'}),
    'more at once than can be noted');
is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT FROM billing.event WHERE kind = 'low_balance'
        GROUP BY detail ->> 'grant_id' HAVING count(*) > 1) twice}), 0, 'nothing twice');
is($node->safe_psql('postgres', q{SELECT count(*) FROM billing.low_balance l FULL JOIN billing.event e
        ON e.detail ->> 'grant_id' = l.grant_id::text WHERE coalesce(e.kind, 'low_balance') = 'low_balance'
        AND (l.grant_id IS NULL OR e.event_id IS NULL)}), 0, 'a row for each event');
is(unexplained($node), '', 'nothing in the log that one would have to explain');
$node->stop;

# Without shared memory who consumes writes it.
my $plain = PostgreSQL::Test::Cluster->new('plain');
$plain->init;
$plain->start;
worker_setup($plain, 'postgres');
my $id = '00000000-0000-4000-8000-000000000001';
$plain->safe_psql('postgres', qq{SELECT billing.create_account('a', '$id'), billing.grant_tokens('$id', 100);
    SELECT billing.consume_tokens('$id', 89)});
is($plain->safe_psql('postgres', 'SELECT ' . events($id)), 0, 'plain: not low');
$plain->safe_psql('postgres', "BEGIN; SELECT billing.consume_tokens('$id', 1); ROLLBACK");
is($plain->safe_psql('postgres', 'SELECT ' . events($id)), 0, 'plain: rolled back');
$plain->safe_psql('postgres', "SELECT billing.consume_tokens('$id', 1); SELECT billing.consume_tokens('$id', 1)");
is($plain->safe_psql('postgres', 'SELECT ' . events($id)), 1, 'plain: low, told of once');
$plain->stop;
done_testing();
