# Sourced by the scripts beside it. They are started from a checkout by anybody, root included,
# and end as the ordinary user that PostgreSQL insists on. They set or use:
#   root      the checkout
#   work      where it is built: the checkout, or a copy that the user can reach
#   major     PostgreSQL's major version
#   prefix    the private copy of the server tree, bindir its programs
#   run_user  who runs servers and tests
#   tmp       a directory of that user's, for one run

set -euo pipefail
umask 022

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
tools=$root/test/tools
tmp=

die()
{
    echo "billing: $*" >&2
    exit 1
}

# From apt's output only what is needed when it fails.
quietly()
{
    local output
    output=$("$@" </dev/null 2>&1) && return
    printf '%s\n' "$output" >&2
    return 1
}

choose_server()
{
    local dir
    if [ -n "${PG_CONFIG:-}" ]; then
        pg_config=$(command -v "$PG_CONFIG") || die "PG_CONFIG=$PG_CONFIG is not there"
    elif ! command -v dpkg-query >/dev/null; then
        pg_config=$(command -v pg_config) || die "pg_config is not in PATH; set PG_CONFIG"
    else
        pg_config=
        for dir in $(ls -d /usr/lib/postgresql/*/lib/pgxs 2>/dev/null | sort -V); do
            pg_config=${dir%/lib/pgxs}/bin/pg_config
        done
    fi
    if [ -n "$pg_config" ]; then
        major=$("$pg_config" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
    else
        major=$(apt-cache depends postgresql 2>/dev/null |
            sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p')
        major=${major:-15}
    fi
}

# need_packages demo|test|lint|matrix|valgrind|plot: installs what is missing, or says what it is.
need_packages()
{
    local kind=$1
    local -a wanted
    command -v dpkg-query >/dev/null || { choose_server; return; }
    choose_server
    if [ -z "$pg_config" ] && [ "$(id -u)" = 0 ]; then
        refresh_apt
        choose_server
    fi

    wanted=(gcc libc6-dev libsodium-dev perl)
    [ -n "${PG_CONFIG:-}" ] || wanted+=("postgresql-$major" "postgresql-server-dev-$major")
    # another release's clang-format is another version
    [ "$kind" != test ] || wanted+=("clang-format-$clang_format")
    if [ "$kind" != demo ]; then
        wanted+=(argon2 botan libdatetime-perl libdatetime-timezone-perl
            libipc-run-perl libtap-parser-sourcehandler-pgtap-perl patch pgbouncer sqlsmith)
        [ -n "${PG_CONFIG:-}" ] || wanted+=("postgresql-$major-pgtap")
    fi
    [ "$kind" != lint ] || wanted+=(clang clang-tidy cppcheck)
    [ "$kind" != valgrind ] || wanted+=(valgrind)
    [ "$kind" != plot ] || wanted+=(gnuplot-nox)
    need_installed "${wanted[@]}"
    choose_server
    [ "$kind" != test ] || need_installed "$(clang_runtime)"
}

need_installed()
{
    local package
    local -a missing=()
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null)" = 'ii ' ] ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] ||
        die "missing packages; install them with: apt-get install ${missing[*]}"
    echo "billing: installing ${missing[*]}" >&2
    install_packages "${missing[@]}" || die "apt-get could not install ${missing[*]}"
}

# The sanitizers of the clang that the server's makefiles use, which its package only recommends.
clang_runtime()
{
    local global version
    global=$(dirname "$("$pg_config" --pgxs)")/../Makefile.global
    version=$(sed -n 's/^CLANG = .*clang-\([0-9]*\)$/\1/p' "$global")
    echo "libclang-rt-${version:+$version-}dev"
}

# The version that .clang-format was written for; others format differently.
clang_format=14

refresh_apt()
{
    [ -z "${apt_refreshed:-}" ] || return 0
    apt_refreshed=1
    # One bad source among several need not matter.
    quietly flock /var/lib/apt apt-get -q update || true
}

# In a subshell, so that its trap is its own; the lock is for two checkouts on a new machine.
install_packages()
(
    conf=/etc/postgresql-common/createcluster.conf
    saved=
    policy=
    restore()
    {
        [ -z "$policy" ] || rm -f "$policy"
        [ -z "$saved" ] || cat "$saved" >"$conf"
        [ -z "$saved" ] || rm -f "$saved"
    }
    install()
    {
        DEBIAN_FRONTEND=noninteractive quietly apt-get -q -y -o DPkg::Lock::Timeout=600 \
            install --no-install-recommends "$@"
    }
    refresh_apt
    exec 8</var/lib/apt
    flock 8
    # The server's package would create a cluster and start it. Its own setting prevents that,
    # and is put back: the machine's next installation is not ours to decide.
    if [[ " $* " == *" postgresql-$major "* ]]; then
        install postgresql-common || exit 1
        trap restore EXIT
        trap 'exit 1' INT TERM HUP
        saved=$(mktemp)
        cat "$conf" >"$saved"
        echo 'create_main_cluster = false' >>"$conf"
    fi
    # Nor is its pooler to run as a service, now or after the next start.
    if [[ " $* " == *" pgbouncer "* ]]; then
        trap restore EXIT
        trap 'exit 1' INT TERM HUP
        if [ ! -e /usr/sbin/policy-rc.d ]; then
            policy=/usr/sbin/policy-rc.d
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod 755 "$policy"
        fi
        install "$@" && quietly update-rc.d pgbouncer disable
        exit
    fi
    install "$@"
)

# Root's checkout is built by root and tested by the packages' user, anybody else's by its owner.
choose_user()
{
    run_user=$(id -un)
    build_user=$run_user
    [ "$(id -u)" = 0 ] || return 0
    local owner
    owner=$(stat -c %U "$root")
    run_user=postgres
    if [ "$owner" != root ] && [ "$owner" != UNKNOWN ]; then
        run_user=$owner
        build_user=$owner
    fi
    getent passwd "$run_user" >/dev/null || die "there is no user $run_user to run PostgreSQL as"
}

# as USER COMMAND…
as()
{
    local user=$1
    shift
    if [ "$user" = "$(id -un)" ]; then
        "$@"
    else
        setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups -- "$@"
    fi
}

# Sockets have short names at most: always /tmp, whatever TMPDIR says.
make_tmp()
{
    tmp=$(mktemp -d /tmp/billing.XXXXXX)
    mkdir "$tmp/log" "$tmp/ports"
    [ "$(id -u)" != 0 ] || chown -R "$run_user:" "$tmp"
}

# Builds and installs into the private tree. BILLING_COPY: in a copy of the checkout in any case, for
# a build of another kind, or one that writes beside its objects.
stage()
{
    work=$root
    if [ -n "${BILLING_COPY:-}" ] || ! as "$run_user" test -r "$root/Makefile" 2>/dev/null; then
        work=$tmp/checkout
        mkdir "$work"
        tar -C "$root" --exclude=./build --exclude=./.git -cf - . | tar -C "$work" -xf -
        chown -R "$run_user:" "$work"
        build_user=$run_user
    fi
    prefix=$work/build/$major/pg
    bindir=$prefix$("$pg_config" --bindir)
    # Variables given to make count here, its job server does not.
    as "$build_user" env -u MFLAGS -u MAKELEVEL MAKEFLAGS="${BUILD_VARIABLES:+-- $BUILD_VARIABLES}" \
        "$work/test/tools/stage" "$pg_config" "$work/build/$major"
    [ -z "${BILLING_SERVER:-}" ] || replace_server
}

# Puts the script BILLING_SERVER of test/tools, which is given the server's real program and the
# arguments, in the place of the server: whoever starts one, only servers are affected.
replace_server()
{
    mv "$bindir/postgres" "$bindir/postgres.real"
    printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$work/test/tools/$BILLING_SERVER" \
        "$bindir/postgres.real" >"$bindir/postgres"
    chmod 755 "$bindir/postgres"
}

# inside COMMAND…: as the ordinary user, with an environment that knows the private tree only.
inside()
{
    local pgxs name
    local -a keep=()
    pgxs=$(dirname "$("$bindir/pg_config" --pgxs)")/../..
    pgxs=$(cd "$pgxs" && pwd -P)
    for name in $(compgen -e BILLING_ || true) JOBS TERM; do
        [ -z "${!name:-}" ] || keep+=("$name=${!name}")
    done
    (cd "$tmp" && as "$run_user" env -i --default-signal=INT,QUIT "${keep[@]}" \
        PATH="$bindir:/usr/local/bin:/usr/bin:/bin" HOME="$tmp" TMPDIR="$tmp" LC_ALL=C.UTF-8 \
        PG_CONFIG="$bindir/pg_config" PG_REGRESS="$pgxs/src/test/regress/pg_regress" \
        PERL5LIB="$pgxs/src/test/perl:$work/test/perl" \
        PG_TEST_PORT_DIR="$tmp/ports" TESTDIR="$tmp" TESTDATADIR="$tmp/tmp_check" \
        TESTLOGDIR="$tmp/log" BILLING_ROOT="$work" BILLING_RUN="$tmp" BILLING_LOG="$tmp/log" \
        BILLING_CLANG_FORMAT="clang-format-$clang_format" "$@")
}

# Lists the processes of a run: started within it, or, as servers hide their environment, living
# in its directory.
processes_of_run()
{
    local proc
    for proc in /proc/[0-9]*; do
        if [[ "$(readlink "$proc/cwd" 2>/dev/null)/" == "$tmp"/* ]] ||
            grep -qszxF "BILLING_RUN=$tmp" "$proc/environ" 2>/dev/null; then
            [ "${proc#/proc/}" = $$ ] || echo "${proc#/proc/}"
        fi
    done
}

# Ends whatever is left of a run; true when there was nothing.
end_processes()
{
    local pid try
    local -a left
    mapfile -t left < <(processes_of_run)
    [ ${#left[@]} -gt 0 ] || return 0
    for pid in "${left[@]}"; do
        case $(cat "/proc/$pid/comm" 2>/dev/null) in
            postgres*) kill -QUIT "$pid" 2>/dev/null || true ;;
            *) kill -TERM "$pid" 2>/dev/null || true ;;
        esac
    done
    for try in {1..50}; do
        mapfile -t left < <(processes_of_run)
        [ ${#left[@]} -gt 0 ] || return 1
        sleep 0.1
    done
    kill -KILL "${left[@]}" 2>/dev/null || true
    return 1
}
