# A small file system is really full, forty times; and once what is then lost has to be missed.
#
# Minutes: 5

use strict;
use warnings;

use Billing::SmallDisk data => 192, log => 32;
use Billing::DiskFull;

disk_full_test(name => 'small_long', rounds => [ 20, 10, 10 ], noticed => 1, required => 1);
