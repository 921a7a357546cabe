# A few kills of the whole server; test/torture/crash_mixed.pl makes two hundred.

use strict;
use warnings;

use Billing::CrashTest;

crash_test('crash', 8);
