# What EXPLAIN ANALYZE tells of a view: nothing about other tenants. A condition that the planner may
# evaluate before the views' own, whatever the order of the joins, lets through as many rows with
# another tenant's value as with one that nobody has.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('rights_explain');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\nfsync = off\njit = off\nautovacuum = off\nbilling.worker = off");
$node->start;

my $victim = '22222222-2222-4222-8222-222222222202';
my $ours = '11111111-1111-4111-8111-111111111101';

# One of each kind for many tenants; the first is ours, the second the victim, whose values are its own.
$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION billing CASCADE;
CREATE ROLE kiosk LOGIN;
ALTER ROLE kiosk SET billing.require_binding = on;
SELECT billing.grant_usage_to('kiosk', 'application'), billing.grant_usage_to('kiosk', 'reporting');
SELECT billing.create_app('ai', 'AI'), billing.create_app('crm', 'CRM'), billing.create_role('clerk', '{ai:read}');
SELECT billing.create_plan('free', 'free', user_limit => 10),
       billing.create_plan('month', 'subscription', price => '9 USD', duration => '5 days', tokens => 100, user_limit => 10),
       billing.create_plan('rare', 'subscription', price => '8 EUR', duration => '3 days', tokens => 100, user_limit => 10);
CREATE TABLE tenant AS
SELECT n, CASE n WHEN 1 THEN '$ours' WHEN 2 THEN '$victim' ELSE gen_random_uuid() END::uuid AS id,
       CASE n WHEN 2 THEN 'rare' ELSE 'month' END AS plan, CASE n WHEN 2 THEN 'crm' ELSE 'ai' END AS app
  FROM generate_series(1, 150) n;
SELECT billing.create_account('Tenant ' || n, id) FROM tenant;
INSERT INTO billing.account_user (account_id, email, role)
SELECT id, 'user' || n || '\@tenant' || n || '.example', 'admin' FROM tenant;
INSERT INTO billing.account_user (account_id, email, role)
SELECT id, 'clerk' || n || '\@tenant' || n || '.example', CASE n WHEN 2 THEN 'clerk' ELSE 'member' END FROM tenant;
SELECT billing.record_payment(billing.order_plan(id, plan), 'bank' || CASE n WHEN 2 THEN 'rott' ELSE '' END, 'ref' || n,
                              CASE n WHEN 2 THEN '8 EUR' ELSE '9 USD' END::billing.amount) FROM tenant;
SELECT billing.record_refund(p.payment_id, 'bank', 'back' || t.n, ('1 ' || billing.currency(p.amount))::billing.amount) FROM billing.payment p JOIN tenant t ON t.id = p.account_id;
SELECT billing.consume_tokens(id, 91, app, idempotency_key => 'one', action => 'act' || n % 7 || CASE n WHEN 2 THEN 'ual' ELSE '' END) FROM tenant;
SELECT billing.refund_tokens(id, 'one', 1) FROM tenant;
SELECT billing.capture_hold(billing.hold_tokens(id, 1, app => app), 1) FROM tenant;
SELECT billing.hold_tokens(id, 1, app => app) FROM tenant;
ANALYZE;
SQL

my @settings = (
    'RESET ALL',
    'SET enable_hashjoin = off; SET enable_mergejoin = off',
    'SET enable_nestloop = off; SET enable_mergejoin = off',
    'SET enable_nestloop = off; SET enable_hashjoin = off',
    'SET join_collapse_limit = 1; SET from_collapse_limit = 1',
    'SET enable_indexscan = off; SET enable_bitmapscan = off',
    'SET enable_seqscan = off');

# Columns whose = and < may go below a security barrier.
my @columns = map { [ split /\|/ ] } split /\n/, $node->safe_psql('postgres', <<'SQL');
SELECT c.relname, a.attname, format_type(a.atttypid, NULL)
  FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
 WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'v' AND 'security_barrier=true' = ANY (c.reloptions)
   AND EXISTS (SELECT FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode
                WHERE o.oprname = '=' AND o.oprleft = a.atttypid AND o.oprright = a.atttypid AND p.proleakproof)
 ORDER BY 1, a.attnum
SQL
cmp_ok(scalar @columns, '>=', 60, scalar(@columns) . ' columns of views can be compared below the barrier');

my %absent = (uuid => '99999999-9999-4999-8999-999999999909', text => 'nobody', bigint => 987654321, integer => 987654321,
    date => '1999-01-01', 'timestamp with time zone' => '1999-01-01', boolean => undef);

# Without the values, which are the only constants between quotes that differ, and without the memory
# that a node happens to have been given.
sub executed
{
    my ($explained) = @_;
    chomp $explained;
    return $explained =~ s/'[^']*'//gr =~ s/Memory Usage: \d+kB//gr;
}

# A value of the victim's that we do not have.
sub value_of_others
{
    my ($view, $name) = @_;
    return '' if $view eq 'revenue_monthly' && $name ne 'currency';    # sums, of months that are everybody's
    my ($others, $own) = $view eq 'revenue_monthly' ? map { "currency = '$_'" } qw(EUR USD) : map { "account_id = '$_'" } $victim, $ours;
    return $node->safe_psql('postgres', "SELECT $name FROM billing.$view WHERE $others AND $name IS NOT NULL
        AND $name NOT IN (SELECT $name FROM billing.$view WHERE $own AND $name IS NOT NULL) LIMIT 1");
}

my @questions;
foreach my $column (@columns)
{
    my ($view, $name, $type) = @$column;
    my $none = $absent{$type} // next;
    my $of = value_of_others($view, $name);
    $none = 'CHF' if $name eq 'currency';
    push @questions, map { [ "$view.$name", sprintf($_, $of), sprintf($_, $none), "SELECT FROM billing.$view WHERE $name" ] }
      q{= '%1$s'}, q{BETWEEN '%1$s' AND '%1$s'} if $of ne '';
}
cmp_ok(scalar @questions, '>=', 60, scalar(@questions) . ' conditions');

my $token = $node->safe_psql('postgres', "SELECT billing.issue_binding('$ours', '1 hour')");
foreach my $bound ('', "SELECT billing.bind_account('$token');")
{
    my $state = $bound ? 'bound' : 'not bound';
    foreach my $settings (@settings)
    {
        my $sql = "BEGIN; $settings; $bound\n";
        foreach my $question (@questions)
        {
            my (undef, $of, $none, $select) = @$question;
            $sql .= "\\echo ====\nEXPLAIN $select $_;\nEXPLAIN (ANALYZE, BUFFERS OFF, COSTS OFF, TIMING OFF, SUMMARY OFF) $select $_;\n"
              foreach $of, $none;
        }
        my (undef, @answers) = split /^====\n/m, $node->safe_psql('postgres', "$sql ROLLBACK", extra_params => [ '-U', 'kiosk' ]);
        my @told;
        is(scalar @answers, 2 * @questions, "$state, $settings: every answer is there");
        foreach my $question (@questions)
        {
            my ($first, $second) = (executed(shift @answers), executed(shift @answers));
            push @told, "$$question[0] $$question[1]\n$first\n$second" if $first ne $second;
        }
        is(scalar @told, 0, "$state, $settings: no condition tells a value of another tenant from none");
        diag $_ foreach @told[ 0 .. ($#told > 2 ? 2 : $#told) ];
    }
}

# What this began with: the addresses of others, spelled letter by letter.
my $spelled = $node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'kiosk' ]);
SET enable_hashjoin = off;
SET enable_mergejoin = off;
CREATE FUNCTION pg_temp.spell() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    got text := '';
    next text;
    plan jsonb;
BEGIN
    LOOP
        next := NULL;
        FOREACH next IN ARRAY regexp_split_to_array('abcdefghijklmnopqrstuvwxyz0123456789@.-', '') LOOP
            EXECUTE format('EXPLAIN (ANALYZE, FORMAT JSON) SELECT FROM billing.account_member
                             WHERE email COLLATE "C" >= %L AND email COLLATE "C" < %L', got || next, got || chr(ascii(next) + 1)) INTO plan;
            EXIT WHEN jsonb_path_exists(plan, '$.** ? (@."Relation Name" == "account_user" && @."Actual Rows" > 0)');
            next := NULL;
        END LOOP;
        EXIT WHEN next IS NULL;
        got := got || next;
    END LOOP;
    RETURN got;
END $$;
SELECT pg_temp.spell();
SQL
is($spelled, '', 'no address is spelled');

$node->stop;
done_testing();
