"""Does loading take time and memory at most linear in the size of the files?

Each family of files is written for two sizes, of which one is twice the other, and loaded by
lenet_measure_loading in a process of its own with a limited address space. Work is counted in basic
blocks, where the program was built with -DLENET_COUNT_BLOCKS=ON (preset asan-ubsan), and in bytes
allocated: not in seconds.
"""

from __future__ import annotations

import fnmatch
import resource
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from tools.hostile.families import FAMILIES

MOST_GROWTH = 2.3
"""What twice the file may cost."""
# docs/hostile-models.md states these.
FREE_BYTES = 1 << 28
ADDRESS_SPACE = 1 << 31
SECONDS = 120


class Cost(NamedTuple):
    """What one load took."""

    message: str
    file_bytes: int
    result: str
    blocks: int = 0
    allocated: int = 0
    peak: int = 0


def measure(program, family, size, *, limited):
    """Load one file of a family.

    ``limited``: with a limited address space, which a program with AddressSanitizer cannot have.
    """

    def limit():
        if limited:
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))

    with tempfile.TemporaryDirectory() as name:
        path = family.write(Path(name), size)
        file_bytes = sum(file.stat().st_size for file in Path(name).iterdir())
        try:
            run = subprocess.run(
                [program, "int8" if family.int8 else "fp32", path], check=False, text=True,
                capture_output=True, errors="replace", timeout=SECONDS, preexec_fn=limit,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            return Cost(str(error), file_bytes, "too-slow")
    if run.returncode != 0:
        return Cost(run.stderr[-2000:], file_bytes, f"ended with {run.returncode}")
    numbers, _, message = run.stdout.partition("\n")
    result, *counts = numbers.split()
    return Cost(message.strip(), file_bytes, result, *map(int, counts))


def measure_twice(program, name, scale=1, *, limited):
    """Return the costs of a file and of one twice as large, and what is wrong with them."""
    family = FAMILIES[name]
    size = int(family.size * scale)
    one, two = (measure(program, family, n, limited=limited) for n in (size, 2 * size))
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
    return one, two, problems


def run_growth(options):
    """Measure the families whose names fit a pattern, and print what each takes."""
    wrong = False
    for name in fnmatch.filter(FAMILIES, options.family):
        limited = not options.unlimited
        one, two, problems = measure_twice(options.program, name, options.scale, limited=limited)
        counts = zip(one, two, strict=True)
        growth = [f"{b / max(a, 1):.2f}" for a, b in counts if isinstance(a, int)]
        print(f"{name}: {two.file_bytes:,} bytes, {two.peak:,} at most; grows", *growth)
        print(*(f"  {problem}\n" for problem in problems), sep="", end="")
        wrong |= bool(problems)
    return int(wrong)
