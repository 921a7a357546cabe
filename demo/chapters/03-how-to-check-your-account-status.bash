chapter '3. How to check your account status'
quote 'Billing Account Master- user can check his account status here like (which are the active packages he has / Packages for particular apps).' \
    'All updated packages will be shown here'

say 'The status page is one row.'
ask "SELECT name, status, plans, expires_at, tokens_remaining, seats_used, seats_allowed, message
       FROM billing.account_status WHERE account_id = :'acme'" \
    'Acme | active | {monthly} | 2100-03-31 09:00:00+00 | 0 | 0 | 3 | Access is allowed.'

say 'Bluebird has two packages, each for a product of its own. They were given to it, without an order.'
remember bluebird "SELECT billing.create_account('Bluebird')"
ask "SELECT billing.set_test_clock(:'bluebird', '2100-03-01 09:00')" ''
remember sub1 "SELECT billing.subscribe(:'bluebird', 'monthly')"
remember sub2 "SELECT billing.subscribe(:'bluebird', 'pack')"
ask "SELECT name, kind, apps, status, expires_at, tokens_left
       FROM billing.account_package WHERE account_id = :'bluebird' ORDER BY plan" '
    Thirty days | subscription | {crm} | active | 2100-03-31 09:00:00+00 | 0
    Hundred pictures | token | {studio} | active | 2101-03-01 09:00:00+00 | 100'
ask "SELECT billing.plan_is_active(:'bluebird', app => 'studio')" yes
ask "SELECT billing.plan_is_active(:'bluebird', app => 'studio', plan => 'monthly')" no
