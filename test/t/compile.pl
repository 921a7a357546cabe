# The sources compile without a warning under clang too, with the Makefile's flags (the build
# itself has shown it for gcc), only what the server looks up leaves the library, and no build takes files
# of another.

use strict;
use warnings;

use File::Basename;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

chomp(my $pgxs = `$ENV{PG_CONFIG} --pgxs`);
my ($clang) = slurp_file(dirname($pgxs) . '/../Makefile.global') =~ /^CLANG = (\S+)/m;
my $dir = PostgreSQL::Test::Utils::tempdir();
my ($out, $err);
my $done = IPC::Run::run(
    [   'make', '-s', '-C', $dir, '-f', "$ENV{BILLING_ROOT}/Makefile",
        "PG_CONFIG=$ENV{PG_CONFIG}", 'CC=' . ($clang || 'clang'), 'with_llvm=no', 'all'
    ],
    '>', \$out, '2>', \$err);
ok($done, 'clang compiles');
is($err, '', 'clang has nothing to say');

chomp(my $pkglibdir = `$ENV{PG_CONFIG} --pkglibdir`);
for my $library ("$dir/billing.so", "$pkglibdir/billing.so")
{
    my @symbols = map { (split)[2] } `nm -D --defined-only $library`;
    my %exported = map { $_ => 1 } @symbols;
    ok($exported{Pg_magic_func} && $exported{_PG_init}, 'the entry points are exported');
    is( join(' ', grep { !/^(?:pg_finfo_)?billing_\w+$|^_PG_init$|^Pg_magic_func$/ } @symbols),
        '', 'no internal symbol is');
}

# A build elsewhere makes its install scripts, whatever an earlier `make` has left in the checkout.
my $checkout = PostgreSQL::Test::Utils::tempdir();
my $elsewhere = PostgreSQL::Test::Utils::tempdir();
system_or_bail('cp', '-R', map({ "$ENV{BILLING_ROOT}/$_" } qw(Makefile META.json billing.control src sql test)), $checkout);
my @scripts = map { s{.*/}{sql/}r } glob "$dir/sql/billing--*.sql";
cmp_ok(scalar @scripts, '>=', 2, 'there are install scripts');
append_to_file("$checkout/$_", "SELECT 'of an earlier build';\n") for @scripts;
system_or_bail('make', '-s', '-C', $elsewhere, '-f', "$checkout/Makefile", "PG_CONFIG=$ENV{PG_CONFIG}", @scripts);
is(slurp_file("$elsewhere/$_"), slurp_file("$dir/$_"), "$_ is made anew") for @scripts;

done_testing();
