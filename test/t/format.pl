# C sources are as .clang-format says, in the version it was written for.

use strict;
use warnings;

use Test::More;

my $program = $ENV{BILLING_CLANG_FORMAT};
plan skip_all => "$program is not packaged here"
    unless grep { -x "$_/$program" } split /:/, $ENV{PATH};

for my $file (glob "$ENV{BILLING_ROOT}/src/*.[ch]")
{
    my ($name) = $file =~ m{(src/[^/]+)$};
    is(`$program --dry-run -Werror $file 2>&1`, '', $name);
}

done_testing();
