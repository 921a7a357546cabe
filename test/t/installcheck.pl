use strict;
use warnings;

use Billing::Installcheck;

installcheck('plain', '', sub { reverse @_ }, 1);
