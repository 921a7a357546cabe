# Each request for memory of each call is refused; of those that make very many, the first ones and then
# fewer and fewer.
#
# Minutes: 6

use strict;
use warnings;

use Billing::OutOfMemory;

out_of_memory('out_of_memory', 1000);
