"""Compare the speed of two builds of this library: the same work, interleaved."""

from __future__ import annotations

import fnmatch
import math
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from lenet_cpp.agreement import TOLERANCES, compare
from lenet_cpp.errors import BackendFailure, BadInput, FileNotFound, Unsupported
from lenet_cpp.formats.manifest import has_manifest, read_manifest
from lenet_cpp.verify import find_models
from tools.benchmark.builds import (
    Build,
    Row,
    Turn,
    Work,
    check_build,
    describe_build,
    find_build,
    take_turn,
)
from tools.benchmark.contenders import PRECISIONS
from tools.benchmark.machine import describe_machine
from tools.benchmark.making import call_maker
from tools.benchmark.networks import network_reference
from tools.benchmark.subject import is_lenet
from tools.benchmark.summary import median_interval
from tools.benchmark.text import MB, NONE, joined, number, percent, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "COMPARE_ENGINES",
    "COMPARE_FORMATS",
    "CompareSettings",
    "compare_builds",
    "compare_rows",
    "compare_text",
    "verdict",
]

COMPARE_ENGINES = (
    "native",
    "paddle/auto",
    "paddle/plain",
    "paddle/onednn",
    "paddle/openvino",
    "onnxruntime",
    "auto",
)
COMPARE_FORMATS = ("pdmodel", "json", "onnx")
_REDUCED = {
    "bf16": ("paddle/auto", "paddle/onednn", "auto"),
    "int8": ("native", "paddle/auto", "paddle/onednn", "auto"),
}
_DEFAULT_ENGINES = ("native", "paddle/auto")

_LEAST_ROUNDS = 12
# The interval is looked at after as many rounds as have each build first equally often.
_ROUNDS_BETWEEN_LOOKS = 4
# Turns are short, and processes many: where a process's memory lies changes its speed by more
# than a longer turn would even out.
_TURN_MS = 100.0
_WARM_MS = 20.0
# Turns take at least this many times as long as loading, whose processor time is subtracted from
# that of the C++ program, and is never twice the same.
_LOADS = 2
_LEAST_RUNS = 3
# What is shorter than a time slice of the kernel is seldom interrupted: the median run is one that
# was not. What is longer always is where others want the processor.
_SLICE_MS = 3.0
_SHARED = 0.9
_SEED = 20_261_121


@dataclass(frozen=True)
class CompareSettings:
    """What to compare, and how exactly.

    Attributes:
        model_dir: Folder of an exported model, which is measured where ``networks`` is empty.
        networks: Names in the registry, or ``FILE.py:SPEC``; exported with random weights.
        quantized_model_dir: The model for int8; made from a LeNet when None.
        img_size: Height and width of the images of ``networks``; that of each when None.
        engines: Names of :data:`COMPARE_ENGINES`, or patterns.
        formats: Of :data:`COMPARE_FORMATS`.
        precisions: Of the arithmetic.
        batch_sizes: Images a run.
        threads: Threads a run.
        seconds: The limit for each row.
        same_within: Largest difference that counts as none, as a share: of running, of loading.
        half_width: How near both ends of the interval have to be to its middle, as a share, until
            a row is done; half of ``same_within`` when None.
        clock: Which time the verdict goes by: ``wall``, ``cpu`` or ``auto``, which is ``cpu`` for
            what takes longer than 3 ms on one thread, when other programs took over a tenth of the
            processor, and otherwise ``wall``.
    """

    model_dir: Path
    networks: Sequence[str] = ()
    quantized_model_dir: Path | None = None
    img_size: int | None = None
    engines: Sequence[str] = _DEFAULT_ENGINES
    formats: Sequence[str] = ("pdmodel",)
    precisions: Sequence[str] = ("fp32",)
    batch_sizes: Sequence[int] = (1, 8)
    threads: Sequence[int] = (1,)
    seconds: float = 60.0
    same_within: tuple[float, float] = (0.02, 0.10)
    half_width: float | None = None
    clock: str = "auto"


def compare_rows(network: str, settings: CompareSettings) -> list[Row]:
    """Return the rows of one network: of each way to run it, loading first, then the batches.

    Raises:
        BadInput: An engine, a format or a precision is not known, or no row has all of them.
    """
    engines: dict[str, None] = {}
    for pattern in settings.engines:
        found = fnmatch.filter(COMPARE_ENGINES, pattern)
        if not found:
            known = ", ".join(COMPARE_ENGINES)
            raise BadInput(f"--compare knows no contender {pattern!r}; choose among {known}")
        engines.update(dict.fromkeys(found))
    for kind, choices, named in (
        ("format", COMPARE_FORMATS, settings.formats),
        ("precision", PRECISIONS, settings.precisions),
    ):
        for name in named:
            if name not in choices:
                raise BadInput(f"unknown {kind} {name!r}; choose among {', '.join(choices)}")
    sizes = [None, *sorted(settings.batch_sizes)]
    rows = [
        Row(network, format_, engine, precision, threads, size)
        for format_ in settings.formats
        for precision in settings.precisions
        for engine in engines
        if _is_there(engine, format_, precision)
        for threads in settings.threads
        for size in sizes
        # Loading takes one thread.
        if size is not None or threads == settings.threads[0]
    ]
    if not rows:
        raise BadInput(
            f"none of {', '.join(engines)} runs {', '.join(settings.formats)} in"
            f" {', '.join(settings.precisions)}"
        )
    return rows


def _is_there(engine: str, format_: str, precision: str) -> bool:
    """Whether that engine reads the format and has the precision, in any build."""
    if precision != "fp32" and engine not in _REDUCED[precision]:
        return False
    # Quantized models are .pdmodel.
    if precision == "int8" and format_ != "pdmodel":
        return False
    if format_ == "onnx":
        return precision == "fp32" and not engine.startswith("paddle")
    return engine != "onnxruntime"


def verdict(ratio: float, interval: tuple[float, float] | None, same_within: float) -> str:
    """Say what a ratio (time of B by time of A) shows.

    Args:
        ratio: The median.
        interval: That of the median; None when there were too few rounds.
        same_within: Largest difference that counts as none, as a share.
    """
    if interval is not None:
        low, high = interval
        if low >= 1 / (1 + same_within) and high <= 1 + same_within:
            return f"same within {100 * same_within:g} %"
        # Both are asked for: of many rows some intervals leave out 1 by chance, by little.
        if low > 1 and ratio > 1 + same_within:
            return "slower"
        if high < 1 and ratio < 1 / (1 + same_within):
            return "faster"
    return "unclear: more rounds needed"


def _difference(first: Mapping[str, Any], second: Mapping[str, Any], precision: str) -> float:
    """How far two answers are apart, where 1 is what the rule of parity allows."""
    a, b = (np.reshape(np.array(one["outputs"]), one["output_shape"]) for one in (first, second))
    if a.shape != b.shape:
        return math.inf
    return compare(a, b, tolerance=TOLERANCES[precision]).share


def _comparison(pairs: Sequence[tuple[Turn, Turn]], clock: str) -> dict[str, Any]:
    times = [[getattr(turn, clock) for turn in pair] for pair in pairs]
    ratios = [b / a for a, b in times if a > 0 and b > 0]
    a, b = np.median(times, axis=0).tolist()
    return {
        "a_ms": a,
        "b_ms": b,
        "ratio": float(np.median(ratios)) if ratios else None,
        "interval": median_interval(ratios),
        "ratios": ratios,
    }


def _clock(pairs: Sequence[tuple[Turn, Turn]], settings: CompareSettings, row: Row) -> str:
    """Choose by how the machine was, and not by what came of it."""
    if settings.clock != "auto":
        return settings.clock
    share = np.median([turn.share for pair in pairs for turn in pair])
    wall = np.median([turn.wall for pair in pairs for turn in pair])
    return "cpu" if share < _SHARED and wall > _SLICE_MS and row.threads == 1 else "wall"


def _row_result(
    row: Row, pairs: Sequence[tuple[Turn, Turn]], settings: CompareSettings, facts: dict[str, Any]
) -> dict[str, Any]:
    times = {clock: _comparison(pairs, clock) for clock in ("wall", "cpu")}
    loading = row.batch_size is None
    same_within = settings.same_within[loading]
    clock = _clock(pairs, settings, row)
    judged = times[clock]

    def medians(name: str) -> list[float]:
        return [float(np.median([getattr(pair[i], name) for pair in pairs])) for i in range(2)]

    return {
        **asdict(row),
        "name": row.name,
        "status": "measured",
        "rounds": len(pairs),
        **times,
        "p99_ms": None if loading else medians("p99"),
        "peak_bytes": medians("peak_bytes"),
        "processor_share": min(medians("share")),
        "clock": clock,
        **facts,
        "same_within": same_within,
        "verdict": verdict(judged["ratio"], judged["interval"], same_within),
    }


def _is_done(pairs: Sequence[tuple[Turn, Turn]], settings: CompareSettings, row: Row) -> bool:
    """Whether the interval is narrow enough; where it lies has no say, or it would be biased."""
    if len(pairs) < _LEAST_ROUNDS or len(pairs) % _ROUNDS_BETWEEN_LOOKS:
        return False
    found = _comparison(pairs, _clock(pairs, settings, row))
    if found["interval"] is None:
        return False
    half = settings.half_width or settings.same_within[row.batch_size is None] / 2
    low, high = found["interval"]
    return bool(max(high / found["ratio"], found["ratio"] / low) <= 1 + half)


class _Comparison:
    """What goes on, so that an interruption leaves what was measured."""

    def __init__(self, builds: tuple[Build, Build], settings: CompareSettings) -> None:
        self._builds = builds
        self._settings = settings
        self.rows: list[dict[str, Any]] = []
        self.described: dict[str, Any] = {}

    def measure(self, work: Work, bar: tqdm[Any]) -> None:
        """Measure a row; a failure of a build is the row's result."""
        row, settings = work.row, self._settings
        pairs: list[tuple[Turn, Turn]] = []
        facts: dict[str, Any] = {}
        bar.set_postfix_str(row.name)
        try:
            # The first round fills the page cache, and says how long a run takes.
            firsts = [take_turn(build, work, _LEAST_RUNS, 1) for build in self._builds]
            answers = [answer for _, answer in firsts]
            self._know(answers)
            difference = _difference(answers[0], answers[1], row.precision)
            facts = {
                "used": [f"{one['engine']}, {one['accelerator']}" for one in answers],
                "answers_differ_by": difference if math.isfinite(difference) else None,
                "answers_agree": difference <= 1,
            }
            turn_ms = max(_TURN_MS, _LOADS * max(one["load_ms"] for one in answers))
            repeats = max(_LEAST_RUNS, math.ceil(turn_ms / firsts[0][0].wall))
            warmup = max(1, math.ceil(_WARM_MS / firsts[0][0].wall))
            until = time.monotonic() + settings.seconds
            while not pairs or (time.monotonic() < until and not _is_done(pairs, settings, row)):
                # A B, B A: neither gains by its place.
                order = self._builds if len(pairs) % 2 == 0 else self._builds[::-1]
                turns = {one.label: take_turn(one, work, repeats, warmup)[0] for one in order}
                pairs.append((turns["A"], turns["B"]))
                bar.set_postfix_str(f"{row.name}: {len(pairs)} rounds")
        except (BackendFailure, Unsupported) as error:
            status = "unavailable" if isinstance(error, Unsupported) else "failed"
            result = {**asdict(row), "name": row.name, "status": status, "reason": str(error)}
            self.rows.append(result)
        except KeyboardInterrupt:
            if pairs:
                self.rows.append(_row_result(row, pairs, settings, facts))
            raise
        else:
            self.rows.append(_row_result(row, pairs, settings, facts))

    def _know(self, answers: Sequence[Mapping[str, Any]]) -> None:
        """Describe the builds, once."""
        if self.described:
            return
        a, b = self._builds
        package, other = (answer.get("package") for answer in answers)
        if a.path != b.path and package is not None and package == other:
            raise BadInput(f"{a.path} and {b.path} import the same lenet_cpp, {package}")
        self.described = {
            build.label: describe_build(build, answer)
            for build, answer in zip(self._builds, answers, strict=True)
        }


@dataclass(frozen=True)
class _Model:
    """The files of one network: by format, and ``int8``."""

    name: str
    files: Mapping[str, tuple[Path, Path | None]]
    image_shape: tuple[int, ...]


def _files(folder: Path, formats: Sequence[str] | None = None) -> dict[str, Any]:
    return {
        one.format: (one.program.resolve(), one.combined_params.resolve())
        for one in find_models(folder, formats)
        if one.format in COMPARE_FORMATS
    }


def _make_model(network: str | None, settings: CompareSettings, folder: Path) -> _Model:
    """Export a network, or take ``model_dir``; write what else the rows need."""
    model_dir = settings.model_dir
    if network is not None:
        model_dir = folder / "exported"
        size, target = settings.img_size, str(model_dir)
        call_maker(folder, do="export", network=network, img_size=size, target=target)
    files = _files(model_dir)
    first = find_models(model_dir)[0]
    manifest = read_manifest(model_dir) if has_manifest(model_dir) else None
    known = manifest and manifest.models.get(first.program.name)
    shape = known.inputs[0].shape[1:] if known else (1, 28, 28)
    if min(shape) < 1 or not (known or is_lenet(model_dir)):
        raise Unsupported(
            f"{model_dir} has no manifest that says what images it takes: export the model again"
            " with scripts/export_model.py"
        )
    if "onnx" in settings.formats:
        program, params = next(iter(files.values()))
        onnx = folder / "model.onnx"
        call_maker(folder, do="onnx", program=str(program), params=str(params), target=str(onnx))
        files["onnx"] = (onnx, None)
    if "int8" in settings.precisions:
        quantized = settings.quantized_model_dir
        if quantized is None:
            quantized = folder / "quantized"
            source = str(model_dir.resolve())
            call_maker(folder, do="quantize", model_dir=source, target=str(quantized))
        files["int8"] = _files(quantized, ["pdmodel"])["pdmodel"]
    name = network or (manifest and manifest.topology) or "lenet"
    name = "LeNet" if name == "lenet" else name
    return _Model(name.rpartition("/")[2], files, tuple(shape))


def _works(
    model: _Model, settings: CompareSettings, folder: Path, processors: Sequence[int]
) -> list[Work]:
    random = np.random.default_rng(_SEED)
    found = []
    for row in compare_rows(model.name, settings):
        kind = "int8" if row.precision == "int8" else row.format
        if kind not in model.files:
            raise FileNotFound(f"{settings.model_dir} has no .{row.format}; use another --formats")
        program, params = model.files[kind]
        size = row.batch_size or 1
        images = folder / f"images-{size}.npy"
        if not images.exists():
            np.save(images, random.random((size, *model.image_shape), np.float32))
        # The kernel's own work tends to be on the first processor.
        chosen = processors[-row.threads :]
        found.append(Work(row, program, params, images, chosen, folder))
    return found


def compare_builds(
    a: Path, b: Path, settings: CompareSettings, *, progress: bool = False
) -> dict[str, Any]:
    """Measure two builds by turns, a process for each turn, and compare round by round.

    Args:
        a: The build that is compared with.
        b: The build that is compared; both as :func:`find_build` takes them.
        settings: What to compare.
        progress: Whether to show a progress bar on a terminal.

    Returns:
        ``compare`` (the builds), ``machine``, ``date``, ``settings``, ``interrupted`` and
        ``rows``; ratios are time of B by time of A. After Ctrl-C, what was measured until then.

    Raises:
        FileNotFound: A build or the model is missing.
        BadInput: The two are not of one kind, or a setting makes no sense.
        Unsupported: It is not known what images the model takes.
        BackendFailure: A build does not start.
    """
    builds = (find_build("A", a), find_build("B", b))
    if builds[0].python != builds[1].python:
        raise BadInput(
            f"{a} and {b}: one is a C++ build and one a Python environment; name two of one kind"
        )
    processors = sorted(os.sched_getaffinity(0))
    if not all(1 <= threads <= len(processors) for threads in settings.threads):
        raise BadInput(f"threads are from 1 to {len(processors)}, the processors that can be used")
    networks: list[str | None] = [
        network_reference(one, settings.img_size) for one in settings.networks
    ]
    compare_rows("", settings)
    for build in builds:
        check_build(build)
    machine = describe_machine()
    running = _Comparison(builds, settings)
    interrupted = False
    try:
        with tqdm(desc="comparing", unit="row", disable=None if progress else True) as bar:
            for network in networks or [None]:
                with tempfile.TemporaryDirectory(prefix="lenet-benchmark-") as name:
                    bar.set_postfix_str(f"preparing {network or 'the model'}")
                    model = _make_model(network, settings, Path(name))
                    works = _works(model, settings, Path(name), processors)
                    bar.total = len(works) * max(len(networks), 1)
                    for work in works:
                        running.measure(work, bar)
                        bar.update()
    except KeyboardInterrupt:
        interrupted = True
    return {
        "compare": running.described,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine,
        "settings": {
            "seconds": settings.seconds,
            "clock": settings.clock,
            "same_within": settings.same_within,
            "half_width": settings.half_width,
        },
        "interrupted": interrupted,
        "rows": running.rows,
    }


def compare_text(result: dict[str, Any], *, markdown: bool = False) -> str:
    """Format what :func:`compare_builds` returned.

    Args:
        result: The results.
        markdown: Set every table as a block of text, to be pasted into a page.
    """
    builds, machine, rows = result["compare"], result["machine"], result["rows"]
    lines = [f"{machine['cpu']}, {machine['usable_processors']} usable processors"]
    for label, one in builds.items():
        lines.append(
            f"{label} is {one['path']} ({one['kind']}, {one['version']}, {one['sha256'][:12]})"
        )
    if builds and builds["A"]["sha256"] == builds["B"]["sha256"]:
        lines.append("A and B are the same files: every difference is one of the measurement")
    measured = [row for row in rows if row["status"] == "measured"]
    parts = ["\n".join(lines)]
    for title, loading in (("Loading the model", True), ("One run", False)):
        chosen = [row for row in measured if (row["batch_size"] is None) == loading]
        if chosen:
            parts.append(_table(title, chosen, loading=loading))
    notes = [f"{row['name']}: {row['status']}: {row['reason']}" for row in rows if "reason" in row]
    for row in measured:
        if not row["answers_agree"]:
            by = number(row["answers_differ_by"], 1)
            notes.append(
                f"{row['name']}: A and B give different answers, by {by} times the tolerance"
            )
        if row["used"][0] != row["used"][1]:
            notes.append(f"{row['name']}: A runs on {row['used'][0]}; B runs on {row['used'][1]}")
    shares = [row["processor_share"] for row in measured]
    if shares and min(shares) < _SHARED:
        notes.append(
            f"other programs used the processor: a row got {percent(min(shares))} of it; without"
            " them fewer rounds are needed (docs/benchmark.md)"
        )
    if result["interrupted"]:
        notes.append("interrupted: these are the rows measured until then")
    return joined(parts, markdown=markdown) + "".join(f"\n{note}" for note in notes)


def _table(title: str, rows: Sequence[dict[str, Any]], *, loading: bool) -> str:
    found = []
    for row in rows:
        pair = [number(value / MB) for value in row["peak_bytes"]]
        if not loading:
            pair = [number(value, 4) for value in row["p99_ms"]]
        both = [(number(row[clock]["ratio"], 3), _ends(row[clock])) for clock in ("wall", "cpu")]
        clock = row["clock"]
        found.append(
            [
                row["name"],
                row["rounds"],
                number(row[clock]["a_ms"], 4),
                number(row[clock]["b_ms"], 4),
                *pair,
                *both[0],
                *both[1],
                clock,
                row["verdict"],
            ]
        )
    header = [
        title,
        "rounds",
        "A\nms",
        "B\nms",
        *(("A peak\nMB", "B peak\nMB") if loading else ("A p99\nms", "B p99\nms")),
        "B / A\nwall",
        "95 %\ninterval",
        "B / A\ncpu",
        "95 %\ninterval",
        "by",
        "B is",
    ]
    return table(header, found)


def _ends(compared: dict[str, Any]) -> str:
    ends = compared["interval"]
    return NONE if ends is None else f"{ends[0]:.3f}-{ends[1]:.3f}"
