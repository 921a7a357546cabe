# An hour of mixed load with autovacuum: throughput, memory and bloat are level at the end.
#
# Minutes: 61

use strict;
use warnings;

use Billing::Steady;
use Test::More;

steady('steady', seconds => 3600, samples => 240);
done_testing();
