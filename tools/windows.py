"""Build the programs and the library for Windows, on Debian, and put them into one zip.

    python -m tools.windows                   build/windows, and the zip in dist/
    python -m tools.windows --libraries-only  what CMake's preset windows wants beforehand

Needs g++-mingw-w64-x86-64-posix, libz-mingw-w64-dev and dpkg-dev. What reads JPEG, PNG and YAML on
Linux reads them here, so that images have the same pixels: libjpeg-turbo, libpng and libyaml are
built once, into build/windows-libraries, from Debian's source packages (debian_libraries.py).
"""

from __future__ import annotations

import argparse
import os
import sys
import zipfile
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

LIBRARIES = ROOT / "build" / "windows-libraries"
BUILD = ROOT / "build" / "windows"
TOOLCHAIN = ROOT / "cmake" / "toolchains" / "x86_64-w64-mingw32.cmake"
PACKAGES = "g++-mingw-w64-x86-64-posix libz-mingw-w64-dev dpkg-dev cmake ninja-build"
PROGRAMS = ("x86_64-w64-mingw32-g++-posix", "dpkg-source", "apt-get", "cmake", "ninja")
FILES = {
    "lenet.dll": BUILD / "lenet.dll",
    "lib/lenet.lib": BUILD / "lenet.lib",
    "lenet_classify.exe": BUILD / "lenet_classify.exe",
    "lenet_infer_native.exe": BUILD / "lenet_infer_native.exe",
    "include/lenet/c_api.h": ROOT / "cpp/include/lenet/c_api.h",
    "include/lenet/export.h": ROOT / "cpp/include/lenet/export.h",
    "example/classify.c": ROOT / "examples/c_consumer/classify.c",
    "example/Lenet.cs": ROOT / "examples/csharp/Lenet.cs",
    "example/classify.csproj": ROOT / "examples/csharp/classify.csproj",
    "README.md": ROOT / "docs/windows.md",
    "LICENSE": ROOT / "LICENSE",
}
LICENSES = {
    "gcc": "/usr/share/doc/gcc-mingw-w64-base/copyright",
    "mingw-w64": "/usr/share/doc/mingw-w64-x86-64-dev/copyright",
    "zlib": "/usr/share/doc/libz-mingw-w64-dev/copyright",
}


def write_zip(path: Path) -> None:
    """Write all files of a release for Windows, the same bytes for the same files."""
    licenses = {path.name: path for path in (LIBRARIES / "licenses").iterdir()}
    licenses |= {name: Path(path) for name, path in LICENSES.items()}
    files = FILES | {f"licenses/{name}.txt": path for name, path in sorted(licenses.items())}
    contents = {name: file.read_bytes() for name, file in files.items()}
    contents["SHA256SUMS"] = sums_of(contents)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, held in contents.items():
            about = zipfile.ZipInfo(f"{path.stem}/{name}")
            archive.writestr(about, held, zipfile.ZIP_DEFLATED)
    part.replace(path)


def main(arguments: list[str]) -> None:
    """Run as the module's docstring says."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.windows",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--libraries-only", action="store_true", help="and do not build lenet")
    parser.add_argument("--output-dir", type=Path, default=ROOT / "dist", help="of the zip")
    options = parser.parse_args(arguments)
    require_programs(PROGRAMS, PACKAGES)
    os.environ["LC_ALL"] = "C.UTF-8"
    build_libraries(LIBRARIES, TOOLCHAIN, SOURCES)
    if options.libraries_only:
        return
    run("cmake", "--preset", "windows", f"-DPython3_EXECUTABLE={sys.executable}")
    run("cmake", "--build", "--preset", "windows")
    path = options.output_dir / f"lenet-{__version__}-windows-x86_64.zip"
    write_zip(path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
