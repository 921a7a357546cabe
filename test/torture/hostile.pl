# Hostile values in every argument, in many more combinations than test/t/hostile.pl.
#
# Minutes: 10

use strict;
use warnings;

use Billing::Hostile;

hostile_test('hostile_long', 300);
