# A small file system is really full, sixty times.
#
# Minutes: 3

use strict;
use warnings;

use Billing::SmallDisk data => 256, log => 32;
use Billing::DiskFull;

disk_full_test(name => 'small_long', rounds => [ 24, 18, 18 ], required => 1);
