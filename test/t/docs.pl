# doc/ says what is there: the reference has every function, view, table, type, setting and error
# code of the installed extension, in the words of the catalog; the other documents name every source
# file and no file that does not exist; the README's example does what it says.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = $ENV{BILLING_ROOT};

my $node = PostgreSQL::Test::Cluster->new('docs');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'");
$node->start;
$node->safe_psql('postgres', q{SET client_min_messages = warning; CREATE EXTENSION billing CASCADE});

# Line breaks and markdown's quoting aside.
sub words
{
    my ($text) = @_;
    $text =~ s/[`\\]//g;
    $text =~ s/\s+/ /g;
    return $text;
}

my $reference = words(slurp_file("$root/doc/billing.md"));

# Rows of one query, a column each.
sub rows
{
    my ($sql) = @_;
    my $out = $node->safe_psql('postgres', "COPY ($sql) TO STDOUT WITH (FORMAT text, NULL '')");
    return map {
        [ map { s/\\n/\n/gr } split /\t/, $_, -1 ]
    } split /\n/, $out;
}

# Fails with what is to be written, ready to be pasted.
sub all_documented
{
    my ($name, @entries) = @_;
    my @missing = grep { index($reference, words($_)) < 0 } @entries;
    cmp_ok(scalar @entries, '>', 0, "$name: there are some");
    is(scalar @missing, 0, "$name: doc/billing.md has all") or diag(join "\n", '', @missing);
    return;
}

# As in the install script: short type names, defaults without their types, what comes out behind.
sub signature
{
    my ($name, $arguments, $result) = @_;
    my ($in, $out) = split /(?:, |^)(?=OUT )/, $arguments, 2;
    $result =~ s/record$/'(' . ($out =~ s{\bOUT }{}gr) . ')'/e;
    my $text = "billing.$name($in) → $result";
    $text =~ s/timestamp with time zone/timestamptz/g;
    $text =~ s/( DEFAULT (?:'[^']*'|[^:,()]+))::[\w.]+(?:\[\])?/$1/g;
    return $text;
}

# What stands behind operators, casts and aggregates has no names for its arguments: named only.
my (@entries, @names);
for my $row (rows(q{
        SELECT proname, pg_get_function_arguments(oid), pg_get_function_result(oid),
               proargnames IS NULL, obj_description(oid, 'pg_proc')
          FROM pg_proc
         WHERE pronamespace = 'billing'::regnamespace AND prorettype <> 'trigger'::regtype
         ORDER BY 1, 2}))
{
    my ($name, $arguments, $result, $unnamed, $comment) = @$row;
    if ($unnamed eq 't') { push @names, $name }
    else { push @entries, signature($name, $arguments, $result), $comment }
}
all_documented('functions', @entries);
all_documented('functions of the type amount', @names);

all_documented('trigger functions', map { $_->[0] } rows(q{
    SELECT proname FROM pg_proc WHERE pronamespace = 'billing'::regnamespace AND prorettype = 'trigger'::regtype}));

all_documented('views', map { ("billing.$_->[0]", $_->[1]) } rows(q{
    SELECT relname, obj_description(oid, 'pg_class') FROM pg_class
     WHERE relnamespace = 'billing'::regnamespace AND relkind = 'v'}));
all_documented('columns of views', map("| $_->[0] | $_->[1] |", rows(q{
    SELECT a.attname, col_description(c.oid, a.attnum) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'v' AND a.attnum > 0 ORDER BY c.relname, a.attnum})));
all_documented('tables', map("| billing.$_->[0] | $_->[1] |", rows(q{
    SELECT relname, obj_description(oid, 'pg_class') FROM pg_class
     WHERE relnamespace = 'billing'::regnamespace AND relkind = 'r'})));
all_documented('types', map { ("billing.$_->[0]", $_->[1]) } rows(q{
    SELECT t.typname, obj_description(t.oid, 'pg_type') FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
     WHERE t.typnamespace = 'billing'::regnamespace AND t.typelem = 0 AND coalesce(c.relkind, 'c') = 'c'}));
all_documented('attributes of types', map("| $_->[0] | $_->[1] |", rows(q{
    SELECT a.attname, col_description(c.oid, a.attnum) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'c' AND a.attnum > 0})));

# The default as SHOW gives it.
all_documented('settings', map("| $_->[0] | $_->[1] | $_->[2] |", rows(q{
    SELECT name, current_setting(name), short_desc FROM pg_settings
     WHERE name LIKE 'billing.%' ORDER BY 1})));

my %sqlstates = slurp_file("$root/src/errors.h") =~
    /ERRCODE_BILLING_(\w+)\s+MAKE_SQLSTATE\(('\w', '\w', '\w', '\w', '\w')\)/g;
all_documented('error codes', map { '| ' . ($sqlstates{$_} =~ s/[', ]//gr) . ' | ' . lc($_) . ' |' }
      sort keys %sqlstates);

my ($reasons) = slurp_file("$root/src/reason.c") =~ /reasons\[\] = \{(.*?)\n\};/s;
my @reasons = $reasons =~ /\{\s*"(\w+)"/g;
cmp_ok(scalar @reasons, '>', 5, 'reasons: there are some');
all_documented('reasons', map("| $_ |", @reasons));

# Files that documents name exist; a line is a path, a name in the text is none.
for my $document (glob("$root/*.md $root/doc/*.md"))
{
    my $text = slurp_file($document);
    my ($file) = $document =~ m{^\Q$root\E/(.*)};
    # development.md has examples of names
    my @paths;
    @paths = $text =~ /`((?:src|sql|test|demo|doc|expected|\.ci)\/[\w.\/-]+)`/g if $file ne 'doc/development.md';
    push @paths, map { $file =~ m{^doc/} ? "doc/$_" : $_ } $text =~ /\]\((?!http)([^)#]+)/g;
    my @missing = grep { !-e "$root/$_" } @paths;
    is("@missing", '', "$file: the files it names exist");
}

my $layout = slurp_file("$root/doc/layout.md");
my @files = map { s{^\Q$root\E/}{}r } glob("$root/src/*.[ch] $root/src/*.pl $root/sql/*.sql");
is(join(' ', grep { !m{--} && index($layout, '`' . (split m{/})[-1] . '`') < 0 } @files),
    '', 'doc/layout.md: every source file has its row');

# The manual, sentence by sentence: nothing is left out, and everything is both held and tested.
my @lines = grep { /^\| / } split /\n/, slurp_file("$root/doc/manual.md");
for my $line (grep { !/^\| (?:Sentence|---)/ } @lines)
{
    my @cells = $line =~ /\| ([^|]+?)(?= \|)/g;
    ok(@cells == 3 && $cells[1] =~ /`/ && $cells[2] =~ /`(?:test|demo)\//, "doc/manual.md: $cells[0]");
}

# The README's example: what stands behind "--" is what is printed.
my ($example) = slurp_file("$root/README.md") =~ /```sql\n(.*?)```/s;
my $expected = join "\n", $example =~ /-- (.+)$/mg;
$node->safe_psql('postgres', 'DROP EXTENSION billing CASCADE');
my ($out, $err);
my $status = IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') ],
    '<', \$example, '>', \$out, '2>', \$err);
ok($status, 'README.md: the example runs') or diag($err);
is(join("\n", grep { length } split /\n/, $out), $expected, 'README.md: the example answers what it says');

$node->stop;
done_testing();
