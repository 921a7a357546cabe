# Consumers of events, killed between any two calls, see every event at least once; one that
# acknowledges sees none twice; while 16 writers commit out of order, roll back, and prepare.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Billing::Session;

use constant WRITERS      => 16;
use constant TRANSACTIONS => 40;    # a writer

my $seed = $ENV{BILLING_SEED} // int(rand(2**31));
note("BILLING_SEED=$seed");
srand($seed);

my $node = PostgreSQL::Test::Cluster->new('outbox');
$node->init;
$node->append_conf('postgresql.conf', "max_prepared_transactions = 20\nmax_connections = 60\n");
$node->start;
$node->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');

# Writers: two events a transaction, one of them in a subtransaction, with a pause in between that
# makes the order of commits another one than that of writing.
sub writer
{
    my ($number) = @_;
    srand($seed + $number);
    my $session = Billing::Session->new($node);
    for my $i (1 .. TRANSACTIONS)
    {
        my $pause = rand() < 0.1 ? 0.3 : rand(0.02);
        my $end = rand();
        my $sql = "BEGIN; SELECT billing.create_account('$number/$i a'); SELECT pg_sleep($pause); SAVEPOINT s; "
          . "SELECT billing.create_account('$number/$i b')";
        $sql .= '; ROLLBACK TO s' if rand() < 0.2;
        if ($end < 0.15) { $sql .= '; ROLLBACK' }
        elsif ($end < 0.3)
        {
            my $later = rand(0.2);
            $sql .= "; PREPARE TRANSACTION '$number/$i'; SELECT pg_sleep($later); COMMIT PREPARED '$number/$i'";
        }
        else { $sql .= '; COMMIT' }
        $session->query($sql);
    }
    $session->close;
    return;
}

# Consumers write what they see into a file, as an application would pass it on, and only then
# acknowledge.
sub consume
{
    my ($name, $file, $stop, $careless) = @_;
    open my $seen, '>>', $file or die $!;
    $seen->autoflush;
    my $idle = 0;
    my $session = Billing::Session->new($node);
    while ($idle < 3)
    {
        my $done = -e $stop;
        my $max = 1 + int(rand(30));
        if ($careless && rand() < 0.15)
        {
            # killed while it is given events, or before it has passed them on
            if (rand() < 0.5) { $session->query("SELECT event_id FROM billing.next_events('$name', $max)") }
            else
            {
                $session->send("BEGIN; SELECT event_id FROM billing.next_events('$name', $max); SELECT pg_sleep(10)");
                kill 'KILL', $session->{pid};
            }
            $session->close;
            $session = Billing::Session->new($node);
        }
        my @events = split /\n/, $session->query("SELECT event_id FROM billing.next_events('$name', $max)");
        if (!@events)
        {
            $idle++ if $done;
            select undef, undef, undef, 0.01;
            next;
        }
        print $seen "$_\n" for @events;
        my $way = $careless ? rand() : 1;
        if ($way < 0.15)
        {
            # killed before it acknowledges, or before that is committed
            $session->query("BEGIN; SELECT billing.ack_events('$name', '$events[-1]'); "
                  . 'SELECT pg_terminate_backend(pg_backend_pid())');
            $session->close;
            $session = Billing::Session->new($node);
            next;
        }
        $session->query("SELECT billing.ack_events('$name', '" . $events[$way < 0.3 ? 0 : -1] . "')");
    }
    $session->close;
    return;
}

sub background
{
    my ($work) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    srand($seed + $$);
    my $ok = eval { $work->(); 1 };
    print STDERR $@ unless $ok;
    require POSIX;
    POSIX::_exit($ok ? 0 : 1);
}

my $dir = PostgreSQL::Test::Utils::tempdir();
my $stop = "$dir/stop";
my %files = map { $_ => "$dir/$_" } qw(steady killed pair1 pair2);
my @consumers = (
    background(sub { consume('steady', $files{steady}, $stop, 0) }),
    background(sub { consume('killed', $files{killed}, $stop, 1) }),
    background(sub { consume('pair', $files{pair1}, $stop, 0) }),
    background(sub { consume('pair', $files{pair2}, $stop, 1) }));
my @writers = map {
    my $number = $_;
    background(sub { writer($number) })
} 1 .. WRITERS;

# One that takes long holds up nobody else's events.
my $slow = Billing::Session->new($node);
$slow->query("BEGIN; SELECT billing.create_account('slow')");
my $failed = 0;
for my $pid (@writers) { waitpid $pid, 0; $failed++ if $? }
is($failed, 0, 'writers ended well');
my $open = $node->safe_psql('postgres', 'SELECT count(*) FROM billing.event');
my %early;
for (1 .. 1200)
{
    %early = map { $_ => 1 } split /\n/, slurp_file($files{steady});
    last if keys %early >= $open;
    select undef, undef, undef, 0.05;
}
is(scalar keys %early, $open, 'an open transaction holds up no event of others');
$slow->query('COMMIT');
$slow->close;
append_to_file($stop, '');
for my $pid (@consumers) { waitpid $pid, 0; $failed++ if $? }
is($failed, 0, 'consumers ended well');

my @events = split /\n/, $node->safe_psql('postgres', 'SELECT event_id FROM billing.event ORDER BY 1');
my $accounts = $node->safe_psql('postgres', 'SELECT count(*) FROM billing.account');
is(scalar @events, $accounts, 'an event for each account: ' . scalar @events);
cmp_ok(scalar @events, '>', WRITERS * TRANSACTIONS, 'enough of them');

sub check_seen
{
    my ($name, @files) = @_;
    my %seen;
    $seen{$_}++ for map { split /\n/, slurp_file($_) } @files;
    my @missing = grep { !$seen{$_} } @events;
    is("@missing", '', "$name saw every event");
    is((grep { $seen{$_} } @events) + 0, scalar keys %seen, "$name saw nothing that was rolled back");
    return grep { $seen{$_} > 1 } @events;
}

is(scalar check_seen('the steady one', $files{steady}), 0, 'the steady one saw none twice');
my @twice = check_seen('the killed one', $files{killed});
cmp_ok(scalar @twice, '>', 0, 'the killed one saw some again: ' . scalar @twice);
check_seen('two sessions of one consumer', $files{pair1}, $files{pair2});
is($node->safe_psql('postgres', "SELECT count(*) FROM billing.next_events('$_', 1)"), 0, "$_ has nothing left")
  for qw(steady killed pair);

# The order of an account's events is that in which they happened, though the first transaction got
# its number last.
my $account = $node->safe_psql('postgres', "SELECT billing.create_account('ordered')");
my ($first, $second) = map { Billing::Session->new($node) } 1 .. 2;
$second->query('BEGIN; SELECT pg_current_xact_id()');
$first->query("SELECT billing.suspend_account('$account', 'first')");
$second->query("SELECT billing.reinstate_account('$account'); COMMIT");
is($node->safe_psql('postgres', "SELECT string_agg(kind, ' ') FROM billing.next_events('ordered', 100000) WHERE account_id = '$account'"),
    'account_created account_suspended account_reinstated', 'an account\'s events come in order');
is($node->safe_psql('postgres', "SELECT xid FROM billing.event WHERE account_id = '$account' AND kind = 'account_reinstated'")
      < $node->safe_psql('postgres', "SELECT xid FROM billing.event WHERE account_id = '$account' AND kind = 'account_suspended'"),
    1, 'whatever the numbers of the transactions');

# A transaction that consumes and produces loses nothing.
$first->query("SELECT billing.ack_events('ordered', (SELECT max(event_id::text)::uuid FROM billing.event))");
$first->query("BEGIN; SELECT billing.suspend_account('$account', 'again')");
$node->safe_psql('postgres', "SELECT billing.create_account('between')");
is($first->query("SELECT kind FROM billing.next_events('ordered')"), 'account_created', 'its own events come after its end');
$first->query("SELECT billing.ack_events('ordered', event_id) FROM billing.next_events('ordered')");
$first->query("SELECT billing.reinstate_account('$account'); COMMIT");
is($first->query("SELECT string_agg(kind, ' ') FROM billing.next_events('ordered')"), 'account_suspended account_reinstated', 'all of them');

# Arguments.
my $unseen = $first->query("SELECT event_id FROM billing.event WHERE account_id = '$account' LIMIT 1");
is($first->query($_->[0]), $_->[1], $_->[0]) for (
    [ 'SELECT billing.next_events(NULL)', 'ERROR:  22004' ],
    [ "SELECT billing.next_events('x', NULL)", 'ERROR:  22004' ],
    [ "SELECT billing.next_events('x', 0)", 'ERROR:  22023' ],
    [ "SELECT billing.next_events('')", 'ERROR:  22023' ],
    [ "SELECT billing.next_events(repeat('x', 256))", 'ERROR:  22001' ],
    [ "SELECT billing.ack_events('x', NULL)", 'ERROR:  22004' ],
    [ "SELECT billing.ack_events('x', gen_random_uuid())", 'ERROR:  PB016' ],
    [ "SELECT billing.ack_events('x', '$unseen')", 'ERROR:  22023' ]);
$_->close for $first, $second;

# A dump restored elsewhere: events that were acknowledged stay so, the others come, and new ones,
# though this cluster counts its transactions anew.
$node->safe_psql('postgres', "SELECT billing.ack_events('ordered', event_id) FROM billing.next_events('ordered', 1)");
my @open = split /\n/, $node->safe_psql('postgres', "SELECT event_id FROM billing.next_events('ordered', 100000)");
my $other = PostgreSQL::Test::Cluster->new('restored');
$other->init;
$other->start;
cmp_ok($other->safe_psql('postgres', 'SELECT pg_current_xact_id()::text::bigint'), '<',
    $node->safe_psql('postgres', 'SELECT max(xid::text::bigint) FROM billing.event') , 'the other cluster has lower numbers');
$other->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
my $rows = "$dir/rows.sql";
my $copy = '';
for my $table (qw(account event event_consumer))
{
    $copy .= "COPY billing.$table FROM STDIN;\n"
      . $node->safe_psql('postgres', "COPY billing.$table TO STDOUT") . "\n\\.\n";
}
append_to_file($rows, "SET check_function_bodies = off;\n$copy");
$other->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $other->connstr('postgres'), '-f', $rows ], 'restored');
my $new = $other->safe_psql('postgres', "SELECT billing.create_account('new')");
sub drain
{
    my ($consumer) = @_;
    my @all;
    while (my $page = $other->safe_psql('postgres', "SELECT event_id FROM billing.next_events('$consumer', 7)"))
    {
        my @page = split /\n/, $page;
        push @all, @page;
        $other->safe_psql('postgres', "SELECT billing.ack_events('$consumer', '$page[-1]')");
    }
    return @all;
}
my $newest = $other->safe_psql('postgres', "SELECT event_id FROM billing.event WHERE account_id = '$new'");
is(join(' ', drain('ordered')), "@open $newest", 'what was open, then what is new');
is(scalar drain('fresh'), $other->safe_psql('postgres', 'SELECT count(*) FROM billing.event'), 'a new consumer sees all');

# Who knows how far he was says so, ahead of what he was given: of the batch, and no further.
$node->safe_psql('postgres', "SELECT billing.next_events('ahead', 1)");
my $latest = 'SELECT event_id FROM billing.event ORDER BY event_id DESC LIMIT 1';
my $last = $node->safe_psql('postgres', $latest);
$node->safe_psql('postgres', "SELECT billing.create_account('behind')");
my $next = $node->safe_psql('postgres', $latest);
my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\nSELECT billing.ack_events('ahead', '$next')");
like($err, qr/ERROR:  22023/, 'an event that came after the batch');
$node->safe_psql('postgres', "SELECT billing.ack_events('ahead', '$last')");
is($node->safe_psql('postgres', "SELECT event_id FROM billing.next_events('ahead')"), $next,
    'what is before the event acknowledged counts as dealt with');

# The notification is sent where nobody can prepare a transaction.
sub notified
{
    my ($on) = @_;
    my ($out) = $on->safe_psql('postgres',
        "LISTEN billing; SET client_min_messages = warning; SELECT billing.create_plan('p', 'subscription', duration => '1 day', price => '0 USD');"
          . "SELECT billing.order_plan('" . ($on == $other ? $new : $account) . "', 'p'); SELECT 1");
    return $out =~ /Asynchronous notification "billing"/ ? 1 : 0;
}
is(notified($other), 1, 'an order notifies');
is(notified($node), 0, 'not where it might be prepared');
$node->safe_psql('postgres', "BEGIN; SELECT billing.order_plan('$account', 'p'); PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'");
is($node->safe_psql('postgres', "SELECT count(*) FROM billing.plan_order WHERE account_id = '$account'"), 2, 'and there it can be');

$_->stop for $node, $other;
done_testing();
