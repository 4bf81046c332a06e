"""scripts/fetch_paddle_inference.py and a server that may cut off, change its file or lie."""

import contextlib
import fcntl
import gzip
import io
import json
import shutil
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
    """Serves ``body`` well unless told otherwise; ``log`` has a line for each request."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = tgz(filler=NOISE)
        self.headers = {"ETag": '"one"'}
        self.ranges = self.if_range = True
        self.cuts = []  # bytes of the payload that the nth request gets at most
        self.statuses = []  # answers of the first requests instead of the file
        self.declared = None  # a Content-Length that is not true
        self.length = True  # send Content-Length at all
        self.fault = ""  # "hang": keep the connection open after a cut; "dribble": a byte at a time
        self.redirect = ""
        self.log = []
        self.release = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/paddle_inference.tgz"

    def close(self):
        self.release.set()
        self.shutdown()
        self.server_close()

    def unchanged(self, validator):
        return not self.if_range or validator in (None, *self.headers.values())

    def answer(self, handler):
        line = {"range": handler.headers["Range"], "sent": 0}
        self.log.append(line)
        index, payload, size = len(self.log) - 1, self.body, len(self.body)
        status, headers = 200, dict(self.headers)
        if index < len(self.statuses):
            handler.send_error(self.statuses[index])
            return
        if self.redirect:
            status, headers, payload = 302, {"Location": self.redirect}, bytes(200 << 20)
        elif line["range"] and self.ranges and self.unchanged(handler.headers["If-Range"]):
            start = int(line["range"].removeprefix("bytes=").removesuffix("-"))
            if start < size:
                status, payload = 206, payload[start:]
                headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
            else:
                status, payload, headers = 416, b"", {"Content-Range": f"bytes */{size}"}
        handler.send_response(status)
        if self.length:
            headers["Content-Length"] = str(self.declared or len(payload))
        for header in headers.items():
            handler.send_header(*header)
        handler.end_headers()
        while self.fault == "dribble" and not self.release.wait(0.05):
            handler.wfile.write(b"x")
        payload = payload[: self.cuts[index]] if index < len(self.cuts) else payload
        if not self.redirect:
            line["sent"] = len(payload)  # before it is: then the client may be done first
        handler.wfile.write(payload)
        line["sent"] = len(payload)
        if self.fault == "hang" and index < len(self.cuts):
            self.release.wait()


@pytest.fixture
def server():
    result = Server()
    threading.Thread(target=result.serve_forever, args=(0.01,), daemon=True).start()
    yield result
    result.close()


def fetch(clone, server, *more, check_hash=True, code=0):
    """Fetch; where that succeeds, the file of the server is installed."""
    arguments = ["--source", "official", "--url", server.url, *more]
    if check_hash:
        arguments += ["--sha256", sha256(server.body)]
    assert clone.run(*arguments) == code
    if code == 0:
        assert clone.library() == ELF + NOISE
        record = json.loads((clone.output / "source.json").read_text())
        assert (record["url"], record["sha256"]) == (server.url, sha256(server.body))
        assert clone.leftovers() == []


def cut_off(clone, server, *more, **options):
    """Fetch the first 100,000 bytes."""
    server.cuts = [100_000]
    fetch(clone, server, "--retries", 0, *more, **options, code=DOWNLOAD_FAILED)


def test_download(clone, server, capsys):
    fetch(clone, server, "--version", "3.0.0", check_hash=False)
    out, err = capsys.readouterr()
    assert sha256(server.body) in out
    assert "no --sha256 given" in err
    fetch(clone, server, "--version", "3.0.0")
    assert len(server.log) == 1  # in place: nothing was asked of the server
    url, server.url = server.url, server.url + "?v=2#x"
    assert clone.run("--source", "official", "--url", server.url, "--force") == 0
    assert json.loads((clone.output / "source.json").read_text())["url"] == url  # no secret
    # Where the hash is wrong, and where the archive is hostile, no part is left to be resumed.
    before = snapshot(clone.root)
    fetch(clone, server, "--sha256", "0" * 64, check_hash=False, code=BAD_ARCHIVE)
    server.body = tgz(entry("../../evil", b"evil"))
    fetch(clone, server, code=BAD_ARCHIVE)
    assert snapshot(clone.root) == before


def test_resume_transfers_only_the_rest(clone, server):
    server.cuts = [100_000, 50_000]
    fetch(clone, server)
    assert [line["range"] for line in server.log] == [None, "bytes=100000-", "bytes=150000-"]
    assert [line["sent"] for line in server.log] == [100_000, 50_000, len(server.body) - 150_000]
    # A server without ranges sends all of it again.
    server.ranges, server.cuts = False, [0] * 3 + [100_000]
    fetch(clone, server, "--force")
    assert server.log[-1]["sent"] == len(server.body)


@pytest.mark.parametrize("check_hash", [True, False])
def test_truncated_downloads_fail_and_the_next_run_resumes(clone, server, tmp_path, check_hash):
    options = ("--cache-dir", tmp_path / "cache")
    clone.cache = tmp_path / "cache"
    server.cuts = [100_000, 0]
    fetch(clone, server, *options, "--retries", 1, check_hash=check_hash, code=DOWNLOAD_FAILED)
    assert not clone.output.exists()
    assert clone.leftovers() == []
    assert clone.part().read_bytes() == server.body[:100_000]
    fetch(clone, server, *options, "--retries", 0, check_hash=check_hash)
    assert server.log[-1] == {"range": "bytes=100000-", "sent": len(server.body) - 100_000}
    assert not clone.cache.exists()


def test_no_validator_resumes_only_with_a_hash(clone, server):
    server.headers, server.cuts = {"ETag": 'W/"weak"'}, [100_000]
    fetch(clone, server, check_hash=False)
    assert [line["range"] for line in server.log] == [None, None]
    server.cuts = [0, 0, 100_000]
    fetch(clone, server, "--force")
    assert server.log[-1]["range"] == "bytes=100000-"


@pytest.mark.parametrize("honest", [True, False], ids=["If-Range honoured", "If-Range ignored"])
@pytest.mark.parametrize("validator", ["ETag", "Last-Modified"])
def test_changed_file_is_not_spliced(clone, server, honest, validator):
    server.headers, server.if_range = {validator: '"one"'}, honest
    cut_off(clone, server)
    # Of the same length and with the change in the part already fetched, the hardest to notice.
    old, server.body = server.body, gzip.compress(gzip.decompress(server.body), mtime=7)
    assert (len(server.body), server.body[100_000:]) == (len(old), old[100_000:])
    server.headers = {validator: '"two"'}
    # no hash given: the validators alone must notice
    fetch(clone, server, "--retries", 1, check_hash=False)
    assert server.log[1]["range"] == "bytes=100000-"
    assert server.log[-1]["sent"] == len(server.body)


def test_changed_length_is_not_spliced(clone, server):
    server.if_range = False
    cut_off(clone, server, check_hash=False)
    server.body, server.headers = tgz(entry("more", b"more"), filler=NOISE), {}
    fetch(clone, server, "--retries", 1, check_hash=False)


def test_wholly_fetched_part_is_used(clone, server):
    cut_off(clone, server)
    clone.part().write_bytes(server.body)  # as when the power fails before unpacking
    fetch(clone, server)
    assert server.log[-1] == {"range": f"bytes={len(server.body)}-", "sent": 0}
    # One that is longer than the file is fetched anew.
    server.cuts = [0, 0, 100_000]
    fetch(clone, server, "--retries", 0, "--force", code=DOWNLOAD_FAILED)
    clone.part().write_bytes(server.body + b"more")
    fetch(clone, server, "--force")


def test_wrong_content_length(clone, server):
    server.declared = len(server.body) + 1000
    fetch(clone, server, "--retries", 1, code=DOWNLOAD_FAILED)
    shutil.rmtree(clone.cache)
    server.declared = 1 << 40
    fetch(clone, server, code=BAD_ARCHIVE)
    server.length, server.headers = False, {"Content-Length": "-5"}
    fetch(clone, server, code=DOWNLOAD_FAILED)
    server.headers = {}
    fetch(clone, server, "--max-size", "100K", code=BAD_ARCHIVE)
    fetch(clone, server)  # without a length the end of the connection is the end


@pytest.mark.parametrize(("fault", "said"), [("hang", "timed out"), ("dribble", "next to nothing")])
def test_stalled_server(clone, server, fault, said, capsys):
    server.fault, server.cuts = fault, [1000, 1000]
    fetch(clone, server, "--timeout", 2, "--retries", 1, code=DOWNLOAD_FAILED)
    assert len(server.log) == 2
    assert said in capsys.readouterr().err


def test_http_errors_and_redirects(clone, server, capsys):
    server.statuses = [404]
    fetch(clone, server, code=DOWNLOAD_FAILED)
    assert "HTTP 404" in capsys.readouterr().err
    assert len(server.log) == 1  # it will not appear by asking again
    server.statuses = [0, 503, 429]
    fetch(clone, server)
    for address in ("file:///etc/passwd", "http://[::", server.url):
        server.redirect = address
        fetch(clone, server, "--force", "--retries", 0, code=DOWNLOAD_FAILED)
    assert all(line["sent"] < 100 << 20 for line in server.log)  # their large body is not read
    server.close()
    fetch(clone, server, "--force", "--retries", 1, code=DOWNLOAD_FAILED)
    request = urllib.request.Request("https://127.0.0.1/x")
    with pytest.raises(clone.module("failures").Failure, match="refused"):
        clone.module("download").SafeRedirects().redirect_request(
            request, io.BytesIO(), 302, "Found", {}, "http://127.0.0.1/x"
        )


def test_two_downloads_do_not_mix(clone, server):
    cut_off(clone, server)
    with clone.part().open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fetch(clone, server, code=DOWNLOAD_FAILED)
    assert len(server.log) == 1
    # another address has another part
    assert clone.run("--source", "official", "--url", server.url + "?other") == 0
    assert clone.part().read_bytes() == server.body[:100_000]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_keeps_a_resumable_part(clone, server, number):
    fetch(clone, server)
    before = snapshot(clone.output)
    server.cuts, server.fault = [0, 100_000], "hang"
    command = [sys.executable, str(clone.script), "--source", "official", "--url", server.url]
    with subprocess.Popen([*command, "--force"], stderr=subprocess.PIPE, text=True) as process:
        while not any(part.stat().st_size == 100_000 for part in clone.cache.glob("*.part")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert snapshot(clone.output) == before
    assert clone.leftovers() == [".download"]
    fetch(clone, server, "--force")
    assert server.log[-1] == {"range": "bytes=100000-", "sent": len(server.body) - 100_000}
