#!/bin/sh
# Builds what is needed, then runs linters, C++ tests and Python tests.
set -eu

usage() {
    cat <<'END'
Usage: ./test.sh [--quick | --sanitizers] [PYTEST ARGUMENTS...]

Sets up the environment as ./run.sh does, then checks style and types and runs the C++ and the
Python tests: 12 minutes on two cores. Arguments go to pytest, for example:
./test.sh tests/verify/test_parity.py -k onednn

Options:
  --quick       only the linters, the C++ tests, and those Python tests that most often find a
                mistake: less than two minutes on two cores, once everything is built
  --sanitizers  also the C++ tests with AddressSanitizer, UndefinedBehaviorSanitizer and
                ThreadSanitizer, and the work that loading growing files takes: five minutes more.
                .ci/run does this
  --help        this text

The last lines are the ten slowest Python tests and the time that each part took. What takes long
and rarely finds anything is run by `nox -s nightly` (noxfile.py).

What it needs comes from the Python package index; the C++ tests need the packages doctest-dev,
libboost-dev, libjpeg-dev, libpng-dev, pkg-config and zlib1g-dev of Debian, which are installed when
this runs as root.
END
}
quick=0 sanitizers=0
case ${1:-} in
    --help | -h) usage; exit 0 ;;
    --quick) quick=1; shift ;;
    --sanitizers) sanitizers=1; shift ;;
esac
# The heart of the Python tests: one file or two of each room.
heart="tests/_base tests/data/test_data.py tests/formats/test_manifest.py tests/training/test_checkpoint.py
    tests/inference/test_arrays.py tests/inference/test_predictor.py tests/cpp/test_program.py
    tests/cpp/test_native_onnx.py tests/verify/test_parity.py tests/project/test_structure.py tests/project/test_suite.py"

cd "$(dirname "$0")"
fail() { echo "test.sh: $1" >&2; exit 1; }

# part NAME: says what begins, and notes how long the part before took.
times=
current=
part() {
    now=$(date +%s)
    [ -z "$current" ] || times="$times$(printf '  %-22s %5d s' "$current" $((now - began)))
"
    current=$1 began=$now
    [ -z "$current" ] || echo "$current"
}

# built NAME COMMAND...: runs a command whose output goes to a log.
built() {
    log=build/logs/$1.log
    shift
    "$@" >"$log" 2>&1 || { tail -20 "$log"; fail "the C++ tests do not build (log: $log)"; }
}

part "environment"
has_header() { echo "#include <$1>" | c++ -E -x c++ - >/dev/null 2>&1; }
packages=
has_header doctest/doctest.h || packages="$packages doctest-dev"
has_header boost/beast/http.hpp || packages="$packages libboost-dev"
has_header zlib.h || packages="$packages zlib1g-dev"
has_header jpeglib.h || packages="$packages libjpeg-dev"
has_header png.h || packages="$packages libpng-dev"
command -v pkg-config >/dev/null || packages="$packages pkg-config"
if [ -n "$packages" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing$packages"
        # shellcheck disable=SC2086 # several packages
        (apt-get update && apt-get install --yes --no-install-recommends $packages) >/dev/null 2>&1 ||
            fail "cannot install them: apt-get install$packages"
    else
        fail "the C++ tests need Debian's packages:$packages"
    fi
fi
# The page in the browser, gRPC and the site of the documents are left out without them, or their
# tests are skipped.
optional=
for needed in em++:emscripten node:nodejs chromium:chromium brotli:brotli doxygen:doxygen \
    grpc_cpp_plugin:protobuf-compiler-grpc; do
    command -v "${needed%:*}" >/dev/null || optional="$optional ${needed#*:}"
done
has_header grpcpp/version_info.h || optional="$optional libgrpc++-dev"
has_header google/protobuf/message.h || optional="$optional libprotobuf-dev"
if [ -n "$optional" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing$optional"
    # shellcheck disable=SC2086 # several packages
    timeout 300 sh -c "apt-get update && apt-get install --yes --no-install-recommends $optional" >/dev/null 2>&1 || true
fi

./run.sh --build-only
PATH=$PWD/.venv/bin:$PATH
export PATH
unset PYTHONPATH PYTHONHOME || true
installed=.venv/lenet-test-tools
if ! cmp -s pyproject.toml $installed; then
    # The package itself is there: only what its extras name is installed.
    python -m pip install -qq --group docs --group lint --group test "lenet-cpp[bench,onnx]" ||
        fail "cannot install the test tools and the extras bench and onnx: check pip's package index"
    if python -m pip install -qq --group torch-cpu >build/logs/torch.log 2>&1; then
        cp pyproject.toml $installed
    else
        echo "PyTorch for the CPU is not on pip's package index: its tests are skipped (docs/pytorch.md)"
    fi
fi

style() {
    ruff check . || fail "ruff check found problems"
    ruff format --check --quiet . || fail "files are not formatted: ruff format ."
    find cpp examples cmake web \( -name '*.cc' -o -name '*.h' \) -exec clang-format --dry-run --Werror {} + ||
        fail "files are not formatted: clang-format -i"
    shellcheck run.sh test.sh .ci/run scripts/fuzz.sh || fail "shellcheck found problems"
    mypy || fail "mypy found problems"
}

# mypy uses one core: the other one builds meanwhile.
part "style, C++ tests"
style >build/logs/style.log 2>&1 &
styled=$!
trap 'kill $styled 2>/dev/null || true' EXIT
built tests cmake -S . -B build -DLENET_BUILD_TESTS=ON
built tests cmake --build build
jobs=$(nproc)
ctest --test-dir build --output-on-failure --parallel "$jobs"
wait $styled || { cat build/logs/style.log; exit 1; }
trap - EXIT

if [ $sanitizers = 1 ]; then
    for preset in asan-ubsan tsan; do
        part "C++ tests, $preset"
        built $preset cmake --preset $preset -DPADDLE_INFERENCE_DIR="${LIB_DIR:-}"
        built $preset cmake --build --preset $preset
        ctest --preset $preset --parallel "$jobs"
    done
fi
[ $quick = 1 ] || heart=

part "Python tests"
# A file stays with one process, in the order of tests/conftest.py; each may take some 4 GB.
# shellcheck disable=SC2086 # several files
python -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder --durations=10 $heart "$@" ||
    failed=$?
part ""
printf '\nParts\n%s' "$times"
exit "${failed:-0}"
