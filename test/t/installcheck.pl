use strict;
use warnings;

use Billing::Installcheck;

installcheck('plain', '', sub { reverse @_ });
