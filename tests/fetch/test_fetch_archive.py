"""scripts/fetch_paddle_inference.py on archives: good, damaged and hostile ones."""

import gzip
import json
import os
import shutil
import stat
import tarfile
from pathlib import Path

import pytest
from paddle_archives import (
    BAD_ARCHIVE,
    ELF,
    NOISE,
    NOT_FOUND,
    TOP,
    USAGE,
    VERSION_MISMATCH,
    VERSION_TXT,
    entry,
    good_members,
    hardlink,
    sha256,
    snapshot,
    symlink,
    tar_bytes,
    tgz,
)


@pytest.mark.parametrize("top", [TOP, "paddle_inference_install_dir/", "", "./", "./" + TOP])
def test_good_archive_with_each_top_folder(clone, tmp_path, top, capsys):
    archive = tmp_path / "a.tgz"
    archive.write_bytes(tgz(top=top))
    assert clone.run("--archive", archive, "--sha256", sha256(archive.read_bytes()).upper()) == 0
    assert (clone.output / "version.txt").read_bytes() == VERSION_TXT
    assert (clone.output / "paddle/lib/libpaddle_inference.so").read_bytes() == ELF
    assert (clone.output / "paddle/include/paddle_inference_api.h").read_bytes() == b"// theirs\n"
    record = json.loads((clone.output / "source.json").read_text())
    assert record["source"] == "official"
    assert record["sha256"] == sha256(archive.read_bytes())
    assert clone.leftovers() == []
    assert stat.S_IMODE(clone.output.stat().st_mode) == 0o755
    capsys.readouterr()
    assert clone.run("--check") == 0
    assert "Paddle 3.0.0, commit 0123456789ab, official" in capsys.readouterr().out
    before = clone.output.stat().st_ino
    assert clone.run("--archive", archive) == 0
    assert "already in place" in capsys.readouterr().out
    assert clone.output.stat().st_ino == before
    assert clone.run() == 0  # the default source leaves an official folder alone
    assert clone.output.stat().st_ino == before
    assert clone.run("--archive", archive, "--force") == 0
    assert clone.output.stat().st_ino != before


def test_harmless_links_are_kept_and_special_mode_bits_dropped(clone, tmp_path):
    archive = tmp_path / "a.tgz"
    archive.write_bytes(
        tgz(
            entry(TOP + "third_party/lib/libx.so.1", b"x", mode=0o6755),
            symlink(TOP + "third_party/lib/libx.so", "libx.so.1"),
            symlink(TOP + "third_party/up", "../paddle/lib"),
            hardlink(TOP + "third_party/lib/hard.so", TOP + "third_party/lib/libx.so.1"),
            entry(TOP + "sticky", type=tarfile.DIRTYPE, mode=0o7000),
            # long enough for the extended header of either format
            entry(TOP + "third_party/" + "long/" * 40 + "name.h", b"deep"),
        )
    )
    assert clone.run("--archive", archive) == 0
    assert clone.run("--archive", archive, "--force") == 0  # "sticky" makes it no foreign folder
    third = clone.output / "third_party"
    assert (third / "lib/libx.so").readlink() == Path("libx.so.1")
    assert (third / "up/libpaddle_inference.so").read_bytes() == ELF
    assert (third / "lib/hard.so").read_bytes() == b"x"
    assert (third / ("long/" * 40) / "name.h").read_bytes() == b"deep"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((third / "lib/libx.so.1").stat().st_mode) == 0o777 & ~umask
    assert stat.S_IMODE((clone.output / "sticky").stat().st_mode) == 0o777 & ~umask


def plain(*members):
    """An archive of these members alone."""
    return gzip.compress(tar_bytes([*members], tarfile.GNU_FORMAT))


def pax(name, **headers):
    return tgz(entry(TOP + name, pax_headers=headers), tar_format=tarfile.PAX_FORMAT)


LEAVES, ABSOLUTE, KIND = "leaves the folder by '..'", "absolute path", "special kind"
SIZE, TWICE, LENGTH = "absurd size", "appears twice", "absurdly long"
NO_FOLDER, NO_FILE, NO_END = "which is no folder", "no file before it", "no proper end"
NOT_WHOLE, INCOMPLETE = "not a whole .tgz", "the archive has no"
# What is wrong: the guard that is to speak (another one in its stead would leave it untested), and
# what a good archive has beside its members, or how the archive is made, given a folder that it
# must not reach.
HOSTILE = {
    "dotdot": (LEAVES, [entry(TOP + "../../evil", b"evil")]),
    "dotdot inside": (LEAVES, [entry(TOP + "paddle/../evil", b"evil")]),
    "absolute": (ABSOLUTE, lambda out: tgz(entry(out + "/evil", b"evil"))),
    "absolute symlink": ("is a link to '/", lambda out: tgz(symlink(TOP + "link", out))),
    "symlink out of the tree": (
        "is a link to '../../../x'",
        [symlink(TOP + "paddle/link", "../../../x")],
    ),
    "symlink out of the top folder": ("leaves the tree", [symlink(TOP + "paddle/link", "../../x")]),
    "symlink through a symlink": (
        "is a link to 'a/b",
        [symlink(TOP + "a/b/c/d/up", "../../../.."), symlink(TOP + "out", "a/b/c/d/up/../../x")],
    ),
    "write through a symlink": (
        "is a link to '/",
        lambda out: tgz(symlink(TOP + "link", out), entry(TOP + "link/evil", b"evil")),
    ),
    "write through a harmless symlink": (
        NO_FOLDER,
        [symlink(TOP + "link", "paddle"), entry(TOP + "link/evil", b"evil")],
    ),
    "write onto a symlink": (
        TWICE,
        [symlink(TOP + "link", "paddle/lib/new"), entry(TOP + "link", b"evil")],
    ),
    "absolute hard link": (ABSOLUTE, lambda out: tgz(hardlink(TOP + "link", out + "/canary"))),
    "hard link by dotdot": (LEAVES, [hardlink(TOP + "link", TOP + "../../../canary")]),
    "hard link to a symlink": (
        NO_FILE,
        [symlink(TOP + "soft", "version.txt"), hardlink(TOP + "hard", TOP + "soft")],
    ),
    "hard link to nothing": (NO_FILE, [hardlink(TOP + "link", TOP + "nothing")]),
    "character device": (KIND, [entry(TOP + "null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)]),
    "block device": (KIND, [entry(TOP + "disk", type=tarfile.BLKTYPE, devmajor=8)]),
    "fifo": (KIND, [entry(TOP + "pipe", type=tarfile.FIFOTYPE)]),
    "unknown type": (KIND, [entry(TOP + "odd", b"odd", type=b"Z")]),
    "sparse": (KIND, [entry(TOP + "sparse", type=tarfile.GNUTYPE_SPARSE)]),
    "pax sparse": (
        "says it has",
        lambda _: pax("x", **{"GNU.sparse.map": "0,0", "GNU.sparse.size": "99999999999999"}),
    ),
    "pax declared size": ("says it has", lambda _: pax("big", size=str(1 << 60))),
    "absurd declared size": (
        "says it has 1125899906842624 bytes",
        [(entry(TOP + "big", size=1 << 50)[0], b"")],
    ),
    "negative size": ("says it has -1024 bytes", [(entry(TOP + "minus", size=-1024)[0], b"")]),
    "cut short member": ("unexpected end", [(entry(TOP + "short", size=1 << 20)[0], b"short")]),
    "huge extended header": (
        SIZE,
        lambda _: tgz(entry("x", b"17 path=abcdefgh\n" * 100_000, type=tarfile.XHDTYPE)),
    ),
    "huge long name": (
        SIZE,
        lambda _: tgz(entry("x", b"n" * 2_000_000, type=tarfile.GNUTYPE_LONGNAME), entry("y")),
    ),
    "nested extended headers": (SIZE, [entry("x", b"8 a=bcd\n", type=tarfile.XHDTYPE)] * 2000),
    "same file twice": (TWICE, [entry(TOP + "version.txt", b"again")]),
    "file as a folder": (NO_FOLDER, [entry(TOP + "version.txt/evil", b"evil")]),
    "file for a folder": (TWICE, [entry(TOP + "paddle", b"evil")]),
    "file for the tree itself": (TWICE, [entry(".", b"evil")]),
    "terminal escape": ("unprintable", [entry(TOP + "\x1b]0;evil\x07", b"evil")]),
    "backslash": ("unprintable", [entry(TOP + "..\\evil", b"evil")]),
    "long name": (LENGTH, [entry(TOP + "n" * 300, b"evil")]),
    "deep name": (LENGTH, [entry(TOP + "d/" * 3000 + "x", b"evil")]),
    "truncated gzip": (NOT_WHOLE, lambda _: tgz(filler=NOISE)[:200_000]),
    "gzip without its trailer": (NOT_WHOLE, lambda _: tgz(filler=NOISE)[:-8]),
    "flipped bit": (
        NOT_WHOLE,
        lambda _: (a := tgz(filler=NOISE))[:200_000] + bytes([a[200_000] ^ 1]) + a[200_001:],
    ),
    "garbage after the gzip stream": (NOT_WHOLE, lambda _: tgz() + b"garbage"),
    "no gzip": (NOT_WHOLE, lambda _: b"<html>404</html>"),
    "empty": (NOT_WHOLE, lambda _: b""),
    "tar without its end": (
        NO_END,
        lambda _: gzip.compress(gzip.decompress(tgz()).rstrip(b"\0").ljust(3 * 1024, b"\0")),
    ),
    "damaged header in the middle": (
        NO_END,
        lambda _: gzip.compress(
            gzip.decompress(tgz(entry(TOP + "zzz"), entry(TOP + "more", b"1"))).replace(
                b"zzz", b"zzy"
            )
        ),
    ),
    "empty tar": (INCOMPLETE, lambda _: gzip.compress(bytes(10240))),
    "another layout": (INCOMPLETE, lambda _: tgz(top="paddle_inference_c/")),
    "top folder is a link": (
        INCOMPLETE,
        lambda _: tgz(symlink("paddle_inference", "real"), top="real/"),
    ),
    "no version.txt": (INCOMPLETE, lambda _: plain(*good_members()[1:])),
    "library of text": (
        "not an ELF library",
        lambda _: plain(
            *good_members()[:2], entry(TOP + "paddle/lib/libpaddle_inference.so", b"text")
        ),
    ),
    "made from a wheel": (
        "made from a wheel",
        lambda _: plain(
            entry(TOP + "version.txt", b"Paddle version: 3.3.1\nSource: wheel\n"),
            *good_members()[1:],
            entry(TOP + "paddle/libs/libphi.so", ELF),
        ),
    ),
}


def hostile(name, outside):
    _, more = HOSTILE[name]
    return tgz(*more) if isinstance(more, list) else more(str(outside))


@pytest.mark.parametrize("filtered", [True, False], ids=["", "no filter"])
@pytest.mark.parametrize("name", HOSTILE)
def test_bad_archives_are_refused_and_change_nothing(
    clone, tmp_path, name, filtered, monkeypatch, capsys
):
    """Our own checks hold without tarfile's filter too, which Python 3.10.0 to 3.10.11 lack."""
    if not filtered:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_text("canary")
    (tmp_path / "canary").write_text("canary")
    good, bad = tmp_path / "good.tgz", tmp_path / "bad.tgz"
    good.write_bytes(tgz())
    bad.write_bytes(hostile(name, outside))
    assert clone.run("--archive", good) == 0
    before = snapshot(tmp_path)
    capsys.readouterr()
    assert clone.run("--archive", bad) == BAD_ARCHIVE
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "\x1b" not in error
    assert HOSTILE[name][0] in error
    assert snapshot(tmp_path) == before  # the good folder, the neighbours, and no leftovers
    assert (outside / "canary").stat().st_nlink == 1
    # and where nothing was, nothing is made
    shutil.rmtree(clone.output)
    assert clone.run("--archive", bad) == BAD_ARCHIVE
    assert list((clone.root / "third_party").iterdir()) == []


def test_bombs(clone, tmp_path, capsys):
    zeros = bytes(400_000)
    bombs = {
        "one member": tgz(entry(TOP + "zeros", bytes(3_000_000))),
        "many members": tgz(*[entry(f"{TOP}zeros{i}", zeros) for i in range(5)]),
        "after the end": gzip.compress(gzip.decompress(tgz()) + bytes(5_000_000)),
        "second gzip stream": tgz() + gzip.compress(bytes(5_000_000)),
    }
    for name, data in bombs.items():
        archive = tmp_path / "bomb.tgz"
        archive.write_bytes(data)
        assert clone.run("--archive", archive, "--max-size", "1M") == BAD_ARCHIVE, name
        assert clone.leftovers() == []
        assert not clone.output.exists()
    capsys.readouterr()
    clone.module("archive").MAX_ENTRIES = 50
    for members in (
        [entry(f"{TOP}f{i}") for i in range(60)],
        [entry(TOP + "d/" * 60 + "x")],
        [entry(TOP + "same", type=tarfile.DIRTYPE)] * 60,
    ):
        archive.write_bytes(tgz(*members))
        assert clone.run("--archive", archive) == BAD_ARCHIVE
        assert "more than 50" in capsys.readouterr().err
    archive.write_bytes(bombs["one member"])
    assert clone.run("--archive", archive) == 0  # the default limit lets it in


def test_wrong_hash_and_wrong_version(clone, tmp_path):
    archive = tmp_path / "a.tgz"
    archive.write_bytes(tgz())
    assert clone.run("--archive", archive, "--sha256", "0" * 64) == BAD_ARCHIVE
    assert clone.run("--archive", archive, "--version", "2.6.2") == VERSION_MISMATCH
    assert list((clone.root / "third_party").iterdir()) == []
    assert clone.run("--archive", archive, "--version", "3.0.0-rc0") == 0
    # a version of 60,000 digits, and one that old archives and development builds have
    for said, code in ((b"9" * 60_000, VERSION_MISMATCH), (b"0.0.0", 0), (b"", 0)):
        version = entry("version.txt", b"Paddle version: " + said)
        archive.write_bytes(plain(version, *good_members("")[1:]))
        assert clone.run("--archive", archive, "--version", "3.0.0") == code
    assert clone.run("--archive", tmp_path / "none.tgz") == NOT_FOUND


def test_what_an_archive_says_cannot_drive_the_terminal(clone, tmp_path, capsys):
    said = b"Paddle version: 3.0.0\x1b[31m\nGIT COMMIT ID: \x1b]0;evil\x07\n"
    archive = tmp_path / "a.tgz"
    archive.write_bytes(plain(entry("version.txt", said), *good_members("")[1:]))
    assert clone.run("--archive", archive, "--version", "2.6.2") == VERSION_MISMATCH
    assert "holds Paddle 3.0.0?[31m" in capsys.readouterr().err
    for arguments in (["--archive", archive], ["--archive", archive], ["--check"], []):
        assert clone.run(*arguments) == 0
        assert "Paddle 3.0.0?[31m, commit ?]0;evil?, official" in capsys.readouterr().out


def test_foreign_folder_is_never_replaced(clone, tmp_path):
    archive = tmp_path / "a.tgz"
    archive.write_bytes(tgz())
    precious = tmp_path / "home"
    for name in ("thesis.txt", "paddle/setup.py"):
        path = precious / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
        before = snapshot(precious)
        arguments = ("--archive", archive, "--output-dir", precious, "--force")
        assert clone.run(*arguments) == USAGE
        assert clone.run("--output-dir", precious, "--force") == USAGE
        assert snapshot(precious) == before
        path.unlink()
    # a link to someone's folder is replaced, what it leads to is not
    (precious / "paddle/setup.py").write_text("mine")
    before = snapshot(precious)
    clone.output.symlink_to(precious)
    assert clone.run("--archive", archive) == 0
    assert not clone.output.is_symlink()
    assert snapshot(precious) == before


def test_failing_rename_restores_the_old_folder(clone, tmp_path, monkeypatch):
    old, new = tmp_path / "old.tgz", tmp_path / "new.tgz"
    old.write_bytes(tgz())
    new.write_bytes(tgz(filler=b"new"))
    assert clone.run("--archive", old) == 0
    before = snapshot(tmp_path)
    rename = Path.rename
    for stop in (OSError(5, "Input/output error"), KeyboardInterrupt()):

        def failing(self, target, stop=stop):
            if Path(target) == clone.output and "new" in str(self):
                raise stop
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", failing)
        assert clone.run("--archive", new) in (1, 130)
        assert snapshot(tmp_path) == before
    monkeypatch.setattr(Path, "rename", rename)
    assert clone.run("--archive", new) == 0
    assert (clone.output / "paddle/lib/libpaddle_inference.so").read_bytes() == ELF + b"new"
    assert clone.leftovers() == []
