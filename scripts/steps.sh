# shellcheck shell=sh disable=SC2154
# What run.sh and test.sh share: commands whose output goes to a log, and what is said meanwhile.
# `script` and `logs` are set by who reads this.

# reason LOG: what went wrong, by its last error; of CMake, whose errors take several lines, those.
reason() {
    found=$(awk '/^CMake Error/ { text = ""; inside = 1 } inside && !NF && text !~ /\): $/ { inside = 0 }
        inside && NF { sub(/^ +/, ""); text = text $0 " " } END { print text }' "$1" 2>/dev/null)
    [ -n "$found" ] || found=$(grep -ahiE 'error|fatal|not found' "$1" 2>/dev/null | tail -1)
    printf '%s\n' "${found:-see the log}" | sed 's/^\(.\{300\}\).*/\1/'
}

# fail LOG WHAT REMEDY: one line, which ends the script. The remedy "network" is that of pip.
fail() {
    remedy=$3
    why=$(reason "$1")
    # pip says of a full disk that the connection was interrupted.
    free=$(df -Pk "${TMPDIR:-/tmp}" 2>/dev/null | awk 'NR == 2 { print $4 }')
    if grep -aqs 'No space left on device' "$1" ||
        { [ "$remedy" = network ] && [ "${free:-500000}" -lt 500000 ]; }; then
        why="no space left on device"
        remedy="free some (README.md says how much; pip needs some 0.5 GB in ${TMPDIR:-/tmp} meanwhile) and run again"
    elif [ "$remedy" = network ]; then
        remedy="see the log"
        ! grep -aqiE 'No matching distribution|connection|timed out|name resolution|Max retries' "$1" ||
            remedy="check the network and pip's package index"
    fi
    echo "$script: $2 failed: $why; $remedy (log: $1)" >&2
    exit 1
}

# watch LOG: says every ten seconds, on a terminal every second, that a step goes on.
watch() {
    seconds=0
    while sleep 1 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        seconds=$((seconds + 1))
        if [ -t 1 ]; then
            printf '\r\033[K      %3d s  %s' $seconds "$(last_line "$1" 65)"
        elif [ $((seconds % 10)) = 0 ]; then
            printf '      %3d s  %s\n' $seconds "$(last_line "$1" 100)"
        fi
    done
}

# By characters: cut has bytes.
last_line() {
    tail -n 1 "$1" | tr -d '\r\033' | sed "s/^\(.\{$2\}\).*/\1/"
}

# watched LOG COMMAND...: runs the command beside a watch of that log.
watched() {
    watch "$1" 9>&- &
    watcher=$!
    shift
    status=0
    "$@" || status=$?
    kill $watcher 2>/dev/null || true
    wait $watcher 2>/dev/null || true
    [ ! -t 1 ] || printf '\r\033[K'
    return $status
}

logged() {
    "$@" >>"$log" 2>&1
}

# quietly NAME REMEDY COMMAND...: the output goes to the log of that name.
quietly() {
    log=$logs/$1.log what="step '$1'" remedy=$2
    shift 2
    watched "$log" logged "$@" || fail "$log" "$what" "$remedy"
}

# install_packages REMEDY PACKAGE...: Debian's packages, by root.
install_packages() {
    : >"$logs/packages.log"
    remedy_of_packages=$1
    shift
    echo "installing Debian's packages: $*"
    # In the background, where timeout puts a command by default, a program that sets up the
    # terminal, as apt-get does, is stopped.
    quietly packages "$remedy_of_packages" timeout --foreground 300 apt-get update
    # A package's question goes to the log, so that nobody could answer it.
    quietly packages "$remedy_of_packages" env DEBIAN_FRONTEND=noninteractive \
        timeout --foreground 900 apt-get install --yes --no-install-recommends "$@"
}
