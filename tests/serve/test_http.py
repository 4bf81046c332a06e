"""HTTP as clients speak it, and as attackers do."""

import gzip
import json
import re
import signal
import socket
import subprocess
import time
import zlib
from contextlib import suppress

import numpy as np
import pytest

import lenet_cpp
from conftest import read_all
from snippets import run_page

INFER = "/v2/models/lenet/infer"
READY = b"GET /v2/health/ready HTTP/1.1\r\nHost: a\r\n\r\n"
RAW = {"Inference-Header-Content-Length": "0"}
# What a front might take for a body and we for a request, or the other way round.
HIDDEN = b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n"


def values_of(headers, body):
    """Return the outputs of a binary response."""
    return np.frombuffer(body[int(headers["Inference-Header-Content-Length"]) :], "<f4")


def post(path=INFER, *lines, version="1.1", host=True):
    fields = [*(["Host: a"] if host else []), *lines]
    return "\r\n".join([f"POST {path} HTTP/{version}", *fields, "", ""]).encode("latin-1")


@pytest.fixture(scope="module")
def expected(digit, model_dir):
    with lenet_cpp.Predictor(model_dir=model_dir, engine="native") as predictor:
        return predictor.run(digit).ravel()


def test_the_same_bits_in_each_form(server, digit, question, expected):
    status, headers, body = server.ask("POST", INFER, digit.tobytes(), RAW)
    assert status == 200
    np.testing.assert_array_equal(values_of(headers, body), expected)
    for pack, name in ((gzip.compress, "gzip"), (zlib.compress, "deflate")):
        coded = RAW | {"Content-Encoding": name}
        status, headers, body = server.ask("POST", INFER, pack(digit.tobytes()), coded)
        np.testing.assert_array_equal(values_of(headers, body), expected)
    # In chunks of http.client's choice, and one byte at a time.
    for pieces in ([question[:100], question[100:]], [bytes([byte]) for byte in question]):
        with server.client() as client:
            client.request(
                "POST",
                INFER,
                iter(pieces),
                encode_chunked=True,
                headers={"Transfer-Encoding": "chunked"},
            )
            response = json.loads(client.getresponse().read())
        np.testing.assert_array_equal(np.float32(response["outputs"][0]["data"]), expected)


@pytest.mark.parametrize(
    ("coding", "unpack"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)]
)
def test_responses_are_packed_for_who_asks(server, digit, expected, coding, unpack):
    many = np.repeat(digit, 100, axis=0).tobytes()
    status, headers, body = server.ask(
        "POST", INFER, many, RAW | {"Accept-Encoding": f"br, {coding}"}
    )
    assert (status, headers["Content-Encoding"]) == (200, coding)
    outputs = values_of(headers, unpack(body)).reshape(100, 10)
    np.testing.assert_array_equal(outputs, np.tile(expected, (100, 1)))
    for refused in (f"{coding};q=0", "br", ""):
        headers = server.ask("POST", INFER, many, RAW | {"Accept-Encoding": refused})[1]
        assert headers["Content-Encoding"] is None


def test_one_connection_for_many_requests(server, digit, expected):
    with server.client() as client:
        client.connect()
        first = client.sock
        for _ in range(20):
            client.request("POST", INFER, digit.tobytes(), RAW)
            response = client.getresponse()
            np.testing.assert_array_equal(values_of(response.headers, response.read()), expected)
            client.request("GET", "/nothing")
            response = client.getresponse()
            assert (response.status, list(json.loads(response.read()))) == (404, ["error"])
        assert client.sock is first


def test_pipelined_requests_are_answered_in_their_order(server, question):
    def request(number):
        body = question[:-1] + b', "id": "%d"}' % number
        return post(INFER, f"Content-Length: {len(body)}") + body

    statuses, received = server.send(b"\r\n".join(map(request, range(200))), half_close=True)
    assert statuses == [200] * 200
    assert [int(x) for x in re.findall(rb'"id":"(\d+)"', received)] == list(range(200))
    # The last one asks for the end: what comes after it is not answered.
    last = READY.replace(b"Host", b"Connection: close\r\nHost")
    assert server.send(READY * 3 + last + READY)[0] == [200] * 4


def test_methods(server):
    status, headers, body = server.ask("GET", "/v2")
    head = server.ask("HEAD", "/v2")
    assert (head[0], head[1]["Content-Length"], head[2]) == (200, str(len(body)), b"")
    status, headers, body = server.ask("OPTIONS", "*")
    assert (status, headers["Allow"], body) == (204, "GET, HEAD, POST, OPTIONS", b"")
    for method in ("DELETE", "TRACE", "BREW", "get"):
        status, headers, body = server.ask(method, "/v2")
        assert (status, headers["Allow"], list(json.loads(body))) == (
            405,
            "GET, HEAD, POST, OPTIONS",
            ["error"],
        )
    assert server.ask("GET", INFER)[0] == 405
    assert server.ask("POST", "/metrics")[0] == 405


def test_http_1_0(server):
    assert server.send(b"GET /v2/health/ready HTTP/1.0\r\n\r\n")[0] == [200]  # and closes
    kept = b"GET /v2/health/ready HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    statuses, received = server.send(kept * 2, half_close=True)
    assert statuses == [200, 200]
    assert received.count(b"Connection: keep-alive") == 2
    assert server.send(READY.replace(b"GET /", b"GET http://a/"), half_close=True)[0] == [200]


def test_expect_continue(server, digit):
    body = digit.tobytes()
    head = post(
        INFER,
        f"Content-Length: {len(body)}",
        "Expect: 100-continue",
        "Inference-Header-Content-Length: 0",
    )
    with server.connect() as connection:
        connection.sendall(head)
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    assert server.send(head + body, half_close=True)[0] == [200]  # did not wait
    too_long = head.replace(b"Length: 3136", b"Length: 99999999999")
    assert server.send(too_long)[0] == [413]  # without 100
    assert server.send(head.replace(b"100-continue", b"a-miracle"))[0] == [417]


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (400, ["Content-Length: 5", "Transfer-Encoding: chunked"]),
        (400, ["Transfer-Encoding: chunked", "Content-Length: 5"]),
        (400, ["Content-Length: 5", "Content-Length: 6"]),
        (400, ["Content-Length: 5", "Content-Length: 5"]),
        (400, ["Content-Length: 5, 5"]),
        (400, ["Content-Length: +5"]),
        (400, ["Content-Length: -1"]),
        (400, ["Content-Length: 0x5"]),
        (400, ["Content-Length: 5 5"]),
        (400, ["Content-Length: "]),
        (400, ["Content-Length: 18446744073709551621"]),
        (400, ["Content-Length : 5"]),
        (400, ["Content-Length\x00: 5"]),
        (400, ["Content-Length: 5\x00"]),
        (400, ["Transfer-Encoding : chunked"]),
        (400, ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]),
        (501, ["Transfer-Encoding: xchunked"]),
        (501, ["Transfer-Encoding: gzip, chunked"]),
        (501, ["Transfer-Encoding: chunked, identity"]),
        (501, ["Transfer-Encoding: identity"]),
        (501, ["Transfer-Encoding: "]),
        (501, ["Transfer-Encoding: \x0bchunked"]),
        (400, ["X: a\n", "Content-Length: 5"]),
        (400, ["X: a\r", "Content-Length: 5"]),
        (400, [": 5"]),
        (400, ["nothing"]),
        (400, ["Host: b"]),
        (400, ["Inference-Header-Content-Length: 1", "Inference-Header-Content-Length: 2"]),
        (415, ["Content-Encoding: br"]),
        (415, ["Content-Encoding: gzip, gzip"]),
    ],
)
def test_ambiguous_headers_are_refused(server, status, lines):
    for request in (post(INFER, *lines), post(INFER, *lines, "X-Last: 1")):
        statuses, received = server.send(request + b"0\r\n\r\n" + HIDDEN)
        assert statuses in ([status], [400]), lines
        assert b"Connection: close" in received


def test_a_folded_field_hides_nothing(server):
    statuses, _ = server.send(post(INFER, "X: a\r\n Content-Length: 5") + HIDDEN, half_close=True)
    assert statuses in ([400], [400, 200])  # the first has no body: both are whole requests


@pytest.mark.parametrize(
    ("status", "request_bytes"),
    [
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)),  # TLS
        (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (505, b"GET /v2 FTP/1.1\r\n\r\n"),
        (400, b"GET  /v2 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET v2 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET /v2\x00 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET /v2 HTTP/1.1\r\n\r\n"),
        (400, b"\n\nGET /v2 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (431, b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        (431, b"A" * 40_000),
        (431, post("/v2", "X: " + "a" * 40_000)),
        (431, post("/v2", *["X: " + "a" * 1000] * 30)),
        (431, post("/v2", *["X: a"] * 200)),
        (431, b"GET /v2 HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 100_000),
        (413, post(INFER, "Content-Length: 18446744073709551615") + b"a"),
        (413, post(INFER, "Transfer-Encoding: chunked") + b"ffffffffff\r\n" + b"a"),
        (400, post(INFER, "Transfer-Encoding: chunked") + b"ffffffffffffffffff\r\n" + b"a"),
        (400, post(INFER, "Transfer-Encoding: chunked") + b"-1\r\na\r\n0\r\n\r\n"),
        (400, post(INFER, "Transfer-Encoding: chunked") + b"0x1\r\na\r\n0\r\n\r\n"),
        (400, post(INFER, "Transfer-Encoding: chunked") + b"1\r\nab\r\n0\r\n\r\n"),
        (400, post(INFER, "Transfer-Encoding: chunked") + b"1\na\n0\n\n" + b"\r\n" * 9),
        (431, post(INFER, "Transfer-Encoding: chunked") + b"1;" + b"a" * 100_000),
        (431, post(INFER, "Transfer-Encoding: chunked") + b"0\r\n" + b"X: a\r\n" * 100_000),
        (400, post(INFER, "Transfer-Encoding: chunked") + b"0\r\nContent-Length: 5\r\n\r\n"),
    ],
    ids=range(24),
)  # fmt: skip
def test_damaged_requests(server, status, request_bytes):
    """Answered, and the connection is closed, whether all comes at once or byte by byte."""
    statuses, received = server.send(request_bytes + HIDDEN)
    assert statuses == [status]
    assert b'{"error":"' in received
    pieces = [request_bytes[i : i + 1] for i in range(min(len(request_bytes), 3000))]
    statuses, _ = server.send(*pieces, request_bytes[len(pieces) :] + HIDDEN)
    assert statuses == [status]
    assert server.send(READY, half_close=True)[0] == [200]


def test_header_length_overflow(server, question):
    for length in (len(question) + 1, -1, 2**63, 2**64 + 5, "1e3", "", " ", "0x10", "+5"):
        header = f"Inference-Header-Content-Length: {length}"
        request = post(INFER, f"Content-Length: {len(question)}", header) + question
        assert server.send(request, half_close=True)[0] == [400], length


def test_a_flood_of_chunks(server, question):
    """Each of one byte, with an extension; and what the first such request asks is answered."""
    chunks = b"".join(b"1;a=b\r\n%c\r\n" % byte for byte in question)
    request = post(INFER, "Transfer-Encoding: chunked") + chunks + b"0\r\nX: y\r\n\r\n"
    assert server.send(request * 5, half_close=True)[0] == [200] * 5


def test_bodies_that_unpack_to_too_much(start_server, server):
    for pack, name in ((gzip.compress, "gzip"), (zlib.compress, "deflate")):
        bomb = pack(bytes(200 << 20), 9)
        head = post(INFER, f"Content-Length: {len(bomb)}", f"Content-Encoding: {name}")
        assert server.send(head + bomb)[0] == [413]
        whole = pack(b"[" * 1000)
        for body in (whole[:-5], whole + b"x", b"x" + whole, b"", whole[:20] + b"xyz" + whole[23:]):
            head = post(INFER, f"Content-Length: {len(body)}", f"Content-Encoding: {name}")
            assert server.send(head + body, half_close=True)[0] == [400], body
    with start_server("--max_body_bytes=1000") as small:
        for body, status in ((bytes(1000), 400), (bytes(1001), 413)):
            assert small.ask("POST", INFER, body, RAW)[0] == status
            packed = gzip.compress(body)
            assert small.ask("POST", INFER, packed, RAW | {"Content-Encoding": "gzip"})[0] == status


def test_memory_of_all_bodies_is_limited(start_server):
    with start_server("--max_buffered_bytes=1000000") as server:
        held = []
        for _ in range(3):
            connection = server.connect()
            connection.sendall(post(INFER, "Content-Length: 400001") + bytes(400_000))
            held.append(connection)
            time.sleep(0.2)
        assert held[2].recv(1000).startswith(b"HTTP/1.1 503 ")
        for connection in held:
            connection.close()
        deadline = time.monotonic() + 10
        while server.metric("lenet_http_buffered_bytes") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.metric("lenet_http_buffered_bytes") == 0


def test_half_closed_connections(server, digit):
    whole = (
        post(INFER, "Content-Length: 3136", "Inference-Header-Content-Length: 0") + digit.tobytes()
    )
    assert server.send(whole, half_close=True)[0] == [200]
    for length in (10, len(whole) - 1):
        assert server.send(whole[:length], half_close=True)[0] == [400]
    assert server.send(b"", half_close=True) == ([], b"")
    for length in (10, len(whole)):  # and gone at once, with a reset
        with server.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(whole[:length])
    assert server.ask("GET", "/v2/health/live")[0] == 200


def test_slow_clients(start_server):
    """Each limit of time ends what it is for, and nothing else."""
    options = ("--header_seconds=1", "--body_seconds=1", "--idle_seconds=1")
    with start_server(*options) as server:
        for begun, status in (
            (b"", []),
            (b"GET /v2 HT", [408]),
            (b"GET /v2 HTTP/1.1\r\nHost: a\r\nX: ", [408]),
            (post(INFER, "Content-Length: 5") + b"{", [408]),
            (post(INFER, "Transfer-Encoding: chunked") + b"5\r\n{", [408]),
            (READY, [200]),
            (READY + b"GET", [200, 408]),
        ):
            began = time.monotonic()
            assert server.send(begun)[0] == status
            assert 0.4 < time.monotonic() - began < 4
        with server.connect() as connection:  # a byte now and then does not help
            connection.settimeout(0.1)
            sent, received = 0, b""
            while not received and sent < 60:
                connection.sendall(b"a")
                sent += 1
                with suppress(TimeoutError):
                    received = connection.recv(1000)
            assert received.startswith(b"HTTP/1.1 408 ")


def test_a_client_that_does_not_read(start_server, tmp_path):
    (tmp_path / "index.html").write_bytes(bytes(30 << 20))
    with start_server(f"--page={tmp_path}", "--body_seconds=1") as server:
        with server.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
            time.sleep(3)
            assert server.metric("lenet_http_connections") == 1  # this one's
            assert server.metric("lenet_http_timeouts_total") == 1
            assert server.metric("lenet_http_buffered_bytes") == 0
            assert server.resident() < 120 << 20
        status, _, body = server.ask("GET", "/")
        assert (status, len(body)) == (200, 30 << 20)


def test_too_many_connections(start_server):
    with start_server("--max_connections=3") as server:
        held = [server.connect() for _ in range(3)]
        for connection in held:
            connection.sendall(READY)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        statuses, received = server.send(READY)
        assert statuses == [503]
        assert b"Retry-After: " in received
        held.pop().close()
        time.sleep(0.3)
        assert server.send(READY, half_close=True)[0] == [200]
        for connection in held:
            connection.sendall(READY)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
            connection.close()


def test_token(start_server, tmp_path, serve_program, model_dir):
    token = tmp_path / "token"
    token.write_text("a-long-secret-0123\n")
    with start_server(f"--token_file={token}") as server:
        for given in (None, "", "Bearer", "Bearer a-long-secret-012", "Bearer a-long-secret-01234",
                      "Basic a-long-secret-0123", "Bearer b-long-secret-0123"):  # fmt: skip
            for path in ("/v2", "/metrics", "/v2/models/lenet"):
                status, headers, _ = server.ask(
                    "GET", path, headers=given and {"Authorization": given}
                )
                assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert server.ask("GET", "/v2/health/ready")[0] == 200
        for scheme in ("Bearer", "bearer"):
            header = {"Authorization": f"{scheme} a-long-secret-0123"}
            assert server.ask("GET", "/v2", headers=header)[0] == 200
        # Before the body is read.
        assert server.send(post(INFER, "Content-Length: 500", "Expect: 100-continue"))[0] == [401]
    with start_server(env={"LENET_SERVE_TOKEN": "a-long-secret-0123"}) as server:
        assert server.ask("GET", "/v2")[0] == 401


def test_page(start_server, tmp_path):
    page = tmp_path / "page"
    (page / "js").mkdir(parents=True)
    (page / "index.html").write_text("<p>hello")
    (page / "js" / "a.mjs").write_text("1")
    (page / "b.wasm").write_bytes(b"\0asm")
    (page / "b.wasm.br").write_bytes(b"packed")
    (page / ".hidden").write_text("no")
    (tmp_path / "secret").write_text("no")
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
        status, headers, body = server.ask(
            "GET", "/b.wasm", headers={"Accept-Encoding": "gzip, br"}
        )
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
        server.send(b'GET /"\\{} HTTP/1.1\r\nHost: a\r\n\r\n', half_close=True)
        assert server.metric('lenet_http_requests_total{status="404"}') == 2
        assert server.metric('lenet_http_requests_total{status="400"}') == 1
        assert server.metric("lenet_http_request_duration_seconds_count") >= 5
        assert server.metric("lenet_http_received_bytes_total") == digit.nbytes
        # Each line is a comment or NAME{LABELS} NUMBER.
        for line in server.ask("GET", "/metrics")[2].decode().splitlines():
            assert re.fullmatch(
                r'# (HELP|TYPE) \w+ .+|\w+({\w+="[^"]*"(,\w+="[^"]*")*})? \S+', line
            )
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["status"] for entry in entries][:4] == [200, 404, 400, 404]
    assert entries[0].keys() == {
        "time",
        "client",
        "method",
        "path",
        "status",
        "received",
        "sent",
        "microseconds",
    }
    assert (entries[0]["method"], entries[0]["path"], entries[0]["received"]) == (
        "POST",
        INFER,
        digit.nbytes,
    )
    assert entries[3]["path"] == '/"\\{}'
    assert re.fullmatch(r"127\.0\.0\.1:\d+", entries[0]["client"])


def test_stop_answers_what_was_accepted(start_server, digit):
    body = digit.tobytes()
    head = post(INFER, f"Content-Length: {len(body)}", "Inference-Header-Content-Length: 0")
    with start_server(ends=False) as server:
        idle, half, header = server.connect(), server.connect(), server.connect()
        idle.sendall(READY)
        assert idle.recv(1000).startswith(b"HTTP/1.1 200 ")
        half.sendall(READY + head + body[:100])
        header.sendall(head[:20])
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
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


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (2, "name a model", []),
        (2, "did you mean --max_body_bytes", ["m", "--max_bodi_bytes=1"]),
        (2, "--port is '70000'", ["m", "--port=70000"]),
        (3, "nowhere", ["nowhere"]),
        (2, "the token has 3 characters", ["m", "--token_file={tmp}/token"]),
        (3, "none", ["m", "--token_file={tmp}/none"]),
        (5, "--host is 'example.org'", ["{model}", "--host=example.org"]),
        (8, "cannot listen", ["{model}", "--host=192.0.2.1"]),
        (5, "no index.html", ["{model}", "--page={tmp}"]),
        (3, "--access_log", ["{model}", "--access_log={tmp}/no/log"]),
    ],
)
def test_usage(serve_program, model_dir, tmp_path, code, words, arguments):
    (tmp_path / "token").write_text("abc")
    filled = [text.format(tmp=tmp_path, model=model_dir) for text in arguments]
    done = subprocess.run(
        [serve_program, *filled], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr.splitlines()[-1]


def test_a_port_that_is_taken(server, serve_program, model_dir):
    command = [serve_program, model_dir, f"--port={server.port}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 8
    assert f"127.0.0.1:{server.port}: Address already in use" in done.stderr


def test_memory_stays(start_server, digit):
    """Requests of all kinds leave nothing behind."""
    good = (
        post(INFER, "Content-Length: 3136", "Inference-Header-Content-Length: 0") + digit.tobytes()
    )
    bad = [
        post(INFER, "Content-Length: 5"),
        post(INFER, "Content-Encoding: gzip"),
        b"GET / HTTP/9\r\n\r\n",
    ]

    def round_of(server):
        for request in bad * 30:
            server.send(request, half_close=True)
        server.send(good * 500, half_close=True)

    with start_server("--http_threads=1") as server:
        for _ in range(3):
            round_of(server)
        before = server.resident()
        for _ in range(10):
            round_of(server)
        assert server.resident() - before < 300_000
        assert server.metric("lenet_http_connections") == 1


def test_page_of_the_documents(serve_program, root, tmp_path, model_dir):
    outputs = run_page(root / "docs" / "serve.md", tmp_path, model_dir)
    assert outputs[0] == "lenet x [-1, 1, 28, 28]\n[1, 10]\n"
