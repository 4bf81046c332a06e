#!/bin/sh
# From a fresh clone to a trained digit classifier that runs in C++ and agrees with Python.
set -eu
LC_ALL=C.UTF-8
export LC_ALL

usage() {
    cat <<'END'
Usage: ./run.sh [--data-dir DIR] [--build-only] [--help]

Trains LeNet on MNIST, exports it, builds the C++ program against the Paddle Inference library,
runs it on real digits and compares C++ with Python. Takes a few minutes and 1 GB. Steps that are
done already are skipped; remove a step's result to do it again. After the folder was moved, what
names the old place is mended.

  1 environment  .venv with PaddlePaddle, CMake and Ninja, from the Python package index: 250 MB
                 to download, 970 MB on disk
  2 library      third_party/paddle_inference, from the paddlepaddle package in .venv
  3 program      build/lenet_infer_test, build/lenet_classify, and the module of the package
  4 package      lenet_cpp, installed into .venv
  5 train        checkpoints/lenet/lenet.pdparams and .pdopt
  6 export       inference_model/lenet/lenet.pdmodel, .json and .pdiparams
  7 predict      the C++ program on 1,000 test digits
  8 compare      C++ and Python on the same digits

Options:
  --data-dir DIR  train on the MNIST files in DIR (default: the whole MNIST when paddle has
                  downloaded it before, else the sample in data/mnist_sample)
  --build-only    stop after step 4
  --help          this text

Environment:
  LIB_DIR   a Paddle Inference library that you have, laid out as the official archive; the C++
            program is built against it instead of step 2's
  PYTHON    the interpreter to make .venv with (default: python3)
END
}

data_dir=
build_only=0
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --build-only) build_only=1 ;;
        --data-dir)
            [ $# -ge 2 ] || { echo "run.sh: --data-dir needs a folder (see --help)" >&2; exit 2; }
            data_dir=$(cd "$2" 2>/dev/null && pwd) ||
                { echo "run.sh: --data-dir: '$2' is not a folder" >&2; exit 3; }
            shift ;;
        *) echo "run.sh: unknown argument '$1' (see --help)" >&2; exit 2 ;;
    esac
    shift
done
if [ -n "${LIB_DIR:-}" ]; then
    LIB_DIR=$(cd "$LIB_DIR" 2>/dev/null && pwd) ||
        { echo "run.sh: LIB_DIR is not a folder; unset it, or name a paddle_inference folder" >&2; exit 3; }
fi

# CMake refuses a folder that it knows by another path, such as one with a symbolic link in it.
cd -P "$(dirname "$0")"
venv=.venv
python=$venv/bin/python
model=inference_model/lenet
checkpoint=checkpoints/lenet
logs=build/logs
if ! { mkdir -p "$logs" && touch build/run.lock; } 2>/dev/null; then
    echo "run.sh: cannot write to $PWD/build: clone or copy the repository to a folder that you may write to" >&2
    exit 1
fi
# Held until this process and those that it started have ended.
exec 9>>build/run.lock
if command -v flock >/dev/null && ! flock -n 9; then
    echo "run.sh: another ./run.sh (process $(cat build/run.lock)) is at work in this folder: wait until it ends, or stop it" >&2
    exit 1
fi
echo $$ >build/run.lock
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV || true
PATH=$PWD/$venv/bin:$PATH
export PATH

times=
current=
start=$(date +%s)

# finish: notes how long the step took that was begun last.
finish() {
    [ -z "$current" ] || times="$times$(printf '  %-14s %5d s' "$current" $(($(date +%s) - began)))
"
    current=
}

# step NUMBER NAME TEXT
step() {
    if [ "$current" != "$1 $2" ]; then
        finish
        current="$1 $2"
        began=$(date +%s)
    fi
    printf '[%s/8] %s: %s\n' "$1" "$2" "$3"
}

skip() {
    finish
    times="$times$(printf '  %-14s  done already' "$1 $2")
"
    printf '[%s/8] %s: done already\n' "$1" "$2"
}

# print_times: and which libraries the programs do without.
print_times() {
    finish
    printf '\nSteps\n%s  %-14s %5d s\n' "$times" total $(($(date +%s) - start))
    missing=$(sed -n 's/^LENET_LEFT_OUT:INTERNAL=//p' build/CMakeCache.txt)
    [ -z "$missing" ] || printf '\nLeft out: %s; lenet_classify decodes no %s. To add it:\n  apt-get install %s && ./run.sh\n' \
        "$missing" "$(echo "$missing" | sed 's/lib//g; s/-dev//g; s/ / and no /')" "$missing"
    missing=$(sed -n 's/^LENET_SERVE_LEFT_OUT:INTERNAL=//p' build/CMakeCache.txt)
    [ -z "$missing" ] || printf '\nLeft out: lenet_serve, the server. To add it:\n  apt-get install %s && ./run.sh\n' \
        "$missing"
    missing=$(sed -n 's/^LENET_GRPC_LEFT_OUT:INTERNAL=//p' build/CMakeCache.txt)
    [ -z "$missing" ] || printf '\nLeft out: lenet_serve_grpc, gRPC for the server. To add it:\n  apt-get install %s && ./run.sh\n' \
        "$missing"
}

# fail NAME REMEDY: one line, which ends the script.
fail() {
    remedy=$2
    reason=$(grep -ahiE 'error|fatal|not found' "$logs/$1.log" 2>/dev/null | tail -1 | cut -c1-200)
    if grep -aqs 'No space left on device' "$logs/$1.log"; then
        reason="no space left on device"
        remedy="free some (all of it needs 1.5 GB here, and pip some 0.5 GB in ${TMPDIR:-/tmp}) and run again"
    fi
    echo "run.sh: step '$1' failed: ${reason:-see the log}; $remedy (log: $logs/$1.log)" >&2
    exit 1
}

# watch LOG: says every ten seconds, on a terminal every second, that a step goes on.
watch() {
    seconds=0
    while sleep 1 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        seconds=$((seconds + 1))
        if [ -t 1 ]; then
            printf '\r\033[K      %3d s  %s' $seconds "$(tail -n 1 "$1" | tr -d '\r\033' | cut -c1-65)"
        elif [ $((seconds % 10)) = 0 ]; then
            printf '      %3d s  %s\n' $seconds "$(tail -n 1 "$1" | tr -d '\r\033' | cut -c1-100)"
        fi
    done
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
    "$@" >>"$logs/$name.log" 2>&1
}

# quietly NAME REMEDY COMMAND...: the output goes to the step's log.
quietly() {
    name=$1 remedy=$2
    shift 2
    watched "$logs/$name.log" logged "$@" || fail "$name" "$remedy"
}

# shown COMMAND...: it shows its progress itself, but only on a terminal.
shown() {
    if [ -t 1 ]; then "$@"; else watched /dev/null "$@"; fi
}

# A digest of the files below the named paths, to see whether something must be built again.
digest() {
    find "$@" -type f ! -name '*.pyc' ! -name '*.so' | sort | xargs sha256sum | sha256sum | cut -c1-64
}

# 1 environment
: >"$logs/environment.log"
# The scripts in .venv/bin and CMake's caches have the folder's path in them.
here=$(sed -n 's|^[^/]*\(/.*\)/\.venv/bin/python.*|\1|p' "$venv/bin/pip" 2>/dev/null | head -n 1)
if [ -n "$here" ] && [ "$here" != "$PWD" ]; then
    echo "this folder was $here before: $venv and build are mended where they name that"
    rm -f "$venv/lenet-package"
    "$python" - "$here" "$PWD" <<'END' >>"$logs/environment.log" 2>&1 || rm -rf "$venv"
import sys
from pathlib import Path

old, new = (f"{folder}/.venv" for folder in sys.argv[1:])
for file in [*Path(".venv/bin").iterdir(), Path(".venv/pyvenv.cfg")]:
    if file.is_symlink() or b"\0" in (contents := file.read_bytes()):
        continue
    contents = contents.replace(old.encode(), new.encode())
    first, newline, rest = contents.partition(b"\n")
    if first.startswith(f"#!{new}/".encode()) and (len(first) > 127 or b" " in first):
        # What the kernel cannot run the shell does; to Python it is a text.
        first = b"#!/bin/sh\n'''exec' \"%s\" \"$0\" \"$@\"\n' '''" % first[2:]
    file.write_bytes(first + newline + rest)
END
fi
for cache in build/CMakeCache.txt build/*/CMakeCache.txt build/*/*/CMakeCache.txt; do
    [ -f "$cache" ] || continue
    if ! grep -qxF "CMAKE_CACHEFILE_DIR:INTERNAL=$PWD/${cache%/*}" "$cache"; then
        # With the last, pip would empty the cache once more, and compile everything again.
        rm -rf "$cache" "${cache%/*}/CMakeFiles" "${cache%/*}/.skbuild-info.json"
    fi
done
if ! "$python" -m pip --version >/dev/null 2>&1; then
    step 1 environment "making $venv"
    interpreter=${PYTHON:-python3}
    quietly environment "install Python 3.10 or later, or name one: PYTHON=python3.11 ./run.sh" \
        "$interpreter" -c 'import sys; assert sys.version_info >= (3, 10), "error: Python %d.%d is too old" % sys.version_info[:2]'
    quietly environment "install Python's venv module (Debian: apt-get install python3-venv)" \
        "$interpreter" -m venv --clear "$venv"
fi
# The build's requirements are stated in pyproject.toml alone; the package is built without
# isolation, so that PaddlePaddle is not installed a second time for the build.
requirements=$("$python" - <<'END'
import re
from pathlib import Path

text = Path("pyproject.toml").read_text(encoding="utf-8")
tables = re.findall(r"^(?:build\.)?requires = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
print("\n".join(re.findall(r'"([^"]+)"', "".join(tables))))
END
)
wanted=$(printf '%s\n' "$requirements" | sha256sum)
if [ "$(cat "$venv/lenet-environment" 2>/dev/null)" = "$wanted" ]; then
    skip 1 environment
else
    step 1 environment "installing PaddlePaddle and the build tools (250 MB to download, 970 MB in $venv; some minutes)"
    printf '%s\n' "$requirements" >"$venv/lenet-requirements.txt"
    quietly environment "check the network and pip's package index" \
        "$python" -m pip install --upgrade "pip>=25.1"
    quietly environment "check the network and pip's package index" \
        "$python" -m pip install --requirement "$venv/lenet-requirements.txt" "cmake>=3.22,<5" ninja
    echo "$wanted" >"$venv/lenet-environment"
fi
: >"$logs/compiler.log"
quietly compiler "install a C++17 compiler (Debian: apt-get install g++)" "${CXX:-c++}" --version
quietly compiler "install Python's headers (Debian: apt-get install python3-dev)" "$python" -c '
import pathlib, sysconfig
header = pathlib.Path(sysconfig.get_path("include"), "Python.h")
assert header.is_file(), f"error: {header} not found"'

# 2 library
: >"$logs/library.log"
if [ -n "${LIB_DIR:-}" ]; then
    step 2 library "$LIB_DIR"
else
    step 2 library "third_party/paddle_inference, links to $venv"
    quietly library "remove .venv and run again" "$python" scripts/fetch_paddle_inference.py
fi

# 3 program
: >"$logs/program.log"
step 3 program "compiling the C++ sources into build (30 MB; one or two minutes the first time)"
quietly program "see the log" \
    cmake -S . -B build -G Ninja -DPADDLE_INFERENCE_DIR="${LIB_DIR:-}" -DLENET_BUILD_PYTHON=ON \
    -DPython_EXECUTABLE="$PWD/$python" -DPython3_EXECUTABLE="$PWD/$python"
quietly program "see the log" cmake --build build
touch build/compiled # tests/project/conftest.py asks whether a source is newer

# 4 package
: >"$logs/package.log"
sources=$(digest CMakeLists.txt pyproject.toml cmake cpp python data/mnist_sample scripts/fetch_paddle_inference.py scripts/paddle_library)
if [ "$(cat "$venv/lenet-package" 2>/dev/null)" = "$sources" ]; then
    skip 4 package
else
    # The package runs with the paddlepaddle beside it, so another library's build is not for it.
    if [ -n "${LIB_DIR:-}" ]; then
        step 4 package "compiling lenet_cpp for the paddlepaddle in $venv, and installing it (one or two minutes)"
        set --
    else
        step 4 package "installing lenet_cpp and the small packages that it needs into $venv"
        set -- --config-settings=build-dir=build --config-settings=cmake.define.LENET_BUILD_APPS=ON
    fi
    quietly package "see the log" "$python" -m pip install --no-build-isolation "$@" '.[paddle]'
    # Where pip has CMake install to is not where a user would.
    [ $# = 0 ] || quietly package "see the log" cmake -S . -B build -UCMAKE_INSTALL_PREFIX -UCMAKE_PREFIX_PATH
    echo "$sources" >"$venv/lenet-package"
fi
if [ $build_only = 1 ]; then
    print_times
    exit 0
fi

# 5 train
trained_on=$(cat "$checkpoint/trained-on" 2>/dev/null || true)
if grep -qs '"complete": true' "$checkpoint/lenet.train.json" && [ "${data_dir:-$trained_on}" = "$trained_on" ]; then
    skip 5 train
else
    step 5 train "the guide's recipe (less than a minute on the sample)"
    resume=
    [ ! -f "$checkpoint/lenet.train.json" ] || [ "$data_dir" != "$trained_on" ] || resume=--resume
    mkdir -p "$checkpoint"
    echo "$data_dir" >"$checkpoint/trained-on"
    "$python" scripts/train.py --output-dir "$checkpoint" ${data_dir:+--data-dir "$data_dir"} $resume ||
        { echo "run.sh: step 'train' stopped; run again to continue, or remove $checkpoint to begin anew" >&2; exit 1; }
fi

# 6 export
if [ -f "$model/SHA256SUMS" ] && [ -f "$model/preprocess.json" ] &&
    [ -z "$(find "$checkpoint/lenet.pdparams" -newer "$model/SHA256SUMS")" ]; then
    skip 6 export
else
    step 6 export "$model"
    shown "$python" scripts/export_model.py --params "$checkpoint/lenet.pdparams" --output-dir "$model" ||
        { echo "run.sh: step 'export' failed; remove $model and run again" >&2; exit 1; }
fi

# 7 predict
digits=build/digits
mkdir -p $digits
for name in t10k-images-idx3-ubyte t10k-labels-idx1-ubyte; do
    gunzip -c "data/mnist_sample/$name.gz" >"$digits/$name"
done
step 7 predict "1,000 test digits in C++"
set -- --model_file="$model/lenet.pdmodel" --params_file="$model/lenet.pdiparams" \
    --input="$digits/t10k-images-idx3-ubyte" --labels="$digits/t10k-labels-idx1-ubyte" \
    --batch_size=1 --repeats=2000
echo "./build/lenet_infer_test $*"
./build/lenet_infer_test "$@" ||
    { echo "run.sh: step 'predict' failed; remove build and run again" >&2; exit 1; }
./build/lenet_infer_test "$@" --format=json >build/predict.json

# 8 compare
newer=$(find build/lenet_infer_test build/*.so "$model/SHA256SUMS" "$venv/lenet-package" "$checkpoint/trained-on" \
    -newer build/verify.json 2>/dev/null || true)
if [ -f build/verify.json ] && [ -z "$newer" ]; then
    skip 8 compare
else
    step 8 compare "C++ and Python on every test digit"
    shown "$python" scripts/verify.py --model-dir "$model" --params "$checkpoint/lenet.pdparams" \
        ${data_dir:+--data-dir "$data_dir"} --report build/verify.json ||
        { rm -f build/verify.json
          echo "run.sh: step 'compare' failed: C++ and Python differ; scripts/verify.py --layers says where" >&2
          exit 1; }
fi

print_times
"$python" - <<'END'
import json
from pathlib import Path

predict, verify = (json.loads(Path(f"build/{name}.json").read_text()) for name in ("predict", "verify"))
accuracy = {route: f"{100 * found['fraction']:.2f} %" for route, found in verify["accuracy"].items()}
images = verify["images"]
latency = predict["latency"]
print(f"""
Done.
  model     inference_model/lenet/lenet.pdmodel, .json, .pdiparams; trained in checkpoints/lenet
  program   build/lenet_infer_test, engine {predict["engine"]}; build/lenet_infer_native, without Paddle
  Python    .venv/bin/python, package lenet_cpp
  accuracy  C++ {accuracy["C++ program"]}, Python {accuracy["dygraph"]} of {images:,} test digits
  largest difference between C++ and Python {verify["largest_difference"]:.2g}, {100 * verify["share_of_tolerance"]:.0f} % of the tolerance; {verify["equal_predictions"]:,} equal predictions
  latency   median {latency["median_ms"]:.4f} ms, p99 {latency["p99_ms"]:.4f} ms a digit (engine {predict["engine"]}, {predict["threads"]} thread)

Next:
  ./build/lenet_infer_test --model_file=inference_model/lenet/lenet.pdmodel --params_file=inference_model/lenet/lenet.pdiparams
  .venv/bin/python -c "import numpy as np, lenet_cpp; print(lenet_cpp.predict(np.zeros((2, 1, 28, 28), 'float32')).shape)"
  ./test.sh""")
END
