"""Caffe2 itself, in an environment of its own.

Caffe2 left PyTorch's wheels in 2022. The last that are made to work with it are of Python 3.9, and
want packages as old as themselves. They are kept out of the user's environment: made once, when it
is asked for, in the user's cache folder.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._base.environments import Environment
from lenet_cpp._base.worker import Report, call, clean_variables, run_program
from lenet_cpp.errors import BadInput, FileNotFound, Unsupported

if TYPE_CHECKING:
    from numpy.typing import NDArray

PYTHON = (3, 9)

ENVIRONMENT = Environment(
    name="caffe2-torch-1.10.2",
    title="Caffe2",
    requirements=(
        "torch==1.10.2",
        "numpy==1.23.5",  # onnx 1.10 uses names that NumPy 1.24 dropped
        "onnx==1.10.2",  # the oldest with a wheel for Python 3.9
        "onnxoptimizer==0.2.6",  # was a part of onnx when Caffe2 was made to use it
        "protobuf==3.20.1",  # Caffe2's generated messages do not load with 4
        "future==1.0.0",  # Caffe2 imports it without declaring it
    ),
    trial="import onnxoptimizer; from caffe2.python import workspace; import torch",
    remedy=(
        "it needs the network, 3 GB of space, and wheels of PyTorch 1.10.2 for Python 3.9 and this"
        " machine, which pip finds for Linux on x86-64"
    ),
    pip_options=("--only-binary", ":all:"),
)
_MAKE = "run scripts/caffe2_roundtrip.py --make-environment once (0.9 GB to download, 2 GB kept)"
_WORKER = Path(__file__).with_name("worker.py")
_TIMEOUT_SECONDS = 1800


def make_environment(*, python: str | Path | None = None, report: Report | None = None) -> Path:
    """Return the interpreter of Caffe2's environment; make it first unless it is there."""
    return ENVIRONMENT.find() or ENVIRONMENT.make(find_interpreter(python), report=report)


def find_interpreter(python: str | Path | None = None) -> Path:
    """Return a Python 3.9: the given one, ``python3.9`` on PATH, or the newest one of pyenv.

    pyenv is looked for in ``PYENV_ROOT``, or ``~/.pyenv``.

    Raises:
        Unsupported: There is none.
        FileNotFound: ``python`` does not exist.
        BadInput: ``python`` is another version, or does not run.
    """
    wanted = ".".join(map(str, PYTHON))
    if python is not None:
        named = shutil.which(python)
        if named is None:
            raise FileNotFound(f"cannot run {python}: there is no such program")
        version = _version(named)
        if version != PYTHON:
            said = ".".join(map(str, version)) if version else "no Python that runs"
            raise BadInput(f"{python} is {said}; Caffe2 needs Python {wanted}")
        return Path(named)
    on_path = shutil.which(f"python{wanted}")
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    of_pyenv = list(root.glob(f"versions/{wanted}.*/bin/python"))
    of_pyenv.sort(key=lambda path: [int(part) for part in re.findall(r"\d+", path.parts[-3])])
    for candidate in [*([Path(on_path)] if on_path else []), *reversed(of_pyenv)]:
        if _version(candidate) == PYTHON:
            return candidate
    raise Unsupported(
        f"Caffe2 needs Python {wanted}: there is no python{wanted} on PATH and none in"
        f" {root / 'versions'}; install one (pyenv install {wanted}), or name it with --python"
    )


def _version(python: str | Path) -> tuple[int, ...] | None:
    """Return an interpreter's version, of CPython for 64 bits; None if it does not run."""
    code = "import sys; print(*sys.version_info[:2]) if sys.maxsize > 2**32 else sys.exit(1)"
    try:
        done = run_program([python, "-I", "-c", code], seconds=60, variables=clean_variables())
        return tuple(int(part) for part in done.stdout.split()) or None
    except (OSError, ValueError):
        return None


def require_environment() -> Path:
    """Return the interpreter of Caffe2's environment.

    Raises:
        Unsupported: It has not been made; says how, and what is missing for it.
    """
    found = ENVIRONMENT.find()
    if found is not None:
        return found
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise Unsupported("Caffe2 needs Linux on x86-64, for which its last wheels were made")
    python = find_interpreter()
    raise Unsupported(f"Caffe2's environment has not been made: {_MAKE}; it will use {python}")


def run_nets(
    init_net: str | Path, predict_net: str | Path, inputs: NDArray[Any], *, batch_size: int = 64
) -> NDArray[np.float32]:
    """Run a model of Caffe2's in Caffe2, in a process that imports no ONNX.

    The inputs are float32 [N, C, H, W]; returned is the first output, float32 [N, ...].

    Raises:
        FileNotFound: A net is missing.
        BadInput: The inputs are none.
        BackendFailure: Caffe2 refused a net or failed.
        Unsupported: The environment has not been made; says how.
    """
    for net in (init_net, predict_net):
        if not Path(net).is_file():
            raise FileNotFound(f"cannot read {net}: no such file")
    if inputs.dtype != np.float32 or inputs.ndim < 2 or not len(inputs) or batch_size < 1:
        raise BadInput("Caffe2's inputs have to be float32 [N, ...], N 1 or more")
    with tempfile.TemporaryDirectory(prefix="lenet-caffe2-") as name:
        folder = Path(name)
        np.save(folder / "inputs.npy", np.ascontiguousarray(inputs))
        nets = [str(Path(net).resolve()) for net in (init_net, predict_net)]
        call_worker("run", folder, nets=nets, batch_size=batch_size)
        outputs: NDArray[np.float32] = np.load(folder / "caffe2.npy", allow_pickle=False)
    return outputs


def call_worker(
    function: str, folder: Path, *, report: Report | None = None, **arguments: Any
) -> dict[str, Any]:
    """Run a function of ``worker.py`` in Caffe2's environment, and return what it returns.

    It finds its arrays in ``folder``, and puts there what it makes.
    """
    given = {"folder": str(folder), **arguments}
    how: dict[str, Any] = {"python": require_environment(), "seconds": _TIMEOUT_SECONDS}
    answer = call(f"{_WORKER}:{function}", given, doing="Caffe2", report=report, **how)
    return dict(answer.result)
