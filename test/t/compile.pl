# The sources compile without a warning under clang too, with the Makefile's flags (the build
# itself has shown it for gcc), and only what the server looks up leaves the library.

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

done_testing();
