# A short form of `make sanitize`: the SQL tests on a server whose extension is built with
# AddressSanitizer and UndefinedBehaviorSanitizer. PostgreSQL's -fwrapv, which defines overflow, is taken
# back: ours is not to rely on it.

use strict;
use warnings;

use Billing::Installcheck;
use PostgreSQL::Test::Utils;
use Test::More;

plan(skip_all => 'under such a tool already') if $ENV{BILLING_MEMORY};

# A server tree of its own.
my $dir = PostgreSQL::Test::Utils::tempdir();
my $root = $ENV{BILLING_ROOT};
chomp(my $flags = slurp_file("$root/test/memory/sanitizer.flags"));
$flags =~ s/ /\\ /g;
chomp(my $bindir = `$ENV{PG_CONFIG} --bindir`);
{
    local $ENV{MAKEFLAGS} = "-- COPT=$flags with_llvm=no";
    system_or_bail("$root/test/tools/stage", $ENV{PG_CONFIG}, $dir);
}
$bindir = "$dir/pg$bindir";
rename "$bindir/postgres", "$bindir/postgres.real" or die $!;
open my $wrapper, '>', "$bindir/postgres" or die $!;
print $wrapper qq(#!/bin/sh\nexec "$root/test/tools/server-sanitize" "$bindir/postgres.real" "\$@"\n);
close $wrapper;
chmod 0755, "$bindir/postgres";
system_or_bail('gcc', '-g', '-shared', '-fPIC', '-Wl,-z,initfirst', '-o', "$ENV{BILLING_RUN}/first.so", "$root/test/memory/first.c");

chomp(my $pkglibdir = `$bindir/pg_config --pkglibdir`);
my $symbols = `nm -D --undefined-only $pkglibdir/billing.so`;
like($symbols, qr/__asan_report_load/, 'the extension is built with AddressSanitizer');
like($symbols, qr/__ubsan_handle_add_overflow/, 'and with UndefinedBehaviorSanitizer');

my $log = "$ENV{BILLING_LOG}/sanitized";
mkdir $log or die "$log: $!";
local $ENV{BILLING_LOG} = $log;
local $ENV{PATH} = "$bindir:$ENV{PATH}";
local $ENV{PG_CONFIG} = "$bindir/pg_config";
local $ENV{BILLING_ISOLATION} = '';
my $node = installcheck('sanitized', "shared_preload_libraries = 'billing'\n", sub { @_ });
is(join('', map { slurp_file($_) } glob("$log/sanitizer.*")), '', 'no report');
is(join("\n", grep { /runtime error: / } split /\n/, slurp_file($node->logfile)), '', 'none in the log');
done_testing();
