"""``lenet-cpp web``: the folder that it writes, and the model in Node."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from chromium import needs_module
from lenet_cpp import BadInput, BadModel, Predictor, Unsupported
from lenet_cpp.agreement import compare
from lenet_cpp.data.images import CenterCrop, Normalize, Pipeline, Resize, ToCHW
from lenet_cpp.deploy import web, write_page
from numpy_reference import conv2d, lenet_parameters
from shared_models import both_formats
from snippets import printed_by, run_page

ROOT = Path(__file__).parents[2]
PHOTOS = sorted((ROOT / "examples" / "photos").glob("*.jpg"))
MOST_BYTES = 630_000  # to load before the first answer, with brotli: some 0.6 MB
MOST_OF_PHOTOS = 60_000
CLASSES = 10
SIZE = 28

pytestmark = needs_module
node = pytest.mark.skipif(
    shutil.which("node") is None,
    reason="no node, no Python package: apt-get install nodejs, as ./test.sh does for root",
)


# ---- the folder


def test_files(page, model_dir):
    names = {path.name for path in page.iterdir()}
    written = {"index.html", "page.css", "page.js", "lenet.js", "lenet.wasm", "sw.js", "model.json"}
    model = {"model.pdmodel", "model.pdiparams", "preprocess.json"}
    assert names == written | model | {photo.name for photo in PHOTOS}
    assert (page / "model.pdiparams").read_bytes() == (model_dir / "lenet.pdiparams").read_bytes()
    about = json.loads((page / "model.json").read_bytes())
    assert about == {"name": "lenet", "classes": [*"0123456789"], "output_role": "logits"}
    assert [path.name for path in page.parent.iterdir()] == ["page"]


def test_labels_beside_the_model(model_dir, tmp_path):
    names = [f"class {number}" for number in range(10)]
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("lenet.pdmodel", "lenet.pdiparams", "preprocess.json"):
        shutil.copy(model_dir / name, folder)
    (folder / "labels.txt").write_text("\n".join(names))
    write_page(folder, tmp_path / "page")
    assert json.loads((tmp_path / "page" / "model.json").read_bytes())["classes"] == names


def test_all_files_are_kept_for_offline_use(page):
    kept = set(re.findall(r"'([\w-]+\.\w+)'", (page / "sw.js").read_text()))
    assert kept == {path.name for path in page.iterdir()} - {"sw.js"}


def test_policy_and_addresses(page):
    """No script or style within the page, and no address of anything elsewhere."""
    text = (page / "index.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert rules["img-src"] == "'self' data:"
    assert rules["style-src"] == rules["connect-src"] == rules["worker-src"] == "'self'"
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|javascript:", text)
    for name in ("index.html", "page.css", "page.js", "lenet.js", "sw.js"):
        assert not re.search(r"https?://|//\w+\.|@import|url\(", (page / name).read_text()), name


@pytest.mark.skipif(
    shutil.which("brotli") is None,
    reason="no brotli, as a program: apt-get install brotli, as ./test.sh does for root",
)
def test_size(page):
    sizes = {
        path.name: len(subprocess.check_output(["brotli", "-c", path])) for path in page.iterdir()
    }
    photos = sum(sizes.pop(photo.name) for photo in PHOTOS)
    assert photos <= MOST_OF_PHOTOS
    assert sum(sizes.values()) <= MOST_BYTES, sizes


def test_replaces_its_own_page_only(tmp_path, model_dir):
    write_page(model_dir, tmp_path / "page")
    (tmp_path / "page" / "model.json").write_text("{}")
    write_page(model_dir / "lenet.pdmodel", tmp_path / "page")
    assert (tmp_path / "page" / "model.json").read_text() != "{}"
    (tmp_path / "link").symlink_to(tmp_path / "page")
    with pytest.raises(BadInput, match="choose another folder"):
        write_page(model_dir, tmp_path / "link")
    (tmp_path / "page" / "photos").mkdir()
    (tmp_path / "page" / "photos" / "mine").touch()
    with pytest.raises(BadInput, match="holds 'photos' besides a page"):
        write_page(model_dir, tmp_path / "page")
    assert (tmp_path / "page" / "photos" / "mine").exists()
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


def test_an_onnx_in_a_folder_is_told_how_to_become_a_model(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "net.onnx").write_bytes(b"\x08\x08")
    with pytest.raises(Unsupported, match=r"model/net\.onnx -o FOLDER") as caught:
        write_page(tmp_path / "model", tmp_path / "page")
    assert "convert" not in str(caught.value)


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
    printed = printed_by("node", Path(__file__).with_name("run_model.mjs"), page, work)
    found = {path.stem: np.fromfile(path, np.float32) for path in work.glob("*.f32")}
    return found, json.loads(printed), photo, pipeline


@node
def test_same_bits_as_the_program(in_node, logits_of):
    """Those of its kernels for SSE4.2; its fastest ones round differently."""
    found, *_ = in_node
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
    found, errors, *_ = in_node
    texts = ("found no digit", "NaN", "model.pdiparams", "model.pdmodel", "JSON")
    assert len(errors) == len(texts), errors
    for text, error in zip(texts, errors, strict=True):
        assert text in error
    np.testing.assert_array_equal(found["again"], found["one"][:CLASSES])


OPEN = """
import { readFileSync } from 'node:fs';
const { openModel } = await import('file://' + process.argv[2] + '/lenet.js');
const [module, program, params, preprocess] =
  ['lenet.wasm', 'model.pdmodel', 'model.pdiparams', 'preprocess.json'].map((name) =>
    new Uint8Array(readFileSync(process.argv[2] + '/' + name)));
const model = await openModel(module, { program, params, preprocess });
const found = [model.inputShape];
for (const [height, width] of JSON.parse(process.argv[3])) {
  const pixels = Uint8Array.from({ length: height * width * 3 }, (_, i) => (i * 37) % 256);
  try {
    found.push([...model.classify({ pixels, height, width, channels: 3 }).answer]);
    const { shape, values } = model.prepared();
    found.push(shape, [...model.run(values, height, width)]);
  } catch (error) {
    found.push(error.message);
  }
}
console.log(JSON.stringify(found));
"""


PICTURES = [(12, 9), (7, 20), (12, 9)]


def opened(tmp_path, sizes, network=None, pictures=PICTURES):
    """Return the model, its preprocessing, which keeps sizes, and what the page finds.

    Args:
        tmp_path: Where they are written.
        sizes: Those of the images that the model takes.
        network: Of Paddle, for three channels; a convolutional one by default.
        pictures: The sizes of those that the page classifies.
    """
    from paddle import nn

    layers = (nn.Conv2D(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(4, 5))
    model = both_formats(network or nn.Sequential(*layers), (3, *sizes), tmp_path)[1]
    normalize = Normalize(scale=1 / 255, mean=(0.5,) * 3, std=(0.25,) * 3)
    pipeline = Pipeline("RGB", (normalize, ToCHW()))
    pipeline.save(tmp_path / "preprocess.json")
    write_page(model, tmp_path / "page")
    (tmp_path / "open.mjs").write_text(OPEN)
    printed = printed_by("node", tmp_path / "open.mjs", tmp_path / "page", json.dumps(pictures))
    return model, pipeline, json.loads(printed)


@node
def test_images_of_another_size_than_the_models_are_refused(tmp_path):
    _model, _pipeline, (input_shape, *found) = opened(tmp_path, (12, 9))
    assert input_shape == [-1, 3, 12, 9]
    assert len(found) == 3 + 1 + 3
    assert "has shape [1, 7, 20, 3]; the model expects [N, 3, 12, 9]" in found[3]
    assert found[:3] == found[4:]


@node
def test_a_model_takes_images_of_any_size(tmp_path):
    model, pipeline, (input_shape, *found) = opened(tmp_path, (None, None))
    assert input_shape == [-1, 3, -1, -1]
    agrees(model, pipeline, found, PICTURES)


@node
def test_a_transformer(tmp_path):
    import paddle
    from paddle import nn

    class Attention(nn.Layer):
        def __init__(self):
            super().__init__()
            self.norm, self.pairs = nn.LayerNorm(8), nn.Linear(8, 24)

        def forward(self, x):
            x = x.flatten(2).transpose([0, 2, 1])
            queries, keys, values = paddle.split(self.pairs(self.norm(x)), 3, axis=-1)
            # Paddle's matmul, of which `@` is another spelling, goes into no .pdmodel any more.
            return x + nn.functional.softmax(queries @ keys.transpose([0, 2, 1])) @ values

    layers = (nn.Conv2D(3, 8, 4, stride=4), Attention(), nn.Flatten(), nn.Linear(8 * 64, 5))
    pictures = [(32, 32)]
    opens = opened(tmp_path, (32, 32), nn.Sequential(*layers), pictures)
    model, pipeline, (_input_shape, *found) = opens
    agrees(model, pipeline, found, pictures)


def agrees(model, pipeline, found, pictures):
    """Check that the page found what the native engine finds here."""
    with Predictor(model, engine="native") as predictor:
        for i, (height, width) in enumerate(pictures):
            answer, shape, again = found[3 * i : 3 * i + 3]
            pixels = (np.arange(height * width * 3) * 37 % 256).astype(np.uint8)
            values = pipeline(pixels.reshape(height, width, 3))[None]
            assert shape == list(values.shape)
            assert answer == again
            assert compare(predictor.run(values), np.float32([answer])).agrees
