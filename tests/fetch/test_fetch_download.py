"""scripts/fetch_paddle_inference.py and a server that may cut off, change its file or lie."""

import contextlib
import fcntl
import gzip
import io
import json
import re
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


class Server:
    """Serves ``body`` well unless told otherwise; ``log`` has a line for each request."""

    def __init__(self):
        self.body = tgz(filler=NOISE)
        self.headers = {"ETag": '"one"'}
        self.ranges = self.if_range = True
        self.cuts = []  # bytes of the payload that the nth request gets at most
        self.statuses = []  # answers of the first requests instead of the file
        self.declared = None  # a Content-Length that is not true
        self.length = True  # send Content-Length at all
        self.hang = False  # keep the connection open after a cut
        self.dribble = False  # a byte now and then
        self.redirect = ""
        self.log = []
        self.release = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                with contextlib.suppress(ConnectionError):
                    server.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/paddle_inference.tgz"

    def close(self):
        self.release.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def answer(self, handler):
        line = {"range": handler.headers["Range"], "sent": 0}
        self.log.append(line)
        index = len(self.log) - 1
        if index < len(self.statuses):
            handler.send_error(self.statuses[index])
            return
        if self.redirect:
            handler.send_response(302)
            handler.send_header("Location", self.redirect)
            handler.end_headers()
            for _ in range(50_000):  # as much as 3 GB, for whoever takes it
                handler.wfile.write(bytes(65536))
                line["sent"] += 65536
            return
        wanted = handler.headers["Range"] if self.ranges else None
        known = None, self.headers.get("ETag"), self.headers.get("Last-Modified")
        if self.if_range and handler.headers["If-Range"] not in known:
            wanted = None
        payload, size = self.body, len(self.body)
        if wanted:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= size:
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{size}")
                handler.end_headers()
                return
            payload = payload[start:]
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        else:
            handler.send_response(200)
        for key, value in self.headers.items():
            handler.send_header(key, value)
        if self.length:
            handler.send_header("Content-Length", str(self.declared or len(payload)))
        handler.end_headers()
        if self.dribble:
            while not self.release.wait(0.05):
                handler.wfile.write(b"x")
        payload = payload[: self.cuts[index]] if index < len(self.cuts) else payload
        line["sent"] = len(payload)  # before it is: then the client may be done first
        handler.wfile.write(payload)
        if self.hang and index < len(self.cuts):
            self.release.wait()


@pytest.fixture
def server():
    result = Server()
    yield result
    result.close()


def fetch(clone, server, *more, check_hash=True, code=0):
    """Fetch; where that succeeds, the file of the server is installed."""
    arguments = ["--source", "official", "--url", server.url, *more]
    if check_hash:
        arguments += ["--sha256", sha256(server.body)]
    assert clone.run(*arguments) == code
    if code == 0:
        assert_installed(clone, server)


def cut_off(clone, server, *more, **options):
    """Fetch the first 100,000 bytes."""
    server.cuts = [100_000]
    fetch(clone, server, "--retries", 0, *more, **options, code=DOWNLOAD_FAILED)


def assert_installed(clone, server):
    assert clone.library() == ELF + NOISE
    record = json.loads((clone.output / "source.json").read_text())
    assert (record["url"], record["sha256"]) == (server.url, sha256(server.body))
    assert clone.leftovers() == []


def test_download(clone, server, capsys):
    fetch(clone, server, "--version", "3.0.0", check_hash=False)
    out, err = capsys.readouterr()
    assert sha256(server.body) in out
    assert "no --sha256 given" in err
    assert re.search(r"100\.0 % of 0\.4 MB", err)
    fetch(clone, server, "--version", "3.0.0", check_hash=False)
    fetch(clone, server, "--version", "3.0.0")
    assert len(server.log) == 1  # in place: nothing was asked of the server
    assert clone.run("--source", "official", "--url", server.url + "?v=2#x", "--force") == 0
    assert len(server.log) == 2
    assert_installed(clone, server)  # what follows the ? is not recorded


def test_resume_within_a_run_transfers_only_the_rest(clone, server):
    server.cuts = [100_000, 50_000]
    fetch(clone, server)
    assert [line["range"] for line in server.log] == [None, "bytes=100000-", "bytes=150000-"]
    assert [line["sent"] for line in server.log] == [100_000, 50_000, len(server.body) - 150_000]


@pytest.mark.parametrize("check_hash", [True, False])
def test_truncated_downloads_fail_and_the_next_run_resumes(clone, server, check_hash):
    server.cuts = [100_000, 0]
    fetch(clone, server, "--retries", 1, check_hash=check_hash, code=DOWNLOAD_FAILED)
    assert not clone.output.exists()
    assert clone.part().read_bytes() == server.body[:100_000]
    fetch(clone, server, "--retries", 0, check_hash=check_hash)
    assert server.log[-1] == {"range": "bytes=100000-", "sent": len(server.body) - 100_000}


def test_server_without_range_starts_again(clone, server):
    server.ranges, server.cuts = False, [100_000]
    fetch(clone, server)
    assert server.log[-1]["sent"] == len(server.body)


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
    server.headers = {validator: '"one"'}
    server.if_range = honest
    cut_off(clone, server)
    # Of the same length and with the change in the part already fetched, the hardest to notice.
    old, server.body = server.body, gzip.compress(gzip.decompress(server.body), mtime=7)
    assert len(server.body) == len(old)
    assert server.body[100_000:] == old[100_000:]
    server.headers = {validator: '"two"'}
    # no hash given: the validators alone must notice
    fetch(clone, server, "--retries", 1, check_hash=False)
    assert server.log[1]["range"] == "bytes=100000-"
    assert server.log[-1]["sent"] == len(server.body)


@pytest.mark.parametrize("validator", ['"two"', "", "control\x01"])
def test_changed_length_is_not_spliced(clone, server, validator):
    server.headers = {"ETag": '"one"'}
    server.if_range = False
    cut_off(clone, server, check_hash=False)
    server.body = tgz(entry("more", b"more"), filler=NOISE)
    server.headers = {"ETag": validator} if validator else {}
    fetch(clone, server, "--retries", 1, check_hash=False)


def test_wholly_fetched_part_is_used(clone, server):
    cut_off(clone, server)
    clone.part().write_bytes(server.body)  # as when the power fails before unpacking
    fetch(clone, server)
    assert server.log[-1] == {"range": f"bytes={len(server.body)}-", "sent": 0}
    # longer than the file: started again
    server.cuts = [0, 0, 100_000]
    fetch(clone, server, "--retries", 0, "--force", code=DOWNLOAD_FAILED)
    clone.part().write_bytes(server.body + b"more")
    fetch(clone, server, "--force")


def test_wrong_hash_of_a_download(clone, server):
    fetch(clone, server)
    before = snapshot(clone.root)
    fetch(clone, server, "--sha256", "0" * 64, check_hash=False, code=BAD_ARCHIVE)
    assert snapshot(clone.root) == before  # the part is gone as well, or it would be resumed


def test_wrong_content_length(clone, server):
    server.declared = len(server.body) + 1000
    fetch(clone, server, "--retries", 1, code=DOWNLOAD_FAILED)
    shutil.rmtree(clone.cache)
    server.declared = len(server.body) - 1000
    fetch(clone, server, check_hash=False, code=BAD_ARCHIVE)
    server.declared, server.headers = None, {"Content-Length": "-5"}
    server.length = False
    fetch(clone, server, code=DOWNLOAD_FAILED)
    shutil.rmtree(clone.cache)
    server.headers = {}
    fetch(clone, server)  # without a length the end of the connection is the end


def test_hostile_download_leaves_no_part(clone, server):
    fetch(clone, server)
    before = snapshot(clone.root)
    server.body = tgz(entry("../../evil", b"evil"))
    fetch(clone, server, code=BAD_ARCHIVE)
    assert snapshot(clone.root) == before


def test_oversized_downloads(clone, server):
    server.declared = 1 << 40
    fetch(clone, server, code=BAD_ARCHIVE)
    assert len(server.log) == 1
    server.declared, server.length = None, False
    fetch(clone, server, "--max-size", "100K", code=BAD_ARCHIVE)
    assert clone.part().stat().st_size <= 100 * 1024 + clone.module("download").CHUNK_BYTES


@pytest.mark.parametrize("fault", ["hang", "dribble"])
def test_stalled_server(clone, server, fault, capsys):
    setattr(server, fault, True)
    server.cuts = [1000, 1000]
    fetch(clone, server, "--timeout", 2, "--retries", 1, code=DOWNLOAD_FAILED)
    assert len(server.log) == 2
    expected = "timed out" if fault == "hang" else "next to nothing"
    assert expected in capsys.readouterr().err


def test_http_errors(clone, server, capsys):
    server.statuses = [404]
    fetch(clone, server, code=DOWNLOAD_FAILED)
    assert "HTTP 404" in capsys.readouterr().err
    assert len(server.log) == 1  # it will not appear by asking again
    server.statuses = [0, 503, 429]
    fetch(clone, server)
    server.close()
    fetch(clone, server, "--force", "--retries", 1, code=DOWNLOAD_FAILED)


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://[::", "SELF"])
def test_redirects(clone, server, where, capsys):
    server.redirect = server.url if where == "SELF" else where
    fetch(clone, server, "--retries", 0, code=DOWNLOAD_FAILED)
    assert "Traceback" not in capsys.readouterr().err
    assert all(line["sent"] < 100 << 20 for line in server.log)  # its endless body is not read


def test_https_does_not_become_http(clone):
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


def test_cache_dir(clone, server, tmp_path):
    elsewhere = ("--cache-dir", tmp_path / "cache")
    cut_off(clone, server, *elsewhere)
    assert clone.leftovers() == []
    assert [p.stat().st_size for p in (tmp_path / "cache").glob("*.part")] == [100_000]
    fetch(clone, server, *elsewhere)
    assert server.log[-1]["range"] == "bytes=100000-"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_keeps_a_resumable_part(clone, server, number):
    fetch(clone, server)
    before = snapshot(clone.output)
    server.cuts, server.hang = [0, 100_000], True
    command = [sys.executable, str(clone.script), "--source", "official", "--url", server.url]
    with subprocess.Popen([*command, "--force"], stderr=subprocess.PIPE, text=True) as process:
        while not any(part.stat().st_size == 100_000 for part in clone.cache.glob("*.part")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert "interrupted" in error
    assert snapshot(clone.output) == before
    assert clone.leftovers() == [".download"]
    fetch(clone, server, "--force")
    assert server.log[-1] == {"range": "bytes=100000-", "sent": len(server.body) - 100_000}
