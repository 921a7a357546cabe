chapter '10. Important rules'
quote 'No plan = No access or very limited access' \
    'Expired plan = Access blocked for that plan you need to upgrade or continue with your same plane.' \
    'Tokens finished = Access blocked'
say 'Seen above: Delta in chapter 7, Acme in chapter 5, Cobalt in chapter 6.'

quote 'System does not auto-extend unless renewed'
say 'Bluebird does nothing when its thirty days end. So they end; its pictures are another package.'
ask "SELECT billing.set_test_clock(:'bluebird', '2100-03-31 09:00')" ''
ask "SELECT name, status, expires_at FROM billing.account_package WHERE account_id = :'bluebird' ORDER BY plan" '
    Thirty days | expired | 2100-03-31 09:00:00+00
    Hundred pictures | active | 2101-03-01 09:00:00+00'
ask "SELECT allowed, reason FROM billing.check_access(:'bluebird', 'crm:write')" 'no | package_expired'
ask "SELECT allowed, reason FROM billing.check_access(:'bluebird', 'studio:draw')" 'yes | allowed'
