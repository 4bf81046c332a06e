"""Build the programs and the library for any Linux, in files that need no other file.

    python -m tools.musl                   for x86-64 and aarch64: build/musl-*, archives in dist/
    python -m tools.musl --arch aarch64    for one of them
    python -m tools.musl --libraries-only  what CMake's presets musl-* want beforehand

They are linked with musl by Clang of the package ziglang (pip install --group zig). It needs
dpkg-dev, libboost-dev and doctest-dev. The libraries for pictures and .yml, and zlib, are built
once from Debian's source packages (debian_libraries.py), into build/musl-ARCH-libraries.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import sys
import tarfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from lenet_cpp import __version__
from tools.debian_libraries import (
    ROOT,
    SOURCES,
    build_libraries,
    require_programs,
    run,
    sums_of,
)

ARCHITECTURES = ("x86_64", "aarch64")
PROGRAMS = ("dpkg-source", "apt-get", "cmake", "ninja")
PACKAGES = "dpkg-dev libboost-dev doctest-dev cmake ninja-build"
WEBP = (
    *("ANIM_UTILS", "CWEBP", "DWEBP", "EXTRAS"),
    *("GIF2WEBP", "IMG2WEBP", "VWEBP", "WEBPINFO", "WEBPMUX"),
)
# zlib first, which libpng needs.
LIBRARIES = {
    # Its shared library, which nobody uses, lists functions that it lacks.
    "zlib": ("-DBUILD_SHARED_LIBS=OFF", "-DCMAKE_SHARED_LINKER_FLAGS=-Wl,--undefined-version"),
    **SOURCES,
    # To link what tries an instruction set, zig would first build a C library with it.
    "libwebp": (
        "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY",
        *(f"-DWEBP_BUILD_{name}=OFF" for name in WEBP),
    ),
}


def libraries_of(arch: str) -> Path:
    """Return the folder of the libraries for a processor, as CMakePresets.json names it."""
    return ROOT / "build" / f"musl-{arch}-libraries"


def prepare(arch: str) -> None:
    """Build the libraries, and lay the headers beside them that are the same everywhere."""
    target = libraries_of(arch)
    toolchain = ROOT / "cmake" / "toolchains" / f"{arch}-linux-musl.cmake"
    python = f"-DPython3_EXECUTABLE={sys.executable}"
    build_libraries(target, toolchain, LIBRARIES, python, f"-DLENET_TARGET_LIBRARIES={target}")
    boost = Path("/usr/include/boost")
    if not boost.is_dir():
        raise SystemExit("tools.musl: no boost, for lenet_serve: apt-get install libboost-dev")
    (target / "include" / "boost").unlink(missing_ok=True)
    (target / "include" / "boost").symlink_to(boost)


def write_archive(path: Path, stage: Path) -> None:
    """Write what is installed in a folder as .tar.gz, with the sums of its files."""
    contents = {
        str(file.relative_to(stage)): file.read_bytes()
        for file in sorted(stage.rglob("*"))
        if file.is_file()
    }
    contents["SHA256SUMS"] = sums_of(contents)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    try:
        with tarfile.open(part, "w:gz") as archive:
            for name, held in contents.items():
                about = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{name}")
                about.size = len(held)
                about.mode = 0o755 if name.startswith("bin/") else 0o644
                archive.addfile(about, io.BytesIO(held))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)  # It is left when the disk is full, or after Ctrl-C.


def find_zig() -> Path:
    """Return the folder of the package ziglang. Raises SystemExit without the pinned version."""
    (pinned,) = re.findall(r'"ziglang==([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    spec = find_spec("ziglang")
    install = "pip install --group zig"
    if spec is None or spec.origin is None:
        raise SystemExit(f"tools.musl: there is no ziglang {pinned}: {install}")
    if (version := metadata.version("ziglang")) != pinned:
        # The C library of another version may give other bits.
        raise SystemExit(f"tools.musl: ziglang {version} is not ziglang {pinned}: {install}")
    return Path(spec.origin).parent


def build(arch: str, zig: Path, output_dir: Path) -> None:
    """Build all for a processor, and write its archive."""
    preset = f"musl-{arch}"
    run("cmake", "--preset", preset, f"-DPython3_EXECUTABLE={sys.executable}")
    run("cmake", "--build", "--preset", preset)
    stage = ROOT / "build" / preset / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    run("cmake", "--install", ROOT / "build" / preset, "--prefix", stage)
    licenses = stage / "share" / "doc" / "lenet" / "licenses"
    shutil.copytree(libraries_of(arch) / "licenses", licenses)
    shutil.copy(zig / "lib" / "libcxx" / "LICENSE.TXT", licenses / "libc++")
    shutil.copy(zig / "lib" / "libc" / "musl" / "COPYRIGHT", licenses / "musl")
    path = output_dir / f"lenet-{__version__}-linux-musl-{arch}.tar.gz"
    write_archive(path, stage)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def main(arguments: list[str]) -> None:
    """Run as the module's docstring says."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.musl",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--arch", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES, help="(default: both)")
    add("--libraries-only", action="store_true", help="and do not build lenet")
    add(
        "--output-dir",
        type=Path,
        default=ROOT / "dist",
        metavar="DIR",
        help="the folder of the archives (default: dist)",
    )
    options = parser.parse_args(arguments)
    require_programs(PROGRAMS, PACKAGES)
    zig = find_zig()
    os.environ["LC_ALL"] = "C.UTF-8"
    for arch in options.arch:
        prepare(arch)
        if not options.libraries_only:
            build(arch, zig, options.output_dir)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        print("tools.musl: interrupted", file=sys.stderr)
        sys.exit(130)
