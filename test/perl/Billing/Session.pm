package Billing::Session;

# A psql that stays, for tests that ask one server many things: a connection for each would take
# longer than the answers.

use strict;
use warnings;

use IPC::Open2;
use PostgreSQL::Test::Utils;

sub new
{
    my ($class, $node, $database) = @_;
    my $self = bless { marker => 0, pid => 0 }, $class;
    # errors come in between the answers, as the state alone
    $self->{pid} = open2($self->{out}, $self->{in}, 'sh', '-c', 'exec psql -XAtq -F"|" -d "$0" 2>&1',
        $node->connstr($database // 'postgres'));
    $self->query('\set VERBOSITY sqlstate');
    $self->{backend} = $self->query('SELECT pg_backend_pid()');
    return $self;
}

# Sends without waiting for the answer, which answer() returns.
sub send
{
    my ($self, $sql) = @_;
    my $end = $sql =~ /^\\/ ? '' : ';';
    $self->{marker}++;
    print { $self->{in} } "$sql$end\n\\echo end-$self->{marker}\n";
    $self->{in}->flush;
    return;
}

# The rows as text; an error as "ERROR:  " and its SQLSTATE. Undefined: the connection is gone.
sub answer
{
    my ($self) = @_;
    my ($handle, @lines) = ($self->{out});
    while (defined(my $line = <$handle>))
    {
        chomp $line;
        return join("\n", @lines) if $line eq "end-$self->{marker}";
        push @lines, $line;
    }
    return;
}

sub query
{
    my ($self, $sql) = @_;
    $self->send($sql);
    return $self->answer;
}

sub rows
{
    my ($self, $sql) = @_;
    return map { [ split /\|/, $_, -1 ] } split /\n/, $self->query($sql);
}

sub close
{
    my ($self) = @_;
    CORE::close $self->{in};
    CORE::close $self->{out};
    waitpid $self->{pid}, 0;
    return;
}

1;
