# A small file system is really full, a hundred times.
#
# Minutes: 5

use strict;
use warnings;

use Billing::SmallDisk data => 256, log => 32;
use Billing::DiskFull;

disk_full_test(name => 'small_long', rounds => [ 40, 30, 30 ], required => 1);
