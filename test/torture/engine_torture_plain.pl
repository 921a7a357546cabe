# The same without shared memory: every request is served from the ledger.
#
# Minutes: 1

use strict;
use warnings;

use Billing::Torture;

engine_torture('engine_torture_plain', seconds => 12);
