"""The folders of a comparison and the pictures, which all steps use."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# What a toolkit says about a picture: class_ids, label_names and scores, or attributes and output.
Result = dict[str, Any]
# Of scores: the toolkits round them to five digits, and the engines differ by less.
TOLERANCE = 2e-5
# The name, [height, width] and mode of each picture.
PICTURES = (
    ("a.png", (301, 417), "RGB"),
    ("b.png", (451, 301), "RGB"),
    ("c.png", (97, 61), "RGB"),
    ("d.png", (903, 1203), "RGB"),
    ("grey.png", (333, 511), "L"),
    ("opaque.png", (257, 259), "RGBA"),
    ("photo.jpg", (427, 641), "RGB"),
    ("turned.jpg", (333, 257), "RGB"),
)


@dataclass(frozen=True)
class Case:
    """A folder as a toolkit exports it.

    In it the steps keep, for each picture by its path, the tensor in tensors.npz, the output of the
    network in outputs.npz, and the toolkit's result in results.json.

    Attributes:
        name: That of the folder.
        toolkit: The toolkit and its version.
        config: ``inference.yml``, or ``model.yml`` of PaddleX 2.
        kind: The class that makes a result of an output, such as ``Topk``.
        count: How many outputs the network has.
        shown: How many of them a result shows at most.
        thresholds: All numbers to which scores are compared.
        unsupported: What lenet_cpp must name when it refuses the folder; empty: it must not.
    """

    name: str
    toolkit: str
    config: str
    kind: str
    count: int
    shown: int
    thresholds: tuple[float, ...]
    unsupported: str = ""


def paths(folder: Path) -> list[str]:
    """Return the paths of the pictures."""
    return [str(folder / "pictures" / name) for name, *_ in PICTURES]


def write_cases(folder: Path, cases: Sequence[Case]) -> None:
    (folder / "cases.json").write_text(json.dumps([asdict(case) for case in cases], indent=1))


def read_cases(folder: Path) -> list[Case]:
    return [Case(**values) for values in json.loads((folder / "cases.json").read_text())]
