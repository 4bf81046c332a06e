"""The page in headless Chromium when lenet_serve serves it: the server answers too."""

import json
import re
import shutil

import pytest

from chromium import STROKES, LenetPage, browser, needs_module
from lenet_cpp.deploy import write_page

pytestmark = [needs_module, browser]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web") / "page"
    write_page(None, folder)
    return folder


def test_the_server_answers_too(start_server, page):
    with start_server(f"--page={page}") as server, LenetPage() as chromium:
        own = f"http://127.0.0.1:{server.port}/"
        chromium.open_ready(own)
        chromium.wait_for("document.querySelector('#server').hidden === false")
        for digit, strokes in STROKES.items():
            assert chromium.draw(strokes) == str(digit)
            chromium.wait_for(f"{TEXT}.startsWith('{digit}, ')")
            said = re.fullmatch(
                r"(\d, \d+\.\d %), [\d.]+ (µs|ms) there and back", chromium.js(TEXT)
            )
            assert said[1] == chromium.text("#answer")
        assert chromium.complaints == []
        assert [url for url in chromium.requests if not url.startswith((own, "data:"))] == []


TEXT = "document.querySelector('#server').textContent"


def test_another_model_on_the_server(start_server, page, tmp_path):
    """The page does not ask for what is not there."""
    folder = shutil.copytree(page, tmp_path / "page")
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(about | {"name": "other"}))
    with start_server(f"--page={folder}") as server, LenetPage() as chromium:
        chromium.open_ready(f"http://127.0.0.1:{server.port}/")
        chromium.wait_for(
            "performance.getEntriesByName(location.origin + '/v2/repository/index')[0]"
        )
        assert chromium.draw(STROKES[7]) == "7"
        assert chromium.js("document.querySelector('#server').hidden")
        assert chromium.complaints == []
