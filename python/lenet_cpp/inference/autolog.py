"""The benchmark report of AutoLog, whose log existing scripts parse, with measured values.

Sections, keys, order and the form of each line are those of AutoLog 1.0
(https://github.com/LDOUBLEV/AutoLog), misspelling included. What it fills in without looking is
measured here: the input's shape, memory optimization, the memory in use. What does not exist, such
as a GPU, is ``None``, as there. More lines follow the last one of AutoLog.
"""

from __future__ import annotations

import logging
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lenet_cpp.errors import BadInput

if TYPE_CHECKING:
    from typing import TextIO

    from lenet_cpp.inference.engine import RunSettings

STAGES = ("preprocess", "inference", "postprocess")

_LOG_API_VERSION = "1.0"
_PERCENTILES = {"median": 50, "p90": 90, "p99": 99}
_MIB = 1024 * 1024


@dataclass
class AutoLog:
    """Times the three stages of each batch, and reports.

    Not to be used from several threads.

    Example:
        >>> log = AutoLog("classification")
        >>> log.start()
        >>> x = engine.preprocess("photo.jpg")
        >>> log.stamp()
        >>> output = engine.run(x)
        >>> log.stamp()
        >>> classes = engine.topk(output)
        >>> log.stamp()
        >>> log.end(x.shape)
        >>> log.report(engine.settings(1))

    Attributes:
        model_name: What to call the model.
        warmup: How many runs were made before, untimed; only reported.
    """

    model_name: str
    warmup: int = 0
    _stamps: list[float] = field(default_factory=list, init=False, repr=False)
    _seconds: list[list[float]] = field(default_factory=list, init=False, repr=False)
    _images: int = field(default=0, init=False, repr=False)
    _shape: tuple[int, ...] = field(default=(), init=False, repr=False)
    _peak_rss: int = field(default=0, init=False, repr=False)

    @property
    def batch_size(self) -> int:
        """The most images that were timed in a batch; 0 before the first."""
        return self._shape[0] if self._shape else 0

    def start(self) -> None:
        """Begin a batch; one that was begun and not ended does not count."""
        self._stamps = [time.perf_counter()]

    def stamp(self) -> None:
        """End a stage: preprocess, then inference, then postprocess."""
        self._stamps.append(time.perf_counter())

    def end(self, shape: tuple[int, ...]) -> None:
        """End a batch.

        Args:
            shape: Of the batch: [N, channels, height, width].

        Raises:
            BadInput: Not every stage was stamped once.
        """
        import psutil

        if len(self._stamps) != 1 + len(STAGES):
            raise BadInput(f"{len(self._stamps) - 1} stages were stamped, not {len(STAGES)}")
        self._seconds.append(np.diff(self._stamps).tolist())
        self._stamps = []
        self._images += shape[0]
        self._shape = max(self._shape, shape)
        # Measured between the batches, so that it is not in their times.
        self._peak_rss = max(self._peak_rss, psutil.Process().memory_info().rss)

    def report(self, settings: RunSettings, *, file: TextIO | None = None) -> None:
        """Print the report.

        Args:
            settings: Of the engine.
            file: Where to; standard output when None.

        Raises:
            BadInput: No batch was timed.
        """
        formatter = logging.Formatter(
            "[%(asctime)s] %(name)s %(levelname)s: %(message)s", "%Y/%m/%d %H:%M:%S"
        )
        for message in self.messages(settings):
            record = logging.makeLogRecord(
                {"name": "root", "levelname": "INFO", "msg": message, "args": None}
            )
            print(formatter.format(record), file=sys.stdout if file is None else file)

    def messages(self, settings: RunSettings) -> list[str]:
        """The report, message by message, without date and logger's name.

        Args:
            settings: Of the engine.

        Raises:
            BadInput: No batch was timed.
        """
        if not self._seconds:
            raise BadInput("no batch was timed: there is nothing to report")
        seconds = np.array(self._seconds)
        total = float(seconds.sum())
        means = 1000 * seconds.mean(axis=0)
        return [
            "\n",
            "---------------------- Env info ----------------------",
            f" OS_version: {_os_version()}",
            f" CUDA_version: {settings.cuda_version}",
            f" CUDNN_version: {settings.cudnn_version}",
            f" drivier_version: {_driver_version()}",
            "---------------------- Paddle info ----------------------",
            f" paddle_version: {settings.paddle_version}",
            f" paddle_commit: {settings.paddle_commit}",
            f" log_api_version: {_LOG_API_VERSION}",
            "----------------------- Conf info -----------------------",
            f" runtime_device: {settings.runtime_device}",
            f" ir_optim: {settings.ir_optim}",
            f" enable_memory_optim: {settings.memory_optim}",
            f" enable_tensorrt: {settings.tensorrt}",
            f" enable_mkldnn: {settings.accelerator == 'onednn'}",
            f" cpu_math_library_num_threads: {settings.threads}",
            "----------------------- Model info ----------------------",
            # Parsers take the word after the colon.
            f" model_name: {'_'.join(self.model_name.split())}",
            f" precision: {settings.precision}",
            "----------------------- Data info -----------------------",
            f" batch_size: {self.batch_size}",
            f" input_shape: {','.join(map(str, self._shape))}",
            f" data_num: {len(seconds)}",
            "----------------------- Perf info -----------------------",
            f" cpu_rss(MB): {round(self._peak_rss / _MIB, 4)}, gpu_rss(MB): None, gpu_util: None%",
            f" total time spent(s): {round(total, 4)}",
            " "
            + ", ".join(
                f"{stage}_time(ms): {round(float(mean), 4)}"
                for stage, mean in zip(STAGES, means, strict=True)
            ),
            *self._more(settings, seconds, total),
        ]

    def _more(self, settings: RunSettings, seconds: np.ndarray, total: float) -> list[str]:
        """Lines after AutoLog's own; none has a key of those, so that parsers pass over them."""
        lines = [
            "--------------------- lenet_cpp info --------------------",
            f" engine: {settings.engine}",
            f" accelerator: {settings.accelerator}",
            f" warm-up: {self.warmup} batches before, not in the figures",
        ]
        for stage, times in zip(STAGES, 1000 * seconds.T, strict=True):
            values = (
                f"{name}: {np.percentile(times, percent):.4f}"
                for name, percent in _PERCENTILES.items()
            )
            lines.append(f" {stage} of a batch in ms, {', '.join(values)}")
        return [*lines, f" images: {self._images}, images/s: {self._images / total:.2f}"]


def _os_version() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return f"{platform.system()} {platform.release()}"
    return f"{release['NAME']} {release.get('VERSION_ID', '')}".strip()


def _driver_version() -> str | None:
    """The version of NVIDIA's driver; None on a machine without."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - the driver's own program, without user input
            [program, "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True,
            check=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.split()), None)
