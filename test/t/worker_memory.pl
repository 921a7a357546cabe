# Launcher and worker take no more memory after some hundred rounds than after the first; the long
# form is test/torture/worker_memory.pl.

use strict;
use warnings;

use Billing::Memory;
use Test::More;

memory_stays(600);
done_testing();
