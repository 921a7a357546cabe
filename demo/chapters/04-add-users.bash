chapter '4. Add users'
quote 'Admin can add the users inside the billing user details by adding email, password and give the role.'

say 'The first user is the admin; the admin adds the next ones.'
remember ada "SELECT billing.add_user_within_limit(:'acme', 'ada@acme.example', 'correct horse battery', 'admin')"
remember ben "SELECT billing.add_user_within_limit(:'acme', 'ben@acme.example', 'staple in the attic', 'member', :'ada')"
remember cleo "SELECT billing.add_user_within_limit(:'acme', 'cleo@acme.example', 'seven quiet rivers', 'member', :'ada')"
ask "SELECT email, role, status FROM billing.account_member WHERE account_id = :'acme' ORDER BY email" '
    ada@acme.example | admin | active
    ben@acme.example | member | active
    cleo@acme.example | member | active'
say 'They log in with what was given; what is stored of the password is a hash.'
ask "SELECT user_id, role, allowed, reason FROM billing.authenticate_user('ben@acme.example', 'staple in the attic')" \
    '<ben> | member | yes | allowed'
ask "SELECT user_id, role, allowed, reason FROM billing.authenticate_user('ben@acme.example', 'a guess')" \
    '- | - | no | invalid_credentials'
ask "SELECT substr(password_hash, 1, 10) FROM billing.account_user WHERE user_id = :'ben'" '$argon2id$'

quote 'The user created by the admin will get role that is assigned by the admin.'
say 'The plan says what can be done at all; the role says what of that this user may do.'
ask "SELECT billing.user_permissions(:'ada')" '
    billing:manage_users
    crm:read
    crm:write'
ask "SELECT billing.user_permissions(:'ben')" '
    crm:read
    crm:write'
refused "SELECT billing.add_user_within_limit(:'acme', 'dan@acme.example', 'over the far hills', 'member', :'ben')" '
    PB006: user may not manage the users of the account
    User <ben>: permission is not in the role.
    An admin of the same account who has access can.'

quote 'Admin can only create the limited amount of users if want to add more more upgrade package'
say 'Thirty days come with three users. The fourth is refused, with the reason and what to do.'
refused "SELECT billing.add_user_within_limit(:'acme', 'dan@acme.example', 'over the far hills', 'member', :'ada')" '
    PB007: user limit reached
    The plan "monthly" allows 3 users; account <acme> would have 4.
    Upgrade to a plan that allows more users, or disable or remove a user.'
say 'Writing into the table directly does not help either.'
refused "INSERT INTO billing.account_user (account_id, user_id, email, role)
     VALUES (:'acme', gen_random_uuid(), 'dan@acme.example', 'member')" '
    PB007: user limit reached
    The plan "monthly" allows 3 users; account <acme> would have 4.
    Upgrade to a plan that allows more users, or disable or remove a user.'
ask "SELECT seats_used, seats_allowed FROM billing.account_status WHERE account_id = :'acme'" '3 | 3'
