"""A picture as the body of a request: its classes, beside those of Python and lenet_classify."""

import base64
import io
import json
import os
import random
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image
from raw_http import INFER, READY, post

import lenet_cpp
from pictures import png, random_pixels
from shared_models import output_networks
from snippets import printed_by, read_snippets, run_command

CONTENT_TYPES = (None, "application/x-www-form-urlencoded", "image/jpeg", "application/json")


@pytest.fixture(scope="module")
def photos(root):
    return sorted((root / "examples" / "photos").glob("*.jpg"))


@pytest.fixture(scope="module")
def results(photos):
    """What the Classifier makes of them."""
    with lenet_cpp.Classifier(top=10) as classifier:
        return classifier(photos)


def agrees(found, result, most):
    """Whether an answer has the best classes of a result, with their names and values."""
    best = result.predictions[:most]
    assert [list(one) for one in found] == [["class", "label", "probability"]] * most
    assert [(one["class"], one["label"]) for one in found] == [
        (one.class_id, one.label) for one in best
    ]
    values = [one["probability"] for one in found]
    np.testing.assert_allclose(values, [one.probability for one in best], rtol=1e-6)
    return True


def test_labels_that_the_user_gives(start_server, serve_program, photos, model_dir, tmp_path):
    """By an option for the only model, or by labels.txt beside a model that nothing names."""
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    labels = tmp_path / "names"
    labels.write_text("\n".join(names))

    def labels_of(server, name="lenet"):
        found = json.loads(server.ask("PUT", f"/v2/models/{name}/infer", photos[0].read_bytes())[2])
        return [(one["class"], one["label"]) for one in found]

    with start_server(f"--labels={labels}") as server:
        assert all(names[number] == label for number, label in labels_of(server))
    plain = tmp_path / "repository" / "plain"
    plain.mkdir(parents=True)
    for name in ("lenet.pdmodel", "lenet.pdiparams", "preprocess.json"):
        shutil.copy(model_dir / name, plain)
    (plain / "labels.txt").write_text("\n".join(names))
    with start_server(f"plain={plain}") as server:
        assert all(names[number] == label for number, label in labels_of(server, "plain"))
    for code, words, arguments in (
        (2, "one model, and there are 2", [model_dir, plain, f"--labels={labels}"]),
        (5, "is a folder of models", [plain.parent, f"--labels={labels}"]),
        (5, "names 1 classes, the model has 10", [model_dir, f"--labels={tmp_path / 'short'}"]),
        (3, "nowhere", [model_dir, f"--labels={tmp_path / 'nowhere'}"]),
        (
            5,
            "names classes; the model gives features",
            [model_dir, f"--labels={labels}", "--output_name=features"],
        ),
    ):
        (tmp_path / "short").write_text("zero")
        done = run_command(serve_program, *arguments, "--port=0", timeout=60)
        assert (done.returncode, done.stdout) == (code, "")
        assert words in done.stderr.splitlines()[-1]


def test_the_classes_are_those_of_the_classifier(server, photos, results):
    for photo, result in zip(photos, results, strict=True):
        assert result.label == photo.name[0]
        for method in ("PUT", "POST"):
            for kind in CONTENT_TYPES:
                header = {} if kind is None else {"Content-Type": kind}
                status, headers, body = server.ask(method, INFER, photo.read_bytes(), header)
                assert (status, headers["Content-Type"]) == (200, "application/json"), body
                assert agrees(json.loads(body), result, 5)
        for asked, most in ((1, 1), (3, 3), (10, 10), (2000, 10)):
            query = f"{INFER}?classification={asked}"
            assert agrees(json.loads(server.ask("PUT", query, photo.read_bytes())[2]), result, most)


def test_the_command_of_the_page(server, root):
    """The page begins with it, and says what it prints."""
    begin, answer = read_snippets(root / "docs" / "serve.md")[:2]
    (line,) = re.findall(r"^curl -T (\S+) http://localhost:8000(\S+)$", begin.text, re.MULTILINE)
    if shutil.which("curl"):
        command = ("curl", "--silent", "-T", line[0], f"http://localhost:{server.port}{line[1]}")
        printed = printed_by(*command, cwd=root)
        command = (*command[:2], "--data-binary", f"@{line[0]}", command[-1])
        assert printed_by(*command, cwd=root) == printed
    else:
        printed = server.ask("PUT", line[1], (root / line[0]).read_bytes())[2].decode()
    assert printed.endswith("]\n")
    found, said = json.loads(printed), json.loads(answer.text)
    assert [one["label"] for one in found] == [one["label"] for one in said]
    values, written = ([one["probability"] for one in each] for each in (found, said))
    np.testing.assert_allclose(values, written, rtol=1e-3)


def test_raw_gives_the_outputs_of_kserves_route(server, photos, results):
    for photo, result in zip(photos, results, strict=True):
        data = [base64.b64encode(photo.read_bytes()).decode()]
        tensor = {"name": "x", "shape": [1], "datatype": "BYTES", "data": data}
        expected = server.ask("POST", INFER, json.dumps({"inputs": [tensor]}))[2]
        for method in ("PUT", "POST"):
            assert server.ask(method, f"{INFER}?raw", photo.read_bytes())[2] == expected
        (output,) = json.loads(expected)["outputs"]
        np.testing.assert_allclose(output["data"], result.outputs, rtol=1e-5, atol=1e-5)


def test_requests_that_run_together_get_their_own_answers(start_server, photos, results):
    with (
        start_server("--workers=1", "--max_batch_size=8") as server,
        ThreadPoolExecutor(16) as pool,
    ):

        def ask(number):
            query = f"{INFER}?classification={number % 3 + 1}"
            return json.loads(server.ask("PUT", query, photos[number % 4].read_bytes())[2])

        for number, found in enumerate(pool.map(ask, range(200))):
            assert agrees(found, results[number % 4], number % 3 + 1)


def test_access_is_that_of_other_requests(start_server, photos):
    picture, token = photos[0].read_bytes(), "a token of 16 letters"
    with start_server(env=os.environ | {"LENET_SERVE_TOKEN": token}) as server:
        for headers, status in (
            ({}, 401),
            ({"Authorization": f"Bearer {token}"}, 200),
            ({"Authorization": f"Bearer {token}", "Origin": "http://other.example"}, 403),
        ):
            assert server.ask("PUT", INFER, picture, headers)[0] == status


@pytest.fixture(scope="module")
def networks(run_server, serve_program):
    """A server of networks with outputs of every role, and their folder."""
    folder = output_networks("json")
    with run_server(serve_program, folder, "--port=0") as server:
        yield server, folder


def said_by(program, *flags):
    """What lenet_classify says of each picture, with the server's name for the class."""
    for entry in read(printed_by(program, "--format=json", *flags, env={})):
        del entry["file"]
        if "predictions" not in entry:
            yield entry
            continue
        yield [
            {"class" if name == "class_id" else name: value for name, value in one.items()}
            for one in entry["predictions"]
        ]


def read(text):
    """Return JSON whose numbers are the float32 that they were written from."""
    return json.loads(text, parse_float=np.float32)


@pytest.mark.parametrize("name", ["heads", "places", "label", "label_and_score", "marks", "top_k"])
def test_other_outputs_are_told_as_the_program_tells_them(networks, built, name):
    server, folder = networks
    pictures = sorted(folder.glob("*.png"))
    for query, flags in (("", ()), ("?classification=2", ("--topk=2",))):
        model = f"--model_dir={folder / name}"
        said = said_by(built("lenet_classify"), model, *flags, *pictures)
        for picture, expected in zip(pictures, said, strict=True):
            path = f"/v2/models/{name}/infer{query}"
            status, _, body = server.ask("PUT", path, picture.read_bytes())
            assert status == 200, body
            assert read(body) == expected
    assert ("head" in json.loads(body)[0]) == (name in {"heads", "places"})


def test_features(start_server, built, photos):
    model = lenet_cpp.bundled_model_dir()
    flags = (f"--model_dir={model}", "--output_name=features")
    (expected,) = said_by(built("lenet_classify"), *flags, photos[0])
    with start_server("--output_name=features") as server:
        body = server.ask("PUT", INFER, photos[0].read_bytes())[2]
    assert len(expected["features"]) == 84
    assert read(body) == expected


@pytest.mark.parametrize("name", ["pixels", "maximum"])
def test_what_is_no_classifier_is_refused_with_the_remedy(networks, name):
    server, folder = networks
    picture = (folder / "0.png").read_bytes()
    status, _, body = server.ask("PUT", f"/v2/models/{name}/infer", picture)
    error = json.loads(body)["error"]
    assert (status, f"'{name}' is no classifier; add ?raw" in error) == (501, True), error
    status, _, body = server.ask("PUT", f"/v2/models/{name}/infer?raw", picture)
    assert status == 200
    assert json.loads(body)["outputs"][0]["shape"][0] == 1


def small_pictures():
    """A picture of each kind that is read, by Pillow."""
    image = Image.fromarray(random_pixels(40, 40, 3))
    for kind in ("jpeg", "png", "webp", "bmp", "ppm"):
        file = io.BytesIO()
        image.save(file, kind)
        yield file.getvalue()


def mutants(data, source):
    """Damaged copies, whose first bytes stay."""
    for _ in range(40):
        damaged = bytearray(data)
        for _ in range(source.randint(1, 8)):
            damaged[source.randrange(12, len(damaged))] = source.randrange(256)
        begin, end = sorted(source.randrange(12, len(data)) for _ in range(2))
        yield bytes(damaged)
        yield bytes(damaged[: source.randrange(12, len(data))])
        yield bytes(damaged[:begin] + damaged[end:])


def test_damaged_pictures_end_nothing(server, photos, results):
    source = random.Random(5)
    statuses = set()
    for picture in small_pictures():
        with server.client() as client:
            for damaged in mutants(picture, source):
                client.request("PUT", INFER, damaged)
                response = client.getresponse()
                body = json.loads(response.read())
                statuses.add(response.status)
                assert response.status == 200 or list(body) == ["error"]
    assert 400 in statuses
    assert statuses <= {200, 400, 413, 415}
    assert agrees(json.loads(server.ask("PUT", INFER, photos[0].read_bytes())[2]), results[0], 5)


def test_limits(start_server):
    """A few bytes that unpack to many pixels, a large body, and a client that is slow."""
    bomb = png(100_000, 100_000, 8, 0, bytes(1000))
    options = ("--max_body_bytes=100000", "--body_seconds=1", "--max_image_pixels=5000")
    with start_server(*options) as server:
        for picture, status, problem in (
            (bomb, 400, "over the limit of 5000"),
            (png(100, 51, 8, 0, bytes(101 * 51)), 400, "over the limit of 5000"),
            (bytes(100_001), 413, "the body is too large"),
        ):
            found, _, body = server.ask("PUT", INFER, picture)
            assert (found, problem in json.loads(body)["error"]) == (status, True), body
        head = post(INFER, "Content-Length: 100").replace(b"POST", b"PUT")
        began = time.monotonic()
        assert server.send(head + b"\xff\xd8\xff")[0] == [408]
        assert time.monotonic() - began < 10
        too_long = head.replace(b"100", b"100001").replace(b"Host", b"Expect: 100-continue\r\nHost")
        assert server.send(too_long)[0] == [413]
        with suppress(ConnectionError), server.connect() as connection:
            connection.sendall(head + b"\xff\xd8\xff")  # and gone
        assert server.send(READY, half_close=True)[0] == [200]


def test_a_model_without_a_description(run_server, serve_program, tmp_path):
    onnx = pytest.importorskip("onnx", reason="the model of this test is made with it")
    text = """<ir_version: 8, opset_import: ["" : 17]> network (float[N,2,5,7] x) => (float[N,2] y)
    { m = GlobalAveragePool(x) y = Flatten(m) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "lenet.onnx")
    with run_server(serve_program, tmp_path / "lenet.onnx", "--port=0") as server:
        status, _, body = server.ask("PUT", INFER, png(1, 1, 8, 0, b"\0\0"))
    assert status == 400
    assert "give it arrays" in json.loads(body)["error"]
