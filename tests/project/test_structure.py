"""The rooms of the package: which may import which, and how much there may be of everything."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.structure import COUNTS, ROOT, importable


def test_rooms_import_in_one_direction():
    """The contracts are in pyproject.toml; they hold for lazy and typing-only imports too."""
    with importable() as folder:
        done = subprocess.run(
            [Path(sys.executable).with_name("lint-imports"), "--config", ROOT / "pyproject.toml"],
            cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "3 kept, 0 broken" in done.stdout


@pytest.mark.parametrize("each", COUNTS, ids=lambda each: each.what)
def test_count_is_within_its_limit(each):
    assert each.now() <= each.limit


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
