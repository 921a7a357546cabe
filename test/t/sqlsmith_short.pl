# A short form of test/torture/sqlsmith.pl.

use strict;
use warnings;

use Billing::Sqlsmith;

sqlsmith_test('sqlsmith_short', 15);
