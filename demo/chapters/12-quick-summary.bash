chapter '12. Quick summary'
quote 'Your access depends on your plan' 'Plans expire by time or usage' 'Always keep your plan active'
ask "SELECT name, status, plans, expires_at, tokens_remaining, reason FROM billing.account_status ORDER BY name" '
    Acme | active | {team} | 2102-04-15 09:00:00+00 | 0 | allowed
    Bluebird | active | {pack} | 2101-03-01 09:00:00+00 | 100 | allowed
    Cobalt | active | {bigpack} | 2101-04-01 09:00:00+00 | 1070 | allowed
    Delta | limited | {free} | - | 0 | no_active_plan'
