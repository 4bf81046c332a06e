"""tests/data/versions, which tools/versions makes: it is complete, small, and names no machine."""

from collections import defaultdict

import numpy as np
import pytest

from versions_corpus import ARCHIVES, networks, read_archive, unpack

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
        assert not any(word in data for word in (b"/tmp/", b"/home/", b"/root/")), name
