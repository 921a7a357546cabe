# The token engine under everything at once. Removing any one of its safeguards makes this fail: see
# mutations.pl.
#
# Minutes: 1

use strict;
use warnings;

use Billing::Torture;

engine_torture('engine_torture', preload => 1, seconds => 20);
