# The short form of test/torture/engine_torture.pl: the token engine under everything at once.

use strict;
use warnings;

use Billing::Torture;

engine_torture('engine_short', preload => 1, seconds => 5);
