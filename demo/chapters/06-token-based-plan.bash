chapter '6. Token-based plan (usage-based)'
quote 'You get a fixed number of tokens' 'Each action consumes tokens' 'What you need to track: Remaining tokens'

say 'Cobalt buys a hundred pictures.'
remember cobalt "SELECT billing.create_account('Cobalt')"
ask "SELECT billing.set_test_clock(:'cobalt', '2100-03-01 09:00')" ''
remember order2 "SELECT billing.order_plan(:'cobalt', 'pack')"
ask "SELECT accepted, reason FROM billing.record_payment(:'order2', 'card', 'charge-1', '10 USD')" 'yes | accepted'
ask "SELECT billing.tokens_remaining(:'cobalt', 'studio')" 100
say 'A month later it draws the first sixty.'
ask "SELECT billing.set_test_clock(:'cobalt', '2100-04-01 09:00')" ''
ask "SELECT billing.consume_tokens(:'cobalt', 60, 'studio', action => 'draw')" 40

say 'A request that is repeated with its key, because the answer was lost, takes nothing again.'
ask "SELECT billing.consume_tokens(:'cobalt', 39, 'studio', idempotency_key => 'job 17', action => 'draw')" 1
ask "SELECT billing.consume_tokens(:'cobalt', 39, 'studio', idempotency_key => 'job 17', action => 'draw')" 1

quote 'What happens when tokens finish: Access stops even if time is left and you can just use the free plane or limited access only.'
say 'One is left: two are too many, and nothing is taken. The last one can be had.'
ask "SELECT granted, reason, tokens_remaining FROM billing.try_consume_tokens(:'cobalt', 2, 'studio')" \
    'no | tokens_exhausted | 1'
ask "SELECT billing.plan_is_active(:'cobalt')" yes
ask "SELECT billing.consume_tokens(:'cobalt', 1, 'studio', action => 'draw')" 0
say 'With it access to pictures stops, although eleven months are left. The free plan remains.'
ask "SELECT billing.plan_is_active(:'cobalt')" no
ask "SELECT name, status, expires_at, tokens_granted, tokens_used, tokens_left
       FROM billing.account_package WHERE account_id = :'cobalt'" \
    'Hundred pictures | exhausted | 2101-03-01 09:00:00+00 | 100 | 100 | 0'
refused "SELECT billing.consume_tokens(:'cobalt', 1, 'studio')" '
    PB004: tokens are exhausted
    Account <cobalt> was asked for 1 tokens and has 0 that can be used for this.
    The tokens of the plan are used up. Buy or renew tokens to go on.'
ask "SELECT allowed, level, reason FROM billing.check_access(:'cobalt', 'studio:draw')" \
    'no | limited | tokens_exhausted'
ask "SELECT allowed, level, reason, plan FROM billing.check_access(:'cobalt', 'crm:read')" \
    'yes | limited | allowed | free'

ask "SELECT kind, occurred_at FROM billing.event WHERE account_id = :'cobalt'
        AND kind IN ('tokens_exhausted', 'free_plan_assigned') ORDER BY kind DESC" '
    tokens_exhausted | 2100-04-01 09:00:00+00
    free_plan_assigned | 2100-04-01 09:00:00+00'

say 'What was used cannot be undone by writing into the tables.'
refused "DELETE FROM billing.ledger WHERE account_id = :'cobalt'" '
    PB012: rows of billing.ledger cannot be deleted
    The table is append-only: it is the record of what happened.
    Correct a mistake by a new entry, such as a refund, a grant or a new version.'

quote 'What to do: Buy/renew tokens before they run out'
say 'That is chapter 8 as well.'
