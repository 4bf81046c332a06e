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
    TOP,
    USAGE,
    VERSION_MISMATCH,
    entry,
    good_members,
    hardlink,
    plain,
    sha256,
    snapshot,
    symlink,
    tgz,
)


@pytest.mark.parametrize("top", [TOP, "paddle_inference_install_dir/", "./"])
def test_good_archive_with_each_top_folder(clone, top, capsys):
    archive = tgz(top=top)
    assert clone.archive(archive, "--sha256", sha256(archive).upper()) == 0
    assert clone.library() == ELF
    assert (clone.output / "paddle/include/paddle_inference_api.h").read_bytes() == b"// theirs\n"
    record = json.loads((clone.output / "source.json").read_text())
    assert (record["source"], record["sha256"]) == ("official", sha256(archive))
    assert clone.leftovers() == []
    assert stat.S_IMODE(clone.output.stat().st_mode) == 0o755
    assert clone.run("--check") == 0
    assert "Paddle 3.0.0, commit 0123456789ab, official" in capsys.readouterr().out
    before = clone.output.stat().st_ino
    assert clone.archive(archive) == clone.run() == 0  # it is in place
    assert clone.output.stat().st_ino == before
    assert clone.archive(archive, "--force") == 0
    assert clone.output.stat().st_ino != before


def test_harmless_links_are_kept_and_special_mode_bits_dropped(clone):
    # The last name is long enough for the extended header of either format.
    archive = tgz(
        entry("third_party/lib/libx.so.1", b"x", mode=0o6755),
        symlink("third_party/up", "../paddle/lib"),
        hardlink("third_party/hard.so", TOP + "third_party/lib/libx.so.1"),
        entry("third_party/" + "long/" * 40 + "name.h", b"deep"),
    )
    assert clone.archive(archive) == 0
    third = clone.output / "third_party"
    assert (third / "up/libpaddle_inference.so").read_bytes() == ELF
    assert (third / "hard.so").read_bytes() == b"x"
    assert (third / ("long/" * 40) / "name.h").read_bytes() == b"deep"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((third / "lib/libx.so.1").stat().st_mode) == 0o777 & ~umask


def rezipped(change, *members):
    return gzip.compress(change(gzip.decompress(tgz(*members))))


LEAVES, ABSOLUTE, KIND = "leaves the folder by '..'", "absolute path", "special kind"
SIZE, TWICE, LENGTH = "absurd size", "appears twice", "absurdly long"
NO_FOLDER, NO_FILE, NO_END = "which is no folder", "no file before it", "no proper end"
MINUS = "says it has -1024 bytes|" + NO_END  # some versions of tarfile take it for the end
NOT_WHOLE, INCOMPLETE, LINK = "not a whole .tgz", "the archive has no", "is a link to "
EVIL = b"evil"
GOOD = tgz(filler=NOISE)
FLIPPED = GOOD[:200_000] + bytes([GOOD[200_000] ^ 1]) + GOOD[200_001:]
TEXT = entry("paddle/lib/libpaddle_inference.so", b"text")
OF_A_WHEEL = entry("version.txt", b"Paddle version: 3.3.1\nSource: wheel\n")
WHEEL = plain(OF_A_WHEEL, *good_members()[1:], entry("paddle/libs/libphi.so", ELF))
# What is wrong, for each guard: the guard that is to speak (another one in its stead would leave it
# untested), and what a good archive has beside its members, or the archive; for two of them given a
# folder that they must not reach.
HOSTILE = {
    "dotdot": (LEAVES, [entry("../../evil", EVIL)]),
    "absolute": (ABSOLUTE, lambda out: [entry("/evil", EVIL, top=out)]),
    "absolute symlink": (LINK + "'/", lambda out: [symlink("link", out)]),
    "symlink out of the tree": (LINK + "'../../../x'", [symlink("paddle/link", "../../../x")]),
    "symlink out of the top folder": ("leaves the tree", [symlink("paddle/link", "../../x")]),
    "symlink with a later dotdot": (LINK + "'a/b", [symlink("out", "a/b/../../x")]),
    "write through a symlink": (NO_FOLDER, [symlink("link", "paddle"), entry("link/evil", EVIL)]),
    "write onto a symlink": (TWICE, [symlink("link", "paddle/lib/new"), entry("link", EVIL)]),
    "hard link by dotdot": (LEAVES, [hardlink("link", TOP + "../../../canary")]),
    "hard link to a symlink": (NO_FILE, [symlink("soft", "x"), hardlink("hard", TOP + "soft")]),
    "character device": (KIND, [entry("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)]),
    "sparse": (KIND, [entry("sparse", type=tarfile.GNUTYPE_SPARSE)]),
    "absurd declared size": ("says it has 1125899906842624 bytes", [entry("big", size=1 << 50)]),
    "negative size": (MINUS, [entry("minus", size=-1024)]),
    "huge extended header": (
        SIZE,
        [entry("x", b"17 path=abcdefgh\n" * 100_000, type=tarfile.XHDTYPE)],
    ),
    "file for the tree itself": (TWICE, [entry(".", EVIL, top="")]),
    "terminal escape": ("unprintable", [entry("\x1b]0;evil\x07", EVIL)]),
    "backslash": ("unprintable", [entry("..\\evil", EVIL)]),
    "long name": (LENGTH, [entry("n" * 300, EVIL)]),
    "deep name": (LENGTH, [entry("d/" * 3000 + "x", EVIL)]),
    "gzip without its trailer": (NOT_WHOLE, GOOD[:-8]),
    "flipped bit": (NOT_WHOLE, FLIPPED),
    "no gzip": (NOT_WHOLE, b"<html>404</html>"),
    "tar without its end": (NO_END, rezipped(lambda tar: tar.rstrip(b"\0").ljust(3072, b"\0"))),
    "damaged header in the middle": (
        NO_END,
        rezipped(lambda tar: tar.replace(b"zzz", b"zzy"), entry("zzz"), entry("m", b"1")),
    ),
    "another layout": (INCOMPLETE, tgz(top="paddle_inference_c/")),
    "top folder is a link": (
        INCOMPLETE,
        tgz(symlink("paddle_inference", "real", top=""), top="real/"),
    ),
    "library of text": ("not an ELF library", plain(*good_members()[:2], TEXT)),
    "made from a wheel": ("made from a wheel", WHEEL),
}


@pytest.mark.parametrize("filtered", [True, False], ids=["", "no filter"])
@pytest.mark.parametrize(("guard", "made"), HOSTILE.values(), ids=HOSTILE)
def test_bad_archives_are_refused_and_change_nothing(
    clone, tmp_path, guard, made, filtered, monkeypatch, capsys
):
    """Our own checks hold without tarfile's filter too, which Python 3.10.0 to 3.10.11 lack."""
    if not filtered:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    outside = tmp_path / "outside"
    outside.mkdir()
    for folder in (outside, tmp_path):
        (folder / "canary").write_text("canary")
    bad = tmp_path / "bad.tgz"
    made = made(str(outside)) if callable(made) else made
    bad.write_bytes(tgz(*made) if isinstance(made, list) else made)
    assert clone.archive(tgz()) == 0
    before = snapshot(tmp_path)
    capsys.readouterr()
    assert clone.run("--archive", bad) == BAD_ARCHIVE
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "\x1b" not in error
    assert any(each in error for each in guard.split("|"))
    assert snapshot(tmp_path) == before  # the good folder, the neighbours, and no leftovers
    assert (outside / "canary").stat().st_nlink == 1
    # and where nothing was, nothing is made
    shutil.rmtree(clone.output)
    assert clone.run("--archive", bad) == BAD_ARCHIVE
    assert list(clone.third_party.iterdir()) == []


def test_bombs(clone):
    for data in (
        tgz(*[entry(f"zeros{i}", bytes(400_000)) for i in range(5)]),
        rezipped(lambda tar: tar + bytes(5_000_000)),
        tgz() + gzip.compress(bytes(5_000_000)),  # a second stream
    ):
        assert clone.archive(data, "--max-size", "1M") == BAD_ARCHIVE
    clone.module("archive").MAX_ENTRIES = 50
    for members in ([entry(f"f{i}") for i in range(60)], [entry("d/" * 60 + "x")]):
        assert clone.archive(tgz(*members)) == BAD_ARCHIVE
    assert list(clone.third_party.iterdir()) == []


def test_wrong_hash_and_wrong_version(clone, capsys):
    assert clone.archive(tgz(), "--sha256", "0" * 64) == BAD_ARCHIVE
    assert clone.archive(tgz(), "--version", "2.6.2") == VERSION_MISMATCH
    assert list(clone.third_party.iterdir()) == []
    assert clone.archive(tgz(), "--version", "3.0.0-rc0") == 0
    # Old archives and development builds say 0.0.0, or nothing. Nothing drives the terminal.
    for said, code in (
        (b"9" * 60_000, VERSION_MISMATCH),
        (b"0.0.0", 0),
        (b"", 0),
        (b"3.0.0\x1b[31m", 0),
    ):
        data = plain(entry("version.txt", b"Paddle version: " + said), *good_members()[1:])
        assert clone.archive(data, "--version", "3.0.0") == code
    assert clone.run("--check") == 0
    assert "Paddle 3.0.0?[31m, commit unknown, official" in capsys.readouterr().out


def test_foreign_folder_is_never_replaced(clone, tmp_path):
    precious = tmp_path / "home"
    (precious / "paddle").mkdir(parents=True)
    for path in (precious / "thesis.txt", precious / "paddle/setup.py"):
        path.write_text("mine")
        before = snapshot(precious)
        assert clone.archive(tgz(), "--output-dir", precious, "--force") == USAGE
        assert clone.run("--output-dir", precious, "--force") == USAGE
        # a link to someone's folder is replaced, what it leads to is not
        clone.output.symlink_to(precious)
        assert clone.archive(tgz()) == 0
        assert not clone.output.is_symlink()
        assert snapshot(precious) == before
        path.unlink()
        shutil.rmtree(clone.output)


def test_failing_rename_restores_the_old_folder(clone, monkeypatch):
    assert clone.archive(tgz()) == 0
    before = snapshot(clone.root)
    rename = Path.rename

    def failing(self, target):
        if Path(target) == clone.output and "new" in str(self):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    assert clone.archive(tgz(filler=b"new")) == 130
    assert snapshot(clone.root) == before
    monkeypatch.setattr(Path, "rename", rename)
    assert clone.archive(tgz(filler=b"new")) == 0
    assert clone.library() == ELF + b"new"
    assert clone.leftovers() == []
