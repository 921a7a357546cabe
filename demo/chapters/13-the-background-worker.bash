chapter 'Behind it: the background worker'
say 'Access ended by itself so far. The background worker only writes down what is already true, so' \
    'that it can be seen: the end of a package, and the free plan in its place. Echo has a package' \
    'that ends in a second; nobody asks about it.'
remember echo "SELECT billing.create_account('Echo')"
ask "SELECT billing.subscribe(:'echo', 'monthly', effective_at => now() - interval '1 day',
        expires_at => clock_timestamp() + interval '1 second') IS NOT NULL AS subscribed" yes
run "DO \$\$BEGIN
        FOR i IN 1 .. 6000 LOOP
            EXIT WHEN EXISTS (SELECT FROM billing.event JOIN billing.account USING (account_id)
                               WHERE name = 'Echo' AND kind = 'free_plan_assigned')
                  AND (SELECT rows_done > 0 FROM billing.worker_status WHERE database = current_database());
            PERFORM pg_sleep(0.01);
        END LOOP; END\$\$;" >/dev/null
say 'A moment later:'
ask "SELECT e.kind, e.occurred_at = s.expires_at AS dated_at_its_end FROM billing.event e
        JOIN billing.subscription s USING (account_id) WHERE account_id = :'echo'
        AND e.kind IN ('subscription_expired', 'free_plan_assigned') ORDER BY e.event_id" '
    subscription_expired | yes
    free_plan_assigned | yes'
ask "SELECT rows_done > 0 AS has_worked, accounts_failing, last_error FROM billing.worker_status
        WHERE database = current_database()" 'yes | 0 | -'

say 'It also tells, once, of tokens that run low, so that the application can say so in time.'
remember golf "SELECT billing.create_account('Golf')"
ask "SELECT billing.grant_tokens(:'golf', 200) IS NOT NULL AS granted" yes
ask "SELECT billing.consume_tokens(:'golf', 185)" 15
run "DO \$\$BEGIN
        FOR i IN 1 .. 6000 LOOP
            EXIT WHEN EXISTS (SELECT FROM billing.event JOIN billing.account USING (account_id)
                               WHERE name = 'Golf' AND kind = 'low_balance');
            PERFORM pg_sleep(0.01);
        END LOOP; END\$\$;" >/dev/null
ask "SELECT detail ->> 'tokens_left' AS tokens_left, detail ->> 'tokens_granted' AS of FROM billing.event
        WHERE account_id = :'golf' AND kind = 'low_balance'" '15 | 200'

say 'Switched off, it writes down nothing. Access ends all the same.'
ask "ALTER SYSTEM SET billing.worker = off" ''
ask "SELECT pg_reload_conf()" yes
run "DO \$\$BEGIN
        FOR i IN 1 .. 6000 LOOP
            EXIT WHEN NOT EXISTS (SELECT FROM billing.worker_databases() WHERE state NOT IN ('off', 'skipped'));
            PERFORM pg_sleep(0.01);
        END LOOP; END\$\$;" >/dev/null
ask "SELECT state FROM billing.worker_status WHERE database = current_database()" off
remember foxtrot "SELECT billing.create_account('Foxtrot')"
ask "SELECT billing.subscribe(:'foxtrot', 'monthly', effective_at => now() - interval '1 day',
        expires_at => clock_timestamp() + interval '1 second') IS NOT NULL AS subscribed" yes
run "SELECT pg_sleep(extract(epoch FROM expires_at - clock_timestamp())) FROM billing.subscription
        JOIN billing.account USING (account_id) WHERE name = 'Foxtrot';" >/dev/null
ask "SELECT allowed, level, reason FROM billing.check_access(:'foxtrot', 'crm:write')" 'no | limited | package_expired'
ask "SELECT count(*) FROM billing.event WHERE account_id = :'foxtrot' AND kind = 'subscription_expired'" 0
say 'By hand, a call does the same work, once.'
ask "SELECT billing.expire_due()" 1
ask "SELECT count(*) FROM billing.event WHERE account_id = :'foxtrot' AND kind = 'subscription_expired'" 1
ask "SELECT billing.expire_due()" 0
ask "ALTER SYSTEM RESET billing.worker" ''
ask "SELECT pg_reload_conf()" yes
