# Runs `make installcheck` against a cluster and reports each of its tests as one of ours.

package Billing::Installcheck;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(installcheck);

# installcheck(name of the cluster, lines for postgresql.conf, order, in_tree): order sorts the names,
# as no test may depend on another one; in_tree: started in a copy of the checkout, where PGXS users
# start it, else in an empty directory.
sub installcheck
{
    my ($name, $conf, $order, $in_tree) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    $node->init;
    $node->append_conf('postgresql.conf', $conf);
    $node->start;

    # Among the logs, so that new output can be taken over as expected.
    my $dir = "$ENV{BILLING_LOG}/$name";
    mkdir $dir or die "$dir: $!";
    my $makefile = "$ENV{BILLING_ROOT}/Makefile";
    if ($in_tree)
    {
        system_or_bail('cp', '-R', map({ "$ENV{BILLING_ROOT}/$_" } qw(Makefile META.json billing.control src sql test expected)), $dir);
        $makefile = 'Makefile';
    }
    my %suites = (
        REGRESS => [ suite('BILLING_REGRESS', 'test/sql/*.sql') ],
        ISOLATION => [ suite('BILLING_ISOLATION', 'test/isolation/specs/*.spec') ]);
    for my $suite (qw(REGRESS ISOLATION))
    {
        my @tests = $order->(@{ $suites{$suite} }) or next;
        my ($other) = grep { $_ ne $suite } keys %suites;
        run_suite($node, $dir, $makefile, \@tests, "$suite=@tests", "$other=");
    }
    $node->stop;
    return $node;
}

sub suite
{
    my ($variable, $pattern) = @_;
    return split ' ', $ENV{$variable} if defined $ENV{$variable};
    return map { m{([^/]+)\.\w+$} } sort glob "$ENV{BILLING_ROOT}/$pattern";
}

sub run_suite
{
    my ($node, $dir, $makefile, $tests, @variables) = @_;
    local $ENV{PGHOST} = $node->host;
    local $ENV{PGPORT} = $node->port;
    my @command = (
        'make', '-C', $dir, '-f', $makefile, "PG_CONFIG=$ENV{PG_CONFIG}",
        'installcheck', @variables);
    open my $make, '-|', "@{[ map { quotemeta } @command ]} 2>&1" or die "make: $!";
    my @output = <$make>;
    close $make;
    my $status = $?;

    # PostgreSQL 15 prints "test name ... ok", 16 "ok 1 - name".
    my %passed;
    for (@output)
    {
        $passed{$1} = 1 if /^(?:test)?\s+(\S+)\s+\.\.\. ok\b/ || /^ok \d+\s+[-+] (\S+)/;
    }
    ok($passed{$_}, $_) for @$tests;
    is($status, 0, "installcheck $variables[0]");
    return unless $status;
    diag @output;
    for my $diffs (grep { -f } "$dir/regression.diffs", "$dir/build/installcheck/regression.diffs", "$dir/output_iso/regression.diffs")
    {
        open my $fh, '<', $diffs or die "$diffs: $!";
        diag <$fh>;
    }
    return;
}

1;
