"""The programs and the library for Windows, run in Wine beside those of this machine.

``nox -s windows`` builds them and runs these tests and the C++ tests; ``LENET_TEST_WINDOWS=1`` is
for what is built already (``python -m tools.windows``). Otherwise they are skipped.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

import lenet_cpp
from quantized_models import lenet_in_int8
from shared_models import exported
from snippets import printed_by

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "windows"
WINE = shutil.which("wine64", path=f"{os.environ['PATH']}:/usr/lib/wine")
TARGET = "x86_64-w64-mingw32"
NETWORKS = {
    "resnet18": 64,
    "MobileNetV1": 64,
    "MobileNetV2": 64,
    "MobileNetV3_small": 64,
    "squeezenet1_1": 64,
    "ShuffleNetV2": 64,
    "densenet121": 64,
    "vgg11": 32,
}
SETS = ("scalar", "sse42", "avx2", "avx512", "avx512vnni")
NAME = "münchen 模型"
SYSTEM = {"KERNEL32.dll", "msvcrt.dll", "SHELL32.dll"}
LOADS = """
#include <lenet/c_api.h>
#include <stdio.h>
#include <string.h>

/* Loads the models that standard input names, and prints a line of status for each. */
int main(void) {
  char line[4096];
  while (fgets(line, sizeof line, stdin) != NULL) {
    line[strcspn(line, "\\r\\n")] = 0;
    lenet_error error;
    lenet_predictor* predictor = NULL;
    lenet_config* config = lenet_config_create();
    lenet_status status = lenet_config_set(config, "engine", "native", &error);
    if (status == LENET_OK) status = lenet_config_set(config, "model_file", line, &error);
    if (status == LENET_OK) status = lenet_predictor_create(config, &predictor, &error);
    printf("%s: %d %s\\n", line, (int)status, status == LENET_OK ? "" : error.message);
    lenet_predictor_free(predictor);
    lenet_config_free(config);
  }
  return 0;
}
"""

RUNS = """
#include <lenet/c_api.h>
#include <stdio.h>

/* Runs the model that standard input names, in the engine of that name, on an image of ones. */
int main(int argc, char** argv) {
  char path[4096] = {0};
  float ones[3 * 8 * 8];
  const int64_t shape[] = {1, 3, 8, 8};
  for (int i = 0; i < 3 * 8 * 8; ++i) ones[i] = 1;
  fread(path, 1, sizeof path - 1, stdin);
  lenet_error error;
  lenet_output output;
  lenet_predictor* predictor = NULL;
  lenet_config* config = lenet_config_create();
  lenet_status status = lenet_config_set(config, "engine", argv[argc - 1], &error);
  if (status == LENET_OK) status = lenet_config_set(config, "model_file", path, &error);
  if (status == LENET_OK) status = lenet_predictor_create(config, &predictor, &error);
  const lenet_input input = {.data = ones, .shape = shape, .rank = 4};
  if (status == LENET_OK) status = lenet_predictor_run(predictor, &input, &output, &error);
  if (status != LENET_OK) printf("%s\\n", error.message);
  for (size_t i = 0; status == LENET_OK && i < output.size; ++i) printf("%.6f\\n", output.data[i]);
  return status;
}
"""


@pytest.fixture(scope="module")
def wine(tmp_path_factory):
    """Run a program of Windows: what it printed on both, as bytes, and its status."""
    if os.environ.get("LENET_TEST_WINDOWS") != "1":
        pytest.skip("not compiled for Windows: nox -s windows, or LENET_TEST_WINDOWS=1")
    if WINE is None:
        pytest.skip("no wine64: apt-get install wine64")
    environment = os.environ | {"WINEDEBUG": "-all", "LC_ALL": "C.UTF-8"}
    environment["HOME"] = str(tmp_path_factory.mktemp("wine"))

    def run(program, *arguments, **more):
        variables = environment | more.pop("env", {})
        command = [WINE, str(program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, check=False, env=variables, **more)
        done.stderr = b"".join(
            line for line in done.stderr.splitlines(True) if not line.startswith(b"wine: ")
        )
        return done

    run.environment = environment
    assert run(BUILD / "lenet_infer_native.exe", "--version").returncode == 0
    return run


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")

    def make(*shape):
        path = folder / f"{'x'.join(map(str, shape))}.npy"
        np.save(path, np.random.default_rng(1).random(shape, dtype=np.float32))
        return path

    return make


# Paddle's own MobileNetV3 multiplies in a way that Paddle warns of.
@pytest.mark.filterwarnings("ignore:(?s).*behavior of expression:DeprecationWarning")
@pytest.mark.parametrize("network", ["lenet", "int8", *NETWORKS])
def test_gives_the_bits_of_linux(wine, run_program, program, model_dir, images, network):
    size = NETWORKS.get(network)
    if size is None:
        path = lenet_in_int8() if network == "int8" else model_dir / "lenet.json"
        given = images(33, 1, 28, 28)
    else:
        path = exported(network, 10, size) / "inference.pdmodel"
        given = images(3, 3, size, size)
    ours = program.with_name("lenet_infer_native")
    known = run_program("--version", program=ours).stdout
    output = given.with_name("out.npy")
    options = [f"--model_file={path}", f"--input={given}", f"--output={output}"]
    if network == "int8":
        options.append("--precision=int8")
    compared = 0
    for name in SETS:
        for threads in (1, 2):
            variables = {"LENET_NATIVE_ISA": name}
            arguments = (*options, f"--threads={threads}")
            done = run_program(*arguments, program=ours, env=variables)
            if "has no" in done.stderr:  # this processor
                continue
            assert done.returncode == 0, done.stderr
            expected = output.read_bytes()
            output.unlink()
            found = wine(BUILD / "lenet_infer_native.exe", *arguments, env=variables)
            assert found.returncode == 0, found.stderr
            assert output.read_bytes() == expected, (name, threads)
            compared += 1
    assert compared >= 4, known


@pytest.mark.parametrize("name", [NAME, "/".join(["long" * 30] * 3)], ids=["unicode", "long"])
def test_a_picture_in_a_folder_of_any_name(wine, run_program, program, model_dir, tmp_path, name):
    folder = tmp_path / name
    shutil.copytree(model_dir, folder)
    photos = sorted((ROOT / "examples" / "photos").glob("*.jpg"))
    pictures = [folder / f"ñ{i}.jpg" for i in range(len(photos))]
    for photo, picture in zip(photos, pictures, strict=True):
        shutil.copy(photo, picture)
    arguments = (f"--model_dir={folder}", "--format=json", *pictures)
    done = run_program(*arguments, program=program.with_name("lenet_classify"))
    found = wine(BUILD / "lenet_classify.exe", *arguments)
    assert (found.returncode, found.stderr.decode()) == (0, "")
    assert json.loads(found.stdout) == json.loads(done.stdout)
    assert b"\r" not in found.stdout
    by_folder = wine(BUILD / "lenet_classify.exe", f"--model_dir={folder}", "--format=json", folder)
    assert json.loads(by_folder.stdout) == json.loads(done.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--model_dir=no such folder",),
        ("--model_dir={model}", "--preprocess=nothing.json", "x.png"),
        ("--model_dir={model}", "damaged.png"),
        ("--model_dir={model}", "--treads=2", "damaged.png"),
        ("--model_dir={model}", "--engine=paddle", "damaged.png"),
    ],
    ids=str,
)
def test_bad_input_is_told_as_on_linux(wine, run_program, program, model_dir, tmp_path, arguments):
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nand then nothing")
    shutil.copytree(model_dir, tmp_path / "lenet")
    given = [argument.format(model="lenet") for argument in arguments]
    done = run_program(*given, program=program.with_name("lenet_classify"), cwd=tmp_path)
    found = wine(BUILD / "lenet_classify.exe", *given, cwd=tmp_path)
    if "--engine=paddle" in given:
        assert b"this build has no paddle engine" in found.stderr
        return
    assert done.returncode != 0
    assert found.returncode == done.returncode
    assert found.stderr.decode() == done.stderr


def test_what_cannot_be_written_leaves_nothing(wine, model_dir, images, tmp_path):
    program = BUILD / "lenet_infer_native.exe"
    arguments = (f"--model_dir={model_dir}", f"--input={images(2, 1, 28, 28)}")
    done = wine(program, *arguments, f"--output={tmp_path / 'none' / 'y.npy'}")
    assert done.returncode == 3
    assert b"cannot write" in done.stderr
    whole = tmp_path / "y.npy"
    whole.write_bytes(b"before")
    assert wine(program, *arguments, f"--output={whole}").returncode == 0
    assert np.load(whole).shape == (2, 10)
    assert list(tmp_path.iterdir()) == [whole]


def test_ctrl_c_leaves_nothing(wine, model_dir, tmp_path):
    """Closing the console is not tried: Wine lets SIGHUP end the program."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    photo = shutil.copy(next((ROOT / "examples" / "photos").glob("*.jpg")), pictures)
    for i in range(5000):
        os.link(photo, pictures / f"{i}.jpg")
    output = tmp_path / "out.json"
    arguments = (f"--model_dir={model_dir}", f"--output={output}", "--format=json", pictures)
    ours, theirs = os.openpty()
    command = ["setsid", "--ctty", WINE, BUILD / "lenet_classify.exe", *arguments]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=wine.environment
    )
    os.close(theirs)
    with process, contextlib.suppress(OSError):  # the other end is closed
        while b"\x1b" not in os.read(ours, 4096):  # of the progress bar
            pass
        os.write(ours, b"\x03")
        while os.read(ours, 4096):
            pass
    os.close(ours)
    assert process.returncode == 130
    assert [*tmp_path.iterdir()] == [pictures]


def mutants(model_dir, folder, count):
    """Write damaged models into a folder. Return their names."""
    random = np.random.default_rng(51)
    names = []
    for i in range(count):
        suffix = ("json", "pdmodel")[i % 2]
        name = f"m{i}"
        for part in (suffix, "pdiparams"):
            held = bytearray((model_dir / f"lenet.{part}").read_bytes())
            if (part == "pdiparams") == (i % 5 == 0):
                for at in random.integers(len(held), size=random.integers(1, 9)):
                    held[at] = random.integers(256)
                if i % 7 == 0:
                    del held[random.integers(len(held)) :]
            (folder / f"{name}.{part}").write_bytes(held)
        names.append(f"{name}.{suffix}")
    return names


@pytest.fixture(scope="module")
def compile_c(wine, program, tmp_path_factory):
    """Compile a C program for both systems, against the library of each."""
    folder = tmp_path_factory.mktemp("c")
    shutil.copy(BUILD / "lenet.dll", folder)
    include = f"-I{ROOT / 'cpp' / 'include'}"

    def compile_both(source):
        ours, theirs = folder / source.stem, folder / f"{source.stem}.exe"
        library = (f"-L{program.parent}", "-llenet", f"-Wl,-rpath,{program.parent}")
        printed_by("cc", "-std=c99", include, source, "-o", ours, *library)
        compiler = f"{TARGET}-gcc-posix"
        printed_by(compiler, "-std=c99", include, source, BUILD / "lenet.lib", "-o", theirs)
        return ours, theirs

    return compile_both


def test_damaged_models_are_refused_alike(wine, compile_c, model_dir, tmp_path):
    source = tmp_path / "loads.c"
    source.write_text(LOADS)
    ours, theirs = compile_c(source)
    names = mutants(model_dir, tmp_path, 2000)
    given = "\n".join(names).encode()
    done = subprocess.run([ours], input=given, capture_output=True, check=True, cwd=tmp_path)
    found = wine(theirs, input=given, cwd=tmp_path)
    assert found.returncode == 0
    lines = found.stdout.replace(b"\r", b"").splitlines()
    assert lines == done.stdout.splitlines()
    refused = sum(b": 4 " in line for line in lines)
    assert len(lines) == 2000
    assert 500 < refused < 2000


def test_the_example_in_c_links_to_the_library(wine, compile_c, model_dir):
    ours, theirs = compile_c(ROOT / "examples" / "c_consumer" / "classify.c")
    photos = sorted((ROOT / "examples" / "photos").glob("*.jpg"))
    expected = printed_by(ours, model_dir, *photos)
    found = wine(theirs, model_dir, *photos)
    assert found.returncode == 0, found.stderr
    assert found.stdout.decode().replace("\r", "") == expected
    assert expected.count("class") >= 4 * len(photos)


def test_the_library_opens_onnxruntime(wine, compile_c, tmp_path):
    """The programs have the native engine alone, as all that are in one file."""
    wheels = [*(ROOT / "build" / "windows-wheels").glob("onnxruntime-*-win_amd64.whl")]
    if not wheels:
        pytest.skip("no wheel of onnxruntime for Windows: nox -s windows")
    pytest.importorskip("onnx", reason="the model is made with it")
    from onnx_files import model

    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extract("onnxruntime/capi/onnxruntime.dll", tmp_path)
    weights = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = "c = Conv<kernel_shape=[3,3]>(x, w) m = GlobalAveragePool(c) y = Flatten(m)"
    path = tmp_path / f"{NAME}.onnx"
    path.write_bytes(model(nodes, "float[N,3,8,8] x", "float[N,4] y", {"w": weights}))
    source = tmp_path / "runs.c"
    source.write_text(RUNS)
    ours, theirs = compile_c(source)
    library = {"LENET_ONNXRUNTIME_LIBRARY": str(tmp_path / "onnxruntime/capi/onnxruntime.dll")}
    name = os.fsencode(path)
    found = wine(theirs, "onnxruntime", env=library, input=name)
    assert found.returncode == 0, found.stdout
    expected = subprocess.run([ours, "native"], input=name, capture_output=True, check=True).stdout
    assert [*map(float, found.stdout.split())] == pytest.approx([*map(float, expected.split())])
    missing = wine(theirs, "onnxruntime", input=name)
    assert missing.returncode == 6
    assert b"needs the library of that name" in missing.stdout


@pytest.mark.parametrize("language", ["c", "c++"])
def test_the_header_is_for_microsofts_compiler_too(tmp_path, language):
    if shutil.which("clang") is None:
        pytest.skip(
            "no clang, which takes hundreds of MB; it stands for Microsoft's compiler, which there"
            " is on Windows only: apt-get install clang"
        )
    source = tmp_path / "header.c"
    source.write_text("#include <lenet/c_api.h>\nint main(void) { return lenet_version() == 0; }\n")
    options = ("--target=x86_64-pc-windows-msvc", "-fsyntax-only", "-pedantic-errors", "-Werror")
    include = f"-I{ROOT / 'cpp' / 'include'}"
    printed_by("clang", "-x", language, *options, include, source)


def test_the_python_package_says_that_it_is_not_for_windows(tmp_path):
    """As pip shows it there: what it builds is told of the system before all else."""
    given = ("-DLENET_BUILD_PYTHON=ON", "-DCMAKE_HOST_WIN32=ON", "-S", ROOT, "-B", tmp_path)
    done = subprocess.run(["cmake", *given], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "install it in WSL" in done.stderr
    assert "compiler" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["lenet_infer_native.exe", "lenet_classify.exe", "lenet.dll"])
def test_needs_nothing_but_windows(wine, name):
    path = BUILD / name
    text = printed_by(f"{TARGET}-objdump", "-p", path)
    assert set(re.findall(r"DLL Name: (\S+)", text)) == SYSTEM
    _, _, table = text.partition("[Ordinal/Name Pointer] Table")
    exports = set(re.findall(r"^\s*\[ *\d+\] (\w+)$", table.partition("\n\n")[0], re.M))
    header = (ROOT / "cpp/include/lenet/c_api.h").read_text()
    functions = set(re.findall(r"^LENET_API [^;]*?(lenet_\w+)\(", header, re.M))
    assert exports == (functions if name == "lenet.dll" else set())


def test_the_zip_holds_what_the_page_says(wine):
    (path,) = (ROOT / "dist").glob("lenet-*-windows-x86_64.zip")
    with zipfile.ZipFile(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.namelist()}
        sums = archive.read(f"{path.stem}/SHA256SUMS").decode()
    page = (ROOT / "docs" / "windows.md").read_text("utf-8")
    told = re.findall(r"^\| `([^`]+)`", page, re.M)
    assert set(told) <= names
    assert {line.split("  ")[1] for line in sums.splitlines()} == names - {"SHA256SUMS"}
    assert lenet_cpp.__version__ in path.name
