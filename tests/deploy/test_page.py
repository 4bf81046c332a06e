"""The page of ``lenet-cpp web`` in headless Chromium: what its users do, and what goes wrong."""

import base64
import functools
import http.server
import io
import json
import os
import re
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import shared_models
from chromium import ANSWER, CLEAR, OPEN_NINE, STROKES, LenetPage, browser, needs_module
from lenet_cpp import Predictor
from lenet_cpp.data.images import Normalize, Pipeline, Resize, ToCHW
from lenet_cpp.deploy import write_page
from numpy_reference import softmax

ROOT = Path(__file__).parents[2]
PHOTOS = sorted((ROOT / "examples" / "photos").glob("*.jpg"))
SCREENSHOTS = "LENET_SCREENSHOTS"
pytestmark = [needs_module, browser]


@contextmanager
def served(folder):
    """Serve a folder as any web server does; give the server, with its address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.address = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def opened(page):
    """The page in a browser, and the server that it came from."""
    with served(page) as server, LenetPage() as chromium:
        chromium.call("Emulation.setTouchEmulationEnabled", enabled=True)
        chromium.open_ready(server.address)
        yield chromium, server


@pytest.fixture
def photos(digits, tmp_path):
    """A digit on grey paper, as PNG and as JPEG, and a file that is no image."""
    sheet = np.full((400, 300), 230, np.uint8)
    ink = np.kron(digits[0, 0], np.ones((8, 8))) * (180 / 255)
    sheet[100:324, 38:262] -= ink.astype(np.uint8)
    for name in ("photo.png", "photo.jpg"):
        Image.fromarray(sheet).save(tmp_path / name)
    (tmp_path / "text.png").write_text("no image")
    return tmp_path


@pytest.mark.parametrize("kind", ["mouse", "touch", "pen"])
def test_drawing(opened, kind):
    chromium, _server = opened
    chromium.js(
        "document.querySelector('#pad').addEventListener('pointerdown',"
        " (event) => { window.kind = event.pointerType; })"
    )
    for digit, strokes in STROKES.items():
        assert chromium.draw(strokes, kind) == str(digit)
        assert chromium.text("#bars .best .name") == str(digit)
    assert chromium.js("window.kind") == kind
    assert chromium.js("document.querySelectorAll('#maps canvas').length") == 3
    assert re.fullmatch(r"\d+ µs|\d+\.\d ms", chromium.text("#time"))
    chromium.js(CLEAR)
    assert chromium.text("#answer") == "The drawing is empty."
    assert chromium.text("#time") == "not run yet"


def test_keyboard(opened):
    chromium, _server = opened
    chromium.js(f"{CLEAR} document.getElementById('pad').focus()")
    for key in [*["ArrowUp"] * 10, " ", *["ArrowDown"] * 20, " "]:
        chromium.key(key, " " if key == " " else "")
    assert chromium.answer() == "1"
    chromium.key("Delete")
    assert chromium.text("#answer") == "The drawing is empty."


def choose(chromium, path):
    chromium.choose_file("#photo", path)


def drop(chromium, path):
    left, top, _pixel = chromium.place()
    chromium.drop_file(left + 50, top + 50, path)


def paste(chromium, path):
    content = base64.b64encode(path.read_bytes()).decode()
    chromium.js(f"""(() => {{
        const bytes = Uint8Array.from(atob('{content}'), (c) => c.charCodeAt(0));
        const clipboardData = new DataTransfer();
        clipboardData.items.add(new File([bytes], '{path.name}', {{ type: 'image/png' }}));
        document.dispatchEvent(new ClipboardEvent('paste', {{ clipboardData }}));
    }})()""")


@pytest.mark.parametrize("give", [choose, drop, paste])
def test_photos(opened, photos, logits_of, give):
    chromium, _server = opened
    for name in ("photo.png", "photo.jpg"):
        chromium.js(CLEAR)
        give(chromium, photos / name)
        assert chromium.answer() == str(logits_of("")[0].argmax())
    give(chromium, photos / "text.png")
    chromium.wait_for(f"{ANSWER} === 'text.png is not an image that this browser reads.'")
    assert chromium.draw(STROKES[7]) == "7"


@pytest.mark.parametrize("photo", PHOTOS, ids=lambda photo: photo.stem)
def test_example_photos(opened, photo):
    """Their names begin with the digit."""
    chromium, _server = opened
    chromium.js(CLEAR)
    choose(chromium, photo)
    assert chromium.answer() == photo.name[0]


def test_screen_readers(opened):
    """The controls have names, and the answer is in a live region."""
    chromium, _server = opened
    chromium.draw(STROKES[4])
    nodes = chromium.call("Accessibility.getFullAXTree")["nodes"]
    nodes = {node["nodeId"]: node for node in nodes if not node["ignored"]}
    named = {(node["role"]["value"], node["name"]["value"]): node for node in nodes.values()}
    assert {
        ("button", "Clear"), ("button", "Choose a photo"), ("list", "Probabilities"),
        ("image", "Convolution 1: 6 maps of 28 \N{MULTIPLICATION SIGN} 28"),
    } <= named.keys()  # fmt: skip
    pad = named["application", "Drawing area"]
    assert "the arrow keys move the pen" in pad["description"]["value"]
    (status,) = (node for (role, _), node in named.items() if role == "status")
    live = {each["name"]: each["value"]["value"] for each in status["properties"]}
    assert live["live"] == "polite"
    said = [nodes[child]["name"]["value"] for child in status["childIds"] if child in nodes]
    assert said == [chromium.text("#answer")]
    assert said[0].startswith("4, ")


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [("light", 1000, False), ("dark", 1000, True), ("narrow", 375, False), ("", 320, False)],
)
def test_widths_and_colours(opened, name, width, dark):
    """With LENET_SCREENSHOTS set, the pictures of docs/browser.md are written."""
    chromium, _server = opened
    wanted = name and os.environ.get(SCREENSHOTS)
    try:
        chromium.window(width, 700, dark=dark)
        # Until the browser has compiled what runs often for speed, where the time is kept.
        for _ in range(12 if wanted else 1):
            if name == "light":
                chromium.js(CLEAR)
                choose(chromium, PHOTOS[-1])
                chromium.answer()
            else:
                assert chromium.draw(OPEN_NINE, "touch") == "9"
        assert chromium.js("document.documentElement.scrollWidth") <= width
        colour = chromium.js("getComputedStyle(document.body).backgroundColor")
        assert (int(re.search(r"\d+", colour)[0]) < 128) == dark
        if wanted:
            height = chromium.js(
                "Math.ceil(document.documentElement.getBoundingClientRect().height)"
            )
            chromium.window(width, height, dark=dark)
            image = Image.open(io.BytesIO(chromium.screenshot())).convert("RGB")
            kept = ROOT / "docs" / "browser" / f"{name}.png"
            image.quantize(64).save(kept, "PNG", optimize=True)
    finally:
        chromium.call("Emulation.clearDeviceMetricsOverride")


def test_without_a_network(opened):
    """Kept by the service worker. And in all of this, nothing was asked of another address."""
    chromium, server = opened
    chromium.wait_for("navigator.serviceWorker.controller")
    chromium.open_ready(server.address)
    assert chromium.js("document.querySelector('#server').hidden")
    assert chromium.complaints == []
    chromium.call("Network.emulateNetworkConditions", offline=True, latency=0,
                  downloadThroughput=0, uploadThroughput=0)  # fmt: skip
    server.shutdown()
    server.server_close()
    chromium.open_ready(server.address)
    assert chromium.draw(STROKES[7]) == "7"
    own = (server.address, "data:")
    assert [url for url in chromium.requests if not url.startswith(own)] == []


# ---- other models, and none


LABELS = ("cat", "dog", "Käfer")
SIDE = 64


def test_a_model_of_ones_own(tmp_path):
    """Colour images of another size, other labels, another network."""
    exported = shared_models.exported("ShuffleNetV2", len(LABELS), SIDE)
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    (folder / "SHA256SUMS").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["classes"] = LABELS
    (folder / "manifest.json").write_text(json.dumps(manifest))
    normalize = Normalize(scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
    pipeline = Pipeline("RGB", (Resize(size=(SIDE, SIDE)), normalize, ToCHW()))
    pipeline.save(folder / "preprocess.json")
    write_page(folder, tmp_path / "page")
    pixels = np.random.default_rng(5).integers(0, 256, (50, 80, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    program = next(folder.glob("*.pdmodel"))
    with Predictor(program, program.with_suffix(".pdiparams"), engine="native") as predictor:
        logits = predictor.run(pipeline(pixels)[None])[0]
    shares = softmax(logits[None])[0]
    with served(tmp_path / "page") as server, LenetPage() as chromium:
        chromium.open_ready(server.address)
        chromium.choose_file("#photo", tmp_path / "photo.png")
        assert chromium.answer() == LABELS[shares.argmax()]
        names, values = (
            chromium.js(f"[...document.querySelectorAll('#bars .{part}')].map(e => e.textContent)")
            for part in ("name", "value")
        )
        assert tuple(names) == LABELS
        shown = [float(value.removesuffix(" %")) for value in values]
        np.testing.assert_allclose(shown, 100 * shares, atol=0.06)
        assert (
            chromium.js("document.querySelector('#maps canvas').getAttribute('aria-label')")
            == f"The input: {SIDE} \N{MULTIPLICATION SIGN} {SIDE} pixels"
        )
        assert chromium.complaints == []


def test_says_what_is_wrong(page, tmp_path):
    """Browsers load no modules from files; and of a file that is removed, or cut in half."""
    with LenetPage() as chromium:
        chromium.open((page / "index.html").as_uri())
        chromium.wait_for("document.readyState === 'complete'")
        assert "serve the folder" in chromium.text("#answer")
        assert chromium.js("document.querySelector('#server').hidden")
        assert {url.startswith(("file:", "data:")) for url in chromium.requests} == {True}
        for number, (name, part, message) in enumerate(
            (
                ("model.pdiparams", 0, r"The model cannot be loaded: model\.pdiparams: 404 .*"),
                ("model.pdiparams", 0.5, r"The model cannot be loaded: .*model\.pdiparams.*"),
                ("model.pdmodel", 0.5, r"The model cannot be loaded: .*model\.pdmodel.*"),
                ("model.json", 0.5, r"The model cannot be loaded: model\.json is damaged"),
                ("lenet.wasm", 0, r"The model cannot be loaded: lenet\.wasm: 404 .*"),
                ("lenet.wasm", 0.5, r"lenet\.wasm is damaged, or this browser is too old: .*"),
            )
        ):
            file = Path(shutil.copytree(page, tmp_path / str(number)), name)
            content = file.read_bytes()[: int(part * file.stat().st_size)]
            file.unlink()
            if part:
                file.write_bytes(content)
            with served(file.parent) as server:
                chromium.open(server.address)
                chromium.wait_for(
                    f"location.href === '{server.address}' && {ANSWER}"
                    f" && !{ANSWER}.startsWith('Loading')"
                )
                left, top, _pixel = chromium.place()
                chromium.pointer("mouse", "begin", left + 50, top + 50)
                chromium.pointer("mouse", "end", left + 50, top + 50)
                assert re.fullmatch(message, chromium.text("#answer"))
