# The checks of pgspot (https://github.com/timescale/pgspot), which is not packaged: what an
# extension's script must not do, since a superuser runs it among objects that others may have made.
# One comes first: within a safe search path no name and no operator can be anybody else's.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

my $safe_path = qr/^SET LOCAL search_path = pg_catalog, billing, pg_temp$/;

# Statements, without comments, and with every string constant emptied.
sub statements
{
    my ($script) = @_;

    $script =~ s/^\\.*$//mg;
    $script =~ s{('(?:[^']|'')*')|(\$(\w*)\$.*?\$\3\$)|(--[^\n]*)|(/\*.*?\*/)}
        {defined $1 || defined $2 ? "''" : ' '}gesx;
    return grep { /\S/ } map { s/\s+/ /gr =~ s/^ | $//gr } split /;/, $script;
}

# Code of pgspot => what it must not look like.
my %forbidden = (
    'PS002, PS007, PS015' => qr/^CREATE OR REPLACE/i,
    'PS003, PS004' => qr/\bSECURITY DEFINER\b/i,
    'PS005' => qr/^CREATE (?:FUNCTION|PROCEDURE)\b(?!.*\bLANGUAGE c\b)/i,
    'PS006' => qr/^CREATE (?:OR REPLACE )?TRANSFORM\b/i,
    'PS010 to PS014' => qr/\bIF NOT EXISTS\b/i,
    'PS008, PS017' => qr/^(?:CREATE|ALTER|DROP|COMMENT\ ON)\ (?:UNLOGGED\ )?
        (?:TABLE|VIEW|SEQUENCE|FUNCTION|AGGREGATE|TYPE|DOMAIN|COLUMN|OPERATOR(?:\ CLASS|\ FAMILY)?)[ ]
        (?!billing\.|CLASS\ billing\.|FAMILY\ billing\.)/ix,
    'PS017, in an index or trigger' => qr/^CREATE (?:UNIQUE )?(?:INDEX|TRIGGER)\b(?!.* ON billing\.)/i,
    'the path changed' => qr/^(?!SET LOCAL search_path = pg_catalog, billing, pg_temp$)(?:RE)?SET\b|\bset_config\b/i,
    'code run by the script' => qr/^DO\b/i,
    'a name within quotes' => qr/\@extschema\@/,
    'privileges for everybody' => qr/^(?:GRANT|ALTER DEFAULT PRIVILEGES)\b/i,
);

sub findings
{
    my ($script) = @_;
    my @statements = statements($script);
    my @found;

    push @found, 'no safe search path comes first' unless @statements && $statements[0] =~ $safe_path;
    foreach my $statement (@statements)
    {
        push @found, map { "$_: $statement" } grep { $statement =~ $forbidden{$_} } sort keys %forbidden;
    }
    push @found, 'PS018: a search path in one pair of quotes' if $script =~ /search_path\s*(?:=|TO)\s*'[^']*,/i;
    return @found;
}

# The checks find what they are for.
my $start = "SET LOCAL search_path = pg_catalog, billing, pg_temp;\n";
my %bad = (
    'CREATE FUNCTION billing.f() RETURNS int LANGUAGE c AS \'x\'' => 'no safe search path',
    "$start CREATE OR REPLACE FUNCTION billing.f() RETURNS int LANGUAGE c AS 'x'" => 'PS002',
    "$start CREATE FUNCTION billing.f() RETURNS int LANGUAGE c SECURITY DEFINER AS 'x'" => 'PS003',
    "$start CREATE FUNCTION billing.f() RETURNS int LANGUAGE sql AS 'SELECT 1'" => 'PS005',
    "$start CREATE FUNCTION billing.f() RETURNS int LANGUAGE plpgsql AS \$\$BEGIN END\$\$" => 'PS005',
    "$start CREATE TRANSFORM FOR int LANGUAGE c (FROM SQL WITH FUNCTION f(internal))" => 'PS006',
    "$start CREATE AGGREGATE billing.a (int) (SFUNC = f, STYPE = int); CREATE OR REPLACE AGGREGATE billing.a (int) (SFUNC = f, STYPE = int)" => 'PS002, PS007',
    "$start ALTER SEQUENCE s RESTART" => 'PS008',
    "$start CREATE SCHEMA IF NOT EXISTS billing" => 'PS010',
    "$start CREATE SEQUENCE IF NOT EXISTS billing.s" => 'PS010',
    "$start CREATE TABLE IF NOT EXISTS billing.t (x int)" => 'PS010',
    "$start CREATE INDEX IF NOT EXISTS i ON billing.t (x)" => 'PS010',
    "$start CREATE OR REPLACE VIEW billing.v AS SELECT 1" => 'PS002, PS007, PS015',
    "$start CREATE VIEW v AS SELECT 1" => 'PS008, PS017',
    "$start CREATE INDEX i ON t (x)" => 'PS017',
    "$start SET search_path = billing" => 'the path changed',
    "$start SET LOCAL search_path = 'pg_catalog, pg_temp'" => 'PS018',
    "$start SELECT pg_catalog.set_config('search_path', 'public', true)" => 'the path changed',
    "$start DO 'BEGIN END'" => 'code run',
    "$start GRANT EXECUTE ON FUNCTION billing.f TO PUBLIC" => 'privileges for everybody');
foreach my $script (sort keys %bad)
{
    ok((grep { index($_, $bad{$script}) == 0 || /\Q$bad{$script}\E/ } findings($script)), "found: $script");
}
is(scalar findings("$start-- CREATE OR REPLACE\nCOMMENT ON TABLE billing.t IS 'IF NOT EXISTS; DO';"), 0,
    'nothing is found in comments and strings');

my $dir = `$ENV{PG_CONFIG} --sharedir`;
chomp $dir;
my @scripts = glob "$dir/extension/billing--*.sql";
cmp_ok(scalar @scripts, '>=', 1, scalar(@scripts) . ' scripts are installed');
foreach my $script (@scripts)
{
    my @found = findings(slurp_file($script));
    is(scalar @found, 0, ($script =~ s{.*/}{}r) . ': nothing is found in ' . statements(slurp_file($script)) . ' statements');
    diag $_ foreach @found;
}

done_testing();
