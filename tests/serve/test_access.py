"""Who may ask: pages of other origins, and names that were rebound to this machine."""

import os
import socket
import subprocess

import pytest
from raw_http import INFER, RAW

PAGE = "https://pages.example"
TOKEN = "t" * 16
JSON = {"Content-Type": "text/plain"}  # which a page may send without asking the server before


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("127.0.0.1", 200),  # through a tunnel from another port
        ("LocalHost:{port}", 200),
        ("localhost.", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:{port}", 421),
        ("127.0.0.2", 421),
        ("[::1]:{port}", 421),
        ("0x7f.1", 421),
        ("", 421),
        ("a b", 400),
        ("localhost/", 400),
        ("user@localhost", 400),
        ("localhost:80:80", 400),
        ("[::1", 400),
    ],
)
@pytest.mark.parametrize("path", ["/v2/models/lenet", "/metrics", "/v2/health/ready"])
def test_names_that_a_local_server_answers_to(server, host, status, path):
    given = host.format(port=server.port)
    assert server.ask("GET", path, headers={"Host": given})[0] == status


def test_the_name_in_the_target_counts(server):
    """RFC 9112, 3.2.2: a server ignores Host where the target names one."""
    for name, status in (("evil.example", 421), ("127.0.0.1", 200)):
        target = f"GET http://{name}/v2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert server.send(target.encode())[0] == [status]


def test_what_follows_a_refused_request_is_answered(server):
    requests = [
        f"GET /v2 HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"
        for host, more in (("evil.example", ""), ("a", ""), ("localhost", "Connection: close\r\n"))
    ]
    assert server.send("".join(requests).encode())[0] == [421, 421, 200]


@pytest.mark.parametrize("path", [INFER, "/v2/repository/models/lenet/unload"])
@pytest.mark.parametrize(
    "origin",
    [PAGE, "null", "http://127.0.0.1:1", "http://localhost.evil", "ftp://127.0.0.1:{port}"],
)
def test_pages_of_other_origins_are_refused(server, question, path, origin):
    origin = origin.format(port=server.port)
    status, headers, body = server.ask("POST", path, question, JSON | {"Origin": origin})
    assert status == 403
    assert b"--allow_origin" in body
    assert headers["Access-Control-Allow-Origin"] is None
    asks = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    assert server.ask("OPTIONS", path, headers=asks)[0] == 403


def test_what_is_no_page_of_others_is_answered(server, question):
    own = f"http://127.0.0.1:{server.port}"
    for more in ({}, {"Content-Type": "application/x-www-form-urlencoded"}, {"Origin": own}):
        assert server.ask("POST", INFER, question, more)[0] == 200
    # Behind a proxy that speaks TLS.
    behind = {"Host": "localhost", "Origin": "https://localhost:443"}
    assert server.ask("POST", INFER, question, behind)[0] == 200


def test_an_allowed_page(start_server, question, digit):
    with start_server(
        f"--allow_origin=http://other.example,{PAGE}", env=os.environ | {"LENET_SERVE_TOKEN": TOKEN}
    ) as server:
        asks = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
        status, headers, _ = server.ask("OPTIONS", INFER, headers=asks)
        assert (status, headers["Access-Control-Allow-Origin"]) == (204, PAGE)
        assert "POST" in headers["Access-Control-Allow-Methods"]
        assert {*RAW, "Authorization"} <= {*headers["Access-Control-Allow-Headers"].split(", ")}
        status, headers, _ = server.ask("POST", INFER, question, {"Origin": PAGE})
        assert (status, headers["Access-Control-Allow-Origin"]) == (401, PAGE)
        known = {"Origin": PAGE, "Authorization": f"Bearer {TOKEN}"}
        status, headers, _ = server.ask("POST", INFER, digit.tobytes(), RAW | known)
        assert status == 200
        assert headers["Access-Control-Allow-Origin"] == PAGE
        assert "Origin" in headers["Vary"]
        assert "Inference-Header-Content-Length" in headers["Access-Control-Expose-Headers"]
        assert server.ask("GET", "/v2", headers={"Origin": "http://evil.example"})[0] == 403
        # The next request of a connection is not another page's.
        with server.client() as client:
            for origin, shared in ((PAGE, PAGE), (None, None)):
                given = {"Origin": origin} if origin else {}
                client.request("GET", "/v2/health/ready", headers=given)
                response = client.getresponse()
                response.read()
                assert response.headers["Access-Control-Allow-Origin"] == shared


def test_all_pages_and_more_names(start_server, question):
    with start_server("--allow_origin=*", "--allowed_host=a.example,B.example") as server:
        for host in ("b.example:8000", "A.EXAMPLE", "localhost"):
            assert server.ask("GET", "/v2", headers={"Host": host})[0] == 200
        assert server.ask("GET", "/v2", headers={"Host": "c.example"})[0] == 421
        status, headers, _ = server.ask("POST", INFER, question, {"Origin": "null"})
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, "null")


def test_a_server_for_all_networks_judges_no_name(run_server, serve_program, model_dir):
    command = [serve_program, model_dir, "--port=0", "--host=0.0.0.0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        port = int(process.stdout.readline().rpartition(":")[2])
        statuses = []
        for name in ("any.example", "10.1.2.3:8000"):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(f"GET /v2 HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
                statuses.append(connection.recv(1 << 16).split()[1])
        process.terminate()
    assert statuses == [b"200", b"200"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--allow_load", "--insecure_load"),
        ("--allowed_host=http://a.example", "--allowed_host"),
        ("--allowed_host=a.example:80", "without a port"),
        ("--allow_origin=a.example", "--allow_origin"),
        ("--allow_origin=https://a.example/page", "without a path"),
        ("--allow_origin=", "--allow_origin"),
    ],
)
def test_options_that_are_refused(run_program, serve_program, model_dir, option, message):
    done = run_program(str(model_dir), "--port=0", option, program=serve_program)
    assert done.returncode in {2, 5}
    assert message in done.stderr


def test_loading_without_a_token_is_asked_for_twice(start_server):
    with start_server("--allow_load", "--insecure_load") as server:
        path = "/v2/repository/models/lenet/load"
        assert server.ask("POST", path)[0] == 200
        assert server.ask("POST", path, headers={"Origin": PAGE})[0] == 403
