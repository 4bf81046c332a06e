#!/bin/sh
# Builds the fuzzers of the file readers with Clang and runs each for a while.
set -eu

usage() {
    cat <<'END'
Usage: scripts/fuzz.sh [--seconds N] [TARGET...]

Builds the fuzzers in build/fuzz (preset "fuzz": Clang, libFuzzer, AddressSanitizer and
UndefinedBehaviorSanitizer), and runs each for N seconds (default: 60), or the TARGETs only.
It needs ./run.sh --build-only before and Clang with libFuzzer (Debian: apt-get install clang).

Seeds come from tools/hostile/make_corpus.py; what a run adds is kept in build/fuzz/corpus for the next
one. An input that breaks a reader is left in build/fuzz/crashes; give it to build/fuzz/fuzz_TARGET
to see it again, and describe it in tools/hostile/make_corpus.py when it is mended.

Exit code: 0 nothing found, 1 a reader broke, 2 usage, 3 Clang or the build is missing or failed.
END
}
# fail CODE MESSAGE
fail() { echo "fuzz.sh: $2" >&2; exit "$1"; }

seconds=60
targets=
known="npy idx pgm pdmodel json onnx pdiparams sha256sums photo preprocess yml serve http grpc"
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --seconds)
            case ${2:-} in '' | *[!0-9]* | 0) fail 2 "--seconds needs a positive number (see --help)" ;; esac
            seconds=$2
            shift ;;
        -*) fail 2 "unknown option '$1' (see --help)" ;;
        *)
            case " $known " in *" $1 "*) ;; *) fail 2 "unknown target '$1'; known: $known" ;; esac
            targets="$targets $1" ;;
    esac
    shift
done

cd "$(dirname "$0")/.."
[ ! -d .venv/bin ] || PATH=$PWD/.venv/bin:$PATH
command -v clang++ >/dev/null || fail 3 "Clang is missing: install it (Debian: apt-get install clang)"
build=build/fuzz
crashes=$build/crashes
mkdir -p "$crashes" "$build/logs" "$build/tmp"
if ! { cmake --preset fuzz ${LIB_DIR:+-DPADDLE_INFERENCE_DIR="$LIB_DIR"} && cmake --build --preset fuzz; } \
    >"$build/logs/build.log" 2>&1; then
    tail -20 "$build/logs/build.log" >&2
    fail 3 "the fuzzers do not build (log: $build/logs/build.log)"
fi

python3 -m tools.hostile.make_corpus "$build/seeds" || fail 3 "the seeds cannot be made"

# Temporary folders of a target that is stopped stay here.
TMPDIR=$PWD/$build/tmp
UBSAN_OPTIONS=print_stacktrace=1
export TMPDIR UBSAN_OPTIONS
found=0
printf '%-12s %12s %10s %10s %8s  %s\n' target executions 'a second' 'edges' 'inputs' result
for target in ${targets:-$known}; do
    [ -x "$build/fuzz_$target" ] || { echo "$target: left out of the build, as its libraries are missing"; continue; }
    grown=$build/corpus/$target
    log=$build/logs/$target.log
    mkdir -p "$grown"
    dictionary=
    [ ! -f "cpp/fuzz/$target.dict" ] || dictionary=-dict=cpp/fuzz/$target.dict
    # One allocation may not exceed 4 MiB for at most 16 KiB of input, nor the process 1 GiB.
    result=clean
    "$build/fuzz_$target" -max_total_time="$seconds" -max_len=16384 -malloc_limit_mb=4 -rss_limit_mb=1024 \
        -timeout=10 -print_final_stats=1 -artifact_prefix="$crashes/$target-" \
        ${dictionary:+"$dictionary"} "$grown" "$build/seeds/$target" >"$log" 2>&1 || result="BROKEN, see $log"
    [ "$result" = clean ] || found=1
    last=$(grep -a 'cov: ' "$log" | tail -1)
    stat() { sed -n "s/^stat::$1: *//p" "$log" | tail -1; }
    field() { printf '%s\n' "$last" | sed -n "s/.* $1: \([^ ]*\).*/\1/p"; }
    printf '%-12s %12s %10s %10s %8s  %s\n' "$target" "$(stat number_of_executed_units)" \
        "$(stat average_exec_per_sec)" "$(field cov)" "$(field corp)" "$result"
done
rm -rf "$build/tmp"
exit $found
