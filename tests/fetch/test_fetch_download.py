"""scripts/fetch_paddle_inference.py and a server that may cut off, stall or lie."""

import contextlib
import io
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from paddle_archives import BAD_ARCHIVE, DOWNLOAD_FAILED, ELF, NOISE, entry, sha256, snapshot, tgz


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        with contextlib.suppress(ConnectionError):
            self.server.answer(self)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    """Serves ``body`` well unless told otherwise; ``sent`` has the bytes of each response."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = tgz(filler=NOISE)
        self.cut = None  # bytes of the body that are sent at most
        self.status = 200
        self.length = len(self.body)  # the Content-Length, which may be a lie; None for none
        self.fault = ""  # "hang": keep the connection open after a cut; "dribble": a byte at a time
        self.redirect = ""
        self.sent = []
        self.release = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/paddle_inference.tgz"

    def close(self):
        self.release.set()
        self.shutdown()
        self.server_close()

    def answer(self, handler):
        index = len(self.sent)
        self.sent.append(0)
        if self.status != 200:
            handler.send_error(self.status)
            return
        body, length = self.body[: self.cut], self.length
        handler.send_response(302 if self.redirect else 200)
        if self.redirect:
            handler.send_header("Location", self.redirect)
            body = bytes(200 << 20)
            length = len(body)
        if length is not None:
            handler.send_header("Content-Length", str(length))
        handler.end_headers()
        while self.fault == "dribble" and not self.release.wait(0.05):
            handler.wfile.write(b"x")
        if not self.redirect:
            self.sent[index] = len(body)  # before it is: then the client may be done first
        handler.wfile.write(body)
        self.sent[index] = len(body)
        if self.fault == "hang":
            self.release.wait()


@pytest.fixture
def server():
    result = Server()
    threading.Thread(target=result.serve_forever, args=(0.01,), daemon=True).start()
    yield result
    result.close()


def fetch(clone, server, *more, check_hash=True, code=0):
    """Fetch; where that succeeds, the file of the server is installed, and else nothing is left."""
    before = snapshot(clone.root)
    arguments = ["--source", "official", "--url", server.url, *more]
    if check_hash:
        arguments += ["--sha256", sha256(server.body)]
    assert clone.run(*arguments) == code
    if code:
        assert snapshot(clone.root) == before
        return
    assert clone.library() == ELF + NOISE
    record = json.loads((clone.output / "source.json").read_text())
    assert (record["url"], record["sha256"]) == (server.url, sha256(server.body))
    assert clone.leftovers() == []


def test_download(clone, server, capsys):
    fetch(clone, server, "--version", "3.0.0", check_hash=False)
    out, err = capsys.readouterr()
    assert sha256(server.body) in out
    assert "no --sha256 given" in err
    assert "100.0 % of" in err
    fetch(clone, server, "--version", "3.0.0")
    assert len(server.sent) == 1  # in place: nothing was asked of the server
    url, server.url = server.url, server.url + "?v=2#x"
    assert clone.run("--source", "official", "--url", server.url, "--force") == 0
    assert json.loads((clone.output / "source.json").read_text())["url"] == url  # no secret


def test_wrong_hashes_and_hostile_archives_leave_what_there_was(clone, server):
    fetch(clone, server)
    fetch(clone, server, "--force", "--sha256", "0" * 64, check_hash=False, code=BAD_ARCHIVE)
    server.body = tgz(entry("../../evil", b"evil"))
    server.length = len(server.body)
    fetch(clone, server, "--force", code=BAD_ARCHIVE)


def test_what_ends_early_is_no_archive(clone, server, capsys):
    server.cut = 100_000
    fetch(clone, server, code=DOWNLOAD_FAILED)
    assert f"100000 of {len(server.body)} bytes" in capsys.readouterr().err
    server.length = None  # the end of the connection is the end, and the archive's own says more
    fetch(clone, server, check_hash=False, code=BAD_ARCHIVE)
    server.cut = None
    fetch(clone, server)


def test_wrong_lengths(clone, server):
    server.length = len(server.body) + 1000
    fetch(clone, server, code=DOWNLOAD_FAILED)
    server.length = 1 << 40
    fetch(clone, server, code=BAD_ARCHIVE)
    server.length = None
    fetch(clone, server, "--max-size", "100K", code=BAD_ARCHIVE)
    server.length = -5  # which says nothing
    fetch(clone, server)


@pytest.mark.parametrize(("fault", "said"), [("hang", "timed out"), ("dribble", "next to nothing")])
def test_stalled_server(clone, server, fault, said, capsys):
    server.fault, server.cut = fault, 1000
    fetch(clone, server, "--timeout", 2, code=DOWNLOAD_FAILED)
    assert said in capsys.readouterr().err


def test_http_errors(clone, server, capsys):
    server.status = 404
    fetch(clone, server, code=DOWNLOAD_FAILED)
    assert "HTTP 404" in capsys.readouterr().err
    server.close()
    fetch(clone, server, code=DOWNLOAD_FAILED)
    assert "check the network" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["file:///etc/passwd", "http://[::", None])
def test_redirects(clone, server, address):
    server.redirect = address or server.url  # which goes round in a circle
    fetch(clone, server, code=DOWNLOAD_FAILED)
    assert max(server.sent) < 100 << 20  # the large body of a redirect is not read


def test_no_redirect_from_https_to_http(clone):
    request = urllib.request.Request("https://127.0.0.1/x")
    with pytest.raises(clone.module("failures").Failure, match="refused"):
        clone.module("download").SafeRedirects().redirect_request(
            request, io.BytesIO(), 302, "Found", {}, "http://127.0.0.1/x"
        )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interruption_leaves_what_there_was(clone, server, number):
    fetch(clone, server)
    before = snapshot(clone.root)
    server.cut, server.fault = 100_000, "hang"
    command = [sys.executable, str(clone.script), "--source", "official", "--url", server.url]
    with subprocess.Popen([*command, "--force"], stderr=subprocess.PIPE, text=True) as process:
        while server.sent[-1] != 100_000:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, error = process.communicate(timeout=120)
    assert process.returncode == (-number if number == signal.SIGKILL else 130)
    assert "Traceback" not in error
    assert snapshot(clone.root) == before
