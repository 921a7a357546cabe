# A dump of a database with a row of every kind is restored without an error, however it was made and
# however it is read, and billing goes on where it was.

use strict;
use warnings;

use Billing::EveryKind;
use Billing::Moves;
use Billing::Session;
use File::Basename;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %account = %Billing::EveryKind::account;
my $dir = PostgreSQL::Test::Utils::tempdir();

sub cluster
{
    my ($name, $settings) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    $node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
    $node->append_conf('postgresql.conf', "jit = off\n$settings");
    $node->start;
    return $node;
}

my $node = cluster('old', "shared_preload_libraries = 'billing'\nbilling.worker_naptime = 1\n");
create_roles($node);
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
every_kind($node, 'shop');

# What must move has rows, and is marked.
# The roles that every installation has are younger there.
my @except = (role => ['created_at']);
my $contents = contents($node, 'shop', @except);
unlike($contents, qr/\|0\|/, 'a row of every kind');
is($node->safe_psql('shop', q{SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_class c, pg_extension e
    WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind IN ('r', 'S') AND e.extname = 'billing' AND NOT c.oid = ANY (e.extconfig)}),
    join(' ', @Billing::EveryKind::stays), 'every table is marked for pg_dump, but those that stay on purpose');
is($node->safe_psql('shop', q{SELECT string_agg(DISTINCT conrelid::regclass::text, ' ') FROM pg_constraint c WHERE contype = 'f' AND connamespace = 'billing'::regnamespace
    AND 2 <> (SELECT count(*) FROM pg_trigger WHERE tgrelid = conrelid AND tgname IN ('restore_begin', 'restore_end') AND tgenabled = 'A')}),
    '', 'where there is a foreign key, a restore gets past it');
is($node->safe_psql('shop', q{WITH RECURSIVE reach (origin, target) AS (SELECT conrelid, confrelid FROM pg_constraint WHERE contype = 'f' AND connamespace = 'billing'::regnamespace
    UNION SELECT origin, confrelid FROM reach JOIN pg_constraint ON conrelid = target AND contype = 'f') SELECT count(*) FROM reach WHERE origin = target}),
    '0', 'no circle of foreign keys: pg_dump finds an order');
my $answers = answers($node, 'shop');
unlike($answers, qr/^problem/m, 'the ledger is sound');
like($answers, qr/over_limit/, 'somebody is over the limit');

sub run_clean
{
    my ($name, $in, @command) = @_;
    my ($out, $err) = ('', '');
    my @in = defined $in ? ('<', $in) : ('<', \'');
    my $ok = IPC::Run::run(\@command, @in, '>', \$out, '2>', \$err);
    ok($ok && $err eq '', "$name: " . basename($command[0])) or diag $err;
    return;
}

my $connection = $node->connstr('shop');
run_clean('plain', undef, 'pg_dump', '-d', $connection, '-f', "$dir/plain");
run_clean('inserts', undef, 'pg_dump', '-d', $connection, '--column-inserts', '--rows-per-insert=50', '-f', "$dir/inserts");
run_clean('custom', undef, 'pg_dump', '-d', $connection, '-Fc', '-f', "$dir/custom");
run_clean('directory', undef, 'pg_dump', '-d', $connection, '-Fd', '-j2', '-f', "$dir/directory");
run_clean('data', undef, 'pg_dump', '-d', $connection, '--data-only', '-f', "$dir/data");
run_clean('data, custom', undef, 'pg_dump', '-d', $connection, '--data-only', '-Fc', '-f', "$dir/data_custom");
run_clean('schema', undef, 'pg_dump', '-d', $connection, '-n', 'billing', '-f', "$dir/schema");
run_clean('schema, custom', undef, 'pg_dump', '-d', $connection, '-n', 'billing', '-Fc', '-f', "$dir/schema_custom");
run_clean('schema and data', undef, 'pg_dump', '-d', $connection, '-n', 'billing', '--data-only', '-f', "$dir/schema_data");

sub restore
{
    my ($name, $database, $has_extension, $in, @command) = @_;
    $node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0");
    $node->safe_psql($database, 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE') if $has_extension;
    run_clean($name, $in, @command, '-d', $node->connstr($database));
    judge($name, $node, $database, !$has_extension);
    return;
}

sub judge
{
    my ($name, $where, $database, $with_rights) = @_;
    is(contents($where, $database, @except), $contents, "$name: every row is equal");
    my ($here, $there) = (answers($where, $database), $answers);
    # the data alone do not grant anything
    s/^rights.*//m for $with_rights ? () : ($here, $there);
    is($here, $there, "$name: every answer is equal, the ledger sound");
    return;
}

my @psql = ('psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null');
restore('plain by psql', 'r1', 0, "$dir/plain", @psql);
restore('plain in one transaction', 'r2', 0, "$dir/plain", @psql, '--single-transaction');
restore('INSERTs', 'r3', 0, "$dir/inserts", @psql);
restore('custom', 'r4', 0, undef, 'pg_restore', "$dir/custom");
restore('custom in parallel', 'r5', 0, undef, 'pg_restore', '-j4', "$dir/custom");
restore('directory in parallel', 'r6', 0, undef, 'pg_restore', '-j4', "$dir/directory");
restore('directory in one transaction', 'r7', 0, undef, 'pg_restore', '--single-transaction', "$dir/directory");
restore('data only', 'r8', 1, "$dir/data", @psql);
restore('data only in one transaction', 'r9', 1, "$dir/data", @psql, '--single-transaction');
restore('data only in parallel', 'r10', 1, undef, 'pg_restore', '-j4', "$dir/data_custom");
restore('the data of the schema', 'r11', 1, "$dir/schema_data", @psql);
restore('the data of a dump of the schema', 'r12', 1, undef, 'pg_restore', '-j2', '--data-only', "$dir/schema_custom");

# pg_dump -n says CREATE SCHEMA as well, where the schema is.
restore('a dump of the schema', 'r13', 1, "$dir/schema", @psql);
restore('a dump of the schema in one transaction', 'r14', 1, "$dir/schema", @psql, '--single-transaction');
restore('a dump of the schema, custom', 'r15', 1, undef, 'pg_restore', "$dir/schema_custom");
restore('a dump of the schema in parallel', 'r16', 1, undef, 'pg_restore', '-j4', "$dir/schema_custom");
$node->safe_psql('postgres', 'CREATE DATABASE bare TEMPLATE template0');
my ($out, $err) = ('', '');
$node->psql('r1', 'CREATE SCHEMA billing', stderr => \$err);
like($err, qr/schema "billing" already exists/, 'outside of a restore the schema is there');
$node->psql('r1', 'SET check_function_bodies = off; CREATE SCHEMA billing CREATE TABLE billing.x (i int)', stderr => \$err);
like($err, qr/schema "billing" already exists/, 'nor is anything made in it');
$node->safe_psql('bare', 'SET check_function_bodies = off; CREATE SCHEMA billing');

# Of a whole cluster, into one that has not preloaded the library.
my $new = cluster('new', '');
run_clean('pg_dumpall', undef, 'pg_dumpall', '-d', $node->connstr('postgres'), '--no-role-passwords', '-f', "$dir/all");
IPC::Run::run([ 'psql', '-Xq', '-o', '/dev/null', '-d', $new->connstr('postgres') ], '<', "$dir/all", '>', \$out, '2>', \$err);
my $me = $node->safe_psql('postgres', 'SELECT current_user');
is(join("\n", grep { !/role "\Q$me\E" already exists/ } $err =~ /(ERROR.*)/g), '', 'pg_dumpall: no error but that its own role exists');
judge('pg_dumpall', $new, 'shop', 1);

# Billing goes on, wherever it is.
goes_on('in parallel', $node, 'r5');
goes_on('data only in one transaction', $node, 'r9');
goes_on('pg_dumpall', $new, 'shop');
my $seen = $node->safe_psql('shop', q{SELECT string_agg(event_id::text, ' ') FROM billing.next_events('mailer', 1000)});
is($node->safe_psql('r1', q{SELECT string_agg(event_id::text, ' ') FROM billing.next_events('mailer', 1000)}), $seen, 'a consumer gets what it would have got');

# The worker keeps out of a database of which a part is there: a lapse written now would take the
# number of an entry that is still to come.
$node->append_conf('postgresql.conf', 'billing.worker = off');
$node->reload;
$node->poll_query_until('shop', 'SELECT NOT current_setting($$billing.worker$$)::boolean');
my $held = $node->safe_psql('shop', "SELECT billing.hold_tokens($account{zoned}, 1, '1 second', 'docs')
    FROM (SELECT billing.grant_tokens($account{zoned}, 9)) g");
$node->poll_query_until('shop', "SELECT expires_at < clock_timestamp() FROM billing.hold WHERE hold_id = '$held'");
# with rows in the order in which they would do most harm
my $script = '';
IPC::Run::run([ 'pg_dump', '-d', $connection, '--data-only' ], '>', \$script);
# newer ones keep psql from taking commands in between
$script =~ s/^\\(?:un)?restrict .*$//mg;
my ($first, $last) = $script =~ /^(.*?)(COPY billing\.hold_end .*)$/s;
$node->safe_psql('postgres', 'CREATE DATABASE half TEMPLATE template0');
$node->safe_psql('half', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
$node->append_conf('postgresql.conf', 'billing.worker = on');
$node->reload;
append_to_file("$dir/first", $first);
append_to_file("$dir/last", $last);
my $session = Billing::Session->new($node, 'half');
$session->query("\\i $dir/first");
is($node->safe_psql('half', "SELECT ended FROM billing.hold WHERE hold_id = '$held'"), 'f', 'half restored: a hold is overdue');
my $looked = q{SELECT coalesce(max(runs), 0) FROM billing.worker_status WHERE database = 'half'};
my $runs = $node->safe_psql('half', $looked);
$node->poll_query_until('half', "SELECT ($looked) > $runs + 1");
is($node->safe_psql('half', "SELECT ended FROM billing.hold WHERE hold_id = '$held'"), 'f', 'the worker has been there and left it alone');
is($session->query("\\i $dir/last"), '', 'the rest is restored without an error');
$session->close;
ok($node->poll_query_until('half', "SELECT ended FROM billing.hold WHERE hold_id = '$held'"), 'then it lapses');
is($node->safe_psql('half', 'SELECT count(*) FROM billing.verify_ledger()'), '0', 'the ledger is sound');

$node->stop;
$new->stop;
done_testing();
