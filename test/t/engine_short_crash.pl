# The short form of test/torture/engine_torture_crash.pl: the same with the server killed.

use strict;
use warnings;

use Billing::Torture;

engine_torture('engine_short_crash', preload => 1, seconds => 6, kills => 2);
