"""Tests of the benchmark of servers."""

import http.client
import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from importlib.util import find_spec

import psutil
import pytest

from lenet_cpp.errors import BackendFailure
from snippets import run_command
from tools.benchmark import serve
from tools.benchmark.tables import render

# Answers 404 to the first request; by a child, which SIGTERM does not end.
SLOW = """
import http.server, os, signal, sys

class Handler(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Handler.asked += 1
        self.send_response(404 if Handler.asked == 1 else 200)
        self.end_headers()
        self.wfile.write(str(Handler.asked).encode())

server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
if os.fork():
    os.wait()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
server.serve_forever()
"""


def test_a_server_that_is_ready_later_and_its_children_end(tmp_path):
    with ExitStack() as stack:
        host = serve.Host(tmp_path, tmp_path, stack)
        server = host.start(sys.executable, "-c", SLOW, "{port}", ready="/ready")
        processes = [psutil.Process(server.process)]
        processes += processes[0].children()
        assert (len(processes), serve._serves(server.port, "")) == (2, True)
        assert (tmp_path / f"{server.port}.log").read_text().count('"GET /ready HTTP/1.0" 404') == 1
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive
    assert not serve._serves(server.port, "")


@pytest.mark.timeout(60)
def test_a_server_that_ends(tmp_path, monkeypatch):
    """As where another process has taken the port: that is said at once."""
    monkeypatch.setattr(serve, "_START_SECONDS", 3600)
    command = (sys.executable, "-c", "import sys; sys.exit(f'no {sys.argv[1]}')", "{port}")
    with ExitStack() as stack, pytest.raises(BackendFailure, match=r"does not serve: no \d+\n"):
        serve.Host(tmp_path, tmp_path, stack).start(*command)


def test_another_process_answers():
    """It took the port before the server could."""
    with socket.create_server(("127.0.0.1", 0)) as other, ThreadPoolExecutor() as pool:
        port = other.getsockname()[1]
        pool.submit(lambda: other.accept()[0].close())
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        says = f"no server of ours answers on port {port}: "
        with closing(client), pytest.raises(BackendFailure, match=says):
            serve._ask(client, "/", (b"", {}))


def test_servers_whose_packages_are_absent(monkeypatch):
    def make(*_):
        raise BackendFailure("no network")

    monkeypatch.setattr(serve, "find_spec", lambda name: None if name != "uvloop" else name)
    monkeypatch.setattr(serve.Environment, "make", make)
    absent = serve._absent_peers()
    assert absent == {
        **dict.fromkeys(("starlette", "fastapi"), "pip install fastapi httptools uvicorn"),
        "litserve": "pip install litserve",
        "mlserver": "no network",
    }


def test_table_with_absent_servers(root):
    """Those that took part have their settings below the table, and others what they lack."""
    result = json.loads((root / "docs/results/serve.json").read_text())
    result["absent"] = {"litserve": "pip install litserve"}
    result["cells"] = [cell for cell in result["cells"] if cell["server"] != "litserve"]
    lines = render(result).splitlines()
    assert lines[-1] == "litserve: pip install litserve"
    assert lines[-2].startswith("mlserver: default settings")
    assert not any(line.startswith("litserve: default settings") for line in lines)


def test_ratios_are_those_of_the_same_round():
    """The ratio of the median rates would be 2.5: the machine was slower in the second round."""
    rates = {
        ("lenet_serve", "json"): (60.0, 20.0, 80.0),
        ("fastapi", "json"): (20.0, 10.0, 20.0),  # 3, 2 and 4 times
        ("lenet_serve", "binary"): (90.0, 30.0, 60.0),
        ("lenet_serve", "grpc"): (30.0, 10.0, 20.0),  # 3 times in each round
    }
    turns = {
        key: [{"p50_us": 2.0, "p99_us": 3.0, "rate": rate} for rate in found]
        for key, found in rates.items()
    }
    cells = {key: serve._cell(key, turns) for key in turns}
    ratio = cells["fastapi", "json"]["ratio"]
    assert ratio == {"median": 3, "spread_between_turns": pytest.approx(2 / 3)}
    ratio = cells["lenet_serve", "grpc"]["ratio"]
    assert ratio == {"median": 3, "spread_between_turns": 0}
    assert cells["lenet_serve", "json"]["ratio"] is None
    assert cells["fastapi", "json"]["rate"] == 20


@pytest.fixture(scope="module")
def quick_run(root, program, built, model_dir, tmp_path_factory):
    """The exit status of a quick run of all servers, and its results."""
    built("lenet_serve")
    needed = (*serve._PACKAGES, "litserve")
    if missing := [name for name in needed if find_spec(name) is None]:
        pytest.skip(f"pip install {' '.join(missing)} (the extra bench), which not all need")
    folder = tmp_path_factory.mktemp("serve")
    arguments = ["--serve", "--quick", "--networks", "resnet18", "--image-size", "32"]
    arguments += ["--model-dir", str(model_dir), "--program", str(program)]
    arguments += ["--json", str(folder / "result.json"), "--plots", str(folder)]
    done = run_command(sys.executable, root / "scripts/benchmark.py", *arguments, timeout=500)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads((folder / "result.json").read_text())


@pytest.mark.nightly
def test_every_server_is_measured(quick_run, program):
    """A server is measured after it gave the predictor's outputs."""
    _, result = quick_run
    servers = {
        (server, kind)
        for server in ("lenet_serve", "echo", *serve.PEERS)
        for kind in serve.IMAGES
        if server not in serve._JSON_ONLY or kind.startswith("json")
    }
    if "mlserver" in result["absent"]:  # there is no network, or it does not run on this Python
        servers = {(server, kind) for server, kind in servers if server != "mlserver"}
    if program.with_name("lenet_serve_grpc").is_file():
        servers.add(("lenet_serve", "grpc"))
    else:
        assert "libgrpc++-dev" in result["absent"]["grpc"]
    measured = {(cell["connections"], cell["server"], cell["kind"]) for cell in result["cells"]}
    by_one = {(1, server, kind) for server, kind in servers}
    by_many = {(32, server, kind) for server, kind in servers if "MB" not in kind}
    assert measured == by_one | by_many


@pytest.mark.nightly
def test_times_of_servers_are_consistent(quick_run):
    _, result = quick_run
    for cell in result["cells"]:
        assert 0 < cell["p50_us"] <= cell["p99_us"]
        alone = cell["server"] == "lenet_serve" and cell["kind"] != "grpc"
        assert (cell["ratio"] is None) == alone


@pytest.mark.nightly
def test_a_network_and_a_series_of_requests_are_measured(quick_run):
    _, result = quick_run
    network, (series,) = result["network"], result["series"]
    assert network["network"] == "ResNet18"
    assert network["probe"]["statuses"].keys() == {"200"}
    assert min(network["in_process_ms"], network["over_http_ms"]) > 0
    assert series["statuses"].keys() == {"200", "400", "404"}
    assert sum(series["statuses"].values()) == 200
    assert series["samples"][-1][0] == 200


@pytest.mark.nightly
def test_the_exit_status_of_a_serve_run_says_whether_every_limit_holds(quick_run):
    """No limit has to hold on a busy machine."""
    status, result = quick_run
    holds = all(figure["holds"] for figure in result["figures"])
    assert status == (0 if holds else 1)
