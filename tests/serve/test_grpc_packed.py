"""Messages of gRPC that are packed, some of them by attackers."""

import json
import re
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from grpc_calls import (
    SERVING,
    Code,
    begin_call,
    channel_to,
    check,
    code_of,
    end_call,
    grpc,
    proto,
    request_of,
)

PACKED = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
LIMIT = 32 << 20
DAMAGED = "the packed body is damaged"


@pytest.fixture(scope="module")
def server(start_grpc):
    with start_grpc(f"--max_body_bytes={LIMIT}", "--workers=2") as running:
        yield running


@pytest.fixture(scope="module")
def bombs():
    """Messages of 64 kB that are 56 MB."""
    zeros = bytes(56 << 20)
    return {"gzip": zlib.compress(zeros, 9, 31), "deflate": zlib.compress(zeros, 9)}


def most_resident(server):
    """Return the most memory that the process has had since the last call, in bytes."""
    files = Path(f"/proc/{server.process.pid}")
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", (files / "status").read_text())[1]) << 10
    (files / "clear_refs").write_text("5")
    return peak


@pytest.mark.parametrize("packed", PACKED)
def test_of_all_methods(start_grpc, tmp_path, digit, expected, packed):
    log = tmp_path / "log"
    many = request_of((90, 1, 28, 28), raw=digit.tobytes() + bytes(89 * 3136))
    query = proto.ModelMetadataRequest(name="lenet", version="0" * 1000)
    how = {"compression": PACKED[packed]}
    with start_grpc(f"--access_log={log}") as server, channel_to(server) as stub:
        answer = stub.ModelInfer(many, **how)
        assert code_of(stub.ModelMetadata, query, **how)[0] == Code.INVALID_ARGUMENT
    output = np.frombuffer(answer.raw_output_contents[0], "<f4")
    np.testing.assert_array_equal(output[:10], expected[0])
    sizes = [json.loads(line)["received"] for line in log.read_text().splitlines()]
    assert all(0 < size < 500 for size in sizes[1:]), sizes  # as it came
    assert sizes[0] < many.ByteSize() / 20


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer", "ModelMetadata"])
@pytest.mark.parametrize("packed", PACKED)
def test_bombs(server, bombs, packed, method):
    before = server.resident()
    most_resident(server)
    received = end_call(begin_call(server, bombs[packed], packed, method))
    status = b"\x010" if method == "ModelStreamInfer" else b"\x018"  # RESOURCE_EXHAUSTED
    assert received.startswith(status), received
    assert most_resident(server) - before < LIMIT + (4 << 20)
    assert server.resident() - before < 4 << 20


def test_many_bombs_hold_up_nobody(server, bombs):
    before = server.resident()
    most_resident(server)
    waits = []
    with (
        channel_to(server) as stub,
        grpc.insecure_channel(server.grpc) as channel,
        ThreadPoolExecutor(16) as pool,
    ):
        calls = [
            pool.submit(lambda: end_call(begin_call(server, bombs["gzip"], "gzip")))
            for _ in range(16)
        ]
        while not all(call.done() for call in calls):
            start = time.monotonic()
            assert check(channel) == SERVING
            assert stub.ServerReady(proto.ServerReadyRequest()).ready
            waits.append(time.monotonic() - start)
    assert all(call.result().startswith(b"\x018") for call in calls)
    assert len(waits) > 5
    assert max(waits) < 3
    assert most_resident(server) - before < 2 * LIMIT + (16 << 20)


def test_too_many_wait(start_grpc, bombs):
    with start_grpc("--workers=1", "--max_queued_requests=2") as server:
        calls = [begin_call(server, bombs["gzip"], "gzip") for _ in range(20)]
        refused = [b"many requests" in end_call(call) for call in calls]
    assert 10 < sum(refused) < 20


def test_stop_ends_what_waits(start_grpc):
    zeros = zlib.compress(bytes(8 << 20), wbits=31)
    with start_grpc("--workers=1", "--stop_seconds=0", ends=False) as server:
        calls = [begin_call(server, zeros, "gzip") for _ in range(60)]
        while server.metric("lenet_queued_requests") < 5:
            time.sleep(0.005)
        server.process.terminate()
        assert server.process.wait(10) == 8
        assert "requests were not answered" in server.process.stderr.read()
        ends = [end_call(call) for call in calls]
    assert ends[-1].startswith(b"\x0214")  # UNAVAILABLE


GOOD = zlib.compress(request_of().SerializeToString(), wbits=31)


@pytest.mark.parametrize(
    ("body", "coding", "status", "words"),
    [
        (GOOD, "gzip", 0, ""),
        (GOOD, "deflate", 3, DAMAGED),
        (GOOD[:-1], "gzip", 3, "the packed body is not whole"),
        (GOOD + b"a", "gzip", 3, DAMAGED),
        (GOOD[:30] + bytes(9) + GOOD[39:], "gzip", 3, DAMAGED),
        (b"", "gzip", 3, "the packed body is not whole"),
        (zlib.compress(b"\x0a"), "deflate", 3, "the message is damaged"),
        (GOOD, "br", 3, "the message is damaged"),
    ],
    ids=range(8),
)
def test_damaged(server, body, coding, status, words):
    received = end_call(begin_call(server, body, coding))
    text = b"%d" % status
    assert received.startswith(bytes([len(text)]) + text), received
    assert words.encode() in received
