"""The benchmark: this package beside other ways to run the same network, in one run.

:func:`run_benchmark` measures, :func:`run_memory` watches resident memory, :func:`run_startup`
starts processes again and again, :func:`run_networks` measures networks with random weights,
:func:`compare_builds` compares two builds; each
returns what the command ``scripts/benchmark.py`` writes as JSON. ``docs/benchmark.md`` says how.
"""

from __future__ import annotations

from tools.benchmark.compare import (
    COMPARE_ENGINES,
    COMPARE_FORMATS,
    CompareSettings,
    compare_builds,
    compare_rows,
)
from tools.benchmark.contenders import (
    BASELINE,
    CONTENDERS,
    NETWORK_BASELINE,
    NETWORK_CONTENDERS,
    PRECISIONS,
    Contender,
    choose,
)
from tools.benchmark.measure import BATCH_SIZES, Settings, run_benchmark
from tools.benchmark.memory import MemorySettings, Series, run_memory
from tools.benchmark.networks import network_reference, run_networks
from tools.benchmark.startup import StartupSettings, run_startup

__all__ = [
    "BASELINE",
    "BATCH_SIZES",
    "COMPARE_ENGINES",
    "COMPARE_FORMATS",
    "CONTENDERS",
    "NETWORK_BASELINE",
    "NETWORK_CONTENDERS",
    "PRECISIONS",
    "CompareSettings",
    "Contender",
    "MemorySettings",
    "Series",
    "Settings",
    "StartupSettings",
    "choose",
    "compare_builds",
    "compare_rows",
    "network_reference",
    "run_benchmark",
    "run_memory",
    "run_networks",
    "run_startup",
]
