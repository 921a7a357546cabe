# Whatever version billing was installed in, after ALTER EXTENSION UPDATE every object is as in a new
# installation, and every row as it was. The library goes with the scripts of every version.

use strict;
use warnings;

use Billing::Catalog;
use Billing::EveryKind;
use Billing::Moves;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($newest) = slurp_file("$ENV{BILLING_ROOT}/META.json") =~ /"version": "(\d+\.\d+)/;
my $node = PostgreSQL::Test::Cluster->new('update');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\njit = off\n");
$node->start;
create_roles($node);

sub install
{
    my ($database, $version) = @_;
    $node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0");
    $node->safe_psql($database, "SET client_min_messages = warning; CREATE EXTENSION billing VERSION '$version' CASCADE");
    return;
}

install('fresh', $newest);
my $fresh = catalog($node, 'fresh');
cmp_ok(scalar(split /\n/, $fresh), '>', 1000, 'the catalog has ' . scalar(split /\n/, $fresh) . ' lines to compare');

my @versions = split /\n/, $node->safe_psql('fresh',
    "SELECT version FROM pg_available_extension_versions WHERE name = 'billing' AND version <> '$newest'");
ok(scalar @versions, "there are earlier versions: @versions");
foreach my $version (@versions)
{
    my $database = 'from_' . $version =~ tr/./_/r;
    install($database, $version);
    # the library is the new one: all works as it did
    every_kind($node, $database);
    my $contents = contents($node, $database);
    my $answers = answers($node, $database);
    unlike($answers, qr/^problem/m, "$version: works with this library");

    my ($path) = $node->safe_psql($database, "SELECT path FROM pg_extension_update_paths('billing') WHERE source = '$version' AND target = '$newest'");
    like($path, qr/^\Q$version\E--/, "$version: there is a way, $path");
    $node->safe_psql($database, 'ALTER EXTENSION billing UPDATE');
    is(contents($node, $database), $contents, "$version: every row is as it was");
    is(answers($node, $database), $answers, "$version: every answer, too");
    # What roles were granted is no part of an installation; taken back before the comparison.
    $node->safe_psql($database, 'SELECT billing.grant_usage_to(rolname, level) FROM billing.usage_level JOIN pg_roles r ON r.oid = role');
    is($node->safe_psql($database, q{SELECT bool_and(has_table_privilege('every_kind_report', 'billing.open_hold', 'SELECT'))}), 't', "$version: roles get what is new");
    $node->safe_psql($database, q{SELECT billing.revoke_usage_from(rolname, level) FROM billing.usage_level JOIN pg_roles r ON r.oid = role});
    same_catalog($version, catalog($node, $database), $fresh);
    $node->safe_psql($database, q{SELECT billing.grant_usage_to('every_kind_app', 'application')});
    goes_on("$version, updated", $node, $database);
}

$node->stop;
done_testing();
