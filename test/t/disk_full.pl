# The disk is full: who needs more room is told so, nothing is half there, and when there is room again
# everything goes on. Billing/full.c makes the disk full, of all files or of one table or index; tables
# are filled to a tenth only, so that each needs room soon.

use strict;
use warnings;

use Billing::CrashTest;
use Billing::MixedLoad;
use Billing::Session;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
system_or_bail('gcc', '-Wall', '-Werror', '-shared', '-fPIC', '-O2', '-o', "$dir/full.so", "$ENV{BILLING_ROOT}/test/perl/Billing/full.c");
my $switches = PostgreSQL::Test::Utils::tempdir();

my $node = PostgreSQL::Test::Cluster->new('disk_full');
$node->init(extra => ['--wal-segsize=1']);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'billing'
restart_after_crash = off
log_error_verbosity = verbose
autovacuum = off
wal_recycle = off
min_wal_size = 2MB
CONF

sub start
{
    local %ENV = (%ENV, LD_PRELOAD => "$dir/full.so", BILLING_FULL => $switches);
    return $node->start(@_);
}

sub full { append_to_file("$switches/$_", '') for @_; return }
sub room { unlink glob "$switches/*"; return }

start();
load_setup($node);
my ($a, $b, $seats, $buyer) = map { $node->safe_psql('postgres', "SELECT billing.create_account('$_', reference => '$_')") } qw(a b seats buyer);
$node->safe_psql('postgres', <<"SQL");
SELECT billing.grant_tokens('$a', 40) FROM generate_series(1, 20);
SELECT billing.grant_tokens('$a', 1000000000), billing.grant_tokens('$b', 1000000000);
SELECT billing.create_plan('hall', 'subscription', duration => '100 years', user_limit => 100000);
SELECT billing.subscribe('$seats', 'hall');
SELECT format('ALTER TABLE %s SET (fillfactor = 10)', oid::regclass) FROM pg_class WHERE relnamespace = 'billing'::regnamespace AND relkind = 'r' \\gexec
CHECKPOINT;
SQL

my ($number, $session) = (0, Billing::Session->new($node));
$session->query('SET client_min_messages = warning');
sub next_key { return sprintf 'k%d.', ++$number }

# What is done, and how it is known to be there: a statement with the key KEY, and one that counts it.
my $batch = "billing.consume_tokens_batch(array_fill('$a'::uuid, '{20}') || array_fill('$b'::uuid, '{20}'), array_fill(1::bigint, '{40}'), NULL, "
  . "(SELECT array_agg('KEY' || n) FROM generate_series(1, 40) n))";
my $ledger = "SELECT count(*) FROM billing.ledger WHERE idempotency_key =";
my %doing = (
    'single' => [ "SELECT billing.consume_tokens('$a', 1, NULL, NULL, 'KEY')", "SELECT count(*) FROM billing.ledger WHERE action = 'KEY'", 1 ],
    'keyed' => [ "SELECT billing.consume_tokens('$a', 3, 'mail', 'KEY')", "$ledger 'KEY'", 1 ],
    'batch' => [ "SELECT bool_and(granted) FROM $batch", "SELECT count(*) FROM billing.ledger WHERE idempotency_key LIKE 'KEY%'", 40 ],
    'hold' => [ "SELECT billing.hold_tokens('$a', 50, '1 hour', NULL, 'KEY')", "$ledger 'KEY' AND kind = 'hold'", 1 ],
    'hold and capture' => [ "SELECT billing.capture_hold(billing.hold_tokens('$a', 50, '1 hour', NULL, 'KEY'), 7)",
        "SELECT count(*) FROM billing.hold_end WHERE hold_id IN (SELECT hold_id FROM billing.ledger WHERE idempotency_key = 'KEY')", 1 ],
    'grant' => [ "SELECT billing.grant_tokens('$b', 5, idempotency_key => 'KEY')", "SELECT count(*) FROM billing.token_grant WHERE idempotency_key = 'KEY'", 1 ],
    'user' => [ "SELECT billing.add_user_within_limit('$seats', 'KEYx\@full.example', NULL)", "SELECT count(*) FROM billing.account_user WHERE email_key = 'KEYx\@full.example'", 1 ],
    'order' => [ "SELECT billing.order_plan('$buyer', 'basic', idempotency_key => 'KEY')", "SELECT count(*) FROM billing.plan_order WHERE idempotency_key = 'KEY'", 1 ],
    'payment' => [ "SELECT billing.record_payment(billing.order_plan(billing.create_account('Buyer'), 'pack', idempotency_key => 'KEY'), 'card', 'KEY', '5 USD')",
        "SELECT count(*) FROM billing.payment WHERE provider_ref = 'KEY'", 1 ],
    'checkpoint' => [ "SELECT billing.consume_tokens('$b', 1, NULL, 'KEY'); SELECT billing.write_checkpoint('$b')", undef, 0 ]);

# Does it until it is refused for want of room; undefined: it never was.
sub until_refused
{
    my ($what, $limit) = @_;
    my ($statement, $there, $count) = @{ $doing{$what} };
    for (1 .. $limit)
    {
        my $key = next_key();
        my $answer = $session->query($statement =~ s/KEY/$key/gr) // return 'the server is gone';
        my ($state) = $answer =~ /ERROR:\s+(\w+)/;
        my $rows = $there ? $session->query($there =~ s/KEY/$key/gr) : undef;
        return "$what: $state, but there is $rows" if $state && $rows;
        return $state if $state;
        return "$what was answered and is not there" if $there && $rows != $count;
    }
    return undef;
}

sub filenode { my ($name) = @_; return $node->safe_psql('postgres', "SELECT pg_relation_filenode('billing.$name')") }

sub sound { my ($what) = @_; return is(Billing::CrashTest::invariants($node, 'true'), '', "$what: all is sound") }

# Each table that something writes to, by itself; then the indexes and everything.
my %writes = (
    'single' => [qw(ledger)],
    'keyed' => [qw(ledger)],
    'batch' => [qw(ledger)],
    'hold' => [qw(hold ledger)],
    'hold and capture' => [qw(hold hold_end ledger)],
    'grant' => [qw(token_grant event)],
    'user' => [qw(account_user event)],
    'order' => [qw(plan_order event)],
    'payment' => [qw(payment plan_order subscription subscription_period token_grant event)],
    'checkpoint' => [qw(checkpoint)]);
for my $what (sort keys %writes)
{
    for my $table (@{ $writes{$what} })
    {
        full(filenode($table));
        is(until_refused($what, 120), '53100', "$what: no room for $table");
        # reading needs none, and who needs none goes on
        is($session->query("SELECT billing.tokens_remaining('$b') > 0"), 't', "$what: no room for $table, a check is answered");
        room();
        is(until_refused($what, 1), undef, "$what: there is room for $table again");
    }
    sound($what);
}
for my $index (qw(ledger_pkey ledger_idempotency_key))
{
    full(filenode($index));
    is(until_refused('keyed', 3000), '53100', "keyed: no room for $index");
    is(until_refused('keyed', 1), '53100', "keyed: still none for $index") if $index eq 'ledger_pkey';
    room();
    is(until_refused('keyed', 5), undef, "keyed: there is room for $index again");
}
sound('indexes');

# Within a transaction, and a savepoint of it.
$session->query($_) for 'BEGIN', "SELECT billing.release_hold(hold_id) FROM billing.hold WHERE NOT ended LIMIT 1", 'SAVEPOINT s';
full(filenode('ledger'));
my $state;
for (1 .. 120)
{
    last if ($state) = $session->query("SELECT billing.consume_tokens('$a', 1, NULL, NULL, 'inner')") =~ /ERROR:\s+(\w+)/;
}
is($state, '53100', 'in a savepoint: no room');
$session->query('ROLLBACK TO s');
room();
unlike($session->query("SELECT billing.consume_tokens('$a', 1, NULL, NULL, 'outer')"), qr/ERROR/, 'after it was rolled back, it goes on');
is($session->query('COMMIT'), '', 'and is committed');
is($node->safe_psql('postgres', "SELECT count(*) FILTER (WHERE action = 'inner'), count(*) FILTER (WHERE action = 'outer') FROM billing.ledger"), '0|1', 'as the savepoint says');
sound('a savepoint');

# The worker: plans end while there is no room to write it down.
my @short = map { "SELECT billing.subscribe(billing.create_account('Short', reference => 'short.$_'), 'basic', clock_timestamp() - interval '1 day', "
      . "clock_timestamp() + interval '500 ms')" } 1 .. 60;
$node->safe_psql('postgres', join '; ', @short);
my $from = -s $node->logfile;
full('base');
my $mine = q{FROM billing.account WHERE reference LIKE 'short.%'};
ok($node->poll_query_until('postgres', "SELECT NOT bool_or(billing.plan_is_active(account_id)) FROM (SELECT account_id $mine) a "
      . "WHERE NOT EXISTS (SELECT FROM billing.subscription s WHERE s.account_id = a.account_id AND expires_at > clock_timestamp())"), 'access ends on a full disk');
is($node->safe_psql('postgres', "SELECT count(*) $mine"), 60, 'and the accounts are there');
$node->wait_for_log(qr/53100: billing could not look for what is due/, $from);
sleep 1;
room();
ok($node->poll_query_until('postgres', "SELECT count(*) = 60 FROM billing.event JOIN billing.account USING (account_id) "
      . "WHERE kind = 'subscription_expired' AND reference LIKE 'short.%'"), 'with room again the worker writes every end down');
sound('the worker');

# No room for anything new.
full('base');
for my $what (sort keys %doing)
{
    my $outcome = until_refused($what, 3000);
    is($outcome, '53100', "$what: no room for anything");
}
room();
is(until_refused($_, 2), undef, "$_: there is room again") for sort keys %doing;
sound('no room for anything');
like(slurp_file($node->logfile), qr/could not extend file .*: No space left on device/, 'the log says what is full');
unlike(slurp_file($node->logfile), qr/PANIC|XX000|was terminated by signal/, 'nothing worse was said');

# The log of changes cannot grow: the server stops, as PostgreSQL does, and what was answered is there.
full('pg_wal');
my %told;
for (1 .. 100_000)
{
    my $key = next_key();
    my $answer = $session->query("SELECT billing.consume_tokens('$b', 1, NULL, '$key')");
    last if !defined $answer || $answer =~ /FATAL|connection|terminat/;
    $told{$key} = $answer;
}
cmp_ok(scalar keys %told, '>', 100, 'the log of changes had some room left');
for (1 .. 200) { last if !-e $node->data_dir . '/postmaster.pid'; select undef, undef, undef, 0.1 }
$node->{_pid} = undef;
like(slurp_file($node->logfile), qr/PANIC: .*No space left on device/, 'then it stops');
room();
start();
my %there = map { split /\|/ } split /\n/, $node->safe_psql('postgres', "SELECT idempotency_key, answer FROM billing.ledger WHERE idempotency_key IS NOT NULL");
is(join(' ', grep { ($there{$_} // '') ne $told{$_} } sort keys %told), '', 'every answered consumption is there after it');
sound('after the log was full');
$session = Billing::Session->new($node);
is(until_refused($_, 2), undef, "$_: goes on") for sort keys %doing;
$node->stop;
done_testing();
