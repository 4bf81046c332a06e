"""A running lenet_serve."""

import http.client
import json
import re
import socket
import subprocess
import time
from contextlib import contextmanager
from functools import partial

import numpy as np
import psutil
import pytest
from raw_http import read_all

import lenet_cpp


@pytest.fixture(scope="session")
def serve_program(built):
    """The server."""
    return built("lenet_serve")


@pytest.fixture(scope="session")
def grpc_program(built, serve_program):
    """The server with gRPC; without the other one there is none."""
    return built("lenet_serve_grpc")


class Server:
    """A process of lenet_serve."""

    def __init__(self, process):
        self.process = process
        first = process.stdout.readline()
        found = re.fullmatch(r"listening on http://(127\.0\.0\.1|0\.0\.0\.0):(\d+)\n", first)
        assert found, (first, process.stderr.read() if process.poll() is not None else "")
        self.port = int(found[2])
        self.grpc = None
        if "--grpc_port=0" in process.args:
            found = re.fullmatch(
                r"listening on grpc://(127\.0\.0\.1:\d+)\n", process.stdout.readline()
            )
            self.grpc = found[1]
        self.watched = psutil.Process(process.pid)
        self.files = self.watched.num_fds()

    def connect(self, seconds=30):
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds)

    @contextmanager
    def client(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            yield connection
        finally:
            connection.close()

    def ask(self, method, path, body=None, headers=None):
        """Return status, header and body of one request."""
        with self.client() as client:
            client.request(method, path, body, headers or {})
            response = client.getresponse()
            return response.status, response.headers, response.read()

    def send(self, *pieces, half_close=False):
        """Send bytes; return the status of each response until the server closes, and all it sent.

        Without a response within the time limit of the socket the test fails.
        """
        with self.connect() as connection:
            try:
                for piece in pieces:
                    connection.sendall(piece)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has closed already, and maybe said why
            received = read_all(connection)
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", received)], received

    def resident(self):
        """Return the process's memory in bytes."""
        return self.watched.memory_info().rss

    def wait_until_closed(self, but=0):
        """Wait until all connections are closed but so many, by the files that are open."""
        until = time.monotonic() + 30
        while self.watched.num_fds() > self.files + but:
            assert time.monotonic() < until, "connections stay open"
            time.sleep(0.02)

    def states(self):
        """Return what the index says of each version: whether it is ready, and why not."""
        index = json.loads(self.ask("POST", "/v2/repository/index", b"{}")[2])
        return {(one["name"], one["version"]): (one["state"], one["reason"]) for one in index}

    def metric(self, name):
        text = self.ask("GET", "/metrics")[2].decode()
        return float(re.search(rf"^{re.escape(name)} (\S+)$", text, flags=re.MULTILINE)[1])


@pytest.fixture(scope="session")
def run_server():
    """Run a command that is a server within a ``with``; afterwards it still runs, and ends
    properly.
    """

    @contextmanager
    def run(*command, ends=True, **more):
        command = [str(part) for part in command]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more
        with subprocess.Popen(command, **pipes) as process:
            try:
                yield Server(process)
                if ends:
                    assert process.poll() is None, process.stderr.read()
                    process.terminate()
                    assert process.wait(40) == 0, process.stderr.read()
            finally:
                process.kill()

    return run


@pytest.fixture(scope="session")
def start_server(run_server, serve_program, model_dir):
    """The same with the server's options."""
    return partial(run_server, serve_program, model_dir, "--port=0")


@pytest.fixture(scope="module")
def server(start_server):
    """A server with its defaults, for the tests of a file."""
    with start_server() as running:
        yield running


@pytest.fixture(scope="session")
def start_grpc(start_server, grpc_program):
    """The same with gRPC."""
    return partial(start_server, "--grpc_port=0")


@pytest.fixture(scope="session")
def digit():
    return np.linspace(0, 1, 784, dtype=np.float32).reshape(1, 1, 28, 28)


@pytest.fixture(scope="session")
def expected(digit, model_dir):
    """What the library makes of it, [1, 10]."""
    with lenet_cpp.Predictor(model_dir=model_dir, engine="native") as predictor:
        return predictor.run(digit)


@pytest.fixture(scope="session")
def question(digit):
    """An inference request in JSON."""
    tensor = {"name": "x", "shape": [1, 1, 28, 28], "datatype": "FP32"}
    return json.dumps({"inputs": [tensor | {"data": digit.ravel().tolist()}]}).encode()
