chapter '9. Upgrading your plan'
quote 'You can switch to a better plan if needed: Higher duration (subscription) / More tokens (token-based)'

say 'Half of its thirty days later Acme wants the year for teams. What is left of the days is credited.'
ask "SELECT billing.set_test_clock(:'acme', '2100-04-15 09:00')" ''
ask "SELECT action, price, credit, due, effective_at, expires_at FROM billing.quote_plan(:'acme', 'team')" \
    'upgrade | 300.00 USD | 15.00 USD | 285.00 USD | 2100-04-15 09:00:00+00 | 2101-04-15 09:00:00+00'
remember order5 "SELECT billing.order_plan(:'acme', 'team')"
ask "SELECT accepted, reason FROM billing.record_payment(:'order5', 'bank', 'transfer-4', '285 USD')" 'yes | accepted'
ask "SELECT name, status, expires_at FROM billing.account_package
      WHERE account_id = :'acme' ORDER BY effective_at, subscription_id" '
    Thirty days | expired | 2100-03-31 09:00:00+00
    Thirty days | replaced | 2100-04-15 09:00:00+00
    Team year | active | 2101-04-15 09:00:00+00'

say 'It grants what was refused before, and there is room for the fourth user.'
ask "SELECT allowed, reason FROM billing.check_access(:'acme', 'crm:export')" 'yes | allowed'
remember dan "SELECT billing.add_user_within_limit(:'acme', 'dan@acme.example', 'over the far hills', 'member', :'ada')"
ask "SELECT seats_used, seats_allowed FROM billing.account_status WHERE account_id = :'acme'" '4 | 10'

say 'Cobalt changes to the pack of a thousand. The tokens it has left come along.'
ask "SELECT billing.consume_tokens(:'cobalt', 30, 'studio', action => 'draw')" 70
ask "SELECT action, price, credit, due FROM billing.quote_plan(:'cobalt', 'bigpack')" \
    'upgrade | 50.00 USD | 0.00 USD | 50.00 USD'
remember order6 "SELECT billing.order_plan(:'cobalt', 'bigpack')"
ask "SELECT accepted, reason FROM billing.record_payment(:'order6', 'card', 'charge-4', '50 USD')" 'yes | accepted'
ask "SELECT status, plans, tokens_remaining FROM billing.account_status WHERE account_id = :'cobalt'" \
    'active | {bigpack} | 1070'
