use strict;
use warnings;

use Billing::Installcheck;
use Test::More;

installcheck('plain', '', sub { reverse @_ }, 1);
done_testing();
