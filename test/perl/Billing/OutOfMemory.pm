# A backend runs out of memory at every place where it can: each request for memory that a call makes, the
# server's own among them, is refused once (memory.c). The caller is told so or served, nothing is
# half there, and everybody goes on.
#
# BILLING_SEED repeats which requests a short run leaves out.

package Billing::OutOfMemory;

use strict;
use warnings;

use Billing::CrashTest;
use Billing::MixedLoad;
use Billing::Session;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(out_of_memory);

# Refusals of each call in a new session.
use constant COLD => 10;

my ($node, $session, $other, %account);
my $number = 0;

sub consume { return "SELECT granted FROM billing.try_consume_tokens('$_[0]', 1)" }

# before: prepares each time. do: is short of memory; KEY is new each time. there: what a success leaves,
# counted by KEY, in so many rows.
sub cases
{
    my ($a, $b) = @account{qw(a b)};
    my $ledger = "SELECT count(*) FROM billing.ledger WHERE idempotency_key =";
    # one that is soon over: an account with very many grants would take ever longer to build
    my $retire = "SELECT billing.grant_tokens('$a', 1, clock_timestamp() + interval '50 ms')";
    my $batch = "SELECT count(*) FROM billing.consume_tokens_batch(array_fill('$a'::uuid, '{%d}') || array_fill('$b'::uuid, '{%d}'), array_fill(1::bigint, '{%d}'), NULL, "
      . "(SELECT array_agg('KEY' || n) FROM generate_series(1, %d) n)) WHERE granted";
    my $rows = "SELECT count(*) FROM billing.ledger WHERE idempotency_key LIKE 'KEY%'";
    return (
        [ 'single', do => "SELECT billing.consume_tokens('$a', 1, NULL, NULL, 'KEY')", there => "SELECT count(*) FROM billing.ledger WHERE action = 'KEY'" ],
        [ 'keyed', do => "SELECT billing.consume_tokens('$a', 1, 'mail', 'KEY')", there => "$ledger 'KEY'" ],
        [ 'the same key', before => "SELECT billing.consume_tokens('$a', 1, 'mail', 'KEY')", do => "SELECT billing.consume_tokens('$a', 1, 'mail', 'KEY')" ],
        [ 'build', before => $retire, do => "SELECT billing.consume_tokens('$a', 1, NULL, 'KEY')", there => "$ledger 'KEY'" ],
        [ 'from the ledger', do => "SELECT billing.consume_tokens('$account{many}', 1000, NULL, 'KEY')", there => "$ledger 'KEY'" ],
        [ 'denial', do => consume($account{none}) ],
        [ 'batch of 4', do => sprintf($batch, 2, 2, 4, 4), there => $rows, rows => 4 ],
        [ 'batch of 1000', do => sprintf($batch, 500, 500, 1000, 1000), there => $rows, rows => 1000 ],
        [ 'hold', do => "SELECT billing.hold_tokens('$a', 5, '1 hour', NULL, 'KEY')", there => "$ledger 'KEY'" ],
        [ 'capture', before => "SELECT billing.hold_tokens('$a', 5, '1 hour', NULL, 'KEY')",
            do => "SELECT billing.capture_hold(hold_id, 2) FROM billing.ledger WHERE idempotency_key = 'KEY'",
            there => "SELECT count(*) FROM billing.hold_end JOIN billing.ledger USING (account_id, hold_id) WHERE idempotency_key = 'KEY'" ],
        [ 'refund', before => "SELECT billing.consume_tokens('$a', 5, NULL, 'KEY')", do => "SELECT billing.refund_tokens('$a', 'KEY', 3)" ],
        [ 'grant', do => "SELECT billing.grant_tokens('$b', 5, idempotency_key => 'KEY')", there => "SELECT count(*) FROM billing.token_grant WHERE idempotency_key = 'KEY'" ],
        [ 'void', before => "SELECT billing.grant_tokens('$b', 5, idempotency_key => 'KEY')",
            do => "SELECT billing.void_grant(grant_id) FROM billing.token_grant WHERE idempotency_key = 'KEY'",
            there => "SELECT count(*) FROM billing.token_grant WHERE idempotency_key = 'KEY' AND voided_at IS NOT NULL" ],
        [ 'checkpoint', before => "SELECT count(billing.consume_tokens('$b', 1)) FROM generate_series(1, 3)", do => "SELECT billing.write_checkpoint('$b')" ],
        [ 'payment', before => "SELECT billing.order_plan(billing.create_account('Buyer'), 'pack', idempotency_key => 'KEY')",
            do => "SELECT billing.record_payment(order_id, 'card', 'KEY', due) FROM billing.plan_order WHERE idempotency_key = 'KEY'",
            there => "SELECT count(*) FROM billing.payment WHERE provider_ref = 'KEY'" ],
        [ 'order', do => "SELECT billing.order_plan('$account{buyer}', 'basic', idempotency_key => 'KEY')", there => "SELECT count(*) FROM billing.plan_order WHERE idempotency_key = 'KEY'" ],
        [ 'subscribe', before => "SELECT billing.create_account('Subscriber', reference => 'KEY')",
            do => "SELECT billing.subscribe(account_id, 'basic') FROM billing.account WHERE reference = 'KEY'",
            there => "SELECT count(*) FROM billing.subscription JOIN billing.account USING (account_id) WHERE reference = 'KEY'" ],
        [ 'expiry', before => "SELECT billing.subscribe(billing.create_account('Late', reference => 'KEY'), 'basic', now() - interval '2 days', now() - interval '1 day')",
            do => "SELECT billing.expire_due()" ],
        [ 'user', do => "SELECT billing.add_user_within_limit('$account{seats}', 'KEYx\@memory.example', NULL)",
            there => "SELECT count(*) FROM billing.account_user WHERE email_key = 'KEYx\@memory.example'" ],
        [ 'login', do => "SELECT reason FROM billing.authenticate_user('login\@memory.example', 'plum kettle 94 harbour', 'a client')" ],
        [ 'status', do => "SELECT count(*) FROM billing.account_status WHERE account_id = '$a'" ],
        [ 'packages', do => 'SELECT count(*) FROM billing.account_package' ],
        [ 'check', do => "SELECT billing.tokens_remaining('$a', 'mail')" ],
        [ 'verify', do => "SELECT count(*) FROM billing.verify_ledger('$account{many}')" ]);
}

sub new_session
{
    my $new = Billing::Session->new($node);
    $new->query($_) for 'SET client_min_messages = error', 'SET statement_timeout = \'60 s\'';
    return $new;
}

# Whether what others see is whole and open: nobody waits, the engine and the ledger agree.
sub others_problem
{
    my ($a) = @account{qw(a)};
    my $says = $other->query("SELECT granted FROM billing.try_consume_tokens('$a', 1)");
    return "another session: $says" if $says ne 't';
    my $left = $other->query("SELECT tokens_remaining FROM billing.try_consume_tokens('$a', 1)") - $other->query("SELECT billing.tokens_remaining('$a')");
    return $left ? "the engine says $left more than the ledger" : '';
}

# The n-th request for memory is refused. Returns whether one was, and a problem.
sub refuse
{
    my ($case, $n) = @_;
    my ($name, %case) = @$case;
    my $key = sprintf 'm%d.', ++$number;
    if ($case{before})
    {
        my $before = $session->query($case{before} =~ s/KEY/$key/gr);
        return (0, "before: $before") if $before =~ /ERROR/;
    }
    my $answer = $session->query("SET memory.fail_at = $n\\; " . $case{do} =~ s/KEY/$key/gr);
    return (0, 'the session is gone') if !defined $answer;
    my $was = $answer =~ /ERROR/ || $session->query('SHOW memory.fail_at') eq '0';
    return ($was, $answer) if $answer =~ /ERROR/ && $answer !~ /ERROR:\s+53200/;
    return ($was, "$answer after a refusal that nobody was told of") if $was && $answer !~ /ERROR/ && $case{there};
    if ($case{there})
    {
        my $rows = $other->query($case{there} =~ s/KEY/$key/gr);
        my $wanted = $answer =~ /ERROR/ ? 0 : $case{rows} // 1;
        return ($was, "$rows instead of $wanted rows after: $answer") if $rows ne $wanted;
    }
    return ($was, others_problem());
}

# In a session that has done nothing before: the caches of the catalogue are filled meanwhile.
sub cold
{
    my ($case) = @_;
    my @problems;
    for (1 .. COLD)
    {
        $session->close;
        $session = new_session();
        my $n = int exp rand log 20_000;
        my (undef, $problem) = refuse($case, $n);
        push @problems, "$n, in a new session: $problem" if $problem;
    }
    return @problems;
}

# All of them, or about as many as asked for.
sub run_case
{
    my ($case, $most) = @_;
    my ($name) = @$case;
    my ($refused, $n, $step, @problems) = (0, 1, 1);
    refuse($case, 1_000_000_000);
    for (;;)
    {
        my ($was, $problem) = refuse($case, $n);
        if ($problem)
        {
            push @problems, "$n: $problem";
            last if @problems > 5 || $problem =~ /gone/;
        }
        last if !$was;
        $refused++;
        # denser at the beginning of what is left out
        $step = $refused > $most / 2 ? $step * (1 + 4 / $most) : 1;
        $n += 1 + int rand 2 * $step - 1;
    }
    push @problems, cold($case) if !@problems;
    is(join("\n", @problems), '', "$name: $refused of about $n requests for memory refused");
    cmp_ok($refused, '>', 10, "$name: some were");
    truncate $node->logfile, 0;
    return;
}

# The memory that a password's hash takes is not the server's to ask for.
sub no_memory_to_hash
{
    my ($login) = map { $_->[2] } grep { $_->[0] eq 'login' } cases();
    my $limit = sub { system_or_bail('prlimit', "--pid=$session->{backend}", "--as=$_[0]:") };
    is($session->query($login), 'allowed', 'a login');
    my ($kilobytes) = slurp_file("/proc/$session->{backend}/status") =~ /VmSize:\s+(\d+)/;
    $limit->($kilobytes * 1024 + 4 * 1024 * 1024);
    is($session->query($login), 'ERROR:  53200', 'no memory to hash a password');
    is($session->query(consume($account{a})), 't', 'other calls are served');
    $limit->('unlimited');
    is($session->query($login), 'allowed', 'with memory again the login is as before');

    # of four lanes, which libsodium alone can verify
    my $hash = `printf %s 'plum kettle 94 harbour' | argon2 saltsalt -id -k 65536 -t 2 -p 4 -e`;
    chomp $hash;
    $node->safe_psql('postgres', "UPDATE billing.account_user SET password_hash = '$hash' WHERE email = 'login\@memory.example'");
    $limit->($kilobytes * 1024 + 4 * 1024 * 1024);
    is_deeply([ map { $session->query($login) } 1 .. 6 ], [ ('ERROR:  53200') x 6 ], 'no memory to verify a hash of others');
    $limit->('unlimited');
    is($session->query($login), 'allowed', 'which was no failed login');
    return;
}

# out_of_memory(name, about how many refusals a case at most)
sub out_of_memory
{
    my ($name, $most) = @_;
    my $seed = $ENV{BILLING_SEED} // int rand 1_000_000;
    note "BILLING_SEED=$seed";
    srand $seed;
    my $dir = PostgreSQL::Test::Utils::tempdir();
    chomp(my $include = `$ENV{PG_CONFIG} --includedir-server`);
    system_or_bail('cc', '-O1', '-shared', '-fPIC', "-I$include", '-o', "$dir/memory.so", "$ENV{BILLING_ROOT}/test/perl/Billing/memory.c");
    $node = PostgreSQL::Test::Cluster->new($name);
    $node->init;
    # a statement is not logged: that takes memory too, and much room
    $node->append_conf('postgresql.conf', "shared_preload_libraries = '$dir/memory.so, billing'\nbilling.worker = off\nlog_statement = none\n"
          . "log_min_messages = panic\nlog_min_error_statement = panic\nautovacuum = off\nrestart_after_crash = off\n");
    $node->start;
    load_setup($node);
    $account{$_} = $node->safe_psql('postgres', "SELECT billing.create_account('$_', reference => '$_')") for qw(a b many none seats buyer);
    $node->safe_psql('postgres', "SELECT billing.grant_tokens('$account{$_}', 1000000000)") for qw(a b);
    $node->safe_psql('postgres', <<"SQL");
SELECT billing.grant_tokens('$account{many}', 300) FROM generate_series(1, 3000);
SELECT billing.create_plan('hall', 'subscription', duration => '100 years', user_limit => 100000);
SELECT billing.subscribe('$account{seats}', 'hall');
SELECT billing.add_user_within_limit('$account{seats}', 'login\@memory.example', 'plum kettle 94 harbour');
SQL
    ($session, $other) = map { new_session() } 1 .. 2;
    run_case($_, $most) for cases();
    no_memory_to_hash();
    is(Billing::CrashTest::invariants($node, 'true'), '', 'all is sound');
    $node->stop;
    done_testing();
    return;
}

1;
