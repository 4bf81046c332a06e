"""HTTP download of one large file, with progress, that survives being cut off."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from paddle_library.failures import BAD_ARCHIVE, DOWNLOAD_FAILED, Failure, megabytes, note

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

CHUNK_BYTES = 256 << 10
# A socket time-out alone lets a server hold us for ever with a byte now and then.
MIN_BYTES_PER_SECOND = 1024
BACKOFF_SECONDS = 1.0


class TransientError(Exception):
    """A download attempt that may succeed when tried again."""


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

    def __init__(self, start: int, total: int | None) -> None:
        """Begin at ``start`` of ``total`` bytes."""
        self._start, self._total, self._tty = start, total, sys.stderr.isatty()
        self._began = self._shown = time.monotonic()

    def show(self, done: int, *, last: bool = False) -> None:
        """Report ``done`` bytes when it is time to."""
        now = time.monotonic()
        if not last and now - self._shown < (0.2 if self._tty else 5):
            return
        self._shown = now
        rate = (done - self._start) / max(now - self._began, 1e-3)
        of = f"{100 * done / self._total:5.1f} % of {megabytes(self._total)}" if self._total else ""
        line = f"  {of or megabytes(done)}, {megabytes(rate)}/s"
        if self._tty:
            print(f"\r\x1b[K{line}", end="\n" if last else "", file=sys.stderr, flush=True)
        else:
            note(line)


@dataclass
class Download:
    """One archive on its way from ``url`` to ``part``, which outlives an interruption."""

    url: str
    part: Path
    hash_known: bool
    timeout: float
    retries: int
    max_bytes: int

    @property
    def state_file(self) -> Path:
        """Where the validators of the partial file are kept."""
        return self.part.with_name(self.part.name + ".json")

    def run(self) -> None:
        """Fetch the whole file, resuming and retrying; a Failure when that cannot be done."""
        reason: object = ""
        for attempt in range(self.retries + 1):
            if attempt:
                pause = min(BACKOFF_SECONDS * 2 ** (attempt - 1), 30)
                note(f"{reason}; trying again ({attempt} of {self.retries}) in {pause:g} s")
                time.sleep(pause)
            try:
                self._attempt()
            except urllib.error.HTTPError as error:
                error.close()
                reason = f"HTTP {error.code} {error.reason}"
                if error.code < 500 and error.code not in (408, 425, 429):
                    raise Failure(DOWNLOAD_FAILED, f"{self.url}: {reason}") from error
            except TransientError as error:
                reason = error
            except ValueError as error:  # a redirect to something that is no URL
                raise Failure(DOWNLOAD_FAILED, f"{self.url}: {error}") from error
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", None) or error or type(error).__name__
            else:
                return
        raise Failure(
            DOWNLOAD_FAILED, f"{self.url}: {reason}; check the network and run the command again"
        )

    def discard(self) -> None:
        """Forget what has been fetched."""
        self.part.unlink(missing_ok=True)
        self.state_file.unlink(missing_ok=True)

    def _restart(self, why: str) -> TransientError:
        os.truncate(self.part, 0)
        self.state_file.unlink(missing_ok=True)
        return TransientError(f"{why}, starting from the beginning")

    def _load_state(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            state = json.loads(self.state_file.read_text(encoding="utf-8"))
            if isinstance(state, dict) and state.get("url") == self.url:
                return state
        return {}

    def _attempt(self) -> None:
        state, have = self._load_state(), self.part.stat().st_size
        validator = state.get("etag") or state.get("modified")
        headers = {"User-Agent": "lenet_cpp"}
        request = urllib.request.Request(self.url, headers=headers)  # noqa: S310 - scheme checked
        # Without a validator only a known hash can tell whether the rest belongs to the beginning.
        if have and state.get("total") and (validator or self.hash_known):
            request.add_header("Range", f"bytes={have}-")
            if validator:
                request.add_header("If-Range", str(validator))
        opener = urllib.request.build_opener(SafeRedirects)
        try:
            response = opener.open(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            if error.code != 416 or not request.has_header("Range"):
                raise
            error.close()
            self._check_unchanged(error.headers, state)
            if error.headers.get("Content-Range") == f"bytes */{have}" and have == state.get(
                "total"
            ):
                return
            raise self._restart("the partial file does not fit the one on the server") from error
        with response:
            self._receive(response, state, have)

    def _check_unchanged(self, headers: Message, state: dict[str, Any]) -> None:
        """Compare validators even where If-Range should have: not every server honours it."""
        for key, name in (("etag", "ETag"), ("modified", "Last-Modified")):
            if name in headers and state.get(key) and headers[name] != state[key]:
                raise self._restart("the file on the server has changed")

    def _receive(
        self, response: http.client.HTTPResponse, state: dict[str, Any], have: int
    ) -> None:
        total: int | None
        if response.status == 206:
            self._check_unchanged(response.headers, state)
            content_range = response.headers.get("Content-Range", "")
            total = state["total"] if isinstance(state.get("total"), int) else None
            if total is None or content_range != f"bytes {have}-{total - 1}/{total}":
                raise self._restart(f"unexpected Content-Range {content_range!r}")
            note(f"resuming at {megabytes(have)}")
        elif response.status == 200:
            length = response.headers.get("Content-Length")
            if length is not None and not re.fullmatch(r"[0-9]{1,18}", length):
                raise Failure(DOWNLOAD_FAILED, f"{self.url}: wrong Content-Length {length!r}")
            total = None if length is None else int(length)
            if have:
                note("the server sends the whole file again")
            have = 0
            os.truncate(self.part, 0)
            # Only a strong ETag (no W/) says that the bytes are the same.
            etag = re.fullmatch(r'"[!-~]{0,500}"', response.headers.get("ETag", ""))
            modified = re.fullmatch(r"[ -~]{0,100}", response.headers.get("Last-Modified", ""))
            new = {"url": self.url, "total": total}
            new |= {"etag": etag and etag[0], "modified": modified and modified[0]}
            self.state_file.write_text(json.dumps(new), encoding="utf-8")
        else:
            raise Failure(DOWNLOAD_FAILED, f"{self.url}: unexpected HTTP status {response.status}")
        if total is not None and total > self.max_bytes:
            raise Failure(
                BAD_ARCHIVE, f"{self.url} has {megabytes(total)}, more than --max-size allows"
            )
        done = self._copy_body(response, have, total)
        if total is not None and done != total:
            raise TransientError(f"the connection ended after {done} of {total} bytes")

    def _copy_body(self, response: http.client.HTTPResponse, have: int, total: int | None) -> int:
        progress, done = Progress(have, total), have
        mark, mark_done = time.monotonic(), have
        with self.part.open("ab") as file:
            while total is None or done < total:
                room = CHUNK_BYTES if total is None else min(CHUNK_BYTES, total - done)
                data = response.read1(room)
                if not data:
                    break
                try:
                    file.write(data)
                    file.flush()
                except OSError as error:  # a full disk, which trying again does not mend
                    raise Failure(1, f"{self.part}: {error.strerror}") from error
                done += len(data)
                if done > self.max_bytes:
                    raise Failure(BAD_ARCHIVE, f"{self.url} sends more than --max-size allows")
                progress.show(done)
                now = time.monotonic()
                if now - mark >= self.timeout:
                    if done - mark_done < MIN_BYTES_PER_SECOND * self.timeout:
                        raise TransientError("the server sends next to nothing")
                    mark, mark_done = now, done
        progress.show(done, last=True)
        return done
