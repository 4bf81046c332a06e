"""A small clone to run the fetching script in, and archives, good and bad, to run it on."""

import gzip
import hashlib
import importlib.util
import io
import shutil
import sys
import tarfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SCRIPT = PROJECT / "scripts/fetch_paddle_inference.py"
PACKAGE = "paddle_library"
USAGE, NOT_FOUND, BAD_ARCHIVE, VERSION_MISMATCH, DOWNLOAD_FAILED = 2, 3, 4, 7, 8

ELF = b"\x7fELF" + bytes(60)
TOP = "paddle_inference/"
VERSION_TXT = b"Paddle version: 3.0.0\nGIT COMMIT ID: 0123456789abcdef\nWITH_GPU: OFF\n"
NOISE = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(12_500))  # 400 kB


class Clone:
    """A copy of the script in a repository of its own, so that the real one stays as it is."""

    def __init__(self, root, monkeypatch):
        self.root, self.third_party = root, root / "third_party"
        self.script = root / "scripts" / SCRIPT.name
        self.output = root / "third_party/paddle_inference"
        for folder in (root / "scripts", root / "cpp/compat", root / "third_party"):
            folder.mkdir(parents=True)
        shutil.copy(SCRIPT, self.script)
        shutil.copytree(SCRIPT.parent / PACKAGE, self.script.parent / PACKAGE)
        shutil.copy(PROJECT / "pyproject.toml", root)
        (root / "cpp/compat/paddle_inference_api.h").write_text("// ours\n")
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        monkeypatch.setattr(sys, "path", sys.path[:])  # where the script puts its folder
        for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
            monkeypatch.delitem(sys.modules, name)
        spec = importlib.util.spec_from_file_location("fetch_under_test", self.script)
        self.command = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.command)

    def module(self, name):
        """A module of the clone's own package."""
        return sys.modules[f"{PACKAGE}.{name}"]

    def run(self, *arguments):
        try:
            return int(self.command.main([str(a) for a in arguments]))
        except SystemExit as stop:  # argparse
            return int(stop.code or 0)

    def archive(self, data, *arguments):
        """Take an archive of these bytes."""
        archive = self.root.with_name("a.tgz")
        archive.write_bytes(data)
        return self.run("--archive", archive, *arguments)

    def library(self):
        return (self.output / "paddle/lib/libpaddle_inference.so").read_bytes()

    def leftovers(self):
        return [p.name for p in self.third_party.iterdir() if p != self.output]


def snapshot(folder):
    """Every path below ``folder`` with its mode and content or link target."""

    def content(path):
        return str(path.readlink()) if path.is_symlink() else path.is_file() and path.read_bytes()

    return {path: (path.lstat().st_mode, content(path)) for path in sorted(folder.rglob("*"))}


def entry(name, data=b"", *, top=TOP, **fields):
    """A member of the top folder."""
    info = tarfile.TarInfo(top + name)
    for key, value in ({"size": len(data)} | fields).items():
        setattr(info, key, value)
    return info, data


def symlink(name, target, **more):
    return entry(name, type=tarfile.SYMTYPE, linkname=target, **more)


def hardlink(name, target):
    return entry(name, type=tarfile.LNKTYPE, linkname=target)


def plain(*members):
    """An archive of these members alone."""
    return gzip.compress(tar_bytes(members, tarfile.GNU_FORMAT), mtime=0)


def good_members(top=TOP, filler=b""):
    return [
        entry("version.txt", VERSION_TXT, top=top),
        entry("paddle/include/paddle_inference_api.h", b"// theirs\n", top=top),
        entry("paddle/lib/libpaddle_inference.so", ELF + filler, top=top, mode=0o755),
    ]


def tar_bytes(members, tar_format):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        for info, data in members:
            # Not addfile(), which would look at info.size: a hostile header may say anything.
            buffer.write(info.tobuf(tar_format, errors="surrogateescape"))
            buffer.write(data + bytes(-len(data) % 512))
            tar.offset = buffer.tell()
    return buffer.getvalue()


def tgz(*extra, top=TOP, filler=b"", tar_format=tarfile.GNU_FORMAT):
    return gzip.compress(tar_bytes([*good_members(top, filler), *extra], tar_format), mtime=0)


def sha256(data):
    return hashlib.sha256(data).hexdigest()
