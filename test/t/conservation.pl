# The run of test/torture/conservation.pl that is always the same: its ten thousand steps for one seed.

use strict;
use warnings;

$ENV{BILLING_SEED} //= 1;
do "$ENV{BILLING_ROOT}/test/torture/conservation.pl" or die $@ || $!;
