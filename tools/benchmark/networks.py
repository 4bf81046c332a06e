"""The benchmark of other networks than LeNet, with random weights."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp.models import get
from tools.benchmark.making import call_maker
from tools.benchmark.measure import run_benchmark
from tools.benchmark.tables import limits_text, machine_text, measured_parts
from tools.benchmark.text import NONE, joined, number, percent, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.benchmark.contenders import Contender
    from tools.benchmark.measure import Settings

__all__ = ["network_reference", "networks_text", "run_networks"]

_NATIVE = "lenet_cpp/native"
_AUTO = "lenet_cpp/auto"


def network_reference(network: str, img_size: int | None = None) -> str:
    """Return what builds a network, as any folder understands it.

    Args:
        network: A name in the registry, in upper or lower case, or ``FILE.py:SPEC``.
        img_size: Height and width of the images; that of the network when None.

    Raises:
        BadInput: There is no such name, or that network does not take such images.
    """
    file, colon, attribute = network.rpartition(":")
    if colon:
        return f"{Path(file).absolute()}:{attribute}"
    spec = get(network)
    spec.shape(img_size)
    return spec.name


def run_networks(
    networks: Sequence[str],
    settings: Settings,
    contenders: Sequence[Contender],
    *,
    img_size: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Export networks with random weights and measure each, as :func:`run_benchmark` does.

    The weights come from a seed, and are the same on every machine. What is exported goes into a
    temporary folder.

    Args:
        networks: Names in the registry, or ``FILE.py:SPEC``.
        settings: What to measure, of each; its model and network are those of each.
        contenders: Who takes part.
        img_size: Height and width of the images; that of each network when None.
        progress: Whether to show a progress bar on a terminal.

    Returns:
        ``networks``: for each what :func:`run_benchmark` returns.

    Raises:
        lenet_cpp.Error: As :func:`run_benchmark`; ``BadInput`` for a size that a network does not
            take.
    """
    results = []
    for network in [network_reference(one, img_size) for one in networks]:
        with tempfile.TemporaryDirectory(prefix="lenet-benchmark-") as name:
            folder = Path(name)
            target = folder / "exported"
            call_maker(folder, do="export", network=network, img_size=img_size, target=str(target))
            mine = replace(settings, model_dir=target, network=network)
            results.append(run_benchmark(mine, contenders, progress=progress))
    return {"networks": results}


def networks_text(result: dict[str, Any], *, markdown: bool = False) -> str:
    """Format what :func:`run_networks` returned.

    Args:
        result: The results.
        markdown: Set every table as a block of text, to be pasted into a page.
    """
    networks = result["networks"]
    first = networks[0]
    parts = [machine_text(first["machine"], first["versions"]), _overview(networks)]
    for one in networks:
        shape = " x ".join(map(str, one["image_shape"]))
        multiply_adds = one["multiply_adds_per_image"]
        title = f"{one['network']}, images of {shape}, {multiply_adds:,} multiply-adds each"
        parts.append(f"{title}\n\n{limits_text(one['multiply_add_limit'])}")
        parts += measured_parts(one)
    return joined(parts, markdown=markdown)


def _overview(networks: Sequence[dict[str, Any]]) -> str:
    """The engine native beside the best of the others, and what auto takes."""
    rows = []
    for network in networks:
        by_key = {(c["threads"], c["batch_size"], c["contender"]): c for c in network["cells"]}
        for threads, size in dict.fromkeys(key[:2] for key in by_key):
            cell = by_key.get((threads, size, _NATIVE))
            auto = by_key.get((threads, size, _AUTO), {})
            peer = by_key.get((threads, size, cell["peer"])) if cell else None
            rows.append(
                [
                    network["network"],
                    str(threads),
                    str(size),
                    *(_milliseconds(one) for one in (cell, peer)),
                    peer["contender"] if peer else NONE,
                    number(1 / cell["peer_ratio"]["median"] if cell and peer else None, 2),
                    percent(cell and cell["share_of_limit"]),
                    auto.get("engine") or NONE,
                ]
            )
    header = [
        "network",
        "threads",
        "batch",
        "native\nms an image",
        "best peer\nms an image",
        "best peer",
        "native takes\ntimes as long",
        "native of\nthe limit",
        "auto is",
    ]
    title = "The engine native (lenet_cpp/native) and the fastest of the others, at the median"
    return f"{title}\n\n" + table(header, rows)


def _milliseconds(cell: dict[str, Any] | None) -> str:
    return NONE if cell is None else number(cell["median_us"] / cell["batch_size"] / 1e3, 2)
