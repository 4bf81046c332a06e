"""The rooms of the package and of cpp/src: which may see which."""

import importlib
import inspect
import os
import re
import shutil
import sys
import sysconfig
from concurrent.futures import Future
from contextlib import suppress
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import pytest
from PIL.Image import Image

import lenet_cpp
import lenet_cpp.models
from snippets import printed_by

ROOT = Path(__file__).resolve().parents[2]


def test_rooms_import_in_one_direction(tmp_path):
    """The contracts are in pyproject.toml; they hold for lazy and typing-only imports too."""
    # A copy in which `_core` is a module that tools can read.
    copy = tmp_path / "lenet_cpp"
    ignored = shutil.ignore_patterns("__pycache__", "bundled")
    shutil.copytree(ROOT / "python" / "lenet_cpp", copy, ignore=ignored)
    (copy / "_core.pyi").rename(copy / "_core.py")
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    path = os.pathsep.join([str(tmp_path), sysconfig.get_path("purelib")])
    linter = Path(sys.executable).with_name("lint-imports")
    # -S: an editable installation would put its package before the copy.
    command = (sys.executable, "-S", linter, "--config", ROOT / "pyproject.toml")
    said = printed_by(*command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path})
    assert "4 kept, 0 broken" in said


CPP_ROOMS = {
    "base": (
        "error.cc",
        "finite.*",
        "pixels.*",
        "agreement.*",
        "tensor.cc",
        "version.cc",
        "config_option.*",
        "interruption.cc",
        "utf8.h",
        "model/element_types.h",
    ),
    "platform": ("platform/*",),
    "io": ("io/*",),
    "model": ("model/*", "model/rules/*", "own_numbers.*"),
    "images": ("images/*", "images/digit/*"),
    "engine": ("engines/engine.h", "engines/run_control.*", "engines/shared_library.*"),
    "kernels": ("engines/native/kernels/*", "engines/native/kernels/int8/*"),
    "network": (
        "engines/native/activations.*",
        "engines/native/contradiction.*",
        "engines/native/layer_kinds.*",
        "engines/native/product.*",
        "engines/native/network.*",
        "engines/native/tensor.*",
        "engines/native/channel_sources.*",
    ),
    "runtime": ("engines/native/runtime/*",),
    "ops": ("engines/native/ops/*", "engines/native/ops/int8/*"),
    "passes": ("engines/native/passes/*",),
    "compile": (
        "engines/native/compile/*",
        "engines/native/layer_times.*",
        "engines/native/machine_limits.*",
    ),
    "native": ("engines/native/*",),
    "engines": ("engines/*/*", "engines/*"),
    # What include/lenet declares of a predictor, and what shows its values.
    "face": ("predictor*", "profile.cc", "layer_values.*", "self_check.*"),
    "description": ("description/*",),
    "C": ("c_api.cc",),
}
"""Folders and files of cpp/src; a file is of the first room that has it, and sees no later one."""

FACE = {f"lenet/{name}.h" for name in ("c_api", "predictor", "predictor_pool")}


def includes_of(file):
    """The headers of this project that a file of C++ includes, as it writes them."""
    return re.findall(r'^#include "([^"]+)"', file.read_text("utf-8"), re.MULTILINE)


def test_headers_of_cpp_are_included_from_above():
    src = ROOT / "cpp" / "src"

    def room_of(path):
        if path in FACE:
            return list(CPP_ROOMS).index("face")
        found = (
            number
            for number, globs in enumerate(CPP_ROOMS.values())
            if any(Path(path).match(glob) and path.count("/") == glob.count("/") for glob in globs)
        )
        return next(found, 0)  # what is declared for all

    upward = set()
    for file in src.rglob("*.[ch]*"):
        path = str(file.relative_to(src))
        for included in includes_of(file):
            public = included.startswith(("lenet/", "compat/"))
            assert public or (src / included).is_file(), f"{path}: {included} from where it lies"
            if room_of(included) > room_of(path):
                upward.add((path, included))
    assert upward == set()


def test_headers_of_cpp_do_not_include_each_other_in_a_circle():
    folders = [ROOT / "cpp" / folder for folder in ("src", "include", "serve", "apps")]
    headers = {
        str(file.relative_to(folder)): includes_of(file)
        for folder in folders
        for file in folder.rglob("*.h")
    }
    assert len(headers) > 100
    TopologicalSorter(headers).prepare()  # raises CycleError, which names the headers


def test_systems_differ_in_the_platform_alone():
    """But for files, and for Paddle's engine and the server, which there are on Linux only."""
    cpp = ROOT / "cpp"
    allowed = ("src/platform/*", "src/io/file*", "include/lenet/export.h", "src/engines/paddle/*")
    headers = "sys/|dlfcn|fcntl|pthread|sched|signal|unistd|windows"
    system = rf"^ *# *(?:if.*(?:_WIN32|__linux__)|include <(?:{headers}))"
    found = {
        str(path.relative_to(cpp))
        for folder in ("src", "apps", "include")
        for path in (cpp / folder).rglob("*.[ch]*")
        if re.search(system, path.read_text("utf-8"), re.MULTILINE)
    }
    assert {name for name in found if not any(Path(name).match(one) for one in allowed)} == set()
    assert "src/platform/posix.cc" in found


SEES_DIALECTS = (
    # The readers.
    "model/*_program.cc",
    "model/program_desc.cc",
    "model/translate.*",
    # The word itself, and the tables to translate by.
    "model/graph.h",
    "model/rules/rules.*",
    # The faults of Paddle, which differ by the format.
    "engines/paddle/program_traits.cc",
    "engines/paddle/onednn_rules.cc",
    "engines/paddle/openvino_rules.cc",
    "engines/paddle/operator_in_program.h",
)


def test_what_lies_behind_the_readers_does_not_ask_for_the_dialect():
    src = ROOT / "cpp" / "src"
    asking = {
        str(file.relative_to(src))
        for file in src.rglob("*.[ch]*")
        if re.search(r"\bdialect\b *[=!]=|Dialect::", file.read_text(encoding="utf-8"))
        and not any(file.relative_to(src).match(glob) for glob in SEES_DIALECTS)
    }
    assert asking == set()


def test_an_engine_is_named_in_its_folder_and_its_row():
    """And in lenet/config.h, which has its value: nothing else asks which engine it is."""
    cpp = ROOT / "cpp"
    folders = [cpp / "apps", cpp / "bindings", cpp / "src" / "model"]
    files = [*(cpp / "src").glob("*.cc"), *(f for each in folders for f in each.glob("*.[ch]*"))]
    for file in files:
        code = re.sub(r"//.*|#include.*", "", file.read_text(encoding="utf-8"))
        names = r'EngineKind::(?!Auto)\w+|"(?:native|onnxruntime|paddle)"'
        assert re.findall(names, code) == [], file


def public_names():
    """The modules of docs/api.md and the names that it lists for each."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    sections = re.split(r"^## `([\w.]+)`$", page, flags=re.MULTILINE)[1:]
    return {
        module: set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
        for module, text in zip(sections[::2], sections[1::2], strict=True)
    }


@pytest.mark.parametrize(("module", "names"), public_names().items())
def test_public_names_are_those_of_the_page(module, names):
    found = importlib.import_module(module)
    assert set(found.__all__) == names
    assert all(getattr(found, name) is not None for name in names)


def annotated(found):
    """A function, or a class and what we wrote in it and in the bases that it has from us."""
    if not inspect.isclass(found):
        return [found] if inspect.isfunction(found) else []
    bases = [base for base in found.__mro__ if base.__module__.startswith("lenet_cpp.")]
    members = [value for base in bases for value in vars(base).values()]
    plain = [getattr(one, "fget", getattr(one, "func", inspect.unwrap(one))) for one in members]
    methods = [one for one in map(inspect.unwrap, plain) if inspect.isfunction(one)]
    return [
        found,
        *(one for one in methods if one.__globals__["__name__"].startswith("lenet_cpp.")),
    ]


@pytest.mark.parametrize("module", public_names())
def test_annotations_can_be_read_at_run_time(module):
    """As pydantic, jsonargparse and editors do."""
    there = all(map(find_spec, ("onnx", "paddle", "torch")))
    public = importlib.import_module(module)
    for each in (one for name in public.__all__ for one in annotated(getattr(public, name))):
        with suppress(*() if there else (ModuleNotFoundError,)):
            get_type_hints(each)


def test_annotations_name_what_they_mean():
    hints = get_type_hints(lenet_cpp.PredictorPool.submit)
    assert hints["pipeline"] == lenet_cpp.images.Pipeline | None
    assert get_origin(hints["return"]) is Future
    assert Image in get_args(get_type_hints(lenet_cpp.images.read_image)["source"])
    paddle = pytest.importorskip("paddle", reason="an extra: pip install paddlepaddle")
    assert get_type_hints(lenet_cpp.models.build)["return"] is paddle.nn.Layer
