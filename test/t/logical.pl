# The whole schema moves to another server by logical replication, while the first is in use. What gave
# way to another's key is not in the stream.

use strict;
use warnings;

use Billing::EveryKind;
use Billing::Moves;
use Billing::Session;
use PostgreSQL::Test::Cluster;
use Test::More;

sub cluster
{
    my ($name) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    $node->init(allows_streaming => 'logical', extra => [ '--encoding=UTF8', '--locale=C' ]);
    $node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\nbilling.worker_naptime = 1\njit = off\n"
          . "max_logical_replication_workers = 20\nmax_worker_processes = 30\n");
    $node->start;
    create_roles($node);
    return $node;
}

# Of several who come at once with one key only the first is in the stream: a subscriber that met a row
# of the others would stop there for good, and change capture would bill for it.
sub losers_of_a_key
{
    my ($from, $to) = @_;
    for my $node ($from, $to)
    {
        $node->safe_psql('postgres', 'CREATE DATABASE race TEMPLATE template0');
        $node->safe_psql('race', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
    }
    my $id = $from->safe_psql('race', q{SELECT billing.create_account('race')});
    $from->safe_psql('race', "SELECT billing.grant_tokens('$id', 100)");
    $from->safe_psql('race', 'CREATE PUBLICATION race FOR TABLE billing.account, billing.token_grant, billing.ledger, billing.hold, billing.hold_end');
    $from->safe_psql('race', q{SELECT pg_create_logical_replication_slot('decoded', 'test_decoding')});
    my $connection = $from->connstr('race');
    $to->safe_psql('race', "CREATE SUBSCRIPTION race CONNECTION \$c\$$connection\$c\$ PUBLICATION race");
    $to->wait_for_subscription_sync($from, 'race', 'race');

    my @sessions = map { Billing::Session->new($from, 'race') } 1 .. 4;
    for my $end ('COMMIT', 'ROLLBACK')
    {
        my ($first, @others) = @sessions;
        my $take = "SELECT billing.consume_tokens('$id', 10, NULL, '$end')";
        $first->query('BEGIN');
        $first->query($take);
        $_->send($take) for @others;
        $from->poll_query_until('race', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $_->{backend}")
          for @others;
        $first->query($end);
        my @answers = map { $_->answer } @others;
        is("@answers", $end eq 'COMMIT' ? '90 90 90' : '80 80 80', "$end of the first with a key: the others have one answer");
    }
    $_->close for @sessions;
    is($from->safe_psql('race', "SELECT billing.consume_tokens('$id', 1)"), '79', 'and consumption goes on');
    my $changes = q{SELECT count(*) FILTER (WHERE data ~ 'ledger: INSERT'), count(*) FILTER (WHERE data ~ 'ledger: (UPDATE|DELETE)')
        FROM pg_logical_slot_get_changes('decoded', NULL, NULL)};
    is($from->safe_psql('race', $changes), '3|0', 'losers of a key are not decoded');
    my $rows = q{SELECT entry_no, tokens, idempotency_key FROM billing.ledger ORDER BY 1};
    my $came = $to->poll_query_until('race', "SELECT count(*) = 3 FROM billing.ledger");
    ok($came && $to->safe_psql('race', $rows) eq $from->safe_psql('race', $rows), 'losers of a key do not stop a subscriber');
    is($to->safe_psql('race', 'SELECT apply_error_count FROM pg_stat_subscription_stats'), '0', 'nor does it fail in between');
    $to->safe_psql('race', 'DROP SUBSCRIPTION race');
    return;
}

my $from = cluster('publisher');
my $to = cluster('subscriber');
$from->safe_psql('postgres', 'CREATE DATABASE shop TEMPLATE template0');
$from->safe_psql('shop', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
every_kind($from, 'shop');
losers_of_a_key($from, $to);
move_logically('logical', $from, $to, 'shop');
$from->stop;
$to->stop;
done_testing();
