"""tests/data/versions, which tools/versions makes and checks: complete, small, of no machine."""

import json
import os
import re

import numpy as np
import pytest

from lenet_cpp import Predictor
from tools.survey.runner import run
from tools.versions.check import main, summarise
from tools.versions.tables import ENGINES, counts
from versions_corpus import ARCHIVES, Network, contents, networks, read_archive

KINDS = ("jit", "static", "twice")
PDMODEL = {f"{kind}_pdmodel" for kind in KINDS}
JSON = {f"{kind}_json" for kind in KINDS}
LAYOUTS = {
    "1.8.5": {"separate", "combined", "traced"},
    "2.6.2": PDMODEL,
    **dict.fromkeys(("3.0.0", "3.1.1", "3.2.2", "3.3.1"), PDMODEL | JSON),
}


@pytest.mark.parametrize("version", LAYOUTS)
def test_the_corpus_has_every_layout_and_nothing_of_a_machine(version):
    mine = [network for network in networks() if network.version == version]
    assert {network.layout for network in mine} == LAYOUTS[version]
    assert len({str(network) for network in mine}) == len(mine)
    assert len(mine) > 80 * len(LAYOUTS[version] - {"traced"})
    for network in mine:
        files, x, expected = contents(network)
        assert all(data for name, data in files.items() if not name.endswith(".pdiparams"))
        assert b"image" in files[network.files[0]]  # the program, by its input
        assert x.shape == network.shape == (2, 3, 16, 16)
        assert np.isfinite(expected).all(), network
    for name, data in read_archive(version).items():
        assert not re.search(rb"/(tmp|home|root)/", data), name
    assert sum(path.stat().st_size for path in ARCHIVES) < 1e6


def crash_at_b(case):
    return ("right", "") if case != "b" else os._exit(7)


def test_a_crash_is_the_outcome_of_its_case_alone():
    found = sorted(run([["a", "b", "c"], ["d", "b"]], crash_at_b, parallel=2))
    crashed, right = ("crashed", "exit status 7"), ("right", "")
    assert found == [("a", right), ("b", crashed), ("b", crashed), ("c", right), ("d", right)]


def test_outcomes_are_counted():
    first, second = (
        Network("2.6.2", name, "jit_json", (1,), 0, ("model.json",)) for name in ("abs", "pad")
    )
    refused = "Unsupported", "has an operator '1.pad', which lenet cannot check"
    outcomes = [((first, engine), ("right", "")) for engine in ENGINES]
    outcomes += [((second, engine), refused) for engine in ENGINES]
    outcomes[1] = (first, "paddle"), ("wrong", "the difference is 2.5e-01")
    result = summarise(outcomes) | {"versions": {"paddlepaddle": "3.3.1"}}
    failures = [(one["network"], one["engine"], one["outcome"]) for one in result["failures"]]
    assert failures == [("abs", "paddle", "wrong")]
    row = counts(result).splitlines()[-1]
    assert row == "| 2.6.2 | `jit_json` | 2 | 1 | 0, 1 wrong | 1 | 1 | 1 |"


def test_a_sample_of_the_corpus_is_right(model_dir, tmp_path, capfd):
    # A child forked from this process could not run Paddle any more.
    with Predictor(model_dir=model_dir, engine="paddle", threads=2):
        pass
    target = tmp_path / "found.json"
    chosen = ["--version", "1.8.5", "3.3.1", "--sample", "1", "--output", str(target)]
    assert main(chosen) == 0, capfd.readouterr().out
    found = json.loads(target.read_text(encoding="utf-8"))
    assert found["networks"].startswith("9 of ")
    assert {row["outcomes"].get("right") for row in found["counts"]} == {1}
