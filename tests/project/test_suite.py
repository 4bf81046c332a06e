"""What ./test.sh and tests/conftest.py promise of the suite itself, and what runs it elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from snippets import printed_by, run_command

LEAVES_A_PROCESS = """
import pathlib, subprocess, pytest

def test_left():
    child = subprocess.Popen(["sleep", "1000"])
    pathlib.Path("pid").write_text(str(child.pid))

@pytest.mark.nightly
def test_slow():
    pass
"""


def test_a_process_that_is_left_is_ended_and_an_error(root, tmp_path):
    (tmp_path / "test_left.py").write_text(LEAVES_A_PROCESS)
    command = ("-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-o", "markers=nightly")
    variables = os.environ | {"PYTHONPATH": str(root / "tests")}
    done = run_command(sys.executable, *command, cwd=tmp_path, env=variables)
    assert "1 passed, 1 deselected, 1 error" in done.stdout
    assert "['sleep 1000']" in done.stdout
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


# What stands for an environment without pyarrow.
WITHOUT_PYARROW = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, *more):
        return None if name == "pyarrow" else super().find_spec(name, *more)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""
NEEDS_A_PROGRAM = """
from conftest import BUILD

def test_program(built):
    built("no_such_program")

def test_run(run_program):
    run_program(program=BUILD / "no_such_program")
"""


def test_what_a_test_needs_is_named_where_it_is_skipped(root, program, tmp_path):
    """A module of the tests themselves that is missing is an error."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_PYARROW)
    (tmp_path / "test_package.py").write_text("import pyarrow")
    (tmp_path / "test_module.py").write_text("import a_module_of_tests")
    (tmp_path / "test_program.py").write_text(NEEDS_A_PROGRAM)
    command = ("-m", "pytest", "-ra", "-p", "conftest", "-p", "no:cacheprovider")
    variables = os.environ | {"PYTHONPATH": f"{tmp_path}:{root / 'tests'}"}
    options = ("--continue-on-collection-errors",)
    done = run_command(sys.executable, *command, *options, cwd=tmp_path, env=variables)
    assert "needs pyarrow: python -m pip install --group dev" in done.stdout
    said = r"\[2\].*: build/no_such_program is missing; to build it, run: \./test\.sh"
    assert re.search(said, done.stdout)
    assert "No module named 'a_module_of_tests'" in done.stdout
    assert "3 skipped, 1 error" in done.stdout


def test_the_quick_tests_are_there(root):
    listed = re.search(r'^heart="(.*?)"$', (root / "test.sh").read_text(), re.DOTALL | re.MULTILINE)
    assert listed
    assert [path for path in listed[1].split() if not (root / path).exists()] == []


def settings_of(root):
    """Every file of YAML that tells a service what to do, by its path."""
    paths = [*(root / ".github").rglob("*.yml"), *root.glob(".*.yaml"), root / "CITATION.cff"]
    return {path: yaml.safe_load(path.read_text()) for path in paths}


def test_nox_without_arguments_runs_the_quick_tests(root):
    listed = printed_by(sys.executable, "-m", "nox", "--list", cwd=root)
    assert re.findall(r"^\* (\S+)", listed, re.MULTILINE) == ["quick"]


def test_run_sh_installs_what_pip_would_build_with(root):
    """The package is built without isolation: the groups repeat what a build with it installs."""
    tomllib = pytest.importorskip("tomllib", reason="Python has it from 3.11 on")
    project = tomllib.loads((root / "pyproject.toml").read_text())
    groups, build = project["dependency-groups"], project["tool"]["scikit-build"]
    assert groups["build"] == project["build-system"]["requires"]
    assert groups["build-paddle"] == build["build"]["requires"]
    (without_paddle,) = build["overrides"]
    (newest,) = re.findall(r"^newest_python=(\d+)", (root / "run.sh").read_text(), re.M)
    assert without_paddle["if"]["any"]["python-version"] == f">=3.{int(newest) + 1}"


def test_workflows_run_what_there_is(root):
    """They hold no logic of their own: their commands are the project's, with its options."""
    settings = settings_of(root)
    steps = [
        step
        for path, one in settings.items()
        if path.parent.name == "workflows"
        for job in one["jobs"].values()
        for step in job["steps"]
    ]
    sessions = set(re.findall(r"^def (\w+)\(session", (root / "noxfile.py").read_text(), re.M))
    for command in (step["run"] for step in steps if "run" in step):
        program, *rest = command.split()
        if program.startswith("./") or program == ".ci/run":
            text = (root / program).read_text()
            assert all(re.search(rf"^  {option}\s", text, re.M) for option in rest), command
        elif program.endswith("nox"):
            assert rest[1] in sessions, command
        elif program.endswith(".exe"):
            page = (root / "docs" / "windows.md").read_text("utf-8")
            assert f"| `{Path(program).name}` |" in page, command
        else:
            assert program in {"brew", "pip", ".venv/bin/python"}, command
            assert re.search(r"install|-m tools\.wheels", command), command
    (setup,) = (one for path, one in settings.items() if path.name == "action.yml")
    packages = setup["runs"]["steps"][1]["run"].split("--yes ")[1].split("$")[0].split()
    (named,) = re.findall(r"^apt-get install (git .*)$", (root / "README.md").read_text(), re.M)
    assert packages == named.split()


@pytest.mark.parametrize(
    ("section", "tag", "file", "said"),
    [
        ("## Unreleased", "v1.0.0", "a", "CHANGELOG.md has no section '## 1.2.3 (DATE)'"),
        ("## 1.2.3 (2999-01-01)", "v1.0.0", "a", "with a date until today"),
        ("## 1.2.3 (2026-01-01)", "v1.2.3", "a", "the tag v1.2.3 exists"),
        ("## 1.2.3 (2026-01-01)", "v1.0.0", "b", "commit these changes first:\n?? b"),
    ],
)
def test_a_release_is_refused(root, tmp_path, section, tag, file, said):
    """Before anything is built."""
    shutil.copy(root / "noxfile.py", tmp_path)
    (tmp_path / "CMakeLists.txt").write_text("project(lenet VERSION 1.2.3 LANGUAGES CXX)\n")
    (tmp_path / "CHANGELOG.md").write_text(f"# Changes\n\n{section}\n\n## 1.2 (2026-01-01)\n")
    (tmp_path / "a").touch()
    (tmp_path / ".gitignore").write_text(".nox\n__pycache__\n")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@localhost")
    for step in (["init", "-q"], ["add", "."], ["commit", "-qm", "A"], ["tag", tag]):
        subprocess.run([*git, *step], cwd=tmp_path, check=True)
    (tmp_path / file).touch()
    command = (sys.executable, "-m", "nox", "-s", "release", "--", "--tag")
    done = run_command(*command, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr


def test_workflows_by_actionlint(root):
    if shutil.which("actionlint") is None:
        pytest.skip(
            "no actionlint on PATH: its packages load it from elsewhere when they are installed"
        )
    subprocess.run(["actionlint"], cwd=root, check=True)
