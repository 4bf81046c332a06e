"""Build wheels for any Linux with glibc 2.17 or later: for people without a compiler.

    python -m tools.wheels                        for each CPython that is here, both processors
    python -m tools.wheels --arch x86_64 --python 3.11 --output-dir dist

The compiler is Clang of the package ziglang (pip install ziglang), which brings glibc's headers
and those of every processor; GCC compiles the kernels for AVX-512. Paddle's engine is left out:
its plug-in would need the C++ library of GCC. lenet_serve needs Boost's headers and, for each
processor, Debian's static zlib; what reads the .yml of toolkits needs its static libyaml.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from importlib import metadata, util
from pathlib import Path

from tools.wheels.finish import finish

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "manylinux"
GLIBC = "2.17"
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
ARCHITECTURES = tuple(DEBIAN)
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
REQUIRED = ("scikit-build-core>=0.11,<2", "pybind11>=2.13,<4", "nlohmann-json>=3.11,<4")
TOOLS = ("cmake>=3.22,<5", "ninja")
TARGETS = ("lenet", "_core", "lenet_classify", "lenet_infer_native")
OFF = ("LENET_PADDLE", "LENET_GRPC", "LENET_WEB", "LENET_IMAGE_LIBRARIES")


def run(command: list[object], log: Path, **variables: str) -> None:
    """Run a command whose output goes to a log, and end with the log's end when it fails."""
    with log.open("w") as file:
        code = subprocess.run(
            [str(part) for part in command],
            cwd=ROOT,
            env=os.environ | variables,
            stdout=file,
            stderr=file,
            check=False,
        ).returncode
    if code != 0:
        sys.exit(f"{log.read_text()[-3000:]}\nwheels: {command[0]} failed (log: {log})")


def write_compilers(arch: str) -> dict[str, str]:
    """Write the scripts that stand for compiler and archiver; return what CMake is told of them."""
    spec = util.find_spec("ziglang")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("wheels: there is no zig: pip install ziglang")
    gcc = shutil.which("g++")
    if gcc is None:
        sys.exit("wheels: there is no g++, which compiles the kernels for AVX-512")
    zig = Path(spec.submodule_search_locations[0], "zig")
    folder = WORK / arch / "tools"
    folder.mkdir(parents=True, exist_ok=True)
    template = (ROOT / "cmake" / "toolchains" / "zig.sh.in").read_text()
    words = {"GCC": gcc, "ZIG": zig, "TARGET": f"{arch}-linux-gnu.{GLIBC}", "MORE": "-Wno-error"}
    words["BOTH"] = f"-ffile-prefix-map={ROOT}=."
    for name, word in words.items():
        template = template.replace(f"@{name}@", str(word))
    scripts = {mode: template.replace("@MODE@", mode) for mode in ("cc", "c++")}
    for mode in ("ar", "ranlib"):
        scripts[mode] = f'#!/bin/sh\nexec {zig} {mode} "$@"\n'
    for name, text in scripts.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            path.chmod(0o755)
    defined = {
        "CMAKE_C_COMPILER": str(folder / "cc"),
        "CMAKE_CXX_COMPILER": str(folder / "c++"),
        "CMAKE_AR": str(folder / "ar"),
        "CMAKE_RANLIB": str(folder / "ranlib"),
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": arch,
        # The package of Python: headers of this machine would come with its C library's.
        "CMAKE_DISABLE_FIND_PACKAGE_nlohmann_json": "ON",
        # Else the path of the build folder leaves its length in what is installed.
        "CMAKE_BUILD_WITH_INSTALL_RPATH": "ON",
        # Else pybind11 links with -flto, for which zig makes another libc++.
        "CMAKE_INTERPROCEDURAL_OPTIMIZATION": "OFF",
        **dict.fromkeys(OFF, "OFF"),
    }
    defined |= find_server_libraries(arch) | find_yaml(arch)
    if arch == "x86_64":
        source = Path(__file__).with_name("cpu_model.c")
        # By its contents: with another name all that has it is linked again.
        model = folder / f"cpu_model_{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}.o"
        run([folder / "cc", "-O2", "-fPIC", "-c", source, "-o", model], folder / "log")
        for kind in ("EXE", "SHARED", "MODULE"):
            defined[f"CMAKE_{kind}_LINKER_FLAGS"] = str(model)
    return defined


def find_server_libraries(arch: str) -> dict[str, str]:
    """Return what CMake is told of the libraries of lenet_serve, and say when they are not here."""
    library = Path(f"/usr/lib/{arch}-linux-gnu/libz.a")
    package = f"libboost-dev, zlib1g-dev:{DEBIAN[arch]}"
    folder = find_headers(arch, ("boost", "zlib.h", "zconf.h"), library, "lenet_serve", package)
    if folder is None:
        return {"LENET_SERVE": "OFF"}
    return {
        "LENET_SERVE": "ON",
        "LENET_BOOST_INCLUDE_DIR": str(folder),
        "ZLIB_INCLUDE_DIR": str(folder),
        "ZLIB_LIBRARY": str(library),
    }


def find_yaml(arch: str) -> dict[str, str]:
    """Return what CMake is told of libyaml, and say when it is not here."""
    library = Path(f"/usr/lib/{arch}-linux-gnu/libyaml.a")
    package = f"libyaml-dev:{DEBIAN[arch]}"
    folder = find_headers(arch, ("yaml.h",), library, "the .yml of toolkits", package)
    found = ("", "") if folder is None else (str(folder), str(library))
    return dict(zip(("LENET_YAML_INCLUDE_DIR", "LENET_YAML_LIBRARY"), found, strict=True))


def find_headers(
    arch: str, names: tuple[str, ...], library: Path, left_out: str, package: str
) -> Path | None:
    """Return a folder with headers alone; say what is left out when they or a library are missing.

    By themselves: the other headers beside them are those of this machine's C library.
    """
    headers = [Path("/usr/include", name) for name in names]
    missing = [str(path) for path in (*headers, library) if not path.exists()]
    if missing:
        print(f"left out: {left_out} for {arch}, no {missing[0]} ({package})")
        return None
    folder = WORK / arch / "include" / library.stem
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in headers:
        (folder / path.name).symlink_to(path)
    return folder


def make_environment(version: str) -> Path | None:
    """Return the interpreter of an environment that builds; nothing without that CPython."""
    python = shutil.which(f"python{version}")
    if python is None:
        return None
    folder = WORK / f"python{version}"
    ready = folder / "ready"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        log = WORK / f"python{version}.log"
        run([python, "-m", "venv", folder], log)
        run([folder / "bin/python", "-m", "pip", "install", "-q", *REQUIRED, *TOOLS], log)
        ready.touch()
    return folder / "bin" / "python"


def build(python: Path, version: str, arch: str, defined: dict[str, str]) -> Path:
    """Build one wheel, with the objects of an earlier one of the same CPython."""
    raw = WORK / arch / f"raw{version}"
    shutil.rmtree(raw, ignore_errors=True)
    command = [python, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", raw]
    command += ["-v", f"--config-settings=build-dir={WORK / arch / 'build'}"]
    targets = (*TARGETS, "lenet_serve") if defined["LENET_SERVE"] == "ON" else TARGETS
    command += [f"--config-settings=build.targets={';'.join(targets)}"]
    command += [f"--config-settings=cmake.define.{name}={text}" for name, text in defined.items()]
    run(
        [*command, ROOT],
        WORK / arch / f"python{version}.log",
        PATH=f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        LENET_PADDLE="OFF",
        _PYTHON_HOST_PLATFORM=f"linux-{arch}",
        ZIG_GLOBAL_CACHE_DIR=str(WORK / "zig"),
        CMAKE_CXX_COMPILER_LAUNCHER="",
    )
    (wheel,) = raw.glob("*.whl")
    return wheel


def parts_of(python: Path, defined: dict[str, str]) -> dict[str, str]:
    """Return what is compiled in beside our own source, with the licence of each."""
    code = (
        "from importlib.metadata import version\n"
        "print(*(f'pypi/{name}@{version(name)}' for name in ('nlohmann-json', 'pybind11')))"
    )
    json, binding = subprocess.check_output([python, "-c", code], text=True).split()
    runtime = f"pypi/ziglang@{metadata.version('ziglang')}"  # libc++, libunwind, compiler-rt
    parts = {json: "MIT", binding: "BSD-3-Clause"}
    parts[runtime] = "MIT AND Apache-2.0 WITH LLVM-exception"
    if library := defined["LENET_YAML_LIBRARY"]:
        about = Path(library).with_name("pkgconfig") / "yaml-0.1.pc"
        (number,) = re.findall("^Version: (.+)", about.read_text(), re.MULTILINE)
        parts[f"generic/libyaml@{number}"] = "MIT"
    if defined["LENET_SERVE"] == "ON":
        folder = Path(defined["ZLIB_INCLUDE_DIR"])

        def version(header: str, macro: str) -> str:
            text = (folder / header).read_text()
            return str(re.findall(rf'#define {macro} "(.+)"', text)[0]).replace("_", ".")

        parts[f"generic/zlib@{version('zlib.h', 'ZLIB_VERSION')}"] = "Zlib"
        parts[f"generic/boost@{version('boost/version.hpp', 'BOOST_LIB_VERSION')}"] = "BSL-1.0"
    return parts


def main() -> int:
    """Build the wheels; return 1 when there is no interpreter for any."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.wheels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--arch", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES, help="(default: both)")
    add("--python", nargs="+", choices=PYTHONS, default=PYTHONS, help="(default: what is in PATH)")
    add("--output-dir", type=Path, default=ROOT / "dist", help="(default: %(default)s)")
    options = parser.parse_args()
    found = {version: make_environment(version) for version in options.python}
    pythons = {version: python for version, python in found.items() if python is not None}
    for version in found.keys() - pythons:
        print(f"left out: no python{version} in PATH")
    for arch in options.arch:
        defined = write_compilers(arch)
        for version, python in pythons.items():
            print(f"building for CPython {version}, {arch}", flush=True)
            began = time.monotonic()
            wheel = build(python, version, arch, defined)
            wheel = finish(wheel, options.output_dir, arch, GLIBC, parts_of(python, defined))
            size = wheel.stat().st_size
            print(f"  {wheel} {size:,} bytes, {time.monotonic() - began:.0f} s", flush=True)
    return 0 if pythons else 1


if __name__ == "__main__":
    sys.exit(main())
