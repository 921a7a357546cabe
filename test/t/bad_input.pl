# Every function of the schema, called with NULL, negative, zero, extreme, over-long, malformed and
# unknown arguments, one at a time and several at once: the answer is the one of bad_input/Cases.pm, an
# error changes no row of any table, a check none at all. A function without a case fails the test.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/bad_input";

use Cases;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{BILLING_SEED} // int(rand(1_000_000));
note "BILLING_SEED=$seed";
srand($seed);

my $node = PostgreSQL::Test::Cluster->new('bad_input');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\njit = off\n");
$node->start;
$node->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
$node->safe_psql('postgres', $Cases::setup);

my %function = Cases::all_functions($node);
cmp_ok(scalar keys %function, '>', 60, 'functions are found');

my @calls;
my @unlisted = grep { !$Cases::functions{$_} } sort keys %function;
is("@unlisted", '', 'every function has a case');
my @gone = grep { !$function{$_} } sort keys %Cases::functions;
is("@gone", '', 'every case has a function');

# call(signature, label, arguments, what is expected, column to show)
sub call
{
    my ($signature, $label, $arguments, $expected, $show) = @_;
    my $function = $function{$signature};
    my $sql = Cases::statement($signature, $function, $arguments, $show);
    push @calls, [ $signature, $label, $sql, $expected, $function->{volatile} ];
    return;
}

for my $signature (sort grep { $function{$_} } keys %Cases::functions)
{
    my $case = Cases::case_of($signature);
    my @types = @{ $function{$signature}{types} };
    my @args = @{ $case->{args} };
    is(scalar @args, scalar @types, "$signature: an answer for every argument") or next;
    my @valid = Cases::valid_arguments($case, $function{$signature});
    my @values = map { [ $valid[$_] ] } 0 .. $#types;
    call($signature, 'valid', \@valid, $case->{valid} // 'ok', $case->{show});
    for my $n (0 .. $#types)
    {
        my $bad = $Cases::bad{ $types[$n] };
        is( join(' ', sort keys %{ $args[$n]{answers} }),
            join(' ', sort keys %{ $bad // {} }),
            "$signature: an answer for every bad value of argument " . ($n + 1));
        for my $kind (sort keys %{ $bad // {} })
        {
            my @arguments = @valid;
            $arguments[$n] = Cases::typed($bad->{$kind}, $types[$n]);
            push @{ $values[$n] }, $arguments[$n];
            call($signature, 'argument ' . ($n + 1) . " $kind", \@arguments, $args[$n]{answers}{$kind} // '', $case->{show});
        }
    }
    next if @types < 2;
    for my $n (1 .. 15)
    {
        call($signature, "several $n", [ map { $_->[ rand @$_ ] } @values ], 'any', $case->{show});
    }
}

my $file = PostgreSQL::Test::Utils::tempdir() . '/calls';
open my $fh, '>', $file or die "$file: $!";
for my $n (0 .. $#calls)
{
    print $fh join("\t", $n, map { s/\\/\\\\/gr } @{ $calls[$n] }), "\n";
}
close $fh;
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE call (n int, signature text, label text, sql text, expected text, is_volatile boolean, answer text, changed boolean);
\\copy call (n, signature, label, sql, expected, is_volatile) FROM '$file'
CREATE FUNCTION state() RETURNS text LANGUAGE plpgsql AS \$\$
DECLARE
    result text;
BEGIN
    EXECUTE (SELECT 'SELECT md5(string_agg(h, '','')) FROM (' || string_agg(format('SELECT md5(coalesce(string_agg(md5(t::text), '''' ORDER BY md5(t::text)), '''')) AS h FROM %s AS t', c.oid::regclass), ' UNION ALL ' ORDER BY c.oid) || ') AS r'
        FROM pg_class AS c WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'r') INTO result;
    RETURN result;
END \$\$;
-- Every call is undone: after an error nothing may be left in any case, after a check it is looked at first.
CREATE PROCEDURE make(c call) LANGUAGE plpgsql AS \$\$
DECLARE
    before text := state();
    result text;
    touched boolean := false;
BEGIN
    BEGIN
        EXECUTE c.sql INTO result;
        touched := NOT c.is_volatile AND state() <> before;
        RAISE EXCEPTION USING ERRCODE = 'ZZ000';
    EXCEPTION WHEN OTHERS THEN
        result := CASE SQLSTATE WHEN 'ZZ000' THEN '=' || coalesce(result, '') ELSE SQLSTATE END;
    END;
    UPDATE call SET answer = result, changed = touched OR state() <> before WHERE n = c.n;
END \$\$;
SQL
my ($status, $out, $err) = $node->psql('postgres',
    'DO $$DECLARE c call; BEGIN FOR c IN SELECT * FROM call ORDER BY n LOOP CALL make(c); END LOOP; END$$');
is($status, 0, 'the server lived through ' . @calls . ' calls') or diag $err;

# Errors as a client meets them, outside any subtransaction: nothing is changed either.
my $before = $node->safe_psql('postgres', 'SELECT state()');
my $refused = $node->safe_psql('postgres', q{SELECT string_agg(sql, E';\n') FROM call WHERE answer ~ '^[0-9A-Z]{5}$' AND length(sql) < 10000});
PostgreSQL::Test::Utils::append_to_file("$file.sql", $refused);
$node->psql('postgres', "\\i $file.sql", on_error_stop => 0);
is($node->safe_psql('postgres', 'SELECT state()'), $before, 'what is refused leaves every row as it was');

my $wrong = <<'SQL';
SELECT label || ': ' || coalesce(left(answer, 100), 'no answer') || CASE WHEN expected <> 'any' THEN ' instead of ' || expected ELSE '' END || CASE WHEN changed THEN ', and rows changed' ELSE '' END || ' by ' || left(sql, 300)
FROM call WHERE signature = '%s' AND (changed OR answer IS NULL OR NOT CASE expected WHEN 'any' THEN answer !~ '^(XX|57|58|53)...$' WHEN 'ok' THEN answer LIKE '=%%' ELSE answer = expected END)
ORDER BY n
SQL
for my $signature (sort grep { $Cases::functions{$_} } keys %function)
{
    is($node->safe_psql('postgres', sprintf($wrong, $signature)), '', $signature);
}
my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC|was terminated by signal|TRAP:/, 'no crash');

$node->stop;
done_testing();
