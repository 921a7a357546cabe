# Whatever version billing was installed in, after ALTER EXTENSION UPDATE every object is as in a new
# installation, and every row as it was. The library goes with the scripts of every version.

use strict;
use warnings;

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

# Every object of the extension and what hangs on it, a line each, without numbers that differ by chance.
my $catalog = <<'SQL';
SET search_path = pg_catalog;
WITH member AS (
    SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'billing'),
rel AS (SELECT c.* FROM pg_class c WHERE c.relnamespace = 'billing'::regnamespace)
SELECT 'member', pg_describe_object(classid, objid, 0), obj_description(objid, classid::regclass::name) FROM member
UNION ALL SELECT 'relation', oid::regclass::text, concat_ws(' ', relkind, relpersistence, reloptions, relacl::text, relreplident, relrowsecurity, relowner::regrole) FROM rel
UNION ALL SELECT 'column', attrelid::regclass || '.' || attnum, concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, attstorage, attcollation::regcollation, attacl,
    (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum), col_description(attrelid, attnum))
    FROM pg_attribute JOIN rel ON rel.oid = attrelid WHERE attnum > 0
UNION ALL SELECT 'constraint', conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid) || convalidated FROM pg_constraint WHERE connamespace = 'billing'::regnamespace
UNION ALL SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index JOIN rel ON rel.oid = indrelid
UNION ALL SELECT 'trigger', tgrelid::regclass || ' ' || CASE WHEN tgisinternal THEN tgfoid::regproc || ' ' || tgtype || (SELECT conname FROM pg_constraint WHERE oid = tgconstraint) ELSE tgname END,
    concat_ws(' ', tgenabled, tgdeferrable, tginitdeferred, CASE WHEN NOT tgisinternal THEN pg_get_triggerdef(pg_trigger.oid) END) FROM pg_trigger JOIN rel ON rel.oid = tgrelid
UNION ALL SELECT 'view', oid::regclass::text, pg_get_viewdef(oid) FROM rel WHERE relkind = 'v'
UNION ALL SELECT 'function', oid::regprocedure::text, concat_ws(' ', prokind, prosrc, probin, provolatile, proparallel, proisstrict, prosecdef, proleakproof, procost, prorows, proacl, proconfig,
    pg_get_function_arguments(oid), pg_get_function_result(oid)) FROM pg_proc WHERE pronamespace = 'billing'::regnamespace
UNION ALL SELECT 'type', oid::regtype::text, concat_ws(' ', typtype, typlen, typbyval, typalign, typstorage, typacl, typinput, typoutput, typreceive, typsend) FROM pg_type WHERE typnamespace = 'billing'::regnamespace
UNION ALL SELECT 'operator', oid::regoperator::text, concat_ws(' ', oprcode, oprrest, oprjoin, oprcom::regoperator, oprnegate::regoperator, oprcanmerge, oprcanhash) FROM pg_operator WHERE oprnamespace = 'billing'::regnamespace
UNION ALL SELECT 'cast', format('%s %s', castsource::regtype, casttarget::regtype), concat_ws(' ', castfunc::regprocedure, castcontext, castmethod) FROM pg_cast JOIN member ON classid = 'pg_cast'::regclass AND objid = oid
UNION ALL SELECT 'operator class', opcname, concat_ws(' ', opcmethod, opcintype::regtype, opcdefault) FROM pg_opclass WHERE opcnamespace = 'billing'::regnamespace
UNION ALL SELECT 'class operator', amopopr::regoperator::text, concat_ws(' ', opfname, amopstrategy) FROM pg_amop JOIN pg_opfamily f ON f.oid = amopfamily WHERE opfnamespace = 'billing'::regnamespace
UNION ALL SELECT 'class function', amproc::regprocedure::text, concat_ws(' ', opfname, amprocnum) FROM pg_amproc JOIN pg_opfamily f ON f.oid = amprocfamily WHERE opfnamespace = 'billing'::regnamespace
UNION ALL SELECT 'initial rights', pg_describe_object(classoid, objoid, objsubid), initprivs::text FROM pg_init_privs JOIN member ON classid = classoid AND objid = objoid
UNION ALL SELECT 'dumped', t.oid::regclass::text, t.condition FROM pg_extension e, unnest(extconfig, extcondition) AS t (oid, condition) WHERE extname = 'billing'
UNION ALL SELECT 'schema', nspname, nspacl::text FROM pg_namespace WHERE nspname = 'billing'
UNION ALL SELECT 'privilege', object || ' ' || name, to_jsonb(p)::text FROM billing.privilege p
UNION ALL SELECT 'version', extversion, extrelocatable::text FROM pg_extension WHERE extname = 'billing'
ORDER BY 1, 2, 3
SQL

install('fresh', $newest);
my $fresh = $node->safe_psql('fresh', $catalog);
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
    $node->safe_psql($database, 'SELECT billing.grant_usage_to(role::name, level) FROM billing.usage_level');
    is($node->safe_psql($database, q{SELECT bool_and(has_table_privilege('every_kind_report', 'billing.open_hold', 'SELECT'))}), 't', "$version: roles get what is new");
    $node->safe_psql($database, q{SELECT billing.revoke_usage_from(role::name, level) FROM billing.usage_level});
    my %here = map { $_ => 1 } split /\n/, $node->safe_psql($database, $catalog);
    my %there = map { $_ => 1 } split /\n/, $fresh;
    is(join("\n", grep { !$there{$_} } sort keys %here), '', "$version: no object is otherwise");
    is(join("\n", grep { !$here{$_} } sort keys %there), '', "$version: no object is missing");
    $node->safe_psql($database, q{SELECT billing.grant_usage_to('every_kind_app', 'application')});
    goes_on("$version, updated", $node, $database);
}

$node->stop;
done_testing();
