"""The page with the bundled model, and what the C++ program answers."""

import functools
from pathlib import Path

import numpy as np
import pytest

from lenet_cpp.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def page(tmp_path_factory):
    """The page with the bundled model."""
    folder = tmp_path_factory.mktemp("web") / "page"
    assert main(["web", "-o", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def digits(mnist_test):
    """The 1,000 test digits of the sample, uint8 [1000, 1, 28, 28]."""
    return mnist_test.images[:, None]


@pytest.fixture(scope="session")
def logits_of(digits, model_dir, run_program, tmp_path_factory):
    """Return the C++ program's logits with an instruction set, or with its own choice."""

    @functools.cache
    def run(isa):
        folder = tmp_path_factory.mktemp(isa or "default")
        np.save(folder / "digits.npy", digits)
        done = run_program(
            f"--model_dir={model_dir}",
            f"--input={folder / 'digits.npy'}",
            f"--output={folder / 'logits.npy'}",
            program=ROOT / "build" / "lenet_infer_native",
            env={"LENET_NATIVE_ISA": isa},
        )
        assert done.returncode == 0, done.stderr
        return np.load(folder / "logits.npy")

    return run
