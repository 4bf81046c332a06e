#!/bin/sh
# Builds what is needed, then runs linters, C++ tests and Python tests.
set -eu

usage() {
    cat <<'END'
Usage: ./test.sh [PYTEST ARGUMENTS...]

Sets up the environment as ./run.sh does, then checks style and types and runs the C++ and the
Python tests. Arguments go to pytest, for example: ./test.sh tests/verify/test_parity.py -k onednn

What it needs comes from the Python package index; the C++ tests need the packages doctest-dev and
libstb-dev of Debian, which are installed when this runs as root.
END
}
case ${1:-} in --help | -h) usage; exit 0 ;; esac

cd "$(dirname "$0")"
fail() { echo "test.sh: $1" >&2; exit 1; }

has_header() { echo "#include <$1>" | c++ -E -x c++ - >/dev/null 2>&1; }
packages=
has_header doctest/doctest.h || packages="$packages doctest-dev"
has_header stb/stb_image_resize.h || packages="$packages libstb-dev"
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

./run.sh --build-only
PATH=$PWD/.venv/bin:$PATH
export PATH
unset PYTHONPATH PYTHONHOME || true
python -m pip install -qq --group lint --group test || fail "cannot install the test tools: check pip's package index"
# The package itself is there: only what its extras name is installed.
python -m pip install -qq "lenet-cpp[bench,onnx]" || fail "cannot install the extras bench and onnx: check pip's package index"
if ! python -m pip install -qq --group torch-cpu >build/logs/torch.log 2>&1; then
    echo "PyTorch for the CPU is not on pip's package index: its tests are skipped (docs/pytorch.md)"
fi

echo "style"
ruff check . || fail "ruff check found problems"
ruff format --check --quiet . || fail "files are not formatted: ruff format ."
find cpp examples cmake \( -name '*.cc' -o -name '*.h' \) -exec clang-format --dry-run --Werror {} + || fail "files are not formatted: clang-format -i"
shellcheck run.sh test.sh .ci/run scripts/fuzz.sh || fail "shellcheck found problems"
mypy || fail "mypy found problems"

echo "C++ tests"
if ! { cmake -S . -B build -DLENET_BUILD_TESTS=ON && cmake --build build; } >build/logs/tests.log 2>&1; then
    tail -20 build/logs/tests.log
    fail "the C++ tests do not build"
fi
jobs=$(nproc)
ctest --test-dir build --output-on-failure --parallel "$jobs"

for preset in asan-ubsan tsan; do
    echo "C++ tests, preset $preset"
    if ! { cmake --preset $preset -DPADDLE_INFERENCE_DIR="${LIB_DIR:-}" && cmake --build --preset $preset; } \
        >build/logs/$preset.log 2>&1; then
        tail -20 build/logs/$preset.log
        fail "the C++ tests do not build with preset $preset"
    fi
    ctest --preset $preset --parallel "$jobs"
done

echo "Python tests"
# A file stays with one process, in the order of tests/conftest.py; each may take some 4 GB.
python -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder --durations=10 "$@"
