# What every function of the schema answers to bad arguments; read by ../bad_input.pl, which fails for
# a function that is not listed here.
#
# To add a function: one entry in %functions, keyed by its signature as regprocedure prints it without
# the schema, holding one argument description per argument. A description is a valid value (an SQL
# expression; the call with all of them must succeed) and, for every kind of bad value of the
# argument's type (%bad below), what the call answers when only this argument is bad:
#   'ok'        no error
#   '22023'     this SQLSTATE, and every table as before
#   '=x'        no error, and x as the result (the text of its rows, joined by ';')
# Use the helpers (code, name_of, key, …), which hold what section "SQL contract" says, and override
# what differs: code(q('plan'), unknown => 'PB011'), optional(time_(…)).
# A hash instead of the list, { args => [...], valid => '39P01' }, is for a function whose good call is
# refused as well; { args => [...], show => 'reason' } for one whose column reason is the result;
# { args => [...], read_only => 'ok' } for a volatile one that a read-only transaction may call (the
# others are refused there, says ../standby.pl).
# Rows that the calls need are made by $setup, after the functions of the extension.

package Cases;

use strict;
use warnings;

# The bad values of each type. Every argument description names an answer for each of them.
our %bad = (
    'text' => {
        null => 'NULL',
        empty => "''",
        malformed => "'Nö such:*'",
        unknown => "'nosuch'",
        long64 => "repeat('x', 64)",
        long256 => "repeat('x', 256)",
        huge => "repeat('x', 1000000)",
        wide => "repeat('ä', 255)",
    },
    'bigint' => { null => 'NULL', zero => '0', negative => '-1', least => "'-9223372036854775808'", most => '9223372036854775807' },
    'uuid' => { null => 'NULL', nil => "'00000000-0000-0000-0000-000000000000'", unknown => "'0badc0de-0000-4000-8000-00000000ffff'", largest => "'ffffffff-ffff-ffff-ffff-ffffffffffff'" },
    'timestamp with time zone' => { null => 'NULL', past => "'2001-01-01Z'", infinite => "'infinity'", minus_infinite => "'-infinity'", first => "'4714-11-24 BC Z'", last => "'294276-12-31 23:59:59.999999Z'" },
    'interval' => {
        null => 'NULL',
        zero => "'0'",
        negative => "'-1 day'",
        mixed => "'1 month -1 day'",
        smallest => "'1 microsecond'",
        longest => "'178000000 years'",
        extreme => 'make_interval(months => 2147483647, days => 2147483647) + interval \'2562047788 hours\'',
    },
    'jsonb' => { null => 'NULL', array => "'[1]'", scalar => "'1'", json_null => "'null'", empty => "'{}'", deep => q{(repeat('{"a":', 1000) || '1' || repeat('}', 1000))::jsonb} },
    'text[]' => {
        null => 'NULL',
        empty => "'{}'",
        null_element => "'{NULL}'",
        empty_element => "'{\"\"}'",
        malformed => "'{\"Nö such:*\"}'",
        unknown => "'{nosuch}'",
        two_dimensions => "'{{nosuch,nosuch},{nosuch,nosuch}}'",
        long => "ARRAY[repeat('x', 1000000)]",
        many => "array_fill('nosuch'::text, ARRAY[10000])",
    },
    'uuid[]' => { null => 'NULL', empty => "'{}'", null_element => "'{NULL}'", unknown => "'{0badc0de-0000-4000-8000-00000000ffff}'", two_dimensions => "array_fill('0badc0de-0000-4000-8000-00000000ffff'::uuid, ARRAY[1, 1])", many => "array_fill('0badc0de-0000-4000-8000-00000000ffff'::uuid, ARRAY[10000])" },
    'bigint[]' => { null => 'NULL', empty => "'{}'", null_element => "'{NULL}'", zero => "'{0}'", negative => "'{-1}'", most => "'{9223372036854775807}'", two_dimensions => "'{{1}}'", many => "array_fill(1::bigint, ARRAY[10000])" },
    'billing.amount' => { null => 'NULL', zero => "'0.00 USD'", negative => "'-1.00 USD'", most => "'92233720368547758.07 USD'", least => "'-92233720368547758.08 USD'", foreign => "'1 JPY'" },
    'numeric' => { null => 'NULL', zero => '0', negative => '-1', nan => "'NaN'", infinite => "'Infinity'", minus_infinite => "'-Infinity'", huge => '1e300', tiny => '1e-300' },
    'boolean' => { null => 'NULL' },
    'name' => { null => 'NULL', unknown => "'nosuch'", empty => "''" },
    'cstring' => { null => 'NULL', empty => "''", malformed => "'12.50'", huge => "'" . '9' x 1000 . " USD'", most => "'92233720368547758.08 USD'" },
    'bytea' => { null => 'NULL', empty => "''", long => "decode(repeat('ff', 1000), 'hex')" },
    # SQL has no other value of it.
    'internal' => { null => 'NULL' },
);

our $account = "'bad00000-0000-4000-8000-0000000000a1'";
our $user = "'bad00000-0000-7000-8000-0000000001a1'";
our $role_user = "'bad00000-0000-7000-8000-0000000002a1'";
our $disabled_user = "'bad00000-0000-7000-8000-0000000003a1'";
# What an order, a payment, a hold and a refund need, so that the balances of the first stay put.
our $buyer = "'bad00000-0000-4000-8000-0000000000e5'";
our $password = "'plum kettle 94 harbour'";

our $setup = <<"SQL";
SELECT billing.create_app('app', 'App');
SELECT billing.create_plan('free', 'free', permissions => '{app:read}', user_limit => 3);
SELECT billing.create_plan('plan', 'subscription', duration => '1 month', price => '10.00 USD', permissions => '{app:*}');
SELECT billing.create_plan('pack', 'token', tokens => 100, price => '5.00 USD');
SELECT billing.create_role('reader', '{app:read}');
SELECT billing.create_account('Account', $account);
SELECT billing.subscribe($account, 'plan');
SELECT billing.grant_tokens($account, 1000);
SELECT billing.consume_tokens($account, 1, 'app', 'used', 'act');
INSERT INTO billing.account_user (account_id, user_id, email, email_key, role) VALUES ($account, $user, 'admin\@bad.example', 'admin\@bad.example', 'admin');
INSERT INTO billing.account_user (account_id, user_id, email, email_key, role) VALUES ($account, $role_user, 'member\@bad.example', 'member\@bad.example', 'member');
INSERT INTO billing.account_user (account_id, user_id, email, email_key, role) VALUES ($account, $disabled_user, 'disabled\@bad.example', 'disabled\@bad.example', 'member');
SELECT billing.disable_user($disabled_user, $user);
SELECT billing.set_user_password($role_user, $password);
SELECT billing.create_account('Buyer', $buyer);
SELECT billing.subscribe($buyer, 'plan');
SELECT billing.grant_tokens($buyer, 1000);
SELECT billing.consume_tokens($buyer, 5, 'app', 'consumed', 'act');
SELECT billing.hold_tokens($buyer, 7, '30 days', 'app', 'held');
SELECT billing.record_payment(billing.order_plan($buyer, 'pack', 'immediate', 'paid'), 'provider', 'paid', '5.00 USD');
SELECT billing.order_plan($buyer, 'plan', 'immediate', 'open');
SELECT count(*) FROM billing.next_events('consumer');
CREATE ROLE bad_input_reporter;
CREATE TABLE public.bad_input_binding AS SELECT billing.issue_binding($account, '12 hours') AS token;
SQL

# Every function as [signature, description of its case], and what pg_proc says of it.
sub all_functions
{
    my ($node) = @_;
    my %function;
    for (split /\n/, $node->safe_psql('postgres', <<'SQL'))
SELECT regexp_replace(p.oid::regprocedure::text, '^billing\.', ''), p.prokind, p.provolatile = 'v', p.prorettype IN ('internal'::regtype, 'trigger'::regtype),
    array_to_string(ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS a(t, n) ORDER BY n), ';')
FROM pg_proc AS p WHERE p.pronamespace = 'billing'::regnamespace
SQL
    {
        my ($signature, $kind, $volatile, $pseudo, $types) = split /\|/;
        $function{$signature} = { kind => $kind, volatile => $volatile, pseudo => $pseudo, types => [ split /;/, $types // '' ] };
    }
    return %function;
}

sub case_of
{
    my ($signature) = @_;
    my $case = $Cases::functions{$signature};
    return ref $case eq 'ARRAY' ? { args => $case } : $case;
}

# Nothing is cast to the pseudo-types.
sub typed { my ($value, $type) = @_; return $type =~ /^(?:internal|cstring)$/ ? $value : "($value)::$type" }

# The good call's arguments.
sub valid_arguments
{
    my ($case, $function) = @_;
    my @types = @{ $function->{types} };
    return map { typed($case->{args}[$_]{valid}, $types[$_]) } 0 .. $#types;
}

# The statement that calls it and shows what it answers.
sub statement
{
    my ($signature, $function, $arguments, $show) = @_;
    my ($name) = $signature =~ /^(\w+)/;
    my $call = "billing.$name(" . join(', ', @$arguments) . ')';
    return "SELECT ($call IS NULL)::text" if $function->{pseudo} eq 't';
    return "SELECT $call\::text" if $function->{kind} eq 'a';
    return "SELECT string_agg((@{[ $show // 'x' ]})::text, ';') FROM $call AS x";
}

sub argument
{
    my ($valid, %answers) = @_;
    return { valid => $valid, answers => \%answers };
}

sub q_ { return "'$_[0]'" }

# NULL may be left out.
sub optional
{
    my ($argument, %override) = @_;
    return { valid => $argument->{valid}, answers => { %{ $argument->{answers} }, null => 'ok', %override } };
}

# A code of an app, plan or role.
sub code
{
    my ($valid, %override) = @_;
    return argument($valid, null => '22004', empty => '22023', malformed => '22023', unknown => 'ok', long64 => '22001', long256 => '22001', huge => '22001', wide => '22001', %override);
}

# Text of at most so many characters.
sub text_of
{
    my ($most, $valid, %override) = @_;
    return argument($valid, null => '22004', empty => '22023', malformed => 'ok', unknown => 'ok', long64 => 'ok', long256 => $most < 256 ? '22001' : 'ok', huge => '22001', wide => $most < 255 ? '22001' : 'ok', %override);
}

# A key or an action: bytes.
sub key
{
    my ($valid, %override) = @_;
    return argument($valid, null => 'ok', empty => '22023', malformed => 'ok', unknown => 'ok', long64 => 'ok', long256 => '22001', huge => '22001', wide => '22001', %override);
}

# Text of a check: whatever it is, there is an answer.
sub any_text { my ($valid, $answer) = @_; return argument($valid, map { $_ => $answer } keys %{ $bad{text} }) }

sub time_zone
{
    my (%override) = @_;
    return argument("'Europe/Berlin'", null => '22004', map({ $_ => '22023' } qw(empty malformed unknown long64 long256 huge wide)), %override);
}

sub account_id { my (%override) = @_; return argument($account, null => '22004', nil => 'PB001', unknown => 'PB001', largest => 'PB001', %override) }
# An id of anything else: not found.
sub id_of { my ($valid, $not_found, %override) = @_; return argument($valid, null => '22004', nil => $not_found, unknown => $not_found, largest => $not_found, %override) }
sub checked_id { my ($valid, $answer) = @_; return argument($valid, map { $_ => $answer } keys %{ $bad{uuid} }) }

sub tokens { my ($valid, %override) = @_; return argument($valid, null => '22004', zero => '22023', negative => '22023', least => '22023', most => 'ok', %override) }
sub any_bigint { my ($valid, %override) = @_; return argument($valid, null => '22004', map({ $_ => 'ok' } qw(zero negative least most)), %override) }
sub count_of { my ($valid, %override) = @_; return argument($valid, null => 'ok', zero => 'ok', negative => '22023', least => '22023', most => 'ok', %override) }

# A point in time; the very first and last are possible unless overridden.
sub time_ { my ($valid, %override) = @_; return argument($valid, null => '22004', past => 'ok', infinite => '22023', minus_infinite => '22023', first => 'ok', last => 'ok', %override) }
sub duration { my (%override) = @_; return argument("'30 days'", null => '22004', zero => '22023', negative => '22023', mixed => '22023', smallest => 'ok', longest => 'ok', extreme => 'ok', %override) }
sub metadata { return argument(q{'{"a": 1}'}, null => '22004', array => '22023', scalar => '22023', json_null => '22023', empty => 'ok', deep => 'ok', @_) }
sub price { my (%override) = @_; return argument("'12.50 USD'", null => 'ok', zero => 'ok', negative => 'PB015', most => 'ok', least => 'PB015', foreign => 'ok', %override) }
# Permissions that a plan or a role is made of.
sub permissions { my (%override) = @_; return argument("'{app:read}'", null => 'ok', empty => 'ok', null_element => '22004', map({ $_ => '22023' } qw(empty_element malformed unknown two_dimensions long many)), %override) }

# Columns of the batch: one item is valid.
sub column { my ($type, $valid, %override) = @_; return argument($valid, map({ $_ => '2202E' } keys %{ $bad{$type} }), null => 'ok', %override) }

# The functions of billing.amount are strict: NULL in, NULL out.
sub amount { my (%override) = @_; return argument("'1.00 USD'", null => '=', map({ $_ => 'ok' } qw(zero negative most least)), foreign => '22023', %override) }
sub any_amount { my (%override) = @_; return amount(foreign => 'ok', %override) }
sub number { my (%override) = @_; return argument('3', null => '=', zero => 'ok', negative => 'ok', nan => '22023', infinite => '22023', minus_infinite => '22023', huge => '22003', tiny => 'ok', %override) }

# Functions with an argument of type internal: SQL finds none to call, not even with NULL. What they do
# is seen by aggregates, binary COPY and plans.
sub not_from_sql
{
    my ($types) = $_[0] =~ /\((.*)\)/;
    my @args = map { my $type = $_; argument($bad{$type}{ (sort keys %{ $bad{$type} })[0] }, map { $_ => '42883' } keys %{ $bad{$type} }) } split /,/, $types;
    return { args => \@args, valid => '42883' };
}

my $subscription = "(SELECT subscription_id FROM billing.subscription WHERE account_id = $account LIMIT 1)";
my $hold = "(SELECT hold_id FROM billing.hold WHERE account_id = $buyer)";
my $order = "(SELECT order_id FROM billing.plan_order WHERE account_id = $buyer AND status = 'open')";
my $payment = "(SELECT payment_id FROM billing.payment WHERE account_id = $buyer)";

sub new_password { return argument("'gravel spoon 27 meadow'", map({ $_ => '22023' } keys %{ $bad{text} }), malformed => 'ok', @_) }
# One of a few words.
sub word { my ($valid) = @_; return wrong($valid, '22023', long256 => '22001', huge => '22001') }
sub wrong { my ($valid, $answer, %override) = @_; return argument($valid, map({ $_ => $answer } keys %{ $bad{text} }), null => '22004', %override) }
# Who asks for a change of users: NULL is for administrators.
sub acting_user { return argument($user, null => 'ok', map { $_ => 'PB006' } qw(nil unknown largest)) }
sub database_role { return argument("'bad_input_reporter'", null => '22004', unknown => '42704', empty => '42704', @_) }

my @request = (account_id(), tokens(5, most => 'PB004'), optional(code("'app'", unknown => 'PB016')), key("'new'"), key("'act'"),
    argument($user, null => 'ok', nil => 'PB013', unknown => 'PB013', largest => 'PB013'));

our %functions = (
    # catalogue
    'create_app(text,text)' => [ code("'new'"), text_of(255, "'Name'") ],
    'create_plan(text,text,text,billing.amount,interval,bigint,bigint,text[],text)' => [
        code("'new'"), code("'subscription'", unknown => '22023'), optional(text_of(255, "'Name'")), price(), optional(duration(), null => '22023'), optional(tokens(10)), count_of(5), permissions(),
        optional(code("'app'", unknown => 'PB016')) ],
    'revise_plan(text,text,billing.amount,interval,bigint,bigint,text[],text,text[])' => [
        code("'plan'", unknown => 'PB011'), optional(text_of(255, "'Name'")), price(), optional(duration()), optional(tokens(10)), count_of(5), permissions(),
        optional(code("'app'", unknown => 'PB016')), argument("'{price}'", null => 'ok', empty => 'ok', null_element => '22004', map { $_ => '22023' } qw(empty_element malformed unknown two_dimensions long many)) ],
    'retire_plan(text)' => [ code("'plan'", unknown => 'PB011') ],
    'create_role(text,text[])' => [ code("'new'"), permissions(null => '22004') ],

    # accounts and clocks
    'create_account(text,uuid,text,text,jsonb)' => [
        text_of(255, "'Name'"), argument("'bad00000-0000-4000-8000-0000000000b2'", null => 'ok', nil => '22023', unknown => 'ok', largest => '22023'), optional(text_of(255, "'reference'")), time_zone(), metadata() ],
    'update_account(uuid,text,text,text,jsonb)' => [ account_id(), optional(text_of(255, "'Name'")), optional(text_of(255, "'reference'")), optional(time_zone()), optional(metadata()) ],
    'suspend_account(uuid,text)' => [ account_id(), text_of(2000, "'reason'") ],
    'reinstate_account(uuid)' => [ account_id() ],
    'close_account(uuid)' => [ account_id() ],
    'now(uuid)' => [ checked_id($account, 'ok') ],
    'set_test_clock(uuid,timestamp with time zone)' => [ account_id(), optional(time_("'2100-01-01'", past => '22023', first => '22023')) ],
    'advance_test_clock(uuid,interval)' => [ account_id(), duration(longest => '22008', extreme => '22008') ],
    'period_end(timestamp with time zone,interval,bigint,text,timestamp with time zone)' => [
        time_("'2040-01-31'", last => '22008'), duration(longest => '22008', extreme => '22008'), any_bigint(1, zero => 'ok', negative => '22023', least => '22023', most => '22008'), time_zone(),
        optional(time_("'2050-01-01'", last => '22008')) ],

    # access
    'plan_is_active(uuid,text,text)' => [ checked_id($account, '=false'), { %{ any_text("'app'", '=false') }, answers => { %{ any_text('', '=false')->{answers} }, null => '=true' } },
        { valid => "'plan'", answers => { %{ any_text('', '=false')->{answers} }, null => '=true' } } ],
    'check_access(uuid,text,uuid)' => {
        args => [ checked_id($account, '=account_not_found'), { valid => "'app:read'", answers => { %{ any_text('', '=permission_not_in_plan')->{answers} }, null => '=allowed', malformed => '=no_active_plan' } },
            { valid => $user, answers => { %{ checked_id('', '=user_not_found')->{answers} }, null => '=allowed' } } ],
        show => 'reason' },
    'user_permissions(uuid)' => [ checked_id($user, '=') ],

    # subscriptions and tokens
    'subscribe(uuid,text,timestamp with time zone,timestamp with time zone,bigint,text)' => [
        account_id(), code("'pack'", unknown => 'PB011'), optional(time_("'2041-01-01'", last => '22023')), optional(time_("'2042-01-01'", past => '22023', first => '22023')), optional(tokens(10)), key("'new'") ],
    'expire_due(bigint)' => [ argument('10', null => 'ok', zero => '22023', negative => '22023', least => '22023', most => 'ok') ],
    'grant_tokens(uuid,bigint,timestamp with time zone,bigint,text,text,uuid,text)' => [
        account_id(), tokens(10), optional(time_("'2100-01-01'", past => '22023', first => '22023')), any_bigint(100), optional(code("'app'", unknown => 'PB016')), optional(text_of(2000, "'reason'")),
        argument($subscription, null => 'ok', nil => 'PB016', unknown => 'PB016', largest => 'PB016'), key("'new'") ],
    'consume_tokens(uuid,bigint,text,text,text,uuid)' => \@request,
    'try_consume_tokens(uuid,bigint,text,text,text,uuid)' => {
        args => [
            account_id(map { $_ => '=account_not_found' } qw(nil unknown largest)), tokens(5, most => '=tokens_exhausted'), @request[ 2 .. 4 ],
            argument($user, null => '=allowed', map { $_ => '=user_not_found' } qw(nil unknown largest)) ],
        show => 'reason' },
    'consume_tokens_batch(uuid[],bigint[],text[],text[],text[],bigint[])' => {
        args => [
            column('uuid[]', "ARRAY[$account]::uuid[]", null => '22004', unknown => '=account_not_found'),
            column('bigint[]', "'{5}'", null => '22004', zero => '22023', negative => '22023', most => '=tokens_exhausted'),
            column('text[]', "'{app}'", null_element => 'ok', empty_element => '22023', malformed => '22023', unknown => 'PB016', long => '22001'),
            column('text[]', "'{new}'", null_element => 'ok', empty_element => '22023', malformed => 'ok', unknown => 'ok', long => '22001'),
            column('text[]', "'{act}'", null_element => 'ok', empty_element => '22023', malformed => 'ok', unknown => 'ok', long => '22001'),
            column('bigint[]', "'{1}'", map { $_ => 'ok' } qw(zero negative most)) ],
        show => 'reason' },
    'hold_tokens(uuid,bigint,interval,text,text)' => [ @request[ 0, 1 ], duration(longest => '22008', extreme => '22008'), @request[ 2, 3 ] ],
    'capture_hold(uuid,bigint)' => [ id_of($hold, 'PB016'), optional(tokens(3, most => '22023')) ],
    'release_hold(uuid)' => [ id_of($hold, 'PB016') ],
    'refund_tokens(uuid,text,bigint)' => [
        argument($buyer, null => '22004', map { $_ => 'PB001' } qw(nil unknown largest)), key("'consumed'", null => '22004', map { $_ => 'PB016' } qw(malformed unknown long64)),
        optional(tokens(2, most => '22023')) ],
    'void_grant(uuid)' => [ id_of("(SELECT grant_id FROM billing.token_grant WHERE account_id = $account LIMIT 1)", 'PB016') ],
    'verify_ledger(uuid)' => { args => [ checked_id($account, '=') ], read_only => 'ok' },
    'write_checkpoint(uuid)' => [ account_id() ],
    'engine_counters()' => { args => [], read_only => 'ok' },
    'tokens_remaining(uuid,text)' => [ checked_id($account, '=0'), any_text("'app'", '=999') ],

    # users
    'add_user_within_limit(uuid,text,text,text,uuid)' => [ account_id(), wrong("'new\@bad.example'", '22023'), new_password(null => 'ok'), code("'member'", unknown => 'PB016'), acting_user() ],
    'remove_user(uuid,uuid)' => [ id_of($role_user, 'PB013'), acting_user() ],
    'set_user_role(uuid,text,uuid)' => [ id_of($role_user, 'PB013'), code("'reader'", unknown => 'PB016'), acting_user() ],
    'disable_user(uuid,uuid)' => [ id_of($role_user, 'PB013'), acting_user() ],
    'enable_user(uuid,uuid)' => [ id_of($disabled_user, 'PB013'), acting_user() ],
    'set_user_password(uuid,text)' => [ id_of($role_user, 'PB013'), new_password(null => '22004') ],
    'erase_user(uuid)' => [ id_of($role_user, 'PB013') ],
    'authenticate_user(text,text,text)' => {
        args => [ any_text("'member\@bad.example'", '=invalid_credentials'), any_text($password, '=invalid_credentials'), key("'client'") ],
        show => 'reason', read_only => 'ok' },
    'roster(uuid)' => [ checked_id($account, '=') ],
    'packages(uuid)' => [ checked_id($account, '=') ],
    'seats_allowed(uuid)' => [ checked_id($account, '=0') ],

    # orders and money
    'quote_plan(uuid,text,text)' => { args => [ account_id(), code("'pack'", unknown => 'PB011'), word("'immediate'") ], read_only => 'ok' },
    'order_plan(uuid,text,text,text)' => [ account_id(), code("'pack'", unknown => 'PB011'), word("'immediate'"), key("'new'") ],
    'record_payment(uuid,text,text,billing.amount,billing.amount)' => [
        id_of($order, 'PB016'), key("'provider'", null => '22004'), key("'new'", null => '22004'),
        argument("'10.00 USD'", null => '22004', zero => 'PB015', negative => 'PB015', least => 'PB015', most => 'ok', foreign => 'PB015'),
        argument("'0.50 USD'", null => 'ok', zero => 'ok', map { $_ => 'PB015' } qw(negative least most foreign)) ],
    'record_refund(uuid,text,text,billing.amount,boolean)' => [
        id_of($payment, 'PB016'), key("'provider'", null => '22004'), key("'new'", null => '22004'),
        argument("'1.00 USD'", null => '22004', map { $_ => 'PB015' } qw(zero negative least most foreign)), argument('false', null => '22004') ],
    'cancel_subscription(uuid,boolean)' => [ id_of($subscription, 'PB016'), argument('false', null => '22004') ],

    # events
    'next_events(text,bigint)' => [ key("'new'", null => '22004'), tokens(10) ],
    'ack_events(text,uuid)' => [
        key("'consumer'", null => '22004', map { $_ => '22023' } qw(malformed unknown long64)), id_of('(SELECT event_id FROM billing.event ORDER BY event_id LIMIT 1)', 'PB016') ],

    # who may do what
    'issue_binding(uuid,interval,name)' => [
        account_id(), { %{ duration(longest => '22023', extreme => '22023') }, valid => "'1 hour'" }, database_role(null => 'ok') ],
    'bind_account(text)' => { args => [ wrong('(SELECT token FROM public.bad_input_binding)', 'PB006') ], read_only => 'ok' },
    'rotate_binding_key()' => [],
    'visible(uuid)' => [ { valid => $account, answers => { null => '=false', map { $_ => '=true' } qw(nil unknown largest) } } ],
    'first_visible()' => [],
    'last_visible()' => [],
    (map { my ($type, $value) = @$_; ("shown(uuid,$type)" => [ argument($account, map { $_ => 'ok' } keys %{ $bad{uuid} }),
        argument($value, map { $_ => 'ok' } keys %{ $bad{$type} }) ]) } [ 'uuid', $account ], [ 'text', "'x'" ], [ 'timestamp with time zone', 'now()' ]),
    'grant_usage_to(name,text)' => [ database_role(), word("'reporting'") ],
    'revoke_usage_from(name,text)' => [ database_role(), word("'reporting'") ],

    # the worker
    'worker_databases()' => { args => [], read_only => 'ok' },

    # triggers are not called
    (map { ("$_()" => { args => [], valid => '39P01' }) } qw(guard_immutable guard_grant guard_hold guard_hold_end guard_balance guard_checkpoint guard_engine guard_event guard_restore guard_order guard_period guard_user prepare_user note_due note_grant_end)),

    # billing.amount
    'amount_in(cstring)' => [ argument("'12.50 USD'", null => '=', empty => '22P02', malformed => '22P02', huge => '22003', most => '22003') ],
    'amount_out(billing.amount)' => [ any_amount() ],
    'amount_send(billing.amount)' => [ any_amount() ],
    'amount(numeric,text)' => [
        number(tiny => '22023'), argument("'USD'", null => '=', map { $_ => '22023' } qw(empty malformed unknown long64 long256 huge wide)) ],
    'amount_to_numeric(billing.amount)' => [ any_amount() ],
    'currency(billing.amount)' => [ any_amount() ],
    'minor_units(billing.amount)' => [ any_amount() ],
    'currency_decimals(text)' => [ any_text("'USD'", '=') ],
    'amount_add(billing.amount,billing.amount)' => [ amount(most => '22003'), amount(most => '22003') ],
    'amount_subtract(billing.amount,billing.amount)' => [ amount(least => '22003'), amount(least => '22003') ],
    'amount_plus(billing.amount)' => [ any_amount() ],
    'amount_negate(billing.amount)' => [ any_amount(least => '22003') ],
    'abs(billing.amount)' => [ any_amount(least => '22003') ],
    'amount_multiply(billing.amount,numeric)' => [ any_amount(most => '22003', least => '22003'), number() ],
    'amount_multiply(numeric,billing.amount)' => [ number(), any_amount(most => '22003', least => '22003') ],
    'amount_divide(billing.amount,numeric)' => [ any_amount(), number(zero => '22012', huge => '=0.00 USD', tiny => '22003') ],
    'amount_ratio(billing.amount,billing.amount)' => [ amount(), amount(zero => '22012') ],
    (map { ("amount_$_(billing.amount,billing.amount)" => [ any_amount(), any_amount() ]) } qw(eq ne order_lt order_le order_ge order_gt order_cmp)),
    (map { ("amount_$_(billing.amount,billing.amount)" => [ amount(), amount() ]) } qw(lt le ge gt smaller larger)),
    'amount_hash(billing.amount)' => [ any_amount() ],
    'amount_hash_extended(billing.amount,bigint)' => [ any_amount(), argument(1, null => '=', map { $_ => 'ok' } qw(zero negative least most)) ],
    (map { ($_ => not_from_sql($_)) } 'plan_visible(internal)', 'amount_recv(internal)', 'amount_sum_add(internal,billing.amount)', 'amount_sum_remove(internal,billing.amount)', 'amount_sum_combine(internal,internal)',
        'amount_sum_serialize(internal)', 'amount_sum_deserialize(bytea,internal)', 'amount_sum_final(internal)'),
    'sum(billing.amount)' => [ any_amount() ],
    'min(billing.amount)' => [ any_amount() ],
    'max(billing.amount)' => [ any_amount() ],
);

1;
