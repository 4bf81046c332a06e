"""Download MNIST by Paddle's own loader, in a child process.

The loader waits for ever on a silent network, and leaves partial files under their final names.
Therefore it works in a scratch folder, and is stopped when no more data arrives.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from lenet_cpp._base.optional import require_paddle
from lenet_cpp._base.worker import Report, call
from lenet_cpp._base.worker_main import load_function
from lenet_cpp.errors import BackendFailure

_LOADER = f"{__name__}:paddle_loader"
_REMEDY = "get the four files another way and give their folder as --data-dir"


def download(cache: Path, names: Iterable[str], *, stall_seconds: float = 10) -> None:
    """Fetch the full data set into a folder.

    The folder ``cache`` gets the files of these names only when all of them are complete.

    Raises:
        BackendFailure: The download failed, or no data arrived for ``stall_seconds``.
        Unsupported: Paddle is not installed.
    """
    require_paddle()
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent, prefix=".mnist-") as scratch:
        arguments = {"folder": scratch, "loader": _LOADER, "stall_seconds": stall_seconds}
        call(f"{__name__}:fetch", arguments, doing="the MNIST download")
        cache.mkdir(parents=True, exist_ok=True)
        for name in names:
            Path(scratch, "mnist", name).replace(cache / name)


def fetch(folder: str, loader: str, stall_seconds: float, report: Report) -> None:
    """Run a loader in the child; raise an error when no more data arrives."""
    load = load_function(loader)(folder)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            load()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the main thread
            failures.append(error)

    # A daemon, so that a loader that waits for ever does not keep the process alive.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    size, since = -1, time.monotonic()
    while thread.is_alive():
        thread.join(0.05)
        arrived = sum(path.stat().st_size for path in Path(folder).glob("mnist/*"))
        if arrived != size:
            size, since = arrived, time.monotonic()
            report("downloading", size, 0)
        if time.monotonic() - since > stall_seconds:
            raise BackendFailure(
                f"the MNIST download stalled for {stall_seconds:g} s and was stopped; {_REMEDY}"
            )
    if failures:
        lines = str(failures[0]).strip().splitlines() or [type(failures[0]).__name__]
        raise BackendFailure(f"the MNIST download failed ({lines[-1]}); {_REMEDY}")


def paddle_loader(folder: str) -> Callable[[], None]:
    """Return a function that downloads MNIST into ``folder/mnist``."""
    # By name: this part of the package imports no Paddle, and only the child has it.
    common: Any = import_module("paddle.dataset.common")
    common.DATA_HOME = folder
    datasets = import_module("paddle.vision.datasets")

    def load() -> None:
        for mode in ("train", "test"):
            datasets.MNIST(mode=mode)

    return load
