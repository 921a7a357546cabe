# Many sessions at once: each runs its own list of statements through one psql, going on after
# errors, whose SQLSTATEs are counted.

package Billing::Clients;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(run_clients);

# run_clients(node, list of lists of statements): a hash of how often each SQLSTATE came up.
sub run_clients
{
    my ($node, @clients) = @_;
    my $dir = PostgreSQL::Test::Utils::tempdir();
    my (@running, %states);
    for my $i (0 .. $#clients)
    {
        # Files, not pipes: IPC::Run would serve one client at a time.
        append_to_file("$dir/$i.sql", join '', map { "$_;\n" } @{ $clients[$i] });
        push @running,
          IPC::Run::start(
            [   'psql', '-XqAt', '-v', 'VERBOSITY=sqlstate', '-d', $node->connstr('postgres'),
                '-f', "$dir/$i.sql"
            ],
            '>', "$dir/$i.out", '2>', "$dir/$i.err");
    }
    IPC::Run::finish($_) for @running;
    for my $i (0 .. $#clients)
    {
        for (split /\n/, slurp_file("$dir/$i.err"))
        {
            if (/ERROR:\s+(\S+)$/) { $states{$1}++ }
            else { $states{$_}++ }
        }
    }
    return %states;
}

1;
