"""The machine and what is installed on it, as the kernel and the packages say."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from datetime import datetime, timezone
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lenet_cpp.quantize.environments import Environment

# Those that the engines choose their kernels by.
_FLAGS = re.compile(r"^(sse4_2|avx\w*|fma|f16c|amx\w*)$")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_ENGINES = ("paddlepaddle", "onnxruntime", "openvino", "ai-edge-litert")
_VERSIONED = ("lenet-cpp", *_ENGINES, "numpy", "onnx")


def describe(
    settings: object, *packages: str, environments: Iterable[Environment] = ()
) -> dict[str, Any]:
    """Return what every result begins with.

    Its versions are also those of ``packages``, and of the environments that are there.
    """
    cpu, governor = processor(), "not readable"
    with suppress(OSError):
        governor = _GOVERNOR.read_text(encoding="utf-8").strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    family = ("cpu family", "model", "stepping")
    machine = {
        "processor": f"{cpu.get('model name')}, {len(os.sched_getaffinity(0))} usable processors",
        "family, model, stepping": ", ".join(cpu.get(key, "-") for key in family),
        "clock": f"{cpu.get('cpu MHz', '-')} MHz, as the kernel says",
        "governor": governor,
        "flags": " ".join(flag for flag in cpu.get("flags", "").split() if _FLAGS.match(flag)),
        "memory": f"{memory >> 20:,} MB",
        "virtual machine": "yes" if "hypervisor" in processor_flags() else "no",
        "kernel": f"{platform.system()} {platform.release()}",
        "load average": f"{os.getloadavg()[0]:.2f}",
        "Python": platform.python_version(),
    }
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    found = {}
    for name in (*_VERSIONED, *packages):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    for one in environments:
        pinned = one.requirements if one.find() else ()
        found |= dict(pin.split("==") for pin in pinned if "==" in pin)
    chosen = {k: v.name if isinstance(v, Path) else v for k, v in vars(settings).items()}
    return {"date": date, "machine": machine, "versions": found, "settings": chosen}


@cache
def processor() -> dict[str, str]:
    """Return what the kernel says of the first processor."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    return dict(re.findall(r"^(.*?)\s*: (.*)$", text, re.MULTILINE))


def processor_flags() -> frozenset[str]:
    """Return the instruction sets that the kernel names."""
    return frozenset(processor().get("flags", "").split())
