# The same without shared memory: every request is served from the ledger.
#
# BILLING_TEST_SEED repeats what the clients choose (not how they interleave), BILLING_TEST_SECONDS
# makes it longer.

use strict;
use warnings;

use Billing::Torture qw(torture);
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('engine_torture_plain');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
billing.checkpoint_entries = 20
max_connections = 60
max_prepared_transactions = 20
track_commit_timestamp = on
deadlock_timeout = 100ms
log_min_messages = fatal
CONF
$node->start;
torture($node,
    seed => $ENV{BILLING_TEST_SEED} // int rand 1_000_000,
    seconds => $ENV{BILLING_TEST_SECONDS} // 12,
    kills => 0);
$node->stop;
done_testing();
