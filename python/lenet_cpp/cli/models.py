"""``lenet-cpp models``: the registry of networks."""

import json
from typing import Any

from tabulate import tabulate

from lenet_cpp.cli import _options as cli
from lenet_cpp.models import MODELS


@cli.command("%prog\n    list the names that -n accepts")
@cli.as_json()
def main(as_json: bool) -> int:
    """List the registered networks, which other commands accept as -n, --network.

    Each network can have any number of classes. Your own network needs no registration: -n also
    accepts FILE.py:SPEC, a ModelSpec (docs/models.md).
    """
    header = ("name", "input_shape", "image_sizes", "num_classes", "description")
    rows: list[tuple[Any, ...]] = []
    for each in MODELS.values():
        sizes = [*each.image_sizes[:1], *each.image_sizes[-1:]]
        rows.append((each.name, each.input_shape, sizes, each.classes, each.description))
    if as_json:
        print(json.dumps([dict(zip(header, row, strict=True)) for row in rows]))
        return 0
    text = [[" to ".join(map(str, x)) if isinstance(x, list) else x for x in row] for row in rows]
    print(tabulate(text, header))
    return 0
