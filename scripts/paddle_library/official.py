"""The folder made from an official archive: get it, check its hash, unpack it, put it in place."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from paddle_library.archive import MAX_TOTAL_BYTES, find_top, unpack
from paddle_library.download import download
from paddle_library.failures import BAD_ARCHIVE, NOT_FOUND, VERSION_MISMATCH, Failure, note
from paddle_library.folder import check_replaceable, inspect, report, staging, swap_in
from paddle_library.versions import folder_facts, release

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Request:
    """What the user wants of an archive, and where; None where nothing was said."""

    output: Path
    version: str | None
    sha256: str | None
    max_size: int | None
    force: bool


def published_url(version: str) -> str:
    """Return where Paddle publishes its C++ library for Linux and CPUs."""
    base = "https://paddle-inference-lib.bj.bcebos.com"
    if release(version) < (2, 1):
        return f"{base}/{version}-cpu-avx-mkl/paddle_inference.tgz"
    return f"{base}/{version}/cxx_c/Linux/CPU/gcc8.2_avx_mkl/paddle_inference.tgz"


def is_recorded(output: Path, **expected: str | None) -> bool:
    """Say whether ``output`` is a valid official folder whose source.json agrees."""
    try:
        there = inspect(output)
    except (Failure, OSError):
        return False
    return there.kind == "official" and all(
        value is None or there.record.get(key) == value for key, value in expected.items()
    )


def _digest(file: BinaryIO) -> str:
    result = hashlib.sha256()
    while data := file.read(1 << 20):
        result.update(data)
    return result.hexdigest()


def install(archive: BinaryIO, url: str, request: Request) -> None:
    """Check the hash of an archive that came from ``url``, unpack it and put it in place."""
    output = request.output
    archive.seek(0)
    sha256 = _digest(archive)
    if request.sha256 and sha256 != request.sha256:
        raise Failure(
            BAD_ARCHIVE,
            f"{url}: sha256 is {sha256}, not {request.sha256}: get the archive or the hash anew",
        )
    verdict = "as given" if request.sha256 else "computed; none was given to compare it with"
    print(f"sha256 {sha256} ({verdict})", flush=True)
    if not request.force and is_recorded(output, sha256=sha256):
        report(output, "already in place: ")
        return
    archive.seek(0)
    with staging(output) as tree:
        unpack(archive, tree, request.max_size)
        top = find_top(tree)
        _record(top, url, sha256, request.version)
        swap_in(top, output)
    report(output)


def install_file(archive: Path, request: Request) -> None:
    """Install an archive that the user has."""
    check_replaceable(request.output)
    if not archive.is_file():
        why = "it is a folder" if archive.is_dir() else "no such file"
        raise Failure(NOT_FOUND, f"{archive}: {why}; name the archive to install")
    with archive.open("rb") as file:
        install(file, str(archive), request)


def _record(top: Path, url: str, sha256: str, version: str | None) -> None:
    """Write source.json, unless the archive says that it is of another version."""
    said = folder_facts(top).get("Paddle version", "")
    # Old archives do not say their version, and development builds say 0.0.0.
    if version and any(release(said)) and release(said)[:3] != release(version)[:3]:
        raise Failure(VERSION_MISMATCH, f"{url} holds Paddle {said}, not {version}: check --url")
    record = {"source": "official", "url": url, "sha256": sha256, "version": version}
    (top / "source.json").unlink(missing_ok=True)
    (top / "source.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def fetch(url: str, request: Request, *, timeout: float) -> None:
    """Download an archive, unless that very one is in place, and install it."""
    output = request.output
    check_replaceable(output)
    shown = re.split(r"[?#]", url)[0]  # what follows may hold a secret
    if not request.force and is_recorded(
        output, version=request.version, url=shown, sha256=request.sha256
    ):
        report(output, "already in place: ")
        return
    if not request.sha256:
        note("no --sha256 given: nothing but the server will vouch for the archive")
    output.parent.mkdir(parents=True, exist_ok=True)
    print(f"downloading {shown}", flush=True)
    # A file without a name leaves nothing behind, whatever ends the process.
    with tempfile.TemporaryFile(dir=output.parent) as archive:
        download(url, archive, timeout=timeout, max_bytes=request.max_size or MAX_TOTAL_BYTES)
        install(archive, shown, request)
