# Ten minutes of sqlsmith against the schema.
#
# Minutes: 11

use strict;
use warnings;

use Billing::Sqlsmith;

sqlsmith_test('sqlsmith', 600);
