package Billing::Pause;

# pause.c in a server, and an index of the ledger that it holds up: entries of the action "pause". Its
# functions are in C: of one in another language the engine would keep away.

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;

our @EXPORT_OK = qw(pause_library pause_landing);

my $library;

# The path of the library, without its suffix.
sub pause_library
{
    return $library if $library;
    my $dir = PostgreSQL::Test::Utils::tempdir();
    chomp(my $include = `$ENV{PG_CONFIG} --includedir-server`);
    system_or_bail('cc', '-O1', '-shared', '-fPIC', "-I$include", '-o', "$dir/pause.so", "$ENV{BILLING_ROOT}/test/perl/Billing/pause.c");
    return $library = "$dir/pause";
}

# Whoever holds advisory lock 1 lets no row land; or the function given is called instead.
sub pause_landing
{
    my ($node, $function) = @_;
    $function //= 'pause_for_lock';
    my $path = pause_library();
    $node->safe_psql('postgres', "CREATE OR REPLACE FUNCTION public.pause(text) RETURNS text IMMUTABLE STRICT LANGUAGE c AS '$path', '$function'; "
          . "CREATE INDEX pause ON billing.ledger (public.pause(action)) WHERE action = 'pause'");
    return;
}

1;
