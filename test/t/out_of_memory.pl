# Some requests for memory of each call are refused; test/torture/out_of_memory.pl refuses every one.

use strict;
use warnings;

use Billing::OutOfMemory;

out_of_memory('out_of_memory', 60);
