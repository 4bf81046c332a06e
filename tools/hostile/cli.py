"""The command ``mutate_models``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_cpp.cli import run_cli
from lenet_cpp.cli._parsers import new_parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and run the command.

    Returns:
        0 when no mutant killed the child process, 1 when one did; see :func:`run_cli`.
    """
    from tools.hostile import ACCELERATORS, FORMATS

    parser = new_parser(
        "Damage a model in many ways, load and run each variant in a child process, and report what"
        " was\nrefused, ran, or killed the child. SHA256SUMS is not looked at: who changes a model"
        " can change\nthat too."
    )
    parser.add_argument(
        "--count", type=int, default=2000, metavar="N", help="mutants of each format (%(default)s)"
    )
    parser.add_argument("--first", type=int, default=0, help="index of the first (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the series (%(default)s)")
    parser.add_argument(
        "--formats", nargs="+", choices=FORMATS, default=[*FORMATS], help="(all)", metavar="FORMAT"
    )
    parser.add_argument(
        "--accelerators",
        nargs="+",
        choices=ACCELERATORS["pdmodel"],
        default=[*ACCELERATORS["pdmodel"]],
        metavar="NAME",
        help="to run each mutant with: plain, onednn, openvino (all that can run its format)",
    )
    parser.add_argument(
        "--engine",
        choices=("paddle", "native"),
        default="paddle",
        help="to run each mutant with; native leaves all accelerators but plain out (%(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "int8"),
        default="fp32",
        help="to run each mutant with; bf16 and int8, which of Paddle's only oneDNN has, leave the"
        " other accelerators out, and int8 needs a quantized --model-dir (%(default)s)",
    )
    parser.add_argument(
        "--model-dir", type=Path, help="the model to start from (the one of the package)"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="write the files of each killer here"
    )
    arguments = parser.parse_args(argv)
    if arguments.count < 1:
        parser.error("--count: expected 1 or more")
    if arguments.engine == "native":
        arguments.accelerators = ["plain"]
    elif arguments.precision != "fp32":
        arguments.accelerators = ["onednn"]
    if arguments.precision == "int8":
        arguments.formats = [name for name in arguments.formats if name != "json"]
        if not arguments.formats:
            parser.error("--precision int8: nothing of a .json runs in int8")
    return run_cli(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    from tabulate import tabulate
    from tqdm import tqdm

    from lenet_cpp.inference.bundled import bundled_model_dir
    from tools.hostile import Workshop, read_model, survey, tabulate_outcomes

    folder = arguments.model_dir or bundled_model_dir()
    tallies = []
    with Workshop(engine=arguments.engine, precision=arguments.precision) as workshop:
        for model_format in arguments.formats:
            indices = range(arguments.first, arguments.first + arguments.count)
            tallies.append(
                survey(
                    read_model(folder, model_format),
                    model_format,
                    tqdm(indices, desc=model_format, unit="mutant", file=sys.stderr),
                    seed=arguments.seed,
                    accelerators=arguments.accelerators,
                    workshop=workshop,
                )
            )
    print(tabulate_outcomes(tallies))
    details = [
        [tally.format, *key, count]
        for tally in tallies
        for key, count in sorted(tally.details.items())
    ]
    print("\n" + tabulate(details, headers=["format", "outcome", "detail", "mutants"]))
    killers = [killer for tally in tallies for killer in tally.killers]
    for mutant, outcome in killers:
        print(
            f"\nkilled by {mutant.name} ({', '.join(mutant.changes)}) with {outcome.accelerator}:"
            f" {outcome.detail}"
        )
        if arguments.keep is not None:
            target = arguments.keep / mutant.name.replace("/", "-")
            target.mkdir(parents=True, exist_ok=True)
            for name, contents in mutant.files.items():
                (target / name).write_bytes(contents)
            (target / "stderr.txt").write_text(outcome.message, encoding="utf-8")
    return 1 if killers else 0


if __name__ == "__main__":
    raise SystemExit(main())
