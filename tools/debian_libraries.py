"""Build libraries from Debian's source packages, as archives for another system.

So tools/windows.py and tools/musl.py get what reads JPEG, PNG and YAML on Linux, and images have
the same pixels there. apt-get downloads the sources without rights: a few MB, and a list of
packages of 10 MB.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# These options of CMake, by the names of Debian's source packages, build an archive alone.
SOURCES = {
    "libjpeg-turbo": ("-DENABLE_SHARED=OFF", "-DWITH_TURBOJPEG=OFF", "-DWITH_SIMD=OFF"),
    "libpng1.6": ("-DPNG_SHARED=OFF", "-DPNG_TESTS=OFF", "-DPNG_EXECUTABLES=OFF"),
    "libyaml": ("-DBUILD_SHARED_LIBS=OFF", "-DBUILD_TESTING=OFF"),
}


def run(*command: str | Path, folder: Path = ROOT) -> None:
    """Run a program. Raises SystemExit with its name and status when it fails."""
    status = subprocess.run([*map(str, command)], cwd=folder, check=False).returncode
    if status != 0:
        raise SystemExit(f"{' '.join(map(str, command[:3]))} ... ended with {status}")


def require_programs(programs: tuple[str, ...], packages: str) -> None:
    """Raise SystemExit, with the command that installs them, when programs are missing."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"there is no {', '.join(missing)}: apt-get install {packages}")


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


def build_libraries(
    target: Path, toolchain: Path, sources: dict[str, tuple[str, ...]], *more: str
) -> None:
    """Build what is not built yet into a folder.

    Args:
        target: The prefix, with the licence of each library in ``licenses``.
        toolchain: The toolchain file of CMake.
        sources: Options of CMake by the names of source packages, the needed ones first.
        more: Options of CMake for all of them.
    """
    work = ROOT / "build" / "library-sources"
    left = [name for name in sources if not (target / "licenses" / name).is_file()]
    if not left:
        return
    apt = ["apt-get", "-q", *source_lists(work)]
    # The update may fail for a list of another supplier; it matters only whether sources are found.
    subprocess.run([*apt, "update"], check=False)
    suite = re.search(r"(?m)^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text())
    for name in left:
        tree = work / name
        shutil.rmtree(tree, ignore_errors=True)
        for old in work.glob(f"{name}_*"):  # An older version may lie there.
            old.unlink()
        source = [*apt, "source", "--download-only", "--only-source"]
        newest = subprocess.run([*source, name], cwd=work, check=False)
        if newest.returncode != 0 and suite:  # a mirror may not have the newest yet, or any more
            run(*source, f"--target-release={suite[1]}", name, folder=work)
        (description,) = work.glob(f"{name}_*.dsc")
        run("dpkg-source", "--no-check", "-x", description, tree, folder=work)
        if (
            name == "zlib"
        ):  # a file of Windows, which Debian leaves out and CMake looks for everywhere
            (tree / "win32").mkdir(exist_ok=True)
            (tree / "win32" / "zlib1.rc").touch()
        options = (f"-DCMAKE_TOOLCHAIN_FILE={toolchain}", "-DCMAKE_BUILD_TYPE=Release", *more)
        # CMake 4 refuses what says that it is for versions before 3.5, as two of them do.
        policy = "-DCMAKE_POLICY_VERSION_MINIMUM=3.5"
        place = f"-DCMAKE_INSTALL_PREFIX={target}"
        build = tree / "build"
        run("cmake", "-S", tree, "-B", build, "-GNinja", *options, policy, place, *sources[name])
        run("cmake", "--build", build, "--target", "install")
        (target / "licenses").mkdir(exist_ok=True)
        shutil.copy(tree / "debian" / "copyright", target / "licenses" / name)


def sums_of(contents: dict[str, bytes]) -> bytes:
    """Return the text of SHA256SUMS for files by their names."""
    sums = (f"{hashlib.sha256(held).hexdigest()}  {name}\n" for name, held in contents.items())
    return "".join(sums).encode()
