# On a hot standby the checks answer as on the primary, and every function that writes is refused with
# PostgreSQL's own error; so it is in a read-only transaction. The calls are those of bad_input/Cases.pm.
# Nobody writes down what falls due: a hold that is over keeps no tokens, here and there, and a consumption
# that is served from memory takes what the checks say.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/bad_input";

use Cases;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C' ]);
$primary->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\njit = off\nbilling.worker = off\n");
$primary->start;
$primary->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
$primary->safe_psql('postgres', $Cases::setup);
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

# Holds that are over by a clock for tests and by the real one, in a database of their own.
my $helper = "$FindBin::RealBin/../pgtap/helper/overdue.psql";
$primary->safe_psql('postgres', 'CREATE DATABASE overdue');
$primary->safe_psql('overdue', "SET client_min_messages = warning; CREATE EXTENSION billing CASCADE;\n\\i $helper");
$primary->safe_psql('overdue', 'SELECT overdue_make(clock) FROM generate_series(1, 2) clock');
$primary->safe_psql('overdue', "SELECT overdue_hold($_)") for 1, 2;

# What changes after the backup arrives by replication.
my $account = $Cases::account;
$primary->safe_psql('postgres', <<"SQL");
SELECT billing.consume_tokens($account, 100, 'app', 'on the primary');
SELECT billing.create_account('Empty', 'bad00000-0000-4000-8000-0000000000b2'), billing.subscribe('bad00000-0000-4000-8000-0000000000b2', 'pack'), billing.consume_tokens('bad00000-0000-4000-8000-0000000000b2', 100);
SELECT billing.create_account('Gone', 'bad00000-0000-4000-8000-0000000000c3'), billing.subscribe('bad00000-0000-4000-8000-0000000000c3', 'plan', expires_at => clock_timestamp() + interval '1 second');
SELECT billing.create_account('Suspended', 'bad00000-0000-4000-8000-0000000000d4'), billing.suspend_account('bad00000-0000-4000-8000-0000000000d4', 'test');
SQL
$primary->wait_for_catchup($standby);

my $checks = q{SELECT name, billing.plan_is_active(account_id), billing.plan_is_active(account_id, 'app', 'plan'), c.*, billing.tokens_remaining(account_id), billing.tokens_remaining(account_id, 'app')
FROM billing.account, unnest(ARRAY[NULL, 'app:read', 'app:write', 'nosuch:x']) AS p, billing.check_access(account_id, p) AS c ORDER BY name, p;
SELECT user_id, billing.user_permissions(user_id) FROM billing.account_user ORDER BY 1, 2};
is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()'), 't', 'the standby is one');
# the clocks differ by what lies between two statements: nothing expires then
my $answers = $primary->safe_psql('postgres', $checks);
is($standby->safe_psql('postgres', $checks), $answers, 'the checks answer alike');
like($answers, qr/^Empty\|f\|f\|f\|limited\|tokens_exhausted/m, 'exhausted is seen');
like($answers, qr/^Suspended\|f\|f\|f\|none\|account_suspended/m, 'suspended is seen');
$standby->poll_query_until('postgres', q{SELECT NOT billing.plan_is_active('bad00000-0000-4000-8000-0000000000c3')});
is($standby->safe_psql('postgres', q{SELECT reason FROM billing.check_access('bad00000-0000-4000-8000-0000000000c3')}),
    'package_expired', 'time runs on the standby: access ends without a word from the primary');

my $everything = q{SELECT clock, n, overdue_everything_said(overdue_account(clock, n))
FROM generate_series(1, 2) clock, generate_series(1, 12) n ORDER BY 1, 2};
my $open = 'SELECT sum(overdue_open(account_id)) FROM billing.account';
my $wrong = q{SELECT clock, e.n, s FROM overdue_expected e CROSS JOIN generate_series(1, 2) clock
CROSS JOIN LATERAL overdue_said(clock, e.n) s WHERE s IS DISTINCT FROM e};
is($primary->safe_psql('overdue', $open), 17, 'holds are over, which nobody has written');
my $said = $primary->safe_psql('overdue', $everything);
is($primary->safe_psql('overdue', $wrong), '', 'their tokens are there');
is($standby->safe_psql('overdue', $wrong), '', 'on the standby, where nothing can be written');
is($standby->safe_psql('overdue', $everything), $said, 'it says all that the primary does');

my $takes = q{SELECT clock, n, app, overdue_takes(overdue_account(clock, n), app) FROM generate_series(1, 2) clock,
generate_series(1, 12) n, unnest(ARRAY['mail', 'chat', NULL]) app WHERE n <> 6};
my $takes_other = "SELECT * FROM ($takes) t WHERE overdue_takes <> 'what is said'";
is($primary->safe_psql('overdue', $takes_other), '', 'the primary takes what is said');
is($primary->safe_psql('overdue', $open), 17, 'which is undone');
# the first take leaves an entry that knows of the holds
for my $clock (1, 2)
{
    is($primary->safe_psql('overdue', "SELECT billing.consume_tokens(overdue_account($clock, 2), 1, 'mail')"), 9, 'served from memory: what is free is taken first');
    is($primary->safe_psql('overdue', "SELECT billing.tokens_remaining(overdue_account($clock, 2), 'mail')"), 59, 'what is free again counts');
    is($primary->safe_psql('overdue', <<"SQL"), 'member|t|allowed', 'a user who has a seat by that plan alone may consume');
BEGIN;
SELECT u.role, c.granted, c.reason FROM billing.account_user u, billing.try_consume_tokens(u.account_id, 1, 'mail', user_id => u.user_id) c
 WHERE u.account_id = overdue_account($clock, 7) AND u.role = 'member';
ROLLBACK;
SQL
    is($primary->safe_psql('overdue', <<"SQL"), "8\n59", 'the answer of a refund counts what holds that are over kept');
BEGIN;
SELECT billing.consume_tokens(overdue_account($clock, 2), 1, 'mail', 'to be refunded');
SELECT billing.refund_tokens(overdue_account($clock, 2), 'to be refunded');
ROLLBACK;
SQL
    my $past = $clock == 1 ? "SELECT billing.advance_test_clock(overdue_account(1, 2), '1 microsecond')" : 'SELECT pg_sleep(0.001)';
    is($primary->safe_psql('overdue', <<"SQL"), "1\nt|59\nwhat is said\n59", 'a hold of the same transaction beside it as well');
BEGIN;
SELECT count(billing.hold_tokens(overdue_account($clock, 2), 9, '1 microsecond', 'mail'));
DO \$\$BEGIN PERFORM 1 FROM ($past) past; END\$\$;
SELECT billing.plan_is_active(overdue_account($clock, 2), 'mail', 'pack'), billing.tokens_remaining(overdue_account($clock, 2), 'mail');
SELECT overdue_takes(overdue_account($clock, 2), 'mail');
ROLLBACK;
SELECT billing.tokens_remaining(overdue_account($clock, 2), 'mail');
SQL
}
is($primary->safe_psql('overdue', $open), 17, 'holds are still over');
$said = $primary->safe_psql('overdue', $everything);
$primary->wait_for_catchup($standby);

my %function = Cases::all_functions($primary);
sub sqlstate
{
    my ($node, @sql) = @_;
    my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n" . join(";\n", @sql));
    return $status == 0 ? 'ok' : $err =~ /ERROR:  (\w{5}): (.*)/ ? "$1 $2" : $err;
}
my $before = $primary->safe_psql('postgres', 'SELECT count(*) FROM billing.event');
for my $signature (sort grep { Cases::case_of($_) && $function{$_}{pseudo} eq 'f' } keys %function)
{
    my $case = Cases::case_of($signature);
    next if defined $case->{valid};
    my $function = $function{$signature};
    my $sql = Cases::statement($signature, $function, [ Cases::valid_arguments($case, $function) ], $case->{show});
    if ($function->{volatile} eq 'f' || ($case->{read_only} // '') eq 'ok')
    {
        is(sqlstate($standby, $sql), 'ok', "$signature: on the standby");
        is(sqlstate($primary, 'BEGIN READ ONLY', $sql, 'COMMIT'), 'ok', "$signature: in a read-only transaction");
        next;
    }
    like(sqlstate($standby, $sql), qr/^25006 cannot execute .* (?:during recovery|in a read-only transaction)$/, "$signature: refused on the standby");
    like(sqlstate($primary, 'BEGIN READ ONLY', $sql, 'COMMIT'), qr/^25006 cannot execute .* in a read-only transaction$/, "$signature: refused in a read-only transaction");
    like(sqlstate($primary, 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1', 'SET TRANSACTION READ ONLY', $sql, 'COMMIT'), qr/^25006 /, "$signature: refused in one that became read-only");
}
# also where there is nothing to do
for my $sql (
    "SELECT billing.consume_tokens($account, 1, 'app', 'used', 'act')",
    "SELECT billing.retire_plan('nosuch')",
    'SELECT billing.expire_due()',
    'SELECT * FROM billing.consume_tokens_batch(\'{}\', \'{}\')')
{
    like(sqlstate($standby, $sql), qr/^25006 /, "refused on the standby: $sql");
    like(sqlstate($primary, 'BEGIN READ ONLY', $sql), qr/^25006 /, "refused in a read-only transaction: $sql");
}
is($primary->safe_psql('postgres', 'SELECT count(*) FROM billing.event'), $before, 'nothing was written');

# Promoted, it goes on to the token.
$primary->stop;
$standby->promote;
is($standby->safe_psql('postgres', "SELECT billing.consume_tokens($account, 899, 'app')"), '0', 'promoted: the last token');
is(sqlstate($standby, "SELECT billing.consume_tokens($account, 1, 'app')"), 'PB004 tokens are exhausted', 'and not one more');
is($standby->safe_psql('postgres', "SELECT granted, replayed FROM billing.try_consume_tokens($account, 100, 'app', 'on the primary')"), 't|t', 'and the keys are known');
is($standby->safe_psql('overdue', $everything), $said, 'and says the same of holds that are over');
is($standby->safe_psql('overdue', $takes_other), '', 'and takes what is said');
cmp_ok($standby->safe_psql('overdue', 'SELECT billing.expire_due()'), '>=', 17, 'their lapse is written');
is($standby->safe_psql('overdue', $open), 0, 'of all');
is($standby->safe_psql('overdue', $everything), $said, 'and nothing is said differently');

$standby->stop;
done_testing();
