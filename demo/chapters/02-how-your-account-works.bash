chapter '2. How your account works'
quote 'Your account depends on a billing package you choose.' \
    'Subscription Plan → Works for a fixed time (e.g., 30 days)' \
    'Token Plan → Works until your usage limit is finished'

say 'The packages on offer: thirty days, a year for larger teams, and two packs of tokens for pictures.'
ask "SELECT billing.create_plan('monthly', 'subscription', 'Thirty days', '30 USD', '30 days',
       user_limit => 3, permissions => '{crm:read,crm:write}')" 1
ask "SELECT billing.create_plan('team', 'subscription', 'Team year', '300 USD', '1 year',
       user_limit => 10, permissions => '{crm:*}')" 1
ask "SELECT billing.create_plan('pack', 'token', 'Hundred pictures', '10 USD', '1 year',
       tokens => 100, app => 'studio')" 1
ask "SELECT billing.create_plan('bigpack', 'token', 'Thousand pictures', '50 USD', '1 year',
       tokens => 1000, app => 'studio')" 1
ask 'SELECT plan, name, price, duration, tokens, user_limit FROM billing.plan_catalogue ORDER BY price' '
    pack | Hundred pictures | 10.00 USD | 1 year | 100 | -
    monthly | Thirty days | 30.00 USD | 30 days | - | 3
    bigpack | Thousand pictures | 50.00 USD | 1 year | 1000 | -
    team | Team year | 300.00 USD | 1 year | - | 10'

say 'Acme asks what thirty days cost. For this story its clock stands still until we move it.'
ask "SELECT billing.set_test_clock(:'acme', '2100-03-01 09:00')" ''
ask "SELECT action, price, credit, due, effective_at, expires_at
       FROM billing.quote_plan(:'acme', 'monthly')" \
    'buy | 30.00 USD | 0.00 USD | 30.00 USD | 2100-03-01 09:00:00+00 | 2100-03-31 09:00:00+00'

say 'It orders them and pays. Until the payment nothing changes.'
remember order1 "SELECT billing.order_plan(:'acme', 'monthly')"
ask "SELECT billing.plan_is_active(:'acme')" no
ask "SELECT accepted, reason, replayed
       FROM billing.record_payment(:'order1', 'bank', 'transfer-1', '30 USD')" 'yes | accepted | no'
ask "SELECT billing.plan_is_active(:'acme')" yes
ask "SELECT allowed, level, reason, plan, expires_at FROM billing.check_access(:'acme', 'crm:write')" \
    'yes | full | allowed | monthly | 2100-03-31 09:00:00+00'

say 'The bank reports the same payment again: the answer is the same, and nothing is counted twice.'
ask "SELECT accepted, reason, replayed
       FROM billing.record_payment(:'order1', 'bank', 'transfer-1', '30 USD')" 'yes | accepted | yes'
ask "SELECT plan, expires_at FROM billing.account_package WHERE account_id = :'acme'" \
    'monthly | 2100-03-31 09:00:00+00'
