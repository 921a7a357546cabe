# What CREATE EXTENSION asks for and leaves behind.

use strict;
use warnings;

use Billing::Session;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = $ENV{BILLING_ROOT};
my ($version) = slurp_file("$root/META.json") =~ /"version": "(\d+\.\d+)/;

my $node = PostgreSQL::Test::Cluster->new('install');
$node->init;
$node->start;

sub refused
{
    my ($sql, $message, $name) = @_;
    my ($status, $out, $err) = $node->psql('postgres', $sql);
    isnt($status, 0, "$name: refused");
    like($err, $message, "$name: why");
    return;
}

refused('CREATE EXTENSION billing', qr/required extension "btree_gist" is not installed/,
    'without CASCADE');
$node->safe_psql('postgres', 'CREATE EXTENSION btree_gist; CREATE ROLE creator; '
      . 'GRANT CREATE ON DATABASE postgres TO creator');
refused('CREATE EXTENSION billing SCHEMA public', qr/must be installed in schema "billing"/,
    'into another schema');
refused('SET ROLE creator; CREATE EXTENSION billing', qr/permission denied to create extension/,
    'by an ordinary role');
$node->safe_psql('postgres', 'DROP EXTENSION btree_gist');
refused("LOAD 'billing'; SET billing.no_such_setting = 1",
    qr/invalid configuration parameter name "billing.no_such_setting"/, 'an unknown setting');

my $script = `$ENV{PG_CONFIG} --sharedir`;
chomp $script;
my ($status, $out, $err) =
    $node->psql('postgres', "\\i $script/extension/billing--$version.sql");
like($out, qr/^Use "CREATE EXTENSION billing CASCADE" to load this file\.$/,
    'the script, run by hand, says what to do instead');

my $objects = q{SELECT string_agg(d::text, ' ' ORDER BY d::text) FROM pg_depend d};
my $before = $node->safe_psql('postgres', $objects);
$node->safe_psql('postgres', 'CREATE EXTENSION billing CASCADE');
is($node->safe_psql('postgres', "SELECT extversion FROM pg_extension WHERE extname = 'billing'"),
    $version, 'the version is the one of META.json');
is($node->safe_psql('postgres', q{SELECT has_schema_privilege('creator', 'billing', 'USAGE')}),
    'f', 'nothing is granted to PUBLIC');
$node->safe_psql('postgres', 'DROP EXTENSION billing, btree_gist; DROP SCHEMA IF EXISTS billing');
is($node->safe_psql('postgres', $objects), $before, 'DROP EXTENSION takes everything along');
$node->safe_psql('postgres', 'CREATE EXTENSION billing CASCADE');

# Somebody cancels while the library is being loaded, and a warning on the way looks whether anybody did.
$node->safe_psql('postgres', q{CREATE TABLE priced AS SELECT billing.amount(1, 'USD') AS price});
my $session = Billing::Session->new($node);
$session->query('SET billing.no_such_setting = 1');
like($session->query('SELECT pg_cancel_backend(pg_backend_pid()), concat(price) FROM priced'), qr/WARNING:  42602\nERROR:  57014/, 'the call that loads is cancelled');
is($session->query('SELECT price FROM priced'), '1.00 USD', 'the next call finds the library loaded');

$node->stop;
done_testing();
