# Users in databases of other encodings, in prepared transactions, and arriving by replication.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('publisher');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', "fsync = off\nmax_prepared_transactions = 2\nbilling.password_memory = 19MB\n");
$node->append_conf('postgresql.conf', "shared_preload_libraries = billing\n");
$node->start;

my $setup = <<'SQL';
SET client_min_messages = warning;
CREATE EXTENSION billing CASCADE;
SELECT billing.create_plan('free', 'free', user_limit => 2);
SELECT billing.create_plan('many', 'subscription', duration => '30 days');
SELECT billing.create_account('A', '11111111-1111-4111-8111-1111111111aa');
SQL
my $a = '11111111-1111-4111-8111-1111111111aa';

sub in
{
    my ($database, $sql) = @_;
    my ($status, $out, $err) = $node->psql($database, "SET client_encoding = 'UTF8'; $sql");
    return $status ? $err =~ s/^psql:<stdin>:\d+: //r =~ s/\n.*//sr : $out;
}

# What is hashed are the bytes of UTF-8, whatever the database's encoding.
$node->safe_psql('postgres', "CREATE DATABASE \L$_\E TEMPLATE template0 ENCODING '$_' LOCALE 'C'") for qw(UTF8 LATIN1 SQL_ASCII);
$node->safe_psql(lc($_), $setup) for qw(UTF8 LATIN1 SQL_ASCII);
my $hash;
for my $database (qw(utf8 latin1 sql_ascii))
{
    is(in($database, "SELECT billing.add_user_within_limit('$a', 'JÖRG\@Bücher.de', 'Grüße aus Köln', 'admin') IS NULL"), 'f', "$database: a user");
    is(in($database, "SELECT email || ' ' || email_key FROM billing.account_user"), 'JÖRG@Bücher.de jörg@bücher.de', "$database: the address and its key");
    is(in($database, "SELECT reason FROM billing.authenticate_user('jörg\@BÜCHER.de', 'Grüße aus Köln')"), 'no_active_plan', "$database: a login");
    is(in($database, "SELECT reason FROM billing.authenticate_user('jörg\@bücher.de', 'Grüsse aus Köln')"), 'invalid_credentials', "$database: not with another password");
    $hash //= in('utf8', 'SELECT password_hash FROM billing.account_user');
    in($database, "UPDATE billing.account_user SET password_hash = '$hash'");
    is(in($database, "SELECT reason FROM billing.authenticate_user('jörg\@bücher.de', 'Grüße aus Köln')"), 'no_active_plan', "$database: with the hash made in UTF8");
}
like(in('latin1', "SELECT billing.add_user_within_limit('$a', 'µ\@example.com', NULL)"), qr/invalid email address/, 'a key that the encoding lacks is refused');
is(in('utf8', "SELECT billing.add_user_within_limit('$a', 'µ\@example.com', NULL) IS NULL"), 'f', 'where it does not, it is not');
like(in('sql_ascii', "SELECT billing.add_user_within_limit('$a', E'\\xE4\@example.com', NULL)"), qr/invalid email address/, 'bytes that are no UTF-8 are no address');
like(in('sql_ascii', "SELECT billing.add_user_within_limit('$a', 'b\@example.com', E'some\\xE4password')"), qr/password is not acceptable/, 'nor a password');

# A prepared transaction keeps its seat, and the lock, also across a restart.
$node->safe_psql('postgres', $setup);
my $add = "SELECT billing.add_user_within_limit('$a', '%s\@example.com', NULL) IS NULL";
is(in('postgres', sprintf $add, 'one'), 'f', 'one of two seats is taken');
in('postgres', sprintf "BEGIN; $add; PREPARE TRANSACTION 'add'", 'two');
like(in('postgres', sprintf "SET lock_timeout = '100ms'; $add", 'three'), qr/lock timeout/, 'the other one is waited for');
$node->stop('immediate');
$node->start;
like(in('postgres', sprintf "SET lock_timeout = '100ms'; $add", 'three'), qr/lock timeout/, 'after a crash as well');
in('postgres', "COMMIT PREPARED 'add'");
like(in('postgres', sprintf $add, 'three'), qr/user limit reached/, 'it was taken');

# Rows that were judged where they were written are not judged again: the plans may come later.
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->append_conf('postgresql.conf', "fsync = off\n");
$subscriber->start;
$subscriber->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
in('postgres', "SELECT billing.subscribe('$a', 'many')");
in('postgres', "SELECT billing.add_user_within_limit('$a', i || '\@example.com', NULL) FROM generate_series(1, 5) i");
in('postgres', 'CREATE PUBLICATION users FOR TABLE billing.account, billing.account_user');
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION users CONNECTION '@{[ $node->connstr ]} dbname=postgres' PUBLICATION users");
$subscriber->wait_for_subscription_sync($node, 'users');
my $users = q{SELECT string_agg(concat_ws(' ', email_key, role, disabled_at IS NULL, removed_at IS NULL), ', ' ORDER BY user_id) FROM billing.account_user};
is($subscriber->safe_psql('postgres', $users), in('postgres', $users), 'seven users come to where one is allowed');
in('postgres', "SELECT billing.disable_user(user_id), billing.enable_user(user_id) FROM billing.account_user WHERE email = '1\@example.com'");
in('postgres', "SELECT billing.remove_user(user_id) FROM billing.account_user WHERE email = '2\@example.com'");
in('postgres', "SELECT billing.add_user_within_limit('$a', '6\@example.com', NULL, 'admin')");
in('postgres', "DELETE FROM billing.account_user WHERE email = '6\@example.com'");
$node->wait_for_catchup('users');
is($subscriber->safe_psql('postgres', $users), in('postgres', $users), 'and change there as here');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM billing.event'), 0, 'their events come with the events');
my ($status, undef, $err) = $subscriber->psql('postgres', "SET session_replication_role = replica; INSERT INTO billing.account_user (account_id, email, role) VALUES ('$a', 'x\@example.com', 'member')");
like($err, qr/user limit reached/, 'a session that calls itself a replica is held to the rules');

$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION users');
$subscriber->stop;
$node->stop;
done_testing();
