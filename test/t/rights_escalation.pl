# What a stolen password of the application level is good for: every attempt fails with the SQLSTATE
# given, and no row of any table is another one afterwards. The attacker may create schemas,
# functions and temporary objects, which is more than the level needs.

use strict;
use warnings;

use Billing::Session;
use MIME::Base64 qw(decode_base64url encode_base64url);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('rights_escalation');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'");
$node->start;

my ($ours, $theirs) = ('11111111-1111-4111-8111-111111111101', '22222222-2222-4222-8222-222222222202');
my $password = 'correct horse 7 battery';

$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION billing CASCADE;
CREATE ROLE shop LOGIN;
CREATE ROLE office LOGIN;
CREATE ROLE kiosk LOGIN;
ALTER ROLE kiosk SET billing.require_binding = on;
GRANT CREATE ON DATABASE postgres TO shop;
SELECT billing.grant_usage_to('shop', 'application'), billing.grant_usage_to('kiosk', 'application'), billing.grant_usage_to('office', 'administrator');
SELECT billing.create_app('ai', 'AI');
SELECT billing.create_plan('free', 'free', user_limit => 2, permissions => '{ai:read}'),
       billing.create_plan('pack', 'token', 'Pack', '5 USD', tokens => 100);
SELECT billing.create_account('Ours', '$ours'), billing.create_account('Theirs', '$theirs');
SELECT billing.subscribe('$ours', 'pack'), billing.subscribe('$theirs', 'pack');
SELECT billing.consume_tokens('$ours', 5, idempotency_key => 'ours'),
       billing.consume_tokens('$theirs', 5, idempotency_key => 'theirs');
SELECT billing.hold_tokens('$ours', 5), billing.hold_tokens('$theirs', 5);
SELECT billing.suspend_account(billing.create_account('Suspended', '55555555-5555-4555-8555-555555555503'), 'unpaid');
SQL
my ($our_hold, $their_hold) = map {
    $node->safe_psql('postgres', "SELECT hold_id FROM billing.hold WHERE account_id = '$_'") } ($ours, $theirs);

my ($our_user, $their_user) = map {
    $node->safe_psql('postgres', "SELECT billing.add_user_within_limit('$_->[0]', 'a\@$_->[1].example', '$password', 'admin')")
} ([ $ours, 'ours' ], [ $theirs, 'theirs' ]);

my ($our_order, $their_order) =
  map { $node->safe_psql('postgres', "SELECT billing.order_plan('$_', 'pack')") } ($ours, $theirs);
my ($our_payment, $their_payment) = map { $node->safe_psql('postgres',
        "SELECT payment_id FROM billing.record_payment('$_', 'bank', '$_', '5 USD')") } ($our_order, $their_order);

# The attacker's own things: whatever of these runs as somebody else leaves a row in evil.loot.
$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'shop' ]);
CREATE SCHEMA evil;
CREATE TABLE evil.loot (who name);
CREATE FUNCTION evil.take() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF current_user <> 'shop' THEN
        INSERT INTO evil.loot VALUES (current_user);
    END IF;
    RETURN true;
END $$;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
GRANT INSERT ON evil.loot TO PUBLIC;
CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
    'SELECT evil.take(); SELECT ''2000-01-01''::timestamptz';
CREATE FUNCTION evil.count(uuid) RETURNS bigint LANGUAGE sql AS 'SELECT evil.take(); SELECT 0::bigint';
CREATE FUNCTION evil.same(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT evil.take()';
CREATE OPERATOR evil.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = evil.same);
CREATE FUNCTION evil.same(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT evil.take()';
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same);
CREATE DOMAIN evil.id AS uuid CHECK (evil.take());
CREATE DOMAIN evil.number AS bigint CHECK (evil.take());
CREATE FUNCTION evil.any_one(anyelement) RETURNS anyelement LANGUAGE sql AS 'SELECT evil.take(); SELECT $1';
CREATE TYPE evil.pair AS (account_id uuid, tokens bigint);
SQL

# A digest of every table's rows, read by the owner.
my $digests = join ' UNION ALL ', map {
    "SELECT '$_' || md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM billing.$_ t"
} split /\n/, $node->safe_psql('postgres', q{SELECT relname FROM pg_class
    WHERE relnamespace = 'billing'::regnamespace AND relkind = 'r' ORDER BY 1});

sub digest
{
    return $node->safe_psql('postgres', "$digests UNION ALL SELECT 'loot' || count(*) FROM evil.loot");
}

my $before = digest();
my %attempts;
my $attacker = 'shop';

sub attempt
{
    my ($class, $state, $name, $sql) = @_;
    my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n$sql",
        extra_params => [ '-U', $attacker ]);
    my ($got) = $err =~ /ERROR:  (\w{5})/;

    is($got // 'no error', $state, "$class: $name");
    is(digest(), $before, "$class: $name: no row has changed");
    unlike($out . $err, qr/argon2/, "$class: $name: no hash is shown");
    $attempts{$class}++;
    return;
}

my $class = 'reading hashes';
attempt($class, '42501', 'the column', 'SELECT password_hash FROM billing.account_user');
attempt($class, '42501', 'the whole row', 'SELECT u FROM billing.account_user u');
attempt($class, '42501', 'COPY', 'COPY billing.account_user TO STDOUT');
attempt($class, '42703', 'through the view', 'SELECT password_hash FROM billing.account_member');
attempt($class, '42501', 'the statistics', 'SELECT stavalues1 FROM pg_statistic');
attempt($class, '42501', 'the files', q{SELECT pg_read_binary_file('base')});

$class = 'writing tables';
attempt($class, '42501', 'INSERT of a grant', "INSERT INTO billing.token_grant (account_id, grant_id, tokens, effective_at, granted_at) VALUES ('$ours', gen_random_uuid(), 1000, now(), now())");
attempt($class, '42501', 'UPDATE of a grant', 'UPDATE billing.token_grant SET tokens = 1000000');
attempt($class, '42501', 'DELETE from the ledger', 'DELETE FROM billing.ledger');
attempt($class, '42501', 'TRUNCATE', 'TRUNCATE billing.checkpoint');
attempt($class, '42501', 'COPY into users', 'COPY billing.account_user FROM STDIN');
attempt($class, '42501', 'a level for itself', q{INSERT INTO billing.usage_level VALUES ('shop', 'administrator')});
attempt($class, '42501', 'what levels may', 'UPDATE billing.privilege SET application = true');
attempt($class, '42501', 'row locks through a view', 'SELECT * FROM billing.account_status FOR UPDATE');
attempt($class, '42501', 'a lock that stops everybody', 'BEGIN; LOCK TABLE billing.account_status IN EXCLUSIVE MODE');

$class = 'hostile search_path';
attempt($class, 'PB004', 'own functions first', "SET search_path = evil, pg_catalog, billing; SELECT billing.consume_tokens('$ours', 1000)");
attempt($class, 'PB016', 'own operators first', "SET search_path = evil, pg_catalog, billing; SELECT billing.refund_tokens('$ours', 'nobody')");
attempt($class, '22012', 'through a view', "SET search_path = evil, pg_catalog; SELECT 1 / (count(*) - 1) FROM billing.account_status WHERE account_id OPERATOR(pg_catalog.=) '$ours'");

$class = 'temporary objects';
attempt($class, 'PB004', 'tables of our names', <<"SQL");
CREATE TEMP TABLE account AS SELECT '$ours'::uuid AS account_id, NULL::timestamptz AS suspended_at;
CREATE TEMP TABLE token_grant AS SELECT '$ours'::uuid AS account_id, 1000::bigint AS tokens;
SET search_path = pg_temp, billing;
SELECT billing.consume_tokens('$ours', 1000);
SQL
attempt($class, 'PB016', 'operators of our names', <<"SQL");
CREATE FUNCTION pg_temp.same(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT evil.take()';
CREATE OPERATOR pg_temp.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = pg_temp.same);
SET search_path = pg_temp, pg_catalog, billing;
SELECT billing.release_hold('$ours');
SQL
attempt($class, 'PB004', 'a type of a built-in name', <<"SQL");
CREATE DOMAIN pg_temp.uuid AS pg_catalog.uuid CHECK (evil.take());
SET search_path = pg_temp, pg_catalog, billing;
SELECT billing.consume_tokens('$ours'::uuid, 1000);
SQL

$class = 'roles and settings';
attempt($class, '42501', 'SET ROLE', 'SET ROLE postgres');
attempt($class, '42501', 'SET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION office');
attempt($class, '42501', 'ALTER ROLE', 'ALTER ROLE shop SUPERUSER');
attempt($class, '42501', 'GRANT of a role', 'GRANT office TO shop');
attempt($class, '42501', 'a setting of ours', 'SET billing.checkpoint_entries = 1');
attempt($class, '42501', 'triggers switched off', 'SET session_replication_role = replica');
attempt($class, '42501', 'a restore played', "SET check_function_bodies = off; INSERT INTO billing.ledger (account_id, entry_no, grant_id, tokens) VALUES ('$ours', 99, '$ours', -5)");
attempt($class, '42501', 'a library loaded', q{LOAD '/tmp/evil.so'});
attempt($class, '42501', 'a level for itself', q{SELECT billing.grant_usage_to('shop', 'administrator')});

$class = 'triggers, casts, domains, polymorphic calls';
attempt($class, '42501', 'a trigger on the ledger', 'CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM evil.take(); RETURN NEW; END$$; CREATE TRIGGER t BEFORE INSERT ON billing.ledger FOR EACH ROW EXECUTE FUNCTION pg_temp.f()');
attempt($class, '42501', 'our trigger function on an own table', 'CREATE TABLE evil.t (account_id uuid); CREATE TRIGGER t BEFORE INSERT ON evil.t FOR EACH ROW EXECUTE FUNCTION billing.guard_engine()');
attempt($class, '42501', 'a rule on a view', 'CREATE RULE r AS ON INSERT TO billing.plan_catalogue DO INSTEAD SELECT evil.take()');
attempt($class, '42501', 'an event trigger', 'CREATE FUNCTION pg_temp.f() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN PERFORM evil.take(); END$$; CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION pg_temp.f()');
attempt($class, '42501', 'a cast to amount', 'CREATE FUNCTION pg_temp.f(text) RETURNS billing.amount LANGUAGE sql AS $$SELECT NULL::billing.amount$$; CREATE CAST (text AS billing.amount) WITH FUNCTION pg_temp.f(text) AS IMPLICIT');
attempt($class, 'PB004', 'domains as arguments', "SELECT billing.consume_tokens('$ours'::evil.id, 1000::evil.number)");
attempt($class, 'PB004', 'polymorphic calls as arguments', "SELECT billing.consume_tokens(evil.any_one('$ours'::uuid), evil.any_one(1000::bigint))");
attempt($class, '42501', 'a table that inherits', 'CREATE TABLE evil.heir () INHERITS (billing.account_user)');
attempt($class, '42501', 'a foreign key', 'CREATE TABLE evil.t2 (id uuid REFERENCES billing.account)');
attempt($class, '42501', 'statistics on our columns', 'CREATE STATISTICS evil.s ON account_id, role FROM billing.account_user');

$class = 'internal functions';
attempt($class, '42501', 'grant_tokens', "SELECT billing.grant_tokens('$ours', 1000)");
attempt($class, '42501', 'record_payment', "SELECT billing.record_payment('$our_order', 'bank', '1', '5 USD')");
attempt($class, '42501', 'record_refund', "SELECT billing.record_refund('$our_payment', 'bank', '1', '5 USD')");
attempt($class, '42501', 'cancel_subscription', "SELECT billing.cancel_subscription('$ours')");
attempt($class, '42501', 'subscribe', "SELECT billing.subscribe('$ours', 'pack')");
attempt($class, '42501', 'reinstate_account', q{SELECT billing.reinstate_account('55555555-5555-4555-8555-555555555503')});
attempt($class, '42501', 'set_test_clock', "SELECT billing.set_test_clock('$ours', '2100-01-01')");
attempt($class, '42501', 'create_plan', q{SELECT billing.create_plan('mine', 'token', tokens => 1000)});
attempt($class, '42501', 'a trigger function', 'SELECT billing.guard_engine()');
attempt($class, '42501', 'an input function', q{SELECT billing.amount_in('1 USD')});
attempt($class, '42883', 'a state of sum()', 'SELECT billing.amount_sum_final(NULL)');
attempt($class, '42501', 'C code under another name', q{CREATE FUNCTION evil.grant_tokens(uuid, bigint) RETURNS uuid LANGUAGE c AS 'billing', 'billing_grant_tokens'});
attempt($class, '42501', 'ALTER FUNCTION', 'ALTER FUNCTION billing.grant_tokens SECURITY DEFINER');

$class = 'composite and array arguments';
attempt($class, '42501', 'a column of our row type', 'CREATE TABLE evil.t3 (u billing.account_user)');
attempt($class, '2202E', 'arrays of different lengths', "SELECT * FROM billing.consume_tokens_batch(ARRAY['$ours', '$theirs']::uuid[], '{1}')");
attempt($class, '2202E', 'a NULL among the accounts', "SELECT * FROM billing.consume_tokens_batch(ARRAY['$ours', NULL]::uuid[], '{1,1}')");
attempt($class, '2202E', 'more dimensions', "SELECT * FROM billing.consume_tokens_batch(ARRAY[['$ours'], ['$theirs']]::uuid[], '{1,1}')");
attempt($class, '42883', 'a composite for an id', "SELECT billing.consume_tokens(ROW('$ours', 1)::evil.pair, 1)");
attempt($class, '22P02', 'an id that is SQL', q{SELECT billing.consume_tokens('1'' OR true', 1)});
attempt($class, 'PB016', 'an app that is SQL', "SELECT billing.consume_tokens('$ours', 1, 'nosuch')");
attempt($class, '22023', 'a code that is SQL', "SELECT billing.consume_tokens('$ours', 1, 'x''; DROP TABLE billing.ledger; --')");

$class = 'CREATE EXTENSION and schema tricks';
attempt($class, '42501', 'an object in our schema', q{CREATE TABLE billing.account2 (id uuid)});
attempt($class, '42501', 'an overload in our schema', q{CREATE FUNCTION billing.now(text) RETURNS timestamptz LANGUAGE sql AS 'SELECT evil.clock_timestamp()'});
attempt($class, '42501', 'one of our functions replaced', q{CREATE OR REPLACE FUNCTION billing.now(account_id uuid) RETURNS timestamptz LANGUAGE sql AS 'SELECT evil.clock_timestamp()'});
attempt($class, '42501', 'the schema renamed', 'ALTER SCHEMA billing RENAME TO stolen');
attempt($class, '42501', 'the schema given away', 'ALTER SCHEMA billing OWNER TO shop');
attempt($class, '42501', 'an object added to the extension', 'ALTER EXTENSION billing ADD TABLE evil.loot');
attempt($class, '42501', 'the extension dropped', 'DROP EXTENSION billing CASCADE');
attempt($class, '42501', 'the extension updated', q{ALTER EXTENSION billing UPDATE TO '1.0'});
attempt($class, '42501', 'another extension that reads files', 'CREATE EXTENSION file_fdw');
attempt($class, '42501', 'PUBLIC let in', 'GRANT EXECUTE ON FUNCTION billing.grant_tokens TO PUBLIC; SELECT billing.grant_tokens(NULL, 1)');

$class = 'overflow';
attempt($class, 'PB004', 'the most tokens there can be', "SELECT billing.consume_tokens('$ours', 9223372036854775807)");
attempt($class, '22023', 'a negative consumption', "SELECT billing.consume_tokens('$ours', -9223372036854775808)");
attempt($class, '22003', 'more than that', "SELECT billing.consume_tokens('$ours', 9223372036854775808::numeric::bigint)");
attempt($class, '22023', 'more captured than held', "SELECT billing.capture_hold('$our_hold', 9223372036854775807)");
attempt($class, '22023', 'more refunded than consumed', "SELECT billing.refund_tokens('$ours', 'ours', 9223372036854775807)");
attempt($class, '22003', 'money past its range', q{SELECT '92233720368547758.07 USD'::billing.amount OPERATOR(billing.+) '0.01 USD'::billing.amount});
attempt($class, '22001', 'a key without end', "SELECT billing.consume_tokens('$ours', 1, idempotency_key => repeat('k', 1000000))");

# From here on as a role that must be bound, mostly in a transaction bound to our account.
sub issue
{
    my ($account, $valid_for, $role) = @_;
    return $node->safe_psql('postgres',
        "SELECT billing.issue_binding('$account', '$valid_for', role => " . ($role ? "'$role')" : 'NULL)'));
}

my ($our_token, $their_token) = map { issue($_, '1 hour') } ($ours, $theirs);
my $shop_token = issue($theirs, '1 hour', 'shop');
my $expired_token = issue($theirs, '1 millisecond');
my $bind = "BEGIN; SELECT billing.bind_account('$our_token');";
$attacker = 'kiosk';
$before = digest();

# A division by zero is the proof that nothing was found.
my $nothing = "$bind SELECT 1 / count(*) FROM";

$class = q{another tenant's ids};
attempt($class, 'PB001', 'consume_tokens', "$bind SELECT billing.consume_tokens('$theirs', 1)");
attempt($class, 'PB001', 'a key of theirs', "$bind SELECT billing.consume_tokens('$theirs', 5, idempotency_key => 'theirs')");
attempt($class, 'PB001', 'hold_tokens', "$bind SELECT billing.hold_tokens('$theirs', 1)");
attempt($class, 'PB016', 'capture_hold', "$bind SELECT billing.capture_hold('$their_hold')");
attempt($class, 'PB016', 'release_hold', "$bind SELECT billing.release_hold('$their_hold')");
attempt($class, 'PB001', 'refund_tokens', "$bind SELECT billing.refund_tokens('$theirs', 'theirs')");
attempt($class, 'PB013', 'as their user', "$bind SELECT billing.consume_tokens('$ours', 1, user_id => '$their_user')");
attempt($class, '22012', 'a batch', "$nothing billing.consume_tokens_batch(ARRAY['$ours', '$theirs']::uuid[], '{1,1}') WHERE ordinal = 2 AND reason <> 'account_not_found'");
attempt($class, '22012', 'check_access', "$nothing billing.check_access('$theirs') WHERE reason <> 'account_not_found'");
attempt($class, '22012', 'plan_is_active', "$nothing (SELECT WHERE billing.plan_is_active('$theirs')) x");
attempt($class, '22012', 'tokens_remaining', "$nothing (SELECT WHERE billing.tokens_remaining('$theirs') > 0) x");
attempt($class, '22012', 'user_permissions', "$nothing billing.user_permissions('$their_user')");
attempt($class, '22012', 'packages', "$nothing billing.packages('$theirs')");
attempt($class, '22012', 'roster', "$nothing billing.roster('$theirs')");
attempt($class, 'PB013', 'set_user_password', "$bind SELECT billing.set_user_password('$their_user', 'another horse 8 staple')");
attempt($class, 'PB013', 'remove_user', "$bind SELECT billing.remove_user('$their_user', '$their_user')");
attempt($class, 'PB006', 'as an admin of theirs', "$bind SELECT billing.disable_user('$our_user', '$their_user')");
attempt($class, 'PB001', 'add_user_within_limit', "$bind SELECT billing.add_user_within_limit('$theirs', 'b\@theirs.example', NULL, 'member', '$their_user')");
attempt($class, 'PB001', 'quote_plan', "$bind SELECT billing.quote_plan('$theirs', 'pack')");
attempt($class, 'PB001', 'order_plan', "$bind SELECT billing.order_plan('$theirs', 'pack')");
attempt($class, '22012', 'authenticate_user', "$nothing billing.authenticate_user('a\@theirs.example', '$password') WHERE reason <> 'invalid_credentials'");
attempt($class, '22012', "the view $_", "$nothing billing.$_ WHERE account_id <> '$ours'")
  foreach qw(account_status account_package account_member usage_daily open_hold payment_history account_credit_balance);
attempt($class, '22012', 'a function that looks at what a view hides', <<"SQL");
CREATE FUNCTION pg_temp.look(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS \$\$
BEGIN
    IF \$1 LIKE '%theirs%' THEN RAISE EXCEPTION 'found %', \$1; END IF;
    RETURN true;
END \$\$;
$bind SELECT 1 / (count(*) - 1) FROM billing.account_member WHERE pg_temp.look(email);
SQL
my $parallel = $node->safe_psql('postgres', 'SHOW server_version_num') < 160000 ? 'force_parallel_mode' : 'debug_parallel_query';
attempt($class, '22012', 'in a parallel worker', "SET $parallel = on; $nothing billing.account_package WHERE account_id <> '$ours'");
attempt($class, '22012', 'checked in a parallel worker', "SET $parallel = on; $nothing (SELECT WHERE billing.plan_is_active('$theirs')) x");

$class = 'a binding undone';
attempt($class, 'PB001', 'COMMIT', "$bind COMMIT; SELECT billing.consume_tokens('$theirs', 1)");
attempt($class, 'PB001', 'no binding at all', "SELECT billing.consume_tokens('$ours', 1)");
attempt($class, 'PB001', 'a savepoint', "$bind SAVEPOINT s; SELECT billing.visible('$theirs'); ROLLBACK TO s; SELECT billing.consume_tokens('$theirs', 1)");
attempt($class, 'PB001', 'RESET ALL', "$bind RESET ALL; SELECT billing.consume_tokens('$theirs', 1)");
attempt($class, '25001', 'DISCARD ALL', "$bind DISCARD ALL");
attempt($class, '42501', 'SET', "$bind SET billing.bound_account = '$theirs'");
attempt($class, '42501', 'SET LOCAL', "$bind SET LOCAL billing.bound_account = ''");
attempt($class, '42501', 'set_config', "$bind SELECT set_config('billing.bound_account', '$theirs', true)");
attempt($class, '42501', 'UPDATE of pg_settings', "$bind UPDATE pg_settings SET setting = '$theirs' WHERE name = 'billing.bound_account'");
attempt($class, '42501', 'RESET of the requirement', 'RESET billing.require_binding');
attempt($class, '42501', 'SET of the requirement', 'SET billing.require_binding = off');
attempt($class, '42501', 'ALTER ROLE', 'ALTER ROLE kiosk RESET billing.require_binding');
attempt($class, 'PB001', 'ALTER ROLE RESET ALL', "ALTER ROLE kiosk RESET ALL; \\c -\nSELECT billing.consume_tokens('$theirs', 1)");
attempt($class, '42501', 'a function with the setting', q{CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql SET billing.require_binding = off AS 'SELECT'});
{
    local $ENV{PGOPTIONS} = '-c billing.require_binding=off';
    my ($status, $out, $err) = $node->psql('postgres', "SELECT billing.consume_tokens('$theirs', 1)", extra_params => [ '-U', 'kiosk' ]);
    like($err, qr/FATAL:  permission denied to set parameter "billing.require_binding"/, "$class: options of the client");
}

sub altered
{
    my ($token, $change) = @_;
    my $bytes = decode_base64url($token);
    $change->($bytes);
    return encode_base64url($bytes);
}

$class = 'binding tokens';
my $their_bytes = pack 'H*', $theirs =~ tr/-//dr;
my %forged = (
    'another account' => altered($our_token, sub { substr($_[0], 1, 16) = $their_bytes }),
    'a later end' => altered($expired_token, sub { substr($_[0], 17, 8) = pack 'Q>', 1 << 62 }),
    'any role' => altered($shop_token, sub { substr($_[0], 25, 4) = "\0" x 4 }),
    'another MAC' => altered($their_token, sub { substr($_[0], -1) ^= "\1" }),
    'no MAC' => altered($their_token, sub { substr($_[0], -32) = "\0" x 32 }),
    'another version' => altered($their_token, sub { substr($_[0], 0, 1) = "\2" }),
    'a byte less' => altered($their_token, sub { chop $_[0] }),
    'a byte more' => altered($their_token, sub { $_[0] .= "\0" }),
    'nothing' => '',
    'no base64' => q{'' OR true --},
    'a megabyte' => 'A' x 1_000_000);
attempt($class, 'PB006', "forged: $_", "SELECT billing.bind_account('$forged{$_}')") foreach sort keys %forged;
attempt($class, '22004', 'forged: NULL', 'SELECT billing.bind_account(NULL)');
attempt($class, 'PB006', 'expired', "SELECT billing.bind_account('$expired_token')");
attempt($class, 'PB006', 'replayed by another role', "SELECT billing.bind_account('$shop_token')");
attempt($class, 'PB006', 'replayed in a transaction bound to another account', "$bind SELECT billing.bind_account('$their_token')");
attempt($class, '42501', 'issued by the application', "SELECT billing.issue_binding('$theirs')");
attempt($class, '42501', 'the key', 'SELECT key FROM billing.binding_key');

$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE template0');
$node->safe_psql('copy', "CREATE EXTENSION billing CASCADE; SELECT billing.create_account('Theirs', '$theirs'), billing.grant_usage_to('kiosk', 'application');");
my (undef, undef, $elsewhere) = $node->psql('copy', "\\set VERBOSITY sqlstate\nSELECT billing.bind_account('$their_token')", extra_params => [ '-U', 'kiosk' ]);
like($elsewhere, qr/ERROR:  PB006/, "$class: replayed in another database");

# What a session remembers of the last token that it verified ends with the key.
my $pooled = Billing::Session->new($node);
$pooled->query('SET SESSION AUTHORIZATION kiosk');
is($pooled->query("SELECT billing.bind_account('$their_token')"), $theirs, "a token that is accepted, $_") foreach 1, 2;
$node->safe_psql('postgres', 'SELECT billing.rotate_binding_key()');
like($pooled->query("SELECT billing.bind_account('$their_token')"), qr/^ERROR:  PB006/,
    "$class: replayed after the key was replaced, in the session that had accepted it");
$pooled->close;
$before = digest();
attempt($class, 'PB006', 'replayed after the key was replaced', "SELECT billing.bind_account('$their_token')");

# What is proven above to be refused is refused for its reason: the same works with the right token.
my $fresh = issue($theirs, '1 hour', 'kiosk');
is($node->safe_psql('postgres', "BEGIN; SELECT billing.bind_account('$fresh'); SELECT billing.consume_tokens('$theirs', 1), billing.release_hold('$their_hold'), (SELECT count(*) FROM billing.account_status); COMMIT",
        extra_params => [ '-U', 'kiosk' ]), "$theirs\n189|194|1", 'a transaction that is bound works for its account');

# The schema of ours, there before us.
$class = 'CREATE EXTENSION and schema tricks';
$node->safe_psql('postgres', 'CREATE DATABASE trap OWNER shop TEMPLATE template0');
$node->safe_psql('trap', q{CREATE SCHEMA billing; CREATE FUNCTION billing.accept() RETURNS boolean LANGUAGE sql AS 'SELECT true'},
    extra_params => [ '-U', 'shop' ]);
my (undef, undef, $trap) = $node->psql('trap', "\\set VERBOSITY sqlstate\nCREATE EXTENSION billing CASCADE");
like($trap, qr/ERROR:  55000/, "$class: a schema billing that the attacker owns");
$node->safe_psql('trap', 'ALTER SCHEMA billing OWNER TO CURRENT_USER');
(undef, undef, $trap) = $node->psql('trap', "\\set VERBOSITY sqlstate\nCREATE EXTENSION billing CASCADE");
like($trap, qr/ERROR:  55000/, "$class: a function of his in it");

cmp_ok($attempts{$_}, '>=', 2, "$_: $attempts{$_} attempts") foreach sort keys %attempts;
my $total = 0;
$total += $_ foreach values %attempts;
cmp_ok($total, '>=', 30, "$total attempts in all");

$node->stop;
done_testing();
