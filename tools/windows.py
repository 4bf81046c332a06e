"""Build the programs and the library for Windows, on Debian, and put them into one zip.

    python -m tools.windows                   build/windows, and the zip in dist/
    python -m tools.windows --libraries-only  what CMake's preset windows wants beforehand

Needs g++-mingw-w64-x86-64-posix, libz-mingw-w64-dev and dpkg-dev. What reads JPEG, PNG and YAML on
Linux reads them here, so that images have the same pixels: libjpeg-turbo, libpng and libyaml are
built once, into build/windows-libraries, from Debian's source packages. apt-get downloads these
without rights: 5 MB, and a list of packages of 10 MB.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from lenet_cpp import __version__

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ROOT / "build" / "windows-libraries"
BUILD = ROOT / "build" / "windows"
TOOLCHAIN = ROOT / "cmake" / "toolchains" / "x86_64-w64-mingw32.cmake"
PACKAGES = "g++-mingw-w64-x86-64-posix libz-mingw-w64-dev dpkg-dev cmake ninja-build"
PROGRAMS = ("x86_64-w64-mingw32-g++-posix", "dpkg-source", "apt-get", "cmake", "ninja")
# By the names of Debian's source packages: how CMake builds an archive and nothing else.
SOURCES = {
    "libjpeg-turbo": ("-DENABLE_SHARED=OFF", "-DWITH_TURBOJPEG=OFF", "-DWITH_SIMD=OFF"),
    "libpng1.6": ("-DPNG_SHARED=OFF", "-DPNG_TESTS=OFF", "-DPNG_EXECUTABLES=OFF"),
    "libyaml": ("-DBUILD_SHARED_LIBS=OFF", "-DBUILD_TESTING=OFF"),
}
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


def run(*command: str | Path, folder: Path = ROOT) -> None:
    """Run a program. Raises SystemExit with its name and status when it fails."""
    status = subprocess.run([*map(str, command)], cwd=folder, check=False).returncode
    if status != 0:
        raise SystemExit(
            f"tools.windows: {' '.join(map(str, command[:3]))} ... ended with {status}"
        )


def require_programs() -> None:
    """Raise SystemExit, with the command that installs them, when programs are missing."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"tools.windows: no {', '.join(missing)}: apt-get install {PACKAGES}")


def source_lists(folder: Path) -> list[str]:
    """Return options of apt-get for the sources of the packages that this system installs."""
    folder.joinpath("lists", "partial").mkdir(parents=True, exist_ok=True)
    etc = Path("/etc/apt")
    listed = [path for path in etc.glob("sources.list*/*") if path.is_file()]
    listed += [path for path in etc.glob("sources.list") if path.is_file()]
    for name, kind, wanted in (
        ("list", ".list", r"(?m)^deb(?=\s)"),
        ("sources", ".sources", r"(?m)^Types:.*\bdeb\b.*$"),
    ):
        text = "\n\n".join(
            path.read_text() for path in listed if path.suffix == kind and path.is_file()
        )
        new = "deb-src" if name == "list" else "Types: deb-src"
        folder.joinpath(f"from.{name}").write_text(re.sub(wanted, new, text))
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": folder,
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder,
    }
    return [f"-o{name}={value}" for name, value in options.items()]


def build_libraries() -> None:
    """Build what is not built yet into LIBRARIES."""
    work = ROOT / "build" / "windows-sources"
    left = [name for name in SOURCES if not (LIBRARIES / "licenses" / name).is_file()]
    if not left:
        return
    apt = ["apt-get", "-q", *source_lists(work)]
    # Of somebody else's list it may fail: what matters is whether the sources are found.
    subprocess.run([*apt, "update"], check=False)
    suite = re.search(r"(?m)^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text())
    for name in left:
        tree = work / name
        shutil.rmtree(tree, ignore_errors=True)
        source = [*apt, "source", "--download-only", "--only-source"]
        newest = subprocess.run([*source, name], cwd=work, check=False)
        if newest.returncode != 0 and suite:  # a mirror may not have the newest yet, or any more
            run(*source, f"--target-release={suite[1]}", name, folder=work)
        (description,) = work.glob(f"{name}_*.dsc")
        run("dpkg-source", "--no-check", "-x", description, tree, folder=work)
        options = (f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN}", "-DCMAKE_BUILD_TYPE=Release")
        # CMake 4 refuses what says that it is for versions before 3.5, as two of them do.
        policy = "-DCMAKE_POLICY_VERSION_MINIMUM=3.5"
        place = f"-DCMAKE_INSTALL_PREFIX={LIBRARIES}"
        build = tree / "build"
        run("cmake", "-S", tree, "-B", build, "-GNinja", *options, policy, place, *SOURCES[name])
        run("cmake", "--build", build, "--target", "install")
        (LIBRARIES / "licenses").mkdir(exist_ok=True)
        shutil.copy(tree / "debian" / "copyright", LIBRARIES / "licenses" / name)


def write_zip(path: Path) -> None:
    """Write all files of a release for Windows, the same bytes for the same files."""
    licenses = {path.name: path for path in (LIBRARIES / "licenses").iterdir()}
    licenses |= {name: Path(path) for name, path in LICENSES.items()}
    files = FILES | {f"licenses/{name}.txt": path for name, path in sorted(licenses.items())}
    contents = {name: file.read_bytes() for name, file in files.items()}
    sums = (f"{hashlib.sha256(held).hexdigest()}  {name}\n" for name, held in contents.items())
    contents["SHA256SUMS"] = "".join(sums).encode()
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
    require_programs()
    os.environ["LC_ALL"] = "C.UTF-8"
    build_libraries()
    if options.libraries_only:
        return
    run("cmake", "--preset", "windows", f"-DPython3_EXECUTABLE={sys.executable}")
    run("cmake", "--build", "--preset", "windows")
    path = options.output_dir / f"lenet-{__version__}-windows-x86_64.zip"
    write_zip(path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
