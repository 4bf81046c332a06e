"""Seeded parameters, published weights and their download, and state dicts that do not fit."""

import hashlib
import http.server
import threading

import numpy as np
import paddle
import pytest

from lenet_cpp import errors, models
from lenet_cpp._base.files import cache_folder
from lenet_cpp.formats import checkpoint
from lenet_cpp.models import weights


def test_seeded_parameters():
    first, again, other = (
        {k: v.numpy() for k, v in models.build("ResNet18_vd", 3, seed=seed).state_dict().items()}
        for seed in (1, 1, 2)
    )
    for name, values in first.items():
        assert (values == again[name]).all()
        assert (values != other[name]).any()
        assert values.std() > 0
    with pytest.raises(errors.BadInput, match="seed is -1"):
        models.build("lenet", seed=-1)


@pytest.mark.parametrize("name", ["lenet", "ResNet50"])
def test_seeded_outputs_keep_their_proportions(name):
    layer = models.build(name, 10, seed=0)
    layer.eval()
    shape = (2, *models.get(name).shape(64 if name != "lenet" else None))
    images = np.random.default_rng(0).standard_normal(shape).astype("float32")
    outputs = layer(paddle.to_tensor(images)).numpy()
    assert 0.1 < np.abs(outputs).max() < 100
    assert np.abs(outputs[0] - outputs[1]).max() > 0.01


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        status, headers, body = self.server.answers.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    """Serves bytes on the loopback interface and notes the requests."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.answers, server.requests = {}, []
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lenet_cpp" / "weights"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Weights as somebody would publish them."""
    path = tmp_path_factory.mktemp("published") / "LeNet_pretrained.pdparams"
    paddle.save(models.build("lenet", seed=4).state_dict(), str(path))
    return path


def test_pretrained_weights_from_paths_and_urls(published, server, cache):
    content, place = published.read_bytes(), "/w/LeNet%20it.pdparams?v=1"
    server.answers |= {place: (200, {}, content), "/moved": (302, {"Location": place}, b"")}
    expected = models.build("lenet", seed=4).state_dict()
    digest = hashlib.sha256(content).hexdigest().upper()
    urls = (published.as_uri(), f"{server.url}{place}", f"{server.url}/moved")
    for source in (published, str(published), *urls):
        layer = models.build("lenet", seed=5)
        path = models.load_pretrained(layer, source, sha256=digest)
        assert path.read_bytes() == content
        for name, value in layer.state_dict().items():
            assert (value.numpy() == expected[name].numpy()).all()
    assert len(server.requests) == 3
    cached = sorted(path.name.partition("-")[2] for path in cache.iterdir())
    assert cached == ["LeNet_it.pdparams", "moved"]
    # A second time it comes from the cache, unless somebody changed that.
    (cached,) = cache.glob("*-moved")
    weights.fetch(f"{server.url}/moved", sha256=digest)
    assert len(server.requests) == 3
    cached.write_bytes(content[:-1])
    assert weights.fetch(f"{server.url}/moved", sha256=digest).read_bytes() == content
    assert len(server.requests) == 5


VISION = {
    name: spec.builder.partition(":")[2]
    for name, spec in models.MODELS.items()
    if spec.builder.startswith("paddle.vision.models:")
}
QUICK = ("MobileNetV1", "ResNet18", "ShuffleNetV2", "SqueezeNet1_1")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.nightly]) for n in VISION]
)
def test_names_of_published_weights(name, tmp_path):
    """What paddle.vision publishes for its class is what the registered network takes."""
    path = tmp_path / "published.pdparams"
    theirs = getattr(paddle.vision.models, VISION[name])()
    paddle.save(theirs.state_dict(), str(path))
    layer = models.build(name, seed=1)
    models.load_pretrained(layer, path)
    expected, found = theirs.state_dict(), layer.state_dict()
    assert found.keys() == expected.keys()
    for key, value in found.items():
        assert (value.numpy() == expected[key].numpy()).all(), key


def test_downloads_that_are_not_kept(published, server, cache):
    content = published.read_bytes()
    server.answers["/good"] = (200, {}, content)
    server.answers["/short"] = (200, {"Content-Length": str(len(content) + 9)}, content)
    server.answers["/away"] = (302, {"Location": "ftp://127.0.0.1/good"}, b"")
    server.answers["/huge"] = (200, {"Content-Length": str(1 << 40)}, content)
    right, wrong = hashlib.sha256(content).hexdigest(), "0" * 64
    url = server.url
    for source, digest, error, said in (
        (f"{url}/good", wrong, errors.BadModel, f"has SHA-256 {right}, expected {wrong}"),
        (f"{url}/short", right, errors.FileNotFound, "cannot download"),
        (f"{url}/none", right, errors.FileNotFound, "HTTP 404; check the address"),
        (f"{url}/away", right, errors.FileNotFound, "ftp"),
        (f"{url}/huge", right, errors.BadModel, "more than 4 GiB"),
        (f"{url}/good", None, errors.BadInput, "give its sha256, or use https"),
        (f"{url}/good", "abc", errors.BadInput, "64 hexadecimal digits"),
        ("http://127.0.0.1:1/x", right, errors.FileNotFound, "cannot download"),
        ("s3://bucket/x", None, errors.BadInput, "a URL of https, http or file"),
        ("nowhere.pdparams", None, errors.FileNotFound, "nowhere"),
        (published, wrong, errors.BadModel, "expected 0000"),
    ):
        with pytest.raises(error, match=said):
            weights.fetch(source, sha256=digest)
        assert not cache.exists() or list(cache.iterdir()) == []


def test_https_is_not_left_for_http(monkeypatch, cache):
    import httpx

    def answer(request):
        if request.url.scheme == "https":
            return httpx.Response(302, headers={"Location": "http://example.com/w"})
        return httpx.Response(200, content=b"anything")

    client = httpx.Client
    monkeypatch.setattr(
        httpx, "Client", lambda **given: client(**given, transport=httpx.MockTransport(answer))
    )
    with pytest.raises(errors.FileNotFound, match="not https"):
        weights.fetch("https://example.com/w")


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/is/to/be/ignored"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder() == tmp_path / ".cache" / "lenet_cpp"


def test_long_lists_of_differences_are_short_in_the_message(published):
    layer = models.build("ResNet18_vd", 2)
    with pytest.raises(checkpoint.StateMismatch) as caught:
        models.load_pretrained(layer, published)
    assert caught.value.missing == tuple(layer.state_dict())
    assert caught.value.unexpected == tuple(models.build("lenet").state_dict())
    assert f"and {len(layer.state_dict()) - 20} more; unexpected" in str(caught.value)
    hint = "it is for 10 classes: --num-classes 10, or --class_dim .* num_classes=10"
    with pytest.raises(checkpoint.StateMismatch, match=hint) as caught:
        models.load_pretrained(models.build("lenet", 3), published)
    assert set(caught.value.wrong) == {"linear3.weight", "linear3.bias"}
