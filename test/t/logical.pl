# The whole schema moves to another server by logical replication, while the first is in use.

use strict;
use warnings;

use Billing::EveryKind;
use Billing::Moves;
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

my $from = cluster('publisher');
my $to = cluster('subscriber');
$from->safe_psql('postgres', 'CREATE DATABASE shop TEMPLATE template0');
$from->safe_psql('shop', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE');
every_kind($from, 'shop');
move_logically('logical', $from, $to, 'shop');
$from->stop;
$to->stop;
done_testing();
