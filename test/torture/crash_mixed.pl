# Two hundred kills of the whole server.

use strict;
use warnings;

use Billing::CrashTest;

crash_test('crash_mixed', 200);
