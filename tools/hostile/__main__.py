"""The command of hostile input: damaged models, files that grow, and random networks.

    python -m tools.hostile mutants --count=2000
    python -m tools.hostile growth --scale=8
    python -m tools.hostile networks --seed=15 --count=150
    python -m tools.hostile replay FILE...

Exit code: 0 nothing found, 1 finds, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate
from tqdm import tqdm

from lenet_cpp.cli import run_cli
from lenet_cpp.inference.bundled import bundled_model_dir
from tools.hostile.growth import measure_families
from tools.hostile.hunt import Find, Report, hunt, minimised, save
from tools.hostile.networks import dump, load
from tools.hostile.survey import ACCELERATORS, survey

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
MUTANTS = """Damage a model in many ways, load and run each variant in a child process, and report
what was refused, ran, or killed the child. SHA256SUMS is not looked at: who changes a model can
change that too."""
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
REPLAY = """Run the networks of files that `networks` saved, or of tools/hostile/cases.json, with
every engine."""


def parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").partition("\n")[0]
    made = argparse.ArgumentParser(prog="python -m tools.hostile", description=about)
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> Any:
        return commands.add_parser(name, help=text.partition(",")[0], description=text)

    mutants = command("mutants", MUTANTS)
    add = mutants.add_argument
    add("--count", type=int, default=2000, metavar="N", help="mutants of each format (%(default)s)")
    add("--first", type=int, default=0, help="index of the first (%(default)s)")
    add("--seed", type=int, default=1, help="of the series (%(default)s)")
    add("--formats", nargs="+", choices=ACCELERATORS, default=[*ACCELERATORS], help="(all)")
    add("--accelerators", nargs="+", choices=ACCELERATORS["pdmodel"], help="(all that can run it)")
    add("--engine", choices=("paddle", "native"), default="paddle",
        help="native leaves all accelerators but plain out (%(default)s)")  # fmt: skip
    add("--precision", choices=("fp32", "bf16", "int8"), default="fp32",
        help="bf16 and int8, which of Paddle's only oneDNN has, leave the other accelerators out,"
        " and int8 needs a quantized --model-dir (%(default)s)")  # fmt: skip
    add("--model-dir", type=Path, default=bundled_model_dir(), help="(the one of the package)")
    add("--keep", type=Path, metavar="FOLDER", help="write the files of each killer here")

    add = command("growth", GROWTH).add_argument
    counting = ROOT / "build" / "asan-ubsan" / "lenet_measure_loading"
    add("--program", type=Path, default=counting, help="what loads the files (%(default)s)")
    add("--unlimited", action="store_true", help="the address space, for AddressSanitizer")
    add("--scale", type=float, default=1, help="of the sizes (%(default)s)")
    add("--family", default="*", help="a pattern of names")

    networks = command("networks", NETWORKS)
    add = networks.add_argument
    add("--seed", default="15", help="a number, or `today` (%(default)s)")
    add("--count", type=int, default=150, help="how many (%(default)s)")
    add("--first", type=int, default=0, help="the first number (%(default)s)")
    add("--program-every", type=int, default=15, metavar="N",
        help="every Nth runs in the C++ program too (%(default)s)")  # fmt: skip
    replay = command("replay", REPLAY)
    replay.add_argument("files", type=Path, nargs="+")
    for each in (networks, replay):
        add = each.add_argument
        add("--targets", nargs="*", help="not every one, but such as json/native")
        add("--jobs", type=int, default=2, help="processes (%(default)s)")
        add("--save-dir", type=Path, default=Path("build/networks"), help="(%(default)s)")
        add("--most", type=int, default=20, help="minimise and save at most N finds (%(default)s)")
        add("--minimise", action=argparse.BooleanOptionalAction, default=True)
    return made


def run_mutants(options: argparse.Namespace) -> int:
    tallies = []
    for model_format in options.formats:
        with tqdm(total=options.count, desc=model_format, unit="mutant", disable=None) as bar:
            tallies.append(
                survey(
                    options.model_dir,
                    model_format,
                    range(options.first, options.first + options.count),
                    seed=options.seed,
                    accelerators=options.accelerators or ACCELERATORS["pdmodel"],
                    engine=options.engine,
                    precision=options.precision,
                    done=bar.update,
                )
            )
    kinds = ["refused", "equal", "different", "(non-finite)", "killed"]
    print(tabulate([tally.shares() for tally in tallies], ["format", "mutants", *kinds]))
    rows = [row for tally in tallies for row in tally.rows()]
    print("\n" + tabulate(rows, ["format", "outcome", "detail", "mutants"]))
    killers = [killer for tally in tallies for killer in tally.killers]
    for mutant, outcome in killers:
        print(f"\nkilled by {mutant.name} ({mutant.change}): {outcome.detail}: {outcome.message}")
        if options.keep is not None:
            target = options.keep / mutant.name.replace("/", "-")
            target.mkdir(parents=True, exist_ok=True)
            for name, contents in mutant.files.items():
                (target / name).write_bytes(contents)
    return 1 if killers else 0


def run_growth(options: argparse.Namespace) -> int:
    limited = not options.unlimited
    wrong = measure_families(options.program, options.family, options.scale, limited=limited)
    return 1 if wrong else 0


def run_networks(options: argparse.Namespace) -> int:
    today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d")
    seed = int(today if options.seed == "today" else options.seed)
    numbers = range(options.first, options.first + options.count)
    print(f"seed {seed}, networks {numbers[0]} to {numbers[-1]}")
    every = options.program_every
    entries = [
        {"name": f"{seed}/{i}", "seed": seed, "number": i, "program": i % every == 0}
        for i in numbers
    ]
    return examine(entries, options)


def run_replay(options: argparse.Namespace) -> int:
    named = [each for path in options.files for each in load(path)]
    return examine([{"name": name, "network": one.to_json()} for name, one in named], options)


def examine(entries: list[dict[str, Any]], options: argparse.Namespace) -> int:
    if options.targets:
        entries = [{**entry, "targets": options.targets} for entry in entries]
    with tqdm(total=len(entries), unit="network", disable=None) as bar:
        report = hunt(entries, options.jobs, bar.update)
    show(report)
    finds = distinct(report.finds)[: options.most]
    if options.minimise and finds:
        with tqdm(total=len(finds), unit="find", desc="minimise", disable=None) as bar:
            finds = minimised(finds, options.jobs, bar.update)
    for find, path in zip(finds, save(finds, options.save_dir) if finds else [], strict=True):
        print(f"\n{find.name} {find.target}: {find.outcome}: {find.detail}")
        print(dump(find.network.to_json()) + f"saved as {path}")
    unmade = options.command == "replay" and report.invalid
    return 1 if report.finds or unmade else 0


def show(report: Report) -> None:
    """Print how many networks ran, and the outcomes of each target."""
    unmade = len(report.invalid)
    print(f"{report.networks - unmade} networks ran; {unmade} could not be made")
    print(*(f"  {reason}\n" for reason in report.invalid), sep="", end="")
    rows: dict[str, list[str]] = {}
    for key, count in sorted(report.outcomes.items()):
        target, outcome = key.split(" ", 1)
        rows.setdefault(target, []).append(f"{count} {outcome}")
    for target, outcomes in rows.items():
        print(f"  {target}: {', '.join(outcomes)}")
    print(f"{len(report.finds)} finds")
    grouped: dict[tuple[str, str], list[Find]] = {}
    for find in report.finds:
        grouped.setdefault((find.name, find.outcome), []).append(find)
    for (name, outcome), finds in grouped.items():
        targets = " ".join(find.target for find in finds)
        print(f"  {name} {outcome}: {targets}: {finds[0].detail[:200]}")


def distinct(finds: list[Find]) -> list[Find]:
    """Return finds that may have different causes: one of each network and outcome."""
    chosen: dict[tuple[str, str], Find] = {}
    for find in sorted(finds, key=lambda each: "auto" in each.target or "program" in each.target):
        chosen.setdefault((find.name, find.outcome), find)
    return sorted(chosen.values(), key=lambda each: each.outcome in ("BadModel", "BackendFailure"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    made = parser()
    options = made.parse_args(argv)
    if options.command == "mutants":
        if options.count < 1:
            made.error("--count: expected 1 or more")
        if options.engine == "native":
            options.accelerators = ["plain"]
        elif options.precision != "fp32":
            options.accelerators = ["onednn"]
        if options.precision == "int8":
            options.formats = [name for name in options.formats if name != "json"]
            if not options.formats:
                made.error("--precision int8: nothing of a .json runs in int8")
    return run_cli(lambda: globals()[f"run_{options.command}"](options))


if __name__ == "__main__":
    sys.exit(main())
