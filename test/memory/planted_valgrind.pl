# Under `make valgrind`: errors planted in a library are reported, so that no report means
# something, and only those of the library asked for.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'make valgrind runs it' if ($ENV{BILLING_MEMORY} // '') ne 'valgrind';

my %planted = (
    after_free => qr/Invalid read of size 1\n\s+planted_after_free/,
    unset => qr/depends on uninitialised value\(s\)\n\s+planted_unset/,
);

# The reports of the node's processes go to a directory that the run does not look at.
my $dir = PostgreSQL::Test::Utils::tempdir();
chomp(my $include = `$ENV{PG_CONFIG} --includedir-server`);
system_or_bail('gcc', '-g', '-O1', '-w', '-shared', '-fPIC', "-I$include", '-o', "$dir/planted.so",
    "$ENV{BILLING_ROOT}/test/memory/planted.c");

my $node = PostgreSQL::Test::Cluster->new('planted');
$node->init;
{
    local $ENV{BILLING_LOG} = $dir;
    $node->start;
}

sub reports
{
    my ($library) = @_;
    return scalar `$ENV{BILLING_ROOT}/test/tools/valgrind-report $library $dir/valgrind.*.xml`;
}

for my $error (sort keys %planted)
{
    unlike(reports('planted.so'), $planted{$error}, "$error: not reported before");
    $node->safe_psql('postgres', qq{
        CREATE FUNCTION planted_$error(int) RETURNS int LANGUAGE c AS '$dir/planted.so';
        SELECT planted_$error(7)});
    like(reports('planted.so'), $planted{$error}, "$error: reported");
}
like(reports('billing.so'), qr/ 0 reports with billing\.so in their stack, [1-9]/, 'nothing of the extension');
$node->stop;
done_testing();
