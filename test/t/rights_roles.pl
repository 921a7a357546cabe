# Roles that have gone, and levels that are remembered: nobody gets anything by either.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('rights_roles');
$node->init;
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION billing CASCADE;
CREATE ROLE gone;
CREATE ROLE "The Office" LOGIN;
CREATE ROLE shop LOGIN;
SELECT billing.grant_usage_to('gone', 'administrator'), billing.grant_usage_to('The Office', 'administrator');
DROP OWNED BY gone;
DROP ROLE gone;
SQL

sub sql { return $node->safe_psql('postgres', @_) }

sub acl { return sql(<<'SQL') }
SELECT p.oid::regprocedure::text, a.grantee::regrole::text FROM pg_proc p, aclexplode(proacl) a
 WHERE pronamespace = 'billing'::regnamespace AND a.grantee <> p.proowner
UNION ALL
SELECT c.oid::regclass::text, a.grantee::regrole::text FROM pg_class c, aclexplode(relacl) a
 WHERE relnamespace = 'billing'::regnamespace AND a.grantee <> c.relowner
UNION ALL
SELECT attrelid::regclass || '.' || attname, a.grantee::regrole::text FROM pg_attribute, aclexplode(attacl) a WHERE attrelid::regclass::text LIKE 'billing.%'
 ORDER BY 1, 2
SQL

# In a new cluster the number is somebody's.
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'a dump is made');
my ($rows) = slurp_file($dump) =~ /^COPY billing\.usage_level .*?;\n(.*?)^\\\.$/ms;
is($rows, qq{"The Office"\tadministrator\n}, 'with the levels of roles that there are');

# The step after an update, as the documents say it.
my ($step) = slurp_file("$ENV{BILLING_ROOT}/CHANGELOG.md") =~ /^`(SELECT billing\.grant_usage_to.*)`\.$/m;
ok($step, "the documents say: $step");
sql($step);
is(sql('SELECT role, level FROM billing.usage_level'), '"The Office"|administrator', 'what a dropped role had is forgotten');
like(slurp_file("$ENV{BILLING_ROOT}/doc/reliability.md"), qr/\Q$step\E/, 'everywhere the same');

# A level that is taken back grants nothing, whatever is remembered.
sql(q{SELECT billing.grant_usage_to('shop', l) FROM unnest('{administrator,reporting}'::text[]) l; DROP OWNED BY shop});
my $before = acl();
unlike($before, qr/shop/, 'privileges are taken without a word to billing');
sql(q{SELECT billing.revoke_usage_from('shop', 'reporting')}, extra_params => [ '-U', 'The Office' ]);
is(acl(), $before, 'an administrator who takes back a level gives nothing');

# What another level gives stays, and as the owner has refined it.
sql(q{SELECT billing.grant_usage_to('shop', 'application')});
my $application = acl();
sql(q{SELECT billing.grant_usage_to('shop', l) FROM unnest('{administrator,reporting}'::text[]) l});
cmp_ok(length acl(), '>', length $application, 'more levels, more rights');
sql(q{SELECT billing.revoke_usage_from('shop', l) FROM unnest('{reporting,administrator}'::text[]) l});
is(acl(), $application, 'taken back: what is left is what the other level gives');
sql(q{SELECT billing.grant_usage_to('shop', 'reporting'); REVOKE EXECUTE ON FUNCTION billing.visible FROM shop});
sql(q{SELECT billing.revoke_usage_from('shop', 'reporting')});
is(sql(q{SELECT has_function_privilege('shop', 'billing.visible(uuid)', 'EXECUTE')}), 'f', 'not what the owner has taken by hand');
is(sql(q{SELECT has_function_privilege('shop', 'billing.check_access(uuid,text,uuid)', 'EXECUTE'), has_schema_privilege('shop', 'billing', 'USAGE')}),
    't|t', 'the rest is');
sql(q{SELECT billing.revoke_usage_from('shop', 'application')});
unlike(acl(), qr/shop/, 'the last one taken back: nothing is left');
is(sql(q{SELECT has_schema_privilege('shop', 'billing', 'USAGE')}), 'f', 'not even the schema');

$node->stop;
done_testing();
