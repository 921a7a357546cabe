# Behind PgBouncer in transaction mode: 32 clients share 8 connections and bind each transaction to
# one of 100 tenants. No view and no function ever answers for another one.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($clients, $connections, $tenants, $transactions) = (32, 8, 100, 40);

my $node = PostgreSQL::Test::Cluster->new('rights_pooler');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\nfsync = off");
$node->start;
$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION billing CASCADE;
CREATE ROLE kiosk LOGIN;
ALTER ROLE kiosk SET billing.require_binding = on;
SELECT billing.grant_usage_to('kiosk', 'application');
SELECT billing.create_app('ai', 'AI'), billing.create_plan('pack', 'token', tokens => 100000);
CREATE TABLE tenant AS
SELECT n, billing.create_account('Tenant ' || n) AS account_id FROM generate_series(1, $tenants) n;
SELECT billing.subscribe(account_id, 'pack') FROM tenant;
SELECT billing.consume_tokens(account_id, 1, action => 'first') FROM tenant;
ALTER TABLE tenant ADD token text;
UPDATE tenant SET token = billing.issue_binding(account_id, '1 hour', 'kiosk');
GRANT SELECT ON tenant TO kiosk;
INSERT INTO billing.account_user (account_id, user_id, email, email_key, role)
SELECT account_id, gen_random_uuid(), e, e, 'admin' FROM tenant, LATERAL (SELECT format('admin\@tenant%s.example', n)) x (e);
SQL

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $port = 6432;
my ($program) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin';
append_to_file("$dir/pgbouncer.ini", <<"INI");
[databases]
postgres = host=@{[ $node->host ]} port=@{[ $node->port ]} user=kiosk
[pgbouncer]
listen_addr =
listen_port = $port
unix_socket_dir = $dir
auth_type = any
pool_mode = transaction
default_pool_size = $connections
max_client_conn = 100
logfile = $dir/log
pidfile = $dir/pid
INI
my $pooler = fork // die "fork: $!";
exec $program, '-q', "$dir/pgbouncer.ini" or die "$program: $!" unless $pooler;
END { local $?; if ($pooler) { kill 'INT', $pooler; waitpid $pooler, 0 } }
for (1 .. 100)
{
    last if -S "$dir/.s.PGSQL.$port";
    select undef, undef, undef, 0.1;
}

# A division by zero ends the client, and with it the test.
append_to_file("$dir/bound.sql", <<"SQL");
\\set n random(1, $tenants)
\\set o 1 + (:n + random(0, $tenants - 2)) % $tenants
SELECT a.account_id AS mine, a.token AS token, b.account_id AS other FROM tenant a, tenant b WHERE a.n = :n AND b.n = :o \\gset
BEGIN;
SELECT billing.bind_account(:token);
SELECT 1 / (count(*) = 1 AND bool_and(account_id = :mine::uuid))::int FROM billing.account_status;
SELECT 1 / (count(*) = 1 AND bool_and(account_id = :mine::uuid))::int FROM billing.account_package;
SELECT 1 / (count(*) = 1 AND bool_and(account_id = :mine::uuid))::int FROM billing.account_member;
SELECT 1 / (count(*) >= 1 AND bool_and(account_id = :mine::uuid))::int FROM billing.usage_daily;
SELECT 1 / (reason = 'account_not_found')::int FROM billing.check_access(:other::uuid);
SELECT 1 / (reason = 'account_not_found')::int FROM billing.try_consume_tokens(:other::uuid, 1);
SELECT billing.consume_tokens(:mine::uuid, 1, action => 'pooled');
END;
SQL
append_to_file("$dir/rolled_back.sql", <<"SQL");
\\set n random(1, $tenants)
SELECT account_id AS mine, token AS token FROM tenant WHERE n = :n \\gset
BEGIN;
SELECT billing.bind_account(:token);
SELECT billing.consume_tokens(:mine::uuid, 1, action => 'rolled back');
ROLLBACK;
SQL
# What the transactions before left on the connection: nothing.
append_to_file("$dir/unbound.sql", <<"SQL");
\\set n random(1, $tenants)
SELECT account_id AS other FROM tenant WHERE n = :n \\gset
SELECT 1 / (count(*) = 0)::int FROM billing.account_status;
SELECT 1 / (reason = 'account_not_found')::int FROM billing.try_consume_tokens(:other::uuid, 1);
SQL

my ($out, $err);
my $ok = IPC::Run::run([ 'pgbench', '-n', '-M', 'extended', '-h', $dir, '-p', $port, '-U', 'anybody',
        '-c', $clients, '-j', 2, '-t', $transactions, '-f', "$dir/bound.sql\@8", '-f', "$dir/rolled_back.sql\@1",
        '-f', "$dir/unbound.sql\@1", 'postgres' ], '>', \$out, '2>', \$err);
ok($ok, "$clients clients of $tenants tenants see nothing of each other") or diag $err, slurp_file("$dir/log");
like($out, qr{transactions actually processed: (\d+)/\1\b}, 'no client gave up');
my ($bound) = $out =~ m{bound\.sql\n.*?- (\d+) transactions}s;
cmp_ok($bound, '>', $clients * $transactions / 2, "$bound transactions were bound and committed");
is($node->safe_psql('postgres', q{SELECT count(*) FROM billing.ledger WHERE action = 'pooled'}), $bound,
    'each of them consumed a token of its own tenant');
is($node->safe_psql('postgres', q{SELECT count(*) FROM billing.ledger WHERE action NOT IN ('pooled', 'first')}), 0,
    'none of those rolled back did');
my $shared = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'kiosk'});
cmp_ok($shared, '<=', $connections, "over $shared connections");
cmp_ok($shared, '>=', 1, 'that are still there');
is($node->safe_psql('postgres', 'SELECT count(*) FROM billing.verify_ledger()'), 0, 'the ledger is sound');

# Where the library is not preloaded the server cannot know that a client may not give the setting.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
kill 'INT', $pooler;
waitpid $pooler, 0;
$pooler = 0;
$node->restart;
my @as_kiosk = (extra_params => [ '-U', 'kiosk' ]);
my $count = 'SELECT billing.visible(account_id) FROM tenant LIMIT 1; SELECT count(*) FROM billing.account_status';
is($node->safe_psql('postgres', $count, @as_kiosk), "f\n0", 'not preloaded: a role that must be bound is');
{
    local $ENV{PGOPTIONS} = '-c billing.require_binding=off';
    is($node->safe_psql('postgres', $count, @as_kiosk), "f\n0", 'also when the client says otherwise');
}
is($node->safe_psql('postgres', "SET billing.require_binding = off; $count", @as_kiosk), "f\n0",
    'also when the session says otherwise first');
is($node->safe_psql('postgres', "SET billing.bound_account = 'x'; $count", @as_kiosk), "f\n0",
    'also when the session names an account first');

$node->stop;
done_testing();
