"""Compare the speed of the project with other libraries: the command ``benchmark.py``."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace
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
_SERVE: dict[str, Any] = {
    "networks": ("ResNet18",),
    "seconds": 5.0,
    "rounds": 10,
    "runs": 1_000_000,
}
_PHOTOS: dict[str, Any] = {
    "networks": ("MobileNetV2", "ResNet50_vd"),
    "batch_sizes": (1,),
    "seconds": 5.0,
}
_COMPARED = ("native", "pdmodel/auto", "native/int8", "pdmodel/onednn/int8")
_PADDLE = ("lenet_cpp/*/plain", "lenet_cpp/*/onednn", "lenet_cpp/*/openvino")
_FOLDERS = re.compile(r"(?<![\w./-])/(?:[^/\s\"']+/)+")
"""The folders of an absolute path, which exist on one machine only."""
_TIMED = ("seconds", "threads", "batch_sizes")
_EXACT = ("same_within", "half_width")
# For each measurement: the default contenders, the defaults that differ from those of Settings, and
# the options that are only for some measurements, if this one accepts them.
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
    measure every contender that computes with OpenVINO
%prog --contenders 'paddle.inference/pdmodel/plain,*/onednn,*/int8,*/bf16' --threads 1
    compare the precisions
%prog --json result.json && %prog --show result.json --markdown
    print tables for a page
%prog --networks ResNet18,ResNet50_vd,AlexNet
    measure other networks instead of LeNet
%prog --networks python/lenet_cpp/bundled/lenet/lenet.json
    measure a model file, and compare with OpenVINO
%prog --compare ../before/build build
    compare two builds of the C++ program
%prog --compare ../before/.venv .venv --networks ResNet18,AlexNet --json compare.json
    compare two Python environments
"""
)
@cli.option_group(
    "What is measured (default: the latency of LeNet)",
    option(
        "--networks",
        type=cli.Several(),
        metavar="NAME,...",
        help="measure these instead: registered networks, FILE.py:SPEC, or model files: FILE.onnx,"
        " FILE.json, FILE.pdmodel, their path without suffix, or their folder",
    ),
    cli.image_size(
        help="image size for --networks (default: each network's, or 224 for open sizes)"
    ),
    option(
        "--model-dir",
        type=cli.FOLDER,
        help="an exported LeNet (default: inference_model/lenet, or the package's)",
    ),
    option("--compare", nargs=2, metavar="A B", help="compare two builds"),
    option(
        "--startup",
        is_flag=True,
        help="measure the time from the start of a process to its first result",
    ),
    option(
        "--memory",
        is_flag=True,
        help="measure the resident memory over many runs, and over many predictors",
    ),
    option(
        "--photos",
        is_flag=True,
        help="measure from photo files to classes, with MobileNetV2 and ResNet50_vd or --networks",
    ),
    option(
        "--serve",
        is_flag=True,
        help="measure lenet_serve, an echo server and Python servers, with ResNet18 or --networks",
    ),
    option(
        "--show",
        type=cli.FILE,
        help="measure nothing; print the tables and draw the pictures of a --json file",
    ),
)
@cli.option_group(
    "Contenders",
    option(
        "--contenders",
        type=cli.Several(),
        metavar="PATTERN,...",
        help="measure these: names, patterns, or groups (of a library those from Python;"
        " 'ncnn*' adds those from C++):"
        f" {', '.join(dict.fromkeys(one.group for one in CONTENDERS))}",
    ),
    option(
        "--precision",
        type=cli.Several(cli.choice("fp32", "bf16", "int8")),
        help="measure only the contenders with these precisions",
    ),
    cli.program(help="the C++ program (default: build/lenet_infer_test)"),
    option(
        "--peer-libraries",
        type=cli.FOLDER,
        help="where ncnn and mnn, the folders of these C++ libraries, are (default:"
        f" {contenders.PEER_LIBRARIES})",
    ),
    option("--list", is_flag=True, help="list the contenders and what they lack, and exit"),
    option(
        "--make-environment",
        is_flag=True,
        help="create the environment that ncnn, MNN, torch.compile and ExecuTorch need, or with"
        " --photos PaddleX's, and exit",
    ),
)
@cli.option_group(
    "Settings",
    option(
        "--batch-sizes",
        type=cli.Several(cli.COUNT),
        help="images per run (default: 1,8,64,1024; for --networks 1,8)",
    ),
    option(
        "--threads",
        type=cli.Several(),
        metavar="COUNT,...",
        help="threads per run; 'all' uses every processor (default: 1,all or 1)",
    ),
    option(
        "--seconds",
        type=float,
        metavar="X",
        help="measuring time of a cell (default: 0.5, for --networks 2), or of a row (60)",
    ),
    cli.seed(help="seed of the order of turns (default: 1)"),
    option(
        "--same-within",
        type=float,
        metavar="X",
        help="percent: differences up to X count as none (default: 2; for loading 10)",
    ),
    option(
        "--half-width",
        type=float,
        metavar="X",
        help="percent: accuracy of the ratio (default: half of --same-within)",
    ),
    option("--starts", type=cli.COUNT, help="with --startup: processes of each kind (default: 20)"),
    option(
        "--runs",
        type=cli.COUNT,
        help="with --memory: runs of one predictor (default: 100000);"
        " with --serve: requests (1000000)",
    ),
    option("--quick", is_flag=True, help="few and short turns, to check that everything works"),
)
@cli.option_group(
    "Results",
    option("--json", type=cli.FILE, help="also write the results as JSON"),
    option("--markdown", is_flag=True, help="print each table as a block of a Markdown page"),
    option("--plots", type=cli.FOLDER, help="folder for the pictures (default: build/benchmark)"),
)
def main(**given: Any) -> int:
    """Run the same LeNet with this project and other libraries, and print the times.

    Each contender runs in a separate process. For each batch size, all contenders take turns, in a
    new random order in every round, so that a slow phase of the machine affects all of them. First
    the outputs of each contender are compared with the network in float64: as NumPy computes LeNet,
    Paddle's training engine --networks, PyTorch an .onnx (where --make-environment was run; else
    onnxruntime without optimizations, in float32). A contender with wrong outputs is not timed, and
    one whose error is above 1e-4 of the largest output is not the best peer of any other. In
    bf16 and int8, 98 % of the digits must get the same class as in float32; for --networks, the
    outputs may differ by 10 % in bf16 and by 50 % in int8 of the largest output.

    --compare A B compares two builds of this library instead: two folders with a lenet_infer_test
    (a CMake build, or a checkout with build/), or two Python environments with lenet_cpp.

    The columns of the tables:
      median, p90, p99  time of a single run, from the array of images to the array of logits; no
                        run is dropped
      times as fast     ratio to the baseline: median, minimum and maximum of the rounds
      times best peer   ratio to the fastest contender in the same precision that is not native
      error             largest difference from float64, as a share of the largest output
      of the limit      multiply-adds per second, as a share of the speed of a loop that only
                        multiplies and adds
      between turns     largest difference between the medians of two turns; above 10 % the machine
                        was busy, and small differences mean nothing
      figure, limit     a figure that must not get worse: the speed of the native engine relative to
                        Paddle's plain kernels, and with --memory its memory
      times its rate    with --serve: ratio of the rates of lenet_serve and of this server, the
                        median of the rounds; of gRPC, that of the same values over HTTP
      B / A             with --compare: ratio of the times of B and A, and its 95 % interval
    """
    options = SimpleNamespace(**given, root=cli.of_script("root", Path()))
    modes = [
        one for one in ("compare", "startup", "memory", "photos", "serve") if getattr(options, one)
    ]
    if len(modes) > 1:
        raise click.UsageError(f"--{modes[0]} cannot be combined with --{modes[1]}")
    default = "networks" if options.networks else "speed"
    mode = modes[0] if modes else default
    if options.make_environment and mode not in {"speed", "networks", "photos"}:
        raise click.UsageError(f"--make-environment: --{mode} needs none")
    _check_flags(options, mode)
    return _show(options) if options.show else _measure(options, mode)


def _check_flags(options: SimpleNamespace, mode: str) -> None:
    """Refuse an option that the measurement does not use."""
    _, _, allowed = _MODES[mode]
    every = {name for _, _, names in _MODES.values() for name in names}
    for name in sorted(every.difference(allowed)):
        if getattr(options, name) is not None:
            flag = name.replace("_", "-")
            raise click.UsageError(f"--{flag} cannot be used with this measurement: {mode}")


def _settings(options: SimpleNamespace, usual: dict[str, Any]) -> Settings:
    """Return the settings: the given options, or else the defaults of the measurement."""
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
    if options.peer_libraries is not None:
        chosen = [replace(one, libraries=options.peer_libraries) for one in chosen]
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
        text = json.dumps(result, allow_nan=False)
        if mode != "compare":  # There, the folders say which build is which.
            text = _FOLDERS.sub("", text)
        write_text(options.json, text + "\n")
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
