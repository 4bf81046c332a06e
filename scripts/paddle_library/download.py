"""HTTP download of one large file, with progress."""

from __future__ import annotations

import http.client
import sys
import time
import urllib.error
import urllib.request
from typing import IO, BinaryIO
from urllib.parse import urlsplit

from paddle_library.failures import BAD_ARCHIVE, DOWNLOAD_FAILED, Failure, megabytes, note

CHUNK_BYTES = 256 << 10
# A socket time-out alone would let a server keep us waiting with a byte now and then.
MIN_BYTES_PER_SECOND = 1024


class SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Check the new address before anything is asked of it."""
        fp.close()  # the base class would read the whole body of the redirect into memory
        scheme = urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise Failure(DOWNLOAD_FAILED, f"{req.full_url} redirects to {newurl}: refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Progress:
    """A line that renews itself on a terminal, or one line every few seconds elsewhere."""

    def __init__(self, total: int | None) -> None:
        """Begin a download of ``total`` bytes, or of an unknown number."""
        self._total, self._tty = total, sys.stderr.isatty()
        self._began = self._shown = time.monotonic()

    def show(self, done: int, *, last: bool = False) -> None:
        """Report ``done`` bytes when it is time to."""
        now = time.monotonic()
        if not last and now - self._shown < (0.2 if self._tty else 5):
            return
        self._shown = now
        rate = done / max(now - self._began, 1e-3)
        of = f"{100 * done / self._total:5.1f} % of {megabytes(self._total)}" if self._total else ""
        line = f"  {of or megabytes(done)}, {megabytes(rate)}/s"
        if self._tty:
            print(f"\r\x1b[K{line}", end="\n" if last else "", file=sys.stderr, flush=True)
        else:
            note(line)


def download(url: str, file: BinaryIO, *, timeout: float, max_bytes: int) -> None:
    """Write what an address returns to a file.

    Args:
        url: An http or https address.
        file: Where to write, from its position on.
        timeout: Seconds without an answer, or with less than 1 kB/s, after which it has failed.
        max_bytes: The largest size that is accepted.

    Raises:
        Failure: The server does not send the whole file, or it is too large.
        OSError: The file cannot be written.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "lenet_cpp"})  # noqa: S310 - callers pass only http and https URLs
    try:
        response = urllib.request.build_opener(SafeRedirects).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        raise Failure(DOWNLOAD_FAILED, f"{url}: HTTP {error.code} {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _failed(url, error) from error
    with response:
        total: int | None = response.length
        if total is not None and total > max_bytes:
            raise Failure(BAD_ARCHIVE, f"{url} has {megabytes(total)}, more than --max-size allows")
        done = _copy(response, file, url, timeout, max_bytes)
    if total is not None and done != total:
        raise _failed(url, f"the connection ended after {done} of {total} bytes")


def _copy(
    response: http.client.HTTPResponse, file: BinaryIO, url: str, timeout: float, max_bytes: int
) -> int:
    """Write the body of a response to a file; return its bytes."""
    progress = Progress(response.length)
    done = 0
    checked_at, checked_done = time.monotonic(), 0
    while data := _read(response, url):
        file.write(data)
        done += len(data)
        if done > max_bytes:
            raise Failure(BAD_ARCHIVE, f"{url} sends more than --max-size allows")
        progress.show(done)
        now = time.monotonic()
        if now - checked_at >= timeout:
            if done - checked_done < MIN_BYTES_PER_SECOND * timeout:
                raise _failed(url, "the server sends next to nothing")
            checked_at, checked_done = now, done
    progress.show(done, last=True)
    return done


def _read(response: http.client.HTTPResponse, url: str) -> bytes:
    """Return the next bytes of a response; an error of the network is not one of the file."""
    try:
        return response.read1(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _failed(url, error) from error


def _failed(url: str, why: object) -> Failure:
    reason = getattr(why, "reason", None) or why or type(why).__name__
    return Failure(DOWNLOAD_FAILED, f"{url}: {reason}; check the network and run the command again")
