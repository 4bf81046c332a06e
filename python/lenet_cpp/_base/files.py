"""Write files atomically, and recognise a file by its first bytes."""

import os
import secrets
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lenet_cpp import _core
from lenet_cpp.errors import FileNotFound

PREPROCESS_NAME = "preprocess.json"
"""The file beside a model that says how images are prepared (:mod:`lenet_cpp.data.images`)."""

_STATE_DICT = "lenet-cpp convert --to pdparams makes a state dict of that model's"
_CONTENTS = {
    "torch": ("PyTorch's parameters", "lenet-cpp import makes a Paddle model of them"),
    "pdparams": (
        "a Paddle state dict (.pdparams)",
        "lenet-cpp export --params makes a model of it",
    ),
    "pdiparams": ("the parameters of an exported model (.pdiparams)", _STATE_DICT),
    "json": ("text, such as a program (.json)", _STATE_DICT),
    "pdmodel": ("a program (.pdmodel)", _STATE_DICT),
    "onnx": ("an ONNX model", "lenet-cpp import makes a Paddle model of it"),
}
# The first match counts.
_BEGINNINGS = {
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19": "torch",  # torch.save before 1.6
    b"\x80": "pdparams",
    bytes(16): "pdiparams",
    b"{": "json",
    b"\n": "pdmodel",
    b"\x08": "onnx",
}


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` that replaces it when the block succeeds.

    It is in the same folder, which is created if necessary, and has the same suffix. When the block
    raises, it is removed and the target stays as it was. A device or pipe, such as ``/dev/null``,
    is yielded itself.
    """
    if target.exists() and not target.is_file() and not target.is_dir():
        with naming(target, target):
            yield target
        return
    final = Path(os.path.realpath(target))  # the link stays, and its target is replaced
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.stem}.{secrets.token_hex(6)}{final.suffix}")
    temporary.touch(exist_ok=False)
    try:
        with naming(target, temporary):
            yield temporary
            temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """Yield an empty folder on the file system of the target, for making it; remove it afterwards.

    The folder of the target is created if necessary. Errors of the operating system name the
    target and not what is in the yielded folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}."
    with (
        naming(target, target.with_name(prefix)),
        tempfile.TemporaryDirectory(dir=target.parent, prefix=prefix) as folder,
        naming(target, Path(folder)),
    ):
        yield Path(folder)


@contextmanager
def naming(target: Path, temporary: Path) -> Iterator[None]:
    """Name the target in an error of the operating system: that of a full disk names no file.

    The block makes the target at the place ``temporary``, which errors do not show.
    """
    try:
        yield
    except OSError as error:
        name = error.filename
        if error.errno is not None and (name is None or str(name).startswith(str(temporary))):
            error.filename = str(target)
        raise


def hint_of_missing(path: str | os.PathLike[str]) -> str:
    """Return what to do about a path that leads to nothing: it is a URL, or begins with ``~``.

    "" where the path does not tell.
    """
    # Bytes of a name that are no text are shown as C++ shows them.
    return _core.hint_of_missing(os.fspath(path).encode(errors="replace").decode())


@contextmanager
def reading(what: object) -> Iterator[None]:
    """Raise FileNotFound, which names ``what``, when the operating system does not let us read."""
    try:
        yield
    except FileNotFound:
        raise
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        hint = hint_of_missing(str(what)) if missing else ""
        raise FileNotFound(f"cannot read {what}: {hint or error.strerror or error}") from error


def read_text(path: Path) -> str:
    """Return a text file of UTF-8, without the byte order mark that editors of Windows write.

    Every reader of text that people write uses this.

    Raises:
        ValueError: It is not UTF-8.
        OSError: It cannot be read.
    """
    return path.read_text(encoding="utf-8-sig")


def write_text(target: Path, text: str) -> None:
    """Write ``text`` to ``target`` atomically, as UTF-8."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def other_content(path: Path, expected: str) -> str:
    """Say in a clause what an unexpected file is, and which command reads it; "" if not known.

    ``expected`` are the contents that it should have had: ``pdparams``, ``torch`` or ``model``.
    """
    kind = _kind(path)
    if kind in {None, expected}:
        return ""
    content, remedy = _CONTENTS[str(kind)]
    return f"it looks like {content}; {remedy}"


def _kind(path: Path) -> str | None:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
            return "torch" if any(name.endswith("/data.pkl") for name in names) else None
        with path.open("rb") as file:
            head = file.read(16)
    except (OSError, zipfile.BadZipFile):
        return None
    return next((kind for begin, kind in _BEGINNINGS.items() if head.startswith(begin)), None)


def cache_folder() -> Path:
    """Return the folder for everything that this package downloads or installs.

    It is ``lenet_cpp`` in ``XDG_CACHE_HOME``, or in ``~/.cache`` when that variable is not set or
    not an absolute path.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        base = Path.home() / ".cache"
    return base / "lenet_cpp"
