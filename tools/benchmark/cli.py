"""``benchmark.py``: how fast is it, and beside what?"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp import bundled_model_dir
from lenet_cpp._base.files import write_text
from lenet_cpp.cli import run_cli
from lenet_cpp.errors import BackendFailure, BadInput, FileNotFound
from tools.benchmark import contenders, plots, tables
from tools.benchmark.compare import COMPARED, compare_builds
from tools.benchmark.contenders import CONTENDERS, choose
from tools.benchmark.lifetime import run_memory, run_startup
from tools.benchmark.speed import run_speed
from tools.benchmark.subject import Settings, network_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DESCRIPTION = """\
Run the same LeNet in every way there is, side by side, and print how long each takes.

Each contender is a process of its own, and all take turns within each batch size, in an order that
is drawn anew for every round: when the machine slows down, it does so for all. What a contender
answers is compared with a NumPy computation of the network first (of --networks, with Paddle's
training engine); one that differs is not timed. In bf16 and int8, which are measured with LeNet
only, 98 % of the digits have to get the class that they get in float32.

--compare A B measures two builds of this library instead: two folders with a lenet_infer_test (a
CMake build, or a checkout that holds build/), or two Python environments that have lenet_cpp.
"""
_EPILOG = """\
reading the tables:
  median, p90, p99  of the times of single runs, from the array of images to the array of logits;
                    nothing is dropped
  times as fast     as the baseline: the median, least and most of the rounds
  times best peer   as fast as the fastest that is not the native engine, in the same precision
  of the limit      multiply-adds a second, as a share of what a loop of nothing else reaches here
  between turns     the largest difference between two turns' medians; above 10 %% the machine was
                    busy with other things, and small differences mean nothing
  B / A             with --compare: time of B by time of A, and its 95 %% interval

examples:
  %(prog)s --contenders '*/openvino'
  %(prog)s --contenders 'paddle.inference/pdmodel/plain,*/onednn,*/int8,*/bf16' --threads 1
  %(prog)s --json result.json && %(prog)s --show result.json --markdown
  %(prog)s --networks ResNet18,ResNet50_vd,AlexNet
  %(prog)s --compare ../before/build build
  %(prog)s --compare ../before/.venv .venv --networks ResNet18,AlexNet --json compare.json

exit status: 0 done; 1 a contender was refused, or with --compare a row is slower or unclear; 2
wrong usage; 3 a file is missing; 4 the model is damaged; 5 the settings make no sense; 6 not
supported; 8 a contender failed; 130 interrupted.
"""
_FLAG = re.compile(r"^--[^=]+")  # in which hyphens and underscores are alike


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.split(",")))


def _numbers(text: str) -> tuple[int, ...]:
    # In ascending order: the largest batch decides the peak of memory.
    return tuple(sorted({int(_above_0(one)) for one in text.split(",")}))


def _threads(text: str) -> tuple[int, ...]:
    return _numbers(text.replace("all", str(len(os.sched_getaffinity(0)))))


def _above_0(text: str, kind: Callable[[str], float] = int) -> float:
    if (value := kind(text)) <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _seconds(text: str) -> float:
    return _above_0(text, float)


def _percent(text: str) -> float:
    return _seconds(text) / 100


_QUICK: dict[str, Any] = {"batch_sizes": (1, 8), "threads": (1,), "seconds": 0.02}
_QUICK |= {"rounds": 2, "starts": 2, "runs": 200}
# A run of a large network takes ten thousand times as long as one of LeNet.
_LARGE: dict[str, Any] = {"batch_sizes": (1, 8), "baseline": contenders.NETWORK_BASELINE}
_SPEED: dict[str, Any] = {"threads": _threads("1,all"), "baseline": contenders.BASELINE}
_COMPARED = ("native", "pdmodel/auto", "native/int8", "pdmodel/onednn/int8")
_PADDLE = ("lenet_cpp/*/plain", "lenet_cpp/*/onednn", "lenet_cpp/*/openvino")
_TIMED = ("seconds", "threads", "batch_sizes")
_EXACT = ("same_within", "half_width", "image_size")
# What can be measured: who takes part by default, other defaults than those of Settings, and the
# options that do not go with everything.
_MODES: dict[str, tuple[tuple[str, ...], dict[str, Any], tuple[str, ...]]] = {
    "speed": (("*",), _SPEED, ("model_dir", *_TIMED)),
    "networks": (contenders.NETWORK_CONTENDERS, _LARGE | {"seconds": 2.0}, ("image_size", *_TIMED)),
    "compare": (
        _COMPARED,
        {"batch_sizes": (1, 8, 64), "seconds": 60.0},
        ("model_dir", *_EXACT, *_TIMED),
    ),
    "startup": (contenders.STARTED, {}, ("model_dir", "starts")),
    "memory": (_PADDLE, {}, ("model_dir", "runs")),
}


def _parser(root: Path) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    groups = ", ".join(dict.fromkeys(one.group for one in CONTENDERS))
    add = parser.add_argument
    add("--compare", metavar=("A", "B"), nargs=2, type=Path, help="compare two builds")
    for name, metavar, kind, text in (
        ("model-dir", "DIR", Path, "an exported LeNet (default: yours, or the bundled one)"),
        ("networks", "NAME,...", _names, "instead, of the registry, or FILE.py:SPEC"),
        ("image-size", "S", _above_0, "of --networks (--img-size; default: each network's)"),
        ("program", "FILE", Path, "the C++ program (default: build/lenet_infer_test)"),
        ("contenders", "NAME,...", _names, f"names, patterns, or groups: {groups}; see --list"),
        ("precision", "NAME,...", _names, "of these contenders those in fp32, bf16, int8"),
        ("batch-sizes", "N,...", _numbers, "images a run (default: 1,8,64,1024; of networks 1,8)"),
        ("threads", "N,...", _threads, "threads a run, 'all' of them too (default: 1,all or 1)"),
        ("seconds", "S", _seconds, "for each cell (default: 0.5, of networks 2); of a row (60)"),
        ("seed", "N", int, "of the order of turns (default: 1)"),
        ("same-within", "PERCENT", _percent, "what counts as none (default: 2; of loading 10)"),
        ("half-width", "PERCENT", _percent, "how exact (default: half of --same-within)"),
        ("starts", "N", _above_0, "with --startup: processes of each kind (default: 20)"),
        ("runs", "N", _above_0, "with --memory: runs of one predictor (default: 100000)"),
        ("json", "FILE", Path, "also write the results as JSON"),
        ("show", "FILE", Path, "measure nothing: tables and pictures of what --json wrote"),
        ("plots", "DIR", Path, "where the pictures go (default: build/benchmark)"),
    ):
        alias = ["--img-size"] if name == "image-size" else []
        add(f"--{name}", *alias, metavar=metavar, type=kind, help=text)
    for name, text in (
        ("startup", "start processes, and time their first result"),
        ("memory", "watch resident memory over many runs, and over many predictors"),
        ("list", "show the contenders and what they lack, and end"),
        ("quick", "few and short turns: to see that it works"),
        ("markdown", "print each table as a block for a Markdown page"),
    ):
        add(f"--{name}", action="store_true", help=text)
    build = root / "build"
    parser.set_defaults(program=build / "lenet_infer_test", plots=build / "benchmark")
    return parser


def main(argv: Sequence[str] | None = None, *, root: Path | None = None) -> int:
    """Run the command; ``root`` is the repository, for the defaults (the working folder)."""
    root = root or Path()
    parser = _parser(root)
    given = sys.argv[1:] if argv is None else argv
    given = [_FLAG.sub(lambda flag: flag[0].replace("_", "-"), text) for text in given]
    options = parser.parse_args(given)
    modes = [one for one in ("compare", "startup", "memory") if getattr(options, one)]
    if len(modes) > 1:
        parser.error(f"--{modes[0]} and --{modes[1]} are two measurements")
    mode = modes[0] if modes else "networks" if options.networks else "speed"
    goes = _MODES[mode][2]
    for name in sorted({name for _, _, names in _MODES.values() for name in names} - {*goes}):
        if getattr(options, name) is not None:
            parser.error(f"--{name.replace('_', '-')} does not go with what is measured: {mode}")
    return run_cli(lambda: _show(options) if options.show else _measure(options, mode, root))


def _measure(options: argparse.Namespace, mode: str, root: Path) -> int:
    patterns, usual, _ = _MODES[mode]
    if mode == "compare" and options.networks:
        usual = {**usual, **_LARGE}
    everybody = COMPARED if mode == "compare" else CONTENDERS
    precisions = options.precision or (("fp32",) if options.networks else contenders.PRECISIONS)
    chosen = choose(options.contenders or patterns, everybody, precisions=precisions)
    known = Settings.__dataclass_fields__
    trained = root / "inference_model" / "lenet"
    named = {
        "model_dir": trained if trained.is_dir() else bundled_model_dir(),
        **(usual | (_QUICK if options.quick else {})),
        **{k: v for k, v in vars(options).items() if k in known and v is not None},
    }
    settings = Settings(**named)
    if options.list:
        for network in settings.networks:
            network_reference(network, settings.image_size)
        for one in chosen:
            print(one.name + (f": {reason}" if (reason := one.missing()) else ""))
        return 0
    if mode == "compare":
        a, b = options.compare
        result = compare_builds(a, b, settings, chosen)
    else:
        run = {"startup": run_startup, "memory": run_memory}.get(mode, run_speed)
        result = run(settings, chosen)
    if options.json is not None:
        write_text(options.json, json.dumps(result, allow_nan=False) + "\n")
    _print(options, result)
    return _code(result)


def _print(options: argparse.Namespace, result: dict[str, Any]) -> None:
    print(tables.render(result, markdown=options.markdown), flush=True)
    if find_spec("matplotlib") is None:
        print("\nno pictures without matplotlib: pip install matplotlib")
        return
    for path in plots.draw(result, options.plots):
        print(f"written: {path}")


def _code(result: dict[str, Any]) -> int:
    if result.get("interrupted"):
        raise KeyboardInterrupt
    rows = [row for one in result.get("networks", [result]) for row in one.get("contenders", ())]
    rows += result.get("rows", ())
    if any(row.get("status") == "failed" for row in rows):
        return BackendFailure.exit_code
    bad = (
        row.get("status") == "refused" or row.get("verdict", "").startswith(("slower", "unclear"))
        for row in rows
    )
    return int(any(bad))


def _show(options: argparse.Namespace) -> int:
    try:
        result = json.loads(options.show.read_text(encoding="utf-8"))
        tables.render(result)
    except OSError as error:
        raise FileNotFound(f"cannot read {options.show}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise BadInput(f"{options.show} holds no results of this version's --json") from error
    _print(options, result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
