"""The static programs and the archive liblenet.a, linked with musl, beside GCC's of this machine.

``nox -s musl`` builds them for x86-64 and aarch64 and runs these tests; ``LENET_TEST_MUSL=1`` is
for what is built already (``python -m tools.musl``). Otherwise they are skipped.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from onnx_files import model

import lenet_cpp
from lenet_cpp.data import write_idx
from quantized_models import lenet_in_int8
from shared_models import exported
from snippets import printed_by

ROOT = Path(__file__).parents[2]
EMULATOR = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
SETS = {
    "x86_64": ("scalar", "sse42", "avx2", "avx512", "avx512vnni"),
    "aarch64": ("scalar", "neon", "neondotprod"),
}
NETWORKS = {"resnet18": 64, "MobileNetV3_small": 64, "squeezenet1_1": 64}
UNSUPPORTED = 6
# Loads the models that standard input names, in a thread with as small a stack as musl gives one.
THREAD = """
#include <lenet/c_api.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void* load(void* unused) {
  char line[4096];
  while (fgets(line, sizeof line, stdin) != NULL) {
    lenet_error error = {0};
    lenet_predictor* predictor = NULL;
    lenet_config* config = lenet_config_create();
    line[strcspn(line, "\\n")] = 0;
    lenet_status status = lenet_config_set(config, "model_file", line, &error);
    if (status == LENET_OK) status = lenet_predictor_create(config, &predictor, &error);
    printf("%d %s\\n", (int)status, error.message);
    lenet_predictor_free(predictor);
    lenet_config_free(config);
  }
  return unused;
}

int main(void) {
  pthread_t thread;
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 128 * 1024);
  if (pthread_create(&thread, &small, load, NULL) != 0) return 1;
  pthread_join(thread, NULL);
  return 0;
}
"""


@pytest.fixture(scope="module", params=SETS)
def arch(request):
    """A processor that is built for and can be run."""
    if os.environ.get("LENET_TEST_MUSL") != "1":
        # The build takes longer than ./test.sh may, and needs a compiler of 50 MB.
        pytest.skip("not built with musl: nox -s musl, or LENET_TEST_MUSL=1")
    if request.param == "aarch64" and EMULATOR is None:
        # No other program can run what is built for another processor.
        pytest.skip("no qemu-aarch64, which runs what is built for aarch64: qemu-user")
    return request.param


@pytest.fixture
def stage(arch):
    """What is installed, and so in the archive of dist/."""
    return ROOT / "build" / f"musl-{arch}" / "stage"


@pytest.fixture
def run(arch, run_program):
    """Run a program of that processor."""

    def run(program, *arguments, **more):
        command = (program,) if arch == "x86_64" else (EMULATOR, program)
        more = {"timeout": None} | more
        return run_program(*command[1:], *arguments, program=command[0], **more)

    return run


@pytest.fixture
def compiled_by_gcc(arch, run, run_program, program):
    """Run lenet_infer_native as GCC compiled it for the same processor."""
    if arch == "x86_64":
        return partial(run_program, program=program.with_name("lenet_infer_native"))
    theirs = ROOT / "build" / "aarch64" / "lenet_infer_native"
    if not theirs.exists():
        # The expected bits are those of GCC, and only its cross compiler, a package of the system,
        # makes a program for another processor. nox -s musl builds it where that is installed.
        pytest.skip("only g++-aarch64-linux-gnu makes GCC's program for aarch64 to compare with")
    return partial(run, "-L", "/usr/aarch64-linux-gnu", theirs)


@pytest.mark.filterwarnings("ignore:(?s).*behavior of expression:DeprecationWarning")
@pytest.mark.parametrize("network", ["lenet", "int8", "softmax", *NETWORKS])
def test_gives_the_bits_of_gcc(arch, stage, run, compiled_by_gcc, model_dir, tmp_path, network):
    size = NETWORKS.get(network)
    if network == "softmax":  # whose expf is the C library's
        pytest.importorskip("onnx", reason="the model is made with it")
        path, shape = tmp_path / "softmax.onnx", (33, 10, 10, 10)
        nodes = "f = Flatten(x) y = Softmax<axis=1>(f)"
        path.write_bytes(model(nodes, "float[N,10,10,10] x", "float[N,1000] y", {}))
    elif size is None:
        path = lenet_in_int8() if network == "int8" else model_dir / "lenet.json"
        shape = (33, 1, 28, 28)
    else:
        path = exported(network, 10, size) / "inference.pdmodel"
        shape = (3, 3, size, size)
    given, output = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(given, np.random.default_rng(1).random(shape, dtype=np.float32))
    options = [f"--model_file={path}", f"--input={given}", f"--output={output}"]
    if network == "int8":
        options.append("--precision=int8")
    compared = 0
    for name in SETS[arch]:
        for threads in (1, 2):
            variables = {"LENET_NATIVE_ISA": name}
            arguments = (*options, f"--threads={threads}")
            done = compiled_by_gcc(*arguments, env=variables, timeout=None)
            if done.returncode == UNSUPPORTED and "has no" in done.stderr:  # this processor
                continue
            assert done.returncode == 0, done.stderr
            expected = output.read_bytes()
            output.unlink()
            found = run(stage / "bin" / "lenet_infer_native", *arguments, env=variables)
            assert found.returncode == 0, found.stderr
            assert output.read_bytes() == expected, (name, threads)
            compared += 1
    assert compared >= 4


@pytest.fixture
def root_of_busybox(arch, stage, model_dir, tmp_path):
    """A folder with busybox, the programs, the model and photos, and nothing of a C library."""
    if arch != "x86_64":
        # The root has no C library, which is what the test is about.
        pytest.skip("the emulator is a program of this machine's C library")
    busybox = shutil.which("busybox")
    # Busybox brings the commands of the root, which must have no C library.
    if busybox is None or "statically" not in printed_by("file", "-L", busybox):
        pytest.skip("no static busybox, and with another the root would have a C library")
    root = tmp_path / "root"
    for place in ("bin", "tmp"):
        (root / place).mkdir(parents=True)
    shutil.copy(busybox, root / "bin")
    for program in (stage / "bin").iterdir():
        shutil.copy(program, root / "bin")
    shutil.copytree(model_dir, root / "lenet")
    shutil.copytree(ROOT / "examples" / "photos", root / "photos")
    inside = ("unshare", "--user", "--map-root-user", "chroot", str(root))
    if subprocess.run([*inside, "/bin/busybox", "true"], check=False).returncode != 0:
        # Only the system's administrator can allow it.
        pytest.skip("this system lets nobody make a root of his own (unshare --user)")
    return inside


def test_runs_where_there_is_nothing_else(root_of_busybox, run_program, program, model_dir):
    photos = sorted((ROOT / "examples" / "photos").glob("*.jpg"))
    names = [f"/photos/{path.name}" for path in photos]
    arguments = ("--model_dir=/lenet", "--format=json", "--threads=2", *names)
    found = json.loads(printed_by(*root_of_busybox, "/bin/lenet_classify", *arguments))
    ours = program.with_name("lenet_classify")
    done = run_program(f"--model_dir={model_dir}", "--format=json", *photos, program=ours)
    text = done.stdout.replace(f"{photos[0].parent}/", "/photos/")
    assert found == json.loads(text.replace(str(model_dir), "/lenet"))
    printed = printed_by(*root_of_busybox, "/bin/lenet_infer_native", "--model_dir=/lenet")
    assert "logits" in printed
    assert lenet_cpp.__version__ in printed_by(*root_of_busybox, "/bin/lenet_serve", "--version")


@pytest.mark.parametrize("engine", ["paddle", "onnxruntime"])
def test_opens_no_engine(stage, run, model_dir, engine, tmp_path):
    path = model_dir / "lenet.json"
    if engine == "onnxruntime":
        pytest.importorskip("onnx", reason="the model is made with it")
        path = tmp_path / "model.onnx"
        path.write_bytes(model("y = Flatten(x)", "float[N,3,8,8] x", "float[N,192] y", {}))
    for name in ("lenet_classify", "lenet_infer_native"):
        arguments = (f"--model_file={path}", f"--engine={engine}")
        photo = (ROOT / "examples" / "photos" / "7-shadow.jpg",) if "classify" in name else ()
        done = run(stage / "bin" / name, *arguments, *photo)
        assert done.returncode == UNSUPPORTED, done.stderr
        assert f"has no {engine} engine" in done.stderr


def test_needs_no_library(stage):
    for path in (stage / "bin").iterdir():
        assert "NEEDED" not in printed_by("readelf", "-d", path)
        assert "INTERP" not in printed_by("readelf", "-lW", path)


@pytest.fixture
def compile_c(arch, stage, tmp_path):
    """Compile a C program with the archive, by pkg-config."""

    def compile_it(source):
        environment = os.environ | {"PKG_CONFIG_PATH": str(stage / "lib" / "pkgconfig")}
        command = ("pkg-config", "--static", "--cflags", "--libs", "lenet")
        options = printed_by(*command, env=environment).split()
        compiler = ROOT / "build" / f"musl-{arch}" / "zig" / "cc"
        program = tmp_path / source.stem
        printed_by(compiler, "-std=c99", source, *options, "-o", program)
        return program

    return compile_it


def test_a_program_in_c(stage, run, compile_c, model_dir):
    program = compile_c(ROOT / "examples" / "c_consumer" / "classify.c")
    photos = sorted((ROOT / "examples" / "photos").glob("*.jpg"))
    found = run(program, model_dir, *photos)
    assert (found.returncode, found.stderr) == (0, "")
    expected = run(stage / "bin" / "lenet_classify", f"--model_dir={model_dir}", *photos)
    classes = r"(\d\.\d+)\s+class (\d)"
    assert re.findall(classes, found.stdout) == re.findall(classes, expected.stdout)
    assert len(re.findall(classes, found.stdout)) == 5 * len(photos)


def test_a_program_in_cpp(arch, stage, run, model_dir, mnist_test, digits, tmp_path):
    toolchain = ROOT / "cmake" / "toolchains" / f"{arch}-linux-musl.cmake"
    where = ("-S", ROOT / "examples" / "cmake_consumer", "-B", tmp_path / "build", "-GNinja")
    options = (f"-DCMAKE_TOOLCHAIN_FILE={toolchain}", f"-DPython3_EXECUTABLE={sys.executable}")
    printed_by("cmake", *where, *options, f"-DCMAKE_PREFIX_PATH={stage}")
    printed_by("cmake", "--build", tmp_path / "build")
    write_idx(tmp_path / "images.idx", mnist_test.images[:200])
    done = run(tmp_path / "build" / "classify", model_dir, tmp_path / "images.idx")
    assert (done.returncode, done.stderr) == (0, "")
    expected = lenet_cpp.predict(digits[:200]).argmax(axis=1).tolist()
    assert list(map(int, done.stdout.split())) == expected


def test_deep_files_in_a_thread_of_musl(run, compile_c, model_dir, tmp_path):
    """What nests as deep as readers follow, and deeper, overflows no stack of 128 kB."""
    source = tmp_path / "thread.c"
    source.write_text(THREAD)
    program = compile_c(source)
    text = (model_dir / "lenet.json").read_text()
    names = [str(model_dir / "lenet.json"), str(model_dir / "lenet.pdmodel")]
    for depth in (20, 60, 100, 1000, 100_000):
        deep = tmp_path / f"deep{depth}.json"
        deep.write_text(text.rstrip()[:-1] + ', "more": ' + "[" * depth + "]" * depth + "}")
        shutil.copy(model_dir / "lenet.pdiparams", deep.with_suffix(".pdiparams"))
        graph = b""
        for _ in range(min(depth, 1000)):
            # GraphProto.node (1): NodeProto.attribute (5): AttributeProto.g (6).
            for field in (6, 5, 1):
                graph = bytes([field << 3 | 2]) + varint(len(graph)) + graph
        onnx = tmp_path / f"deep{depth}.onnx"
        onnx.write_bytes(bytes([7 << 3 | 2]) + varint(len(graph)) + graph)
        names += [str(deep), str(onnx)]
    done = run(program, input="\n".join(names))
    assert (done.returncode, done.stderr) == (0, "")
    status = [int(line.split()[0]) for line in done.stdout.splitlines()]
    assert len(status) == len(names)
    assert status[:2] == [0, 0]
    assert set(status[3::2]) <= {4, UNSUPPORTED}


def varint(number):
    """Return an integer as protobuf writes it."""
    held = bytearray()
    while number >= 0x80:
        held.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*held, number])


def test_the_archive_holds_what_is_installed(arch, stage, tmp_path):
    path = ROOT / "dist" / f"lenet-{lenet_cpp.__version__}-linux-musl-{arch}.tar.gz"
    names = set(printed_by("tar", "-tf", path).split())
    top = path.name.removesuffix(".tar.gz")
    files = {f"{top}/{file.relative_to(stage)}" for file in stage.rglob("*") if file.is_file()}
    assert names == files | {f"{top}/SHA256SUMS"}
    programs = {"lenet_classify", "lenet_infer_native", "lenet_serve"}
    assert {f"{top}/bin/{name}" for name in programs} | {f"{top}/lib/liblenet.a"} <= names
    notes = {"libjpeg-turbo", "libpng1.6", "libwebp", "libyaml", "zlib", "musl", "libc++"}
    assert {name.rsplit("/", 1)[1] for name in names if "/licenses/" in name} == notes
    printed_by("tar", "-xf", path, "-C", tmp_path)
    sums = printed_by("sha256sum", "--check", "SHA256SUMS", cwd=tmp_path / top)
    assert sums.count(": OK\n") == len(files)
    for name in programs:
        assert os.access(tmp_path / top / "bin" / name, os.X_OK)
