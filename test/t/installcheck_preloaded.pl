use strict;
use warnings;

use Billing::Installcheck;

installcheck('preloaded', "shared_preload_libraries = 'billing'\n", sub { @_ });
