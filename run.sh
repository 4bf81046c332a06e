#!/bin/sh
# From a fresh clone to a trained digit classifier that runs in C++ and agrees with Python.
set -eu
LC_ALL=C.UTF-8
export LC_ALL

usage() {
    cat <<'END'
Usage: ./run.sh [--data-dir DIR] [--build-only] [--without-paddle] [--help]

Trains LeNet on MNIST, exports it, builds the C++ program against the Paddle Inference library,
runs it on real digits and compares C++ with Python. Takes a few minutes, and the disk space that
README.md names. Steps that are done already are skipped; remove a step's result to do it again.
After the folder was moved, .venv is made anew.

  1 tools        .venv with CMake and Ninja, from the Python package index (60 MB to download)
  2 engine       build/lenet_classify with the native engine, which classifies a photo by the model
                 that comes with the package; PaddlePaddle (190 MB) is downloaded meanwhile
  3 environment  PaddlePaddle in .venv
  4 library      third_party/paddle_inference, from the paddlepaddle package in .venv
  5 program      the other programs, such as build/lenet_infer_test, and the module of the package
  6 package      lenet_cpp, installed into .venv; its Python modules are those in python/
  7 train        checkpoints/lenet/lenet.pdparams and .pdopt
  8 export       inference_model/lenet/lenet.pdmodel, .json and .pdiparams
  9 predict      the C++ program on 1,000 test digits
 10 compare      C++ and Python on the same digits

Options:
  --data-dir DIR  train on the MNIST files in DIR (default: the whole MNIST when paddle has
                  downloaded it before, else the sample in data/mnist_sample)
  --build-only    stop after step 6
  --without-paddle
                  leave out Paddle, and with it training, the export and its engine: build the
                  native engine and the package, and classify the digits with the model that comes
                  with the package, in C++ and in Python; three minutes, without the 250 MB
  --help          this text

Environment:
  LIB_DIR   a Paddle Inference library that you have, laid out as the official archive; the C++
            program is built against it instead of step 4's
  PYTHON    the interpreter to make .venv with (default: python3, or where Paddle has no package
            for that, one of python3.13 to python3.10)
END
}

# stop STATUS MESSAGE
stop() {
    echo "run.sh: $2" >&2
    exit "$1"
}

data_dir=
build_only=0
paddle=ON
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --build-only) build_only=1 ;;
        --without-paddle) paddle=OFF ;;
        --data-dir)
            [ $# -ge 2 ] || stop 2 "--data-dir needs a folder (see --help)"
            data_dir=$(cd "$2" 2>/dev/null && pwd) ||
                stop 3 "--data-dir: '$2' is not a folder"
            shift ;;
        *) stop 2 "unknown argument '$1' (see --help)" ;;
    esac
    shift
done
if [ $paddle = OFF ] && [ -n "$data_dir" ]; then
    stop 2 "--without-paddle trains nothing: leave --data-dir out"
fi
preset=run # of CMakePresets.json, and the group of pyproject.toml
[ $paddle = ON ] || preset=run-without-paddle LIB_DIR=
if [ -n "${LIB_DIR:-}" ]; then
    LIB_DIR=$(cd "$LIB_DIR" 2>/dev/null && pwd) ||
        stop 3 "LIB_DIR is not a folder; unset it, or name a paddle_inference folder"
fi

# CMake refuses a folder that it knows by another path, such as one with a symbolic link in it.
cd -P "$(dirname "$0")"
script=run.sh
venv=.venv
python=$venv/bin/python
model=inference_model/lenet
checkpoint=checkpoints/lenet
logs=build/logs
. scripts/steps.sh
if ! { mkdir -p "$logs" && touch build/run.lock; } 2>/dev/null; then
    stop 1 "cannot write to $PWD/build: clone or copy the repository to a folder that you may write to"
fi
# Held until this process and those that it started have ended.
exec 9>>build/run.lock
if command -v flock >/dev/null && ! flock -n 9; then
    stop 1 "another ./run.sh (process $(cat build/run.lock)) is at work in this folder: wait until it ends, or stop it"
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
    printf '[%s/10] %s: %s\n' "$1" "$2" "$3"
}

# skip NUMBER NAME [WHY]
skip() {
    finish
    times="$times$(printf '  %-14s  %s' "$1 $2" "${3:-done already}")
"
    printf '[%s/10] %s: %s\n' "$1" "$2" "${3:-done already}"
}

# left_out VARIABLE WHAT: what the programs do without, by CMake's cache, and how to add it.
left_out() {
    packages=$(sed -n "s/^$1:INTERNAL=//p" build/CMakeCache.txt)
    [ -z "$packages" ] ||
        printf '\nLeft out: %s. To add it:\n  apt-get install %s && ./run.sh\n' "$2" "$packages"
}

print_times() {
    finish
    printf '\nSteps\n%s  %-14s %5d s\n' "$times" total $(($(date +%s) - start))
    left_out LENET_LEFT_OUT "formats of images, which lenet_classify does not read"
    left_out LENET_SERVE_LEFT_OUT "lenet_serve, the server"
    left_out LENET_GRPC_LEFT_OUT "lenet_serve_grpc, gRPC for the server"
}

# shown COMMAND...: it shows its progress itself, but only on a terminal.
shown() {
    if [ -t 1 ]; then "$@"; else watched /dev/null "$@"; fi
}

# A digest of the files below the named paths, to see whether something must be built again.
digest() {
    find "$@" -type f ! -name '*.pyc' ! -name '*.so' | sort | xargs sha256sum | sha256sum | cut -c1-64
}

# 1 tools
: >"$logs/tools.log"
# The scripts in .venv/bin and CMake's caches have the folder's path in them.
moved_from=$(sed -n 's|^[^/]*\(/.*\)/\.venv/bin/python.*|\1|p' "$venv/bin/pip" 2>/dev/null | head -n 1)
if [ -n "$moved_from" ] && [ "$moved_from" != "$PWD" ]; then
    echo "this folder was $moved_from before: $venv is made anew, and build is configured again"
    rm -rf "$venv"
fi
for cache in build/CMakeCache.txt build/*/CMakeCache.txt build/*/*/CMakeCache.txt; do
    if [ -f "$cache" ] && ! grep -qxF "CMAKE_CACHEFILE_DIR:INTERNAL=$PWD/${cache%/*}" "$cache"; then
        # With the last, pip would empty the cache once more, and compile everything again.
        rm -rf "$cache" "${cache%/*}/CMakeFiles" "${cache%/*}/.skbuild-info.json"
    fi
done
# minor PROGRAM: N of Python 3.N, 0 of what is none.
minor() {
    "$1" -c 'import sys; assert sys.version_info[0] == 3; print(sys.version_info[1])' 2>/dev/null || echo 0
}
newest_python=13 # for which PaddlePaddle has a package, as pyproject.toml says
[ $paddle = ON ] || newest_python=99
usable() {
    found=$(minor "$1")
    [ "$found" -ge 10 ] && [ "$found" -le $newest_python ]
}
new_venv=0
interpreter=$python
if ! "$python" -m pip --version >/dev/null 2>&1 || ! usable "$python"; then
    new_venv=1
    interpreter=${PYTHON:-python3}
    version=$(minor "$interpreter")
    if [ -z "${PYTHON:-}" ] && ! usable python3; then
        for name in python3.13 python3.12 python3.11 python3.10; do
            ! usable $name || { interpreter=$name; break; }
        done
    fi
    if [ "$interpreter" != "${PYTHON:-python3}" ]; then
        [ "$version" = 0 ] || echo "$interpreter in place of python3, which is Python 3.$version"
    elif [ "$version" -gt $newest_python ]; then
        stop 1 "Python 3.$version has no PaddlePaddle yet: install python3.$newest_python (uv python install 3.$newest_python) and run ./run.sh again, or ./run.sh --without-paddle, which builds the native engine and the package, and runs the bundled model"
    elif [ "$version" != 0 ] && [ "$version" -lt 10 ]; then
        stop 1 "$interpreter is Python 3.$version, which is too old: install Python 3.10 or later, or name one: PYTHON=python3.11 ./run.sh"
    fi
fi
# Before anything is downloaded.
missing=
packages=
lacks() {
    missing="$missing${missing:+, }$1" packages="$packages $2"
}
command -v "${CXX:-c++}" >/dev/null || lacks "a C++17 compiler${CXX:+ named $CXX}" g++
name=python3
[ -z "${interpreter%%*python3.*}" ] && [ $new_venv = 1 ] && name=${interpreter##*/}
if [ "$(minor "$interpreter")" = 0 ]; then
    lacks "Python 3.10 or later${PYTHON:+ named $PYTHON}" "python3 python3-dev python3-venv"
else
    "$interpreter" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ||
        lacks "Python's headers" "$name-dev"
    [ $new_venv = 0 ] || "$interpreter" -c 'import ensurepip, venv' 2>/dev/null ||
        lacks "Python's module venv" "$name-venv"
fi
[ -z "$missing" ] || stop 1 "missing: $missing (Debian: apt-get install$packages)"
if [ $new_venv = 1 ]; then
    step 1 tools "making $venv"
    quietly tools "see the log" "$interpreter" -m venv --clear "$venv"
fi
# The package is built without isolation, so that PaddlePaddle is not installed a second time for that.
wanted="$preset $(sha256sum <pyproject.toml)"
installed=$(cat "$venv/lenet-environment" 2>/dev/null || true)
if [ "$installed" = "$wanted" ]; then
    skip 1 tools
else
    step 1 tools "installing the build tools (60 MB to download)"
    # Python may come with an older pip, which does not know --group.
    quietly tools network "$python" -m pip install "pip>=25.1"
    quietly tools network "$python" -m pip install --group run-without-paddle
fi

# 2 engine
: >"$logs/engine.log"
: >"$logs/environment.log"
downloading=
# It goes on beside the compiler, and ends with this process. TERM has no trap: the signal that ends a watch could
# reach it before it has left this shell's traps, and would be lost.
trap '[ -z "$downloading" ] || kill "$downloading" 2>/dev/null || true' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
if [ $paddle = ON ] && [ "$installed" != "$wanted" ]; then
    "$python" -m pip install --group run >>"$logs/environment.log" 2>&1 9>&- &
    downloading=$!
fi
if [ -f build/compiled ]; then
    skip 2 engine
else
    step 2 engine "compiling the native engine (one or two minutes)"
    quietly engine "see the log" cmake --preset run-without-paddle
    quietly engine "see the log" cmake --build build --target lenet_classify
    set -- python/lenet_cpp/bundled/lenet examples/photos/3-paper.jpg --topk=1
    echo "./build/lenet_classify $*"
    ./build/lenet_classify "$@" || echo "the photo was not classified; the other steps do not need it"
fi

# 3 environment
if [ "$installed" = "$wanted" ]; then
    skip 3 environment
elif [ $paddle = OFF ]; then
    skip 3 environment "left out"
else
    step 3 environment "installing PaddlePaddle (190 MB to download)"
    downloaded() { wait "$downloading"; }
    what="step 'environment'" log=$logs/environment.log
    watched "$log" downloaded || fail "$log" "$what" network
    downloading=
fi
echo "$wanted" >"$venv/lenet-environment"

# 4 library
: >"$logs/library.log"
if [ $paddle = OFF ]; then
    skip 4 library "left out"
elif [ -n "${LIB_DIR:-}" ]; then
    step 4 library "$LIB_DIR"
else
    step 4 library "third_party/paddle_inference, links to $venv"
    quietly library "remove .venv and run again" "$python" scripts/fetch_paddle_inference.py
fi

# 5 program
: >"$logs/program.log"
compiling="compiling the other C++ sources into build (30 MB; a minute the first time)"
[ ! -f build/compiled ] || [ -n "$(find CMakeLists.txt cmake cpp -type f -newer build/compiled)" ] ||
    compiling="no C++ source has changed; looking for what else has"
step 5 program "$compiling"
quietly program "see the log" cmake --preset $preset -DPADDLE_INFERENCE_DIR="${LIB_DIR:-}"
quietly program "see the log" cmake --build build
touch build/compiled # tests/project/conftest.py asks whether a source is newer

# 6 package
: >"$logs/package.log"
# What the build has found is a part of it, such as Emscripten, or that a library is missing. Python
# modules are read from the clone; the installation knows only which there are.
sources=$({
    digest CMakeLists.txt pyproject.toml cmake cpp web data/mnist_sample scripts/fetch_paddle_inference.py scripts/paddle_library
    find python -name '*.py' | sort
    grep -E '^LENET_([A-Z_]*LEFT_OUT|PADDLE|EM_CONFIG):' build/CMakeCache.txt
} | sha256sum)
if [ "$(cat "$venv/lenet-package" 2>/dev/null)" = "$sources" ]; then
    skip 6 package
else
    # The package runs with the paddlepaddle beside it, so another library's build is not for it.
    if [ -n "${LIB_DIR:-}" ]; then
        step 6 package "compiling lenet_cpp for the paddlepaddle in $venv, and installing it (one or two minutes)"
        set --
    else
        step 6 package "installing lenet_cpp and the small packages that it needs into $venv"
        set -- --config-settings=build-dir=build --config-settings=cmake.define.LENET_BUILD_APPS=ON
    fi
    package=.
    [ $paddle = OFF ] || package='.[paddle]'
    quietly package network env LENET_PADDLE=$paddle "$python" -m pip install --no-build-isolation "$@" --editable "$package"
    # Python reads this file in the encoding of the locale, which may not know the folder's letters.
    "$python" - <<'END'
import os
import sysconfig
from pathlib import Path

site = Path(sysconfig.get_path("purelib"))
(file,) = site.glob("_editable_*lenet_cpp.pth")
lines = file.read_text(encoding="utf-8").splitlines()
relative = [os.path.relpath(line, site) if os.path.isabs(line) else line for line in lines]
file.write_text("\n".join(relative) + "\n", encoding="utf-8")
END
    # Where pip has CMake install to is not where a user would.
    [ $# = 0 ] || quietly package "see the log" cmake build -UCMAKE_INSTALL_PREFIX -UCMAKE_PREFIX_PATH
    echo "$sources" >"$venv/lenet-package"
fi
if [ $build_only = 1 ]; then
    print_times
    exit 0
fi

digits=build/digits
mkdir -p $digits
for name in t10k-images-idx3-ubyte t10k-labels-idx1-ubyte; do
    gunzip -c "data/mnist_sample/$name.gz" >"$digits/$name"
done
if [ $paddle = OFF ]; then
    skip 7 train "left out"
    skip 8 export "left out"
    step 9 predict "1,000 test digits in C++"
    set -- --model_dir=python/lenet_cpp/bundled/lenet --input=$digits/t10k-images-idx3-ubyte \
        --labels=$digits/t10k-labels-idx1-ubyte --batch_size=1 --repeats=2000
    echo "./build/lenet_infer_native $*"
    ./build/lenet_infer_native "$@" --output=build/logits.npy ||
        stop 1 "step 'predict' failed; remove build and run again"
    step 10 compare "C++ and Python on every test digit"
    "$python" - <<'END' || stop 1 "step 'compare' failed: C++ and Python differ"
import sys
from pathlib import Path

import numpy as np

import lenet_cpp
from lenet_cpp.data.mnist import read_idx, to_model_input

digits = read_idx(Path("build/digits/t10k-images-idx3-ubyte"))
with lenet_cpp.Predictor(model_dir="python/lenet_cpp/bundled/lenet") as predictor:
    same = np.load("build/logits.npy") == predictor.run(to_model_input(digits))
print(f"{same.all(axis=1).sum():,} of {len(same):,} digits have the same bits in C++ and in Python")
sys.exit(not same.all())
END
    print_times
    cat <<'END'

Done, without Paddle.
  program   build/lenet_infer_native, build/lenet_classify
  Python    .venv/bin/python, package lenet_cpp
  left out  the engine of Paddle; scripts that train, export, convert, quantize or verify. ./run.sh adds them

Next:
  ./build/lenet_classify python/lenet_cpp/bundled/lenet --topk=1 examples/photos
  .venv/bin/python -c "import lenet_cpp; print(lenet_cpp.classify('examples/photos/3-paper.jpg'))"
  ./test.sh --without-paddle
END
    exit 0
fi

# 7 train
trained_on=$(cat "$checkpoint/trained-on" 2>/dev/null || true)
if grep -qs '"complete": true' "$checkpoint/lenet.train.json" && [ "${data_dir:-$trained_on}" = "$trained_on" ]; then
    skip 7 train
else
    step 7 train "the guide's recipe (less than a minute on the sample)"
    resume=
    [ ! -f "$checkpoint/lenet.train.json" ] || [ "$data_dir" != "$trained_on" ] || resume=--resume
    mkdir -p "$checkpoint"
    echo "$data_dir" >"$checkpoint/trained-on"
    "$python" scripts/train.py --output-dir "$checkpoint" ${data_dir:+--data-dir "$data_dir"} $resume ||
        stop 1 "step 'train' stopped; run again to continue, or remove $checkpoint to begin anew"
fi

# 8 export
if [ -f "$model/SHA256SUMS" ] && [ -f "$model/preprocess.json" ] &&
    [ -z "$(find "$checkpoint/lenet.pdparams" -newer "$model/SHA256SUMS")" ]; then
    skip 8 export
else
    step 8 export "$model"
    shown "$python" scripts/export_model.py --params "$checkpoint/lenet.pdparams" --output-dir "$model" ||
        stop 1 "step 'export' failed; remove $model and run again"
fi

# 9 predict
step 9 predict "1,000 test digits in C++"
set -- --model_file="$model/lenet.pdmodel" --params_file="$model/lenet.pdiparams" \
    --input="$digits/t10k-images-idx3-ubyte" --labels="$digits/t10k-labels-idx1-ubyte" \
    --batch_size=1 --repeats=2000
echo "./build/lenet_infer_test $*"
./build/lenet_infer_test "$@" ||
    stop 1 "step 'predict' failed; remove build and run again"
./build/lenet_infer_test "$@" --format=json >build/predict.json

# 10 compare
newer=$(find build/lenet_infer_test build/*.so "$model/SHA256SUMS" "$venv/lenet-package" "$checkpoint/trained-on" \
    python/lenet_cpp ! -type d ! -name '*.pyc' -newer build/verify.json 2>/dev/null || true)
if [ -f build/verify.json ] && [ -z "$newer" ]; then
    skip 10 compare
else
    step 10 compare "C++ and Python on every test digit"
    shown "$python" scripts/verify.py --model-dir "$model" --params "$checkpoint/lenet.pdparams" \
        ${data_dir:+--data-dir "$data_dir"} --report build/verify.json ||
        { rm -f build/verify.json; stop 1 "step 'compare' failed: C++ and Python differ; scripts/verify.py --layers says where"; }
fi

print_times
"$python" - <<'END'
import json
from pathlib import Path

predict, verify = (json.loads(Path(f"build/{name}.json").read_text()) for name in ("predict", "verify"))
trained = json.loads(Path("checkpoints/lenet/lenet.train.json").read_text())["data"]
kinds = {"sample": "the sample in data/mnist_sample", "full": "the whole MNIST", "other": "your own files"}
accuracy = {route: f"{100 * found['fraction']:.2f} %" for route, found in verify["accuracy"].items()}
images = verify["images"]
latency = predict["latency"]
print(f"""
Done.
  model     inference_model/lenet/lenet.pdmodel, .json, .pdiparams; trained in checkpoints/lenet
  data      {trained["train_images"]:,} digits to train on, of {kinds[trained["kind"]]}
  program   build/lenet_infer_test, engine {predict["engine"]}; build/lenet_infer_native, without Paddle
  Python    .venv/bin/python, package lenet_cpp
  accuracy  C++ {accuracy["C++ program"]}, Python {accuracy["dygraph"]} of {images:,} test digits
  largest difference between C++ and Python {verify["share_of_tolerance"] * verify["tolerance"]:.1e} of the largest output, {100 * verify["share_of_tolerance"]:.0f} % of the tolerance; {verify["equal_predictions"]:,} equal predictions
  latency   median {latency["median_ms"]:.4f} ms, p99 {latency["p99_ms"]:.4f} ms a digit (engine {predict["engine"]}, {predict["threads"]} thread)

Next:
  ./build/lenet_classify inference_model/lenet --topk=1 examples/photos
  .venv/bin/lenet-cpp predict inference_model/lenet examples/photos --topk 1
  ./build/lenet_infer_test --model_file=inference_model/lenet/lenet.pdmodel --params_file=inference_model/lenet/lenet.pdiparams
  ./test.sh""")
END
