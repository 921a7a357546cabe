# Sourced by demo. What the chapters are written with: they print a sentence, a call and its answer,
# and the whole demo ends with status 1 as soon as an answer is not the one that is written here.
#
#   chapter TITLE              a heading, as in the manual
#   quote SENTENCE…            sentences of the manual
#   say TEXT                   what happens next
#   remember NAME SQL          runs SQL and keeps its answer, which SQL can use as :'NAME'
#   ask SQL ANSWER             one line a row, columns separated by " | ", no value is "-"; '' where a
#                              call only does something
#   refused SQL ERROR          the answer must be this error: code, message, detail and hint, a line each
#
# In answers an id that was remembered is shown as <NAME>.

declare -A ids=()
calls=0

# One session for all calls.
begin()
{
    coproc PSQL { exec psql -XAq -P footer=off -P null=- -F $'\x1f' -v VERBOSITY=verbose 2>&1; }
    # bash closes a coprocess's own descriptors in subshells
    exec 7>&"${PSQL[1]}" 8<&"${PSQL[0]}"
    exec {PSQL[1]}>&- {PSQL[0]}<&-
    trap end EXIT
}

end()
{
    local status=$?
    exec 7>&-
    wait "$PSQL_PID" 2>/dev/null || true
    exit "$status"
}

# What psql prints for its input, a header line included.
run()
{
    local line
    printf '%s\n\\echo --\n' "$1" >&7
    while IFS= read -r line <&8 && [ "$line" != -- ]; do
        printf '%s\n' "$line"
    done
}

# Ids by their names, yes and no in words.
plain()
{
    local text=$1 name
    for name in "${!ids[@]}"; do
        text=${text//${ids[$name]}/<$name>}
    done
    sed -e 's/^/\x1f/' -e 's/$/\x1f/' -e ':y;s/\x1ft\x1f/\x1fyes\x1f/;ty' -e ':n;s/\x1ff\x1f/\x1fno\x1f/;tn' \
        -e 's/^\x1f//' -e 's/\x1f$//' -e 's/\x1f/ | /g' <<<"$text"
}

# Lines without the indentation they have in a chapter.
flush_left()
{
    sed -e '/^ *$/d' -e 's/^ *//' <<<"$1"
}

# Further lines are indented by five more than the first one, which stands behind: ask "
show_call()
{
    calls=$((calls + 1))
    sed -e '2,$s/^ \{5\}//' -e 's/^/    /' <<<"$1"
}

wrong()
{
    printf '\nThis answer is wrong. It should be:\n%s\n' "$1" >&2
    exit 1
}

show_answer()
{
    sed -e '1s/^/      → /' -e '2,$s/^/        /' <<<"$1"
    echo
}

# A header line and rows: one value as it is, one row as a list of its columns, more as a table.
lay_out()
{
    awk -F ' [|] ' '
        {
            for (i = 1; i <= NF; i++) {
                cell[NR, i] = $i
                if (length($i) > width[i]) width[i] = length($i)
                if (NR == 1 && length($i) > names) names = length($i)
            }
            if (NF > columns) columns = NF
        }
        END {
            if (columns == 1) {
                if (NR == 1) print "done"
                for (r = 2; r <= NR; r++) print cell[r, 1]
            } else if (NR == 2) {
                for (i = 1; i <= columns; i++) printf "%-*s  %s\n", names, cell[1, i], cell[2, i]
            } else if (NR > 2) {
                for (r = 1; r <= NR; r++) {
                    line = ""
                    for (i = 1; i < columns; i++) line = line sprintf("%-*s   ", width[i], cell[r, i])
                    print line cell[r, columns]
                }
            } else
                print "no row"
        }' <<<"$1"
}

wrap()
{
    fold -s -w 96 <<<"$*" | sed 's/ *$//'
}

chapter()
{
    local line
    printf -v line '%*s' "${#1}" ''
    printf '\n%s\n%s\n\n' "$1" "${line// /=}"
}

quote()
{
    local sentence
    for sentence in "$@"; do
        wrap "“$sentence”"
    done
    echo
}

say()
{
    wrap "$@"
    echo
}

remember()
{
    local answer
    show_call "$2"
    answer=$(run "$2;" | sed 1d)
    [[ $answer =~ ^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$ ]] || { show_answer "$answer"; wrong 'an id'; }
    ids[$1]=$answer
    run "\\set $1 $answer" >/dev/null
    show_answer "<$1>"
}

ask()
{
    local answer expected rows
    show_call "$1"
    answer=$(plain "$(run "$1;")")
    if [[ $answer = ERROR:* ]]; then
        show_answer "$answer"
    else
        show_answer "$(lay_out "$answer")"
    fi
    expected=$(flush_left "$2")
    rows=$(sed 1d <<<"$answer")
    [ "$rows" = "$expected" ] || wrong "$expected"
}

refused()
{
    local answer expected
    show_call "$1"
    answer=$(plain "$(run "$1;")" | sed -n \
        -e 's/^ERROR:  \([0-9A-Z]\{5\}\): \(.*\)/refused, \1: \2/p' -e 's/^DETAIL:  //p' -e 's/^HINT:  //p')
    show_answer "${answer:-(it was not refused)}"
    expected="refused, $(flush_left "$2")"
    [ "$answer" = "$expected" ] || wrong "$expected"
}
