# Each safeguard of the engine is removed by a patch of test/torture/mutations, and the torture test must
# fail. A patch's first line says what it removes:
#
#   abort_gives_back               what was rolled back is there again
#   build_waits_for_landing        a build waits until every take has landed
#   change_locks_exclusively       who takes tokens back keeps others from spending
#   change_retires                 who changes the account has its entry built anew
#   clock_is_read                  an entry ends when a grant of it does
#   duplicate_key_gives_way        of several with one key all but one give way
#   holds_lapse                    who runs short looks for holds that are over
#   in_progress_counts_as_taken    what others are taking is taken, to a build
#   inflight_is_not_evicted        an entry with takes that have not landed stays
#   own_additions_are_own          who added tokens does not build: nobody else may be given them
#   settled_in_own_generation      a take is settled in the generation in which it was made
#   undecided_is_waited_for        a request that depends on others waits for them
#   watermark                      a checkpoint stops before the first entry in progress
#
# Unpatched it must pass, built and run in the same way, and so it must with each control, which only makes a
# window wide that a mutation needs. BILLING_TEST_MUTATIONS names some of them.
#
# Minutes: 6

use strict;
use warnings;

use File::Basename;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = $ENV{BILLING_ROOT};
my $dir = PostgreSQL::Test::Utils::tempdir();
my @mutations = $ENV{BILLING_TEST_MUTATIONS} ? split ' ', $ENV{BILLING_TEST_MUTATIONS}
  : ('', map { basename($_, '.patch') } sort glob "$root/test/torture/mutations/*.patch");

# Warnings would keep some of the patched sources from being compiled.
my $flags = 'PG_CFLAGS=-MMD -MP';

# Only what the patch touches is compiled: objects and sources keep their times.
system_or_bail('sh', '-c', 'mkdir "$1/src" && cp -a "$0"/Makefile "$0"/META.json "$0"/billing.control "$0"/sql "$0"/test "$0"/src "$1/src/" '
      . '&& make -s -C "$1" -f "$1/src/Makefile" PG_CONFIG="$2" with_llvm=no "$3" billing.so', $root, $dir, $ENV{PG_CONFIG}, $flags);

sub build
{
    my ($mutation) = @_;
    my $patch = "$root/test/torture/mutations/$mutation.patch";
    system_or_bail('patch', '-s', '-p1', '-d', "$dir/src", '-i', $patch) if $mutation;
    my $log = '';
    my $built = IPC::Run::run([ 'make', '-s', '-C', $dir, '-f', "$dir/src/Makefile", "PG_CONFIG=$ENV{PG_CONFIG}", 'with_llvm=no',
            $flags, 'billing.so' ], '>&', \$log);
    system_or_bail('cp', "$dir/billing.so", "$dir/mutant.so") if $built;
    system_or_bail('patch', '-s', '-R', '-p1', '-d', "$dir/src", '-i', $patch) if $mutation;
    ok($built, ($mutation || 'unpatched') . ' is built') or diag $log;
    return $built;
}

# What the torture test says of it; it passes, or what fails first.
sub verdict
{
    my ($name, $seed, $seconds) = @_;
    my $run = "$dir/run.$name.$seed";
    mkdir $run;
    my $out = '';
    local @ENV{qw(BILLING_TEST_LIBRARY BILLING_TEST_SEED BILLING_TEST_SECONDS TESTDIR TESTDATADIR TESTLOGDIR)} =
      ("$dir/mutant", $seed, $seconds, $run, "$run/tmp_check", "$run/tmp_check/log");
    my $passed = IPC::Run::run([ $^X, "$root/test/torture/engine_torture.pl" ], '>&', \$out);
    my $log = slurp_file("$run/tmp_check/log/regress_log_engine_torture");
    system('rm', '-rf', $run);
    return 'it passes' if $passed;
    return "it fails: $1" if $log =~ /not ok \d+ - (.*)/;
    return $log =~ /connection to server .* failed/ ? 'it fails: the server is gone' : "it dies: $log";
}

for my $mutation (@mutations)
{
    build($mutation) or next;
    if ($mutation eq '' || $mutation =~ /^control/)
    {
        is(verdict($mutation || 'none', 1, 15), 'it passes', ($mutation || 'unpatched') . ': it passes');
        next;
    }
    my ($seed, $verdict) = (0, 'it passes');
    $verdict = verdict($mutation, $seed, 5 * $seed) while $verdict eq 'it passes' && ++$seed <= 6;
    like($verdict, qr/^it fails: /, "without $mutation");
    diag "$mutation, round $seed: $verdict";
}
done_testing();
