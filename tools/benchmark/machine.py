"""The machine and what is installed on it, as the kernel and the packages say."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lenet_cpp
from lenet_cpp.errors import BackendFailure, FileNotFound
from tools.benchmark.contenders import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tools.benchmark.contenders import Contender

__all__ = [
    "contender_bytes",
    "describe_machine",
    "folder_size",
    "installed_size",
    "load_average",
    "multiply_add_limit",
    "package_closure",
    "versions",
]

# Those that the engines choose their kernels by.
_FLAGS = re.compile(r"^(sse4_2|avx\w*|fma|f16c|amx\w*)$")
_VERSIONED = (
    "lenet-cpp",
    "paddlepaddle",
    "numpy",
    "onnxruntime",
    "openvino",
    "ai-edge-litert",
    "onnx",
)


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def load_average() -> float:
    """Processes that wanted a processor in the last minute, on average."""
    return os.getloadavg()[0]


def describe_machine() -> dict[str, object]:
    """Describe processor, memory, kernel and Python; None for what cannot be read."""
    cpu: dict[str, str] = {}
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        cpu.setdefault(key.strip(), value.strip())
    frequency = "/sys/devices/system/cpu/cpu0/cpufreq/"
    most = _read(frequency + "cpuinfo_max_freq")
    memory = re.search(r"^MemTotal:\s+(\d+)", _read("/proc/meminfo") or "", re.M)
    return {
        "cpu": cpu.get("model name"),
        "family_model_stepping": [cpu.get(key) for key in ("cpu family", "model", "stepping")],
        "flags": [flag for flag in cpu.get("flags", "").split() if _FLAGS.match(flag)],
        "mhz": float(cpu["cpu MHz"]) if "cpu MHz" in cpu else None,
        "max_mhz": int(most) / 1000 if most else None,
        "governor": _read(frequency + "scaling_governor"),
        "virtual": "hypervisor" in cpu.get("flags", "").split(),
        "processors": os.cpu_count(),
        "usable_processors": len(os.sched_getaffinity(0)),
        "cache": cpu.get("cache size"),
        "memory_mb": int(memory[1]) // 1024 if memory else None,
        "load_average": load_average(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _distribution(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


def versions(names: Iterable[str] = _VERSIONED) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = ((name, _distribution(name)) for name in names)
    return {name: package.version for name, package in found if package is not None}


def package_closure(names: Sequence[str]) -> list[str]:
    """Return the installed packages among these and all that they require, without extras."""
    found: dict[str, metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        package = None if name in found else _distribution(name)
        if package is None:
            continue
        found[name] = package
        for requirement in package.requires or []:
            match = re.match(r"[A-Za-z0-9._-]+", requirement)
            if match and "extra" not in requirement.partition(";")[2]:
                waiting.append(match[0])
    return sorted(found)


def installed_size(names: Sequence[str]) -> int:
    """Return the bytes on disk of these packages and all that they require."""
    total = 0
    for name in package_closure(names):
        files = metadata.distribution(name).files or []
        total += sum(_size(Path(str(file.locate()))) for file in files)
    return total


def folder_size(paths: Iterable[Path]) -> int:
    """Return the bytes on disk of these files, and of all files in these folders."""
    total = 0
    for path in paths:
        files = path.rglob("*") if path.is_dir() else [path]
        total += sum(_size(file) for file in files)
    return total


def contender_bytes(contender: Contender, program: Path) -> int:
    """Return the bytes on disk of a contender and all that it requires.

    Args:
        contender: Which.
        program: The C++ program, whose libraries lie beside it.
    """
    if contender.factory == PROGRAM:
        library = _paddle_libraries()
        return folder_size([program, *program.parent.glob("liblenet*.so"), *library])
    size = installed_size(contender.packages)
    if contender.group == "lenet_cpp" and "lenet-cpp" not in versions():
        size += folder_size([Path(lenet_cpp.__file__).parent])  # used in place
    return size


def _paddle_libraries() -> list[Path]:
    """What of the paddlepaddle package the program needs."""
    spec = find_spec("paddle")
    if spec is None or spec.origin is None:
        return []
    paddle = Path(spec.origin).parent
    return [paddle / "base" / "libpaddle.so", paddle / "libs"]


def _size(path: Path) -> int:
    # Compiled bytecode comes with use, not with installation.
    if path.suffix == ".pyc" or not path.is_file():
        return 0
    return path.stat().st_size


def multiply_add_limit(program: Path, threads: int, seconds: float) -> dict[str, Any]:
    """Measure the machine's single-precision multiply-adds a second.

    Args:
        program: The C++ program; ``multiply_add_limit`` lies beside it.
        threads: How many at once.
        seconds: How long.

    Returns:
        ``instructions``, ``threads``, ``multiply_adds_per_second``.

    Raises:
        FileNotFound: It has not been built.
        BackendFailure: It failed.
    """
    path = program.with_name("multiply_add_limit")
    command = [str(path), f"--threads={threads}", f"--seconds={seconds}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise FileNotFound(f"there is no {path}: build it with ./run.sh") from error
    except (OSError, subprocess.CalledProcessError) as error:
        raise BackendFailure(f"{path} failed: {error}") from error
    result: dict[str, Any] = json.loads(done.stdout)
    return result
