# The run of test/torture/conservation.pl that is always the same: its ten thousand steps for one seed.

use strict;
use warnings;

# they set themselves up before the run begins, which is too late for a file that is called
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

$ENV{BILLING_SEED} //= 1;
do "$ENV{BILLING_ROOT}/test/torture/conservation.pl" or die $@ || $!;
