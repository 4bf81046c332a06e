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
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

import shared_models
from chromium import ANSWER, CLEAR, OPEN_NINE, STROKES, LenetPage, browser, needs_module
from lenet_cpp import Predictor
from lenet_cpp.data.images import Normalize, Pipeline, Resize, ToCHW
from lenet_cpp.deploy import write_page
from numpy_reference import softmax

ROOT = Path(__file__).parents[2]
PHOTOS = sorted((ROOT / "examples" / "photos").glob("*.jpg"))
DRAWING = ROOT / "docs" / "browser" / "drawing.gif"
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


SAID = """new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
  const answer = document.getElementById('answer');
  const best = document.querySelector('#bars .best');
  const parts = best && ['name', 'value'].map((part) => best.querySelector(`.${part}`).textContent);
  done([answer.textContent, parts && parts.join(', '), answer.ariaBusy]);
})))"""


def test_the_headline_follows_the_bars(opened):
    """While the pen is down, from a first point, which is no digit yet; then it is said once."""
    chromium, _server = opened
    chromium.js(CLEAR)
    left, top, pixel = chromium.place()
    points = (np.linspace((140, 60), (140, 220), 9) * pixel + (left, top)).tolist()
    chromium.pointer("mouse", "begin", *points[0])
    assert chromium.js(SAID) == ["No answer yet", None, "true"]
    headlines = []
    for point in points[1:]:
        chromium.pointer("mouse", "move", *point)
        said, bar, busy = chromium.js(SAID)
        assert (said, busy) == (bar, "true")
        headlines.append(said)
    assert len(set(headlines)) > 1
    chromium.pointer("mouse", "end", *points[-1])
    said, bar, busy = chromium.js(SAID)
    assert (said, busy) == (bar, "false")
    assert said.startswith("1, ")


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


def test_example_buttons(opened):
    """They show the photos of examples/photos, and give them to the model."""
    chromium, server = opened
    names = chromium.js(
        "[...document.querySelectorAll('#examples img')].map((each) => each.getAttribute('src'))"
    )
    assert names == [photo.name for photo in PHOTOS]
    for number, name in enumerate(names):
        chromium.js(CLEAR)
        chromium.js(f"document.querySelectorAll('#examples button')[{number}].click()")
        assert chromium.answer() == name[0]
    assert {server.address + name for name in names} <= set(chromium.requests)
    chromium.call("Network.setBlockedURLs", urls=[f"*/{names[0]}"])
    chromium.js("document.querySelector('#examples button').click()")
    chromium.wait_for(f"{ANSWER}.startsWith('The example cannot be loaded: ')")
    chromium.call("Network.setBlockedURLs", urls=[])
    chromium.complaints.clear()  # of the request that was blocked


def test_screen_readers(opened):
    """The controls have names, and the answer is in a live region."""
    chromium, _server = opened
    chromium.draw(STROKES[4])
    nodes = chromium.call("Accessibility.getFullAXTree")["nodes"]
    nodes = {node["nodeId"]: node for node in nodes if not node["ignored"]}
    named = {(node["role"]["value"], node["name"]["value"]): node for node in nodes.values()}
    assert {
        ("button", "Clear"),
        ("button", "Choose a photo"),
        ("list", "Probabilities"),
        ("image", "Convolution 1: 6 maps of 28 \N{MULTIPLICATION SIGN} 28"),
        ("button", "Example: a 7 with a shadow across"),
    } <= named.keys()
    assert "" not in {name for role, name in named if role == "button"}
    pad = named["application", "Drawing area"]
    assert "the arrow keys move the pen" in pad["description"]["value"]
    (status,) = (node for (role, _), node in named.items() if role == "status")
    live = {each["name"]: each["value"]["value"] for each in status["properties"]}
    assert live["live"] == "polite"
    assert not live.get("busy")
    said = [nodes[child]["name"]["value"] for child in status["childIds"] if child in nodes]
    assert said == [chromium.text("#answer")]
    assert said[0].startswith("4, ")


PICTURES = {(1280, False): "light.png", (1280, True): "dark.png", (360, False): "narrow.png"}
FOLD = 740  # pixels of a small phone's window
LEAST_CONTRAST = 4.5  # https://www.w3.org/TR/WCAG22/#contrast-minimum


def luminance(colour):
    """WCAG's relative luminance of a CSS colour, ``rgb(r, g, b)``."""
    red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", colour)[:3])
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (red, green, blue)
    ]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(colours):
    darker, lighter = sorted(luminance(colour) for colour in colours)
    return (lighter + 0.05) / (darker + 0.05)


@contextmanager
def window(chromium, width, *, dark=False):
    """Give the page the window of a phone with a touch screen, or of a computer with a mouse."""
    is_phone = width < 600
    chromium.call("Emulation.setTouchEmulationEnabled", enabled=is_phone)
    chromium.window(width, FOLD, dark=dark)
    try:
        yield "touch" if is_phone else "mouse"
    finally:
        chromium.call("Emulation.clearDeviceMetricsOverride")
        chromium.call("Emulation.setTouchEmulationEnabled", enabled=True)


def checked_layout(chromium, width):
    """Return what is seen, by name, after checking what holds of every page."""
    layout = chromium.layout()
    seen = {each["name"]: each for each in layout["seen"]}
    assert layout["overlapping"] == []
    assert chromium.js("document.documentElement.scrollWidth") <= width
    for each in layout["seen"]:
        left, _top, right, _bottom = each["box"]
        assert 0 <= left < right <= width, each
        assert not each["text"] or contrast(each["colours"]) >= LEAST_CONTRAST, each
    assert seen["answer"]["box"][3] <= FOLD
    return seen


def warm_up(chromium, give):
    """Give the page an image until the browser has compiled for speed what runs often."""
    for _ in range(12):
        chromium.js(CLEAR)
        give()
        chromium.answer()


def write_picture(chromium, name, width, *, dark):
    """Write a picture of docs/browser.md: of a photo, or of a drawing."""
    chromium.window(width, FOLD, dark=dark)
    if name == "light.png":
        warm_up(chromium, lambda: choose(chromium, PHOTOS[-1]))
    else:
        warm_up(chromium, lambda: chromium.draw(OPEN_NINE))
    height = chromium.js("Math.ceil(document.documentElement.getBoundingClientRect().height)")
    chromium.window(width, height, dark=dark)
    image = Image.open(io.BytesIO(chromium.screenshot())).convert("RGB")
    image.quantize(64).save(ROOT / "docs" / "browser" / name, "PNG", optimize=True)


PICTURE_SECONDS = 0.1
HOLD_SECONDS = 1.5
MOST_ANIMATION_BYTES = 600_000
ANIMATED = (0, 0, 1000, 566)  # of a window without a scrollbar: down to the maps


def write_animation(chromium, strokes_of_digits, photo):
    """Write docs/browser/drawing.gif: a photo is chosen, then digits are drawn; the bars follow.

    The first picture, which is all that some viewers show, has all parts of the page.
    """
    pictures, seconds = [], []

    def take(shown_for=PICTURE_SECONDS):
        chromium.js(SAID)  # once the page has drawn what it computed
        picture = Image.open(io.BytesIO(chromium.screenshot())).convert("RGB")
        pictures.append(picture.crop(ANIMATED))
        seconds.append(shown_for)

    choose(chromium, photo)
    chromium.answer()
    take(HOLD_SECONDS)
    left, top, pixel = chromium.place()
    for strokes in strokes_of_digits:
        chromium.js(CLEAR)
        take(0.5)
        for points in strokes:
            corners = (np.array(points) * pixel + (left, top)).tolist()
            chromium.pointer("touch", "begin", *corners[0])
            for start, end in pairwise(corners):
                for x, y in np.linspace(start, end, 9)[1:].tolist():
                    chromium.pointer("touch", "move", x, y)
                    take()
            chromium.pointer("touch", "end", *corners[-1])
        chromium.answer()
        take(HOLD_SECONDS)
    colours = pictures[0].quantize(64)
    first, *more = (each.quantize(palette=colours, dither=Image.Dither.NONE) for each in pictures)
    first.save(
        DRAWING,
        save_all=True,
        append_images=more,
        duration=[round(1000 * each) for each in seconds],
        loop=0,
        optimize=True,
    )


def test_the_animation_is_short_and_small(opened):
    """It takes about ten seconds. With LENET_SCREENSHOTS set, it is written."""
    chromium, _server = opened
    if SCREENSHOTS in os.environ:
        chromium.window(ANIMATED[2], 2 * FOLD)
        warm_up(chromium, lambda: choose(chromium, PHOTOS[1]))
        write_animation(chromium, [STROKES[4], STROKES[7]], PHOTOS[1])
        chromium.call("Emulation.clearDeviceMetricsOverride")
    assert DRAWING.stat().st_size < MOST_ANIMATION_BYTES
    with Image.open(DRAWING) as animation:
        frames = [frame.info["duration"] for frame in ImageSequence.Iterator(animation)]
    assert 8_000 < sum(frames) < 12_000


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 360, 1280])
def test_layout(opened, width, dark):
    """The answer is directly under the drawing, and all bars and buttons above a phone's fold.

    With LENET_SCREENSHOTS set, the pictures of docs/browser.md are written.
    """
    chromium, _server = opened
    with window(chromium, width, dark=dark) as kind:
        assert chromium.draw(OPEN_NINE, kind) == "9"
        seen = checked_layout(chromium, width)
        colour = chromium.js("getComputedStyle(document.body).backgroundColor")
        if SCREENSHOTS in os.environ and (width, dark) in PICTURES:
            # Without the empty margins of a wide window.
            write_picture(chromium, PICTURES[width, dark], min(width, 1000), dark=dark)
    assert (luminance(colour) < 0.1) == dark
    pad, answer = seen["pad"]["box"], seen["answer"]["box"]
    others = [each["box"][1] for name, each in seen.items() if name not in {"pad", "answer"}]
    assert 0 < answer[1] - pad[3] < 20
    assert abs(answer[0] - pad[0]) < 5
    assert not any(pad[3] <= top < answer[1] for top in others)
    assert re.fullmatch(r"9, \d+\.\d %", seen["answer"]["text"])
    for name in ("value", "clear", "img"):  # the last of each name
        assert seen[name]["box"][3] <= FOLD, name
    assert ("drawing-help" in seen) == (width == 1280)


def test_without_a_network(opened):
    """Kept by the service worker in one visit. In all of this, no other address was asked."""
    chromium, server = opened
    chromium.wait_for("navigator.serviceWorker.controller")
    assert chromium.js("document.querySelector('#server').hidden")
    assert chromium.complaints == []
    chromium.call(
        "Network.emulateNetworkConditions",
        offline=True,
        latency=0,
        downloadThroughput=0,
        uploadThroughput=0,
    )
    server.shutdown()
    server.server_close()
    chromium.open_ready(server.address)
    assert chromium.draw(STROKES[7]) == "7"
    chromium.js(f"{CLEAR} document.querySelector('#examples button').click()")
    assert chromium.answer() == "2"
    own = (server.address, "data:")
    assert [url for url in chromium.requests if not url.startswith(own)] == []


# ---- other models, and none


LABELS = ("cat", "dog", "Käfer", *(f"a breed of black-and-tan hounds {i}" for i in range(9)))
SHOWN = 10  # the most probable classes, where there are more
SIDE = 64


HINT = "getComputedStyle(document.querySelector('#drop'), '::after').content"
CHOOSING = """window.choosing = 0;
document.getElementById('photo').addEventListener('click', (event) => {
  event.preventDefault();
  window.choosing += 1;
});"""


def test_a_model_of_ones_own(tmp_path):
    """Photos of another size, many labels, another network: nothing of digits, and no drawing."""
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
        assert chromium.text("h1") == "Choose a photo"
        assert f"{len(LABELS)} classes. Choose a photo." in chromium.text("#answer")
        for width, hint in ((360, "Choose a photo"), (1280, "Choose, drop or paste a photo")):
            with window(chromium, width):
                checked_layout(chromium, width)
                assert json.loads(chromium.js(HINT)) == hint
        chromium.js(CHOOSING)
        left, top, _pixel = chromium.place()
        for action in ("begin", "move", "end"):
            chromium.pointer("mouse", action, left + 50, top + 50)
        assert chromium.js("window.choosing") == 1
        assert chromium.js("document.querySelector('#pad').role") == "img"
        assert chromium.text("#answer").startswith("Ready")
        chromium.choose_file("#photo", tmp_path / "photo.png")
        assert chromium.answer() == LABELS[shares.argmax()]
        for width in (360, 1280):
            with window(chromium, width):
                seen = checked_layout(chromium, width)
                assert not {"drawing-help", "img"} & seen.keys()
                assert ("pad-help" in seen) == (width == 1280)
        names, values = (
            chromium.js(f"[...document.querySelectorAll('#bars .{part}')].map(e => e.textContent)")
            for part in ("name", "value")
        )
        order = shares.argsort()[::-1][:SHOWN]
        assert names == [LABELS[index] for index in order]
        shown = [float(value.removesuffix(" %")) for value in values]
        np.testing.assert_allclose(shown, 100 * shares[order], atol=0.06)
        assert (
            chromium.js("document.querySelector('#maps canvas').getAttribute('aria-label')")
            == f"The input: {SIDE} \N{MULTIPLICATION SIGN} {SIDE} pixels"
        )
        assert [url for url in chromium.requests if url.endswith(".jpg")] == []
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
