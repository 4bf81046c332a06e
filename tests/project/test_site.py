"""The site that `nox -s docs` builds."""

import re
import shutil
import sys

import pytest

from snippets import run_command

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(
        shutil.which("doxygen") is None,
        reason="doxygen is not installed (apt-get install doxygen), which no Python package brings",
    ),
]


@pytest.fixture(scope="module")
def site(root, tmp_path_factory):
    for name in ("sphinx", "myst_parser", "breathe"):
        pytest.importorskip(name, reason=f"{name}: pip install --group docs; no test needs it else")
    folder = tmp_path_factory.mktemp("site")
    command = (sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going")
    places = ("-d", folder / "trees", root / "docs", folder / "html")
    done = run_command(*command, *places)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "html"


def test_both_apis_are_in_the_search_and_nothing_is_from_elsewhere(site):
    index, python, cpp = (
        (site / name).read_text(encoding="utf-8")
        for name in ("searchindex.js", "python.html", "cpp.html")
    )
    for name in ("lenet_cpp.Predictor", "lenet::Predictor", "lenet_predictor_create"):
        assert re.split(r"::|\.", name)[-1] in index
    assert 'id="lenet_cpp.Predictor.run"' in python
    assert 'id="_CPPv4N5lenet9PredictorE"' in cpp
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', text) == []
