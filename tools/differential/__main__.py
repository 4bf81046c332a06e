"""Compare every engine with the frameworks on random networks.

    python -m tools.differential run --seed=15 --count=150
    python -m tools.differential run --seed=today --count=5000 --save-dir=build/differential
    python -m tools.differential replay FILE...

A network is drawn from a seed and a number: "15/7" is the same network everywhere. It has a few
layers of the operators that the checks of models accept, with odd attributes and shapes. Paddle
exports it as .json, .pdmodel and separate files, or each third network is written as .onnx. Then
each engine and accelerator runs it from Python, and runs some from the C++ program.

The outputs are compared with dygraph's (onnxruntime's for .onnx), by the rule of
lenet_cpp.agreement. Where two disagree, float64 says who is wrong. An engine or accelerator may
refuse a network by name (Unsupported) where another one runs it. Anything else is a find: it is
reduced to the smallest network that shows it, printed, and saved with the exported model in
--save-dir. `replay` runs the networks of such files, or of
tools/differential/cases.json, with every engine.

Exit code: 0 no finds, 1 finds, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path

from tqdm import tqdm

from tools.differential.hunt import Find, Report, hunt, minimised, save
from tools.differential.networks import dump, load


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.differential",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="run|replay")
    run = commands.add_parser("run", help="draw networks and run them")
    run.add_argument("--seed", default="15", help="a number, or `today` (default: %(default)s)")
    run.add_argument("--count", type=int, default=150, help="how many (default: %(default)s)")
    run.add_argument("--first", type=int, default=0, help="the first number (default: %(default)s)")
    run.add_argument(
        "--program-every",
        type=int,
        default=15,
        metavar="N",
        help="every Nth runs in the C++ program too (default: %(default)s)",
    )
    replay = commands.add_parser("replay", help="run the networks of files")
    replay.add_argument("files", type=Path, nargs="+")
    for command in (run, replay):
        command.add_argument("--targets", nargs="*", help="not every one, but such as json/native")
        command.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
        command.add_argument(
            "--save-dir",
            type=Path,
            default=Path("build/differential"),
            help="where finds go (default: %(default)s)",
        )
        command.add_argument(
            "--most",
            type=int,
            default=20,
            metavar="N",
            help="minimise and save at most N finds (default: %(default)s)",
        )
        command.add_argument(
            "--minimise",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="reduce the finds (default: yes)",
        )
    return parser.parse_args()


def main() -> int:
    """Do what the command line asks; return the exit code."""
    options = parsed()
    if options.command == "run":
        today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d")
        seed = int(today if options.seed == "today" else options.seed)
        print(f"seed {seed}, networks {options.first} to {options.first + options.count - 1}")
        entries = [
            {
                "name": f"{seed}/{i}",
                "seed": seed,
                "number": i,
                "program": i % options.program_every == 0,
            }
            for i in range(options.first, options.first + options.count)
        ]
    else:
        named = [each for path in options.files for each in load(path)]
        entries = [{"name": name, "network": network.to_json()} for name, network in named]
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
    print(
        f"{report.networks - len(report.invalid)} networks ran; "
        f"{len(report.invalid)} could not be made"
    )
    for reason in report.invalid:
        print(f"  {reason}")
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


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted: nothing is saved")
