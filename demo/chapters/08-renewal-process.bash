chapter '8. Renewal process'
quote 'To continue using services: Go to the billing site and just click pay now.' \
    'Choose a new plan/ package' 'Complete payment (if applicable)' 'Result: Account becomes active again'

say 'Acme, whose thirty days are over, pays for the next thirty. They begin now.'
remember order3 "SELECT billing.order_plan(:'acme', 'monthly')"
ask "SELECT accepted, reason FROM billing.record_payment(:'order3', 'bank', 'transfer-3', '30 USD')" 'yes | accepted'
ask "SELECT status, plans, expires_at, message FROM billing.account_status WHERE account_id = :'acme'" \
    'active | {monthly} | 2100-04-30 09:00:00+00 | Access is allowed.'
ask "SELECT email, status, reason FROM billing.account_member WHERE account_id = :'acme' ORDER BY email" '
    ada@acme.example | active | allowed
    ben@acme.example | active | allowed
    cleo@acme.example | active | allowed'

say 'Who renews early loses nothing: the next thirty days begin where these end.'
ask "SELECT billing.advance_test_clock(:'acme', '10 days')" '2100-04-10 09:00:00+00'
ask "SELECT action, due, effective_at, expires_at FROM billing.quote_plan(:'acme', 'monthly')" \
    'renew | 30.00 USD | 2100-04-30 09:00:00+00 | 2100-05-30 09:00:00+00'

say 'Cobalt, whose tokens are used up, buys the same pack again.'
remember order4 "SELECT billing.order_plan(:'cobalt', 'pack')"
say 'A payment of another amount is recorded, but activates nothing.'
ask "SELECT accepted, reason FROM billing.record_payment(:'order4', 'card', 'charge-2', '1 USD')" \
    'no | payment_mismatch'
ask "SELECT billing.plan_is_active(:'cobalt')" no
ask "SELECT accepted, reason FROM billing.record_payment(:'order4', 'card', 'charge-3', '10 USD')" 'yes | accepted'
ask "SELECT status, plans, tokens_remaining FROM billing.account_status WHERE account_id = :'cobalt'" \
    'active | {pack} | 100'
