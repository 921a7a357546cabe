package Billing::Catalog;

# What an installation consists of, to be compared with another one.

use strict;
use warnings;

use Exporter 'import';
use Test::More;

our @EXPORT = qw(catalog same_catalog);

# Every object of the extension and what hangs on it, a line each, without numbers that differ by chance.
my $sql = <<'SQL';
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
UNION ALL SELECT 'view', oid::regclass::text, regexp_replace(pg_get_viewdef(oid), '\s+', ' ', 'g') FROM rel WHERE relkind = 'v'
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

sub catalog
{
    my ($node, $database) = @_;
    return $node->safe_psql($database, $sql);
}

sub same_catalog
{
    my ($name, $here, $there) = @_;
    my %here = map { $_ => 1 } split /\n/, $here;
    my %there = map { $_ => 1 } split /\n/, $there;
    is(join("\n", grep { !$there{$_} } sort keys %here), '', "$name: no object is otherwise");
    is(join("\n", grep { !$here{$_} } sort keys %there), '', "$name: no object is missing");
    return;
}

1;
