"""Measure how fast the project is, beside other libraries: the command ``benchmark.py``."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click
from click import option

from lenet_cpp import bundled_model_dir
from lenet_cpp._base.files import write_text
from lenet_cpp.cli import _options as cli
from lenet_cpp.errors import BackendFailure, BadInput, FileNotFound
from tools.benchmark import contenders, plots, tables
from tools.benchmark.compare import COMPARED, compare_builds
from tools.benchmark.contenders import CONTENDERS, choose
from tools.benchmark.lifetime import run_memory, run_startup
from tools.benchmark.pages import write_pages
from tools.benchmark.photos import run_photos
from tools.benchmark.serve import run_serve
from tools.benchmark.speed import run_speed
from tools.benchmark.subject import Settings, model_files, network_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tools.benchmark.contenders import Contender

_QUICK: dict[str, Any] = {
    "batch_sizes": (1, 8),
    "threads": (1,),
    "seconds": 0.02,
    "rounds": 2,
    "starts": 2,
    "runs": 200,
}
_USABLE = len(os.sched_getaffinity(0))
# A run of a large network takes ten thousand times as long as one of LeNet.
_LARGE: dict[str, Any] = {"batch_sizes": (1, 8), "baseline": contenders.NETWORK_BASELINE}
_SPEED: dict[str, Any] = {"threads": sorted({1, _USABLE}), "baseline": contenders.BASELINE}
_PAIRS: dict[str, Any] = {"batch_sizes": (1, 8, 64), "seconds": 60.0}
_SERVE: dict[str, Any] = {"networks": ("ResNet18",), "seconds": 5.0, "runs": 1_000_000}
_PHOTOS: dict[str, Any] = {
    "networks": ("MobileNetV2", "ResNet50_vd"),
    "batch_sizes": (1,),
    "seconds": 5.0,
}
_COMPARED = ("native", "pdmodel/auto", "native/int8", "pdmodel/onednn/int8")
_PADDLE = ("lenet_cpp/*/plain", "lenet_cpp/*/onednn", "lenet_cpp/*/openvino")
_TIMED = ("seconds", "threads", "batch_sizes")
_EXACT = ("same_within", "half_width")
# What can be measured: who takes part by default, other defaults than those of Settings, and the
# options that do not go with everything.
_MODES: dict[str, tuple[tuple[str, ...], dict[str, Any], tuple[str, ...]]] = {
    "speed": (("*",), _SPEED, ("model_dir", *_TIMED)),
    "networks": (contenders.NETWORK_CONTENDERS, _LARGE | {"seconds": 2.0}, ("image_size", *_TIMED)),
    "compare": (_COMPARED, _PAIRS, ("model_dir", "image_size", *_EXACT, *_TIMED)),
    "startup": (contenders.STARTED, {}, ("model_dir", "starts")),
    "memory": (("lenet_cpp/native", *_PADDLE), {}, ("model_dir", "runs")),
    "photos": (("*",), _PHOTOS, ("image_size", "seconds")),
    "serve": (("lenet_infer_native",), _SERVE, ("model_dir", "image_size", "runs", "seconds")),
}

_RUNS: dict[str, Callable[[Settings, Sequence[Contender]], dict[str, Any]]] = {
    "startup": run_startup,
    "memory": run_memory,
    "serve": run_serve,
    "photos": run_photos,
}


@cli.command(
    """
%prog --contenders '*/openvino'
    whatever computes with OpenVINO
%prog --contenders 'paddle.inference/pdmodel/plain,*/onednn,*/int8,*/bf16' --threads 1
    the precisions
%prog --json result.json && %prog --show result.json --markdown
    tables for a page
%prog --networks ResNet18,ResNet50_vd,AlexNet
    other networks than LeNet
%prog --networks python/lenet_cpp/bundled/lenet/lenet.json
    a model file, compared with OpenVINO
%prog --compare ../before/build build
    two builds of the C++ program
%prog --compare ../before/.venv .venv --networks ResNet18,AlexNet --json compare.json
    two Python environments
"""
)
@cli.option_group(
    "What is measured (default: latency, of LeNet)",
    option(
        "--networks",
        type=cli.Several(),
        metavar="NAME,...",
        help="instead, of the registry, FILE.py:SPEC, or a model file: FILE.onnx, FILE.json,"
        " FILE.pdmodel, their path without suffix, or their folder",
    ),
    cli.image_size(help="of --networks (default: each network's; of files with open sizes 224)"),
    option("--model-dir", type=cli.FOLDER, help="an exported LeNet (default: yours, or ours)"),
    option("--compare", nargs=2, metavar="A B", help="compare two builds"),
    option("--startup", is_flag=True, help="start processes, and time their first result"),
    option(
        "--memory",
        is_flag=True,
        help="watch resident memory over many runs, and over many predictors",
    ),
    option(
        "--photos",
        is_flag=True,
        help="from the files of photos to classes, with MobileNetV2 and ResNet50_vd or --networks",
    ),
    option(
        "--serve",
        is_flag=True,
        help="lenet_serve beside a bare echo and servers in Python, with ResNet18 or --networks",
    ),
    option(
        "--show", type=cli.FILE, help="measure nothing: tables and pictures of what --json wrote"
    ),
    option(
        "--pages",
        is_flag=True,
        help="measure nothing: write docs/results/*.json into README and docs",
    ),
)
@cli.option_group(
    "Who takes part",
    option(
        "--contenders",
        type=cli.Several(),
        metavar="PATTERN,...",
        help="names, patterns, or groups:"
        f" {', '.join(dict.fromkeys(one.group for one in CONTENDERS))}",
    ),
    option(
        "--precision",
        type=cli.Several(cli.choice("fp32", "bf16", "int8")),
        help="of these contenders only those that compute so",
    ),
    cli.program(help="the C++ program (default: build/lenet_infer_test)"),
    option("--list", is_flag=True, help="show the contenders and what they lack, and end"),
    option(
        "--make-environment",
        is_flag=True,
        help="with --photos: make the environment that PaddleX needs, and end",
    ),
)
@cli.option_group(
    "How",
    option(
        "--batch-sizes",
        type=cli.Several(cli.COUNT),
        help="images a run (default: 1,8,64,1024; of networks 1,8)",
    ),
    option(
        "--threads",
        type=cli.Several(),
        metavar="COUNT,...",
        help="threads a run, 'all' of them too (default: 1,all or 1)",
    ),
    option(
        "--seconds",
        type=float,
        metavar="X",
        help="for each cell (default: 0.5, of networks 2); of a row (60)",
    ),
    cli.seed(help="of the order of turns (default: 1)"),
    option(
        "--same-within",
        type=float,
        metavar="X",
        help="percent: what counts as none (default: 2; of loading 10)",
    ),
    option(
        "--half-width",
        type=float,
        metavar="X",
        help="percent: how exact (default: half of --same-within)",
    ),
    option("--starts", type=cli.COUNT, help="with --startup: processes of each kind (default: 20)"),
    option(
        "--runs",
        type=cli.COUNT,
        help="with --memory: runs of one predictor (default: 100000);"
        " with --serve: requests (1000000)",
    ),
    option("--quick", is_flag=True, help="few and short turns: to see that it works"),
)
@cli.option_group(
    "Results",
    option("--json", type=cli.FILE, help="also write the results as JSON"),
    option("--markdown", is_flag=True, help="print each table as a block for a Markdown page"),
    option("--plots", type=cli.FOLDER, help="where the pictures go (default: build/benchmark)"),
)
def main(**given: Any) -> int:
    """Run the same LeNet in every way there is, side by side, and print how long each takes.

    Each contender is a process of its own, and all take turns within each batch size, in an order
    that is drawn anew for every round: when the machine slows down, it does so for all. What a
    contender answers is compared with a NumPy computation of the network first (of --networks, with
    Paddle's training engine; of model files, with Paddle's plain kernels or, of an .onnx, with
    onnxruntime without optimizations); one that differs is not timed. In bf16 and int8, 98 % of the
    digits have to get the class that they get in float32; of --networks, the outputs may differ by
    10 and by 50 % of the largest.

    --compare A B measures two builds of this library instead: two folders with a lenet_infer_test
    (a CMake build, or a checkout that holds build/), or two Python environments that have
    lenet_cpp.

    Reading the tables:
      median, p90, p99  of the times of single runs, from the array of images to the array of
                        logits; nothing is dropped
      times as fast     as the baseline: the median, least and most of the rounds
      times best peer   as fast as the fastest that is not the native engine, in the same precision
      of the limit      multiply-adds a second, as a share of what a loop of nothing else reaches
      between turns     the largest difference between two turns' medians; above 10 % the machine
                        was busy with other things, and small differences mean nothing
      figure, limit     what must not be lost: how many times as fast as Paddle's plain kernels the
                        native engine is, and with --memory that it keeps no more memory
      B / A             with --compare: time of B by time of A, and its 95 % interval
    """
    options = SimpleNamespace(**given, root=cli.of_script("root", Path()))
    if options.pages:
        for path in write_pages(options.root):
            print(f"written: {path}")
        return 0
    modes = [
        one for one in ("compare", "startup", "memory", "photos", "serve") if getattr(options, one)
    ]
    if len(modes) > 1:
        raise click.UsageError(f"--{modes[0]} and --{modes[1]} are two measurements")
    default = "networks" if options.networks else "speed"
    mode = modes[0] if modes else default
    if options.make_environment and mode != "photos":
        raise click.UsageError("--make-environment goes with --photos")
    _check_flags(options, mode)
    return _show(options) if options.show else _measure(options, mode)


def _check_flags(options: SimpleNamespace, mode: str) -> None:
    """Refuse an option that does not go with what is measured."""
    _, _, allowed = _MODES[mode]
    every = {name for _, _, names in _MODES.values() for name in names}
    for name in sorted(every.difference(allowed)):
        if getattr(options, name) is not None:
            flag = name.replace("_", "-")
            raise click.UsageError(f"--{flag} does not go with what is measured: {mode}")


def _settings(options: SimpleNamespace, usual: dict[str, Any]) -> Settings:
    """Return the settings: what the user gave, or else what is usual for the measurement."""
    given = {
        name: value
        for name, value in vars(options).items()
        if name in Settings.__dataclass_fields__ and value is not None
    }
    for name in {"seconds", *_EXACT} & given.keys():
        if given[name] <= 0:
            raise click.UsageError(f"--{name.replace('_', '-')}: {given[name]:g} is not above 0")
    for name in given.keys() & _EXACT:  # which are given in percent
        given[name] /= 100
    if given.get("threads"):
        given["threads"] = _thread_counts(given["threads"])
    if "batch_sizes" in given:  # the largest decides the peak of memory
        given["batch_sizes"] = sorted(given["batch_sizes"])
    trained = options.root / "inference_model" / "lenet"
    defaults = {
        "model_dir": trained if trained.is_dir() else bundled_model_dir(),
        "program": options.root / "build" / "lenet_infer_test",
        **usual,
    }
    quick = _QUICK if options.quick else {}
    return Settings(**{**defaults, **quick, **given})


def _thread_counts(texts: Sequence[str]) -> list[int]:
    """Return the numbers of threads; "all" is that of the processors."""
    counts = [_USABLE if text == "all" else text for text in texts]
    if not all(str(count).isdecimal() and int(count) for count in counts):
        raise click.UsageError("--threads: numbers above 0, or 'all'")
    return sorted({int(count) for count in counts})


def _chosen(options: SimpleNamespace, mode: str) -> tuple[list[Contender], Settings]:
    """Return who takes part, and the settings."""
    patterns, usual, _ = _MODES[mode]
    if mode == "compare" and options.networks:
        usual = {**usual, **_LARGE}
    files = [one for one in options.networks or () if model_files(one)]
    if files and mode not in {"networks", "compare"}:
        raise click.UsageError(f"--networks {files[0]}: --{mode} takes names only")
    if mode == "networks" and len(files) == len(options.networks):
        patterns = contenders.FILE_CONTENDERS
        usual = {**usual, "baseline": contenders.FILE_BASELINE}
    everybody = {"compare": COMPARED, "photos": contenders.PHOTO_CONTENDERS}.get(mode, CONTENDERS)
    precisions = options.precision
    if not precisions:
        precisions = ("fp32",) if options.networks else contenders.PRECISIONS
    chosen = choose(options.contenders or patterns, everybody, precisions=precisions)
    return chosen, _settings(options, usual)


def _measure(options: SimpleNamespace, mode: str) -> int:
    chosen, settings = _chosen(options, mode)
    if options.list:
        _list(chosen, settings)
        return 0
    if options.make_environment:
        _make_environments(chosen)
        return 0
    if mode == "compare":
        first, second = options.compare
        result = compare_builds(Path(first), Path(second), settings, chosen)
    else:
        result = _RUNS.get(mode, run_speed)(settings, chosen)
    if options.json is not None:
        write_text(options.json, json.dumps(result, allow_nan=False) + "\n")
    _print(options, result)
    return _code(result)


def _list(chosen: Sequence[Contender], settings: Settings) -> None:
    """Print the contenders, and what those lack that cannot run."""
    for network in settings.networks:
        network_reference(network, settings.image_size)  # says which network there is not
    for one in chosen:
        reason = one.missing()
        print(f"{one.name}: {reason}" if reason else one.name)


def _make_environments(chosen: Sequence[Contender]) -> None:
    environments = dict.fromkeys(one.environment for one in chosen if one.environment)
    for environment in environments:
        print(f"{environment.title} is ready: {environment.make(sys.executable)}")


def _print(options: SimpleNamespace, result: dict[str, Any]) -> None:
    print(tables.render(result, markdown=options.markdown), flush=True)
    if find_spec("matplotlib") is None:
        print("\nno pictures without matplotlib: pip install matplotlib")
        return
    folder = options.plots or options.root / "build" / "benchmark"
    for path in plots.draw(result, folder):
        print(f"written: {path}")


def _code(result: dict[str, Any]) -> int:
    if result.get("interrupted"):
        raise KeyboardInterrupt
    rows = [row for one in result.get("networks", [result]) for row in one.get("contenders", ())]
    rows += result.get("rows", ())
    if any(row.get("status") == "failed" for row in rows):
        return BackendFailure.exit_code
    for row in rows:
        slower = row.get("verdict", "").startswith(("slower", "unclear"))
        if slower or row.get("status") == "refused":
            return 1
    return int(not all(figure["holds"] for figure in result.get("figures", ())))


def _show(options: SimpleNamespace) -> int:
    try:
        result = json.loads(options.show.read_text(encoding="utf-8"))
        tables.render(result)
    except OSError as error:
        raise FileNotFound(f"cannot read {options.show}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise BadInput(f"{options.show} holds no results of this version's --json") from error
    _print(options, result)
    return 0
