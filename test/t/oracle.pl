# The checks and the consumption of tokens agree with a plain SQL model over the rows (oracle/model.sql),
# for accounts made at random (oracle/rows.sql), at every instant at which something begins or ends, one
# microsecond before it, and between. BILLING_SEED=… repeats a run;
# BILLING_ORACLE_ACCOUNTS, _INSTANTS and _STEPS make it longer.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use Test::More;

my $seed = $ENV{BILLING_SEED} // int(rand(1_000_000));
my $accounts = $ENV{BILLING_ORACLE_ACCOUNTS} // 30;
note "BILLING_SEED=$seed";

my $node = PostgreSQL::Test::Cluster->new('oracle');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\nfsync = off\njit = off\n");
$node->start;

my $dir = "$ENV{BILLING_ROOT}/test/t/oracle";
my $fraction = $seed / 1_000_000;
$node->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION billing CASCADE; ALTER DATABASE postgres SET search_path = public, model');
$node->safe_psql('postgres', "\\i $dir/model.sql");
$node->safe_psql('postgres', "\\i $dir/rows.sql");
$node->safe_psql('postgres', "SELECT setseed($fraction); CALL make_catalogue(); CALL make_free_plan();"
      . " DO \$\$BEGIN FOR n IN 1..$accounts LOOP CALL make_account(n); END LOOP; END\$\$");
is($node->safe_psql('postgres', 'SELECT count(*) FROM model.grant_left WHERE "left" < 0'),
    '0', 'the rows made at random are valid');

# Every account has its own instants; the nth question is put at each one's nth.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE instant AS
SELECT account_id, row_number() OVER (PARTITION BY account_id ORDER BY random()) AS n, at FROM (
    SELECT account_id, at + d AS at FROM (
        SELECT account_id, effective_at FROM billing.subscription_period UNION SELECT account_id, expires_at FROM billing.subscription_period
        UNION SELECT account_id, effective_at FROM billing.token_grant UNION SELECT account_id, expires_at FROM billing.token_grant) AS x(account_id, at),
        unnest('{0,-1 microsecond,13 hours}'::interval[]) AS d
    WHERE at < 'infinity' UNION SELECT account_id, day(50) FROM billing.account) AS y;
CREATE TABLE question (
    n bigint, account_id uuid, at timestamptz, what text, argument text, who uuid, answer text, expected text);
CREATE PROCEDURE ask(nth bigint) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE billing.account AS a SET test_clock = i.at FROM instant AS i WHERE i.account_id = a.account_id AND i.n = nth;
    INSERT INTO question
    SELECT nth, account_id, at, 'active ' || coalesce(plan, '-'), app, NULL, billing.plan_is_active(account_id, app, plan)::text, model.active(account_id, app, plan, at)::text
    FROM instant, LATERAL (SELECT pick(ARRAY[NULL, NULL, 'docs', 'mail', 'chat', 'nosuch', 'billing']) AS app, pick(ARRAY[NULL, NULL, 'plan-1', 'plan-3', 'plan-6', 'plan-8', 'free', 'nosuch']) AS plan FROM generate_series(1, 4) WHERE account_id IS NOT NULL) AS x
    WHERE n = nth
    UNION ALL
    SELECT nth, account_id, at, 'access', permission, who, concat_ws(' ', c.allowed, c.reason, c.level, c.tokens_remaining, CASE WHEN c.allowed THEN concat_ws(' ', c.plan, c.expires_at) END), model.access(account_id, permission, who, at)
    FROM instant, LATERAL (SELECT pick(ARRAY[NULL, NULL, 'docs:read', 'docs:write', 'docs:*', 'mail:read', 'mail:send', 'chat:talk', 'billing:manage_users', 'nosuch:x', 'docs:', 'nonsense']) AS permission,
            CASE WHEN chance(0.7) THEN (SELECT user_id FROM billing.account_user AS u WHERE u.account_id = instant.account_id OR chance(0.01) ORDER BY random() LIMIT 1) END AS who FROM generate_series(1, 5) WHERE account_id IS NOT NULL) AS x,
        billing.check_access(account_id, permission, who) AS c
    WHERE n = nth
    UNION ALL
    SELECT nth, account_id, at, 'remaining', app, NULL, billing.tokens_remaining(account_id, app)::text, model.remaining(account_id, app, false, at)::text
    FROM instant, unnest(ARRAY[NULL, 'docs', 'mail', 'chat', 'nosuch']) AS app
    WHERE n = nth;
END $$;
SQL
my $instants = $node->safe_psql('postgres', 'SELECT max(n) FROM instant');
my $most = $ENV{BILLING_ORACLE_INSTANTS} // 25;
my $asked = $instants < $most ? $instants : $most;
$node->safe_psql('postgres',
    "SELECT setseed($fraction); DO \$\$BEGIN FOR n IN 1..$asked LOOP CALL ask(n); END LOOP; END\$\$");

sub agree
{
    my ($what, $table) = @_;
    my $wrong = $node->safe_psql('postgres',
        "SELECT * FROM $table WHERE what LIKE '$what%' AND answer IS DISTINCT FROM expected ORDER BY at LIMIT 5");
    my $count = $node->safe_psql('postgres', "SELECT count(*) FROM $table WHERE what LIKE '$what%'");
    is($wrong, '', "$what: $count answers");
    diag "BILLING_SEED=$seed" if $wrong ne '';
    return;
}
agree($_, 'question') for qw(active access remaining);
is( $node->safe_psql('postgres', q{SELECT string_agg(DISTINCT split_part(expected, ' ', 2), ' ' ORDER BY split_part(expected, ' ', 2)) FROM question WHERE what = 'access'}),
    'account_suspended allowed no_active_plan package_expired permission_not_in_plan permission_not_in_role tokens_exhausted user_disabled user_not_found user_over_limit',
    'every reason was among them');

# A walk through time, forward, by the functions: consumption with and without keys, grants, renewals,
# another free plan. Before every step the model says what is to come.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE step (n bigint, account_id uuid, at timestamptz, what text, argument text, answer text, expected text);
CREATE TABLE used_key (account_id uuid, key text, asked bigint, app text, who uuid, answer text, PRIMARY KEY (account_id, key));
CREATE FUNCTION written(tenant uuid, after bigint) RETURNS text LANGUAGE sql STABLE AS
    $$SELECT string_agg(grant_id || ' ' || tokens, ', ' ORDER BY entry_no) FROM billing.ledger WHERE account_id = tenant AND entry_no > after$$;
CREATE PROCEDURE consume(n bigint, tenant uuid, now timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    asked bigint := 1 + upto(6);
    in_app text := pick(ARRAY[NULL, NULL, 'docs', 'mail', 'chat']);
    who uuid := (SELECT user_id FROM billing.account_user WHERE account_id = tenant AND chance(0.5) ORDER BY random() LIMIT 1);
    request_key text := CASE WHEN chance(0.5) THEN 'key ' || upto(30) END;
    known used_key := (SELECT u FROM used_key AS u WHERE u.account_id = tenant AND u.key = request_key);
    last bigint := coalesce((SELECT max(entry_no) FROM billing.ledger WHERE account_id = tenant), 0);
    expected text;
    expected_rows text;
    answer text;
BEGIN
    IF known.key IS NOT NULL AND chance(0.8) THEN
        asked := known.asked; in_app := known.app; who := known.who;
    END IF;
    IF known.key IS NULL THEN
        expected := model.consumption(tenant, asked, in_app, who, now) || ' f';
        expected_rows := CASE WHEN expected LIKE 't%' THEN model.draws(tenant, asked, in_app, now) END;
    ELSIF (known.asked, known.app, known.who) IS NOT DISTINCT FROM (asked, in_app, who) THEN
        expected := known.answer || ' t';
    ELSE
        expected := 'PB008';
    END IF;
    BEGIN
        SELECT concat_ws(' ', c.granted, c.reason, CASE WHEN c.reason <> 'account_suspended' THEN c.tokens_remaining END, c.replayed) INTO answer
        FROM billing.try_consume_tokens(tenant, asked, in_app, request_key, NULL, who) AS c;
    EXCEPTION WHEN SQLSTATE 'PB008' THEN
        answer := SQLSTATE;
    END;
    IF request_key IS NOT NULL AND known.key IS NULL AND answer LIKE 't%' THEN
        INSERT INTO used_key VALUES (tenant, request_key, asked, in_app, who, regexp_replace(answer, ' f$', ''));
    END IF;
    INSERT INTO step VALUES (n, tenant, now, 'consume', concat_ws(' ', asked, in_app, who, request_key), concat_ws(' / ', answer, written(tenant, last)), concat_ws(' / ', expected, expected_rows));
END $$;
CREATE PROCEDURE walk(n bigint) LANGUAGE plpgsql AS $$
DECLARE
    tenant uuid := (SELECT account_id FROM billing.account ORDER BY random() LIMIT 1);
    now timestamptz := billing.now(tenant);
BEGIN
    IF chance(0.05) THEN
        PERFORM billing.grant_tokens(tenant, 1 + upto(20), now + (1 + upto(5)) * interval '1 day', pick('{1,100}'::bigint[]), pick(ARRAY[NULL, 'docs', 'mail'])) WHERE NOT EXISTS (SELECT FROM billing.account WHERE account_id = tenant AND suspended_at IS NOT NULL);
    ELSIF chance(0.05) THEN
        BEGIN
            PERFORM billing.subscribe(tenant, 'plan-' || (1 + upto(9)));
        EXCEPTION WHEN exclusion_violation OR SQLSTATE 'PB002' THEN NULL;
        END;
    ELSIF chance(0.1) THEN
        PERFORM billing.advance_test_clock(tenant, (1 + upto(60)) * interval '1 hour');
    ELSIF chance(0.03) THEN
        IF EXISTS (SELECT FROM billing.account WHERE account_id = tenant AND suspended_at IS NOT NULL) THEN PERFORM billing.reinstate_account(tenant); ELSE PERFORM billing.suspend_account(tenant, 'walk'); END IF;
    ELSIF chance(0.02) THEN
        CALL make_free_plan();
    ELSIF chance(0.2) THEN
        INSERT INTO step SELECT n, tenant, now, 'access', permission, concat_ws(' ', c.allowed, c.reason, c.level, c.tokens_remaining, CASE WHEN c.allowed THEN concat_ws(' ', c.plan, c.expires_at) END), model.access(tenant, permission, NULL, now)
        FROM unnest(ARRAY[NULL, 'docs:read', 'mail:read', 'chat:talk']) AS permission, billing.check_access(tenant, permission) AS c;
    ELSE
        CALL consume(n, tenant, now);
    END IF;
END $$;
SQL
my $steps = $ENV{BILLING_ORACLE_STEPS} // 700;
for my $entries (1, 10_000)
{
    $node->safe_psql('postgres', "UPDATE billing.account SET test_clock = day(0)");
    $node->safe_psql('postgres',
        "SET billing.checkpoint_entries = $entries; SELECT setseed($fraction); DO \$\$BEGIN FOR n IN 1..$steps LOOP CALL walk(n); END LOOP; END\$\$");
}
agree($_, 'step') for qw(consume access);
is($node->safe_psql('postgres', 'SELECT count(*) FROM model.grant_left WHERE "left" < 0'),
    '0', 'no grant is overdrawn');
is( $node->safe_psql('postgres', q{SELECT count(*) FROM billing.account AS a, unnest(ARRAY[NULL, 'docs', 'mail', 'chat']) AS app WHERE billing.tokens_remaining(account_id, app) <> model.remaining(account_id, app, false, billing.now(account_id))}),
    '0', 'balances agree at the end');

$node->stop;
done_testing();
