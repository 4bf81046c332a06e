"""scripts/fetch_paddle_inference.py and the paddlepaddle wheel, installed or made up."""

import importlib.metadata
import importlib.util
import re
import shutil
import sys
from pathlib import Path

from paddle_archives import BAD_ARCHIVE, ELF, NOT_FOUND, PROJECT, SCRIPT, VERSION_MISMATCH, tgz

from snippets import printed_by, run_command


def fake_wheel(site, version="3.2.0", said=None):
    for name in ("base/libpaddle.so", "libs/libphi.so", "libs/libdnnl.so.3"):
        (site / "paddle" / name).parent.mkdir(parents=True, exist_ok=True)
        (site / "paddle" / name).write_bytes(ELF + name.encode())
    texts = {
        "paddle/__init__.py": "raise RuntimeError('imported')\n",
        "paddle/version/__init__.py": f"full_version     = '{said or version}'\n"
        "commit           = 'abcdef'\nwith_mkl         = 'ON'\ncuda_version     = 'False'\n",
        f"paddlepaddle-{version}.dist-info/METADATA": "Metadata-Version: 2.1\n"
        f"Name: paddlepaddle\nVersion: {version}\n",
    }
    for name, text in texts.items():
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text(text)
    return site


def test_real_wheel(tmp_path):
    """The project's own script with the installed paddlepaddle, which it must not import."""
    output = tmp_path / "paddle_inference"
    command = (sys.executable, "-X", "importtime", SCRIPT, "--output-dir", output)
    done = run_command(*command)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"\b(paddle|numpy)$", done.stderr, re.MULTILINE)
    package = Path(importlib.util.find_spec("paddle").origin).resolve().parent
    lib, include = output / "paddle/lib", output / "paddle/include"
    assert (lib / "libpaddle.so").resolve() == package / "base/libpaddle.so"
    headers = {p.relative_to(PROJECT / "cpp/compat") for p in (PROJECT / "cpp/compat").rglob("*.h")}
    assert {p.relative_to(include) for p in include.rglob("*.h")} == headers
    lines = (output / "version.txt").read_text().splitlines()
    assert f"Paddle version: {importlib.metadata.version('paddlepaddle')}" in lines
    assert {"Source: wheel", "Layout: links", "WITH_GPU: OFF", "WITH_ONEDNN: ON"} <= set(lines)
    # The dynamic linker finds the rest through the folder: libs beside lib.
    load = f"import ctypes; ctypes.CDLL({str(lib / 'libpaddle_inference.so')!r})"
    load += "; assert '/libphi_core.so' in open('/proc/self/maps').read()"
    printed_by(sys.executable, "-c", load)


def test_links_inside_the_repository_survive_a_move(clone, tmp_path):
    site = fake_wheel(clone.root / ".venv/lib/python3/site-packages")
    assert clone.run("--site-packages", site) == 0
    links = [p for p in clone.output.rglob("*") if p.is_symlink()]
    assert len(links) == 4
    assert all(p.exists() and not p.readlink().is_absolute() for p in links)
    # Those out of it are absolute.
    outside, elsewhere = fake_wheel(tmp_path / "site"), tmp_path / "elsewhere/paddle_inference"
    assert clone.run("--site-packages", outside, "--output-dir", elsewhere) == 0
    assert (elsewhere / "paddle/libs").readlink() == outside / "paddle/libs"
    header = "paddle/include/paddle_inference_api.h"
    assert (elsewhere / header).readlink() == clone.root / "cpp/compat" / Path(header).name
    moved = clone.root.rename(tmp_path / "moved")
    assert all(path.exists() for path in (moved / "third_party/paddle_inference").rglob("*"))
    command = (sys.executable, moved / "scripts" / SCRIPT.name)
    site = moved / site.relative_to(clone.root)
    assert "already in place" in printed_by(*command, "--site-packages", site)


def test_copy_stands_alone(clone, tmp_path, capsys):
    site = fake_wheel(tmp_path / "site")
    assert clone.run("--site-packages", site, "--copy") == 0
    shutil.rmtree(site)
    shutil.rmtree(clone.root / "cpp")
    links = [p for p in clone.output.rglob("*") if p.is_symlink()]
    assert links == [clone.output / "paddle/lib/libpaddle_inference.so"]
    assert links[0].read_bytes() == ELF + b"base/libpaddle.so"
    assert (clone.output / "paddle/libs/libphi.so").read_bytes() == ELF + b"libs/libphi.so"
    assert clone.run("--check") == 0
    assert "Paddle 3.2.0, commit abcdef, wheel (copy)" in capsys.readouterr().out


def test_up_to_date_folder_is_left_and_any_other_made_anew(clone, tmp_path):
    def makes_anew(site, *more):
        before = clone.output.stat().st_ino if clone.output.exists() else 0
        assert clone.run("--source", "wheel", "--site-packages", site, *more) == 0
        assert clone.run("--check") == 0
        return clone.output.stat().st_ino != before

    site, ours = fake_wheel(tmp_path / "site"), clone.root / "cpp/compat"
    assert makes_anew(site)
    assert not makes_anew(site)
    assert makes_anew(site, "--force")
    assert makes_anew(fake_wheel(tmp_path / "other", "3.3.0"))
    assert makes_anew(site, "--copy")
    assert not makes_anew(site, "--copy")
    (ours / "paddle_inference_api.h").write_text("// new\n")
    assert makes_anew(site, "--copy")
    assert (clone.output / "paddle/include/paddle_inference_api.h").read_text() == "// new\n"
    assert makes_anew(site)
    (ours / "new.h").touch()
    assert makes_anew(site)
    (ours / "new.h").unlink()
    assert makes_anew(site)
    (clone.output / "version.txt").unlink()
    assert makes_anew(site)
    assert clone.archive(tgz()) == 0
    assert makes_anew(site)
    assert clone.leftovers() == []


def test_unsupported_missing_or_damaged_wheel(clone, tmp_path, capsys):
    for version in ("2.6.2", "3.0.0", "3.4.0", "3.10.1", "no version"):
        site = fake_wheel(tmp_path / version, version)
        assert clone.run("--site-packages", site) == VERSION_MISMATCH
        (error,) = capsys.readouterr().err.splitlines()
        assert "pip install 'paddlepaddle>=3.1,<3.4'" in error.replace(f" --target {site}", "")
    assert clone.run("--site-packages", tmp_path / "none") == NOT_FOUND
    wrong = fake_wheel(tmp_path / "a", said="3.3.0")
    assert clone.run("--site-packages", wrong) == VERSION_MISMATCH
    site = fake_wheel(tmp_path / "b")
    (site / "paddle/base/libpaddle.so").unlink()
    assert clone.run("--site-packages", site) == NOT_FOUND
    assert list(clone.third_party.iterdir()) == []
    # The interpreter itself, without any site-packages.
    result = run_command(sys.executable, "-IS", clone.script)
    assert result.returncode == NOT_FOUND
    assert "not installed for this Python" in result.stderr
    for version in ("3.1", "3.3.9rc1"):
        assert clone.run("--site-packages", fake_wheel(tmp_path / version, version)) == 0


def test_check_notices_what_is_broken(clone, tmp_path, capsys):
    def check():
        code = clone.run("--check")
        assert capsys.readouterr().err.count("\n") == (code != 0)
        return code

    site = fake_wheel(tmp_path / "site")
    assert check() == NOT_FOUND
    assert clone.run("--site-packages", site) == 0
    assert check() == 0
    said = site / "paddle/version/__init__.py"
    said.write_text(said.read_text().replace("3.2.0", "3.3.0"))  # upgraded behind our back
    assert check() == VERSION_MISMATCH
    (site / "paddle/libs/libphi.so").unlink()
    assert check() == NOT_FOUND
    (site / "paddle/base/libpaddle.so").write_text("no library")
    assert check() == BAD_ARCHIVE
    shutil.rmtree(site)
    assert check() == NOT_FOUND
