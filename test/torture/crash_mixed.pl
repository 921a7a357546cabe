# Two hundred kills of the whole server.
#
# Minutes: 9

use strict;
use warnings;

use Billing::CrashTest;

crash_test('crash_mixed', 200);
