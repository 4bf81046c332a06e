"""The benchmark report of AutoLog, which existing scripts parse, with measured values.

Sections, keys, order and the form of each line are those of AutoLog 1.0
(https://github.com/LDOUBLEV/AutoLog), including its misspelling. Values that AutoLog fills in
without looking are measured here: the input's shape, memory optimization, the memory in use. Things
that do not exist, such as a GPU, are ``None``, as in AutoLog. Our own lines follow its last one.

Scripts keep their calls with ``from lenet_cpp import AutoLog as AutoLogger``.
"""

import logging
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from lenet_cpp._base.files import write_text
from lenet_cpp._base.lazy import Self
from lenet_cpp._base.worker import run_program
from lenet_cpp.errors import BadInput
from lenet_cpp.paddle_engines.engine import RunSettings, settings_of

STAGES = ("preprocess", "inference", "postprocess")

_LOG_API_VERSION = "1.0"
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
        model_precision: str | None = None,
        batch_size: int | None = None,
        data_shape: str | Sequence[int] | None = None,
        save_path: str | os.PathLike[str] | None = None,
        inference_config: Any = None,
        pids: int | Sequence[int] | None = None,
        process_name: object = None,  # noqa: ARG002 - AutoLogger has it, and ignores it too
        gpu_ids: object = None,  # noqa: ARG002 - AutoLogger has it; no GPU is watched here
        time_keys: object = None,  # noqa: ARG002 - AutoLogger has it; STAGES are fixed here
        warmup: int = 0,
        logger: logging.Logger | None = None,
    ) -> None:
        """Start with no batch.

        The arguments are those of AutoLogger, in its order; all but the first may be left out.

        Args:
            model_name: The name of the model.
            model_precision: The precision to report; the engine's when None.
            batch_size: The number of images in a batch that is ended without its shape, as with
                AutoLog; 1 when None.
            data_shape: The shape to report when every batch is ended without its shape; ``dynamic``
                when None.
            save_path: A file that each report also replaces; folders are created.
            inference_config: The settings to report when :meth:`report` is given none:
                :class:`lenet_cpp.paddle_engines.engine.RunSettings`, or a
                ``paddle.inference.Config``.
            pids: The processes whose memory is reported, together; this one when None.
            process_name: Ignored, as AutoLog does.
            gpu_ids: Ignored: the settings say what computes, and its memory is not watched.
            time_keys: Ignored: the stages are always the three of :data:`STAGES`.
            warmup: How many batches to leave out of the figures, from the first one on.
            logger: Where :meth:`report` writes the messages instead of printing them.

        Raises:
            BadInput: There is no process of one of ``pids``.
        """
        import psutil

        self.model_name = model_name
        self.warmup = warmup
        self._untimed = warmup
        self._precision = model_precision
        self._usual_size = batch_size or 1
        self._usual_shape = data_shape
        self._save_path = save_path
        self._config = inference_config
        self._logger = logger
        ids = [pids] if pids is None or isinstance(pids, int) else pids
        try:
            self._processes = [psutil.Process(each) for each in ids]
        except (psutil.Error, TypeError, ValueError) as error:
            raise BadInput(f"pids is {pids!r}; expected ids of processes that run") from error
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
        if stamp and len(self._stamps) == len(STAGES):
            self.stamp()
        if len(self._stamps) != 1 + len(STAGES):
            raise BadInput(f"{len(self._stamps) - 1} stages were stamped, not {len(STAGES)}")
        seconds, self._stamps = np.diff(self._stamps).tolist(), []
        if self._untimed > 0:
            self._untimed -= 1
            return
        self._seconds.append(seconds)
        shape = shape or (self._usual_size,)
        self._images += shape[0]
        self._shape = max(self._shape, shape)
        # Between the batches, so that the measurement is not part of their times.
        used = sum(each.memory_info().rss for each in self._processes if each.is_running())
        self._peak_rss = max(self._peak_rss, used)

    def report(self, settings: RunSettings | None = None, *, file: TextIO | None = None) -> None:
        """Print the report, or give it to the logger; also write it to ``save_path``.

        Args:
            settings: The engine's settings; those of ``inference_config`` when None.
            file: Where to print; standard output when None.

        Raises:
            BadInput: No batch was timed, or no settings were given.
            OSError: ``save_path`` cannot be written.
        """
        messages = self.messages(settings)
        now = time.strftime("%Y/%m/%d %H:%M:%S")
        text = "".join(f"[{now}] root INFO: {message}\n" for message in messages)
        if self._logger is None:
            print(text, end="", file=sys.stdout if file is None else file)
        else:
            for message in messages:
                self._logger.info("%s", message)
        if self._save_path is not None:
            write_text(Path(self._save_path), text)

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
        shape = self._usual_shape if len(self._shape) == 1 else self._shape
        if not isinstance(shape, str):
            shape = "dynamic" if shape is None else ",".join(map(str, shape))
        means = (
            f"{stage}_time(ms): {round(1000 * float(mean), 4)}"
            for stage, mean in zip(STAGES, seconds.mean(axis=0), strict=True)
        )
        percentiles = np.percentile(1000 * seconds, (50, 90, 99), axis=0).T
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
            f" precision: {self._precision or settings.precision}",
            "----------------------- Data info -----------------------",
            f" batch_size: {self.batch_size}",
            f" input_shape: {shape}",
            f" data_num: {len(seconds)}",
            "----------------------- Perf info -----------------------",
            f" cpu_rss(MB): {round(self._peak_rss / _MIB, 4)}, gpu_rss(MB): None, gpu_util: None%",
            f" total time spent(s): {round(total, 4)}",
            f" {', '.join(means)}",
            # None of the lines after AutoLog's own has a key of those: parsers skip them.
            "--------------------- lenet_cpp info --------------------",
            f" engine: {settings.engine}",
            f" accelerator: {settings.accelerator}",
            f" warm-up: {self.warmup} batches before, not in the figures",
            *(
                f" {stage} of a batch in ms, median: {median:.4f}, p90: {p90:.4f}, p99: {p99:.4f}"
                for stage, (median, p90, p99) in zip(STAGES, percentiles, strict=True)
            ),
            f" images: {self._images}, images/s: {self._images / total:.2f}",
        ]


def _os_version() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return f"{platform.system()} {platform.release()}"
    return f"{release['NAME']} {release.get('VERSION_ID', '')}".strip()


def _driver_version() -> str | None:
    """Return the version of NVIDIA's driver; None on a machine without it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = run_program(command, seconds=10)
    except OSError:
        return None
    return next(iter(done.stdout.split()), None) if done.returncode == 0 else None
