# A short form of test/fuzz/run: each parser of what outsiders can give, with both sanitizers.
# BILLING_SEED repeats what is tried.

use strict;
use warnings;

use File::Basename;
use IPC::Run;
use Test::More;

my $cases = 20_000;
my $seed = $ENV{BILLING_SEED} // 1 + int rand 1_000_000;
note "BILLING_SEED=$seed";

local $ENV{BILLING_SEED} = $seed;

my ($out, $err);
my $done = IPC::Run::run([ "$ENV{BILLING_ROOT}/test/fuzz/run", $cases ], '>', \$out, '2>', \$err);
ok($done, 'no case crashed') or diag $out, $err;
for my $harness (map { basename($_, '_fuzz.c') } glob("$ENV{BILLING_ROOT}/test/fuzz/*_fuzz.c"))
{
    my ($tried) = $out =~ /^$harness: cases (\d+)$/m;
    cmp_ok($tried // 0, '>=', $cases, "$harness: every case was tried");
}
done_testing();
