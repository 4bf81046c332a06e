"""The command of hostile input: damaged models, files that grow, and random networks.

    python -m tools.hostile mutants --count=2000
    python -m tools.hostile mutants --engine=native --tokens=1
    python -m tools.hostile growth --scale=8
    python -m tools.hostile networks --seed=15 --count=150
    python -m tools.hostile traffic --seed=15 --count=2000
    python -m tools.hostile tokens --seed=15 --count=2000
    python -m tools.hostile blocks --seed=15 --count=2000
    python -m tools.hostile replay FILE...

Exit code: 0 nothing found, 1 finds, 2 wrong usage.
"""

import argparse
import datetime
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from lenet_cpp.cli import run_cli
from lenet_cpp.inference.bundled import bundled_model_dir
from tools.hostile.engines import (
    BLOCKS_TARGETS,
    JUDGES,
    PADDLE_TOKENS_TARGETS,
    TOKENS_TARGETS,
    TRAFFIC_TARGETS,
    drawn,
    framework,
)
from tools.hostile.growth import run_growth
from tools.hostile.hunt import entry, hunt, minimised, save
from tools.hostile.neighbours import count_all, print_table
from tools.hostile.networks import dump, load
from tools.hostile.survey import ACCELERATORS, survey

COUNTING = Path(__file__).parents[2] / "build" / "asan-ubsan" / "lenet_measure_loading"
TOKENS_SEED = 15
PADDLE_EVERY = 9  # one of so many networks of tokens is exported by Paddle
JUDGED_EVERY = 5  # networks of blocks, by other engines than onnxruntime
MUTANTS = """Damage a model in many ways, load and run each variant in a child process, and report
what was refused, ran, or killed the child. SHA256SUMS is not looked at: who changes a model can
change that too. An .onnx is damaged only with --engine native, and where --model-dir holds one or
--tokens makes it."""
GROWTH = """Load files that grow, each at its own size and twice that: loading may take time and
memory at most linear in the size of the files. Needs what ./test.sh builds."""
NETWORKS = """Draw random networks, each from a seed and a number, and compare every engine with the
frameworks on them. "15/7" is the same network everywhere. It has a few layers of the operators that
the checks of models accept, with odd attributes and shapes. Paddle exports it as .json, .pdmodel
and separate files, or each third network is written as .onnx. Then each engine and accelerator runs
it from Python, and runs some from the C++ program. The outputs are compared with dygraph's
(onnxruntime's for .onnx), by the rule of lenet_cpp.agreement. Where two disagree, float64 says who
is wrong. An engine or accelerator may refuse a network by name (Unsupported) where another one runs
it. Anything else is a find: it is reduced to the smallest network that shows it, printed, and saved
with the exported model in --save-dir."""
TRAFFIC = """Draw random networks of channel traffic, each from a seed and a number, and run them in
the native engine: slices, splits, concatenations, paddings, repetitions, sums, products, shuffles,
pools and convolutions of 1 to 96 channels, which share memory there. Each is an .onnx of up to 40
operators and several outputs, for 1, 3 or 64 images. They run on one instruction set after the
other, or in bf16, unless --targets names some, such as onnx/native/avx512 onnx/native/bf16; name
bf16 to replay a find of it. The outputs are compared with onnxruntime's without optimizations, in
bf16 within 0.1. A find is treated as one of `networks`."""
TOKENS = """Draw random networks of tokens, each from a seed and a number, and run them in the
native engine: norms, products of matrices, softmaxes, transpositions, windows, heads, class tokens,
broadcasts, reductions, sums so far and the largest values, of ranks 2 to 6, between convolutions.
Each is an .onnx of up to 40 layers and several outputs, for 1, 3 or 64 images, and is run with one
thread and with several, and with the memory overwritten before each run or not. Every ninth is a
program of Paddle's instead. A few of the networks mix images, which the native engine has to
refuse, or to compute right for each batch. They run on one instruction set after the other, in bf16
or by the default engine, unless --targets names some. The outputs are compared with onnxruntime's
without optimizations. Refusals of the native engine are counted by operator and sentence. A find is
treated as one of `networks`."""
BLOCKS = """Draw random networks of whole blocks, with more operators on their edges: attention with
masks, scales and heads, perceptrons, residuals, squeeze and excite, windows, normalizations. Every
second network has pairs of operators instead, of all that ONNX's networks have in the native
engine, with constants of every shape; its number says which pairs, so that each pair comes as often
as any other. The number of images is open or fixed. They run on one instruction set after the
other, in bf16, or in int8 where the network rounds its products; every fifth runs without passes
and in the plain engine too. The outputs for 1, 2, 3 and 7 images and for 1 and 2 threads are
compared with onnxruntime's without optimizations. A find is treated as one of `networks`."""
REPLAY = """Run the networks of files that `networks`, `traffic`, `tokens` or `blocks` saved, or of
tools/hostile/cases.json, with every engine."""


def number(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return int(text)


def parser():
    about = (__doc__ or "").partition("\n")[0]
    whole = argparse.ArgumentParser(prog="python -m tools.hostile", description=about)
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    def command(run, text):
        """Add the command of a function ``run_NAME``; return what adds its options."""
        name = run.__name__.removeprefix("run_")
        one = commands.add_parser(name, help=text.partition(",")[0], description=text)
        one.set_defaults(run=run)
        return one.add_argument

    add = command(run_mutants, MUTANTS)
    add("--count", type=number, default=2000, help="mutants of each format (%(default)s)")
    add("--first", type=int, default=0, help="index of the first (%(default)s)")
    add("--seed", type=int, default=1, help="of the series (%(default)s)")
    add("--formats", nargs="+", choices=ACCELERATORS, help="(those of the model)")
    add("--accelerators", nargs="+", choices=ACCELERATORS["pdmodel"], help="(all that can run it)")
    add(
        "--engine",
        choices=("paddle", "native"),
        default="paddle",
        help="native leaves all accelerators but plain out (%(default)s)",
    )
    add(
        "--precision",
        choices=("fp32", "bf16", "int8"),
        default="fp32",
        help="bf16 and int8, which of Paddle's only oneDNN has, leave the other accelerators out,"
        " and int8 needs a quantized --model-dir (%(default)s)",
    )
    add("--model-dir", type=Path, default=bundled_model_dir(), help="(the one of the package)")
    add(
        "--tokens",
        type=int,
        metavar="NUMBER",
        help="in place of --model-dir: that network of those that `tokens` draws",
    )
    add("--keep", type=Path, metavar="FOLDER", help="write the files of each killer here")

    add = command(run_growth, GROWTH)
    add("--program", type=Path, default=COUNTING, help="what loads the files (%(default)s)")
    add("--unlimited", action="store_true", help="the address space, for AddressSanitizer")
    add("--scale", type=float, default=1, help="of the sizes (%(default)s)")
    add("--family", default="*", help="a pattern of names")

    networks = command(run_networks, NETWORKS)
    networks("--count", type=number, default=150, help="how many (%(default)s)")
    networks(
        "--program-every",
        type=int,
        default=15,
        metavar="N",
        help="every Nth runs in the C++ program too (%(default)s)",
    )
    traffic = command(run_traffic, TRAFFIC)
    traffic("--count", type=number, default=2000, help="how many (%(default)s)")
    tokens = command(run_tokens, TOKENS)
    tokens("--count", type=number, default=2000, help="how many (%(default)s)")
    blocks = command(run_blocks, BLOCKS)
    blocks("--count", type=number, default=2000, help="how many (%(default)s)")
    blocks("--table", action="store_true", help="run none: print which operators are side by side")
    for add in (networks, traffic, tokens, blocks):
        add("--seed", default="15", help="a number, or `today` (%(default)s)")
        add("--first", type=int, default=0, help="the first number (%(default)s)")
    replay = command(run_replay, REPLAY)
    replay("files", type=Path, nargs="+")
    for add in (networks, traffic, tokens, blocks, replay):
        add("--targets", nargs="*", default=[], help="not every one, but such as json/native")
        add("--jobs", type=int, default=2, help="processes (%(default)s)")
        add("--save-dir", type=Path, default=Path("build/networks"), help="(%(default)s)")
        add("--most", type=int, default=20, help="minimise and save at most N finds (%(default)s)")
        add("--minimise", action=argparse.BooleanOptionalAction, default=True)
    return whole


def export_tokens(number, folder):
    """Write a network of tokens in every format."""
    for kind in ("tokens", "paddle_tokens"):
        network, _ = drawn(TOKENS_SEED, number, kind)
        framework(network.kind).export(network, folder, set())


def run_mutants(options):
    if options.tokens is None:
        return damage(options, options.model_dir)
    with tempfile.TemporaryDirectory(prefix="lenet-tokens-") as folder:
        export_tokens(options.tokens, Path(folder))
        return damage(options, Path(folder))


def damage(options, model_dir):
    """Damage the model in a folder, and print what became of the mutants; return the status."""
    if options.engine == "native":
        accelerators = ["plain"]
    elif options.precision != "fp32":
        accelerators = ["onednn"]
    else:
        accelerators = options.accelerators or ACCELERATORS["pdmodel"]
    tallies = []
    for model_format in damaged_formats(options, model_dir):
        with tqdm(total=options.count, desc=model_format, unit="mutant", disable=None) as bar:
            tallies.append(
                survey(
                    model_dir,
                    model_format,
                    range(options.first, options.first + options.count),
                    bar.update,
                    seed=options.seed,
                    engine=options.engine,
                    precision=options.precision,
                    accelerators=accelerators,
                )
            )
    print_tallies(tallies)
    killers = [killer for tally in tallies for killer in tally.killers]
    for mutant, outcome in killers:
        print(f"\nkilled by {mutant.name} ({mutant.change}): {outcome.detail}: {outcome.message}")
        if options.keep is not None:
            write_mutant(mutant, options.keep)
    return int(bool(killers))


def damaged_formats(options, model_dir):
    """Return the formats to damage: by default those that the engine and the precision run."""
    formats = options.formats
    if not formats:
        with_onnx = options.engine == "native" and any(model_dir.glob("*.onnx"))
        formats = [each for each in ACCELERATORS if with_onnx or each != "onnx"]
    if options.precision == "int8":  # no engine runs a .json in int8
        formats = [each for each in formats if each != "json"]
    return formats


def print_tallies(tallies):
    kinds = ["refused", "equal", "different", "(non-finite)", "killed"]
    shares = [tally.shares() for tally in tallies]
    print(tabulate(shares, ["format", "mutants", *kinds]))
    rows = []
    for tally in tallies:
        for (outcome, detail), count in sorted(tally.details.items()):
            rows.append([tally.format, outcome, detail, count])
    print("\n" + tabulate(rows, ["format", "outcome", "detail", "mutants"]))


def write_mutant(mutant, folder):
    """Write the files of a mutant into a folder of its name."""
    target = folder / mutant.name.replace("/", "-")
    target.mkdir(parents=True, exist_ok=True)
    for name, contents in mutant.files.items():
        (target / name).write_bytes(contents)


def run_networks(options):
    def entry_of(i):
        return {"targets": options.targets, "program": i % options.program_every == 0}

    return run_drawn(options, entry_of)


def run_traffic(options):
    def entry_of(i):
        target = TRAFFIC_TARGETS[i % len(TRAFFIC_TARGETS)]
        return {"targets": options.targets or [target], "kind": "traffic"}

    return run_drawn(options, entry_of)


def run_tokens(options):
    def entry_of(i):
        if i % PADDLE_EVERY == PADDLE_EVERY - 1:
            return {"targets": options.targets or PADDLE_TOKENS_TARGETS, "kind": "paddle_tokens"}
        target = TOKENS_TARGETS[i % len(TOKENS_TARGETS)]
        return {"targets": options.targets or [target], "kind": "tokens"}

    return run_drawn(options, entry_of)


def run_blocks(options):
    def entry_of(i):
        targets = [BLOCKS_TARGETS[i // 2 % len(BLOCKS_TARGETS)]]  # one of blocks and one of pairs
        if i % JUDGED_EVERY == 0:
            targets += JUDGES
        return {"targets": options.targets or targets, "kind": "blocks"}

    if not options.table:
        return run_drawn(options, entry_of)
    seed, numbers = numbers_of(options)
    with tqdm(total=options.count, unit="network", disable=None) as bar:
        print_table(count_all(seed, numbers, options.jobs, bar.update))
    return 0


def numbers_of(options):
    """Return the seed and the numbers of the networks to draw, and print them."""
    today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d")
    seed = int(today if options.seed == "today" else options.seed)
    numbers = range(options.first, options.first + options.count)
    print(f"seed {seed}, networks {numbers[0]} to {numbers[-1]}")
    return seed, numbers


def run_drawn(options, entry_of):
    seed, numbers = numbers_of(options)
    entries = [
        {"seed": seed, "kind": "", "name": f"{seed}/{i}", "number": i, **entry_of(i)}
        for i in numbers
    ]
    return int(bool(examine(entries, options).finds))


def run_replay(options):
    entries = [
        entry(name, network, *options.targets)
        for path in options.files
        for name, network in load(path)
    ]
    report = examine(entries, options)
    return int(bool(report.finds or report.invalid))


def examine(entries, options):
    """Run networks; print what came of them, and minimise and save the finds."""
    with tqdm(total=len(entries), unit="network", disable=None) as bar:
        report = hunt(entries, options.jobs, bar.update)
    print_outcomes(report, len(entries))
    groups = {}  # by network and outcome, which may each have a cause of its own
    for find in report.finds:
        groups.setdefault((find.name, find.outcome), []).append(find)
    print(f"{len(report.finds)} finds")
    for (name, outcome), group in groups.items():
        targets = " ".join(find.target for find in group)
        print(f"  {name} {outcome}: {targets}: {group[0].detail[:200]}")
    finds = most_telling(groups.values())[: options.most]
    if options.minimise and finds:
        with tqdm(total=len(finds), unit="find", desc="minimise", disable=None) as bar:
            finds = minimised(finds, options.jobs, bar.update)
    for find, path in zip(finds, save(finds, options.save_dir), strict=True):
        print(f"\n{find.name} {find.target}: {find.outcome}: {find.detail}")
        print(f"{dump(find.network.to_json())}\nsaved as {path}")
    return report


def print_outcomes(report, count):
    """Print how often each target had each outcome, and the reasons of refusals."""
    failed = len(report.invalid)
    print(f"{count - failed} networks ran; {failed} could not be made")
    for reason in report.invalid:
        print(f"  {reason}")
    by_target = {}
    for target, outcome in report.outcomes:
        by_target.setdefault(target, Counter())[outcome] += 1
    for target, counts in sorted(by_target.items()):
        parts = [f"{count} {outcome}" for outcome, count in sorted(counts.items())]
        print(f"  {target}: {', '.join(parts)}")
    if report.refusals:
        print("  refused for:")
        for sentence, times in Counter(report.refusals).most_common():
            print(f"    {times} {sentence}")


def most_telling(groups):
    """Return one find of each group; errors that name their reason come last."""
    finds = []
    for group in groups:
        # A target with one engine shows more than `auto`, or than the C++ program.
        plain = [find for find in group if not re.search("auto|program", find.target)]
        finds.append([*plain, *group][0])
    return sorted(finds, key=lambda find: find.outcome in {"BadModel", "BackendFailure"})


def main(argv: list[str] | None = None) -> int:
    """Run a command; return the exit code."""
    whole = parser()
    options = whole.parse_args(argv)
    if options.run is run_mutants:
        if options.count < 1:
            whole.error("--count: expected 1 or more")
        if options.precision == "int8" and options.formats == ["json"]:
            whole.error("--precision int8: nothing of a .json runs in int8")
    return run_cli(lambda: options.run(options))


if __name__ == "__main__":
    sys.exit(main())
