"""HTTP as clients speak it."""

import gzip
import json
import re
import zlib

import numpy as np
import pytest
from raw_http import INFER, RAW, READY, post


def values_of(headers, body):
    """Return the outputs of a binary response."""
    values = np.frombuffer(body[int(headers["Inference-Header-Content-Length"]) :], "<f4")
    return values.reshape(-1, 10)


def test_the_same_bits_in_each_form(server, digit, question, expected):
    status, headers, body = server.ask("POST", INFER, digit.tobytes(), RAW)
    assert status == 200
    np.testing.assert_array_equal(values_of(headers, body), expected)
    # In chunks of http.client's choice, and one byte at a time.
    for pieces in ([question[:100], question[100:]], [bytes([byte]) for byte in question]):
        with server.client() as client:
            chunked = {"Transfer-Encoding": "chunked"}
            client.request("POST", INFER, iter(pieces), chunked, encode_chunked=True)
            response = json.loads(client.getresponse().read())
        np.testing.assert_array_equal(np.float32(response["outputs"][0]["data"]), expected[0])


@pytest.mark.parametrize(("coding", "codec"), [("gzip", gzip), ("deflate", zlib)])
def test_packed_requests_and_responses(server, digit, expected, coding, codec):
    many = np.repeat(digit, 100, axis=0).tobytes()
    headers = RAW | {"Accept-Encoding": f"br, {coding}", "Content-Encoding": coding}
    status, headers, body = server.ask("POST", INFER, codec.compress(many), headers)
    assert (status, headers["Content-Encoding"]) == (200, coding)
    outputs = values_of(headers, codec.decompress(body))
    np.testing.assert_array_equal(outputs, np.tile(expected, (100, 1)))
    for refused in (f"{coding};q=0", "br", ""):
        headers = server.ask("POST", INFER, many, RAW | {"Accept-Encoding": refused})[1]
        assert headers["Content-Encoding"] is None


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
    assert (status, headers["Allow"], body) == (204, "GET, HEAD, POST, PUT, OPTIONS", b"")
    for method in ("DELETE", "TRACE", "BREW", "get"):
        status, headers, body = server.ask(method, "/v2")
        assert (status, list(json.loads(body))) == (405, ["error"])
        assert headers["Allow"] == "GET, HEAD, POST, PUT, OPTIONS"
    for method, path, allowed in (
        ("GET", INFER, "POST, PUT"),
        ("PUT", "/v2", "GET, HEAD"),
        ("PUT", "/v2/repository/index", "POST"),
        ("POST", "/metrics", "GET, HEAD, OPTIONS"),
        ("PUT", "/metrics", "GET, HEAD, OPTIONS"),
    ):
        status, headers, _ = server.ask(method, path)
        assert (status, headers["Allow"]) == (405, allowed)


def test_the_list_of_models(server, serve_program, run_server, model_dir):
    """As KServe's own server lists them."""
    for path in ("/v2/models", "/v2/models/"):
        status, _, body = server.ask("GET", path)
        assert (status, json.loads(body)) == (200, {"models": ["lenet"]})
    assert server.ask("POST", "/v2/models")[0] == 405
    command = (serve_program, "--port=0", "--allow_load", "--insecure_load")
    with run_server(*command, f"b={model_dir}", f"a={model_dir}") as other:
        assert json.loads(other.ask("GET", "/v2/models")[2]) == {"models": ["a", "b"]}
        assert other.ask("POST", "/v2/repository/models/a/unload")[0] == 200
        assert json.loads(other.ask("GET", "/v2/models")[2]) == {"models": ["b"]}


def test_http_1_0(server):
    assert server.send(b"GET /v2/health/ready HTTP/1.0\r\n\r\n")[0] == [200]  # and closes
    kept = b"GET /v2/health/ready HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    statuses, received = server.send(kept * 2, half_close=True)
    assert statuses == [200, 200]
    assert received.count(b"Connection: keep-alive") == 2
    whole = READY.replace(b"GET /", b"GET http://localhost/")
    assert server.send(whole, half_close=True)[0] == [200]


def test_expect_continue(server, digit):
    body = digit.tobytes()
    raw = "Inference-Header-Content-Length: 0"
    head = post(INFER, f"Content-Length: {len(body)}", "Expect: 100-continue", raw)
    with server.connect() as connection:
        connection.sendall(head)
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    assert server.send(head + body, half_close=True)[0] == [200]  # did not wait
    too_long = head.replace(b"Length: 3136", b"Length: 99999999999")
    assert server.send(too_long)[0] == [413]  # without 100
    assert server.send(head.replace(b"100-continue", b"a-miracle"))[0] == [417]
