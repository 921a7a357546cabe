# The same with the server killed, again and again.
#
# Minutes: 1

use strict;
use warnings;

use Billing::Torture;

engine_torture('engine_torture_crash', preload => 1, seconds => 20, kills => 5);
