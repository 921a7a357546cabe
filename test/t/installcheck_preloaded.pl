use strict;
use warnings;

use Billing::Installcheck;

# A background worker would be one more session, at times of its own; it has tests of its own.
installcheck('preloaded', "shared_preload_libraries = 'billing'\nbilling.worker = off\n", sub { @_ });
