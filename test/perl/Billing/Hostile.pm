# Calls of everything in the schema with hostile values of every argument's type: nothing crashes,
# nothing is an internal error, the rules of the ledger and of the users hold afterwards. What each call
# has to answer says test/t/bad_input.pl; this one makes up combinations that nobody has thought of.
#
# BILLING_SEED repeats the calls, BILLING_ROUNDS is how many random combinations each function gets.

package Billing::Hostile;

use strict;
use warnings;

use Billing::EveryKind;
use Billing::Invariants;
use Billing::Session;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

our @EXPORT = qw(hostile_test);

# Every line of a script is a statement, so that psql's line numbers tell which call failed.
use constant CALLS_A_TRANSACTION => 50;

my @text = (
    "''", "' '", "repeat('x', 64)", "repeat('x', 100000)", "repeat('ä', 255)", "E'\\x01\\x02\\x1b\\x7f'", "E'tab\\tnew\\nline\\r'",
    "E'\\u202Eright\\u200Dleft\\uFEFF'", "E'e\\u0301\\U0001F4A9\\U0010FFFF'", "E'\\uD83D\\uDCA9'", "'Nö such:*'", "'a:b:c'", "'*:*'", "'%s%n%x'",
    "'; DROP TABLE billing.account; --'", "'\"'", "E'\\\\'", "'-1'", "'NaN'", "'infinity'", "'USD'", "'\@'", "'a\@b'", "'NULL'");

# Values of each type that no caller means well with.
my %hostile = (
    text => \@text,
    cstring => [ map { "($_)::cstring" } grep { !/repeat/ } @text ],
    name => [ "''", "'no such'", "repeat('x', 63)", "repeat('x', 200)", "'pg_monitor'", "'public'", "'postgres'", "E'\\x01'" ],
    bigint => [ 0, -1, 1, "'9223372036854775807'", "'-9223372036854775808'", "'4294967296'" ],
    integer => [ 0, -1, "'2147483647'", "'-2147483648'" ],
    smallint => [ 0, -1, "'32767'", "'-32768'" ],
    boolean => [ 'true', 'false' ],
    uuid => [ "'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "'0badc0de-0000-4000-8000-00000000ffff'" ],
    bytea => [ "''", "decode(repeat('ff', 1000), 'hex')", "decode('00', 'hex')", "decode(repeat('00', 100000), 'hex')" ],
    numeric => [ 0, -1, "'NaN'", "'Infinity'", "'-Infinity'", '1e300', '1e-300', '-9223372036854775808.5', "('1' || repeat('0', 131071))" ],
    'timestamp with time zone' => [ "'infinity'", "'-infinity'", "'4714-11-24 BC Z'", "'4713-01-01 BC Z'", "'294276-12-31 23:59:59.999999Z'", "'epoch'", "'2000-02-29 23:59:60Z'", 'now()' ],
    interval => [ "'0'", "'-1 day'", "'1 month -31 days'", "'1 microsecond'", "'178000000 years'", "'-178000000 years'", 'make_interval(months => 2147483647, days => 2147483647)', 'make_interval(months => -2147483648)', "'2562047788:00:54.775807'" ],
    jsonb => [ "'[1]'", "'1'", "'null'", "'{}'", q{'{"": null}'}, q{(repeat('{"a":', 1000) || '1' || repeat('}', 1000))}, q{('[' || repeat('1,', 50000) || '1]')}, q{'{"a": 1e400}'} ],
    'billing.amount' => [ "'0.00 USD'", "'-1.00 USD'", "'92233720368547758.07 USD'", "'-92233720368547758.08 USD'", "'1 JPY'", "'9223372036854775807 JPY'", "'0.001 BHD'" ],
);

# The same within arrays: empty, NULL inside, several dimensions, other bounds, many.
for my $type (qw(text uuid bigint integer boolean jsonb), 'timestamp with time zone', 'billing.amount')
{
    my @values = @{ $hostile{$type} };
    $hostile{"$type\[]"} = [
        "'{}'", "'{NULL}'", "'{NULL,NULL,NULL}'", (map { "ARRAY[($_)::$type]" } @values), "ARRAY[NULL, ($values[-1])::$type]",
        "ARRAY[[($values[0])::$type, ($values[-1])::$type], [NULL, NULL]]", "array_fill(($values[0])::$type, ARRAY[2, 2, 2])",
        "array_fill(($values[1])::$type, ARRAY[3], ARRAY[-2147483648])", "array_fill(($values[1])::$type, ARRAY[20000])" ];
}

# Values with which calls get deep, by the argument's name; a uuid of another name may be any of them.
my %row_of = (
    account => 'account', acting_user => 'account_user', user => 'account_user', order => 'plan_order', hold => 'hold', payment => 'payment',
    subscription => 'subscription', grant => 'token_grant', event => 'event');
my %valid = (
    text => [ map { "'$_'" } qw(docs mail pro basic pack none reader admin member immediate period_end application reporting every_kind consumer mailer card print captured), 'user1@example.com', 'plum kettle 94 harbour', 'UTC' ],
    name => ["'every_kind_report'"],
    cstring => ["'12.50 USD'"],
    bigint => [ 1, 10 ],
    interval => [ "'1 day'", "'1 month'" ],
    'timestamp with time zone' => [ 'now()', "now() + interval '1 day'" ],
    numeric => [ 1, 12.5 ],
    jsonb => [q{'{"tier": 1}'}],
    boolean => [ 'true', 'false' ],
    'billing.amount' => [ "'5.00 USD'", "'12.00 USD'", "'30.00 USD'" ],
    'text[]' => [ "'{docs}'", "'{docs:read}'", "'{docs,mail}'" ],
    'bigint[]' => [ "'{1}'", "'{1,2}'" ],
);
my %id;

sub pick { return $_[ int rand @_ ] }

# By these an account comes to have more users than its plan allows, which is right, or its time moves.
my $ends_plan = qr/subscri|clock|plan|expire|payment|refund|suspend|usage/;

sub typed
{
    my ($value, $type) = @_;
    return $type =~ /^(?:cstring|internal|any|record)/ ? $value : "($value)::$type";
}

sub valid_value
{
    my ($type, $name) = @_;
    my ($of) = grep { $name =~ /^$_/ } reverse sort keys %row_of;
    return pick(@{ $id{ $of // pick(keys %row_of) } }) if $type eq 'uuid';
    return 'ARRAY[' . pick(@{ $id{ $of // 'account' } }) . ']::uuid[]' if $type eq 'uuid[]';
    return pick(@{ $valid{$type} // $hostile{$type} });
}

# What SQL can call: functions, aggregates, operators, and texts as a value of each type.
sub callables
{
    my ($node) = @_;
    my @found;
    for (split /\n/, $node->safe_psql('hostile', <<'SQL'))
SELECT p.oid::regprocedure, p.proname, p.prokind, array_to_string(ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS a(t, n) ORDER BY n), ';'),
    array_to_string(p.proargnames, ';'), p.proretset OR EXISTS (SELECT FROM pg_type t WHERE t.oid = p.prorettype AND typtype = 'c') OR p.prorettype = 'record'::regtype
FROM pg_proc AS p WHERE p.pronamespace = 'billing'::regnamespace AND p.prorettype NOT IN ('trigger'::regtype, 'internal'::regtype, 'event_trigger'::regtype)
    AND NOT 'internal'::regtype = ANY (p.proargtypes) ORDER BY 1
SQL
    {
        my ($signature, $name, $kind, $types, $names, $rows) = split /\|/, $_, -1;
        push @found, { what => $signature, name => $name, types => [ split /;/, $types ], names => [ split /;/, $names ],
            sql => $rows eq 't' ? "SELECT count(*) FROM billing.$name(%s) AS x" : "SELECT (billing.$name(%s)) IS NULL" };
    }
    for (split /\n/, $node->safe_psql('hostile', <<'SQL'))
SELECT oid::regoperator, oprname, nullif(oprleft, 0)::regtype, oprright::regtype FROM pg_operator WHERE oprnamespace = 'billing'::regnamespace ORDER BY 1
SQL
    {
        my ($what, $name, $left, $right) = split /\|/, $_, -1;
        push @found, { what => "operator $what", name => 'operator', names => [], types => [ grep { length } $left, $right ],
            sql => length $left ? "SELECT %s OPERATOR(billing.$name) %s" : "SELECT OPERATOR(billing.$name) %s" };
    }
    for (split /\n/, $node->safe_psql('hostile', q{SELECT format_type(oid, NULL) FROM pg_type WHERE typnamespace = 'billing'::regnamespace AND typtype <> 'p' ORDER BY 1}))
    {
        push @found, { what => "text as $_", name => 'cast', names => [], types => ['text'], sql => "SELECT (%s)::$_ IS NULL" };
    }
    return @found;
}

# The calls of one of them: every hostile value of each argument beside valid ones, then anything.
sub calls_of
{
    my ($callable, $rounds) = @_;
    my @types = @{ $callable->{types} };
    my @names = map { $callable->{names}[$_] // '' } 0 .. $#types;
    my $good = sub { map { typed(valid_value($types[$_], $names[$_]), $types[$_]) } 0 .. $#types };
    my @calls = ([ $good->() ]);
    for my $n (0 .. $#types)
    {
        for my $value ('NULL', @{ $hostile{ $types[$n] } // [] })
        {
            my @arguments = $good->();
            $arguments[$n] = typed($value, $types[$n]);
            push @calls, \@arguments;
        }
    }
    for (1 .. (@types ? $rounds : 0))
    {
        my @arguments = $good->();
        for my $n (grep { rand() < 0.4 } 0 .. $#types)
        {
            $arguments[$n] = typed(pick('NULL', @{ $hostile{ $types[$n] } // [] }), $types[$n]);
        }
        push @calls, \@arguments;
    }
    return map { { what => $callable->{what}, keep => $callable->{name} !~ $ends_plan && rand() < 0.3, sql => fill($callable, @$_) } } @calls;
}

sub fill
{
    my ($callable, @arguments) = @_;
    # between two operands stands the operator
    return sprintf $callable->{sql}, $callable->{name} eq 'operator' ? @arguments : join ', ', @arguments;
}

# Sends them as a role, each in a savepoint; returns what failed: the call and its SQLSTATE.
sub send_calls
{
    my ($node, $role, $file, @calls) = @_;
    my (@lines, %at);
    push @lines, '\set VERBOSITY sqlstate', '\set ON_ERROR_ROLLBACK on', 'SET statement_timeout = 5000; SET client_min_messages = error;', 'BEGIN;';
    my $n = 0;
    for my $call (@calls)
    {
        push @lines, 'SAVEPOINT before;' if !$call->{keep};
        push @lines, "$call->{sql};";
        $at{ scalar @lines } = $call;
        push @lines, 'ROLLBACK TO before;' if !$call->{keep};
        push @lines, 'COMMIT;', 'BEGIN;' if ++$n % CALLS_A_TRANSACTION == 0;
    }
    push @lines, 'COMMIT;', '\echo lived';
    open my $fh, '>', $file or die "$file: $!";
    print $fh map { "$_\n" } @lines;
    close $fh;
    my ($status, $out, $err) = $node->psql('hostile', undef, on_error_stop => 0, extra_params => [ '-U', $role, '-f', $file ]);
    is($status, 0, "$role: the session lived through " . @calls . ' calls') or diag $err;
    like($out, qr/^lived$/m, "$role: to the last");
    my @failed;
    while ($err =~ /:(\d+): (?:ERROR|FATAL|PANIC):  ([0-9A-Z]{5})/g)
    {
        push @failed, { what => 'the end of a transaction', sql => $lines[ $1 - 1 ], %{ $at{$1} // {} }, state => $2 };
    }
    return @failed;
}

sub told { return join "\n", map { "$_->{state} $_->{what}: " . substr $_->{sql}, 0, 500 } @_ }

sub internal { return grep { $_->{state} =~ /^(?:XX|57P|58)/ } @_ }

# hostile_test(name, rounds)
sub hostile_test
{
    my ($name, $rounds) = @_;
    $rounds = $ENV{BILLING_ROUNDS} // $rounds;
    my $seed = $ENV{BILLING_SEED} // int rand 1_000_000;
    note "BILLING_SEED=$seed BILLING_ROUNDS=$rounds";
    srand $seed;
    my $node = new_server($name);
    my $dir = PostgreSQL::Test::Utils::tempdir();
    my @callables = callables($node);
    cmp_ok(scalar @callables, '>', 100, 'functions, operators and types are found');
    my %unknown = map { $_ => 1 } grep { !$hostile{$_} } map { @{ $_->{types} } } @callables;
    is(join(', ', sort keys %unknown), '', 'there are hostile values of every type');

    my $over = over_limit($node, 'hostile');
    my $started = 'SELECT pg_postmaster_start_time()';
    my $server = $node->safe_psql('hostile', $started);
    my $watcher = Billing::Session->new($node, 'hostile');
    my $began = time;
    for my $role ($node->safe_psql('hostile', 'SELECT current_user'), 'every_kind_app')
    {
        my @calls = map { calls_of($_, $rounds) } @callables;
        my %called = map { $_->{what} => 1 } @calls;
        is(join(', ', grep { !$called{$_} } map { $_->{what} } @callables), '', "$role: everything is called");
        my @failed = send_calls($node, $role, "$dir/$role.sql", @calls);
        is(told(internal(@failed)), '', "$role: no internal error");
        my @long = grep { $_->{state} eq '57014' } @failed;
        diag "$role: stopped by statement_timeout: " . told(@long) if @long;
        my %state;
        $state{ $_->{state} }++ for @failed;
        diag "$role: " . @calls . ' calls, ' . @failed . ' failed: ' . join ', ', map { "$_ $state{$_}" } sort { $state{$b} <=> $state{$a} || $a cmp $b } keys %state;
        cmp_ok(scalar @failed, '<', scalar @calls, "$role: some succeed");
    }
    diag sprintf 'in %d s', time - $began;
    is($node->safe_psql('hostile', $started), $server, 'the server is the one that was started');
    is($watcher->query('SELECT 1'), 1, 'a session from before lives');
    $watcher->close;
    is(crashes($node), '', 'no crash');
    is(broken($node, 'hostile'), '', 'the rules hold');
    # some of those who were over it may have been removed
    my %before = map { split /\|/ } split /\n/, $over;
    my %after = map { split /\|/ } split /\n/, over_limit($node, 'hostile');
    is(join(' ', grep { $after{$_} > ($before{$_} // 0) } sort keys %after), '', 'nobody has more users than allowed');

    detects($node, $dir);
    $node->stop;
    done_testing();
    return;
}

# An internal error is noticed: of a function that is like the others.
sub detects
{
    my ($node, $dir) = @_;
    $node->safe_psql('hostile', <<'SQL');
CREATE FUNCTION billing.planted(account_id uuid, tokens bigint) RETURNS bigint LANGUAGE plpgsql AS
$$BEGIN IF tokens < 0 THEN RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'planted'; END IF; RETURN tokens; END$$;
SQL
    my ($planted) = grep { $_->{name} eq 'planted' } callables($node);
    my @failed = send_calls($node, 'every_kind_app', "$dir/planted.sql", calls_of($planted, 0));
    like(told(internal(@failed)), qr/^XX000 billing\.planted/, 'an internal error is noticed');
    $node->safe_psql('hostile', 'DROP FUNCTION billing.planted');
    return;
}

sub new_server
{
    my ($name) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    $node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
    $node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\njit = off\nlog_min_error_statement = panic\n");
    $node->start;
    $node->safe_psql('postgres', 'CREATE ROLE every_kind_app LOGIN; CREATE ROLE every_kind_report; CREATE DATABASE hostile');
    $node->safe_psql('hostile', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
    every_kind($node, 'hostile');
    for my $of (keys %row_of)
    {
        my $column = $of eq 'grant' ? 'grant_id' : $of eq 'acting_user' ? 'user_id' : "${of}_id";
        $id{$of} = [ split /\n/, $node->safe_psql('hostile', "SELECT quote_literal($column) FROM billing.$row_of{$of} ORDER BY $column LIMIT 50") ];
    }
    return $node;
}

1;
