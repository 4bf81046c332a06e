"""tests/data/versions, which tools/versions makes and checks: complete, small, of no machine."""

import json
import os
import re
from collections import defaultdict

import numpy as np
import pytest

from lenet_cpp import Predictor
from tools.versions.check import main, summarise
from tools.versions.children import ENGINES, run
from tools.versions.tables import counts, operators
from versions_corpus import ARCHIVES, Network, networks, read_archive, unpack

KINDS = ("jit", "static", "twice")
PDMODEL = {f"{kind}_pdmodel" for kind in KINDS}
JSON = {f"{kind}_json" for kind in KINDS}
LAYOUTS = {
    "1.8.5": {"separate", "combined", "traced"},
    "2.6.2": PDMODEL,
    **dict.fromkeys(("3.0.0", "3.1.1", "3.2.2", "3.3.1"), PDMODEL | JSON),
}


def test_the_corpus_has_every_version_and_layout_in_less_than_a_megabyte():
    found = defaultdict(set)
    for network in networks():
        found[network.version].add(network.layout)
    assert found == LAYOUTS
    assert sum(path.stat().st_size for path in ARCHIVES) < 1e6


@pytest.mark.nightly
@pytest.mark.parametrize("version", LAYOUTS)
def test_each_network_unpacks_to_a_program_parameters_and_an_answer(version, tmp_path):
    mine = [network for network in networks() if network.version == version]
    assert len(mine) > 80 * len(LAYOUTS[version] - {"traced"})
    assert len({str(network) for network in mine}) == len(mine)
    for network in mine:
        files, x, expected = unpack(network, tmp_path)
        assert all(file.stat().st_size > 0 for file in files if file.suffix != ".pdiparams")
        assert b"image" in files[0].read_bytes()  # the program, by its input
        assert x.shape == network.shape == (2, 3, 16, 16)
        assert np.isfinite(expected).all(), network
        assert expected.size <= 4096, network


@pytest.mark.parametrize("version", LAYOUTS)
def test_no_folder_of_the_machine_is_in_it(version):
    for name, data in read_archive(version).items():
        assert not re.search(rb"/(tmp|home|root)/", data), name


def crash_at_b(case):
    return ("right", "") if case != "b" else os._exit(7)


def test_a_crash_is_the_outcome_of_its_case_alone():
    found = sorted(run([["a", "b", "c"], ["d", "b"]], crash_at_b, parallel=2))
    crashed, right = ("crashed", "exit status 7"), ("right", "")
    assert found == [("a", right), ("b", crashed), ("b", crashed), ("c", right), ("d", right)]


def test_outcomes_become_tables():
    first, second = (
        Network("2.6.2", name, "jit_json", (1,), 0, ("model.json",)) for name in ("abs", "pad")
    )
    refused = "Unsupported", "has an operator '1.pad', which lenet cannot check"
    outcomes = [((first, engine), ("right", "")) for engine in ENGINES]
    outcomes += [((second, engine), refused) for engine in ENGINES]
    outcomes[1] = (first, "paddle"), ("wrong", "the difference is 2.5e-01")
    outcomes[-1] = (second, "unchecked"), ("BackendFailure", "(pad) is not registered.")
    result = summarise(outcomes) | {"versions": {"paddlepaddle": "3.3.1"}}
    (failure,) = result["failures"]
    assert failure == {
        "network": "abs", "engine": "paddle", "outcome": "wrong",
        "said": "the difference is X", "files": ["2.6.2 jit_json"],
    }  # fmt: skip
    assert (
        counts(result).splitlines()[-1] == "| 2.6.2 | `jit_json` | 2 | 1 | 0, 1 wrong | 1 | 1 | 1 |"
    )
    assert operators(result).splitlines()[-1] == "| 2.6.2 |  | `pad` |  |"


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
