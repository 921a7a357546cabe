# A short form of test/torture/steady.pl: too short to be level, as small indexes are not yet, long enough to
# find what grows fast.

use strict;
use warnings;

use Billing::Steady;
use Test::More;

steady('steady_short', seconds => 24, samples => 8, grows => 1.1);
done_testing();
