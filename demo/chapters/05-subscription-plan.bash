chapter '5. Subscription plan (time-based)'
quote 'You get access for a fixed period and fixed allowed permissions.' 'What you need to track: Expiry date'

ask "SELECT expires_at FROM billing.account_status WHERE account_id = :'acme'" '2100-03-31 09:00:00+00'
ask "SELECT allowed, reason FROM billing.check_access(:'acme', 'crm:write')" 'yes | allowed'
ask "SELECT allowed, reason, message FROM billing.check_access(:'acme', 'crm:export')" \
    'no | permission_not_in_plan | No plan of the account grants this permission. Upgrade to one that does.'

quote 'What happens after expiry: Your access stops immediately and you get assigned free plan'
say 'A millionth of a second before the end everything works.'
ask "SELECT billing.set_test_clock(:'acme', '2100-03-31 08:59:59.999999')" ''
ask "SELECT allowed, level, reason, plan FROM billing.check_access(:'acme', 'crm:write')" \
    'yes | full | allowed | monthly'
say 'At the end nothing does but what the free plan grants.'
ask "SELECT billing.set_test_clock(:'acme', '2100-03-31 09:00')" ''
ask "SELECT allowed, level, reason, message FROM billing.check_access(:'acme', 'crm:write')" \
    'no | limited | package_expired | The package has expired. Renew it, or choose a new plan and pay.'
ask "SELECT allowed, level, reason, plan FROM billing.check_access(:'acme', 'crm:read')" \
    'yes | limited | allowed | free'
ask "SELECT status, plans, seats_used, seats_allowed FROM billing.account_status WHERE account_id = :'acme'" \
    'limited | {free} | 3 | 1'
ask "SELECT kind, occurred_at FROM billing.event WHERE account_id = :'acme'
        AND kind IN ('subscription_expired', 'free_plan_assigned') ORDER BY kind DESC" '
    subscription_expired | 2100-03-31 09:00:00+00
    free_plan_assigned | 2100-03-31 09:00:00+00'
say 'The free plan has room for one user. Nobody was removed; the admin keeps access, the others wait.'
ask "SELECT email, status, reason FROM billing.account_member WHERE account_id = :'acme' ORDER BY email" '
    ada@acme.example | active | package_expired
    ben@acme.example | over_limit | user_over_limit
    cleo@acme.example | over_limit | user_over_limit'
quote 'What to do: Renew before expiry'
say 'That is chapter 8.'
