# Every function, table, column, view and type of the schema against rights_matrix.txt, for PUBLIC
# and each level, also when a level was taken back. What is new and not listed fails.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %role_of = (a => 'shop', m => 'office', r => 'report');
my %level_of = (a => 'application', m => 'administrator', r => 'reporting');

# Returns { object => "levels" }, an object being a kind and a name, for a column table.column.
sub read_expected
{
    my ($file) = @_;
    my (%expected, $relation, $levels);

    foreach my $line (split /\n/, slurp_file($file))
    {
        next if $line =~ /^\s*(#|$)/;
        if ($line =~ /^(schema|type|function) (\S.*):((?: [amr])*)$/)
        {
            note_expected(\%expected, "$1 $2", $3);
            $relation = undef;
        }
        elsif ($line =~ /^(table|view) (\S+):((?: [amr])*)$/)
        {
            ($relation, $levels) = ($2, $3);
            note_expected(\%expected, "$1 $relation", '');
            note_expected(\%expected, "row type $relation", '');
        }
        elsif ($line =~ /^  \S/ && defined $relation)
        {
            note_expected(\%expected, "column $relation." . s/^-//r, /^-/ ? '' : $levels)
              foreach split ' ', $line;
        }
        else { die "$file: cannot read \"$line\"" }
    }
    return \%expected;
}

sub note_expected
{
    my ($expected, $object, $levels) = @_;

    die "\"$object\" is listed twice" if exists $expected->{$object};
    $levels =~ s/^ //;
    $expected->{$object} = $levels;
    return;
}

# What the roles named by their letters may do, in the same form. A privilege that no level should
# have is shown by its name, and so is one that could be handed on.
sub read_actual
{
    my ($node) = @_;
    my %actual;

    foreach (split /\n/, $node->safe_psql('postgres', <<'SQL'))
SET search_path = pg_catalog;
WITH who (letter, role) AS (VALUES
    ('a', 'shop'), ('m', 'office'), ('r', 'report'), ('PUBLIC', 'nobody')
), held (object, letter, privilege) AS (
    SELECT 'schema ' || n.nspname, w.letter, p
      FROM pg_namespace n, who w, unnest('{USAGE,CREATE,USAGE WITH GRANT OPTION}'::text[]) p
     WHERE n.nspname = 'billing' AND has_schema_privilege(w.role, n.oid, p)
    UNION ALL
    SELECT 'function ' || regexp_replace(f.oid::regprocedure::text, '^billing\.', ''), w.letter, p
      FROM pg_proc f, who w, unnest('{EXECUTE,EXECUTE WITH GRANT OPTION}'::text[]) p
     WHERE f.pronamespace = 'billing'::regnamespace AND has_function_privilege(w.role, f.oid, p)
    UNION ALL
    SELECT CASE WHEN t.typrelid <> 0 AND c.relkind <> 'c' THEN 'row type ' ELSE 'type ' END || t.typname, w.letter, p
      FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid, who w,
           unnest('{USAGE,USAGE WITH GRANT OPTION}'::text[]) p
     WHERE t.typnamespace = 'billing'::regnamespace AND t.typcategory <> 'A' AND has_type_privilege(w.role, t.oid, p)
    UNION ALL
    SELECT CASE c.relkind WHEN 'r' THEN 'table ' WHEN 'v' THEN 'view ' ELSE c.relkind::text || ' ' END || c.relname, w.letter, p
      FROM pg_class c, who w, unnest('{INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER,SELECT WITH GRANT OPTION}'::text[]) p
     WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind NOT IN ('i', 'I', 'c')
       AND has_table_privilege(w.role, c.oid, p)
    UNION ALL
    SELECT 'column ' || c.relname || '.' || a.attname, w.letter, p
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid, who w,
           unnest('{SELECT,INSERT,UPDATE,REFERENCES,SELECT WITH GRANT OPTION}'::text[]) p
     WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind NOT IN ('i', 'I', 'c')
       AND a.attnum > 0 AND NOT a.attisdropped AND has_column_privilege(w.role, c.oid, a.attnum, p)
), object (object) AS (
    SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = 'billing'
    UNION ALL
    SELECT 'function ' || regexp_replace(oid::regprocedure::text, '^billing\.', '')
      FROM pg_proc WHERE pronamespace = 'billing'::regnamespace
    UNION ALL
    SELECT CASE WHEN t.typrelid <> 0 AND c.relkind <> 'c' THEN 'row type ' ELSE 'type ' END || t.typname
      FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
     WHERE t.typnamespace = 'billing'::regnamespace AND t.typcategory <> 'A'
    UNION ALL
    SELECT CASE c.relkind WHEN 'r' THEN 'table ' WHEN 'v' THEN 'view ' ELSE c.relkind::text || ' ' END || c.relname
      FROM pg_class c WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind NOT IN ('i', 'I', 'c')
    UNION ALL
    SELECT 'column ' || c.relname || '.' || a.attname
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind NOT IN ('i', 'I', 'c')
       AND a.attnum > 0 AND NOT a.attisdropped
)
SELECT o.object || '|' || coalesce(string_agg(
           CASE WHEN h.privilege IN ('SELECT', 'EXECUTE', 'USAGE') THEN h.letter
                ELSE h.letter || '+' || h.privilege END, ' ' ORDER BY h.letter, h.privilege), '')
  FROM object o LEFT JOIN held h USING (object)
 GROUP BY o.object
SQL
    {
        my ($object, $levels) = /^(.*)\|([^|]*)$/ or die "cannot read \"$_\"";
        $actual{$object} = $levels;
    }
    return \%actual;
}

sub compare
{
    my ($name, $actual, $expected) = @_;
    my @differences;

    foreach my $object (sort keys %{ { %$actual, %$expected } })
    {
        my ($is, $should) = ($actual->{$object}, $expected->{$object});

        if (!defined $should) { push @differences, "$object is not listed; it has \"$is\"" }
        elsif (!defined $is)  { push @differences, "$object is listed, but not there" }
        elsif ($is ne $should) { push @differences, "$object: \"$is\" instead of \"$should\"" }
    }
    is(scalar @differences, 0, $name);
    diag $_ foreach @differences;
    return;
}

# As if only these levels had been given.
sub only
{
    my ($expected, $letters) = @_;

    return { map { $_ => join(' ', grep { index($letters, $_) >= 0 } split ' ', $expected->{$_}) }
          keys %$expected };
}

my $node = PostgreSQL::Test::Cluster->new('rights_matrix');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION billing CASCADE; CREATE ROLE nobody; '
      . join('; ', map { "CREATE ROLE $_" } values %role_of));

my $expected = read_expected("$ENV{BILLING_ROOT}/test/t/rights_matrix.txt");
cmp_ok(scalar(grep { /^column/ } keys %$expected), '>', 150, scalar(keys %$expected) . ' objects are listed');

compare('nothing before a level is given', read_actual($node), only($expected, ''));
$node->safe_psql('postgres', "SELECT billing.grant_usage_to('$role_of{$_}', '$level_of{$_}')")
  foreach sort keys %role_of;
compare('PUBLIC and the three levels', read_actual($node), $expected);
$node->safe_psql('postgres', "SELECT billing.grant_usage_to('$role_of{$_}', '$level_of{$_}')")
  foreach sort keys %role_of;
compare('given twice', read_actual($node), $expected);

# Two levels of one role: what the other gives stays.
$node->safe_psql('postgres', q{SELECT billing.grant_usage_to('report', 'application');
    SELECT billing.revoke_usage_from('report', 'application')});
compare('one of two levels taken back', read_actual($node), $expected);

$node->safe_psql('postgres', "SELECT billing.revoke_usage_from('office', 'reporting')");
compare('a level that the role does not have, taken back', read_actual($node), $expected);
$node->safe_psql('postgres', "SELECT billing.revoke_usage_from('office', 'administrator')");
compare('administrator taken back', read_actual($node), only($expected, 'ar'));
$node->safe_psql('postgres', "SELECT billing.revoke_usage_from('$role_of{$_}', '$level_of{$_}')")
  foreach sort keys %role_of;
compare('all taken back', read_actual($node), only($expected, ''));
$node->safe_psql('postgres', 'DROP ROLE shop, office, report, nobody');
pass('roles without a level can be dropped');

$node->stop;
done_testing();
