"""Loading a model takes time and memory at most linear in the size of its files."""

from pathlib import Path

import pytest

from tools.hostile.growth import FAMILIES, measure_twice

BUILD = Path(__file__).parents[2] / "build"


# The address space is limited in one, basic blocks are counted in the other (preset asan-ubsan),
# which judges the memory too.
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    "counting", [pytest.param(False, marks=pytest.mark.nightly), True], ids=["memory", "work"]
)
def test_twice_the_file_takes_twice_the(counting, name):
    program = BUILD / ("asan-ubsan" if counting else "") / "lenet_measure_loading"
    if not program.is_file():
        pytest.skip(f"{program.relative_to(BUILD)} is missing: ./test.sh --sanitizers builds it")
    one, _, problems = measure_twice(program, name, 0.5 if counting else 1, limited=not counting)
    assert problems == []
    # Else the counters are not there.
    assert not counting or one.blocks > 1000 or name.startswith("manifest.json")
