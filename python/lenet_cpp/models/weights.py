"""Published parameters: find or download them, and load them into a network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from tqdm import tqdm

from lenet_cpp._base.files import atomic_path, cache_folder
from lenet_cpp._base.frameworks import paddle
from lenet_cpp._base.optional import require
from lenet_cpp.errors import BadInput, BadModel, FileNotFound
from lenet_cpp.formats.checkpoint import recover
from lenet_cpp.formats.manifest import sha256_file
from lenet_cpp.formats.source import find_parameters
from lenet_cpp.models.state import load_state

MAX_BYTES = 4 << 30
_TIMEOUT_SECONDS = 30


def fetch(source: str | Path, *, sha256: str | None = None) -> Path:
    """Return the local path of the parameters that a path or a URL names.

    A path is as :func:`lenet_cpp.formats.source.find_parameters` takes it, a URL that of a file, of
    scheme ``file``, ``https`` or ``http``. The last two are downloaded once, with a progress bar on
    a terminal, into the folder ``weights`` of :func:`lenet_cpp._base.files.cache_folder`. The file
    appears there only when it is complete and has the checksum, the SHA-256 in hexadecimal. For
    ``http`` that is required, because anybody on the way could change the file.

    Raises:
        BadInput: The URL or the checksum is invalid, ``http`` is used without a checksum, or a
            checksum is given for a folder.
        FileNotFound: There is no such file, or it cannot be downloaded.
        BadModel: The file has another checksum; a download is then deleted.
        Unsupported: The package httpx, of the extra ``paddle``, is missing.
        OSError: The cache cannot be written.
    """
    wanted = _digest(sha256)
    url = str(source)
    scheme = urlsplit(url).scheme if "://" in url else ""
    if scheme in {"http", "https"}:
        if scheme == "http" and wanted is None:
            raise BadInput(f"{url} could be changed on its way: give its sha256, or use https")
        return _downloaded(url, wanted)
    if scheme not in {"", "file"}:
        raise BadInput(f"{url}: expected a path, or a URL of https, http or file")
    path = find_parameters(url2pathname(urlsplit(url).path) if scheme else source).path
    if path.is_dir():
        if wanted is not None:
            raise BadInput(f"{path} is a folder: a SHA-256 is that of a file, leave it out")
    elif wanted is not None:
        _check(path, sha256_file(path), wanted)
    elif not path.is_file():
        raise FileNotFound(f"cannot read {path}: no such file; check the path")
    return path


def load_parameters(layer: paddle.nn.Layer, path: Path) -> None:
    """Load trained parameters into a layer, strictly.

    They may have the names of the layer's state dict, those that Paddle generated for it, or for
    ``ResNet*_vd`` those of PaddleClas 1 (``docs/formats.md``). The state of an optimizer among them
    is ignored.

    The path is that of a ``.pdparams``, or of a folder with a file for each variable; see
    :func:`lenet_cpp.formats.source.find_parameters`. When a save of that checkpoint was interrupted
    after its commit point, the save is finished first. For files with generated names the layer has
    to be built under ``paddle.utils.unique_name.guard()``.

    Raises:
        FileNotFound: There is no such file, or it cannot be read.
        BadInput: The folder contains several ``.pdparams``.
        BadModel: A file is damaged.
        StateMismatch: The names, shapes or dtypes are not the layer's (all differences are
            listed). In either case the layer is unchanged.
    """
    found = find_parameters(path)
    if found.path.suffix == ".pdparams":
        recover(found.folder, found.path.stem)
    load_state(found, None, layer)


def load_pretrained(
    layer: paddle.nn.Layer, source: str | Path, *, sha256: str | None = None
) -> Path:
    """Load published weights into a layer, strictly, and return their local path.

    This is :func:`fetch` and then :func:`load_parameters`, with their arguments and errors. The
    layer is unchanged when there is one.
    """
    path = fetch(source, sha256=sha256)
    load_parameters(layer, path)
    return path


def _digest(sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    digits = sha256.strip().lower()
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise BadInput(f"{sha256!r} is not a SHA-256: expected 64 hexadecimal digits")
    return digits


def _check(source: str | Path, found: str, wanted: str) -> None:
    if found != wanted:
        raise BadModel(f"{source} has SHA-256 {found}, expected {wanted}: this is another file")


def _downloaded(url: str, wanted: str | None) -> Path:
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    plain = "".join(c if c.isalnum() or c in "._-" else "_" for c in name).lstrip(".")
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    target = cache_folder() / "weights" / f"{key}-{plain or 'weights.pdparams'}"
    if target.is_file() and (wanted is None or sha256_file(target) == wanted):
        return target
    with atomic_path(target) as part:
        found = _download(url, part)
        if wanted is not None:
            _check(url, found, wanted)
    return target


def _download(url: str, target: Path) -> str:
    """Write the contents of the URL to a file; return their SHA-256."""
    require("httpx", extra="paddle")
    import httpx

    digest = hashlib.sha256()

    def check_redirect(request: httpx.Request) -> None:
        if url.startswith("https:") and request.url.scheme != "https":
            raise httpx.UnsupportedProtocol(f"it redirects to {request.url}, which is not https")

    client = httpx.Client(
        follow_redirects=True,
        timeout=_TIMEOUT_SECONDS,
        event_hooks={"request": [check_redirect]},
        headers={"User-Agent": "lenet_cpp", "Accept-Encoding": "identity"},
    )
    try:
        with client, client.stream("GET", url) as response:
            response.raise_for_status()
            length = int(response.headers.get("Content-Length", 0))
            with (
                target.open("wb") as file,
                tqdm(
                    total=length or None,
                    desc=target.name.partition("-")[2],
                    unit="B",
                    unit_scale=True,
                    disable=None,  # unless standard error is a terminal
                    leave=False,
                ) as progress,
            ):
                for chunk in response.iter_bytes():
                    if response.num_bytes_downloaded > MAX_BYTES or length > MAX_BYTES:
                        raise BadModel(f"{url} has more than {MAX_BYTES >> 30} GiB: refused")
                    file.write(chunk)
                    digest.update(chunk)
                    progress.update(len(chunk))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        if isinstance(error, BadModel):
            raise
        status = getattr(error, "response", None)
        reason = f"HTTP {status.status_code}" if status is not None else str(error)
        raise FileNotFound(
            f"cannot download {url}: {reason or type(error).__name__}; check the address and the"
            " network, or fetch the file by other means and name its path"
        ) from error
    return digest.hexdigest()
