"""What takes too long is given up: loads, and the decoding of image files."""

import io
import json
import shutil
import struct
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raw_http import INFER, RAW

from slow_loads import environment, paddle_environment, put_model, wait_until
from snippets import run_command

NEVER = "LENET_NEVER_LOADS"
CHANGE = "/v2/repository/models/{}/{}"


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    return environment(tmp_path_factory.mktemp("slow"))


def test_loads_are_given_up_and_others_go_on(run_server, serve_program, tmp_path, slow):
    put_model(tmp_path / "good" / "1" / "m.onnx")
    options = ("--port=0", "--poll_seconds=1", "--load_seconds=1", "--skip_trial")
    with run_server(serve_program, tmp_path, *options, ends=False, env=slow) as server:
        for version in ("2", "3", "4", "5"):
            assert server.ask("GET", "/v2/health/ready")[0] == 200
            put_model(tmp_path / "good" / version / "m.onnx", NEVER)
            wait_until(lambda version=version: ("good", version) in server.states())
            state, reason = server.states()["good", version]
            assert state == "UNAVAILABLE"
            assert "its load takes longer than load_seconds, 1" in reason
        assert server.metric("lenet_given_up_loads") == 4
        status, _, body = server.ask("GET", "/v2/health/ready")
        assert status == 503
        assert "4 loads of models were given up" in json.loads(body)["reason"]
        # What is served is answered, and the native engine's models are loaded.
        assert server.ask("GET", "/v2/models/good/ready")[0] == 200
        tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 3, 2, 0]}
        request = json.dumps({"inputs": [tensor]})
        status, _, body = server.ask("POST", "/v2/models/good/infer", request)
        assert json.loads(body)["outputs"][0]["data"] == [1, 0, 0, 0]
        put_model(tmp_path / "good" / "6" / "m.onnx")
        wait_until(lambda: ("good", "6") in server.states())
        assert "4 loads were given up" in server.states()["good", "6"][1]
        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(30) == 0
        assert time.monotonic() - began < 10


def test_stop_while_a_model_loads(run_server, serve_program, tmp_path, slow):
    put_model(tmp_path / "good" / "1" / "m.onnx")
    options = ("--port=0", "--poll_seconds=1", "--stop_seconds=20", "--skip_trial")
    with run_server(serve_program, tmp_path, *options, ends=False, env=slow) as server:
        put_model(tmp_path / "good" / "2" / "m.onnx", NEVER)
        before = server.watched.cpu_times().user
        wait_until(lambda: server.watched.cpu_times().user > before + 1)  # it loads
        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(30) == 0
        assert time.monotonic() - began < 10


def test_a_model_that_never_loads_at_the_start(serve_program, tmp_path, slow):
    put_model(tmp_path / "m.onnx", NEVER)
    command = (serve_program, tmp_path / "m.onnx", "--port=0", "--load_seconds=1")
    done = run_command(*command, env=slow, timeout=60)
    assert done.returncode == 8
    assert "its load takes longer than load_seconds, 1" in done.stderr


def test_a_version_that_cannot_be_checked_is_not_served(
    run_server, serve_program, model_dir, tmp_path
):
    """With self_check each load is compared with the plain program, which has no EyeLike."""
    pytest.importorskip("onnxruntime", reason="it runs the operator")
    shutil.copytree(model_dir, tmp_path / "m" / "1")
    options = ("--port=0", "--poll_seconds=1", "--self_check=true")
    with run_server(serve_program, tmp_path, *options) as server:
        assert server.states()["m", "1"][0] == "READY"
        put_model(tmp_path / "m" / "2" / "m.onnx")
        wait_until(lambda: ("m", "2") in server.states())
        state, reason = server.states()["m", "2"]
        assert state == "UNAVAILABLE"
        assert "self_check is not possible" in reason
        assert "EyeLike" in reason
        assert server.states()["m", "1"][0] == "READY"


def test_a_model_that_fails_its_check(serve_program, tmp_path, slow):
    put_model(tmp_path / "m.onnx", nodes="y = Relu(x)")
    command = (serve_program, tmp_path / "m.onnx", "--port=0", "--engine=onnxruntime")
    wrong = slow | {"ONNXRUNTIME_IS_WRONG": "1"}
    done = run_command(*command, "--self_check=true", env=wrong, timeout=60)
    assert done.returncode == 8
    assert "self_check: the onnxruntime engine computes the output 'y' otherwise" in done.stderr


def tall_png(rows):
    """Return a PNG of one column, which takes long to decode for its size."""

    def chunk(kind, content):
        sum_ = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + sum_

    header = struct.pack(">IIBBBBB", 1, rows, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0\x80" * rows, 9)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def large(kind, **options):
    """Return an image file of 25 million pixels, with a digit."""
    file = io.BytesIO()
    page = Image.new("L", (5000, 5000))
    page.paste(255, (2300, 1500, 2600, 3500))
    page.save(file, kind, **options)
    return file.getvalue()


def files_request(files):
    """Return a request with image files."""
    values = b"".join(struct.pack("<I", len(file)) + file for file in files)
    tensor = {"name": "x", "shape": [len(files)], "datatype": "BYTES"}
    tensor["parameters"] = {"binary_data_size": len(values)}
    head = json.dumps({"inputs": [tensor]}).encode()
    return head + values, {"Inference-Header-Content-Length": str(len(head))}


# Each takes at least several seconds to decode.
COSTLY = {
    "png": lambda: [tall_png(1 << 25)] * 4,
    "one png": lambda: [tall_png(1 << 25)],
    "jpeg": lambda: [large("JPEG", progressive=True)] * 14,
    "webp": lambda: [large("WEBP", lossless=False)] * 20,
}


@pytest.mark.parametrize("kind", COSTLY)
def test_decoding_ends_with_the_request(start_server, kind):
    """A thread that went on for a request that is answered would keep the others waiting."""
    body, headers = files_request(COSTLY[kind]())
    with start_server("--workers=1", "--request_ms=300") as server:
        status, _, answer = server.ask("POST", INFER, body, headers)
        assert (status, answer) == (503, b'{"error":"the request took too long to decode"}')
        wait_until(lambda: server.metric("lenet_running_requests") == 0, 3)
        photo, headers = files_request([tall_png(28)])
        assert server.ask("POST", INFER, photo, headers)[0] != 503


def of_scans(size, scans):
    """Return a progressive JPEG whose last scan, of few bytes, stands there again and again."""
    file = io.BytesIO()
    Image.new("L", (size, size), 128).save(file, "JPEG", progressive=True)
    body = file.getvalue()[:-2]
    last = body.rindex(b"\xff\xda")
    return body + body[last:] * (scans - body.count(b"\xff\xda")) + b"\xff\xd9"


def test_scans_and_pixels_are_limited_together(start_server):
    """16 times the limit of pixels for a file, and 64 times for a request."""
    with start_server("--max_image_pixels=10000") as server:

        def ask(files):
            status, _, answer = server.ask("POST", INFER, *files_request(files))
            return status, json.loads(answer).get("error", "")

        assert "found no digit" in ask([of_scans(100, 16)])[1]
        status, problem = ask([of_scans(100, 17)])
        assert status == 400
        assert "has 17 scans of 100 x 100 pixels, together over the limit of 160000" in problem
        assert ask([of_scans(100, 16)] * 4)[0] == 400
        status, problem = ask([of_scans(100, 16)] * 4 + [of_scans(8, 6)])
        assert (status, "64 times 10000 pixels together" in problem) == (413, True)
        assert ask([of_scans(100, 100)] * 4)[0] == 400  # refused as the first, whatever follows


def test_pictures_that_take_long_do_not_hold_others(start_server):
    """A small picture is answered while large ones wait, also where they occupy all threads."""
    costly = of_scans(5790, 16)
    small = of_scans(28, 6)
    answers = []

    with start_server("--workers=1") as server:

        def ask():
            answers.append(server.ask("POST", INFER, costly)[0])

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        # The first is decoded, and the others wait.
        wait_until(lambda: server.metric("lenet_queued_requests") == 5)
        for _ in range(3):
            server.ask("POST", INFER, small)
            assert server.metric("lenet_queued_requests") > 0
            assert len(answers) < 6
        for thread in threads:
            thread.join()
        assert answers == [400] * 6  # there is no digit on them


def test_stop_while_files_are_decoded(start_server):
    body, headers = files_request([tall_png(1 << 25)] * 4)
    options = ("--stop_seconds=1", "--workers=2", "--request_ms=0")
    with start_server(*options, ends=False) as server:

        def ask():
            with pytest.raises((OSError, AssertionError)):
                assert server.ask("POST", INFER, body, headers)[0] != 503

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: server.metric("lenet_running_requests") == 2)
        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(30) == 8  # requests were not answered as asked
        assert time.monotonic() - began < 5
        for thread in threads:
            thread.join()
        assert "could not be stopped in time" not in server.process.stderr.read()


def test_an_entry_that_is_no_model_is_left_out(run_server, serve_program, model_dir, tmp_path):
    """At the start, and while it runs; what is added later is loaded."""
    folder = tmp_path / "models"
    for name in ("good", "good (copy)", "stats", "né", "line\nbreak"):
        shutil.copytree(model_dir, folder / name / "1")
    (folder / "loop").symlink_to("loop")
    options = ("--port=0", "--poll_seconds=1", "--engine=native")
    with run_server(serve_program, folder, *options, ends=False) as server:
        shutil.copytree(model_dir, folder / "another (copy)")
        time.sleep(2.5)
        shutil.copytree(model_dir, folder / "good" / "2")
        shutil.copytree(model_dir, folder / "other")
        wait_until(lambda: ("other", "1") in server.states() and ("good", "2") in server.states())
        assert {name for name, _ in server.states()} == {"good", "other"}
        shutil.rmtree(folder / "other")  # what is left out does not keep what is gone
        wait_until(lambda: server.states()["other", "1"][0] == "UNAVAILABLE")
        server.process.terminate()
        assert server.process.wait(30) == 0
        lines = server.process.stderr.read().splitlines()
    for name in ("good (copy)", "stats", "né", "line\\nbreak", "another (copy)"):
        told = [line for line in lines if f"'{folder}/{name}' is left out: " in line]
        assert len(told) == 1, lines
        assert "cannot be the name of a model" in told[0]


def test_nothing_but_what_is_no_model(serve_program, model_dir, tmp_path):
    shutil.copytree(model_dir, tmp_path / "models" / "a b" / "1")
    done = run_command(serve_program, tmp_path / "models", "--port=0", timeout=60)
    assert done.returncode == 5
    assert "'a b' cannot be the name of a model" in done.stderr.splitlines()[-1]


def test_a_model_that_openvino_loads_again(run_server, serve_program, model_dir, tmp_path):
    """While a load of the same model never ends, it runs, is unloaded, and the server ends."""
    slow = paddle_environment(tmp_path)
    never = Path(slow["NEVER_LOADS"])
    never.unlink()
    models = tmp_path / "models"
    shutil.copytree(model_dir, models / "first")
    options = ("--engine=paddle", "--accelerator=openvino", "--load_seconds=10", "--port=0")
    options += ("--allow_load", "--insecure_load", "--workers=1", "--skip_trial")
    with run_server(serve_program, models, *options, ends=False, env=slow) as server:
        shutil.copytree(model_dir, models / "again")
        never.touch()
        loads = threading.Thread(target=server.ask, args=("POST", CHANGE.format("again", "load")))
        loads.start()
        wait_until(lambda: not never.exists())  # it loads
        digit = np.linspace(0, 1, 784, dtype=np.float32).tobytes()
        for _ in range(4):
            assert server.ask("POST", "/v2/models/first/infer", digit, RAW)[0] == 200
        loads.join()
        assert server.metric("lenet_given_up_loads") == 1
        assert server.ask("POST", CHANGE.format("first", "unload"))[0] == 200
        assert server.ask("POST", CHANGE.format("first", "load"))[0] == 200
        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(60) == 0
        assert time.monotonic() - began < 10


def test_one_thread_for_a_json_that_never_loads(run_server, serve_program, model_dir, tmp_path):
    """Another load does not wait for what the first one keeps, and is not given up, too."""
    slow = paddle_environment(tmp_path)
    never = Path(slow["NEVER_LOADS"])
    never.unlink()
    for name in ("first", "again"):
        (tmp_path / "models" / name).mkdir(parents=True)
    for file in ("lenet.json", "lenet.pdiparams"):
        shutil.copy(model_dir / file, tmp_path / "models" / "first")
    options = ("--engine=paddle", "--accelerator=plain", "--load_seconds=10", "--port=0")
    options += ("--allow_load", "--insecure_load", "--skip_trial")
    with run_server(serve_program, tmp_path / "models", *options, env=slow) as server:
        for file in ("lenet.json", "lenet.pdiparams"):
            shutil.copy(model_dir / file, tmp_path / "models" / "again")
        never.touch()
        for reason in (b"its load takes longer", b"still keeps Paddle from loading"):
            status, _, answer = server.ask("POST", CHANGE.format("again", "load"))
            assert (status, reason in answer) == (400, True)
        assert server.metric("lenet_given_up_loads") == 1
