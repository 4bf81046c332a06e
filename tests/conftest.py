"""What several test files share."""

from __future__ import annotations

import fcntl
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

import lenet_cpp

ROOT = Path(__file__).parents[1]

# The files that take longest, first: at the end no process then works alone on a long one.
LONGEST = (
    "test_packaging.py",
    "test_quantize.py",
    "test_guides.py",
    "test_torch.py",
    "test_verify_models.py",
    "test_models.py",
    "test_predict_commands.py",
    "test_run_sh.py",  # a test of it runs alone: where those beside it are short
)
LOCK = ROOT / "build" / "tests.lock"

# A shell ignores SIGINT in what it starts in the background, and children inherit that: the tests
# that interrupt a child would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the tests into the order in which processes take files (--no-loadscope-reorder)."""
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test that links the program anew when no other process runs a test."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if item.get_closest_marker("relinks") else fcntl.LOCK_SH)
        return (yield)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def program() -> Path:
    """The C++ program."""
    path = ROOT / "build" / "lenet_infer_test"
    assert path.is_file(), f"{path} is missing: run ./run.sh, or ./test.sh, which builds it"
    return path


@pytest.fixture(scope="session")
def run_program(program: Path):
    """Run the C++ program with these arguments, without Python's environment around it."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [str(program), *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env={}, timeout=120, **options
        )

    return run


@pytest.fixture(scope="session")
def model_dir() -> Path:
    """The bundled model: lenet.pdmodel, lenet.json, lenet.pdiparams, manifest.json, SHA256SUMS."""
    return lenet_cpp.bundled_model_dir()
