"""HTTP as attackers speak it, and clients that are slow, in a hurry, or too many."""

import gzip
import random
import select
import socket
import time
import zlib
from contextlib import suppress

import pytest
from raw_http import INFER, RAW, READY, post

# What a front might take for a body and we for a request, or the other way round.
HIDDEN = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = post(INFER, "Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        *[
            (400, [f"Content-Length{rest}"])
            for rest in (
                ": 5, 5",
                ": +5",
                ": -1",
                ": 0x5",
                ": 5 5",
                ": ",
                ": 18446744073709551621",
                " : 5",
                "\x00: 5",
                ": 5\x00",
            )
        ],
        *[
            (501, [f"Transfer-Encoding: {coding}"])
            for coding in (
                "xchunked",
                "gzip, chunked",
                "chunked, identity",
                "identity",
                "",
                "\x0bchunked",
            )
        ],
        (400, ["Transfer-Encoding : chunked"]),
        *[
            (400, [first, second])
            for first, second in (
                ("Content-Length: 5", "Transfer-Encoding: chunked"),
                ("Transfer-Encoding: chunked", "Content-Length: 5"),
                ("Content-Length: 5", "Content-Length: 6"),
                ("Content-Length: 5", "Content-Length: 5"),
                ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
                ("X: a\n", "Content-Length: 5"),
                ("X: a\r", "Content-Length: 5"),
                ("Inference-Header-Content-Length: 1", "Inference-Header-Content-Length: 2"),
            )
        ],
        *[(400, [line]) for line in (": 5", "nothing", "Host: b")],
        *[(415, [f"Content-Encoding: {coding}"]) for coding in ("br", "gzip, gzip")],
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
        (400, b"GET v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /v2\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /v2 HTTP/1.1\r\n\r\n"),
        (400, b"\n\nGET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (431, b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (431, post("/v2", *["X: " + "a" * 1000] * 30)),
        (431, post("/v2", *["X: a"] * 200)),
        (431, b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 100_000),
        (413, post(INFER, "Content-Length: 18446744073709551615") + b"a"),
        (413, CHUNKED + b"ffffffffff\r\n" + b"a"),
        (400, CHUNKED + b"ffffffffffffffffff\r\n" + b"a"),
        (400, CHUNKED + b"-1\r\na\r\n0\r\n\r\n"),
        (400, CHUNKED + b"1\r\nab\r\n0\r\n\r\n"),
        (400, CHUNKED + b"1\na\n0\n\n" + b"\r\n" * 9),
        (431, CHUNKED + b"1;" + b"a" * 100_000),
        (431, CHUNKED + b"0\r\n" + b"X: a\r\n" * 100_000),
        (400, CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n"),
    ],
    ids=range(20),
)
def test_damaged_requests(server, status, request_bytes):
    """Answered, and the connection is closed, whether all comes at once or byte by byte."""
    statuses, received = server.send(request_bytes + HIDDEN)
    assert statuses == [status]
    assert b'{"error":"' in received
    pieces = [request_bytes[i : i + 1] for i in range(min(len(request_bytes), 3000))]
    statuses, _ = server.send(*pieces, request_bytes[len(pieces) :] + HIDDEN)
    assert statuses == [status]
    assert server.send(READY, half_close=True)[0] == [200]


def test_a_flood_of_chunks(server, question):
    """Each of one byte, with an extension; and what the first such request asks is answered."""
    chunks = b"".join(b"1;a=b\r\n%c\r\n" % byte for byte in question)
    request = CHUNKED + chunks + b"0\r\nX: y\r\n\r\n"
    assert server.send(request * 5, half_close=True)[0] == [200] * 5


def test_many_small_values_of_json(server):
    """Half a second altogether, and hours if each took time for all that came before it."""
    for values in (["{}"] * 2_000_000, [f'"{i}":{{}}' for i in range(300_000)]):
        text = f"[{','.join(values)}]" if values[0] == "{}" else f"{{{','.join(values)}}}"
        status, _, _ = server.ask("POST", "/v2/repository/index", text.encode())
        assert status in {200, 400}


def test_bodies_that_unpack_to_too_much(start_server, server):
    for pack, name in ((gzip.compress, "gzip"), (zlib.compress, "deflate")):
        bomb = pack(bytes(200 << 20), 1)
        head = post(INFER, f"Content-Length: {len(bomb)}", f"Content-Encoding: {name}")
        assert server.send(head + bomb)[0] == [413]
        whole = pack(b"[" * 1000)
        for body in (whole[:-5], whole + b"x", b"x" + whole, b"", whole[:20] + b"xyz" + whole[23:]):
            fields = f"Content-Length: {len(body)}", f"Content-Encoding: {name}"
            for more in ((), ("Connection: close",)):
                head = post(INFER, *fields, *more)
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
        server.wait_until_closed()
        assert server.metric("lenet_http_buffered_bytes") == 0


def test_half_closed_connections(server, digit):
    head = post(INFER, "Content-Length: 3136", "Inference-Header-Content-Length: 0")
    whole = head + digit.tobytes()
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
            (b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: ", [408]),
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
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
            time.sleep(3)
            assert server.metric("lenet_http_connections") == 1  # this one's
            assert server.metric("lenet_http_timeouts_total") == 1
            assert server.metric("lenet_http_buffered_bytes") == 0
            assert server.resident() < 120 << 20
        status, _, body = server.ask("GET", "/")
        assert (status, len(body)) == (200, 30 << 20)


def ask_ready(connection):
    connection.sendall(READY)
    assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_an_idle_connection_of_any_thread_makes_room(start_server):
    with start_server("--max_connections=3", "--http_threads=7") as server:
        held = [server.connect() for _ in range(3)]
        for connection in held:
            ask_ready(connection)
        for number in range(1, 6):
            held.append(server.connect())
            ask_ready(held[-1])
            assert server.metric("lenet_http_displaced_connections_total") >= number
        for connection in held:
            connection.close()


def test_the_connection_that_is_idle_longest_makes_room(start_server):
    with start_server("--max_connections=3", "--http_threads=1") as server:
        held = [server.connect() for _ in range(3)]
        for connection in held:
            ask_ready(connection)
        ask_ready(held[0])  # so that it is not the one
        assert server.send(READY, half_close=True)[0] == [200]
        assert held[1].recv(1000) == b""
        server.wait_until_closed(but=2)
        assert server.metric("lenet_http_displaced_connections_total") == 1
        for connection in (held[0], held[2]):
            ask_ready(connection)
        for connection in held:
            connection.close()


def test_too_many_connections(start_server):
    """None of these is idle, as a request has begun."""
    with start_server("--max_connections=3") as server:
        held = [server.connect() for _ in range(3)]
        for connection in held:
            connection.sendall(READY + READY[:9])
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        statuses, received = server.send(READY)
        assert statuses == [503]
        assert b"Retry-After: " in received
        held.pop().close()
        server.wait_until_closed(but=2)
        assert server.send(READY, half_close=True)[0] == [200]
        for connection in held:
            connection.sendall(READY[9:])
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
            connection.close()


def test_connections_of_one_address(start_server):
    with start_server("--max_connections_per_address=2") as server:
        held = [server.connect() for _ in range(2)]
        for connection in held:
            ask_ready(connection)
        statuses, received = server.send(READY)
        assert (statuses, b"from this address" in received) == ([503], True)
        with socket.create_connection(
            ("127.0.0.1", server.port), 30, source_address=("127.0.0.2", 0)
        ) as other:
            ask_ready(other)
        held.pop().close()
        server.wait_until_closed(but=1)
        assert server.ask("GET", "/v2/health/live")[0] == 200
        held.pop().close()


def test_an_address_with_too_many_connections_takes_no_place_of_others(start_server):
    def connect(number):
        return socket.create_connection(
            ("127.0.0.1", server.port), 30, source_address=(f"127.0.0.{number}", 0)
        )

    with start_server("--max_connections=4", "--max_connections_per_address=2") as server:
        idle = connect(2)
        ask_ready(idle)
        many = [connect(1) for _ in range(40)]
        other = connect(3)
        for connection in (other, idle):
            ask_ready(connection)
        for connection in (*many, other, idle):
            connection.close()
        server.wait_until_closed()
        assert server.metric("lenet_http_displaced_connections_total") == 0


@pytest.mark.parametrize("what", ["unpacked", "packed"])
def test_compression_holds_up_no_one_else(start_server, tmp_path, what):
    """A probe of the health that comes after eight clients' work is answered before it is done."""
    page = random.Random(1).randbytes(7 << 20)
    (tmp_path / "index.html").write_bytes(page)
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"
    if what == "unpacked":
        bomb = gzip.compress(bytes(63 << 20))
        request = post(INFER, f"Content-Length: {len(bomb)}", "Content-Encoding: gzip") + bomb
    with start_server("--http_threads=1", "--workers=1", f"--page={tmp_path}") as server:
        clients = [server.connect() for _ in range(8)]
        for client in clients:
            client.sendall(request)
        assert server.ask("GET", "/v2/health/live")[0] == 200
        assert len(select.select(clients, [], [], 0)[0]) < 8
        for client in clients:
            received = client.recv(1000)
            assert received.startswith(b"HTTP/1.1 400 " if what == "unpacked" else b"HTTP/1.1 200 ")
            assert (b"Content-Encoding: gzip" in received) == (what == "packed")
            client.close()
