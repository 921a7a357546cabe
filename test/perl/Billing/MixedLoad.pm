# Clients that use everything at once against a server that may vanish at any moment. Each writes
# down, before it asks, what the transaction would bring about, and afterwards what it was told.
#
# What a transaction brings about are effects, words that effects_of() finds in the database again:
#   k:KEY a consumption or hold with that key    e:HOLD:KIND:TOKENS the end of a hold
#   c:TAG a consumption without a key            g:KEY a grant with that key
#   u:TAG a user added    r:USER one removed     a:REFERENCE an account
#   o:KEY an order        p:REF a payment        m:TAG a row of the application's own table
# The lines of a client's file are "tag TAB state TAB effects"; of a tag the last one counts:
#   begin     asked, not answered: all of it or nothing
#   ok, no    committed; refused or rolled back
#   prepared  PREPARE was answered         committing, aborting   the second phase was asked for

package Billing::MixedLoad;

use strict;
use warnings;

use Billing::Session;
use Exporter 'import';
use IO::Handle;
use POSIX ();
use Time::HiRes qw(sleep);

our @EXPORT = qw(load_setup load_begin load_start load_stop told effects_of);

# Of a round: accounts for tokens, one for seats, and one that has few tokens.
use constant SHARED => 3;
use constant SEATS => 3;

# What a client may be answered: too few tokens, no seat, a hold that lapsed, a key race, the last admin, an
# order that lapsed, a deadlock of two that pay and consume.
my %expected = map { $_ => 1 } qw(PB004 PB007 PB009 PB014 PB017 40P01);

sub load_setup
{
    my ($node) = @_;
    $node->safe_psql('postgres', <<'SQL');
SET client_min_messages = warning;
CREATE EXTENSION billing CASCADE;
ALTER DATABASE postgres SET billing.checkpoint_entries = 20;
SELECT billing.create_app('mail', 'Mail');
SELECT billing.create_plan('free', 'free', user_limit => 1);
SELECT billing.create_plan('team', 'subscription', duration => '100 years', user_limit => 3);
SELECT billing.create_plan('basic', 'subscription', price => '10 USD', duration => '1 month', tokens => 100, app => 'mail');
SELECT billing.create_plan('pro', 'subscription', price => '30 USD', duration => '1 month', tokens => 1000, app => 'mail');
SELECT billing.create_plan('pack', 'token', price => '5 USD', tokens => 500, app => 'mail');
CREATE TABLE public.marker (tag text PRIMARY KEY, ref uuid);
-- Keeps a payment where the session says so, so that a kill finds it there.
CREATE FUNCTION public.pause() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('load.pause', true) = TG_TABLE_NAME THEN
        PERFORM pg_catalog.pg_sleep(0.2 + random() * 0.5);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER pause AFTER INSERT ON billing.payment FOR EACH ROW EXECUTE FUNCTION public.pause();
CREATE TRIGGER pause AFTER INSERT ON billing.subscription FOR EACH ROW EXECUTE FUNCTION public.pause();
CREATE TRIGGER pause AFTER INSERT ON billing.subscription_period FOR EACH ROW EXECUTE FUNCTION public.pause();
CREATE TRIGGER pause AFTER UPDATE ON billing.plan_order FOR EACH ROW EXECUTE FUNCTION public.pause();
SQL
    return;
}

sub account_id { return sprintf 'c4a5%04x-0000-4000-8000-0000000000%02x', @_ }

# The accounts of a round; their references begin with its number.
sub load_begin
{
    my ($node, $round) = @_;
    my @sql = 'SET client_min_messages = warning';
    for my $n (0 .. SHARED + 1)
    {
        my $id = account_id($round, $n);
        push @sql, "SELECT billing.create_account('Load', '$id', reference => '$round.shared.$n'), billing.subscribe('$id', 'team')";
        # many small grants before a large one, so that consumptions span them
        push @sql, "SELECT count(billing.grant_tokens('$id', 40, priority => p)) FROM generate_series(1, 20) p";
        push @sql, "SELECT billing.grant_tokens('$id', 1000000000)" if $n <= SHARED;
    }
    $node->safe_psql('postgres', join '; ', @sql);
    return;
}

my ($session, $file, $round, $client, $number, $tag);
my (@holds, @users, @orders, @buyers);

# load_start(node, directory, round, client, seed): the process, which ends when the server is gone or
# load_stop() asks it to, after the transaction that it is at.
sub load_start
{
    my ($node, $dir);
    ($node, $dir, $round, $client, my $seed) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    my $stop = 0;
    $SIG{PIPE} = 'IGNORE';
    $SIG{TERM} = sub { $stop = 1 };
    srand($seed * 100_003 + $round * 101 + $client);
    open $file, '>>', "$dir/client.$round.$client" or POSIX::_exit(1);
    $number = 0;
    eval {
        $session = Billing::Session->new($node);
        ask('SET client_min_messages = error');
        one_of()->() until $stop;
    };
    # without what Perl does at its end: the server is the parent's
    POSIX::_exit(!$@ || $@ eq "gone\n" ? 0 : 1);
}

# Stops clients, or waits for those whose server is gone. True: one failed.
sub load_stop
{
    my @pids = @_;
    my $failed = 0;
    kill 'TERM', @pids;
    for (@pids)
    {
        waitpid $_, 0;
        $failed = $? if $?;
    }
    return $failed;
}

# One write a line: what is written survives this process too.
sub record
{
    my ($state, @effects) = @_;
    syswrite $file, "$tag\t$state\t@effects\n";
    return;
}

sub ask
{
    my ($sql) = @_;
    my $answer = $session->query($sql) // die "gone\n";
    return $answer if $answer !~ /ERROR:\s+(\w{5})/;
    my $state = $1;
    record('error', $state, $sql =~ s/\s+/ /gr) if !$expected{$state};
    die "refused\n";
}

# Begins a new tag, which names the round, the client and the transaction.
sub begin
{
    my (@effects) = @_;
    record('begin', @effects);
    return;
}

# The answer of the last statement; undefined if it was refused. A number: pause so long.
sub transaction
{
    my ($effects, @statements) = @_;
    begin(@$effects);
    my $answer;
    my $done = eval {
        for (@statements)
        {
            if (/^[\d.]+$/) { sleep $_ }
            else { $answer = ask($_) }
        }
        1;
    };
    if (!$done)
    {
        die $@ if $@ ne "refused\n";
        eval { ask('ROLLBACK'); 1 } or die $@ if @statements > 1;
        record('no', @$effects);
        return;
    }
    record('ok', @$effects);
    return $answer;
}

sub new_tag { $number++; $tag = "$round.$client.$number"; return $tag }
sub pick { return $_[ rand @_ ] }
sub shared { return account_id($round, int rand SHARED) }
sub marker { return "INSERT INTO public.marker VALUES ('$tag')" }
sub think { return sprintf '%.4f', rand 0.02 }

sub consume_sql
{
    my ($account, $key) = @_;
    return sprintf "SELECT billing.consume_tokens('%s', %d, %s, '%s', 'load')", $account, 1 + rand 60, pick('NULL', "'mail'"), $key;
}

sub batch_sql
{
    my @keys = @_;
    return sprintf q{SELECT 1 / bool_and(granted)::int FROM billing.consume_tokens_batch(ARRAY[%s]::uuid[], ARRAY[%s], NULL, ARRAY[%s])},
        join(', ', map { "'" . account_id($round, $_ % SHARED) . "'" } 0 .. $#keys),
        join(', ', map { 1 + int rand 50 } @keys), join(', ', map { "'$_'" } @keys);
}

# Single and by itself; a batch by itself; both, and a row of the application's, in one transaction.
sub consume
{
    new_tag();
    transaction([ "k:$tag/a" ], consume_sql(shared(), "$tag/a"));
    return;
}

sub without_key
{
    new_tag();
    transaction([ "c:$tag" ], sprintf "SELECT billing.consume_tokens('%s', %d, NULL, NULL, '%s')", shared(), 1 + rand 60, $tag);
    return;
}

sub grant
{
    new_tag();
    transaction([ "g:$tag" ], sprintf "SELECT billing.grant_tokens('%s', %d, idempotency_key => '%s')", shared(), 1 + rand 60, $tag);
    return;
}

sub batch
{
    new_tag();
    my @keys = map { "$tag/$_" } 'a' .. 'd';
    transaction([ map { "k:$_" } @keys ], batch_sql(@keys));
    return;
}

sub several
{
    new_tag();
    my @keys = map { "$tag/$_" } 'a' .. 'c';
    transaction([ "k:$tag/x", (map { "k:$_" } @keys), "m:$tag" ],
        'BEGIN', consume_sql(shared(), "$tag/x"), think(), batch_sql(@keys), marker(), think(), 'COMMIT');
    return;
}

# Takes back half of what it does: the savepoint's part is never there.
sub savepoint
{
    new_tag();
    transaction([ "k:$tag/a", "m:$tag" ], 'BEGIN', consume_sql(shared(), "$tag/a"), 'SAVEPOINT s', consume_sql(shared(), "$tag/b"), think(),
        'ROLLBACK TO s', marker(), 'COMMIT');
    return;
}

sub rolled_back
{
    new_tag();
    begin("k:$tag/a", "m:$tag");
    eval { ask($_) for 'BEGIN', consume_sql(shared(), "$tag/a"), marker(); 1 } or $@ eq "refused\n" or die $@;
    ask('ROLLBACK');
    record('no', "k:$tag/a", "m:$tag");
    return;
}

# Until it has no more tokens, and on.
sub thirsty
{
    new_tag();
    transaction([ "k:$tag/a" ], consume_sql(account_id($round, SHARED + 1), "$tag/a"));
    return;
}

sub hold
{
    new_tag();
    my $tokens = 1 + int rand 60;
    my $hold = transaction([ "k:$tag/h" ],
        sprintf "SELECT billing.hold_tokens('%s', %d, '%s', NULL, '%s')", shared(), $tokens, pick('300 ms', '1 hour', '1 hour'), "$tag/h");
    push @holds, [ $hold, $tokens ] if $hold;
    return;
}

sub end_hold
{
    return hold() if !@holds;
    new_tag();
    my ($hold, $held) = @{ splice @holds, rand @holds, 1 };
    my $tokens = 1 + int rand $held;
    my ($effect, $sql) = @{ pick([ "e:$hold:captured:$tokens", "SELECT billing.capture_hold('$hold', $tokens)" ],
            [ "e:$hold:released:0", "SELECT billing.release_hold('$hold')" ]) };
    if (rand() < 0.5) { transaction([$effect], $sql) }
    else
    {
        transaction([ $effect, "k:$tag/a", "m:$tag" ], 'BEGIN', $sql, think(), consume_sql(shared(), "$tag/a"), marker(), 'COMMIT');
    }
    return;
}

sub add_user_sql
{
    return "INSERT INTO public.marker SELECT '$tag', billing.add_user_within_limit('@{[ account_id($round, SHARED) ]}', '$tag\@load.example', NULL) RETURNING ref";
}

sub user
{
    return remove_user() if @users && rand() < 0.5;
    new_tag();
    my $user;
    begin("u:$tag", "m:$tag", "k:$tag/a");
    my $done = eval {
        ask('BEGIN');
        $user = ask(add_user_sql());
        ask(consume_sql(shared(), "$tag/a"));
        ask('COMMIT');
        1;
    };
    die $@ if !$done && $@ ne "refused\n";
    ask('ROLLBACK') if !$done;
    record($done ? 'ok' : 'no', "u:$tag", "m:$tag", "k:$tag/a");
    push @users, $user if $done;
    return;
}

sub remove_user
{
    new_tag();
    my $user = splice @users, rand @users, 1;
    transaction([ "r:$user", "m:$tag" ], 'BEGIN', "SELECT billing.remove_user('$user')", think(), marker(), 'COMMIT');
    return;
}

sub buyer
{
    new_tag();
    my $id = transaction([ "a:$tag" ], "SELECT billing.create_account('Buyer', reference => '$tag')");
    push @buyers, $id if $id;
    return;
}

sub order_plan
{
    return buyer() if @buyers < 2;
    new_tag();
    my $order = transaction([ "o:$tag" ],
        sprintf "SELECT billing.order_plan('%s', '%s', idempotency_key => '%s')", pick(@buyers), pick('basic', 'pro', 'pack'), $tag);
    push @orders, $order if $order;
    return;
}

# Now and then too little; kept for a moment at one of the places where it writes, or nowhere.
sub payment_sql
{
    my ($order, $ref) = @_;
    my $amount = rand() < 0.1 ? "'1 USD'" : "(SELECT due FROM billing.plan_order WHERE order_id = '$order')";
    return "SELECT reason FROM billing.record_payment('$order', 'load', '$ref', $amount)";
}

sub pay
{
    return order_plan() if !@orders;
    my $order = splice @orders, rand @orders, 1;
    ask("SET load.pause = '" . pick('', '', 'payment', 'subscription', 'subscription_period', 'plan_order') . q{'});
    new_tag();
    if (rand() < 0.6) { transaction([ "p:$tag" ], payment_sql($order, $tag)) }
    else
    {
        transaction([ "p:$tag", "m:$tag", "k:$tag/a" ], 'BEGIN', payment_sql($order, $tag), consume_sql(shared(), "$tag/a"), marker(), 'COMMIT');
    }
    ask("SET load.pause = ''");
    return;
}

# An account whose plan ends within the round, for the worker.
sub short_lived
{
    new_tag();
    transaction([ "a:$tag", "m:$tag" ], 'BEGIN', "SELECT billing.subscribe(billing.create_account('Short', reference => '$tag'), 'basic', "
            . "clock_timestamp() - interval '1 day', clock_timestamp() + interval '@{[ 5 + int rand 800 ]} ms')", marker(), 'COMMIT');
    return;
}

sub prepare
{
    new_tag();
    my @effects = ("k:$tag/a", "k:$tag/h", "m:$tag");
    my @statements = ('BEGIN', consume_sql(shared(), "$tag/a"), "SELECT billing.hold_tokens('@{[ shared() ]}', 7, '1 hour', NULL, '$tag/h')");
    if (rand() < 0.3) { push @effects, "u:$tag"; push @statements, add_user_sql() }
    else { push @statements, marker() }
    begin(@effects);
    my $done = eval { ask($_) for @statements, "PREPARE TRANSACTION '$tag'"; 1 };
    if (!$done)
    {
        die $@ if $@ ne "refused\n";
        ask('ROLLBACK');
        record('no', @effects);
        return;
    }
    record('prepared', @effects);
    sleep rand 0.15;
    my $commit = rand() < 0.6;
    record($commit ? 'committing' : 'aborting', @effects);
    ask(($commit ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$tag'");
    record($commit ? 'ok' : 'no', @effects);
    return;
}

my @everything = ([ \&consume, 4 ], [ \&without_key, 2 ], [ \&grant, 2 ], [ \&batch, 3 ], [ \&several, 5 ], [ \&savepoint, 2 ], [ \&rolled_back, 2 ], [ \&thirsty, 1 ], [ \&hold, 3 ],
    [ \&end_hold, 3 ], [ \&user, 4 ], [ \&order_plan, 3 ], [ \&pay, 4 ], [ \&short_lived, 2 ], [ \&prepare, 4 ]);

sub one_of
{
    my $total = 0;
    $total += $_->[1] for @everything;
    my $at = rand $total;
    for (@everything) { return $_->[0] if ($at -= $_->[1]) < 0 }
    return $everything[0][0];
}

# tag => [state, effects…] of all clients of a round, and the errors that none should have seen.
sub told
{
    my ($dir, $round) = @_;
    my (%told, @errors);
    for my $name (glob "$dir/client.$round.*")
    {
        open my $fh, '<', $name or die "$name: $!";
        while (<$fh>)
        {
            chomp;
            my ($tag, $state, $effects) = split /\t/, $_, 3;
            if ($state eq 'error') { push @errors, "$tag: $effects" }
            else { $told{$tag} = [ $state, split / /, $effects // '' ] }
        }
        close $fh;
    }
    return (\%told, \@errors);
}

# The effects of a round that are in the database.
sub effects_of
{
    my ($node, $round) = @_;
    my $mine = "account_id IN (SELECT account_id FROM billing.account WHERE reference LIKE '$round.%')";
    return map { $_ => 1 } split /\n/, $node->safe_psql('postgres', <<"SQL");
SELECT 'k:' || idempotency_key FROM billing.ledger WHERE idempotency_key IS NOT NULL AND $mine
UNION ALL SELECT 'c:' || action FROM billing.ledger WHERE idempotency_key IS NULL AND kind = 'consume' AND action LIKE '$round.%' AND $mine
UNION ALL SELECT 'g:' || idempotency_key FROM billing.token_grant WHERE idempotency_key IS NOT NULL AND $mine
UNION ALL SELECT concat_ws(':', 'e', hold_id, kind, tokens) FROM billing.hold_end WHERE kind <> 'lapsed' AND $mine
UNION ALL SELECT 'm:' || tag FROM public.marker WHERE tag LIKE '$round.%'
UNION ALL SELECT 'u:' || coalesce(m.tag, 'without marker') FROM billing.account_user u LEFT JOIN public.marker m ON m.ref = u.user_id WHERE $mine
UNION ALL SELECT 'r:' || user_id FROM billing.account_user WHERE removed_at IS NOT NULL AND $mine
UNION ALL SELECT 'a:' || reference FROM billing.account WHERE reference LIKE '$round.%' AND reference NOT LIKE '%.shared.%'
UNION ALL SELECT 'o:' || idempotency_key FROM billing.plan_order WHERE $mine
UNION ALL SELECT 'p:' || provider_ref FROM billing.payment WHERE $mine
SQL
}

1;
