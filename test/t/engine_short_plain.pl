# The short form of test/torture/engine_torture_plain.pl: the same without shared memory.

use strict;
use warnings;

use Billing::Torture;

engine_torture('engine_short_plain', seconds => 5);
