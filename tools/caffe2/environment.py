"""Caffe2 itself, in an environment of its own.

Caffe2 left PyTorch's wheels in 2022. The last that are made to work with it are of Python 3.9, and
want packages as old as themselves. They are kept out of the user's environment: made once, when it
is asked for, in the user's cache folder.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._base.worker import Report, call
from lenet_cpp.errors import BadInput, FileNotFound, Unsupported
from lenet_cpp.quantize.environments import Environment
from tools import interpreters

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
    """Return a Python 3.9, as :func:`tools.interpreters.find_interpreter` does."""
    return interpreters.find_interpreter(PYTHON, "Caffe2", python)


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
