chapter '11. Best practices'
quote 'Don’t wait for expiry' 'Renew early to avoid downtime'
say 'Acme renews its year while it runs, and has the second one from the end of the first.'
remember order7 "SELECT billing.order_plan(:'acme', 'team')"
ask "SELECT accepted, reason FROM billing.record_payment(:'order7', 'bank', 'transfer-5', '300 USD')" 'yes | accepted'
ask "SELECT expires_at FROM billing.account_status WHERE account_id = :'acme'" '2102-04-15 09:00:00+00'

quote 'Monitor your usage regularly on your dashboard'
ask "SELECT day, app, action, tokens, calls FROM billing.usage_daily WHERE account_id = :'cobalt'" \
    '2100-04-01 | studio | draw | 130 | 4'
