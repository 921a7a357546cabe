# Subscriptions are ended on time by the background worker, whatever else happens.

use strict;
use warnings;

use Billing::Worker;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# So long a nap that nothing in this test can come of it.
my $node = worker_cluster('expiry', "billing.worker_naptime = 1h\n");
worker_setup($node, 'postgres');

sub status
{
    my ($column) = @_;
    return $node->safe_psql('postgres',
        "SELECT $column FROM billing.worker_status WHERE database = current_database()");
}

$node->safe_psql('postgres', subscribe_for('soon', '100 ms'));
happened($node, 'postgres', 'soon', 1, 'the launcher is woken for what falls due in 100 ms');
is($node->safe_psql('postgres', q{SELECT string_agg(kind, ' ' ORDER BY event_id) FROM billing.event
        WHERE kind <> 'account_created'}),
    'subscription_started subscription_expired free_plan_assigned', 'the events of an expiry');

$node->safe_psql('postgres', subscribe_for('later', '1 hour') . ';' . subscribe_for('first', '300 ms'));
happened($node, 'postgres', 'first', 1, 'an earlier due time comes first');
# what a run has to tell comes after its commits
ok($node->poll_query_until('postgres', q{SELECT rows_done = 2 FROM billing.worker_status
        WHERE database = current_database()}), 'worker_status: rows done');
ok($node->poll_query_until('postgres', q{SELECT next_due_at BETWEEN now() + interval '50 min' AND now() + interval '1 hour'
        FROM billing.worker_status WHERE database = current_database()}), 'worker_status: the next due time');

$node->safe_psql('postgres', 'BEGIN; ' . subscribe_for('undone', '10 ms') . '; ROLLBACK');
$node->safe_psql('postgres', 'BEGIN; SAVEPOINT a; ' . subscribe_for('undone', '10 ms')
      . '; ROLLBACK TO a; ' . subscribe_for('kept', '50 ms') . '; COMMIT');
happened($node, 'postgres', 'kept', 1, 'a transaction whose subtransaction is rolled back');

# Holds.
$node->safe_psql('postgres', q{
    SELECT billing.create_account('holder', '00000000-0000-4000-8000-000000000001');
    SELECT billing.grant_tokens('00000000-0000-4000-8000-000000000001', 10);
    SELECT billing.hold_tokens('00000000-0000-4000-8000-000000000001', 4, '100 ms');});
ok($node->poll_query_until('postgres', q{SELECT kind = 'lapsed' FROM billing.hold_end}),
    'a hold lapses');
is($node->safe_psql('postgres', q{SELECT billing.tokens_remaining('00000000-0000-4000-8000-000000000001')}),
    10, 'its tokens are back');

# A token plan whose last grant with tokens ends.
$node->safe_psql('postgres', q{
    SELECT billing.create_plan('pack', 'token', tokens => 5);
    SELECT billing.create_account('grants', '00000000-0000-4000-8000-000000000002');
    SELECT billing.grant_tokens('00000000-0000-4000-8000-000000000002', 3, expires_at => clock_timestamp() + interval '500 ms',
        priority => 200, subscription_id => billing.subscribe('00000000-0000-4000-8000-000000000002', 'pack'));
    SELECT billing.consume_tokens('00000000-0000-4000-8000-000000000002', 5);});
ok($node->poll_query_until('postgres', q{SELECT coalesce(string_agg(kind, ' ' ORDER BY event_id) = 'tokens_exhausted free_plan_assigned', false)
    FROM billing.event WHERE account_id = '00000000-0000-4000-8000-000000000002' AND kind IN ('tokens_exhausted', 'free_plan_assigned')}),
    'a token plan is lost when its last grant with tokens ends');

# What is scheduled, and orders that nobody pays.
$node->safe_psql('postgres', q{
    SELECT billing.create_plan('priced', 'subscription', price => billing.amount(10, 'USD'), duration => '30 days');
    SELECT billing.subscribe(billing.create_account('scheduled'), 'pro',
        effective_at => clock_timestamp() + interval '200 ms', expires_at => now() + interval '1 day');
    SET billing.order_lifetime = '300ms';
    SELECT billing.order_plan(billing.create_account('orders'), 'priced');});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM billing.event
        JOIN billing.account USING (account_id) WHERE name = 'scheduled' AND kind = 'subscription_started'}),
    'a scheduled subscription starts');
ok($node->poll_query_until('postgres', q{SELECT closed_at IS NOT NULL FROM billing.plan_order}),
    'an order lapses');

# What somebody set for the database, for sessions of his own.
my @set = ("default_transaction_read_only = on", "default_transaction_isolation = 'serializable'",
    "session_replication_role = 'replica'", "statement_timeout = '20ms'", "idle_in_transaction_session_timeout = '20ms'",
    "lock_timeout = '1ms'", "billing.require_binding = on");
push @set, "transaction_timeout = '20ms'"
    if $node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'transaction_timeout'});
$node->safe_psql('postgres', q{
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END';
    CREATE TRIGGER slow BEFORE INSERT ON billing.event FOR EACH ROW WHEN (NEW.kind = 'subscription_expired') EXECUTE FUNCTION slow();});
# once the worker has left that began without them
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'billing worker'}), 'idle');
$node->safe_psql('postgres', join(';', (map { "ALTER DATABASE postgres SET $_" } @set), subscribe_for('set', '1 s')));
{
    local $ENV{PGOPTIONS} = join ' ', map { "-c $_=0" } grep { /_timeout/ } map { /(\w+)/ } @set;
    happened($node, 'postgres', 'set', 1, 'what is set for the database does not concern the worker');
}
$node->safe_psql('template1', 'ALTER DATABASE postgres RESET ALL');
$node->safe_psql('postgres', 'DROP TRIGGER slow ON billing.event');

# Ends that are announced, once each, and not those of subscriptions that are shorter than that.
$node->safe_psql('postgres', q{ALTER DATABASE postgres SET billing.expiry_ahead = '1h'});
# whose clock leaves no room for it, and who has no plan at all
$node->safe_psql('postgres', q{SELECT billing.set_test_clock(billing.create_account('end of time'), '294276-12-31 23:30+00')});
my $announced = $node->safe_psql('postgres', q{SELECT billing.subscribe(billing.create_account('announced'), 'pro',
    expires_at => clock_timestamp() + interval '1 hour 500 ms')});
$node->safe_psql('postgres', q{SELECT billing.subscribe(billing.create_account('short'), 'pro',
    expires_at => clock_timestamp() + interval '30 min')});
my $expiring = q{SELECT string_agg(name || ' ' || (occurred_at = (detail ->> 'expires_at')::timestamptz - interval '1 h'), ', ')
    FROM billing.event JOIN billing.account USING (account_id) WHERE kind = 'subscription_expiring' AND name <> 'later'};
ok($node->poll_query_until('postgres', "SELECT coalesce(($expiring) = 'announced true', false)"), 'an end is announced');
is($node->safe_psql('postgres', $expiring), 'announced true', 'that of a short one is not');
$node->safe_psql('postgres', 'SELECT billing.expire_due()');
is($node->safe_psql('postgres', $expiring), 'announced true', 'and it is, once');
$node->safe_psql('postgres', q{SELECT billing.subscribe(account_id, 'pro') FROM billing.account WHERE name = 'announced'});
is($node->safe_psql('postgres', "SELECT announced < expires_at FROM billing.subscription WHERE subscription_id = '$announced'"),
    't', 'a renewal is an end of its own');
$node->safe_psql('postgres', q{ALTER DATABASE postgres RESET billing.expiry_ahead});

# The account at the end of time makes no run read what is due to others before that.
my $idle_worker = q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'billing worker'};
my $rows_read = q{SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_user_tables
    WHERE schemaname = 'billing' AND relname = 'subscription'};
$node->safe_psql('postgres', q{SELECT billing.subscribe(billing.create_account('much later'), 'pro') FROM generate_series(1, 2000)});
ok($node->poll_query_until('postgres', $idle_worker), 'idle');
my $before = $node->safe_psql('postgres', $rows_read);
$node->safe_psql('postgres', subscribe_for('beside a clock', '1 s'));
happened($node, 'postgres', 'beside a clock', 1, 'an end beside a clock at the end of time');
ok($node->poll_query_until('postgres', $idle_worker), 'idle again');
cmp_ok($node->safe_psql('postgres', $rows_read) - $before, '<', 1000, 'of two thousand open subscriptions few are read');

# Prepared transactions: nobody tells of COMMIT PREPARED.
$node->append_conf('postgresql.conf', 'billing.worker_naptime = 1s');
$node->reload;
$node->safe_psql('postgres', 'BEGIN; ' . subscribe_for('prepared', '10 ms')
      . q{; PREPARE TRANSACTION 'p'});
$node->safe_psql('postgres', 'SELECT pg_sleep(1.5)');
$node->safe_psql('postgres', q{COMMIT PREPARED 'p'});
happened($node, 'postgres', 'prepared', 1, 'what COMMIT PREPARED brings');
$node->append_conf('postgresql.conf', 'billing.worker_naptime = 1h');
$node->reload;

# An account that fails.
$node->safe_psql('postgres', q{
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF (SELECT name LIKE 'bad%' FROM billing.account a WHERE a.account_id = NEW.account_id)
            AND NEW.kind = 'subscription_expired' THEN
            RAISE EXCEPTION 'made to fail';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER fail BEFORE INSERT ON billing.event FOR EACH ROW EXECUTE FUNCTION fail();});
$node->safe_psql('postgres', 'BEGIN; '
      . join(';', map { subscribe_for($_ % 10 == 3 ? "bad$_" : "good$_", '200 ms') } 0 .. 39)
      . '; COMMIT');
happened($node, 'postgres', 'good%', 36, 'accounts that fail do not stop the others');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 4 FROM billing.worker_failure'),
    'they are recorded');
is(status('accounts_failing'), 4, 'worker_status: how many');
is(status(q{failures -> 0 ->> 'error'}), 'made to fail', 'worker_status: why');
is($node->safe_psql('postgres', q{SELECT count(*) FROM billing.event WHERE kind = 'subscription_expired'
        AND account_id IN (SELECT account_id FROM billing.worker_failure)}), 0, 'nothing of theirs is written');
ok($node->poll_query_until('postgres', 'SELECT bool_and(failures >= 2) FROM billing.worker_failure'),
    'they are tried again');
$node->safe_psql('postgres', 'DROP TRIGGER fail ON billing.event');
happened($node, 'postgres', 'bad%', 4, 'and done when that works');
is(status('accounts_failing'), 0, 'then they are no failures any more');
my @said = slurp_file($node->logfile) =~ /WARNING:  billing could not write down.*made to fail/g;
is(scalar @said, 4, 'the log tells of each once');

# Failing at commit: it could be any of the batch.
$node->safe_psql('postgres', q{
    CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON billing.event DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION fail();});
$node->safe_psql('postgres', 'BEGIN; '
      . join(';', map { subscribe_for($_ == 5 ? 'bad late' : "fine$_", '200 ms') } 0 .. 9) . '; COMMIT');
happened($node, 'postgres', 'fine%', 9, 'one that fails at commit does not stop the others');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM billing.worker_failure'),
    'it is recorded');
$node->safe_psql('postgres', 'DROP TRIGGER fail ON billing.event');
happened($node, 'postgres', 'bad late', 1, 'and done when that works');

# Somebody at work on an account for long, by our lock and by its row.
my $holder = $node->background_psql('postgres', on_error_stop => 1);
$node->safe_psql('postgres', q{SELECT billing.create_plan('other', 'subscription', duration => '1 day')});
$node->safe_psql('postgres', subscribe_for('busy', '500 ms'));
my $locked = $node->safe_psql('postgres', subscribe_for('locked', '500 ms'));
$holder->query_safe(q{BEGIN; SELECT billing.subscribe(account_id, 'other') FROM billing.account
    WHERE name = 'busy'});
$holder->query_safe("SELECT FROM billing.subscription WHERE subscription_id = '$locked' FOR UPDATE");
$node->safe_psql('postgres', subscribe_for('free1', '600 ms') . ';' . subscribe_for('free2', '700 ms'));
happened($node, 'postgres', 'free_', 2, 'a locked account does not stop the others');
$holder->query_safe('ROLLBACK');
$holder->quit;
happened($node, 'postgres', 'busy', 1, 'it is done when it is free');
happened($node, 'postgres', 'locked', 1, 'so is one whose row was locked');

# A hot account, and one with an idle transaction that has consumed: the others expire, and everybody
# else's ledger is summed.
$node->safe_psql('postgres', q{
    SELECT billing.create_account(name, id), billing.grant_tokens(id, 1000000)
      FROM (VALUES ('hot', '00000000-0000-4000-8000-0000000000aa'::uuid),
                   ('idle', '00000000-0000-4000-8000-0000000000bb')) a(name, id);
    CREATE PROCEDURE consume(account uuid, calls int) LANGUAGE plpgsql AS $$
    BEGIN
        FOR i IN 1 .. calls LOOP
            PERFORM billing.consume_tokens(account, 1);
            COMMIT;
        END LOOP;
    END $$;});
my $idle = $node->background_psql('postgres', on_error_stop => 1);
$idle->query_safe(q{BEGIN; SELECT billing.consume_tokens('00000000-0000-4000-8000-0000000000bb', 1);
    SELECT billing.subscribe('00000000-0000-4000-8000-0000000000bb', 'pro')});
my $hot = $node->background_psql('postgres', on_error_stop => 1);
$hot->{stdin} .= "CALL consume('00000000-0000-4000-8000-0000000000aa', 1000000);\n";
$hot->{run}->pump_nb;
$node->safe_psql('postgres', subscribe_for('beside', '50 ms')) for 1 .. 5;
happened($node, 'postgres', 'beside', 5, 'a hot account and an idle transaction do not stop the others');
ok($node->poll_query_until('postgres', q{SELECT count(DISTINCT through_entry_no) >= 2 FROM billing.checkpoint
        WHERE account_id = '00000000-0000-4000-8000-0000000000aa'}), 'the hot account is summed all the time');
$node->safe_psql('postgres', q{SELECT billing.create_account('calm', '00000000-0000-4000-8000-0000000000cc');
    SELECT billing.grant_tokens('00000000-0000-4000-8000-0000000000cc', 1000);
    SELECT billing.consume_tokens('00000000-0000-4000-8000-0000000000cc', 1) FROM generate_series(1, 300);
    SELECT billing.consume_tokens('00000000-0000-4000-8000-0000000000cc', 1) FROM generate_series(1, 300)});
ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM billing.checkpoint
        WHERE account_id = '00000000-0000-4000-8000-0000000000cc'}), 'so is another one');
is($node->safe_psql('postgres', q{SELECT count(*) FROM billing.worker_failure}), 0, 'nobody fails');
$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL consume%'});
$hot->{run}->kill_kill;
$idle->query_safe('ROLLBACK');
$idle->quit;

# Switched off and on.
$node->append_conf('postgresql.conf', 'billing.worker = off');
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT current_setting('billing.worker') = 'off'}), 'off');
$node->safe_psql('postgres', join ';', map { subscribe_for("off$_", '10 ms') } 1 .. 200);
is(status('state'), 'off', 'worker_status: off');
is($node->safe_psql('postgres', q{SELECT bool_or(billing.plan_is_active(account_id)) FROM billing.account
        WHERE name LIKE 'off%'}), 'f', 'access ends without it');
my @sessions = map { $node->background_psql('postgres') } 1 .. 4;
$_->{stdin} .= "SELECT billing.expire_due();\n" for @sessions;
$_->{run}->pump_nb for @sessions;
$_->quit for @sessions;
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT account_id) FROM billing.event
        JOIN billing.account USING (account_id)
        WHERE kind = 'subscription_expired' AND name LIKE 'off%'}), '200|200',
    'expire_due() in several sessions does the same, once');
$node->safe_psql('postgres', subscribe_for('still off', '10 ms'));
$node->append_conf('postgresql.conf', 'billing.worker = on');
$node->reload;
happened($node, 'postgres', 'still off', 1, 'switched on again');

is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT FROM billing.event
        WHERE kind IN ('subscription_expired', 'free_plan_assigned')
        GROUP BY account_id, kind HAVING count(*) > 1) twice}), 0, 'nothing twice');

$node->stop;
done_testing();
