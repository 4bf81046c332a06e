#!/bin/sh
# Builds what is needed, then runs linters, C++ tests and Python tests.
set -eu

usage() {
    cat <<'END'
Usage: ./test.sh [--quick | --sanitizers] [--install] [--without-paddle] [PYTEST ARGUMENTS...]

Sets up the environment as ./run.sh does, then checks style and types and runs the C++ and the
Python tests: twelve minutes on two cores, once everything is built. Arguments go to pytest, for
example: ./test.sh tests/verify/test_parity.py -k onednn

Options:
  --quick       only the linters, the C++ tests, and those Python tests that most often find a
                mistake: less than two minutes on two cores, once everything is built
  --sanitizers  also the C++ tests with AddressSanitizer, UndefinedBehaviorSanitizer and
                ThreadSanitizer, and the work that loading growing files takes: eleven minutes more.
                .ci/run does this
  --install     as root, install what some tests are skipped without: Emscripten (432 MB to
                download, 2.9 GB on disk), Node.js, Chromium, Doxygen, gRPC and the sources of
                locales. .ci/run does this
  --without-paddle
                what needs no Paddle, after ./run.sh --without-paddle; the tests that need it are
                skipped by name
  --help        this text

The last lines are the ten slowest Python tests and the time that each part took. What takes long
and rarely finds anything is run by `nox -s nightly` (noxfile.py).

The first time takes some ten minutes more, also with --quick: the linters, PyTorch and the other
libraries that tests compare with are installed into .venv (4 GB), and the C++ tests are compiled.
The C++ tests need the packages of Debian that README.md names, which are installed when this runs
as root; nothing else is installed outside of this folder, unless --install says so.
END
}
quick=0 sanitizers=0 install=0 paddle=
while :; do
    case ${1:-} in
        --help | -h) usage; exit 0 ;;
        --quick) quick=1 ;;
        --sanitizers) sanitizers=1 ;;
        --install) install=1 ;;
        --without-paddle) paddle=--without-paddle ;;
        *) break ;;
    esac
    shift
done
# The heart of the Python tests: one file or two of each room.
heart="tests/_base tests/data/test_data.py tests/formats/test_manifest.py tests/training/test_checkpoint.py
    tests/inference/test_arrays.py tests/inference/test_predictor.py tests/cpp/test_program.py
    tests/cpp/test_native_onnx.py tests/verify/test_parity.py tests/project/test_structure.py tests/project/test_suite.py"

cd "$(dirname "$0")"
script=test.sh
logs=build/logs
mkdir -p $logs
. scripts/steps.sh
stop() { echo "test.sh: $1" >&2; exit 1; }

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

# built NAME COMMAND...: runs a command whose output goes to a log, the end of which is shown.
built() {
    log=$logs/$1.log what="the build of the C++ tests"
    shift
    : >"$log"
    watched "$log" logged "$@" || { tail -20 "$log"; fail "$log" "$what" "see above"; }
}

part "environment"
command -v "${CXX:-c++}" >/dev/null || stop "there is no C++ compiler: README.md has the line for apt-get"
has_header() { echo "#include <$1>" | "${CXX:-c++}" -E -x c++ - >/dev/null 2>&1; }
packages=
for needed in doctest/doctest.h:doctest-dev boost/beast/http.hpp:libboost-dev zlib.h:zlib1g-dev jpeglib.h:libjpeg-dev \
    png.h:libpng-dev webp/demux.h:libwebp-dev yaml.h:libyaml-dev; do
    has_header "${needed%:*}" || packages="$packages ${needed#*:}"
done
for program in pkg-config cmake make; do
    command -v $program >/dev/null || packages="$packages $program"
done
root=0
[ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || root=1
if [ -n "$packages" ]; then
    [ $root = 1 ] || stop "the tests need Debian's packages: apt-get install$packages"
    # shellcheck disable=SC2086 # several packages
    install_packages "apt-get install$packages" $packages
fi
# The page in the browser, gRPC and the site of the documents are left out without them, or their
# tests are skipped.
optional=
for needed in em++:emscripten node:nodejs chromium:chromium brotli:brotli doxygen:doxygen \
    grpc_cpp_plugin:protobuf-compiler-grpc; do
    command -v "${needed%:*}" >/dev/null || optional="$optional ${needed#*:}"
done
for needed in grpcpp/version_info.h:libgrpc++-dev google/protobuf/message.h:libprotobuf-dev; do
    has_header "${needed%:*}" || optional="$optional ${needed#*:}"
done
[ -e /usr/share/i18n/locales/de_DE ] || optional="$optional locales"
if [ -n "$optional" ] && [ $install = 0 ]; then
    echo "some tests are skipped without other packages of Debian: apt-get install$optional (or, as root, ./test.sh --install)"
elif [ -n "$optional" ]; then
    [ $root = 1 ] || stop "--install needs root: apt-get install$optional"
    # shellcheck disable=SC2086 # several packages
    install_packages "apt-get install$optional" $optional
fi

./run.sh --build-only $paddle
PATH=$PWD/.venv/bin:$PATH
export PATH
# Hundreds of processes read the package, which each would compile again.
unset PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE || true

# What run.sh does not need: linters, and what tests compare with.
installed=.venv/lenet-test-tools
wanted=$(cat pyproject.toml && echo "$paddle")
test_tools() {
    [ "$(cat $installed 2>/dev/null)" != "$wanted" ] || return 0
    : >$logs/tools.log
    # The package itself is there: only what its extras name is installed. Not every Python that
    # PaddlePaddle has no package for has one of each of these.
    extras="lenet-cpp[bench,onnx]"
    [ -z "$paddle" ] || extras=
    quietly tools network python -m pip install --group dev --group docs ${extras:+"$extras"}
    log=$logs/torch.log
    : >"$log"
    if [ -z "$paddle" ] && ! watched "$log" logged python -m pip install --group torch-cpu; then
        # The index has no build for CPUs alone.
        if [ "$(df -Pk .venv | awk 'NR == 2 { print int($4 / 1e6) }')" -lt 8 ]; then
            echo "PyTorch needs 8 GB of space: its tests are skipped (docs/pytorch.md)" >&3
        else
            (quietly torch network python -m pip install "lenet-cpp[torch]") ||
                echo "PyTorch's tests are skipped (docs/pytorch.md)" >&3
        fi
    fi
    echo "$wanted" >$installed
}

# The linters of .pre-commit-config.yaml, on all files that git knows.
style() {
    PRE_COMMIT_HOME=.venv/pre-commit pre-commit run --all-files --color=never ||
        stop "the linters found problems; ruff format . and clang-format -i mend what is not formatted"
}

part "builds of the C++ tests"
# pip uses one core: the other one builds meanwhile.
(test_tools) 3>&1 >/dev/null &
background=$!
trap 'kill $background 2>/dev/null || true' EXIT
built tests cmake --preset tests
built tests cmake --build build
presets=
[ $sanitizers = 0 ] || presets="asan-ubsan tsan"
for preset in $presets; do
    built "$preset" cmake --preset "$preset" -DPADDLE_INFERENCE_DIR="${LIB_DIR:-}"
    built "$preset" cmake --build --preset "$preset"
done
! kill -0 $background 2>/dev/null || echo "waiting for pip, which installs the tools of the tests"
wait $background || exit 1
built tests cmake build # which probes the onnxruntime that pip has installed

part "style, C++ tests"
style >build/logs/style.log 2>&1 &
background=$!
jobs=$(nproc)
ctest --test-dir build --output-on-failure --parallel "$jobs"
for preset in $presets; do
    ctest --preset "$preset" --parallel "$jobs"
done
wait $background || { cat build/logs/style.log; exit 1; }
trap - EXIT
[ $quick = 1 ] || heart=

part "Python tests"
# One process more than processors, as some wait. A file stays with one, in the order of
# tests/conftest.py; each may take some 4 GB.
# shellcheck disable=SC2086 # several files
python -m pytest --numprocesses="$(($(nproc) + 1))" --maxprocesses=4 --dist=loadfile --no-loadscope-reorder --durations=10 $paddle $heart "$@" ||
    failed=$?
part ""
printf '\nPrograms\n'
for program in lenet_infer_native lenet_classify lenet_infer_test lenet_serve; do
    [ ! -e build/$program ] || printf '  %-22s %5d kB\n' $program $(($(wc -c <build/$program) / 1000))
done
printf '\nParts\n%s' "$times"
exit "${failed:-0}"
