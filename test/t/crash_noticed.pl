# crash.pl can fail: where commits are acknowledged before they are written, it finds what is lost.

use strict;
use warnings;

use Billing::CrashTest;

unsafe_crash_test('crash_noticed', 10);
