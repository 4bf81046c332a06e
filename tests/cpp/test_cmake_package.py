"""The library for others: what it exports; installed, moved, found by CMake and pkg-config; in a
project that builds it.
"""

import json
import os
import re
import shutil
import sys
from functools import partial
from pathlib import Path

import cv2
import nlohmann_json
import numpy as np
import onnx
import paddle
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import lenet_cpp
from lenet_cpp.data import write_idx
from snippets import printed_by, read_snippets, run_command


@pytest.fixture
def run_bare(run_program):
    """Run a program with an empty PATH and nothing of Python's."""
    return partial(run_program, env={"PATH": ""}, cwd="/")


@pytest.fixture(scope="module")
def prefix(root, program, tmp_path_factory):
    """The installed package, moved after it was installed."""
    folder = tmp_path_factory.mktemp("package")
    printed_by("cmake", "--install", program.parent, "--prefix", folder / "first")
    (folder / "first").rename(folder / "moved")
    return folder / "moved"


def build_in_cpp(root, prefix, folder, wanted=""):
    """Build the example with CMake."""
    source = shutil.copytree(root / "examples" / "cmake_consumer", folder / "source")
    lists = source / "CMakeLists.txt"
    lists.write_text(lists.read_text().replace("(lenet ", f"(lenet {wanted} "))
    flags = "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror -fvisibility=hidden"
    where = ("-S", source, "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    printed_by("cmake", *where, flags)
    printed_by("cmake", "--build", folder / "build")
    return folder / "build" / "classify"


def build_in_c(root, prefix, folder):
    """Build the example in C as its page does."""
    example = Path(shutil.copytree(root / "examples" / "c_consumer", folder / "source"))
    commands = re.findall(r"^    ((?:library=|cc ).*)", (example / "README.md").read_text(), re.M)
    assert len(commands) == 2
    (found,) = prefix.rglob("lenet.pc")
    script = "; ".join(commands) + " -Wall -Wextra -pedantic -Werror"
    printed_by(
        "sh", "-euc", script, cwd=example, env=os.environ | {"PKG_CONFIG_PATH": str(found.parent)}
    )
    return example / "classify"


BUILDS = {"C++": build_in_cpp, "C": build_in_c}


@pytest.fixture(scope="module")
def images(mnist_test, tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "images.idx"
    write_idx(path, mnist_test.images[:200])
    return path


@pytest.fixture(scope="module")
def files(mnist_test, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for i, image in enumerate(mnist_test.images[:20]):
        Image.fromarray(image).save(folder / f"{i:02}.png")
    return sorted(folder.iterdir())


def classes_of(build, consumer, model_dir, images, files, run_bare):
    """Return what a consumer finds: in C of files, five classes each, of which the first counts."""
    given = files if build is build_in_c else [images]
    result = run_bare(model_dir, *given, program=consumer)
    assert (result.returncode, result.stderr) == (0, "")
    if build is build_in_cpp:
        return list(map(int, result.stdout.split()))
    return list(map(int, re.findall(r"class (\d)", result.stdout)[::5]))


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_consumer(build, root, prefix, run_bare, model_dir, images, files, digits, tmp_path):
    consumer = build(root, prefix, tmp_path)
    found = classes_of(build, consumer, model_dir, images, files, run_bare)
    assert len(found) in {20, 200}
    assert found == lenet_cpp.predict(digits[: len(found)]).argmax(axis=1).tolist()
    result = run_bare(tmp_path / "nowhere", images, program=consumer)
    assert (result.returncode, result.stdout) == (3, "")
    (line,) = result.stderr.splitlines()
    assert "there is no model" in line
    assert "nowhere'" in line
    (tmp_path / "lenet.pdmodel").write_bytes(b"damaged")
    (tmp_path / "lenet.pdiparams").write_bytes(b"damaged")
    assert run_bare(tmp_path, images, program=consumer).returncode == 4
    assert run_bare(program=consumer).returncode == 2


# Enough of OpenCV for the program on the page: a picture in BGR, in rows of more bytes than pixels.
OPENCV = """#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>
namespace cv {
struct MatStep { std::size_t bytes; operator std::size_t() const { return bytes; } };
struct Mat { std::vector<std::uint8_t> memory; std::uint8_t* data; int rows, cols; MatStep step; };
inline Mat imread(const std::string& path) {
  Mat mat{std::vector<std::uint8_t>(ROWS * STEP), nullptr, ROWS, COLUMNS, {STEP}};
  mat.data = mat.memory.data();
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (std::fread(mat.data, 1, ROWS * STEP, file) != ROWS * STEP) mat.rows = 0;
  std::fclose(file);
  return mat;
}
}
"""


def opencv_flags():
    found = run_command("pkg-config", "--cflags", "--libs", "opencv4")
    if found.returncode != 0:
        pytest.skip(
            "OpenCV takes hundreds of MB that nothing else here needs, so that nightly installs it:"
            " apt-get install libopencv-dev"
        )
    return found.stdout.replace("-I", "-isystem").split()


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_a_picture_in_memory_gives_what_lenet_classify_gives_for_its_png(
    real, root, prefix, model_dir, tmp_path
):
    (text,) = (
        snippet.text
        for snippet in read_snippets(root / "docs" / "cpp-library.md")
        if "classify_mat.cc" in snippet.text
    )
    image, flags = ("picture.png", opencv_flags()) if real else ("picture.bgr", ["-I."])
    if not real:
        (tmp_path / "opencv2").mkdir()
        (tmp_path / "opencv2" / "opencv.hpp").write_text(OPENCV)
    (tmp_path / "classify_mat.cc").write_text(text)
    (library,) = prefix.rglob("liblenet.so")
    rows, columns, step = 90, 70, 224
    build = ("c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wconversion", "classify_mat.cc")
    sizes = (f"-DROWS={rows}", f"-DCOLUMNS={columns}", f"-DSTEP={step}")
    linked = (f"-I{prefix}/include", library, f"-Wl,-rpath,{library.parent}", "-o", "classify")
    printed_by(*build, *sizes, *linked, *flags, cwd=tmp_path)
    rng = np.random.default_rng(0)
    memory = rng.integers(180, 256, (rows, step), np.uint8)
    picture = memory[:, : 3 * columns].reshape(rows, columns, 3)
    picture[20:70, 30:38] //= 8  # a one
    (tmp_path / "picture.bgr").write_bytes(memory.tobytes())
    Image.fromarray(picture[..., ::-1]).save(tmp_path / "picture.png")
    printed_by(tmp_path / "classify", model_dir, image, "scores.npy", cwd=tmp_path)
    command = (prefix / "bin" / "lenet_classify", f"--model_dir={model_dir}", "--format=json")
    (found,) = json.loads(
        printed_by(*command, "--softmax=false", "--topk=10", "picture.png", cwd=tmp_path)
    )
    expected = np.empty((1, 10), np.float32)
    for one in found["predictions"]:
        expected[0, one["class_id"]] = one["probability"]
    assert np.load(tmp_path / "scores.npy").tobytes() == expected.tobytes()


INFERENCE_YML = """PreProcess:
  transform_ops:
    - ResizeImage: {resize_short: 36}
    - CropImage: {size: 32}
    - NormalizeImage: {scale: 1.0/255.0, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], order: ''}
    - ToCHWImage:
PostProcess:
  main_indicator: Topk
  Topk: {topk: 5, class_id_map_file: ../labels.txt}
"""


@pytest.fixture
def exported(tmp_path):
    """A folder as PaddleClas describes it, of a small network of 8 classes, and a photo."""
    folder = tmp_path / "exported"
    folder.mkdir()
    rng = np.random.default_rng(0)
    weights = numpy_helper.from_array(rng.normal(size=(3072, 8)).astype("f4") / 30, "w")
    value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["f"]),
            helper.make_node("MatMul", ["f", "w"], ["z"]),
            helper.make_node("Softmax", ["z"], ["y"], axis=1),
        ],
        "network",
        [value("x", shape=["n", 3, 32, 32])],
        [value("y", shape=["n", 8])],
        [weights],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), folder / "m.onnx")
    (folder / "inference.yml").write_text(INFERENCE_YML)
    (folder / "labels.txt").write_text("".join(f"{i} kind {chr(97 + i)}\n" for i in range(8)))
    pixels = rng.integers(0, 256, (50, 80, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return folder, tmp_path / "photo.png"


def test_the_example_in_c_prints_what_lenet_classify_prints(
    root, prefix, run_bare, exported, tmp_path
):
    """A folder of PaddleClas as it is: its resize, its labels, its five classes."""
    folder, image = exported
    found = run_bare(folder, image, program=build_in_c(root, prefix, tmp_path))
    assert (found.returncode, found.stderr) == (0, "")
    lines = found.stdout.splitlines()
    assert len(lines) == 6
    assert re.fullmatch(r"  0\.\d{6}  class (\d)  kind [a-h]", lines[1])
    program = prefix / "bin" / "lenet_classify"
    assert run_bare(f"--model_dir={folder}", image, program=program).stdout == found.stdout


@pytest.mark.nightly
def test_the_example_with_opencv(root, prefix, exported, tmp_path):
    """Frames of a film, decoded by OpenCV, get what lenet_classify gives for them as PNG files."""
    folder, _ = exported
    flags = opencv_flags()
    rng = np.random.default_rng(1)
    writer = cv2.VideoWriter(
        str(tmp_path / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48)
    )
    for _ in range(4):
        writer.write(cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (64, 48)))
    writer.release()
    (library,) = prefix.rglob("liblenet.so")
    source = root / "examples" / "opencv" / "video.cc"
    linked = (f"-I{prefix}/include", library, f"-Wl,-rpath,{library.parent}", "-o", "video")
    printed_by("c++", "-std=c++17", source, *linked, *flags, cwd=tmp_path)
    labels = printed_by(tmp_path / "video", folder, "film.avi", cwd=tmp_path).splitlines()
    film = cv2.VideoCapture(str(tmp_path / "film.avi"))
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), film.read()[1])
    command = (prefix / "bin" / "lenet_classify", f"--model_dir={folder}", "--topk=1")
    printed = printed_by(*command, *(f"{i}.png" for i in range(4)), cwd=tmp_path)
    expected = re.findall(r"  (0\.\d+)  class \d  (.*)", printed)
    assert labels == [f"{i}\t{label}\t{value}" for i, (value, label) in enumerate(expected)]


def test_the_example_in_c_sharp_declares_what_there_is(root, program):
    """Each function by its name and number of arguments, each struct by its fields."""
    header = re.sub("//.*", "", (root / "cpp/include/lenet/c_api.h").read_text())
    declared = re.sub(r"\[\w+\([^)]*\)\]", "", (root / "examples/csharp/Lenet.cs").read_text())
    functions = re.findall(r"static extern \w+ (lenet_\w+)\(([^)]*)\)", declared)
    assert len(functions) == 8
    for name, arguments in functions:
        known = re.search(rf"\b{name}\(([^)]*)\)", header)[1]
        count = 0 if known == "void" else known.count(",") + 1
        assert (arguments.count(",") + 1 if arguments else 0) == count, name
    for name in ("lenet_prediction", "lenet_result", "lenet_pixels"):
        known = re.search(rf"typedef struct {name} {{(.*?)\n}}", header, re.S)[1]
        fields = re.findall(r"(\w+);", known)
        own = re.search(rf"struct {name}\s*{{(.*?)\n\s*}}", declared, re.S)[1]
        assert re.findall(r"(\w+)(?=[;,])", own) == fields, name


@pytest.mark.nightly
def test_the_example_in_c_sharp(root, prefix, run_bare, exported, tmp_path):
    """By dotnet and by Mono, where they are there."""
    compilers = [each for each in ("dotnet", "mcs") if shutil.which(each)]
    if not compilers:
        pytest.skip(
            "no dotnet and no mcs, which nothing else here needs, so that nightly installs them:"
            " install .NET 8 or later, or mono-mcs and mono-runtime"
        )
    folder, image = exported
    (library,) = prefix.rglob("liblenet.so")
    source = shutil.copytree(root / "examples" / "csharp", tmp_path / "source")
    found = os.environ | {"LD_LIBRARY_PATH": str(library.parent), "DOTNET_NOLOGO": "1"}
    expected = run_bare(f"--model_dir={folder}", image, program=prefix / "bin" / "lenet_classify")
    for compiler in compilers:
        program = ("dotnet", "run")
        if compiler == "mcs":
            printed_by("mcs", "-warnaserror", "-out:classify.exe", "Lenet.cs", cwd=source)
            program = ("mono", "classify.exe")
        printed = printed_by(*program, folder, image, cwd=source, env=found)
        assert printed == expected.stdout, compiler


def files_of(folder, root, library):
    """Return all files, among which are the headers and what CMake looks for."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    headers = {f"include/lenet/{path.name}" for path in (root / "cpp/include/lenet").iterdir()}
    described = {f"{library}/cmake/lenet/lenet-config{more}.cmake" for more in ("", "-version")}
    programs = {"bin/lenet_classify", "bin/lenet_infer_test"}
    assert headers | described | programs | {f"{library}/pkgconfig/lenet.pc"} <= files
    return files


def test_installed_files(root, prefix, run_bare, model_dir):
    (library,) = prefix.rglob("liblenet.so")
    folder = library.parent.relative_to(prefix)
    files = files_of(prefix, root, folder)
    assert f"{folder}/liblenet_paddle.so" in files
    assert not [name for name in files if "paddle_inference_api" in name]
    result = run_bare(f"--model_dir={model_dir}", program=prefix / "bin" / "lenet_infer_test")
    assert (result.returncode, result.stderr) == (0, "")
    assert "logits" in result.stdout


def test_exports_are_those_listed(program, soname):
    """Each public class and function, and nothing else. After a change that is meant:

    nm -DC --defined-only build/liblenet.so | cut -c20- | LC_ALL=C sort -u \\
        >tests/cpp/exported_symbols.txt
    """
    lines = printed_by("nm", "-DC", "--defined-only", program.with_name("liblenet.so")).splitlines()
    found = sorted({line.split(maxsplit=2)[2] for line in lines})
    assert found == Path(__file__).with_name("exported_symbols.txt").read_text().splitlines()
    assert f"{soname}]" in printed_by("readelf", "-d", program.with_name("liblenet.so"))


def test_each_public_declaration_is_exported(root):
    """What is not would be found by the programs here, which are linked with the rest too."""
    for path in (root / "cpp" / "include" / "lenet").iterdir():
        declared = re.findall(r"^(?:class \w+ [:{]|[A-Za-z].*\().*", path.read_text(), re.MULTILINE)
        assert [line for line in declared if not line.startswith("LENET_API ")] == [], path


def test_nothing_refers_to_the_build(program, prefix):
    build = str(program.parent)
    for path in prefix.rglob("*"):
        if path.suffix in {".cmake", ".pc"}:
            assert build not in path.read_text(), path
        elif path.is_file() and path.parent.name != "lenet":  # a program or library
            text = printed_by("readelf", "-d", path)
            found = re.search(r"\(R(?:UN)?PATH\).*\[(.*)\]", text)
            folders = found[1].split(":") if found else []
            # An empty entry would be the folder that the program is started in.
            assert all(folder and not folder.startswith(build) for folder in folders), path


def test_another_version_is_not_accepted(root, prefix, tmp_path):
    with pytest.raises(AssertionError, match=r"compatible\s+with requested version"):
        build_in_cpp(root, prefix, tmp_path, "7.0")


@pytest.fixture(scope="module")
def packages(root, reuse, tmp_path_factory):
    """The folder in which the preset package has written its packages."""
    folder = tmp_path_factory.mktemp("packages")
    presets = json.loads((root / "CMakePresets.json").read_text())["configurePresets"]
    (preset,) = (each for each in presets if each["name"] == "package")
    options = [f"-D{name}={value}" for name, value in preset["cacheVariables"].items()]
    python = f"-DPython3_EXECUTABLE={sys.executable}"
    environment = os.environ | reuse
    printed_by("cmake", "-S", root, "-B", folder, "-GNinja", *options, python, env=environment)
    printed_by("cmake", "--build", folder, "--target", "package", env=environment)
    return folder


@pytest.fixture(scope="module")
def debian_package(packages):
    if not all(map(shutil.which, ("dpkg-deb", "dpkg-shlibdeps", "file"))):
        assert not [*packages.glob("*.deb")]
        pytest.skip(
            "a .deb needs dpkg-dev and file, which no Python package brings and other systems than"
            " Debian lack: apt-get install dpkg-dev file"
        )
    (package,) = packages.glob("*.deb")
    return package


@pytest.fixture(scope="module", params=["tar.gz", "deb"])
def unpacked(request, packages, tmp_path_factory):
    """The folder of bin, include and lib that a package has."""
    folder = tmp_path_factory.mktemp("unpacked")
    if request.param == "tar.gz":
        (archive,) = packages.glob("*.tar.gz")
        printed_by("tar", "-xf", archive, "-C", folder)
        (top,) = folder.iterdir()
        return top
    printed_by("dpkg-deb", "-x", request.getfixturevalue("debian_package"), folder)
    return folder / "usr"


def test_a_package(unpacked, root, soname, run_bare, model_dir, images, files, digits, tmp_path):
    """Its files, and a program that is built with it: in C++ or in C."""
    packed = files_of(unpacked, root, "lib")
    assert {"share/doc/lenet/copyright", "bin/lenet_infer_native"} <= packed
    assert not [name for name in packed if "paddle" in name or "python" in name]
    assert "SONAME" in printed_by("readelf", "-d", unpacked / "lib" / soname)
    licenses = (unpacked / "share/doc/lenet/LICENSES.txt").read_text()
    assert all(name in licenses for name in ("Niels Lohmann", "Boost Software License"))
    build = build_in_c if unpacked.name == "usr" else build_in_cpp
    consumer = build(root, unpacked, tmp_path)
    found = classes_of(build, consumer, model_dir, images, files, run_bare)
    assert found == lenet_cpp.predict(digits[: len(found)]).argmax(axis=1).tolist()
    test = run_bare(f"--model_dir={model_dir}", program=unpacked / "bin" / "lenet_infer_test")
    assert "engine native" in test.stdout


@pytest.mark.nightly
def test_fields_of_the_debian_package(debian_package):
    fields = printed_by("dpkg-deb", "--field", debian_package)
    assert re.search(r"^Package: lenet$", fields, re.M)
    assert re.search(r"^Depends: .*libc6 \(>= 2\.", fields, re.M)
    assert "shlibs" in printed_by("dpkg-deb", "--info", debian_package)
    assert debian_package.name == f"lenet_{lenet_cpp.__version__}_amd64.deb"


@pytest.fixture(scope="module")
def part(root, tmp_path_factory):
    """The example configured with lenet's sources as a part of it, without Python and Paddle."""
    folder = tmp_path_factory.mktemp("part")
    (folder / "json.cmake").write_text(
        "add_library(nlohmann_json::nlohmann_json INTERFACE IMPORTED GLOBAL)\n"
        "target_include_directories(nlohmann_json::nlohmann_json INTERFACE"
        f" {Path(nlohmann_json.__file__).parent}/include)\n"
    )
    consumer = root / "examples" / "cmake_consumer"
    printed_by(
        *("cmake", "-S", consumer, "-B", folder / "build", "-GNinja"),
        f"-DCMAKE_PROJECT_classify_INCLUDE={folder / 'json.cmake'}",
        *(f"-DLENET_SOURCE_DIR={root}", "-DCMAKE_DISABLE_FIND_PACKAGE_Python3=ON"),
        "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON",
    )
    return folder / "build"


def test_a_project_around_it_keeps_its_settings(part):
    commands = json.loads((part / "compile_commands.json").read_text())
    (main,) = (one["command"] for one in commands if one["file"].endswith("consumer/main.cc"))
    assert not re.search(r" -(O|W|fvis)|cpp/src", main)
    compiled = {Path(one["file"]).name for one in commands}
    assert "native_engine.cc" in compiled
    assert not {"lenet_infer_test.cc", "paddle_engine.cc", "module.cc"} & compiled
    cache = (part / "CMakeCache.txt").read_text()
    assert "CMAKE_BUILD_TYPE:STRING=\n" in cache
    # Options begin with LENET_; where to look for another library is a folder.
    ours = re.findall(r"^(?!CMAKE_)(\w+):(?:BOOL|STRING|PATH)=", cache, re.MULTILINE)
    assert [name for name in ours if not re.fullmatch(r"LENET_\w+|\w+_DIR", name)] == []
    installed = printed_by("cmake", "--install", part, "--prefix", part / "prefix")
    assert "lenet" not in installed.replace(str(part), "")


@pytest.mark.nightly
def test_a_project_builds_it(part, run_bare, model_dir, images):
    printed_by("cmake", "--build", part)
    result = run_bare(model_dir, images, program=part / "classify")
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.split()) == 200


def official_archive(library, folder):
    """Lay a library out as Paddle's own archive: with headers that include each other.

    The declarations are ours and the libraries the wheel's: no package index has the archive.
    """
    text = (library / "paddle" / "include" / "paddle_inference_api.h").read_text()
    start, rest = text.split("namespace phi {")
    config, rest = rest.split("namespace paddle_infer {")
    tensor, predictor = rest.split("using OutputTensorHookFunc")
    inner = "\nnamespace paddle_infer {\n"
    headers = {
        "paddle_analysis_config.h": f"{start}namespace phi {{{config}",
        "paddle_tensor.h": f'#pragma once\n#include "paddle_analysis_config.h"{inner}{tensor}}}\n',
        "paddle_inference_api.h": '#pragma once\n#include "paddle_tensor.h"\n'
        f"{inner}using OutputTensorHookFunc{predictor}",
    }
    for place in ("paddle/include", "paddle/lib"):
        (folder / place).mkdir(parents=True)
    for name, content in headers.items():
        (folder / "paddle" / "include" / name).write_text(content)
    real = (library / "paddle" / "lib" / "libpaddle.so").resolve()
    for name in (real.name, "libpaddle_inference.so"):
        (folder / "paddle" / "lib" / name).symlink_to(real)
    (folder / "paddle" / "libs").symlink_to((library / "paddle" / "libs").resolve())
    shutil.copy(library / "version.txt", folder)
    return folder


@pytest.mark.nightly
def test_the_headers_of_an_archive(root, reuse, run_program, model_dir, images, tmp_path):
    """Its headers are those that are compiled, and the results the same bits."""
    archive = official_archive(root / "third_party" / "paddle_inference", tmp_path / "archive")
    if launcher := reuse.get("CMAKE_CXX_COMPILER_LAUNCHER"):
        # The plug-in, and what opens Paddle's library by its name.
        anew = 'case $object in */lenet_paddle.dir/* | */plugin_loader.cc.o) exec "$@" ;; esac'
        anew += "\n# A wheel"
        ours = tmp_path / "launcher"
        ours.write_text(Path(launcher).read_text().replace("# A wheel", anew))
        ours.chmod(0o755)
        reuse = reuse | {"CMAKE_CXX_COMPILER_LAUNCHER": str(ours)}
    build, environment = tmp_path / "build", os.environ | reuse
    options = (f"-DPADDLE_INFERENCE_DIR={archive}", "-DLENET_WEB=OFF", "-DLENET_SERVE=OFF")
    printed_by("cmake", "-S", root, "-B", build, "-G", "Ninja", *options, env=environment)
    targets = ("lenet_infer_test", "lenet_paddle", "lenet_python_stubs")
    printed_by("cmake", "--build", build, "--target", *targets, env=environment)
    compiled = printed_by("ninja", "-C", build, "-t", "deps")
    assert all(
        str(archive / "paddle" / "include" / name) in compiled
        for name in ("paddle_inference_api.h", "paddle_analysis_config.h")
    )
    assert "cpp/compat/paddle_inference_api.h" not in compiled
    arguments = (f"--model_dir={model_dir}", f"--input={images}", "--engine=paddle")
    outputs = []
    for number, program in enumerate((build / "lenet_infer_test", None)):
        target = tmp_path / f"{number}.npy"
        chosen = {"program": program} if program else {}
        done = run_program(*arguments, f"--output={target}", **chosen)
        assert (done.returncode, done.stderr) == (0, "")
        outputs.append(np.load(target))
    np.testing.assert_array_equal(*outputs)


def test_paddles_own_interface(root, program, model_dir, tmp_path):
    """The example without this project's library, as its page builds it, against Python."""
    page = (root / "examples" / "paddle_api" / "README.md").read_text()
    commands = "\n".join(re.findall(r"^    (.*)", page, re.M))
    assert commands.count("../../") == 4
    shutil.copy(root / "examples" / "paddle_api" / "predict.cc", tmp_path)
    places = {"../../build": program.parent, "../../third_party": root / "third_party"}
    for place, path in (places | {"../../inference_model/lenet": model_dir}).items():
        commands = commands.replace(place, str(path))
    script = commands.replace("-std=c++17", "-std=c++17 -Wall -Wextra -Werror")
    lines = printed_by("sh", "-euc", script, cwd=tmp_path, env={"PATH": os.environ["PATH"]})
    config = paddle.inference.Config(
        str(model_dir / "lenet.pdmodel"), str(model_dir / "lenet.pdiparams")
    )
    config.disable_glog_info()
    config.enable_new_executor(True)
    config.enable_new_ir(True)
    predictor = paddle.inference.create_predictor(config)
    image = predictor.get_input_handle(predictor.get_input_names()[0])
    image.copy_from_cpu(np.zeros((1, 1, 28, 28), np.float32))
    predictor.run()
    expected = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
    assert np.array_equal(np.array(lines.split(), np.float32), expected.ravel())
