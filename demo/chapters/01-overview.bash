chapter '1. Overview'
quote 'Your Billing Account is your access to the platform.' \
    'If your account is active, you can use services. If not, access will stop or be a limited access.'

say 'Two products: crm keeps customers, studio draws pictures.'
ask "SELECT billing.create_app('crm', 'Customers')" ''
ask "SELECT billing.create_app('studio', 'Pictures')" ''

say 'Acme opens an account. There is nothing to buy yet, and nothing for free: no access.'
remember acme "SELECT billing.create_account('Acme')"
ask "SELECT allowed, level, reason, message FROM billing.check_access(:'acme', 'crm:read')" \
    'no | none | no_active_plan | The account has no active plan. Choose a plan and pay.'

say 'With a free plan, access is limited to what that plan grants.'
ask "SELECT billing.create_plan('free', 'free', 'Free', user_limit => 1, permissions => '{crm:read}')" 1
ask "SELECT allowed, level, reason, plan FROM billing.check_access(:'acme', 'crm:read')" \
    'yes | limited | allowed | free'
ask "SELECT allowed, level, reason, message FROM billing.check_access(:'acme', 'crm:write')" \
    'no | limited | no_active_plan | The account has no active plan. Choose a plan and pay.'
