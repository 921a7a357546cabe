# Billing periods agree with an oracle that shares no code and no data with PostgreSQL.
#
# The oracle is Perl: UTC offsets from DateTime::TimeZone, which carries the IANA database as Perl
# modules, and calendar arithmetic on integers written here. DateTime's own arithmetic checks the
# oracle on a random sample. Both are compared with billing.period_end for every start day of 2024
# to 2031, every duration below, every zone below and RENEWALS renewals each.
#
# The rule for wall times that a change of offset makes doubtful:
# - skipped (clocks go forward over it): taken with the offset before the change, so 02:30 becomes
#   03:30 where an hour is skipped;
# - twice (clocks go back over it): the second, later one.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DateTime;
use DateTime::TimeZone;

use constant RENEWALS => 24;
use constant SAMPLE   => 4000;
use constant DAY      => 86_400;

# Some DateTime::TimeZone versions warn once a year and zone about an abbreviation that nobody reads.
local $SIG{__WARN__} = sub { warn @_ unless $_[0] =~ /Invalid conversion in sprintf: "%z"/ };

# Half hours and quarters, changes of 30 minutes, 1 hour and 2 hours, at midnight and at night, both
# hemispheres, summer time that is the standard one (Dublin). Zones on which the two copies of the
# IANA database disagree (a law changed between their releases) are left out below; at least eight
# must remain.
my @candidates = qw(
  UTC Asia/Kolkata Asia/Kathmandu America/Phoenix
  Europe/Berlin Europe/Dublin America/New_York America/St_Johns Antarctica/Troll Africa/Cairo
  Pacific/Auckland Pacific/Chatham Australia/Lord_Howe America/Santiago);

# Interval, months, days.
my @durations = (
    [ '1 day', 0, 1 ],
    [ '30 days', 0, 30 ],
    [ '1 week', 0, 7 ],
    [ '1 month', 1, 0 ],
    [ '3 months', 3, 0 ],
    [ '6 months', 6, 0 ],
    [ '12 months', 12, 0 ]);

# Wall times of the starts, taken in turn; their number is prime to 7, so each meets every weekday
# and, with them, the nights in which clocks change.
my @times = map { $_->[0] * 3600 + $_->[1] * 60 + $_->[2] } (
    [ 0,  0,  0 ], [ 2,  30, 0 ], [ 1, 59, 59 ], [ 3,  0,  0 ],  [ 2,  0, 0 ],
    [ 23, 30, 0 ], [ 2,  15, 7 ], [ 0, 30, 0 ],  [ 1,  30, 0 ],  [ 12, 0, 0 ],
    [ 2,  45, 0 ], [ 0,  0,  1 ], [ 1, 0,  0 ],  [ 23, 59, 59 ], [ 2, 59, 59 ],
    [ 1,  45, 0 ]);

# ---- calendar on integers: days are counted from 1970-01-01, months from January of year 0

sub days_from_civil
{
    my ($year, $month, $day) = @_;

    $year-- if $month <= 2;
    my $era         = int($year / 400);
    my $year_of_era = $year - $era * 400;
    my $day_of_year = int((153 * ($month + ($month > 2 ? -3 : 9)) + 2) / 5) + $day - 1;
    my $day_of_era =
      $year_of_era * 365 + int($year_of_era / 4) - int($year_of_era / 100) + $day_of_year;
    return $era * 146_097 + $day_of_era - 719_468;
}

use constant FIRST_YEAR => 2023;
use constant LAST_YEAR  => 2057;

my $first_month = FIRST_YEAR * 12;
my $first_day   = days_from_civil(FIRST_YEAR, 1, 1);
my $last_day    = days_from_civil(LAST_YEAR, 1, 1) - 1;

my (@month_start, @month_length, @month_of_day);
foreach my $month ($first_month .. LAST_YEAR * 12 - 1)
{
    my ($this, $next) =
      map { days_from_civil(int($_ / 12), $_ % 12 + 1, 1) } ($month, $month + 1);

    $month_start[ $month - $first_month ]  = $this;
    $month_length[ $month - $first_month ] = $next - $this;
    $month_of_day[ $_ - $first_day ]       = $month - $first_month foreach $this .. $next - 1;
}

# ---- a zone: its changes of offset, and per day of the wall clock the offset where it is certain

sub offset_at
{
    my ($zone, $at) = @_;

    return $zone->offset_for_datetime(DateTime->from_epoch(epoch => $at));
}

sub load_zone
{
    my ($name) = @_;
    my $source = DateTime::TimeZone->new(name => $name);
    my $end    = ($last_day + 2) * DAY;
    my $at     = ($first_day - 2) * DAY;
    my %zone   = (name => $name, source => $source, since => [$at]);

    $zone{offset} = [ offset_at($source, $at) ];
    for (; $at < $end; $at += DAY)
    {
        my ($low, $high) = ($at, $at + DAY);
        my $after = offset_at($source, $high);

        next if $after == $zone{offset}[-1];
        while ($high - $low > 1)
        {
            my $middle = int(($low + $high) / 2);

            if (offset_at($source, $middle) == $after) { $high = $middle }
            else                                       { $low  = $middle }
        }
        push @{ $zone{since} },  $high;
        push @{ $zone{offset} }, $after;
    }

    my @certain;
    my $span = 0;
    foreach my $day ($first_day .. $last_day)
    {
        my ($from, $to) = (($day - 1) * DAY, ($day + 2) * DAY);

        $span++
          while $span < $#{ $zone{since} } && $zone{since}[ $span + 1 ] <= $from;
        push @certain,
          $span == $#{ $zone{since} } || $zone{since}[ $span + 1 ] > $to
          ? $zone{offset}[$span]
          : undef;
    }
    $zone{certain} = \@certain;
    return \%zone;
}

sub local_from_utc
{
    my ($zone, $at) = @_;
    my ($low, $high) = (0, scalar @{ $zone->{since} });

    while ($high - $low > 1)
    {
        my $middle = int(($low + $high) / 2);

        if ($zone->{since}[$middle] <= $at) { $low  = $middle }
        else                                { $high = $middle }
    }
    return $at + $zone->{offset}[$low];
}

# All instants that a wall time names, in order; for a skipped one none.
sub instants
{
    my ($zone, $wall) = @_;
    my ($since, $offset) = @$zone{qw(since offset)};
    my @found;

    foreach my $span (0 .. $#$since)
    {
        my $at = $wall - $offset->[$span];

        push @found, $at
          if $at >= $since->[$span] && ($span == $#$since || $at < $since->[ $span + 1 ]);
    }
    return @found;
}

sub skipped_instant
{
    my ($zone, $wall) = @_;
    my ($since, $offset) = @$zone{qw(since offset)};

    foreach my $span (1 .. $#$since)
    {
        my $before = $wall - $offset->[ $span - 1 ];

        return $before if $before >= $since->[$span] && $wall - $offset->[$span] < $since->[$span];
    }
    die "$wall is not skipped in $zone->{name}";
}

sub utc_from_local
{
    my ($zone, $wall) = @_;
    my @found = instants($zone, $wall);

    $zone->{twice}++ if @found > 1;
    return $found[-1] if @found;
    $zone->{skipped}++;
    return skipped_instant($zone, $wall);
}

# ---- the oracle

# Ends of RENEWALS periods of so many months and days, in seconds since 1970.
sub oracle_ends
{
    my ($zone, $anchor, $months, $days) = @_;
    my $certain = $zone->{certain};
    my $wall    = local_from_utc($zone, $anchor);
    my $time    = $wall % DAY;
    my $day     = ($wall - $time) / DAY;
    my $month   = $month_of_day[ $day - $first_day ];
    my $in      = $day - $month_start[$month];
    my @ends;

    foreach (1 .. RENEWALS)
    {
        if ($months)
        {
            $month += $months;
            $day = $month_start[$month] +
              ($in < $month_length[$month] ? $in : $month_length[$month] - 1);
        }
        else
        {
            $day += $days;
        }
        my $offset = $certain->[ $day - $first_day ];
        push @ends,
          defined $offset
          ? $day * DAY + $time - $offset
          : utc_from_local($zone, $day * DAY + $time);
    }
    return @ends;
}

# Starts that the zone has twice are the first and the second in turn.
sub starts
{
    my ($zone) = @_;
    my @starts;

    foreach my $day (days_from_civil(2024, 1, 1) .. days_from_civil(2031, 12, 31))
    {
        my $wall  = $day * DAY + $times[ $day % @times ];
        my @found = instants($zone, $wall);

        push @starts, @found ? $found[ $day % @found ] : skipped_instant($zone, $wall);
    }
    return @starts;
}

# ---- DateTime's own arithmetic

# What a wall time means to DateTime; undef where the zone skips it.
sub datetime_epoch
{
    my ($wall, $tz) = @_;
    my $epoch = eval { $wall->clone->set_time_zone($tz)->epoch };

    die $@ unless defined $epoch || $@ =~ /Invalid local time/;
    return $epoch;
}

# Of two instants DateTime means the later one where clocks go back to what the IANA database calls
# standard time, but the earlier one in Dublin. So the rule is spelt out for both doubtful cases: a
# skipped wall time with the offset of the day before, one of two with that of the day after.
sub datetime_end
{
    my ($zone, $anchor, $months, $days) = @_;
    my $tz   = $zone->{source};
    my $wall = DateTime->from_epoch(epoch => $anchor, time_zone => $tz)->set_time_zone('floating')
      ->add(months => $months, days => $days, end_of_month => 'limit');
    my $end = datetime_epoch($wall, $tz);

    return datetime_epoch($wall->subtract(days => 1), $tz) + DAY unless defined $end;
    my $later = datetime_epoch($wall->clone->add(days => 1), $tz) // return $end;
    my $there = DateTime->from_epoch(epoch => $later - DAY, time_zone => $tz);

    return $there->set_time_zone('floating') == $wall ? $later - DAY : $end;
}

sub sample_differences
{
    my ($zones) = @_;
    my ($count, $doubtful, @differences) = (0, 0);

    foreach (1 .. SAMPLE)
    {
        my $zone = $zones->[ int rand @$zones ];
        my (undef, $months, $days) = @{ $durations[ int rand @durations ] };
        my $n      = 1 + int rand RENEWALS;
        my $anchor = $zone->{starts}[ int rand @{ $zone->{starts} } ];

        # Every fourth sample aims at a change of offset.
        if ($_ % 4 == 0 && @{ $zone->{since} } > 1)
        {
            my $change = 1 + int rand $#{ $zone->{since} };
            my $aim    = $zone->{since}[$change] - int(rand 3) * 1800 + int(rand 9) * 900;

            ($months, $days) = (0, 1);
            $anchor = $aim - $n * DAY;
            next if $anchor < $zone->{since}[0] + 5 * DAY || $aim > ($last_day - 40) * DAY;
            $doubtful++;
        }
        $count++;
        my $oracle = (oracle_ends($zone, $anchor, $months, $days))[ $n - 1 ];
        my $theirs = datetime_end($zone, $anchor, $months * $n, $days * $n);

        push @differences, "$zone->{name} $anchor $months/$days × $n: $oracle, DateTime $theirs"
          if $oracle != $theirs;
    }
    return ($count, $doubtful, @differences);
}

# ---- the server

my $node = PostgreSQL::Test::Cluster->new('period');
$node->init;
$node->append_conf('postgresql.conf', "max_parallel_workers_per_gather = 0\njit = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION billing CASCADE');

# Does the server's copy of the IANA database have the oracle's offsets at every change, just before
# it, and daily between?
sub same_data
{
    my ($zone) = @_;
    my @at = map { $_ * DAY } $first_day .. $last_day;

    push @at, map { ($_ - 1, $_) } @{ $zone->{since} }[ 1 .. $#{ $zone->{since} } ];
    my $rows = join ',', map { "($_," . (local_from_utc($zone, $_) - $_) . ')' } @at;
    return $node->safe_psql('postgres', <<"SQL") eq '0';
SELECT count(*) FROM (VALUES $rows) AS o (at, "offset")
WHERE extract(epoch FROM to_timestamp(at) AT TIME ZONE '$zone->{name}') <> at + "offset"
SQL
}

# One line a start and duration: the ends as an array. The fraction of a second of a start must come
# back in every end.
sub write_ends
{
    my ($zone, $file) = @_;
    my $count = 0;

    open my $out, '>', $file or die "$file: $!";
    foreach my $anchor (@{ $zone->{starts} })
    {
        my $fraction = $anchor * 7919 % 1_000_000;

        foreach my $duration (@durations)
        {
            my ($interval, $months, $days) = @$duration;
            my @ends = oracle_ends($zone, $anchor, $months, $days);

            $count += @ends;
            print $out "$interval\t$anchor\t$fraction\t{", join(',', @ends), "}\n";
        }
    }
    close $out or die "$file: $!";
    return $count;
}

# Ends compared; ends that differ; periods that are empty or reversed; ends whose wall time is off
# the anchor's although the zone has that wall time; starts from which 12 months are not a year or 7
# days not a week; the first differences.
sub compare
{
    my ($zone, $file) = @_;

    return split /\n/, $node->safe_psql('postgres', <<"SQL");
CREATE TEMP TABLE oracle (duration text, anchor bigint, fraction int, ends bigint[]);
COPY oracle FROM '$file';
CREATE FUNCTION pg_temp.instant(seconds bigint, fraction int) RETURNS timestamptz IMMUTABLE
RETURN 'epoch'::timestamptz + (seconds * 1000000 + fraction) * interval '1 microsecond';
CREATE TEMP TABLE compared AS
SELECT o.duration, a.anchor, e.n, pg_temp.instant(e.at, o.fraction) AS expected,
    billing.period_end(a.anchor, o.duration::interval, e.n, '$zone->{name}') AS got
FROM oracle AS o
CROSS JOIN LATERAL (SELECT pg_temp.instant(o.anchor, o.fraction)) AS a (anchor)
CROSS JOIN LATERAL unnest(o.ends) WITH ORDINALITY AS e (at, n);

SELECT count(*) FROM compared;

SELECT count(*) FROM compared WHERE got IS DISTINCT FROM expected;

SELECT count(*)
FROM (SELECT got, lag(got, 1, anchor) OVER (PARTITION BY duration, anchor ORDER BY n) AS start
    FROM compared) AS p
WHERE got <= start;

SELECT count(*)
FROM (SELECT (anchor AT TIME ZONE '$zone->{name}') + duration::interval * n AS wall,
        got AT TIME ZONE '$zone->{name}' AS ended
    FROM compared) AS w
WHERE ended <> wall
    AND wall AT TIME ZONE '$zone->{name}' AT TIME ZONE '$zone->{name}' = wall;

SELECT count(*)
FROM compared AS a JOIN compared AS b USING (anchor)
WHERE a.got <> b.got
    AND (a.duration = '1 month' AND a.n = 12 AND b.duration = '12 months' AND b.n = 1
        OR a.duration = '1 day' AND a.n = 7 AND b.duration = '1 week' AND b.n = 1);

SELECT format('%s + %s × %s: expected %s, got %s', anchor, n, duration, expected, got)
FROM compared WHERE got IS DISTINCT FROM expected LIMIT 5;
SQL
}

# ---- the tests

my $seed = srand($ENV{BILLING_TEST_SEED} // time);
note "seed $seed (BILLING_TEST_SEED), IANA database of the oracle "
  . DateTime::TimeZone::Catalog->OlsonVersion;

my @zones;
foreach my $name (@candidates)
{
    my $zone = load_zone($name);

    $zone->{starts} = [ starts($zone) ];
    if (same_data($zone)) { push @zones, $zone }
    else                  { note "$name left out: the two copies of the IANA database disagree" }
}
my @changing = grep { @{ $_->{since} } > 1 } @zones;
cmp_ok(scalar @zones, '>=', 8, 'at least eight zones have the same data on both sides');
cmp_ok(scalar @changing, '>=', 4, 'at least four of them change their offset');
cmp_ok(@zones - @changing, '>=', 2, 'at least two of them never do');

my ($count, $doubtful, @differences) = sample_differences(\@zones);
is(scalar @differences, 0, "the oracle agrees with DateTime on $count ends, $doubtful of them near a change");
diag $_ foreach grep { defined } @differences[ 0 .. 4 ];

my $file = PostgreSQL::Test::Utils::tempdir() . '/ends';
foreach my $zone (@zones)
{
    my $name = $zone->{name};

    @$zone{qw(skipped twice)} = (0, 0);
    my $written = write_ends($zone, $file);
    my ($count, $different, $empty, $drifting, $uneven, @examples) = compare($zone, $file);

    is($count, $written, "$name: $count ends compared, $zone->{skipped} at skipped wall times, "
          . "$zone->{twice} at wall times that occur twice");
    is($different, 0, "$name: every end is the oracle's");
    diag $_ foreach @examples;
    is($empty,    0, "$name: every period is longer than nothing");
    is($drifting, 0, "$name: every end that can has the anchor's wall time");
    is($uneven,   0, "$name: twelve months are a year and seven days a week");
    next if @{ $zone->{since} } == 1;
    cmp_ok($zone->{skipped}, '>', 0, "$name: skipped wall times were met");
    cmp_ok($zone->{twice},   '>', 0, "$name: wall times that occur twice were met");
}
unlink $file;

# Every zone that the server knows, day by day since 1970: ends never fall, and two are the same
# only where the zone skipped the whole calendar day between (Samoa had no 30 December 2011).
my ($known, $falling, $unexplained, $samoa) = split /\|/, $node->safe_psql('postgres', <<'SQL');
WITH zone AS (
    SELECT name FROM pg_timezone_names WHERE name LIKE '%/%' AND name !~ '^(posix|right|Etc)/'
), ends AS (
    SELECT name, ended, lag(ended) OVER (PARTITION BY name ORDER BY n) AS start
    FROM zone, generate_series(0, 24000) AS n, LATERAL (
        SELECT billing.period_end('1970-01-01 02:30+00', '1 day', n, name) AS ended OFFSET 0) AS e
), suspect AS (
    SELECT *, (ended AT TIME ZONE name)::date
        - ((ended - interval '1 day') AT TIME ZONE name)::date AS days
    FROM ends WHERE ended <= start
)
SELECT (SELECT count(*) FROM zone), count(*) FILTER (WHERE ended < start),
    count(*) FILTER (WHERE days <> 2), count(*) FILTER (WHERE name = 'Pacific/Apia')
FROM suspect
SQL
cmp_ok($known, '>', 300, "$known zones looked at day by day");
is($falling,     0, 'no end is earlier than the one before');
is($unexplained, 0, 'ends are equal only around a skipped calendar day');
is($samoa,       1, 'the day that Samoa skipped is among them');

$node->stop;
done_testing();
