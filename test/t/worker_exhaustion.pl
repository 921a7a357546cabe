# That a token plan has lost its last token is told of exactly once, also when it is left to the
# background worker: after transactions in progress, prepared ones, and a crash.

use strict;
use warnings;

use Billing::Worker;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# So long a nap that nothing in this test can come of it.
my $node = worker_cluster('exhaustion', "billing.worker_naptime = 1h\nautovacuum = off\n");
worker_setup($node, 'postgres');
$node->safe_psql('postgres', q{SELECT billing.create_plan('pack', 'token', tokens => 5)});
my $next = 0;

# A new account with five tokens.
sub account
{
    my $id = sprintf '00000000-0000-4000-8000-%012d', ++$next;
    $node->safe_psql('postgres', "SELECT billing.subscribe(billing.create_account('a', '$id'), 'pack')");
    return $id;
}

sub consume { my ($account, $tokens) = @_; return "SELECT billing.consume_tokens('$account', $tokens)" }

sub told
{
    my ($account) = @_;
    return "SELECT coalesce(string_agg(kind, ' ' ORDER BY event_id), '') FROM billing.event "
      . "WHERE account_id = '$account' AND kind IN ('tokens_exhausted', 'free_plan_assigned')";
}

sub becomes_told
{
    my ($account, $name) = @_;
    ok($node->poll_query_until('postgres', told($account), 'tokens_exhausted free_plan_assigned'), $name);
    return;
}

# The worker has seen everything that was noted before.
sub worker_has_looked
{
    my $last = account();
    my $other = $node->background_psql('postgres', on_error_stop => 1);
    $other->query_safe('BEGIN; ' . consume($last, 3));
    $node->safe_psql('postgres', consume($last, 2));
    $other->query_safe('COMMIT');
    $other->quit;
    becomes_told($last, 'the worker has looked');
    return;
}

my $plain = account();
$node->safe_psql('postgres', consume($plain, 5));
is($node->safe_psql('postgres', told($plain)), 'tokens_exhausted free_plan_assigned', 'at once where nobody is in the way');

# Others in progress.
my $session = $node->background_psql('postgres', on_error_stop => 1);
my $a = account();
$session->query_safe('BEGIN; ' . consume($a, 3));
$node->safe_psql('postgres', consume($a, 2));
worker_has_looked();
is($node->safe_psql('postgres', told($a)), '', 'not while others may give back');
$session->query_safe('COMMIT');
becomes_told($a, 'but when they have taken');
is($node->safe_psql('postgres', "SELECT bool_and(e.occurred_at = (SELECT occurred_at FROM billing.ledger WHERE account_id = '$a' ORDER BY entry_no DESC LIMIT 1))
    FROM billing.event e WHERE account_id = '$a' AND kind IN ('tokens_exhausted', 'free_plan_assigned')"), 't', 'dated at the last consumption');
my $b = account();
$session->query_safe('BEGIN; ' . consume($b, 3));
$node->safe_psql('postgres', consume($b, 2));
$session->query_safe('ROLLBACK');
worker_has_looked();
is($node->safe_psql('postgres', told($b)), '', 'nothing when they have given back');
my $c = account();
$session->query_safe("BEGIN; SELECT billing.subscribe('$c', 'pack')");
$node->safe_psql('postgres', consume($c, 5));
$session->query_safe('COMMIT');
worker_has_looked();
is($node->safe_psql('postgres', told($c)), '', 'nothing when the plan was being renewed');

# Prepared, and over a crash: found again by the pass over all accounts.
my $d = account();
$node->safe_psql('postgres', 'BEGIN; ' . consume($d, 3) . q{; PREPARE TRANSACTION 'p'});
my $e = account();
$session->query_safe("BEGIN; SELECT billing.subscribe('$e', 'pack')");
$node->safe_psql('postgres', consume($d, 2));
$node->safe_psql('postgres', consume($e, 5));
worker_has_looked();
is($node->safe_psql('postgres', told($d)), '', 'not while a prepared transaction may give back');
$node->stop('immediate');
$session->{run}->kill_kill;
$node->start;
becomes_told($e, 'what a crash forgot is found: the renewal is gone');
is($node->safe_psql('postgres', told($d)), '', 'the prepared transaction is still undecided');
$node->safe_psql('postgres', q{COMMIT PREPARED 'p'});
becomes_told($d, 'and told of when it is committed');

# With the worker off they wait for expire_due().
$node->append_conf('postgresql.conf', 'billing.worker = off');
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT state = 'off' FROM billing.worker_status WHERE database = current_database()}), 'off');
my $f = account();
$session = $node->background_psql('postgres', on_error_stop => 1);
$session->query_safe('BEGIN; ' . consume($f, 3));
$node->safe_psql('postgres', consume($f, 2));
$session->query_safe('COMMIT');
$session->quit;
$node->safe_psql('postgres', 'SELECT billing.expire_due()');
is($node->safe_psql('postgres', told($f)), 'tokens_exhausted free_plan_assigned', 'expire_due() tells too');
$node->safe_psql('postgres', 'SELECT billing.expire_due()');
is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT FROM billing.event WHERE kind IN ('tokens_exhausted', 'free_plan_assigned')
    GROUP BY account_id, kind HAVING count(*) > 1) twice}), 0, 'nothing twice');

$node->stop;
done_testing();
