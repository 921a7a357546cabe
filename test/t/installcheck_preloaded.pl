use strict;
use warnings;

use Billing::Installcheck;
use Test::More;

# With the background worker, which a user's server runs as well: specs that it would disturb switch it
# off.
installcheck('preloaded', "shared_preload_libraries = 'billing'\n", sub { @_ });
done_testing();
