"""``lenet-cpp web``: the folder that it writes, and the model in Node and in headless Chromium."""

import functools
import gzip
import http.server
import json
import re
import shutil
import subprocess
import threading
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from chromium import BROWSER, Chromium
from PIL import Image

from lenet_cpp import BadInput, BadModel, FileNotFound, Predictor, Unsupported
from lenet_cpp.agreement import compare
from lenet_cpp.cli import main
from lenet_cpp.data.images import CenterCrop, Normalize, Pipeline, Resize, ToCHW
from lenet_cpp.deploy import web, write_page
from numpy_reference import conv2d, lenet_parameters
from snippets import run_page

ROOT = Path(__file__).parents[2]
MOST_BYTES = 450_000  # to load in all, with brotli
MOST_LINES = 1_200  # of web/
CLASSES = 10
SIZE = 28

pytestmark = pytest.mark.skipif(
    not (web.PAGE / "lenet.wasm").is_file(), reason="built without Emscripten: no lenet.wasm"
)
node = pytest.mark.skipif(shutil.which("node") is None, reason="no node")
browser = pytest.mark.skipif(BROWSER is None, reason="no chromium")


@pytest.fixture(scope="session")
def page(tmp_path_factory):
    """The page with the bundled model."""
    folder = tmp_path_factory.mktemp("web") / "page"
    assert main(["web", "-o", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def digits():
    """The 1,000 test digits of the sample, uint8 [1000, 1, 28, 28]."""
    content = gzip.decompress((ROOT / "data/mnist_sample/t10k-images-idx3-ubyte.gz").read_bytes())
    return np.frombuffer(content, np.uint8, offset=16).reshape(-1, 1, SIZE, SIZE)


@pytest.fixture(scope="session")
def logits_of(digits, model_dir, run_program, tmp_path_factory):
    """Return the C++ program's logits with an instruction set, or with its own choice."""

    @functools.cache
    def run(isa):
        folder = tmp_path_factory.mktemp(isa or "default")
        np.save(folder / "digits.npy", digits)
        done = run_program(
            f"--model_dir={model_dir}", f"--input={folder / 'digits.npy'}",
            f"--output={folder / 'logits.npy'}", program=ROOT / "build" / "lenet_infer_native",
            env={"LENET_NATIVE_ISA": isa},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return np.load(folder / "logits.npy")

    return run


# ---- the folder


def test_files(page, model_dir):
    names = {path.name for path in page.iterdir()}
    written = {"index.html", "page.css", "page.js", "lenet.js", "lenet.wasm", "sw.js", "model.json"}
    assert names == written | {"model.pdmodel", "model.pdiparams", "preprocess.json"}
    assert (page / "model.pdiparams").read_bytes() == (model_dir / "lenet.pdiparams").read_bytes()
    about = json.loads((page / "model.json").read_bytes())
    assert about == {"name": "lenet", "classes": [*"0123456789"], "softmax": False}
    assert [path.name for path in page.parent.iterdir()] == ["page"]


def test_policy_and_addresses(page):
    """No script or style within the page, and no address of anything elsewhere."""
    text = (page / "index.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert rules["style-src"] == rules["connect-src"] == rules["worker-src"] == "'self'"
    assert "unsafe-inline" not in policy
    assert "'unsafe-eval'" not in policy
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|javascript:", text)
    for name in ("index.html", "page.css", "page.js", "lenet.js", "sw.js"):
        assert not re.search(r"https?://|//\w+\.|@import|url\(", (page / name).read_text()), name


@pytest.mark.skipif(shutil.which("brotli") is None, reason="no brotli")
def test_size(page):
    sizes = {
        path.name: len(
            subprocess.run(["brotli", "-c", path], capture_output=True, check=True).stdout
        )
        for path in page.iterdir()
    }
    print(sizes, sum(sizes.values()))
    assert sum(sizes.values()) <= MOST_BYTES
    lines = sum(len(path.read_bytes().splitlines()) for path in (ROOT / "web").iterdir())
    assert lines <= MOST_LINES


def test_replaces_its_own_page_only(tmp_path, model_dir):
    write_page(model_dir, tmp_path / "page")
    (tmp_path / "page" / "old").touch()
    write_page(model_dir / "lenet.pdmodel", tmp_path / "page")
    assert not (tmp_path / "page" / "old").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").touch()
    (tmp_path / "file").touch()
    for other in ("mine", "file"):
        with pytest.raises(BadInput, match="choose another folder"):
            write_page(model_dir, tmp_path / other)
    assert (tmp_path / "mine" / "letter").exists()


def remove(name):
    return lambda folder: (folder / name).unlink()


def shorten(folder):
    (folder / "lenet.pdiparams").write_bytes((folder / "lenet.pdiparams").read_bytes()[:-4])


def in_colour(folder):
    normalize = Normalize(scale=1 / 255, mean=(0.0,) * 3, std=(1.0,) * 3)
    Pipeline("RGB", (Resize(size=(SIZE, SIZE)), normalize, ToCHW())).save(
        folder / "preprocess.json"
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (remove("lenet.pdmodel"), Unsupported, "lenet-cpp convert --to pdmodel"),
        (remove("preprocess.json"), FileNotFound, "preprocess.json"),
        (shorten, BadModel, "lenet.pdiparams"),
        (in_colour, Unsupported, r"takes \[-1, 1, 28, 28\].*\[N, 3, height, width\]"),
    ],
)
def test_refuses_a_model(change, error, message, model_dir, tmp_path):
    folder = Path(shutil.copytree(model_dir, tmp_path / "model"))
    (folder / "SHA256SUMS").unlink()
    change(folder)
    with pytest.raises(error, match=message):
        write_page(folder, tmp_path / "page")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_without_the_module(tmp_path, monkeypatch):
    monkeypatch.setattr(web, "PAGE", tmp_path)
    with pytest.raises(Unsupported, match=r"install Emscripten .*apt-get install\s+emscripten"):
        write_page(None, tmp_path / "page")


def test_page_of_the_documents(tmp_path, model_dir):
    outputs = run_page(ROOT / "docs" / "browser.md", tmp_path, model_dir)
    assert "lenet.wasm" in outputs[0]


# ---- in Node


@pytest.fixture(scope="session")
def in_node(page, digits, tmp_path_factory):
    """What run_model.mjs has written, by name, and printed."""
    work = tmp_path_factory.mktemp("node")
    (work / "digits.u8").write_bytes(digits.tobytes())
    photo = np.full((90, 120, 3), 200, np.uint8)
    photo[20:70, 50:60] = (30, 40, 90)
    photo[64:70, 40:70] = (30, 40, 90)
    photo += np.random.default_rng(0).integers(0, 9, photo.shape, np.uint8)
    (work / "photo.u8").write_bytes(photo.tobytes())
    steps = (Resize(short_side=40, interpolation="bicubic"), CenterCrop((SIZE, SIZE)))
    normalize = Normalize(scale=1 / 255, mean=(0.5,), std=(0.25,))
    pipeline = Pipeline("L", (*steps, normalize, ToCHW()))
    pipeline.save(work / "steps.json")
    command = ["node", str(Path(__file__).with_name("run_model.mjs")), str(page), str(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {path.stem: np.fromfile(path, np.float32) for path in work.glob("*.f32")}
    return found, json.loads(done.stdout), photo, pipeline


@node
def test_same_bits_as_the_program(in_node, logits_of):
    """Those of its kernels for SSE4.2; its fastest ones round differently."""
    found, times, _photo, _pipeline = in_node
    print({name: round(value, 2) for name, value in times.items() if name != "errors"})
    wanted = logits_of("sse42")
    for name in ("one", "pixels", "batch"):
        np.testing.assert_array_equal(found[name].reshape(-1, CLASSES), wanted, strict=True)
    assert compare(logits_of(""), wanted).agrees


@node
def test_same_preprocessing(in_node, model_dir):
    found, _printed, photo, pipeline = in_node
    prepared = Pipeline.load(model_dir / "preprocess.json")(photo)
    np.testing.assert_array_equal(found["values"], prepared.ravel())
    np.testing.assert_array_equal(found["steps"], pipeline(photo).ravel())
    with Predictor(engine="native") as predictor:
        assert compare(predictor.run(prepared[None]), found["photo"][None]).agrees


@node
def test_first_layers(in_node, model_dir):
    found, *_ = in_node
    weights = lenet_parameters(model_dir / "lenet.pdiparams")
    x = found["values"].reshape(1, 1, SIZE, SIZE)
    x = conv2d(x, weights["conv1.weight"], weights["conv1.bias"], pads=(2, 2, 2, 2)).clip(0)
    np.testing.assert_allclose(found["layer0"].reshape(x.shape), x, rtol=1e-5, atol=1e-5)
    pooled = x.reshape(1, 6, 14, 2, 14, 2).max((3, 5))
    x = conv2d(pooled, weights["conv2.weight"], weights["conv2.bias"])
    np.testing.assert_allclose(found["layer1"].reshape(x.shape), x, rtol=1e-4, atol=1e-4)
    assert "layer2" not in found


@node
def test_refusals_leave_the_model_usable(in_node):
    found, printed, *_ = in_node
    texts = ("found no digit", "NaN", "model.pdiparams", "model.pdmodel", "JSON")
    assert len(printed["errors"]) == len(texts), printed["errors"]
    for text, error in zip(texts, printed["errors"], strict=True):
        assert text in error
    np.testing.assert_array_equal(found["again"], found["one"][:CLASSES])


# ---- in a browser


class Handler(http.server.SimpleHTTPRequestHandler):
    """A static folder; with ``model``, also the requests that lenet_serve answers."""

    model = None

    def log_message(self, *args):
        pass

    def answer(self, value, status=200):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        if self.model is None or not self.path.startswith("/v2"):
            return super().do_GET()
        inputs = [{"name": "x", "datatype": "FP32", "shape": [-1, 1, SIZE, SIZE]}]
        return self.answer({"name": "lenet", "inputs": inputs})

    def do_POST(self):
        assert self.path == "/v2/models/lenet/infer"
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        (sent,) = request["inputs"]
        image = np.array(sent["data"], np.float32).reshape(sent["shape"])
        self.answer({"outputs": [{"name": "y", "data": self.model.run(image)[0].tolist()}]})


@contextmanager
def served(folder, model=None):
    """Serve a folder, and with a model what lenet_serve would answer; give the server."""
    kind = type("Served", (Handler,), {"model": model})
    handler = functools.partial(kind, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.address = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def opened(page, digits, tmp_path_factory):
    """The page in a browser, and the server that it came from."""
    folder = Path(shutil.copytree(page, tmp_path_factory.mktemp("served") / "page"))
    (folder / "digits.u8").write_bytes(digits.tobytes())
    with served(folder) as server, Chromium() as chromium:
        chromium.open(server.address)
        chromium.wait_for(READY)
        yield chromium, server


STROKES = {
    1: [[(140, 40), (140, 240)]],
    7: [[(70, 60), (210, 60), (120, 240)]],
    4: [[(100, 50), (80, 150), (210, 150)], [(180, 60), (175, 245)]],
}
ANSWER = "document.getElementById('answer')?.textContent"
READY = f"{ANSWER}?.startsWith('Ready')"
ANSWERED = f"/^\\d, /.test({ANSWER})"
CLEAR = "document.getElementById('clear').click();"
PLACE = "(({x, y}) => [x, y])(document.querySelector('#pad').getBoundingClientRect())"
LOGITS = """(async () => {
    const { openModel } = await import('./lenet.js');
    const get = async (name) => new Uint8Array(await (await fetch(name)).arrayBuffer());
    const model = await openModel(await get('lenet.wasm'), {
        program: await get('model.pdmodel'), params: await get('model.pdiparams'),
        preprocess: await get('preprocess.json') });
    const digits = await get('digits.u8');
    const all = [];
    for (let i = 0; i < digits.length; i += 784)
        all.push(...model.run(digits.subarray(i, i + 784)));
    return all;
})()"""


def draw(chromium, strokes):
    """Draw with the mouse, and return the answer."""
    chromium.js(CLEAR)
    left, top = chromium.js(PLACE)
    for points in strokes:
        chromium.mouse("mousePressed", left + points[0][0], top + points[0][1])
        for (x, y), (to_x, to_y) in pairwise(points):
            for part in np.linspace(0, 1, 9)[1:]:
                to = left + x + (to_x - x) * part, top + y + (to_y - y) * part
                chromium.mouse("mouseMoved", *map(float, to))
        chromium.mouse("mouseReleased", left + points[-1][0], top + points[-1][1])
    return answer(chromium)


def answer(chromium):
    chromium.wait_for(ANSWERED)
    return int(chromium.js(ANSWER)[0])


@browser
def test_mouse_and_keyboard(opened, tmp_path):
    chromium, _server = opened
    for digit, strokes in STROKES.items():
        assert draw(chromium, strokes) == digit
        assert chromium.js("document.querySelector('#bars .best .name').textContent") == str(digit)
    assert chromium.js("document.querySelectorAll('#maps canvas').length") == 3
    time = chromium.js("document.querySelector('#time').textContent")
    assert re.fullmatch(r"\d+ µs|\d+\.\d ms", time)
    assert chromium.js("document.querySelector('#server').hidden")
    chromium.screenshot(tmp_path / "page.png")

    chromium.js(f"{CLEAR} document.getElementById('pad').focus()")
    for key in [*["ArrowUp"] * 10, " ", *["ArrowDown"] * 20, " "]:
        chromium.key(key, " " if key == " " else "")
    assert answer(chromium) == 1


@browser
def test_photo(opened, digits, logits_of, tmp_path):
    chromium, _server = opened
    sheet = np.full((400, 300), 230, np.uint8)
    ink = np.kron(digits[0, 0], np.ones((8, 8))) * (180 / 255)
    sheet[100:324, 38:262] -= ink.astype(np.uint8)
    Image.fromarray(sheet).save(tmp_path / "photo.png")
    (tmp_path / "text.png").write_text("no image")
    root = chromium.call("DOM.getDocument")["root"]["nodeId"]
    control = chromium.call("DOM.querySelector", nodeId=root, selector="#photo")["nodeId"]
    chromium.js(CLEAR)
    chromium.call("DOM.setFileInputFiles", nodeId=control, files=[str(tmp_path / "photo.png")])
    assert answer(chromium) == logits_of("")[0].argmax()
    chromium.call("DOM.setFileInputFiles", nodeId=control, files=[str(tmp_path / "text.png")])
    chromium.wait_for(f"{ANSWER} === 'text.png is not an image that this browser reads.'")


@browser
def test_same_bits_in_chromium(opened, logits_of):
    chromium, _server = opened
    found = np.array(chromium.js(LOGITS), np.float64).astype(np.float32)
    np.testing.assert_array_equal(found.reshape(-1, CLASSES), logits_of("sse42"), strict=True)


@browser
def test_names_for_screen_readers_narrow_and_dark(opened, tmp_path):
    chromium, _server = opened
    nodes = chromium.call("Accessibility.getFullAXTree")["nodes"]
    roles = [(n["role"]["value"], n.get("name", {}).get("value")) for n in nodes if "role" in n]
    named = {role: name for role, name in roles if role in {"button", "application", "image"}}
    assert named
    assert all(named.values()), named
    assert "status" in dict(roles)
    size = {"width": 320, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    chromium.call("Emulation.setDeviceMetricsOverride", **size)
    assert chromium.js("document.documentElement.scrollWidth") <= 320
    colour = "getComputedStyle(document.body).backgroundColor"
    light = chromium.js(colour)
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    chromium.call("Emulation.setEmulatedMedia", features=dark)
    assert chromium.js(colour) != light
    chromium.screenshot(tmp_path / "dark.png")
    chromium.call("Emulation.clearDeviceMetricsOverride")


@browser
def test_without_a_network(opened):
    """Kept by the service worker. And in all of this, nothing was asked of another address."""
    chromium, server = opened
    chromium.wait_for("navigator.serviceWorker.controller")
    chromium.open(server.address)
    chromium.wait_for(READY)
    chromium.call("Network.emulateNetworkConditions", offline=True, latency=0,
                  downloadThroughput=0, uploadThroughput=0)  # fmt: skip
    server.shutdown()
    server.server_close()
    chromium.open(server.address)
    chromium.wait_for(READY)
    assert draw(chromium, STROKES[7]) == 7
    assert {url.startswith((server.address, "data:")) for url in chromium.requests} == {True}
    # A static folder has no /v2, which a browser notes.
    assert [each for each in chromium.complaints if each.get("source") != "network"] == []


@browser
def test_beside_a_server(page):
    with Predictor(engine="native") as model, served(page, model) as server, Chromium() as chromium:
        chromium.open(server.address)
        chromium.wait_for("document.querySelector('#server')?.hidden === false")
        draw(chromium, STROKES[7])
        chromium.wait_for("document.querySelector('#server').textContent.startsWith('7, ')")
        said = chromium.js("document.querySelector('#server').textContent")
        assert re.fullmatch(r"7, \d+\.\d %, [\d.]+ (µs|ms) there and back", said)
