"""A million requests of all kinds at once with what goes wrong around a server."""

import json
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from raw_http import INFER, RAW, post

from snippets import printed_by

ROUNDS = 10
REQUESTS = 100_000  # of a round
LOAD = "/v2/repository/models/lenet/load"


@contextmanager
def again_and_again(*actions):
    """Do each in a thread of its own until the block ends; raise what one of them raises."""
    ends = threading.Event()
    failures = []

    def work(action):
        try:
            while not ends.wait(0.05):
                action()
        except Exception as error:  # noqa: BLE001 - is raised below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ends.set()
        for thread in threads:
            thread.join()
    for failure in failures:
        raise failure


@pytest.mark.nightly
def test_soak(run_server, serve_program, model_dir, digit, expected, question, built, tmp_path):
    """Loads, signals, clients that are killed or never read, and a log that nobody takes: every
    answer is right, and memory and descriptors stay as they were.
    """
    raw = post(INFER, "Content-Length: 3136", "Inference-Header-Content-Length: 0")
    text = post(INFER, f"Content-Length: {len(question)}") + question
    bad = post(INFER, "Content-Length: 1") + b"{"
    metrics = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    packed = post(INFER, "Content-Length: 1", "Content-Encoding: gzip") + b"{"
    asked = [raw + digit.tobytes(), text, bad, metrics, raw + digit.tobytes(), packed]
    files = [tmp_path / str(number) for number in range(len(asked))]
    for file, request in zip(files, asked, strict=True):
        file.write_bytes(request)
    many = np.repeat(digit, 500, axis=0).tobytes()
    large = post(INFER, f"Content-Length: {len(many)}", "Inference-Header-Content-Length: 0") + many
    compared = 0

    def compare():
        nonlocal compared
        status, headers, body = server.ask("POST", INFER, digit.tobytes(), RAW)
        assert status == 200
        begin = int(headers["Inference-Header-Content-Length"])
        assert body[begin:] == expected.tobytes()
        compared += 1

    def load():
        assert server.ask("POST", LOAD)[0] == 200
        server.process.send_signal(signal.SIGHUP)

    def is_killed():
        with server.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall((raw + digit.tobytes())[:-1])

    def never_reads():
        with server.connect(seconds=1) as connection, suppress(OSError):
            connection.sendall(large * 10)
            time.sleep(1)

    options = ("--port=0", "--access_log=-", "--allow_load", "--insecure_load", "--body_seconds=2")
    model = f"lenet={model_dir}"
    with run_server(serve_program, model, *options) as server:
        load_options = (f"--port={server.port}", "--connections=16", "--reconnect=1000")
        resident = []
        for _ in range(ROUNDS):
            with again_and_again(compare, load, is_killed, never_reads):
                program = built("http_load")
                printed = printed_by(program, *load_options, f"--requests={REQUESTS}", *files)
            found = json.loads(printed)
            assert (found["requests"], found["broken"]) == (REQUESTS, 0)
            assert found["statuses"].keys() == {"200", "400"}
            server.wait_until_closed()
            resident.append(server.resident())
        assert compared > 10 * ROUNDS
        assert server.metric("lenet_access_log_dropped_lines_total") > 0
        assert server.metric("lenet_http_buffered_bytes") == 0
        assert resident[-1] - resident[ROUNDS // 3] < 20_000_000, resident
