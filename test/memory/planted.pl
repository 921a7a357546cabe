# Under `make sanitize`: errors planted in a library of the same kind of build are
# reported, so that no report means something; and the extension is built as that one is.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# The reports of the node's processes go to a directory that the run does not look at.
my $dir = PostgreSQL::Test::Utils::tempdir();
my $kind = $ENV{BILLING_MEMORY} // plan(skip_all => 'make sanitize runs it');

# AddressSanitizer writes to a file, UndefinedBehaviorSanitizer to the server's log: its options are in
# the environment, over which the server has written its title by then.
my %planted = (
    beyond_global => qr/global-buffer-overflow|index 7 out of bounds/,
    beyond_stack => qr/stack-buffer-overflow|insufficient space for an object/,
    after_free => qr/heap-use-after-free/,
    overflow => qr/signed integer overflow/,
    shift => qr/shift exponent 35 is too large/,
);

chomp(my $include = `$ENV{PG_CONFIG} --includedir-server`);
my @flags = split ' ', $ENV{BILLING_COPT} // '';
system_or_bail('gcc', '-g', '-O1', '-w', '-shared', '-fPIC', @flags, "-I$include", '-o', "$dir/planted.so",
    "$ENV{BILLING_ROOT}/test/memory/planted.c");

my $node = PostgreSQL::Test::Cluster->new('planted');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\nrestart_after_crash = on");
{
    local $ENV{BILLING_LOG} = $dir;
    $node->start;
}

sub reports
{
    return join '', map { slurp_file($_) } glob("$dir/$kind.*"), $node->logfile;
}

# A sanitizer ends the process, and the server takes that for a crash.
sub wait_for_restart
{
    my ($crashes) = @_;
    for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
    {
        my $seen = () = slurp_file($node->logfile) =~ /all server processes terminated; reinitializing/g;
        return $node->poll_query_until('postgres', 'SELECT true') if $seen >= $crashes;
        select undef, undef, undef, 0.1;
    }
    die 'the server has not crashed';
}

my $crashes = 0;
for my $error (sort keys %planted)
{
    unlike(reports(), $planted{$error}, "$error: not reported before");
    $node->psql('postgres', qq{
        CREATE FUNCTION planted_$error(int) RETURNS int LANGUAGE c AS '$dir/planted.so';
        SELECT planted_$error(7)});
    wait_for_restart(++$crashes);
    my $report = reports();
    like($report, $planted{$error}, "$error: reported");
}

chomp(my $pkglibdir = `$ENV{PG_CONFIG} --pkglibdir`);
my $symbols = `nm -D --undefined-only $pkglibdir/billing.so`;
like($symbols, qr/__asan_report_load/, 'the extension is built with AddressSanitizer');
like($symbols, qr/__ubsan_handle_add_overflow/, 'and with UndefinedBehaviorSanitizer');
done_testing();
