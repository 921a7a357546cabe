# A transaction that has consumed and been idle for an hour, and a hot account at full rate, stop
# neither the checkpoints of the others nor their expiry. The hour passes by setting the server's clock.

use strict;
use warnings;

use Billing::Worker;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('hour');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\nbilling.worker_naptime = 1s\n"
      . "log_statement = none\n");
clock_start($node);
worker_setup($node, 'postgres');
my ($hot, $idle, $calm) = map { sprintf '00000000-0000-4000-8000-%012d', $_ } 1 .. 3;
$node->safe_psql('postgres', qq{
    SELECT billing.create_account('account', id), billing.grant_tokens(id, 1000000000)
      FROM unnest(ARRAY['$hot', '$idle', '$calm']::uuid[]) id;
    CREATE PROCEDURE consume(account uuid, calls int) LANGUAGE plpgsql AS \$\$
    BEGIN
        FOR i IN 1 .. calls LOOP
            PERFORM billing.consume_tokens(account, 1);
            COMMIT;
        END LOOP;
    END \$\$;});

sub newest
{
    my ($account) = @_;
    return $node->safe_psql('postgres',
        "SELECT coalesce(max(through_entry_no), 0) FROM billing.checkpoint WHERE account_id = '$account'");
}

sub passes
{
    my ($account, $entry, $name) = @_;
    ok($node->poll_query_until('postgres', "SELECT coalesce(max(through_entry_no), 0) > $entry
        FROM billing.checkpoint WHERE account_id = '$account'"), $name);
    return;
}

my $sleeper = $node->background_psql('postgres', on_error_stop => 1);
$sleeper->query_safe("BEGIN; SELECT billing.consume_tokens('$idle', 1); SELECT billing.subscribe('$idle', 'pro')");
$node->safe_psql('postgres', subscribe_for('within the hour', '30 min'));
my $runner = $node->background_psql('postgres', on_error_stop => 1);
$runner->{stdin} .= "CALL consume('$hot', 100000000);\n";
$runner->{run}->pump_nb;
passes($hot, 256, 'the hot account is summed');

set_clock(3600);
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'
        AND clock_timestamp() - xact_start BETWEEN '59 min' AND '2 h'}), 1, 'a transaction is idle for an hour');
happened($node, 'postgres', 'within the hour', 1, 'what fell due within it is written down');
for my $round (1 .. 3)
{
    my ($before, $hot_before) = (newest($calm), newest($hot));
    $node->safe_psql('postgres', "CALL consume('$idle', 300)");
    $node->safe_psql('postgres', "CALL consume('$calm', 300)");
    passes($calm, $before, "round $round: another account is summed");
    passes($hot, $hot_before + 256, "round $round: so is the hot one");
    $node->safe_psql('postgres', subscribe_for("round $round", '50 ms'));
    happened($node, 'postgres', "round $round", 1, "round $round: plans end");
}
is(newest($idle), 0, 'its own account has to wait');
$sleeper->query_safe('COMMIT');
$sleeper->quit;
passes($idle, 600, 'until it has ended');

# The clock is set back: what was put off by the later one is not forgotten.
set_clock(-86400);
my $before = newest($calm);
$node->safe_psql('postgres', "CALL consume('$calm', 600)");
passes($calm, $before + 256, 'the clock set back');

$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL consume%'});
$runner->{run}->kill_kill;
is($node->safe_psql('postgres', 'SELECT count(*) FROM billing.verify_ledger()'), 0, 'the ledger is sound');
$node->stop;
done_testing();
