# The demo tells its story to the end; and with a library that says yes where it should say no, to
# everything or in one place only, it fails at a wrong answer.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename;
use File::Copy;
use File::Path qw(make_path);
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = $ENV{BILLING_ROOT};
my $dir = PostgreSQL::Test::Utils::tempdir();

# Each change turns the answer of one rule into yes: file, what stands there, what comes in its place.
my %yes = (
    'every check' => [ 'access.c', 'return access_tuple(fcinfo, &access);',
        'access.allowed = true; access.level = "full"; access.reason = REASON_ALLOWED; return access_tuple(fcinfo, &access);' ],
    'plan_is_active' => [ 'access.c', "billing_plan_is_active(PG_FUNCTION_ARGS)\n{",
        "billing_plan_is_active(PG_FUNCTION_ARGS)\n{ PG_RETURN_BOOL(true);" ],
    'user_permissions' => [ 'access.c', 'if (both != NULL && !permission_set_grants(&withheld, both))', 'if (both != NULL)' ],
    'consume_tokens' => [ 'consume.c', 'spend_raise(&request, &answer);', ';' ],
    'try_consume_tokens' => [ 'consume.c', 'values[0] = BoolGetDatum(answer.granted);', 'values[0] = BoolGetDatum(true);' ],
    'seats' => [ 'seat_room.c', 'limit != SEATS_UNLIMITED && users > limit', 'false' ],
    'who has a seat' => [ 'roster.c', 'bool has_seat = ', 'bool has_seat = true || ' ],
    'who may add users' => [ 'actor.c', 'if (!access.allowed)', 'if (false)' ],
    'logins' => [ 'login.c', 'if (!lockout_admit(&login->account_id, &login->subject, matches))', 'if (false)' ],
    'payments' => [ 'payment.c', 'amount_compare(notice->amount, &order->due) != 0', 'false' ],
    'the ledger' => [ 'guard.c', "raise_immutable(guard_trigger_data(fcinfo, \"guard_immutable\"));", '' ],
);

sub changed
{
    my ($text, $name) = @_;
    my ($file, $from, $to) = @{ $yes{$name} };
    $text =~ s/\Q$from\E/$to/;
    return $text;
}

# Where the code has moved on, the changes above have to follow.
for my $name (sort keys %yes)
{
    my ($file, $from) = @{ $yes{$name} };
    my $count = () = slurp_file("$root/src/$file") =~ /\Q$from\E/g;
    is($count, 1, "yes to $name: src/$file has the place to change once");
}

# A checkout that may be changed, built without asking what the compiler thinks of it.
sub run_quietly
{
    my @command = @_;
    my $output;
    IPC::Run::run(\@command, '>', \$output, '2>&1') or die "@command: $output";
    return;
}
make_path("$dir/checkout/src", "$dir/checkout/sql", "$dir/obj");
copy($_, "$dir/checkout/" . s{^\Q$root\E/}{}r) or die "$_: $!"
    for glob("$root/Makefile $root/META.json $root/billing.control $root/src/* $root/sql/*");

sub build
{
    my (@names) = @_;
    my %files = map { $yes{$_}[0] => slurp_file("$root/src/$yes{$_}[0]") } @names;
    $files{ $yes{$_}[0] } = changed($files{ $yes{$_}[0] }, $_) for @names;
    append_to_file("$dir/checkout/src/$_", '') for keys %files;
    for my $file (keys %files)
    {
        open my $handle, '>', "$dir/checkout/src/$file" or die "$file: $!";
        print $handle $files{$file};
        close $handle;
    }
    run_quietly('make', '-s', '-j2', '-C', "$dir/obj", '-f', "$dir/checkout/Makefile",
        "PG_CONFIG=$ENV{PG_CONFIG}", 'COPT=-O0 -w', 'with_llvm=no', 'all');
    copy("$root/src/$_", "$dir/checkout/src/$_") for keys %files;
    return "$dir/obj/billing.so";
}

# The server finds its files relative to its programs, so a few links make another server tree.
chomp(my ($bindir, $pkglibdir, $sharedir) = map { `$ENV{PG_CONFIG} --$_` } qw(bindir pkglibdir sharedir));
my $tree = "$dir/tree";
make_path("$tree$bindir", "$tree$pkglibdir", dirname("$tree$sharedir"));
run_quietly('sh', '-c', "cp -p '$bindir'/* '$tree$bindir' && ln -s '$pkglibdir'/* '$tree$pkglibdir'");
symlink($sharedir, "$tree$sharedir") or die "$sharedir: $!";
unlink "$tree$pkglibdir/billing.so";
copy("$pkglibdir/billing.so", "$tree$pkglibdir/billing.so");

my $node = PostgreSQL::Test::Cluster->new('demo', install_path => dirname("$tree$bindir"));
$node->init;
# Hashing as cheap as it may be: the story is told a dozen times.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\nbilling.password_memory = '19MB'");
$node->start;

# Status and output of the demo, in a database of its own.
sub tell_story
{
    my ($library) = @_;
    my $output;
    if ($library)
    {
        unlink "$tree$pkglibdir/billing.so";
        copy($library, "$tree$pkglibdir/billing.so") or die "$library: $!";
        $node->restart;
    }
    $node->safe_psql('postgres', 'DROP DATABASE IF EXISTS story');
    $node->safe_psql('postgres', 'CREATE DATABASE story');
    local @ENV{qw(PGHOST PGPORT PGDATABASE)} = ($node->host, $node->port, 'story');
    my $told = IPC::Run::run([ "$root/demo/demo" ], '>', \$output, '2>&1');
    return ($told, $output);
}

my ($told, $output) = tell_story();
ok($told, 'the demo tells its story to the end') or diag($output);
my ($seconds) = $output =~ /^All \d+ answers were right, in (\d+) seconds\.$/m;
cmp_ok($seconds // 1000, '<', 180, 'in less than three minutes');
unlike($output, qr/TBD/, 'and nothing is left open');

for my $names ([ sort keys %yes ], map { [$_] } sort keys %yes)
{
    my $name = @$names > 1 ? 'everything' : $names->[0];
    ($told, $output) = tell_story(build(@$names));
    ok(!$told, "yes to $name: the demo fails");
    like($output, qr/^This answer is wrong\. It should be:$/m, "yes to $name: at a wrong answer") or diag($output);
}

$node->stop;
done_testing();
