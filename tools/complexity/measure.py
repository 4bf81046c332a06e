#!/usr/bin/env python3
"""Does loading take time and memory at most linear in the size of the files?

    tools/complexity/measure.py                     every family, at its own size and twice that
    tools/complexity/measure.py --scale 8           eight times as large
    tools/complexity/measure.py --family "json*"    some

Each family of files is written for two sizes, of which one is twice the other, and loaded by
lenet_measure_loading in a process of its own with a limited address space. Work is counted in basic
blocks, where the program was built with -DLENET_COUNT_BLOCKS=ON (preset asan-ubsan), and in bytes
allocated: not in seconds.
"""

from __future__ import annotations

import argparse
import fnmatch
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from families import FAMILIES, Family

__all__ = ["FAMILIES", "MOST_GROWTH", "Cost", "judge", "measure"]

MOST_GROWTH = 2.3
"""What twice the file may cost."""

# docs/hostile-models.md states these.
FREE_BYTES = 1 << 27
ADDRESS_SPACE = 1 << 31
SECONDS = 120


@dataclass(frozen=True)
class Cost:
    """What one load took."""

    file_bytes: int
    result: str
    blocks: int
    allocated: int
    peak: int
    message: str


def measure(program: Path, family: Family, size: int, folder: Path, *, limited: bool) -> Cost:
    """Load one file of a family.

    ``limited``: with a limited address space, which a program with AddressSanitizer cannot have.
    """
    path = family.write(folder, size)
    file_bytes = sum(file.stat().st_size for file in folder.iterdir())

    def limit() -> None:
        if limited:
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))

    command = [program, "int8" if family.int8 else "fp32", path]
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=SECONDS,
            preexec_fn=limit, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        return Cost(file_bytes, "too-slow", 0, 0, 0, str(error))
    if run.returncode != 0:
        return Cost(file_bytes, f"ended with {run.returncode}", 0, 0, 0, run.stderr[-2000:])
    numbers, _, message = run.stdout.partition("\n")
    result, *counts = numbers.split()
    return Cost(file_bytes, result, *map(int, counts), message.strip())


def judge(family: Family, one: Cost, two: Cost) -> list[str]:
    """What is wrong with the costs of a file and of one twice as large; nothing: they are fine."""
    problems = []
    # What is refused at once needs no memory beside the files.
    free = FREE_BYTES if family.bytes_of_a_byte > 4 else 0
    for cost in (one, two):
        if cost.result not in family.result.split(" or "):
            problems.append(f"{cost.result} instead of {family.result}: {cost.message}")
        if cost.peak > free + family.bytes_of_a_byte * cost.file_bytes:
            problems.append(f"{cost.peak:,} bytes of memory for {cost.file_bytes:,} of files")
    files = two.file_bytes / one.file_bytes
    for what in ("blocks", "allocated"):
        before, after = getattr(one, what), getattr(two, what)
        if after > MOST_GROWTH * max(files / 2, 1) * before:
            problems.append(f"{what}: {before:,}, and {after:,} for {files:.2f} times the file")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    root = Path(__file__).parents[2]
    parser.add_argument(
        "--program", type=Path, default=root / "build" / "asan-ubsan" / "lenet_measure_loading"
    )
    parser.add_argument("--unlimited", action="store_true", help="for AddressSanitizer")
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--family", default="*", help="a pattern of names")
    options = parser.parse_args()
    wrong = 0
    for name, family in FAMILIES.items():
        if not fnmatch.fnmatch(name, options.family):
            continue
        costs = []
        for size in (int(family.size * options.scale), 2 * int(family.size * options.scale)):
            with tempfile.TemporaryDirectory() as folder:
                limited = not options.unlimited
                costs.append(measure(options.program, family, size, Path(folder), limited=limited))
        problems = judge(family, *costs)
        one, two = costs
        growth = [
            f"{getattr(two, what) / max(getattr(one, what), 1):.2f}"
            for what in ("file_bytes", "blocks", "allocated", "peak")
        ]
        print(f"{name}: {two.file_bytes:,} bytes, {two.peak:,} at most; grows", *growth)
        for problem in problems:
            print(f"  {problem}")
        wrong += bool(problems)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
