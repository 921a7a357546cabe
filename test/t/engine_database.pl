# A database that is dropped and made anew under the same OID, from the same template: what the engine knew
# of the first is nothing of the second's.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('database');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\nbilling.worker = off\njit = off\n");
$node->start;

my $id = '11111111-1111-4111-8111-111111111111';
my $take = sub { my ($database, $tokens) = @_; return $node->safe_psql($database, "SELECT granted, tokens_remaining FROM billing.try_consume_tokens('$id', $tokens)"); };
my $again = sub { $node->safe_psql('postgres', 'CREATE DATABASE again OID 700000 TEMPLATE first'); return; };

$node->safe_psql('postgres', 'CREATE DATABASE first');
$node->safe_psql('first', "SET client_min_messages = warning; CREATE EXTENSION billing CASCADE; SELECT billing.create_account('A', '$id'); SELECT billing.grant_tokens('$id', 100)");
$again->();
is($take->('again', 1), 't|99', 'the first has an entry');
$node->safe_psql('postgres', 'DROP DATABASE again');
is($take->('first', 95), 't|5', 'its template is consumed');
$again->();
is($node->safe_psql('again', "SELECT billing.tokens_remaining('$id')"), '5', 'a database of the same OID has less');
is($take->('again', 50), 'f|5', 'and no more can be taken');
is($take->('again', 5), 't|0', 'than there is');
is($node->safe_psql('again', 'SELECT count(*) FROM billing.verify_ledger()'), '0', 'the ledger is sound');
is($take->('first', 5), 't|0', 'other databases have theirs');
is($node->safe_psql('postgres', 'DROP DATABASE again') . $take->('first', 1), 'f|0', 'as they had');
$node->stop;
done_testing();
