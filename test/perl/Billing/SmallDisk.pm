# Small file systems that are really full: tmpfs, mounted where only this test and what it starts see them.
#
# An ordinary user may mount in a user namespace of its own, and remains who it is there, so that a server
# runs in it. "use Billing::SmallDisk name => megabytes, …" in a test starts the test once more, within;
# while it is compiled, as what is loaded later takes the standard output for itself.

package Billing::SmallDisk;

use strict;
use warnings;

use POSIX ();

# By name; or the reason why there are none.
my ($disks, $reason) = ({});

my @namespace = qw(unshare --map-current-user --keep-caps --mount);

# What may be mounted, and how, by the script: pairs of a folder and its megabytes; then the test, without
# the rights that mounting took.
my $within = <<'SH';
while [ "$1" != -- ]; do
    mount -t tmpfs -o "size=$2m,mode=0700" billing "$1" || exit
    shift 2
done
shift
exec setpriv --inh-caps=-all --ambient-caps=-all -- "$@"
SH

sub import
{
    my ($class, %megabytes) = @_;
    return if !%megabytes;
    my $top = $ENV{BILLING_SMALL_DISK};
    if (defined $top)
    {
        $disks = { map { $_ => bless { at => "$top/$_" }, $class } keys %megabytes };
        return;
    }
    $top = "$ENV{TESTDIR}/small.$$";
    mkdir $_ or die "$_: $!" for $top, map { "$top/$_" } keys %megabytes;
    my @command = (@namespace, 'sh', '-c', $within, 'sh', (map { ("$top/$_", $megabytes{$_}) } keys %megabytes), '--');
    $reason = said(@command, 'true');
    return if defined $reason;
    local $ENV{BILLING_SMALL_DISK} = $top;
    exec @command, $^X, $0 or die "$command[0]: $!";
}

# named(name): a disk, or undefined; reason(): why there are none.
sub named { my ($name) = @_; return $disks->{$name} }
sub reason { return $reason }

# What a command says that fails.
sub said
{
    my @command = @_;
    my $pid = open(my $out, '-|') // die "fork: $!";
    if (!$pid)
    {
        open STDERR, '>&', \*STDOUT;
        exec @command or POSIX::_exit(127);
    }
    my $said = join '', <$out>;
    return undef if close $out;
    return $said =~ s/\s+/ /gr =~ s/ $//r || "$command[0] failed";
}

sub folder { my ($self) = @_; return $self->{at} }

# Fills whatever room there is, but for so many kilobytes. Returns the kilobytes that there were.
sub fill
{
    my ($self, $spare) = @_;
    open my $fh, '>>', "$self->{at}/ballast" or die "$self->{at}/ballast: $!";
    my $before = -s $fh;
    for my $piece (65536, 4096)
    {
        my $zeros = "\0" x $piece;
        1 while syswrite $fh, $zeros;
        die "$self->{at}/ballast: $!" if !$!{ENOSPC};
    }
    my $length = -s $fh;
    my $kept = $length - 1024 * ($spare // 0);
    truncate $fh, $kept > $before ? $kept : $before if $spare;
    close $fh;
    return ($length - $before) / 1024;
}

sub room { my ($self) = @_; unlink "$self->{at}/ballast" or die "$self->{at}/ballast: $!"; return }

1;
