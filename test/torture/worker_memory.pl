# Launcher and worker take no more memory after 10,000 rounds than after the first 100.
#
# Minutes: 4

use strict;
use warnings;

use Billing::Memory;
use Test::More;

memory_stays(10_000);
done_testing();
