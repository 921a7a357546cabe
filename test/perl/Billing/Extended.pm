# Statements with bind parameters, which psql 15 cannot send: through pgbench's extended protocol.

package Billing::Extended;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(extended);

# extended(node, statement with :p1, :p2 …, parameters): '' or the error message. Statements in
# front of it, such as SET, end in a semicolon and a line's end.
sub extended
{
    my ($node, $sql, @parameters) = @_;
    my $script = PostgreSQL::Test::Utils::tempdir() . '/script.sql';
    append_to_file($script, "$sql;\n");
    my @variables = map { ('-D', "p$_=$parameters[$_ - 1]") } 1 .. @parameters;
    my ($out, $err) = ('', '');
    IPC::Run::run(
        [   'pgbench', '-n', '-M', 'extended', '-t', '1', '-f', $script, @variables,
            $node->connstr('postgres')
        ],
        '>', \$out, '2>', \$err);
    return $err =~ /ERROR:\s+(.*)/ ? $1 : $err =~ /error/i ? $err : '';
}

1;
