# The patches of test/torture/mutations, which nobody looks at while the sources change, fit the sources.

use strict;
use warnings;

use File::Basename;
use IPC::Run;
use Test::More;

my @patches = sort glob "$ENV{BILLING_ROOT}/test/torture/mutations/*.patch";
cmp_ok(scalar @patches, '>', 10, 'there are patches');
for my $patch (@patches)
{
    my $out = '';
    my $fits = IPC::Run::run([ qw(patch -s -p1 -F0 --dry-run -d), $ENV{BILLING_ROOT}, '-i', $patch ], '<', \undef, '>&', \$out);
    ok($fits, basename($patch) . ' fits') or diag $out;
}
done_testing();
