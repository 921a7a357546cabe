package Billing::Invariants;

# What holds in any database, whatever was sent to it: asked after bad input.

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;

our @EXPORT = qw(broken crashes over_limit);

# One line for each rule that a row breaks.
sub broken
{
    my ($node, $db) = @_;
    return $node->safe_psql($db, <<'SQL');
SELECT concat_ws(' ', 'ledger', v) FROM billing.verify_ledger() AS v
UNION ALL SELECT concat_ws(' ', 'overdrawn', g.account_id, grant_id, taken)
FROM billing.token_grant AS g JOIN (SELECT account_id, grant_id, sum(tokens) AS taken FROM billing.ledger GROUP BY 1, 2) AS t USING (account_id, grant_id)
WHERE taken NOT BETWEEN 0 AND g.tokens
UNION ALL SELECT concat_ws(' ', 'negative', account_id, app) FROM billing.account, (VALUES (NULL), ('docs'), ('mail')) AS v (app)
WHERE billing.tokens_remaining(account_id, app) < 0
UNION ALL SELECT concat_ws(' ', 'money', account_id, difference) FROM billing.payment_conservation WHERE billing.minor_units(difference) <> 0
SQL
}

# Accounts with more users than they may have, which only the end of a plan brings about.
sub over_limit
{
    my ($node, $db) = @_;
    return $node->safe_psql($db, <<'SQL');
SELECT account_id, count(*) FROM billing.account_user WHERE removed_at IS NULL AND disabled_at IS NULL
GROUP BY 1 HAVING count(*) > billing.seats_allowed(account_id) ORDER BY 1
SQL
}

# What the log says of processes that died.
sub crashes
{
    my ($node) = @_;
    my @found;
    open my $log, '<', $node->logfile or die $node->logfile . ": $!";
    while (my $line = <$log>)
    {
        # a statement in the log starts with its label, or is a continuation
        push @found, $line if $line =~ /(?:LOG|PANIC|FATAL): .*(?:terminated by signal|PANIC|terminating connection because of crash)|^TRAP: / || $line =~ / PANIC:  /;
    }
    close $log;
    return join '', @found;
}

1;
