"""``benchmark.py``: how fast is it, and beside what?"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp._base.files import write_text
from lenet_cpp.cli import run_cli
from lenet_cpp.cli._parsers import names, new_parser, positive, positives, seconds
from lenet_cpp.errors import BackendFailure, BadInput, FileNotFound
from tools.benchmark import (
    BATCH_SIZES,
    COMPARE_ENGINES,
    COMPARE_FORMATS,
    CONTENDERS,
    NETWORK_BASELINE,
    NETWORK_CONTENDERS,
    PRECISIONS,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.benchmark import Contender, Settings

__all__ = ["main"]

_QUICK: dict[str, Any] = {
    "batch_sizes": (1, 8),
    "threads": (1,),
    "seconds": 0.02,
    "rounds": 2,
    "starts": 1,
}
# A run takes ten thousand times as long as one of LeNet.
_NETWORK_DEFAULTS: dict[str, Any] = {
    "batch_sizes": (1, 8),
    "threads": (1,),
    "seconds": 2.0,
    "starts": 1,
    "baseline": NETWORK_BASELINE,
}

_DESCRIPTION = """\
Run the same LeNet in every way there is, side by side, and print how long each takes.

Each contender is a process of its own, and all take turns within each batch size, in an order that
is drawn anew for every round: when the machine slows down, it does so for all. What a contender
answers is compared with a NumPy computation of the network first; one that differs is not timed.
In bf16 and int8 the outputs differ, but 98 % of the digits have to get the class that they get in
float, and the accuracy may be lower by one percentage point at most.

  dygraph           the paddle.nn.Layer, in Python
  paddle.inference  the exported model, in Python; /pdmodel/plain is what all are compared with
  program           the exported model, by lenet_infer_test
  lenet_cpp         the exported model, by this package
  onnxruntime, openvino, litert
                    the same weights in other engines, where these are installed (the extra
                    'bench' of the package)

lenet_cpp/auto is what a user gets who names nothing: the engine native for LeNet, another for
larger networks; the tables say which. --networks measures such networks, with random weights, and
compares them with Paddle's training engine instead of NumPy.

Names that end in /bf16 or /int8 compute in that precision, the others in float32. The int8 models
are quantized from the float one when the benchmark begins (about ten seconds).

--compare A B measures two builds of this library instead: two folders with a lenet_infer_test (a
CMake build, or a checkout that holds build/), or two Python environments that have lenet_cpp. Each
turn is a new process; A and B take turns (A B, B A, ...) on the same processor. The ratio is the
time of B by the time of A, round by round; the verdict goes by the interval of its median, and the
exit status by the verdicts. Two times are compared: the wall time of the median run, which is the
exacter one, and the processor time of a run (user and system). The verdict goes by the wall time;
but where other programs took over a tenth of the processor, by the processor time of what takes
over 3 ms on one thread, which they then interrupt every time. --clock chooses. A row is measured
until its interval is narrow enough.
"""

_EPILOG = """\
reading the tables:
  median, p90, p99  of the times of single runs, from the array of images to the array of logits;
                    the slowest count, nothing is dropped
  times as fast     as the baseline: the median, least and most of the rounds
  times best peer   as fast as the fastest that is not the engine native, in the same precision
  times fp32        as fast as the same engine in float32
  same class        share of the 1,000 digits with the class that NumPy's float arithmetic gives
  of the limit      multiply-adds a second, as a share of what a loop of nothing else reaches here
  between turns     the largest difference between two turns' medians; above 10 %% the machine was
                    busy with other things, and small differences mean nothing

  B / A             with --compare: time of B by time of A; above 1, B is slower
  95 %% interval     of the median of the rounds' ratios, by the sign test
  B is              the same within 2 %%: the whole interval is; slower or faster: 1 is outside of
                    the interval, and the ratio is beyond 2 %%; unclear: anything else

examples:
  %(prog)s
      everything, in about ten minutes
  %(prog)s --contenders paddle.inference,lenet_cpp --batch-sizes 1 --threads 1 --seconds 2
      the two, longer
  %(prog)s --contenders '*/openvino'
      one accelerator, by every road
  %(prog)s --contenders 'paddle.inference/pdmodel/plain,*/onednn,*/int8,*/bf16'
      what int8 and bf16 gain
  %(prog)s --contenders '*/int8' --quantized-model-dir inference_model/lenet_dygraph-qat
      an int8 model of your own
  %(prog)s --json result.json && %(prog)s --show result.json --markdown
      measure once, and print the tables for a page
  %(prog)s --memory
      resident memory over 100,000 runs and 1,000 predictors (about an hour)
  %(prog)s --networks ResNet18,ResNet50_vd,AlexNet
      three large networks, one thread (about eight minutes); --threads 1,all for all cores too
  %(prog)s --threads 1,all --contenders '*/native,onnxruntime,openvino,litert'
      how much faster batches are on all cores
  %(prog)s --startup
      processes that load the model and run one image, with the engines native and paddle: time
      from start to result, and memory (about two minutes)
  %(prog)s --compare ../before/build build
      LeNet in two builds, loading and running, float32 and int8 (about ten minutes)
  %(prog)s --compare ../before/.venv .venv --networks ResNet18,AlexNet --json compare.json
      two Python environments

exit status: 0 done; 1 a contender was refused, or with --compare a row is slower or unclear; 2
wrong usage; 3 a file is missing; 4 the model is damaged; 5 the settings make no sense; 6 not
supported; 8 a contender failed; 130 interrupted.
"""


def main(argv: Sequence[str] | None = None, *, root: Path | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process when None.
        root: The repository, for the defaults; the working folder when None.

    Returns:
        The exit code.
    """
    root = Path() if root is None else root
    parser = _parser(root)
    options = parser.parse_args(argv)
    if wrong := _contradiction(options):
        parser.error(wrong)
    if options.show is not None:
        return run_cli(lambda: _show(options))
    if options.model_dir is None and (root / "inference_model" / "lenet").is_dir():
        options.model_dir = root / "inference_model" / "lenet"
    return run_cli(lambda: _command(options))


def _parser(root: Path) -> argparse.ArgumentParser:
    parser = new_parser(_DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add(
        "--model-dir",
        metavar="DIR",
        type=Path,
        help="an exported LeNet (default: inference_model/lenet, or else the bundled one); another"
        " network that was exported with random parameters, or from --params",
    )
    add(
        "--params",
        metavar="FILE",
        type=Path,
        help="the .pdparams that --model-dir was exported from, of another network than LeNet",
    )
    add(
        "--networks",
        metavar="NAME,...",
        type=names,
        help="instead of a model, these networks of the registry (docs/models.md), or"
        " FILE.py:SPEC, with random weights; exported to a temporary folder",
    )
    add(
        "--img-size",
        metavar="S",
        type=positive,
        help="with --networks: height and width of the images (default: each network's)",
    )
    add(
        "--quantized-model-dir",
        metavar="DIR",
        type=Path,
        help="a quantized LeNet, for Paddle's int8 contenders (default: made from the other, by"
        " static-ptq on the embedded digits)",
    )
    add(
        "--program",
        metavar="FILE",
        type=Path,
        default=root / "build" / "lenet_infer_test",
        help="the C++ program, with multiply_add_limit beside it (default: build/lenet_infer_test)",
    )
    groups = ",".join(dict.fromkeys(one.group for one in CONTENDERS))
    add(
        "--contenders",
        metavar="NAME,...",
        type=names,
        help=f"groups ({groups}), names, or patterns such as '*/plain'; --list shows all names"
        " (default: all; with --networks the engines of lenet_cpp, onnxruntime and openvino; with"
        f" --compare native and paddle/auto among {', '.join(COMPARE_ENGINES)})",
    )
    add(
        "--precision",
        metavar="NAME,...",
        type=names,
        help=f"of these contenders those in: {', '.join(PRECISIONS)} (default: all; with --networks"
        " there is fp32 alone)",
    )
    add("--list", action="store_true", help="show the contenders and what they lack, and end")
    add(
        "--batch-sizes",
        metavar="N,...",
        type=_numbers,
        help=f"images a run (default: {','.join(map(str, BATCH_SIZES))}; with --networks"
        f" {','.join(map(str, _NETWORK_DEFAULTS['batch_sizes']))})",
    )
    add(
        "--threads",
        metavar="N,...",
        type=_threads,
        help="threads a run, each on a processor of its own; 'all' is as many as there are"
        " (default: 1,all; with --networks 1)",
    )
    add(
        "--seconds",
        metavar="S",
        type=seconds,
        help="measured time of each contender, batch size and number of threads (default: 0.5;"
        f" with --networks {_NETWORK_DEFAULTS['seconds']:g}); with --compare the most time of a row"
        " (default: 60)",
    )
    add("--seed", metavar="N", type=int, default=1, help="of the order of turns (default: 1)")
    _add_compare(parser)
    add("--memory", action="store_true", help="watch resident memory instead of the time")
    add(
        "--memory-runs",
        metavar="N",
        type=positive,
        help="with --memory: runs of one predictor (default: 100000); made are a hundredth of that",
    )
    add("--startup", action="store_true", help="start processes, and time their first result")
    add(
        "--starts",
        metavar="N",
        type=positive,
        help="with --startup: processes of each kind (default: 100)",
    )
    add("--quick", action="store_true", help="few and short turns: to see that it works")
    add("--json", "--report", metavar="FILE", type=Path, help="also write the results as JSON")
    add(
        "--show",
        metavar="FILE",
        type=Path,
        help="measure nothing: print the tables of a file that --json wrote",
    )
    add("--markdown", action="store_true", help="print each table as a block for a Markdown page")
    add(
        "--plots",
        metavar="DIR",
        type=Path,
        default=root / "build" / "benchmark",
        help="where the pictures go, if matplotlib is there (default: build/benchmark)",
    )
    return parser


def _add_compare(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--compare",
        metavar=("A", "B"),
        nargs=2,
        type=Path,
        help="compare two builds, or two Python environments",
    )
    add(
        "--clock",
        choices=("auto", "wall", "cpu"),
        help="with --compare: the time that the verdict goes by (default: auto, see above)",
    )
    add(
        "--same-within",
        metavar="PERCENT",
        type=_share,
        help="with --compare: the largest difference that counts as none (default: 2 of running, 10"
        " of loading)",
    )
    add(
        "--half-width",
        metavar="PERCENT",
        type=_share,
        help="with --compare: measure a row until both ends of the interval are this near to its"
        " middle, or for --seconds (default: half of --same-within)",
    )
    add(
        "--formats",
        metavar="NAME,...",
        type=names,
        help=f"with --compare: files of the model: {', '.join(COMPARE_FORMATS)} (default: pdmodel)",
    )


def _contradiction(options: argparse.Namespace) -> str | None:
    """Say which options do not go together."""
    for name, mode in (("memory_runs", "memory"), ("starts", "startup"), ("img_size", "networks")):
        if getattr(options, name) is not None and not getattr(options, mode):
            return f"--{name.replace('_', '-')} goes with --{mode}"
    if wrong := _beside_compare(options):
        return wrong
    alone = [one for one in ("networks", "memory", "startup") if getattr(options, one)]
    if len(alone) > 1:
        return f"--{alone[0]} and --{alone[1]} are two measurements"
    others = {
        "networks": ("model_dir", "params", "quantized_model_dir", "precision"),
        "memory": ("params", "batch_sizes", "threads", "seconds"),
        "startup": ("params", "batch_sizes", "threads", "seconds"),
    }
    for mode in alone:
        for name in others[mode]:
            if getattr(options, name):
                return f"--{mode} takes no --{name.replace('_', '-')}"
    return None


def _beside_compare(options: argparse.Namespace) -> str | None:
    if options.compare is None:
        own = ("clock", "same_within", "half_width", "formats")
        alone = [one for one in own if getattr(options, one) is not None]
        return f"--{alone[0].replace('_', '-')} goes with --compare" if alone else None
    others = ("memory", "startup", "params", "show")
    wrong = [one for one in others if getattr(options, one)]
    return f"--compare takes no --{wrong[0]}" if wrong else None


def _share(text: str) -> float:
    value = float(text) / 100
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and below 100")
    return value


def _numbers(text: str) -> tuple[int, ...]:
    # In ascending order: the largest batch decides the peak of memory.
    return tuple(sorted(positives(text)))


def _threads(text: str) -> tuple[int, ...]:
    everything = len(os.sched_getaffinity(0))
    parts = [everything if part == "all" else positive(part) for part in text.split(",")]
    return tuple(dict.fromkeys(parts))


def _command(options: argparse.Namespace) -> int:
    from lenet_cpp import bundled_model_dir
    from tools.benchmark import Settings, choose, network_reference, run_benchmark
    from tools.benchmark.plots import plot_benchmark
    from tools.benchmark.subject import is_lenet
    from tools.benchmark.tables import benchmark_text

    model_dir = options.model_dir or bundled_model_dir()
    if options.compare is not None:
        return _compare(options, model_dir)
    large = bool(options.networks) or not is_lenet(model_dir)
    contenders = choose(
        options.contenders or (NETWORK_CONTENDERS if large else None),
        precisions=options.precision or (("fp32",) if large else PRECISIONS),
    )
    if options.list:
        for name in options.networks or ():
            network_reference(name, options.img_size)
        for contender in contenders:
            missing = contender.missing()
            print(contender.name + (f": {missing}" if missing else ""))
        return 0
    if options.memory:
        return _memory(options, model_dir)
    if options.startup:
        return _startup(options, model_dir)
    named = {
        name: getattr(options, name)
        for name in ("batch_sizes", "threads", "seconds")
        if getattr(options, name) is not None
    }
    usual = _NETWORK_DEFAULTS if large else {"threads": _threads("1,all")}
    settings = Settings(
        model_dir=model_dir,
        program=options.program,
        seed=options.seed,
        quantized_model_dir=options.quantized_model_dir,
        params=options.params,
        **{**usual, **(_QUICK if options.quick else {}), **named},
    )
    if options.networks:
        return _networks(options, settings, contenders)
    result = run_benchmark(settings, contenders, progress=True)
    print(benchmark_text(result, markdown=options.markdown), flush=True)
    _write(options, result, plot_benchmark)
    return _code([result])


def _compare(options: argparse.Namespace, model_dir: Path) -> int:
    from tools.benchmark import CompareSettings, compare_builds, compare_rows, network_reference
    from tools.benchmark.compare import compare_text
    from tools.benchmark.subject import is_lenet

    lenet = not options.networks and is_lenet(model_dir)
    usual: dict[str, Any] = {
        "engines": options.contenders,
        "precisions": options.precision or (("fp32", "int8") if lenet else None),
        "batch_sizes": options.batch_sizes or ((1, 8, 64) if lenet and not options.quick else None),
        "seconds": options.seconds or (1.0 if options.quick else None),
        "same_within": options.same_within and (options.same_within, options.same_within),
    }
    same = ("networks", "quantized_model_dir", "img_size", "formats", "threads", "half_width")
    usual |= {name: getattr(options, name) for name in (*same, "clock")}
    settings = CompareSettings(
        model_dir, **{name: value for name, value in usual.items() if value is not None}
    )
    if options.list:
        named = [network_reference(one, options.img_size) for one in settings.networks]
        for network in named or [model_dir.name]:
            print("\n".join(row.name for row in compare_rows(network, settings)))
        return 0
    a, b = options.compare
    result = compare_builds(a, b, settings, progress=True)
    print(compare_text(result, markdown=options.markdown), flush=True)
    if options.json is not None:
        _write_json(options.json, result)
    if result["interrupted"]:
        raise KeyboardInterrupt
    if any(row["status"] == "failed" for row in result["rows"]):
        return BackendFailure.exit_code
    verdicts = [row.get("verdict", "") for row in result["rows"]]
    return 1 if any(one.startswith(("slower", "unclear")) for one in verdicts) else 0


def _networks(
    options: argparse.Namespace, settings: Settings, contenders: Sequence[Contender]
) -> int:
    from tools.benchmark import run_networks
    from tools.benchmark.networks import networks_text
    from tools.benchmark.plots import plot_networks

    result = run_networks(
        options.networks, settings, contenders, img_size=options.img_size, progress=True
    )
    print(networks_text(result, markdown=options.markdown), flush=True)
    _write(options, result, plot_networks)
    return _code(result["networks"])


def _code(results: Sequence[dict[str, Any]]) -> int:
    refused = (one["status"] == "refused" for result in results for one in result["contenders"])
    return 1 if any(refused) else 0


def _show(options: argparse.Namespace) -> int:
    from tools.benchmark.compare import compare_text
    from tools.benchmark.memory import memory_text
    from tools.benchmark.networks import networks_text
    from tools.benchmark.startup import startup_text
    from tools.benchmark.tables import benchmark_text

    kinds = {
        "compare": compare_text,
        "series": memory_text,
        "startup": startup_text,
        "networks": networks_text,
    }
    try:
        result = json.loads(options.show.read_text(encoding="utf-8"))
        text = next((kinds[key] for key in kinds if key in result), benchmark_text)
        said = text(result, markdown=options.markdown)
    except OSError as error:
        raise FileNotFound(f"cannot read {options.show}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise BadInput(f"{options.show} holds no results of this version's --json") from error
    print(said)
    return 0


def _memory(options: argparse.Namespace, model_dir: Path) -> int:
    from tools.benchmark import MemorySettings, choose, run_memory
    from tools.benchmark.memory import SERIES, memory_text
    from tools.benchmark.plots import plot_memory

    runs = options.memory_runs or (200 if options.quick else 100_000)
    creations = max(5, runs // 100)
    chosen = choose(options.contenders, precisions=options.precision or PRECISIONS)
    names = {contender.name for contender in chosen}
    series = [one for one in SERIES if one.contender in names]
    settings = MemorySettings(model_dir, runs, creations, options.seed)
    result = run_memory(settings, series, progress=True)
    print(memory_text(result, markdown=options.markdown), flush=True)
    _write(options, result, plot_memory)
    return 0


def _startup(options: argparse.Namespace, model_dir: Path) -> int:
    from tools.benchmark import StartupSettings, run_startup
    from tools.benchmark.startup import startup_text

    starts = options.starts or (2 if options.quick else 100)
    settings = StartupSettings(model_dir, options.program, starts, options.seed)
    result = run_startup(settings, progress=True)
    print(startup_text(result, markdown=options.markdown), flush=True)
    if options.json is not None:
        _write_json(options.json, result)
    return 0


def _write_json(path: Path, result: dict[str, Any]) -> None:
    write_text(path, json.dumps(result, allow_nan=False) + "\n")
    print(f"\nwritten: {path}")


def _write(options: argparse.Namespace, result: dict[str, Any], plot: Any) -> None:
    from tools.benchmark.plots import can_plot

    if options.json is not None:
        _write_json(options.json, result)
    if can_plot():
        print("\n" + "\n".join(f"written: {path}" for path in plot(result, options.plots)))
    else:
        print("\nno pictures without matplotlib: pip install matplotlib")


if __name__ == "__main__":
    raise SystemExit(main())
