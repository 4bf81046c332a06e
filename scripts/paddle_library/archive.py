"""Safe unpacking of an archive that nobody has vouched for."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from paddle_library.failures import BAD_ARCHIVE, Failure, megabytes
from paddle_library.folder import LIBRARY, NEEDED, is_elf
from paddle_library.versions import folder_facts

# The CPU archives unpack to about 1 GB and the largest GPU ones to a few: beyond that it is a bomb.
MAX_TOTAL_BYTES = 4 << 30
# The largest member is the library itself, some hundred MB.
MAX_MEMBER_BYTES = 2 << 30
# An archive holds a few thousand headers. Folders that are only implied by a path count too.
MAX_ENTRIES = 50_000
# tarfile reads extended headers into memory and believes their size; real ones stay below 1 KiB.
MAX_HEADER_BYTES = 64 << 10
MAX_PATH_CHARS, MAX_NAME_BYTES = 1024, 255
READ_AHEAD_BYTES = 4 * tarfile.RECORDSIZE
# What tarfile, gzip and zlib raise on damaged or crafted input.
MALFORMED: tuple[type[Exception], ...] = (tarfile.TarError, gzip.BadGzipFile, zlib.error)
MALFORMED += (EOFError, ValueError, ArithmeticError, LookupError, RecursionError)


class BoundedStream:
    """The decompressed archive for tarfile, which must keep to what it was allowed to read."""

    def __init__(self, stream: gzip.GzipFile, limit: int) -> None:
        """Read from ``stream``, at most ``limit`` bytes in all."""
        self._stream, self._limit, self._budget = stream, limit, 0
        self.position = self.last_nonzero = 0

    def allow(self, count: int) -> None:
        """Let the next reads take ``count`` bytes more."""
        self._budget = count + READ_AHEAD_BYTES

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, counting what really comes."""
        data = self._stream.read(size)
        self.position += len(data)
        self._budget -= len(data)
        if self.position > self._limit:
            raise Failure(
                BAD_ARCHIVE,
                f"the archive unpacks to more than {megabytes(self._limit)}: raise --max-size if"
                " you trust it",
            )
        if self._budget < 0:
            raise Failure(BAD_ARCHIVE, "the archive has a member header of absurd size")
        used = len(data.rstrip(b"\0"))
        if used:
            self.last_nonzero = self.position - len(data) + used
        return data


class Unpacker:
    """Writes members below ``tree``; every rule is checked before anything is written."""

    def __init__(self, tree: Path, max_member: int) -> None:
        """Unpack into the empty folder ``tree``."""
        self._tree, self._max_member = tree, max_member
        self._kinds: dict[tuple[str, ...], str] = {(): "dir"}

    @staticmethod
    def refuse(name: str, why: str) -> Failure:
        """Return the Failure for a member that is not let in."""
        return Failure(BAD_ARCHIVE, f"archive member {name[:200]!r} {why}: refused")

    def _parts(self, name: str) -> tuple[str, ...]:
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        if name.startswith("/"):
            raise self.refuse(name, "has an absolute path")
        if ".." in parts:
            raise self.refuse(name, "leaves the folder by '..'")
        if not name.replace("/", "a").isprintable() or "\\" in name:
            raise self.refuse(name, "has an unprintable character in its name")
        if len(name) > MAX_PATH_CHARS or any(len(os.fsencode(p)) > MAX_NAME_BYTES for p in parts):
            raise self.refuse(name, "has an absurdly long name")
        return parts

    def _add(self, parts: tuple[str, ...], kind: str, name: str) -> Path:
        """Register an entry and make its folders, none of which may be a link."""
        for end in range(1, len(parts)):
            parent = parts[:end]
            if self._kinds.setdefault(parent, "dir") != "dir":
                raise self.refuse(name, f"goes through {'/'.join(parent)!r}, which is no folder")
            self._tree.joinpath(*parent).mkdir(exist_ok=True)
        if kind == "dir":
            if self._kinds.setdefault(parts, "dir") != "dir":
                raise self.refuse(name, "appears twice")
        elif parts in self._kinds:
            raise self.refuse(name, "appears twice")
        self._kinds[parts] = kind
        if len(self._kinds) > MAX_ENTRIES:
            raise Failure(BAD_ARCHIVE, f"the archive has more than {MAX_ENTRIES} entries: refused")
        return self._tree.joinpath(*parts)

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo, stream: BoundedStream) -> None:
        """Check one member and write it; owners, times and special mode bits are dropped."""
        name, parts = member.name, self._parts(member.name)
        if not 0 <= member.size <= self._max_member:
            raise self.refuse(name, f"says it has {member.size} bytes")
        if member.issym():
            self._check_symlink(member, parts)
        elif member.islnk():
            self._parts(member.linkname)
        elif member.issparse() or not (member.isreg() or member.isdir()):
            raise self.refuse(name, "is a device, a pipe or of another special kind")
        if hasattr(tarfile, "data_filter"):  # a second opinion; Pythons before 2023 have none
            with suppress(NotADirectoryError):  # of 3.13, which looks on disk: _add refuses it
                tarfile.data_filter(member, str(self._tree))
        if member.isdir():
            self._add(parts, "dir", name).mkdir(exist_ok=True)
        elif member.issym():
            self._add(parts, "link", name).symlink_to(member.linkname)
        elif member.islnk():
            target = self._parts(member.linkname)
            if self._kinds.get(target) != "file":
                raise self.refuse(name, "is a hard link to something that is no file before it")
            self._add(parts, "file", name).hardlink_to(self._tree.joinpath(*target))
        else:
            stream.allow(member.size)
            self._write(tar, member, self._add(parts, "file", name))

    def _check_symlink(self, member: tarfile.TarInfo, parts: tuple[str, ...]) -> None:
        """Let in only ../../x/y with no more '..' than there are real folders above the link.

        A '..' further on would be taken from wherever a link before it leads.
        """
        target = member.linkname.split("/")
        ups = next((i for i, part in enumerate(target) if part != ".."), len(target))
        if (
            member.linkname.startswith("/")
            or ups > len(parts) - 1
            or ".." in target[ups:]
            or not member.linkname.isprintable()
            or not 0 < len(member.linkname) <= MAX_PATH_CHARS
        ):
            raise self.refuse(member.name, f"is a link to {member.linkname[:200]!r}")

    @staticmethod
    def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
        mode = 0o777 if member.mode & 0o100 else 0o666
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, mode), "wb") as file:
            if (source := tar.extractfile(member)) is not None:
                shutil.copyfileobj(source, file)  # tarfile raises when it ends too soon


def unpack(archive: BinaryIO, tree: Path, max_size: int | None = None) -> None:
    """Unpack a .tgz into the empty folder ``tree`` or raise a Failure with BAD_ARCHIVE.

    ``max_size`` bounds, in bytes, the whole and each member in place of the limits above.
    """
    max_total = max_size or MAX_TOTAL_BYTES
    unpacker, end, count = Unpacker(tree, max_size or MAX_MEMBER_BYTES), 0, 0
    try:
        with gzip.GzipFile(fileobj=archive) as unzipped:
            stream = BoundedStream(unzipped, max_total)
            stream.allow(MAX_HEADER_BYTES)
            with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
                while (member := tar.next()) is not None:
                    count += 1
                    if count > MAX_ENTRIES:
                        raise Failure(BAD_ARCHIVE, f"more than {MAX_ENTRIES} members: refused")
                    unpacker.add(tar, member, stream)
                    end = member.offset_data + (member.size if member.isreg() else 0)
                    stream.allow(MAX_HEADER_BYTES)
            stream.allow(max_total)
            while stream.read(tarfile.RECORDSIZE):  # to the end, for the check sum of gzip
                pass
    except MALFORMED as error:
        raise Failure(BAD_ARCHIVE, f"not a whole .tgz archive: {error}") from error
    # tarfile takes a damaged header, or none at all, for the end of the archive.
    end += -end % tarfile.BLOCKSIZE
    if stream.last_nonzero > end or stream.position < end + tarfile.BLOCKSIZE:
        raise Failure(BAD_ARCHIVE, "not a whole .tgz archive: no proper end after the last member")


def find_top(tree: Path) -> Path:
    """Return the folder of the unpacked archive that is to become the result, checked on disk."""
    for top in (tree / "paddle_inference", tree / "paddle_inference_install_dir", tree):
        if not top.is_symlink() and all((top / name).is_file() for name in NEEDED):
            break
    else:
        raise Failure(
            BAD_ARCHIVE,
            f"the archive has no {', '.join(NEEDED)}: take the C++ archive for Linux, not the C or"
            " Windows one",
        )
    if not is_elf(top / LIBRARY):
        raise Failure(BAD_ARCHIVE, f"{LIBRARY} in the archive is not an ELF library")
    if "Source" in folder_facts(top):
        raise Failure(
            BAD_ARCHIVE, "the archive was made from a wheel: unpack it by hand and set LIB_DIR"
        )
    real = top.resolve()
    for folder, folders, files in os.walk(top):
        for entry in (Path(folder, name) for name in (*folders, *files)):
            if entry.is_symlink() and not entry.resolve().is_relative_to(real):
                raise Failure(BAD_ARCHIVE, f"link {str(entry.relative_to(top))!r} leaves the tree")
    return top
