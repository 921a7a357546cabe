# Hostile values in every argument of everything that SQL can call; test/torture/hostile.pl tries more.

use strict;
use warnings;

use Billing::Hostile;

hostile_test('hostile', 3);
