"""Loading a model takes time and memory at most linear in the size of its files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "complexity"))

from measure import FAMILIES, Cost, judge, measure

ROOT = Path(__file__).parents[2]
PROGRAM = "lenet_measure_loading"
# The address space is limited in one, basic blocks are counted in the other (preset asan-ubsan).
RELEASE = ROOT / "build" / PROGRAM
COUNTING = ROOT / "build" / "asan-ubsan" / PROGRAM


def check(program: Path, name: str, folder: Path, *, limited: bool) -> tuple[Cost, Cost]:
    if not program.is_file():
        pytest.skip(f"{program.relative_to(ROOT)} is missing: ./test.sh builds it")
    family = FAMILIES[name]
    costs = []
    for size in (family.size, 2 * family.size):
        (folder / str(size)).mkdir()
        costs.append(measure(program, family, size, folder / str(size), limited=limited))
    assert judge(family, *costs) == []
    return costs[0], costs[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_twice_the_file_takes_twice_the_memory(name: str, tmp_path: Path) -> None:
    check(RELEASE, name, tmp_path, limited=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_twice_the_file_takes_twice_the_work(name: str, tmp_path: Path) -> None:
    one, _ = check(COUNTING, name, tmp_path, limited=False)
    # Else the counters are not there.
    assert one.blocks > 1000 or name.startswith("manifest.json")
