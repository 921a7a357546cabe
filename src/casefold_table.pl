#!/usr/bin/perl
#
# Writes casefold_table.h from the Unicode data that Perl carries:
#
#     perl src/casefold_table.pl > src/casefold_table.h
#
# The output is checked in, so that a build needs no Unicode data and every
# build folds alike. It must come from Unicode 14, which is what PostgreSQL 15
# normalizes by: a stored key is compared for ever, so a newer server must
# compute the same one. What a code point folds and normalizes to never changes
# once it is assigned (Unicode's stability policies); what is not assigned yet
# has no such promise and is left out of the ranges.

use strict;
use warnings;
use feature 'fc';
use Unicode::UCD;

my $version = Unicode::UCD::UnicodeVersion();
die "needs the data of Unicode 14.0.0, this Perl has $version\n" if $version ne '14.0.0';

my (@foldings, @ranges);

for my $code (0 .. 0x10FFFF)
{
    next if $code >= 0xD800 && $code <= 0xDFFF;
    no warnings 'utf8';
    my $char = chr($code);
    utf8::upgrade($char);

    my $folded = fc($char);
    push @foldings, [ $code, map { ord } split //, $folded ] if $folded ne $char;

    # Letters, marks, numbers, punctuation and symbols that can be seen.
    next if $char !~ /[\p{L}\p{M}\p{N}\p{P}\p{S}]/ || $char =~ /\p{Default_Ignorable_Code_Point}/;
    if (@ranges && $ranges[-1][1] == $code - 1)
    {
        $ranges[-1][1] = $code;
    }
    else
    {
        push @ranges, [ $code, $code ];
    }
}

sub table
{
    my ($per_line, @items) = @_;
    my $text = '';
    while (my @line = splice(@items, 0, $per_line))
    {
        $text .= "\t" . join(', ', @line) . ",\n";
    }
    return $text;
}

my $foldings = table(3, map
{
    my ($from, @to) = @$_;
    sprintf('{0x%04X, {%s}}', $from, join(', ', map { sprintf('0x%04X', $_) } @to))
} @foldings);
my $ranges = table(4, map { sprintf('{0x%04X, 0x%04X}', @$_) } @ranges);

print <<"END";
/*
 * Written by casefold_table.pl from Unicode $version; change that script.
 */
#ifndef BILLING_CASEFOLD_TABLE_H
#define BILLING_CASEFOLD_TABLE_H

/* clang-format off */

/* Code points that fold to another one or to several, in ascending order. */
static const CasefoldMapping casefold_mappings[] = {
$foldings};

/* Assigned code points that can be seen, in ascending order. */
static const CasefoldRange casefold_visible[] = {
$ranges};

/* clang-format on */

#endif /* BILLING_CASEFOLD_TABLE_H */
END
