# Logins under load and under attack: memory, waiting, what is remembered, hashes of others.

use strict;
use warnings;

use IPC::Run;
use MIME::Base64;
use POSIX qw(sysconf _SC_PAGESIZE);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PostgreSQL::Test::Cluster->new('login');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'billing'
max_connections = 230
fsync = off
billing.password_memory = 20MB
billing.max_password_hashers = 3
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION billing CASCADE;
SELECT billing.create_plan('free', 'free');
SELECT billing.create_account('A', '11111111-1111-4111-8111-1111111111aa');
SELECT billing.add_user_within_limit('11111111-1111-4111-8111-1111111111aa', 'ada@example.com', 'correct horse battery', 'admin');
CREATE FUNCTION login(address text, password text) RETURNS text LANGUAGE sql AS
    'SELECT reason FROM billing.authenticate_user(address, password)';
SQL

sub sql { return $node->safe_psql('postgres', shift) }

# psql in the background, its output in a file
sub session
{
    my ($sql) = @_;
    my $dir = PostgreSQL::Test::Utils::tempdir();
    append_to_file("$dir/in", $sql);
    my $run = IPC::Run::start(
        [ 'psql', '-XqAt', '-v', 'VERBOSITY=sqlstate', '-d', $node->connstr('postgres'), '-f', "$dir/in" ],
        '>', "$dir/out", '2>&1');
    return { run => $run, out => "$dir/out" };
}

sub result
{
    my ($session) = @_;
    IPC::Run::finish($session->{run});
    return slurp_file($session->{out});
}

# Memory: 200 sessions that have logged in once, so that only hashing is new. A sweep over them
# must be quick, or it counts who is through and who came after him together.
my @statm;

sub anonymous_mb
{
    my $sum = 0;
    my $began = time;
    for my $file (@statm)
    {
        sysseek $file, 0, 0;
        sysread $file, my $line, 200;
        my (undef, $resident, $shared) = split ' ', $line;
        $sum += $resident - $shared;
    }
    return time - $began < 0.004 ? $sum * sysconf(_SC_PAGESIZE) / 2**20 : undef;
}

sub anonymous_mb_surely
{
    for (1 .. 1000)
    {
        my $sum = anonymous_mb();
        return $sum if defined $sum;
    }
    die 'the machine is too slow';
}

my $one = q{SELECT login('ada@example.com', 'correct horse battery');};
my $holder = $node->background_psql('postgres');
$holder->query('SELECT pg_advisory_lock(1)');
my @logins = map { session("$one\nSELECT pg_advisory_lock_shared(1) IS NULL;\n$one\nSELECT pg_advisory_lock_shared(2) IS NULL;\n") } 1 .. 200;
$holder->query('SELECT pg_advisory_lock(2)');
my $waiting = q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %d AND objsubid = 1 AND NOT granted};
$node->poll_query_until('postgres', sprintf($waiting, 1), '200') or die 'the sessions do not come';
for my $pid (split /\n/, sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()}))
{
    open my $file, '<', "/proc/$pid/statm" or next;
    push @statm, $file;
}
my $before = anonymous_mb_surely();
my $peak = $before;
my $began = time;
$holder->query('SELECT pg_advisory_unlock(1)');
my $samples = 0;
my $done = '';

# The others wait at the second barrier when they are through.
while ($done ne '200' && time < $began + 120)
{
    for (1 .. 200)
    {
        my $now = anonymous_mb();
        next unless defined $now;
        $peak = $now if $now > $peak;
        $samples++;
    }
    $done = sql(sprintf $waiting, 2);
}
is($done, '200', sprintf '200 concurrent logins take %.1f s', time - $began);

# What the sessions themselves have grown by is not for hashing.
my $taken = $peak - anonymous_mb_surely();
cmp_ok($taken, '<=', 3 * 20 + 6, sprintf 'they take at most 3 x 20 MB for hashing: %.0f MB in %d samples', $taken, $samples);
cmp_ok($taken, '>=', 20, 'which was seen');
$holder->query('SELECT pg_advisory_unlock(2)');
is_deeply([ map { result($_) } @logins ], [ ("no_active_plan\nf\nno_active_plan\nf\n") x 200 ], 'all of them are let in');
$holder->quit;

# Waiting: one place, taken by a hash that is slow to verify
$node->append_conf('postgresql.conf', "billing.max_password_hashers = 1\n");
$node->reload;
sql(q{SET billing.password_memory = '128MB'; SET billing.password_passes = 8; SELECT billing.add_user_within_limit('11111111-1111-4111-8111-1111111111aa', 'slow@example.com', 'correct horse battery')});
my $slow = q{SELECT login('slow@example.com', 'correct horse battery');};
my $places = q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 176 AND granted};

# Stopped while it hashes, so that however fast the machine is it keeps its place.
my $hasher;

sub begin_slow
{
    my $session = session($slow);
    $node->poll_query_until('postgres', $places, '1') or die 'nobody hashes';
    $hasher = sql(q{SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 176 AND granted});
    kill 'STOP', $hasher;
    return $session;
}

sub end_slow
{
    my ($session) = @_;
    kill 'CONT', $hasher;
    return result($session);
}

my $first = begin_slow();
$began = time;
my $second = result(session("SET statement_timeout = '200ms';\n$one"));
cmp_ok(time - $began, '<', 20, 'a waiting login honours statement_timeout');
like($second, qr/ERROR:  57014/, 'and says so');
like(result(session("SET lock_timeout = '100ms';\n$one")), qr/ERROR:  55P03/, 'and lock_timeout');
is(end_slow($first), "no_active_plan\n", 'the one who hashes is not disturbed');
is(sql($places), 0, 'and has left its place');

for my $function (qw(pg_cancel_backend pg_terminate_backend))
{
    $first = begin_slow();
    my $next = session($one);
    $node->poll_query_until('postgres', q{SELECT count(*) FROM pg_locks WHERE objsubid = 176 AND NOT granted}, '1');
    sql(qq{SELECT $function(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 176 AND granted});
    kill 'CONT', $hasher;
    is(result($next), "no_active_plan\n", "$function of who hashes frees its place");
    like(result($first), qr/57014|57P01/, 'who is out');

    $first = begin_slow();
    $next = session($one);
    $node->poll_query_until('postgres', q{SELECT count(*) FROM pg_locks WHERE objsubid = 176 AND NOT granted}, '1');
    sql(qq{SELECT $function(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 176 AND NOT granted});
    like(result($next), qr/57014|57P01/, "$function of who waits ends the wait");
    is(end_slow($first), "no_active_plan\n", 'of nobody else');
}
is(sql($places), 0, 'no place is taken for ever');

# Whoever waits meets the password that is set meanwhile, and the hash that another login has renewed.
my $ada = sql(q{SELECT user_id FROM billing.account_user WHERE email = 'ada@example.com'});
my $awaited = q{SELECT count(*) FROM pg_locks WHERE objsubid = 176 AND NOT granted};
my $setter = $node->background_psql('postgres');
$setter->query("BEGIN; SELECT billing.set_user_password('$ada', 'brand new word 22')");
$first = begin_slow();
my @queued = map { session("SELECT login('ada\@example.com', '$_');") } 'correct horse battery', 'brand new word 22';
$node->poll_query_until('postgres', $awaited, '2') or die 'nobody waits';
$setter->query('COMMIT');
end_slow($first);
is_deeply([ map { result($_) } @queued ], [ "invalid_credentials\n", "no_active_plan\n" ], 'the old password is refused to who waited, the new one is not');
$setter->query("SELECT billing.set_user_password('$ada', 'correct horse battery')");
$setter->quit;
$first = begin_slow();
@queued = map { session("SET billing.password_memory = '24MB'; $one") } 1, 2;
$node->poll_query_until('postgres', $awaited, '2') or die 'nobody waits';
end_slow($first);
is_deeply([ map { result($_) } @queued ], [ ("no_active_plan\n") x 2 ], 'a renewed hash is of the same password');
sql("SELECT billing.set_user_password('$ada', 'correct horse battery')");
is(sql(q{SELECT login('ada@example.com', 'correct horse battery')}), 'no_active_plan', 'a login that was cancelled is no failed one');

# What is remembered: nothing that a ROLLBACK takes back, nothing beyond a restart
sql(q{BEGIN; SELECT login('ada@example.com', 'wrong'); ROLLBACK}) for 1 .. 5;
is($one = sql(q{SELECT login('ada@example.com', 'correct horse battery')}), 'invalid_credentials', 'rolled back wrong passwords count');
is(sql('SELECT count(*) FROM billing.login_failure'), 0, 'in memory');
is(sql(q{SELECT login('slow@example.com', 'correct horse battery')}), 'no_active_plan', 'for nobody else');
is($node->safe_psql('template1', 'SELECT 1'), 1, 'other databases are there');
$node->restart;
is(sql(q{SELECT login('ada@example.com', 'correct horse battery')}), 'no_active_plan', 'a restart forgets');

# What ends a lock-out counts from its commit on
my $right = q{SELECT login('ada@example.com', 'correct horse battery')};
my $forgiving = "SELECT billing.set_user_password('$ada', 'temporary horse 5')";
sql(q{SELECT login('ada@example.com', 'wrong')}) for 1 .. 5;
sql("BEGIN; $_; ROLLBACK")
  for $forgiving, "SAVEPOINT s; $forgiving; RELEASE s", map { "SELECT billing.$_(user_id) FROM billing.account_user ORDER BY user_id = '$ada'" } qw(remove_user erase_user);
sql("BEGIN; SAVEPOINT s; $forgiving; ROLLBACK TO s; COMMIT");
is(sql($right), 'invalid_credentials', 'no lock-out is ended by what is rolled back');
is(sql("BEGIN; $forgiving; SELECT login('ada\@example.com', 'wrong'); SELECT login('ada\@example.com', 'temporary horse 5'); ROLLBACK"),
    "\ninvalid_credentials\nno_active_plan", 'within the transaction it has ended');
is(sql($right), 'invalid_credentials', 'until that is rolled back');
sql("BEGIN; SAVEPOINT s; SELECT billing.set_user_password('$ada', 'correct horse battery'); RELEASE s; SELECT login('ada\@example.com', 'wrong'); COMMIT");
is(sql($right), 'no_active_plan', 'it is ended by what is committed');
sql(q{SELECT login('ada@example.com', 'wrong')}) for 1 .. 4;
sql("BEGIN; SELECT billing.set_user_password('$ada', 'correct horse battery'); SELECT login('ada\@example.com', 'wrong'); COMMIT");
sql(q{SELECT login('ada@example.com', 'wrong')}) for 1 .. 4;
is(sql($right), 'invalid_credentials', 'which begins the count anew, with what was got wrong since');
$node->restart;

# Many wrong passwords at once are no more guesses than five
my @guesses = map { session(q{SELECT login('ada@example.com', 'wrong');}) } 1 .. 30;
result($_) for @guesses;
is(sql(q{SELECT login('ada@example.com', 'correct horse battery')}), 'invalid_credentials', 'concurrent wrong passwords lock out as well');

# A hot standby lets in, and counts for itself
$node->restart;
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', q{SELECT login('ada@example.com', 'correct horse battery')}), 'no_active_plan', 'a standby lets in');
is($standby->safe_psql('postgres', q{SELECT login('ada@example.com', 'wrong')}), 'invalid_credentials', 'not with a wrong password') for 1 .. 5;
is($standby->safe_psql('postgres', q{SELECT login('ada@example.com', 'correct horse battery')}), 'invalid_credentials', 'and locks out');
$standby->stop;

# Hashes of others log in here, ours verify there
$node->append_conf('postgresql.conf', "billing.password_memory = 19MB\nbilling.max_password_hashers = 4\n");
$node->reload;
my $password = 'pass phrase of another implementation';

sub output
{
    my ($input, @command) = @_;
    my $out = '';
    IPC::Run::run(\@command, '<', \$input, '>', \$out) or die "@command";
    chomp $out;
    return $out;
}

sub import_hash
{
    my ($hash) = @_;
    sql("UPDATE billing.account_user SET password_hash = '$hash' WHERE email = 'slow\@example.com'");
    is(sql("SELECT login('slow\@example.com', '$password')"), 'no_active_plan', $hash =~ s/\$[^\$]*\$[^\$]*$//r . ' logs in');
    return;
}

# Botan's own implementation, and the reference implementation
import_hash(output('', qw(botan gen_argon2), "--mem=$$_[0]", "--t=$$_[1]", "--p=$$_[2]", $password))
  for [ 19456, 2, 1 ], [ 8192, 3, 1 ], [ 16384, 1, 4 ];
import_hash(output($password, 'argon2', $$_[0], $$_[1], '-k', $$_[2], '-t', $$_[3], '-p', $$_[4], '-e'))
  for [ 'saltsalt', '-id', 19456, 2, 1 ], [ 'a salt of another length', '-id', 4096, 5, 2 ], [ 'saltsalt', '-i', 8192, 3, 1 ];
is(sql(q{SELECT login('slow@example.com', 'pass phrase of another implementatio')}), 'invalid_credentials', 'a prefix does not');

sub salt
{
    my ($encoded) = (split /\$/, shift)[4];
    return decode_base64($encoded . '=' x (-length($encoded) % 4));
}

my $hash;
do
{
    sql("SELECT billing.set_user_password(user_id, '$password') FROM billing.account_user WHERE email = 'slow\@example.com'");
    $hash = sql(q{SELECT password_hash FROM billing.account_user WHERE email = 'slow@example.com'});
} while (salt($hash) =~ /\0/);    # no argument can contain that
is(output('', 'botan', 'check_argon2', $password, $hash), 'Password is valid', 'Botan accepts ours');
unlike(`botan check_argon2 another '$hash'`, qr/is valid/, 'for that password only');
is(output($password, 'argon2', salt($hash), '-id', '-k', 19456, '-t', 2, '-p', 1, '-e'), $hash,
    'the reference implementation makes the same of salt and password');

$node->stop;
done_testing();
