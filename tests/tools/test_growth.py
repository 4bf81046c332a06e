"""Loading a model takes time and memory at most linear in the size of its files."""

from pathlib import Path

import pytest

from tools.hostile.growth import FAMILIES, judge, measure

ROOT = Path(__file__).parents[2]
PROGRAM = "lenet_measure_loading"
# The address space is limited in one, basic blocks are counted in the other (preset asan-ubsan).
RELEASE = ROOT / "build" / PROGRAM
COUNTING = ROOT / "build" / "asan-ubsan" / PROGRAM


def check(program, name, *, limited):
    if not program.is_file():
        pytest.skip(f"{program.relative_to(ROOT)} is missing: ./test.sh builds it")
    family = FAMILIES[name]
    one, two = (measure(program, family, n * family.size, limited=limited) for n in (1, 2))
    assert judge(family, one, two) == []
    return one


@pytest.mark.parametrize("name", FAMILIES)
def test_twice_the_file_takes_twice_the_memory(name):
    check(RELEASE, name, limited=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_twice_the_file_takes_twice_the_work(name):
    one = check(COUNTING, name, limited=False)
    # Else the counters are not there.
    assert one.blocks > 1000 or name.startswith("manifest.json")
