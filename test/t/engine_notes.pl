# What a transaction has taken is noted in its backend, by account, grant and subtransaction, not by
# consumption: in a large transaction every further one would look through all that went before, with the
# account's entry locked. And what many accounts needed is given back with the transaction's end.

use strict;
use warnings;

use Billing::Session;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('engine_notes');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\nbilling.worker = off\njit = off\n");
$node->start;
$node->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
$node->safe_psql('postgres', "SELECT billing.create_app('one', 'One'), billing.create_app('two', 'Two')");

my $few = 32 * 1024;
my $session = Billing::Session->new($node);

sub account
{
    my (@apps) = @_;
    my $id = $node->safe_psql('postgres', "SELECT billing.create_account('notes')");
    $node->safe_psql('postgres', "SELECT billing.grant_tokens('$id', 100000, app => " . (defined $_ ? "'$_'" : 'NULL') . ')') for @apps;
    return $id;
}

sub bytes { return $session->query(q{SELECT coalesce(sum(total_bytes), 0) FROM pg_backend_memory_contexts WHERE name = 'BillingTakes'}); }

# Of each account no token is lost to others, and none is there twice.
sub all_there
{
    my ($what, @ids) = @_;
    for my $id (@ids)
    {
        my $left = $node->safe_psql('postgres', "SELECT billing.tokens_remaining('$id')");
        is($node->safe_psql('postgres', "SELECT granted, tokens_remaining FROM billing.try_consume_tokens('$id', $left)"), 't|0', "$what: what is left can be taken");
        is($node->safe_psql('postgres', "SELECT problem FROM billing.verify_ledger('$id')"), '', "$what: the ledger is sound");
    }
    return;
}

sub has_few_notes
{
    my ($what, $end, $statement, @ids) = @_;
    $session->query('BEGIN');
    is($session->query($statement), '', "$what: done");
    my $bytes = bytes();
    ok($bytes > 0 && $bytes <= $few, "$what: few notes, $bytes bytes");
    $session->query($end);
    all_there("$what, $end", @ids);
    return;
}

for my $end ('COMMIT', 'ROLLBACK')
{
    my ($one, $two) = (account(undef));
    has_few_notes('a subtransaction each', $end, <<"SQL", $one);
DO \$\$ BEGIN
    FOR i IN 1 .. 2000 LOOP
        BEGIN
            PERFORM billing.consume_tokens('$one', 1);
            IF i % 3 = 0 THEN RAISE division_by_zero; END IF;
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
    END LOOP;
END \$\$
SQL

    ($one, $two) = map { account(undef) } 1 .. 2;
    has_few_notes('two accounts in turn', $end, <<"SQL", $one, $two);
DO \$\$ BEGIN
    FOR i IN 1 .. 1000 LOOP
        PERFORM billing.consume_tokens('$one', 1), billing.consume_tokens('$two', 2);
    END LOOP;
END \$\$
SQL

    $one = account('one', 'two');
    $session->query('BEGIN');
    is($session->query("SELECT count(*) FROM billing.consume_tokens_batch(array_fill('$one'::uuid, ARRAY[2000]), array_fill(1::bigint, ARRAY[2000]), "
          . "(SELECT array_agg(CASE i % 2 WHEN 0 THEN 'one' ELSE 'two' END) FROM generate_series(1, 2000) i)) WHERE granted"), 2000, 'two apps in turn: done');
    my $bytes = bytes();
    ok($bytes > 0 && $bytes <= $few, "two apps in turn: few notes, $bytes bytes");
    $session->query($end);
    is($node->safe_psql('postgres', "SELECT granted, tokens_remaining FROM billing.try_consume_tokens('$one', " . ($end eq 'COMMIT' ? 99_000 : 100_000) . ", '$_')"),
        't|0', "two apps in turn, $end: what is left can be taken") for qw(one two);

    ($one, $two) = map { account(undef) } 1 .. 2;
    $session->query("SELECT billing.consume_tokens('$_', 2, NULL, 'k' || i) FROM generate_series(1, 500) i") for $one, $two;
    has_few_notes('refunds of two accounts in turn', $end, <<"SQL", $one, $two);
DO \$\$ BEGIN
    FOR i IN 1 .. 500 LOOP
        PERFORM billing.refund_tokens('$one', 'k' || i, 1), billing.refund_tokens('$two', 'k' || i);
    END LOOP;
END \$\$
SQL

    # what a committed subtransaction has taken goes to its parent, and with it
    $one = account(undef);
    has_few_notes('nested', $end, <<"SQL", $one);
DO \$\$ BEGIN
    FOR i IN 1 .. 300 LOOP
        BEGIN
            PERFORM billing.consume_tokens('$one', 1);
            BEGIN
                PERFORM billing.consume_tokens('$one', 2);
                BEGIN
                    PERFORM billing.consume_tokens('$one', 4);
                    IF i % 2 = 0 THEN RAISE division_by_zero; END IF;
                EXCEPTION WHEN division_by_zero THEN NULL;
                END;
                IF i % 3 = 0 THEN RAISE division_by_zero; END IF;
            EXCEPTION WHEN division_by_zero THEN NULL;
            END;
            IF i % 5 = 0 THEN RAISE division_by_zero; END IF;
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
    END LOOP;
END \$\$
SQL
}

# Many accounts need many notes, for as long as the transaction takes.
my $many = $session->query("SELECT array_agg(billing.create_account('many')) FROM generate_series(1, 3000)");
$session->query("SELECT count(billing.grant_tokens(id, 10)) FROM unnest('$many'::uuid[]) id");
for my $end ('ROLLBACK', 'COMMIT')
{
    $session->query('BEGIN');
    is($session->query("SELECT count(*) FROM billing.consume_tokens_batch('$many', array_fill(3::bigint, ARRAY[3000])) WHERE granted"), 3000, "many accounts, $end");
    cmp_ok(bytes(), '>', $few, 'a note each');
    $session->query($end);
    cmp_ok(bytes(), '<=', $few, "$end: their memory is given back");
}
is($session->query("SELECT count(*) FROM billing.consume_tokens_batch('$many', array_fill(7::bigint, ARRAY[3000])) WHERE granted"), 3000, 'what is left of them can be taken');
$session->close;
$node->stop;
done_testing();
