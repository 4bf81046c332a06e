"""lenet_serve beside a bare echo and servers in Python, over the machine's loopback."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp import Predictor
from lenet_cpp.errors import BackendFailure
from lenet_cpp.inference.program import call_program
from lenet_cpp.quantize.environments import Environment
from tools.benchmark.child import resident
from tools.benchmark.lifetime import summarize_series
from tools.benchmark.subject import subjects
from tools.benchmark.turns import pinned
from tools.survey import machine
from tools.survey.summary import judge, percentile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tools.benchmark.contenders import Contender
    from tools.benchmark.subject import Settings

    Row = dict[str, Any]
    Key = tuple[str, str]
    """A server, and the kind of its requests."""

_UNDER_UVICORN = ("starlette", "fastapi")
_JSON_ONLY = ("mlserver", "litserve")
PEERS = (*_UNDER_UVICORN, *_JSON_ONLY)
_PACKAGES = ("fastapi", "httptools", "uvicorn", "uvloop")
# It takes an older FastAPI and protobuf than ours; with a newer uvloop its processes end at once.
MLSERVER = Environment(
    name="mlserver-1.7.1",
    title="MLServer",
    requirements=("mlserver==1.7.1", "uvloop<0.22"),
    trial="import mlserver",
    remedy="it needs the network, and Python 3.12 at most",
)
_HERE = Path(__file__).parent
# With limits as lenet_serve has them by default, so far as Uvicorn knows them.
_UVICORN: tuple[str, ...] = (
    "-m",
    "uvicorn",
    "--loop=uvloop",
    "--http=httptools",
    "--no-access-log",
)
_UVICORN += ("--limit-concurrency=1024", "--timeout-keep-alive=60", f"--app-dir={_HERE}")
_PATHS = {"binary": "/v2/models/lenet/infer", "json": "/v2/models/lenet/versions/1/infer"}
# Images of a request by the kind of requests. 1,000 have 3 MB of values, 16 MB as JSON: 32 such
# requests at once are above lenet_serve's limit of bodies, so they go over one connection only.
IMAGES = {"binary": 1, "json": 1, "binary, 3 MB": 1000, "json, 3 MB": 1000}
_LENGTH = "Inference-Header-Content-Length"
_MANY = 32  # connections
_START_SECONDS = 60
_STOP_SECONDS = 10
_PARTS = 20  # of a long run: after each the memory is looked at
_RECONNECT = 100  # responses of a connection of a long run
_NETWORK_CLIENTS = 4
_BLOCK = 9  # runs of a large network, or requests for one
_PROBE_PAUSE_MS = 10
# By connections, server and kind of requests: the least ratio of lenet_serve's rate to that of the
# server; beside its own gRPC the largest, since it is gRPC that must not get slower.
_LIMITS = {
    (1, "echo", "binary"): 0.37,
    (1, "echo", "json"): 0.22,
    (1, "lenet_serve", "grpc"): 7.4,
    (_MANY, "starlette", "binary"): 5.5,
    (_MANY, "starlette", "json"): 4.5,
    (_MANY, "fastapi", "binary"): 9.0,
    (_MANY, "fastapi", "json"): 7.0,
}


@dataclass(frozen=True)
class _Server:
    """A process that listens on 127.0.0.1."""

    process: int
    port: int
    http_load: Path

    def load(self, *files: Path, **flags: object) -> Row:
        """Send requests over and over; flags and result are those of http_load."""
        given = [f"--{name}" + f"={value}" * (value is not True) for name, value in flags.items()]
        text = call_program(self.http_load, f"--port={self.port}", *given, *map(str, files))
        found: Row = json.loads(text)
        if found["broken"] or not found["requests"]:
            raise BackendFailure(f"not every request was answered: {text}")
        return found

    def seconds(self) -> float:
        """Return the processor time that it has used."""
        tasks = Path(f"/proc/{self.process}/task").glob("*/schedstat")
        return sum(int(task.read_text("ascii").split()[0]) for task in tasks) / 1e9


class Host:
    """Starts servers, which end with it."""

    def __init__(self, program: Path, folder: Path, stack: ExitStack) -> None:
        """Write what servers say to a folder, and end them with ``stack``.

        The programs are those beside ``program``.
        """
        self._http_load, self._folder = program.with_name("http_load"), folder
        self._enter = stack.enter_context
        self.lenet_serve = program.with_name("lenet_serve")

    def start(
        self, program: str | Path, *arguments: str | Path, ready: str = "", **variables: str
    ) -> _Server:
        """Start one, whose port goes where it says ``{port}``.

        It serves when it listens, or when it answers 200 to a GET of the path ``ready``.
        """
        return self._enter(self._started((program, *arguments), ready, variables))

    @contextmanager
    def _started(
        self, command: Sequence[str | Path], ready: str, more: dict[str, str]
    ) -> Iterator[_Server]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        filled = [str(one).replace("{port}", str(port)) for one in command]
        given = {name: value.replace("{port}", str(port)) for name, value in more.items()}
        log = self._folder / f"{port}.log"
        until = time.monotonic() + _START_SECONDS
        # A session of its own: LitServe's processes stay when only the first of them is ended.
        with (
            log.open("w") as said,
            subprocess.Popen(
                filled,
                env={**os.environ, **given},
                stdout=said,
                stderr=said,
                start_new_session=True,
            ) as process,
        ):
            try:
                while not _serves(port, ready):
                    if process.poll() is not None or time.monotonic() > until:
                        last = log.read_text()[-2000:]
                        raise BackendFailure(f"{filled[0]} does not serve: {last}")
                    time.sleep(0.02)
                yield _Server(process.pid, port, self._http_load)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(_STOP_SECONDS)
                    os.killpg(process.pid, signal.SIGKILL)


def _serves(port: int, ready: str) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), _START_SECONDS) as probe:
        if ready:
            probe.sendall(f"GET {ready} HTTP/1.0\r\n\r\n".encode())
        return not ready or probe.recv(12).endswith(b" 200")
    return False


def run_serve(settings: Settings, _: Sequence[Contender]) -> Row:
    """Measure; each server must first give the outputs of the predictor, bit for bit."""
    absent = _absent_peers()
    if not settings.program.with_name("lenet_serve_grpc").is_file():
        absent["grpc"] = "there is no lenet_serve_grpc: its build needs libgrpc++-dev"
    about = machine.describe(settings, *_PACKAGES, "litserve")
    if "mlserver" not in absent:
        about["versions"]["mlserver"] = MLSERVER.requirements[0].rpartition("=")[2]
    result: Row = {"kind": "serve", **about, "absent": absent}
    with tempfile.TemporaryDirectory(prefix="lenet-benchmark-") as folder:
        parts = (_network, partial(_turns, connections=1), partial(_turns, connections=_MANY))
        for part in (*parts, _idle, _long_run):
            with ExitStack() as stack:
                host = Host(settings.program, Path(folder), stack)
                found = part(settings, host, Path(folder), absent)
                result["cells"] = [*result.get("cells", ()), *found.pop("cells", ())]
                result |= found
    return {**result, "figures": _figures(result)}


def _absent_peers() -> dict[str, str]:
    """Make MLServer's environment; return why servers in Python cannot take part."""
    absent = {}
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        absent = dict.fromkeys(_UNDER_UVICORN, f"pip install {' '.join(missing)}")
    if find_spec("litserve") is None:
        absent["litserve"] = "pip install litserve"
    try:
        MLSERVER.make(sys.executable)
    except BackendFailure as error:
        absent["mlserver"] = str(error)
    return absent


def _start_peer(host: Host, name: str, model: str, folder: Path) -> _Server:
    if name in _UNDER_UVICORN:
        app = (f"--workers={len(os.sched_getaffinity(0))}", "--port={port}")
        return host.start(
            sys.executable, *_UVICORN, *app, f"python_servers:{name}", LENET_MODEL=model
        )
    if name == "litserve":
        given = {"LENET_MODEL": model, "LENET_PATH": _PATHS["json"]}
        return host.start(sys.executable, _HERE / "litserve_server.py", "{port}", **given)
    # What is not as by default: its ports, its folders, and that it does not listen to all.
    settings = {"HOST": "127.0.0.1", "HTTP_PORT": "{port}", "GRPC_PORT": "0", "METRICS_PORT": "0"}
    settings |= {f"{one}_DIR": str(folder / one) for one in ("METRICS", "ENVIRONMENTS")}
    settings |= {"MODEL_NAME": "lenet", "MODEL_VERSION": "1", "MODEL_URI": model}
    settings |= {"MODEL_IMPLEMENTATION": "mlserver_model.Lenet"}
    variables = {f"MLSERVER_{key}": value for key, value in settings.items()}
    variables["LENET_SITE"] = sysconfig.get_path("purelib")
    program = MLSERVER.folder / "bin" / "mlserver"
    return host.start(program, "start", _HERE, ready="/v2/models/lenet/ready", **variables)


def _message(image: NDArray[np.float32], name: str, kind: str) -> tuple[bytes, Row]:
    """Return the body and the fields of the header of a request for an image's outputs."""
    tensor: Row = {"name": name, "shape": image.shape, "datatype": "FP32"}
    if kind == "json":
        tensor["data"] = image.ravel().tolist()
        return json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"}
    tensor["parameters"] = {"binary_data_size": image.nbytes}
    asked = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    text = json.dumps(asked).encode()
    return text + image.tobytes(), {_LENGTH: str(len(text))}


def _text(first: str, fields: Row, body: bytes = b"") -> bytes:
    fields = {"Host": "127.0.0.1", "Content-Length": len(body), **fields}
    lines = [first, *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def _post(path: str, body: bytes, fields: Row) -> bytes:
    return _text(f"POST {path} HTTP/1.1", fields, body)


def _grpc_request(image: NDArray[np.float32], name: str) -> bytes:
    """Return the frames of a call of ModelInfer."""

    def field(number: int, value: bytes) -> bytes:  # of Protocol Buffers; shorter than 2**14
        return bytes([8 * number + 2, 128 | len(value) % 128, len(value) // 128]) + value

    def frame(kind: int, flags: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags, 0, 0, 0, 0]) + payload

    fields = {b":method": b"POST", b":scheme": b"http", b":authority": b"a", b"te": b"trailers"}
    fields |= {b":path": b"/inference.GRPCInferenceService/ModelInfer"}
    fields |= {b"content-type": b"application/grpc"}
    # Literals that nobody keeps, so that each request is the same.
    header = b"".join(
        bytes([0, len(k)]) + k + bytes([len(v)]) + v for k, v in sorted(fields.items())
    )
    tensor = field(1, name.encode()) + field(2, b"FP32") + field(3, bytes(image.shape))
    message = field(1, b"lenet") + field(5, tensor) + field(7, image.tobytes())
    data = b"\0" + len(message).to_bytes(4, "big") + message
    return frame(1, 4, header) + frame(0, 1, data)


def _ask(client: http.client.HTTPConnection, path: str, message: tuple[bytes, Row]) -> Any:
    """Send one request; return the header and the body of the response, and its outputs."""
    try:
        client.request("POST", path, *message)
        response = client.getresponse()
        body, size = response.read(), response.headers[_LENGTH]
    except (OSError, http.client.HTTPException) as error:
        raise BackendFailure(f"no server of ours answers on port {client.port}: {error}") from error
    if response.status != 200:
        raise BackendFailure(f"a server answered {response.status}: {body[:200]!r}")
    if size is None:
        return response.headers, body, np.float32(json.loads(body)["outputs"][0]["data"])
    return response.headers, body, np.frombuffer(body, "<f4", offset=int(size))


def _start_all(
    settings: Settings, host: Host, folder: Path, absent: Row
) -> dict[Key, tuple[_Server, Path]]:
    """Start the servers, check them, and write the requests."""
    model, cores = str(settings.model_dir), len(os.sched_getaffinity(0))
    with Predictor(model_dir=model, engine="native") as predictor:
        name = predictor.input_spec.name
        image = np.linspace(0, 1, 784, dtype=np.float32).reshape(1, 1, 28, 28)
        images = {kind: np.repeat(image, count, axis=0) for kind, count in IMAGES.items()}
        expected = {kind: predictor.run(some).ravel() for kind, some in images.items()}
    port = "--port={port}"
    servers = {"lenet_serve": host.start(host.lenet_serve, f"lenet={model}", port)}
    servers |= {one: _start_peer(host, one, model, folder) for one in PEERS if one not in absent}
    there = {}
    for kind, some in images.items():
        form = kind.partition(",")[0]
        path, message = _PATHS[form], _message(some, name, form)
        request, answer = folder / kind, folder / f"{kind}-answer"
        request.write_bytes(_post(path, *message))
        for one, server in servers.items():
            if form != "json" and one in _JSON_ONLY:
                continue
            client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_START_SECONDS)
            fields, body, outputs = _ask(client, path, message)
            client.close()
            if not np.array_equal(outputs, expected[kind]):
                raise BackendFailure(f"{one}, {kind}: not the outputs of the predictor")
            there[one, kind] = (server, request)
            if one == "lenet_serve":
                answer.write_bytes(_text("HTTP/1.1 200 OK", dict(fields), body))
        echo = (server.http_load, "--echo", port, f"--threads={cores}", request, answer)
        there["echo", kind] = (host.start(*echo), request)
    if "grpc" not in absent:
        (folder / "grpc").write_bytes(_grpc_request(image, name))
        grpc = host.lenet_serve.with_name("lenet_serve_grpc")
        server = host.start(grpc, f"lenet={model}", "--port=0", "--grpc_port={port}")
        there["lenet_serve", "grpc"] = (server, folder / "grpc")
    return there


def _turns(settings: Settings, host: Host, folder: Path, absent: Row, connections: int) -> Row:
    """Have all take turns, in an order drawn anew for each round.

    One connection has client and server on one processor, so that neither has to wake up.
    """
    order, milliseconds = random.Random(settings.seed), 1e3 * settings.seconds / settings.rounds
    flags = {"connections": connections, "milliseconds": max(1, round(milliseconds))}
    with pinned(1 if connections == 1 else len(os.sched_getaffinity(0))):
        there = _start_all(settings, host, folder, absent)
        if connections > 1:
            there = {key: one for key, one in there.items() if IMAGES.get(key[1], 1) == 1}
        turns: dict[Key, list[Row]] = {key: [] for key in there}
        for number in range(settings.rounds + 1):
            for key in order.sample(list(there), len(there)):
                server, request = there[key]
                more = {"http2": True} if key[1] == "grpc" else {}
                found = server.load(request, **flags, **more)
                if [*found["statuses"]] != ["200"]:
                    raise BackendFailure(f"{key}: {found}")
                if number:  # in the first, which does not count, all get ready
                    turns[key].append(found | {"rate": found["requests"] / found["seconds"]})
    return {"cells": [{"connections": connections, **_cell(key, turns)} for key in turns]}


def _cell(key: Key, turns: dict[Key, list[Row]]) -> Row:
    """Sum up the rounds: medians, and the ratio of lenet_serve's rate to that of the server.

    The rates of a ratio are of the same round, so that a change of the machine's speed hits both;
    its ``spread_between_turns`` is the largest minus the smallest, as a share of the median. gRPC
    is compared with the same values over HTTP.
    """
    server, kind = key
    cell: Row = {"server": server, "kind": kind, "ratio": None}
    cell |= {name: median(one[name] for one in turns[key]) for name in ("p50_us", "p99_us", "rate")}
    base = ("lenet_serve", kind.replace("grpc", "binary"))
    if key != base:
        pairs = zip(turns[base], turns[key], strict=True)
        ratios = [ours["rate"] / other["rate"] for ours, other in pairs]
        middle = median(ratios)
        spread = (max(ratios) - min(ratios)) / middle
        cell["ratio"] = {"median": middle, "spread_between_turns": spread}
    return cell


def _idle(settings: Settings, host: Host, *_: object) -> Row:
    """Watch a server that nobody asks, with a connection that is kept."""
    server = host.start(host.lenet_serve, settings.model_dir, "--port={port}")
    with socket.create_connection(("127.0.0.1", server.port)):
        time.sleep(settings.seconds / 5)  # for what follows the start
        begin, before = time.monotonic(), server.seconds()
        time.sleep(settings.seconds)
        share = (server.seconds() - before) / (time.monotonic() - begin)
    return {"idle": share}


def _network(settings: Settings, host: Host, folder: Path, _: Row) -> Row:
    """Run a large network in process and over HTTP; ask for the health beside others.

    Blocks of runs in process and of requests over one connection take turns: one by one, each would
    find the caches full of the other's weights. The client is http_load; Python's http.client takes
    0.08 ms longer for 600 kB, with a server that does nothing.
    """
    for subject in subjects(replace(settings, batch_sizes=(1,))):
        image = np.array(subject.images[:1])
        model = f"lenet={subject.model_dir}"
        server = host.start(host.lenet_serve, model, "--port={port}", "--engine=native")
        client = http.client.HTTPConnection("127.0.0.1", server.port)
        request, health = folder / "network", folder / "health"
        health.write_bytes(_text("GET /v2/health/ready HTTP/1.1", {}))
        pairs: list[tuple[float, float]] = []
        with Predictor(model_dir=subject.model_dir, engine="native") as predictor:
            path, message = _PATHS["binary"], _message(image, predictor.input_spec.name, "binary")
            request.write_bytes(_post(path, *message))
            if not np.array_equal(_ask(client, path, message)[-1], predictor.run(image).ravel()):
                raise BackendFailure(f"{subject.name}: not the outputs of the predictor")
            client.close()
            until = time.monotonic() + 2 * settings.seconds
            while time.monotonic() < until or len(pairs) < 4:
                times = []
                for _number in range(_BLOCK):
                    begin = time.perf_counter()
                    predictor.run(image)
                    times.append(1e3 * (time.perf_counter() - begin))
                over_http = server.load(request, requests=_BLOCK)["p50_us"] / 1e3
                pairs.append((percentile(times, 50), over_http))
        milliseconds = round(2e3 * settings.seconds)
        flags = (f"--connections={_NETWORK_CLIENTS}", f"--milliseconds={milliseconds}")
        others: list[str | Path] = [server.http_load, f"--port={server.port}", *flags, request]
        with subprocess.Popen(others, stdout=subprocess.PIPE) as busy:
            pause = {"pause_ms": _PROBE_PAUSE_MS}
            probe = server.load(health, milliseconds=milliseconds, **pause)
            beside = json.loads(busy.communicate()[0])
        in_process, over_http = (median(column) for column in zip(*pairs, strict=True))
        row = {"in_process_ms": in_process, "over_http_ms": over_http, "probe": probe}
        more = median(b - a for a, b in pairs)
    return {"network": {"network": subject.name, **row, "more_ms": more, "beside": beside}}


def _long_run(settings: Settings, host: Host, folder: Path, _: Row) -> Row:
    """Send requests of all kinds, wrong ones among them, on connections that come and go.

    Those for the model were written for the turns before. Of two programs it is the static one:
    in the other's memory are 4 MB of the system's libraries, which it shares with all others.
    """
    static = host.lenet_serve.parent / "static" / "lenet_serve"
    program = static if static.is_file() else host.lenet_serve
    server = host.start(program, f"lenet={settings.model_dir}", "--port={port}")
    binary = (folder / "binary").read_bytes()
    wrong = {"shape": binary.replace(b"28, 28", b"28, 27"), "text": b"GET nothing\r\n\r\n"}
    wrong |= {
        "body": _post(_PATHS["json"], b"{", {}),
        "path": _text("GET /v2/models/none HTTP/1.1", {}),
    }
    for name, request in wrong.items():
        (folder / name).write_bytes(request)
    files = [folder / name for name in ("binary", "json", "binary", "health", *wrong)]
    samples: list[tuple[int, int]] = []
    statuses: dict[str, int] = {}
    descriptors: list[int] = []
    process = server.process
    flags = {"requests": -(-settings.runs // _PARTS), "connections": _MANY}
    for part in range(1, _PARTS + 1):
        found: Row = server.load(*files, **flags, reconnect=_RECONNECT)
        for name, count in found["statuses"].items():
            statuses[name] = statuses.get(name, 0) + count
        for _number in range(_MANY):  # and some end within a request
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(binary[:1000])
        time.sleep(0.05)
        samples.append((part * flags["requests"], resident(process=process)))
        descriptors.append(len([*Path(f"/proc/{process}/fd").iterdir()]))
    name = "lenet_serve, static" if program == static else "lenet_serve"
    row = {"contender": name, "kind": "requests", "samples": samples}
    about: Row = {"statuses": statuses, "descriptors": descriptors}
    about["most_bytes"] = resident("VmHWM", process)
    return {"series": [row | summarize_series(samples) | about]}


def _figures(result: Row) -> list[Row]:
    """Return what was measured beside its limit: the most, or of most ratios of rates the least."""
    figures: list[tuple[str, float | None, float, bool]] = []
    for cell in result["cells"]:
        place = count, server, kind = (cell["connections"], cell["server"], cell["kind"])
        if place in _LIMITS:
            what = f"{count} connection(s): lenet_serve's rate, times that of {server}, {kind}"
            limit, least = _LIMITS[place], server != "lenet_serve"
            figures.append((what, cell["ratio"]["median"], limit, least))
    network, series = result["network"], result["series"][0]
    name, probe = network["network"], "a probe of the health beside it: ms, "
    more = [series["last_bytes"] - series["samples"][_PARTS // 2 - 1][1]]
    more += [series["descriptors"][-1] - series["descriptors"][0]]
    requests, most = series["samples"][-1][0], series["most_bytes"] / 1e6
    figures += [
        (f"{name}: ms over HTTP more than in process", network["more_ms"], 1, False),
        *((probe + k, network["probe"][f"{k}_us"] / 1e3, 5, False) for k in ("p50", "p99", "max")),
        ("idle: percent of a processor", 100 * result["idle"], 0.05, False),
        (f"{series['contender']}, {requests:,} requests: resident MB at most", most, 6, False),
        ("second half of them: resident MB more", more[0] / 1e6, 0.1, False),
        ("all of them: descriptors more", more[1], 0, False),
    ]
    return judge(figures)
