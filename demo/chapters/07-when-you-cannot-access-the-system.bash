chapter '7. When you cannot access the system'
quote 'Check these first: Package expired / No active plans / Tokens exhausted'

say 'The three accounts for which it is so. Delta is new.'
remember delta "SELECT billing.create_account('Delta')"
ask "SELECT reason, message FROM billing.check_access(:'acme')" \
    'package_expired | The package has expired. Renew it, or choose a new plan and pay.'
ask "SELECT reason, message FROM billing.check_access(:'delta')" \
    'no_active_plan | The account has no active plan. Choose a plan and pay.'
ask "SELECT reason, message FROM billing.check_access(:'cobalt')" \
    'tokens_exhausted | The tokens of the plan are used up. Buy or renew tokens to go on.'

quote 'If all are fine → contact support'
say 'Bluebird has a package in force, but an administrator has suspended the account.'
ask "SELECT billing.suspend_account(:'bluebird', 'a question about an invoice')" ''
ask "SELECT allowed, level, reason, message FROM billing.check_access(:'bluebird', 'crm:read')" \
    'no | none | account_suspended | The billing account is suspended. Contact support.'
ask "SELECT billing.reinstate_account(:'bluebird')" ''
ask "SELECT allowed, level, reason FROM billing.check_access(:'bluebird', 'crm:read')" 'yes | full | allowed'
