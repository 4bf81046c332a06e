"""The server as a program: access, page, log, end, command line, page of the documents."""

import fcntl
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from raw_http import INFER, RAW, READY, post, read_all

from snippets import printed_by, run_command, run_page


def test_token(start_server, tmp_path, serve_program, model_dir):
    token = tmp_path / "token"
    token.write_text("a-long-secret-0123\n")
    with start_server(f"--token_file={token}") as server:
        for given in (
            None,
            "",
            "Bearer",
            "Bearer a-long-secret-012",
            "Bearer a-long-secret-01234",
            "Basic a-long-secret-0123",
            "Bearer b-long-secret-0123",
        ):
            for path in ("/v2", "/metrics", "/v2/models/lenet"):
                header = given and {"Authorization": given}
                status, headers, _ = server.ask("GET", path, headers=header)
                assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert server.ask("GET", "/v2/health/ready")[0] == 200
        for scheme in ("Bearer", "bearer"):
            header = {"Authorization": f"{scheme} a-long-secret-0123"}
            assert server.ask("GET", "/v2", headers=header)[0] == 200
        # Before the body is read, which is nobody's who does not know it: all bodies share memory.
        asks = ("Origin: http://localhost", "Access-Control-Request-Method: POST")
        asked = post(INFER, *asks).replace(b"POST", b"OPTIONS", 1)
        assert server.send(asked[:-2] + b"Connection: close\r\n\r\n")[0] == [204]
        for head in (post(INFER, "Expect: 100-continue"), post("/v2/health/live"), asked):
            for body in (b"Content-Length: 500", b"Transfer-Encoding: chunked"):
                assert server.send(head[:-2] + body + b"\r\n\r\n")[0] == [401]
    with start_server(env={"LENET_SERVE_TOKEN": "a-long-secret-0123"}) as server:
        assert server.ask("GET", "/v2")[0] == 401


def test_page(start_server, tmp_path):
    page = tmp_path / "page"
    for name, text in (
        ("index.html", "<p>hello"),
        ("js/a.mjs", "1"),
        ("b.wasm", "\0asm"),
        ("b.wasm.br", "packed"),
        (".hidden", "no"),
        ("../secret", "no"),
    ):
        (page / name).parent.mkdir(parents=True, exist_ok=True)
        (page / name).write_text(text)
    (page / "link").symlink_to(tmp_path / "secret")
    with start_server(f"--page={page}") as server:
        status, headers, body = server.ask("GET", "/")
        assert (status, body) == (200, b"<p>hello")
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe-inline" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        tag = headers["ETag"]
        status, headers, body = server.ask("GET", "/index.html?x=1", headers={"If-None-Match": tag})
        assert (status, headers["ETag"], body) == (304, tag, b"")
        assert server.ask("GET", "/js/a.mjs")[2] == b"1"
        assert server.ask("GET", "/b.wasm")[1]["Content-Type"] == "application/wasm"
        accepted = {"Accept-Encoding": "gzip, br"}
        status, headers, body = server.ask("GET", "/b.wasm", headers=accepted)
        assert (headers["Content-Encoding"], body) == ("br", b"packed")
        assert server.ask("HEAD", "/js/a.mjs")[1]["Content-Length"] == "1"
        assert server.ask("POST", "/")[0] == 405
        hidden = "/.hidden /link /secret /../secret /js/../../secret /%2e%2e/secret /..%2fsecret"
        for path in [*hidden.split(), "//index.html", "/js", "/js/", "/index.html/"]:
            assert server.ask("GET", path)[0] in (400, 404), path
        (page / "index.html").write_text("changed")  # read at the start
        assert server.ask("GET", "/")[2] == b"<p>hello"


def test_metrics_and_access_log(start_server, tmp_path, digit):
    log = tmp_path / "log"
    with start_server(f"--access_log={log}") as server:
        server.ask("POST", INFER, digit.tobytes(), RAW)
        server.ask("GET", "/v2/models/none")
        server.send(b'GET /"\x01\\ HTTP/1.1\r\n\r\n')
        server.send(b'GET /"\\{} HTTP/1.1\r\nHost: localhost\r\n\r\n', half_close=True)
        assert server.metric('lenet_http_requests_total{status="404"}') == 2
        assert server.metric('lenet_http_requests_total{status="400"}') == 1
        assert server.metric("lenet_http_request_duration_seconds_count") >= 5
        assert server.metric("lenet_http_received_bytes_total") == digit.nbytes
        # Each line is a comment or NAME{LABELS} NUMBER.
        for line in server.ask("GET", "/metrics")[2].decode().splitlines():
            sample = r'\w+({\w+="[^"]*"(,\w+="[^"]*")*})? \S+'
            assert re.fullmatch(rf"# (HELP|TYPE) \w+ .+|{sample}", line)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["status"] for entry in entries][:4] == [200, 404, 400, 404]
    called = [entries[0][name] for name in ("method", "path", "received")]
    assert called == ["POST", INFER, digit.nbytes]
    assert min(entries[0][name] for name in ("sent", "microseconds")) > 0
    assert entries[3]["path"] == '/"\\{}'
    assert re.fullmatch(r"127\.0\.0\.1:\d+", entries[0]["client"])


def test_a_log_that_nobody_reads(start_server):
    """Lines are dropped, and no request waits; who reads again gets those that were kept."""
    with start_server("--access_log=-") as server, server.client() as client:
        for _ in range(4000):
            client.request("GET", "/" + "x" * 300)
            response = client.getresponse()
            assert (response.status, response.read()[:9]) == (404, b'{"error":')
        dropped = server.metric("lenet_access_log_dropped_lines_total")
        assert 0 < dropped < 4000
        for _ in range(4000 - int(dropped)):
            assert json.loads(server.process.stdout.readline())["path"].startswith("/xxx")


def test_standard_error_that_nobody_reads(start_server):
    """Models are loaded all the same, and the server says later how much it could not say."""
    load = "/v2/repository/models/lenet/load"
    with start_server("--allow_load", "--insecure_load") as server:
        fcntl.fcntl(server.process.stderr, fcntl.F_SETPIPE_SZ, 8192)
        for _ in range(60):  # 100 bytes each
            assert server.ask("POST", load)[0] == 200
        for _ in range(20):
            assert "is loaded" in server.process.stderr.readline()
        assert server.ask("POST", load)[0] == 200
        while "is loaded" in (line := server.process.stderr.readline()):
            pass
        assert re.fullmatch(r"lenet_serve: nobody read [1-9]\d* lines of this log, .*\n", line)


def test_a_log_that_nobody_opens(start_server, tmp_path):
    log = tmp_path / "log"
    os.mkfifo(log)
    with start_server(f"--access_log={log}") as server:
        server.ask("GET", "/v2")
        for path in ("/v2", "/none"):
            with log.open() as reader:
                assert json.loads(reader.readline())["path"] == path
            server.ask("GET", "/none")


@pytest.mark.skipif(sys.platform != "linux", reason="the test needs prlimit, which Linux alone has")
def test_a_log_on_a_full_disk(start_server, tmp_path):
    """Lines are dropped and counted; where there is room again, none is spoilt by another."""
    log = tmp_path / "log"
    with start_server(f"--access_log={log}") as server:

        def have_room(size):
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, most))

        _, most = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        server.ask("GET", "/before")
        while not log.stat().st_size:
            time.sleep(0.02)
        have_room(log.stat().st_size + 40)  # the beginning of a line
        for _ in range(20):
            server.ask("GET", "/full")
        while server.metric("lenet_access_log_dropped_lines_total") < 20:
            time.sleep(0.02)
        have_room(most)
        for _ in range(3):
            server.ask("GET", "/after")
    lines = log.read_text().splitlines()
    assert len(lines[1]) == 40
    entries = [json.loads(line) for line in lines[:1] + lines[2:]]
    assert [entry["path"] for entry in entries if entry["path"] != "/metrics"] == (
        ["/before"] + 3 * ["/after"]
    )


def test_threads_that_compute_give_way(start_server, digit):
    """A probe of the health is answered while long networks keep all cores busy."""
    with start_server("--loop_us=0") as server:
        folder = Path("/proc", str(server.process.pid), "task")
        server.ask("POST", INFER, digit.tobytes(), RAW)
        found = {os.getpriority(os.PRIO_PROCESS, int(thread.name)) for thread in folder.iterdir()}
        own = os.getpriority(os.PRIO_PROCESS, server.process.pid)
        assert found == {own, min(own + 10, 19)}


def test_stop_answers_what_was_accepted(start_server, digit):
    body = digit.tobytes()
    head = post(INFER, f"Content-Length: {len(body)}", "Inference-Header-Content-Length: 0")
    with start_server(ends=False) as server:
        idle, kept, half, header = (server.connect() for _ in range(4))
        for connection in (idle, kept):
            connection.sendall(READY)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        half.sendall(READY + head + body[:100])
        header.sendall(head[:20])
        time.sleep(1.2)  # longer than the server then waits
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        kept.sendall(head + body)  # as it was not told yet that this is the end
        received = read_all(kept)
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close\r\n" in received
        kept.close()
        assert idle.recv(1000) == b""
        time.sleep(0.1)
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        half.sendall(body[100:])
        header.sendall(head[20:] + body)
        for connection in (half, header):
            received = read_all(connection)
            assert received.count(b"HTTP/1.1 200 OK") == (2 if connection is half else 1)
            assert b"Connection: close\r\n" in received
            connection.close()
        idle.close()
        assert server.process.wait(10) == 0


def test_stop_has_a_limit_of_time(start_server):
    for options, signals in ((["--stop_seconds=1"], 1), ([], 2)):
        with start_server(*options, ends=False) as server, server.connect() as connection:
            connection.sendall(post(INFER, "Content-Length: 5"))
            time.sleep(0.2)
            for _ in range(signals):
                server.process.send_signal(signal.SIGINT)
                time.sleep(0.2)
            assert server.process.wait(10) == 8
            assert "1 requests were not answered" in server.process.stderr.read()


def has_handler(process, number):
    """Whether a process catches a signal, or holds it until it does."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    masks = [int(re.search(rf"{name}:\t(\w+)", text)[1], 16) for name in ("SigCgt", "SigBlk")]
    return (masks[0] | masks[1]) >> (number - 1) & 1


def test_sighup_while_models_load(serve_program, model_dir):
    """It asks for new models from the first moment on, and never ends the server."""
    for _ in range(5):
        command = [serve_program, model_dir, "--port=0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            until = time.monotonic() + 30
            while not has_handler(process, signal.SIGHUP):
                assert time.monotonic() < until
            process.send_signal(signal.SIGHUP)
            assert process.stdout.readline().startswith("listening on ")
            process.terminate()
            assert process.wait(30) == 0


def put_slow_model(folder, layers=40):
    """Convolutions that take a core some tenths of a second each, in .onnx."""
    onnx = pytest.importorskip("onnx", reason="the model is made with it")
    helper = onnx.helper
    sides = ("n", 64, 384, 384)
    nodes = [
        helper.make_node("Conv", [f"x{i}", "w"], [f"x{i + 1}"], pads=[2, 2, 2, 2])
        for i in range(layers)
    ]
    weights = onnx.numpy_helper.from_array(np.full((64, 64, 5, 5), 1e-3, np.float32), "w")
    ends = [helper.make_tensor_value_info(f"x{i}", 1, sides) for i in (0, layers)]
    graph = helper.make_graph(nodes, "slow", ends[:1], ends[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")


def put_endless_model(folder, layers=40):
    """The same in Paddle, whose engine cannot be stopped."""
    paddle = pytest.importorskip("paddle", reason="its engine is the one that cannot be stopped")
    convolution = paddle.nn.Conv2D(64, 64, 5, padding=2)
    spec = paddle.static.InputSpec([None, 64, 384, 384], "float32", "x")
    network = paddle.nn.Sequential(*[convolution] * layers)
    whole = paddle.jit.to_static(network, input_spec=[spec], full_graph=True)
    paddle.jit.save(whole, str(folder / "model"))


@pytest.mark.parametrize(
    ("put", "engine", "status"),
    [
        (put_slow_model, "native", 0),
        (put_slow_model, "onnxruntime", 0),
        (put_endless_model, "paddle", 8),
    ],
)
def test_the_limit_of_a_stop_while_a_model_is_loaded(
    serve_program, run_server, tmp_path, put, engine, status
):
    """Its first run is ended where the engine can do that; else the process is."""
    put(tmp_path / "m" / "1", layers=1)
    options = ("--port=0", "--poll_seconds=1", "--stop_seconds=2", f"--engine={engine}")
    options += ("--skip_trial",)  # it is the server that runs it
    with run_server(serve_program, tmp_path, *options, ends=False) as server:
        put(tmp_path / "m" / "2")
        before = server.watched.cpu_times().user
        until = time.monotonic() + 60
        while server.watched.cpu_times().user < before + 1:  # more than the reading takes
            assert time.monotonic() < until
            time.sleep(0.1)
        assert json.loads(server.ask("GET", "/v2/models/m")[2])["versions"] == ["1"]
        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(30) == status
        assert time.monotonic() - began < 5
        assert ("could not be stopped in time" in server.process.stderr.read()) == (status == 8)


def test_the_limit_of_a_first_run(serve_program, tmp_path):
    """A small file can hold much work; a model that takes too long is not served."""
    put_slow_model(tmp_path / "m")
    options = ("--port=0", "--trial_seconds=1", "--engine=native")
    done = run_command(serve_program, tmp_path / "m", *options, timeout=60)
    assert done.returncode == 8
    assert "its first run takes longer than 1 s" in done.stderr


def test_the_limit_of_a_requests_work(start_server, digit):
    """That of LeNet's five products; its other operators take less than a fourth besides."""
    work = 28 * 28 * 6 * 9 + 10 * 10 * 16 * 6 * 25 + 400 * 120 + 120 * 84 + 84 * 10
    with start_server(f"--max_multiply_adds={15 * work // 4}") as server:
        for images, status in ((3, 200), (4, 413)):
            body = np.repeat(digit, images, axis=0).tobytes()
            reply = server.ask("POST", INFER, body, RAW)
            assert reply[0] == status, (work, reply)
        assert b"--max_multiply_adds" in reply[2]


def test_the_limit_of_a_requests_work_for_open_sizes(run_server, serve_program, tmp_path):
    """The work of a convolution of 3 x 3 is 9 for each pixel; its mean takes little besides."""
    onnx = pytest.importorskip("onnx", reason="the model is made with it")
    graph = onnx.parser.parse_graph(
        "g (float[N,1,H,W] x) => (float[N,1] y)"
        "{ c = Conv<pads=[1,1,1,1]>(x, w) m = GlobalAveragePool(c) y = Flatten(m) }"
    )
    weights = np.ones((1, 1, 3, 3), np.float32)
    graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    opsets = [onnx.helper.make_opsetid("", 13)]
    onnx.save(
        onnx.helper.make_model(graph, ir_version=8, opset_imports=opsets), tmp_path / "m.onnx"
    )
    limit = f"--max_multiply_adds={9 * 64 * 64 * 3 // 2}"
    with run_server(serve_program, tmp_path / "m.onnx", "--port=0", limit) as server:
        # A size that it knows by then, too.
        for shape, status in (
            ((1, 64, 64), 200),
            ((1, 80, 64), 200),
            ((1, 96, 96), 413),
            ((2, 64, 64), 413),
            ((1, 64, 64), 200),
            ((1, 96, 96), 413),
            ((1, 1 << 11, 1 << 11), 413),
        ):
            images, *sides = shape
            tensor = {"name": "x", "datatype": "FP32", "shape": [images, 1, *sides]}
            size = 4 * int(np.prod(shape))
            tensor["parameters"] = {"binary_data_size": size}
            head = json.dumps({"inputs": [tensor]}).encode()
            headers = {"Inference-Header-Content-Length": str(len(head))}
            reply = server.ask("POST", "/v2/models/m/infer", head + bytes(size), headers)
            assert reply[0] == status, (shape, reply)
        assert b"--max_multiply_adds" in reply[2]


def test_the_limit_of_a_stop_before_the_server_listens(serve_program, tmp_path):
    put_slow_model(tmp_path / "m")
    command = [serve_program, tmp_path / "m", "--port=0", "--stop_seconds=1", "--engine=native"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 30
        while not has_handler(process, signal.SIGTERM):
            assert time.monotonic() < until
            time.sleep(0.01)
        began = time.monotonic()
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (2, "name a model", []),
        (2, "did you mean --max_body_bytes", ["m", "--max_bodi_bytes=1"]),
        (2, "--port is '70000'", ["m", "--port=70000"]),
        (2, "an integer, 1 to 1048576", ["m", "--max_connections=1048577"]),
        (2, "an integer, 1024 to 1048576", ["m", "--max_header_bytes=1023"]),
        (2, "an integer, 1 to 10000", ["m", "--max_headers=10001"]),
        (2, "an integer, 0 to 1024", ["m", "--http_threads=-1"]),
        (3, "nowhere", ["nowhere"]),
        (2, "the token has 3 characters", ["m", "--token_file={tmp}/token"]),
        (2, "empty' is empty; write a token", ["m", "--token_file={tmp}/empty"]),
        (3, "none", ["m", "--token_file={tmp}/none"]),
        (5, "--host is 'example.org'", ["{model}", "--host=example.org"]),
        (8, "cannot listen", ["{model}", "--host=192.0.2.1"]),
        (8, "Address already in use", ["{model}", "--port={port}"]),
        (5, "no index.html", ["{model}", "--page={tmp}"]),
        (3, "--access_log", ["{model}", "--access_log={tmp}/no/log"]),
    ],
)
def test_usage(server, serve_program, model_dir, tmp_path, code, words, arguments):
    (tmp_path / "token").write_text("abc")
    (tmp_path / "empty").write_text(" \nnot the first line")
    values = {"tmp": tmp_path, "model": model_dir, "port": server.port}
    filled = [text.format(**values) for text in arguments]
    done = run_command(serve_program, *filled, timeout=60)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr.splitlines()[-1]


def test_memory_of_many_connections(start_server, digit, question, built, tmp_path):
    """20,000 requests of all kinds, on connections that come and go: the second half adds next to
    nothing.
    """
    bad = post(INFER, "Content-Length: 1") + b"{"
    packed = post(INFER, "Content-Length: 1", "Content-Encoding: gzip") + b"{"
    raw = post(INFER, "Content-Length: 3136", "Inference-Header-Content-Length: 0")
    text = post(INFER, f"Content-Length: {len(question)}") + question
    asked = [raw + digit.tobytes(), text, bad, packed, b"GET nothing\r\n\r\n"]
    files = [tmp_path / str(number) for number in range(len(asked))]
    for file, request in zip(files, asked, strict=True):
        file.write_bytes(request)
    with start_server() as server:
        options = (f"--port={server.port}", "--connections=16", "--requests=5000", "--reconnect=50")
        found = []
        for _ in range(4):
            answered = json.loads(printed_by(built("http_load"), *options, *files))
            assert (answered["requests"], answered["broken"]) == (5000, 0)
            assert answered["statuses"].keys() == {"200", "400"}
            server.wait_until_closed()
            found.append(server.resident())
        assert found[3] - found[1] < 300_000


def test_page_of_the_documents(serve_program, root, tmp_path, model_dir):
    outputs = run_page(root / "docs" / "serve.md", tmp_path, model_dir)
    assert outputs[0] == "lenet x [-1, 1, 28, 28]\n[1, 10]\n"
