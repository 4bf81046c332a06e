"""The benchmark report of AutoLog, which existing scripts parse, with measured values.

Sections, keys, order and the form of each line are those of AutoLog 1.0
(https://github.com/LDOUBLEV/AutoLog), including its misspelling. Values that AutoLog fills in
without looking are measured here: the input's shape, memory optimization, the memory in use. Things
that do not exist, such as a GPU, are ``None``, as in AutoLog. Our own lines follow its last one.
"""

from __future__ import annotations

import logging
import platform
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._base.worker import run_program
from lenet_cpp.errors import BadInput
from lenet_cpp.inference.engine import RunSettings
from lenet_cpp.inference.paddle_package import installed_paddle, library_facts

if TYPE_CHECKING:
    from typing import TextIO

    from typing_extensions import Self

STAGES = ("preprocess", "inference", "postprocess")

_LOG_API_VERSION = "1.0"
_PERCENTILES = {"median": 50, "p90": 90, "p99": 99}
_MIB = 1024 * 1024


class AutoLog:
    """Times the three stages of each batch, and reports them.

    An AutoLog must not be used by several threads at once.

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

    AutoLog's own calls work too: ``log.times.start()``, ``log.times.stamp()``,
    ``log.times.end(stamp=True)`` and ``log.report()``.
    """

    def __init__(
        self,
        model_name: str,
        warmup: int = 0,
        *,
        batch_size: int | None = None,
        inference_config: Any = None,
        gpu_ids: object = None,  # noqa: ARG002 - callers of AutoLog pass it
    ) -> None:
        """Start with no batch.

        Args:
            model_name: The name of the model.
            warmup: The number of untimed runs before; it is only reported.
            batch_size: The number of images in a batch that is ended without its shape, as with
                AutoLog; 1 when None.
            inference_config: The settings to report when :meth:`report` is given none:
                :class:`lenet_cpp.inference.engine.RunSettings`, or a ``paddle.inference.Config``.
            gpu_ids: Ignored: the settings say what computes, and its memory is not watched.
        """
        self.model_name = model_name
        self.warmup = warmup
        self._usual_size = batch_size or 1
        self._config = inference_config
        self._stamps: list[float] = []
        self._seconds: list[list[float]] = []
        self._images = 0
        self._shape: tuple[int, ...] = ()
        self._peak_rss = 0

    @property
    def times(self) -> Self:
        """This object, whose :meth:`start`, :meth:`stamp` and :meth:`end` AutoLog has there."""
        return self

    @property
    def batch_size(self) -> int:
        """The number of images in the largest timed batch; 0 before the first."""
        return self._shape[0] if self._shape else 0

    def start(self) -> None:
        """Begin a batch; an unfinished one does not count."""
        self._stamps = [time.perf_counter()]

    def stamp(self) -> None:
        """End a stage: preprocess, then inference, then postprocess."""
        self._stamps.append(time.perf_counter())

    def end(self, shape: tuple[int, ...] | None = None, *, stamp: bool = False) -> None:
        """End a batch.

        Args:
            shape: The shape of the batch, [N, channels, height, width]; None when it is not known.
            stamp: Stamp the last stage, if that is missing.

        Raises:
            BadInput: Not every stage was stamped once.
        """
        import psutil

        if stamp and len(self._stamps) == len(STAGES):
            self.stamp()
        if len(self._stamps) != 1 + len(STAGES):
            raise BadInput(f"{len(self._stamps) - 1} stages were stamped, not {len(STAGES)}")
        self._seconds.append(np.diff(self._stamps).tolist())
        self._stamps = []
        shape = shape or (self._usual_size,)
        self._images += shape[0]
        self._shape = max(self._shape, shape)
        # Between the batches, so that the measurement is not part of their times.
        self._peak_rss = max(self._peak_rss, psutil.Process().memory_info().rss)

    def report(self, settings: RunSettings | None = None, *, file: TextIO | None = None) -> None:
        """Print the report.

        Args:
            settings: The engine's settings; those of ``inference_config`` when None.
            file: Where to print; standard output when None.

        Raises:
            BadInput: No batch was timed, or no settings were given.
        """
        formatter = logging.Formatter(
            "[%(asctime)s] %(name)s %(levelname)s: %(message)s", "%Y/%m/%d %H:%M:%S"
        )
        for message in self.messages(settings):
            record = logging.makeLogRecord(
                {"name": "root", "levelname": "INFO", "msg": message, "args": None}
            )
            print(formatter.format(record), file=sys.stdout if file is None else file)

    def messages(self, settings: RunSettings | None = None) -> list[str]:
        """Return the report, message by message, without the date and the logger's name.

        Arguments and errors as :meth:`report`.
        """
        settings = self._config if settings is None else settings
        if settings is None:
            raise BadInput("the report needs the engine's settings: give settings=")
        if not isinstance(settings, RunSettings):
            settings = settings_of(settings)
        if not self._seconds:
            raise BadInput("no batch was timed: there is nothing to report")
        seconds = np.array(self._seconds)
        total = float(seconds.sum())
        shape = "dynamic" if len(self._shape) == 1 else ",".join(map(str, self._shape))
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
            f" input_shape: {shape}",
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
        """Return the lines after AutoLog's own; none has a key of those: parsers skip them."""
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


def settings_of(config: Any, **known: Any) -> RunSettings:
    """Read a ``paddle.inference.Config``, which does not tell whether it optimizes memory.

    Args:
        config: The configuration.
        **known: Fields of the settings that are known better.
    """
    package = installed_paddle()
    enabled = getattr(config, "onednn_enabled", None) or config.mkldnn_enabled  # Paddle 3.1
    found = {
        "engine": "paddle.inference",
        **library_facts(package.version if package else "none"),
        "accelerator": "onednn" if enabled() else "plain",
        "ir_optim": bool(config.ir_optim()),
        "memory_optim": None,
        "threads": int(config.cpu_math_library_num_threads()),
        "tensorrt": bool(config.tensorrt_engine_enabled()),
        "runtime_device": "gpu" if config.use_gpu() else "cpu",
    }
    return RunSettings(**{**found, **known})


def _os_version() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return f"{platform.system()} {platform.release()}"
    return f"{release['NAME']} {release.get('VERSION_ID', '')}".strip()


def _driver_version() -> str | None:
    """Return the version of NVIDIA's driver; None on a machine without it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = run_program(
            [program, "--query-gpu=driver_version", "--format=csv,noheader"], seconds=10
        )
    except OSError:
        return None
    return next(iter(done.stdout.split()), None) if done.returncode == 0 else None
