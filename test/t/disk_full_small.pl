# A small file system is really full, a few times; test/torture/disk_full_small.pl does it more often.

use strict;
use warnings;

use Billing::SmallDisk data => 80, log => 32;
use Billing::DiskFull;

disk_full_test(name => 'small', rounds => [ 2, 1, 1 ]);
