# The primary dies under load, and the promoted standby goes on to the token: nothing that was said to
# be granted is missing, nothing is there twice, and the balance runs out exactly.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $account = "'50000000-0000-4000-8000-0000000000a1'";
my $other = "'50000000-0000-4000-8000-0000000000b2'";
my $granted = 1000000;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\nmax_connections = 50\nlog_statement = none\nfsync = off\n");
$primary->start;
$primary->safe_psql('postgres', "SET client_min_messages = warning; CREATE EXTENSION billing CASCADE;
    SELECT billing.create_account('hot', $account), billing.create_account('other', $other);
    SELECT billing.grant_tokens($account, $granted), billing.grant_tokens($other, $granted);");
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->append_conf('postgresql.conf', "synchronous_standby_names = 'standby'\nsynchronous_commit = on\n");
$primary->reload;
$primary->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state = 'sync'});

# Each client says what it was granted; a commit answers when the standby has it.
my $dir = PostgreSQL::Test::Utils::tempdir();
append_to_file("$dir/load.sql", <<"SQL");
SELECT nextval('numbers') AS key \\gset
SELECT billing.consume_tokens($account, 3, idempotency_key => (:key)::text);
BEGIN;
SELECT billing.capture_hold(billing.hold_tokens($other, 5), 2);
INSERT INTO said VALUES (:key);
COMMIT;
SQL
$primary->safe_psql('postgres', 'CREATE SEQUENCE numbers; CREATE TABLE said (key text)');
my ($out, $err) = ('', '');
my $load = IPC::Run::start([ 'pgbench', '-n', '-c8', '-j2', '-T600', '-f', "$dir/load.sql", $primary->connstr('postgres') ], '>', \$out, '2>', \$err);
ok($primary->poll_query_until('postgres', 'SELECT count(*) > 500 FROM said'), 'load is on');
$primary->stop('immediate');
$load->finish;
$standby->promote;

is($standby->safe_psql('postgres', 'SELECT count(*) FROM billing.verify_ledger()'), '0', 'the ledger is sound');
# said is written after its key's consumption was answered
is($standby->safe_psql('postgres', "SELECT count(*) FROM said s WHERE NOT EXISTS (SELECT FROM billing.ledger l WHERE l.account_id = $account AND l.idempotency_key = s.key)"),
    '0', 'everything that was answered is there');
my $taken = $standby->safe_psql('postgres', "SELECT sum(tokens) FROM billing.ledger WHERE account_id = $account");
is($standby->safe_psql('postgres', "SELECT count(*) * 3 FROM billing.ledger WHERE account_id = $account"), $taken, 'nothing twice');
is($standby->safe_psql('postgres', "SELECT billing.tokens_remaining($account)"), $granted - $taken, 'the balance is what the ledger says');
my $key = $standby->safe_psql('postgres', 'SELECT min(key) FROM said');
is($standby->safe_psql('postgres', "SELECT replayed FROM billing.try_consume_tokens($account, 3, idempotency_key => '$key')"), 't', 'a retry is answered as before');
my ($left, $spent) = ($granted - $taken, 0);
is($standby->safe_psql('postgres', "SELECT billing.consume_tokens($account, $left)"), '0', 'the last token');
is($standby->safe_psql('postgres', "SELECT reason FROM billing.try_consume_tokens($account, 1)"), 'tokens_exhausted', 'and not one more');

# Under load again, the rest of the other account runs out exactly.
my $rest = $standby->safe_psql('postgres', "SELECT billing.tokens_remaining($other)");
$standby->safe_psql('postgres', "SELECT billing.consume_tokens($other, $rest - 1001)");
append_to_file("$dir/rest.sql", "SELECT billing.try_consume_tokens($other, 7);\n");
$standby->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
$standby->reload;
IPC::Run::run([ 'pgbench', '-n', '-c8', '-j2', '-t30', '-f', "$dir/rest.sql", $standby->connstr('postgres') ], '>', \$out, '2>', \$err);
is($standby->safe_psql('postgres', "SELECT billing.tokens_remaining($other), count(*) FROM billing.ledger WHERE account_id = $other AND tokens = 7"),
    '0|143', 'promoted, under load: 143 times 7 of 1001, and then nothing');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM billing.verify_ledger()'), '0', 'the ledger is sound');

$standby->stop;
done_testing();
