# Passwords are nowhere but in the statement that brings them: not in the log, statistics, tables or
# WAL, whatever happens to the statement. With the settings of doc/passwords.md, and bind parameters.

use strict;
use warnings;

use Billing::Extended;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('secrets');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'billing, pg_stat_statements'
pg_stat_statements.track = all
pg_stat_statements.track_utility = on
wal_level = logical
log_statement = all
log_min_messages = debug1
log_min_error_statement = debug1
log_error_verbosity = verbose
log_min_duration_statement = 0
log_lock_waits = on
deadlock_timeout = 50ms
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
billing.password_memory = 19MB
billing.login_lockout = 10min
CONF
$node->start;

# Everything that may become a secret is made of this.
my $marker = join '', map { chr(97 + int rand 26) } 1 .. 12;
my $count = 0;
sub secret { return sprintf 'X%s%03dx', $marker, ++$count }
sub sql { return $node->safe_psql('postgres', shift) }

sql(<<'SQL');
CREATE EXTENSION billing CASCADE;
CREATE EXTENSION pg_stat_statements;
SELECT billing.create_plan('free', 'free', user_limit => 4);
SELECT billing.create_account('A', '11111111-1111-4111-8111-1111111111aa');
SELECT billing.create_account('B', '22222222-2222-4222-8222-2222222222bb');
SELECT billing.suspend_account('22222222-2222-4222-8222-2222222222bb', 'unpaid');
CREATE FUNCTION slow() RETURNS uuid LANGUAGE sql VOLATILE AS
    'SELECT user_id FROM billing.account_user, pg_sleep(0.5) WHERE email = ''ada@example.com''';
SQL

my $a = '11111111-1111-4111-8111-1111111111aa';
my $b = '22222222-2222-4222-8222-2222222222bb';
my $add = 'SELECT billing.add_user_within_limit(:p1, :p2, :p3, :p4)';
my $login = 'SELECT * FROM billing.authenticate_user(:p1, :p2)';
my $set = q{SELECT billing.set_user_password((SELECT user_id FROM billing.account_user WHERE email = :p1), :p2)};

# attempt(name, expected error, statement, parameters)
sub attempt
{
    my ($name, $error, $sql, @parameters) = @_;
    my $got = extended($node, $sql, @parameters);
    $error eq '' ? is($got, '', $name) : like($got, qr/^$error/, $name);
    return;
}

my $ada = secret();
attempt('add', '', $add, $a, 'ada@example.com', $ada, 'admin');
attempt('add: no such account', 'account does not exist', $add, '33333333-3333-4333-8333-3333333333cc', 'x@example.com', secret(), 'member');
attempt('add: suspended', 'account is suspended', $add, $b, 'x@example.com', secret(), 'member');
attempt('add: no such role', 'role does not exist', $add, $a, 'x@example.com', secret(), 'nobody');
attempt('add: not a role', 'role ".*" is not a valid code', $add, $a, 'x@example.com', secret(), 'Nobody');
attempt('add: no address', 'invalid email address', $add, $a, 'x', secret(), 'member');
attempt('add: the password in the wrong place', 'invalid email address', $add, $a, secret(), 'x@example.com', 'member');
attempt('add: address in use', 'email address is already in use', $add, $a, 'ADA@example.com', secret(), 'member');
attempt('add: not a uuid', 'invalid input syntax', $add, 'no uuid', 'x@example.com', secret(), 'member');
attempt('add: too long', 'password is too long', $add, $a, 'x@example.com', secret() x 100, 'member');
attempt('add: its own address', 'password is not acceptable', $add, $a, secret() . '@example.com', 'X' . $marker . sprintf('%03dx', $count), 'member');
attempt('add: others', '', $add, $a, "user$_\@example.com", secret(), 'member') for 1 .. 3;
attempt('add: no seat', 'user limit reached', $add, $a, 'x@example.com', secret(), 'member');
attempt('add: not allowed', 'permission denied', "SET ROLE pg_monitor;\n$add", $a, 'x@example.com', secret(), 'member');
sql(q{SELECT billing.remove_user(user_id) FROM billing.account_user WHERE email = 'user3@example.com'});
attempt('add: rolled back', 'division by zero', "BEGIN;\n$add;\nSELECT 1/0", $a, 'x@example.com', secret(), 'member');

attempt('login', '', $login, 'ada@example.com', $ada);
attempt('login: wrong', '', $login, 'ada@example.com', secret()) for 1 .. 6;
attempt('login: locked out', '', $login, 'ada@example.com', $ada);
attempt('login: unknown', '', $login, 'nobody@example.com', secret());
attempt('login: the password for the address', '', $login, secret(), 'ada@example.com');
attempt('login: both', '', $login, secret(), secret());
attempt('login: read-only', '', "SET default_transaction_read_only = on;\n$login", 'user1@example.com', secret());

attempt('set', '', $set, 'ada@example.com', $ada = secret());
attempt('set: too short', 'password is too short', $set, 'ada@example.com', substr $marker, 0, 7);
attempt('set: nobody', 'user_id must not be null', $set, 'nobody@example.com', secret());
attempt('set: timeout', 'canceling statement due to statement timeout', "SET statement_timeout = '100ms';\nSELECT billing.set_user_password(slow(), :p1)", secret());

# Hashing waits, the lock and the statement time out, within the function.
$node->append_conf('postgresql.conf', "billing.max_password_hashers = 1\n");
$node->reload;
my $hold = 'BEGIN; SELECT billing.disable_user(user_id) FROM billing.account_user WHERE email = \'user1@example.com\';';
my $holder = $node->background_psql('postgres');
$holder->query_safe($hold);
attempt('add: lock timeout', 'canceling statement due to lock timeout', "SET lock_timeout = '200ms';\n$add", $a, 'x@example.com', secret(), 'member');
attempt('add: timeout', 'canceling statement due to statement timeout', "SET statement_timeout = '300ms';\n$add", $a, 'x@example.com', secret(), 'member');
attempt('set: timeout', 'canceling statement due to statement timeout', "SET statement_timeout = '300ms';\n$set", 'user1@example.com', secret());
$holder->query_safe('ROLLBACK');
$holder->quit;

# A renewed hash
sql(q{ALTER SYSTEM SET billing.password_memory = '20MB'});
$node->reload;
attempt('login: renewal', '', $login, 'ada@example.com', $ada);
like(sql(q{SELECT password_hash FROM billing.account_user WHERE email = 'ada@example.com'}), qr/m=20480/, 'the hash is renewed');

# The table's own rules quote neither passwords nor hashes.
attempt('plain: a password for a hash', 'password_hash is not', 'UPDATE billing.account_user SET password_hash = :p1', secret());
attempt('plain: the same, inserted', 'password_hash is not',
    q{INSERT INTO billing.account_user (account_id, email, role, password_hash) VALUES (:p1, 'y@example.com', 'member', :p2)}, $a, secret());
sql(q{SELECT billing.erase_user(user_id) FROM billing.account_user WHERE email = 'user2@example.com'});

# Literals, which the log settings would let through, do not come with an error of ours.
my $bait = secret();
for my $statement (
    "SELECT billing.add_user_within_limit('$a', 'ada\@example.com', '$bait')",
    "SELECT billing.add_user_within_limit(NULL, 'ada\@example.com', '$bait')",
    "SELECT billing.add_user_within_limit('$a', 'z\@example.com', '$bait', 'nobody')",
    "SELECT billing.set_user_password(NULL, '$bait')",
    "SELECT billing.set_user_password('33333333-3333-4333-8333-3333333333cc', '$bait')",
    "SELECT billing.authenticate_user('ada\@example.com', '$bait', '')",
    "DO \$\$ BEGIN PERFORM billing.set_user_password('33333333-3333-4333-8333-3333333333cc', '$bait'); END \$\$")
{
    my (undef, undef, $err) = $node->psql('postgres',
        "SET log_statement = none; SET log_min_duration_statement = -1; SET pg_stat_statements.track = none; SET log_min_error_statement = error; $statement");
    like($err, qr/ERROR/, 'an error with a literal');
}
# A timeout of the server's, which is sure to come while our function waits for the seat lock.
$holder = $node->background_psql('postgres');
$holder->query_safe($hold);
my (undef, undef, $err) = $node->psql('postgres', <<"SQL");
SET log_statement = none; SET log_min_duration_statement = -1; SET pg_stat_statements.track = none; SET log_min_error_statement = error;
SET lock_timeout = '200ms'; SELECT billing.add_user_within_limit('$a', 'literal\@example.com', '$bait')
SQL
like($err, qr/lock timeout/, 'and an error of the server within ours');
$holder->query_safe('ROLLBACK');
$holder->quit;

my $control = join '', map { chr(97 + int rand 26) } 1 .. 12;
$node->psql('postgres', "SET log_statement = none; SET log_min_duration_statement = -1; SET log_min_error_statement = error; SELECT '$control'::numeric");

# Where they may have come to
sql('CHECKPOINT');
my $activity = sql(q{SELECT string_agg(query, ' ') FROM pg_stat_statements});
like($activity, qr/authenticate_user\(\$1, \$2\)/, 'the statements are in pg_stat_statements');
unlike($activity, qr/$marker/i, 'without passwords');
unlike(sql(q{SELECT coalesce(string_agg(e::text, ''), '') FROM billing.event e}), qr/$marker|argon2/i, 'events have none, nor hashes');
$node->stop;

# grep finds what is split by nothing; every marker is another one, so one split by a page's end
# would not hide the others.
sub files_with
{
    my ($string) = @_;
    my @found = split /\n/, `grep -rlai '$string' @{[ $node->data_dir ]} @{[ $node->logfile ]}`;
    return join ' ', map { s{.*/pgdata/}{}r } @found;
}
like(files_with('ada@example.com'), qr{base/.*pg_wal/|pg_wal/.*base/}, 'tables and WAL are readable');
like(files_with('authenticate_user'), qr/\.log/, 'the log is as well');
like(files_with($control), qr/\.log/, 'and has the statements of other errors');
is(files_with($marker), '', "none of $count passwords is in any of them");

done_testing();
