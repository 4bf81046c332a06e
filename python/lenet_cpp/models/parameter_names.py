"""The names of a network's parameters in each format, and how a file's names are recognised.

A state dict has the attribute path of each parameter (``conv1.weight``). Programs, and files of
variables, have a name that Paddle generated (``conv2d_0.w_0``), numbered in the order of
construction, or one that the author chose, as in PaddleClas 1 (``res2a_branch2a_weights``).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lenet_cpp._base.frameworks import paddle
from lenet_cpp.formats.checkpoint import array_specs, check_arrays

_GENERATED = re.compile(r"(?P<kind>.+)_(?P<number>\d+)(?P<rest>\.\w+)")
# An optimizer's state is named after the parameter: conv2d_0.w_0_velocity_0.
_OPTIMIZER = re.compile(r"_(velocity|moment\d*|beta\d_pow_acc|mean_square|mean_grad|momentum)_\d+$")
_TRAINING = re.compile(r"learning_rate_\d+|@LR_DECAY_COUNTER@")


def as_state_dict(
    path: Path, found: Mapping[str, Any], layer: paddle.nn.Layer, *, checked: bool
) -> dict[str, NDArray[Any]]:
    """Return arrays of a file under the names of a layer's state dict.

    They have their names in any one of the naming schemes; the state of an optimizer among them is
    ignored. The layer was built under ``paddle.utils.unique_name.guard()``. Only where the outputs
    are ``checked`` against the source's afterwards, the order of construction is sufficient when
    the numbers in generated names differ.

    Raises:
        StateMismatch: The names, shapes or dtypes are not those of the layer; the message lists
            the differences from the nearest naming scheme.
    """
    state = layer.state_dict()
    specs = array_specs(state)
    generated = {key: str(tensor.name) for key, tensor in state.items()}
    schemes = [{key: key for key in specs}, generated]
    if paddleclas := _paddleclas1_names(specs):
        schemes.append(paddleclas)
    arrays = _without_training_state(found, schemes)
    if checked and not any(set(names.values()) == arrays.keys() for names in schemes):
        by_order = _names_by_order(generated, arrays)
        schemes = schemes if by_order is None else [by_order]
    names = max(schemes, key=lambda scheme: len(arrays.keys() & scheme.values()))
    check_arrays(path, arrays, {names[key]: spec for key, spec in specs.items()})
    return {key: arrays[name] for key, name in names.items()}


def _without_training_state(
    found: Mapping[str, Any], schemes: Iterable[Mapping[str, str]]
) -> dict[str, Any]:
    """Leave out the state of an optimizer; each scheme has the name of each parameter."""
    known = {name for names in schemes for name in names.values()}
    return {name: value for name, value in found.items() if not _of_training(name, known)}


def _names_by_order(generated: Mapping[str, str], names: Iterable[str]) -> dict[str, str] | None:
    """Match generated names that differ in their numbers only, in the order of construction.

    Returns the name in ``names`` for each key of ``generated``; None when they do not match.
    """
    ours, theirs = _renumbered(generated.values()), _renumbered(names)
    if set(ours.values()) != set(theirs.values()):
        return None
    by_rank = {rank: name for name, rank in theirs.items()}
    return {key: by_rank[ours[name]] for key, name in generated.items()}


def _of_training(name: str, known: set[str]) -> bool:
    if _TRAINING.fullmatch(name):
        return True
    return name not in known and _OPTIMIZER.sub("", name) in known


def _renumbered(names: Iterable[str]) -> dict[str, str]:
    """Return each name and, for a generated one, the name with its kind numbered from zero."""
    matches = {name: _GENERATED.fullmatch(name) for name in names}
    numbers: dict[str, set[int]] = defaultdict(set)
    for match in matches.values():
        if match is not None:
            numbers[match["kind"]].add(int(match["number"]))
    ranks = {kind: _ranks(found) for kind, found in numbers.items()}
    renumbered = {}
    for name, match in matches.items():
        renumbered[name] = name
        if match is not None:
            rank = ranks[match["kind"]][int(match["number"])]
            renumbered[name] = f"{match['kind']}_{rank}{match['rest']}"
    return renumbered


def _ranks(numbers: Iterable[int]) -> dict[int, int]:
    return {number: rank for rank, number in enumerate(sorted(numbers))}


_PLACES = {"weight": "scale", "bias": "offset", "_mean": "mean", "_variance": "variance"}
_BRANCHES = {"conv0": "branch2a", "conv1": "branch2b", "conv2": "branch2c", "short": "branch1"}
# The third stage numbers its blocks, instead of lettering them, when it has more.
_LETTERED = 6


def _paddleclas1_names(keys: Iterable[str]) -> dict[str, str]:
    """Return each key's name in PaddleClas 1; nothing when the network is not a ResNet_vd."""
    keys = list(keys)
    with_shortcut = {
        int(match[1]) for key in keys if (match := re.match(r"blocks\.(\d+)\.short\.", key))
    }
    blocks = {int(match[1]) for key in keys if (match := re.match(r"blocks\.(\d+)\.", key))}
    # The first block of every stage has a projection as its shortcut.
    starts = sorted(with_shortcut)
    ends = [*starts[1:], len(blocks)]
    stages = [range(start, end) for start, end in zip(starts, ends, strict=False)]
    names = {key: paddleclas1_name(key, stages) for key in keys}
    return {} if None in names.values() else {key: str(name) for key, name in names.items()}


def paddleclas1_name(key: str, stages: list[range]) -> str | None:
    """Return a variable's name in the ResNet_vd of PaddleClas 1; None when it has none there.

    In the state dict it is ``stem.0.conv.weight``, ``blocks.3.conv1.bn._mean`` or ``fc.bias``;
    ``stages`` are the numbers of the blocks of each stage.
    """
    if key in {"fc.weight", "fc.bias"}:
        return f"fc_0.{key[3]}_0"
    match = re.fullmatch(r"(stem|blocks)\.(\d+)\.(?:(\w+)\.)?(conv\.weight|bn\.(\w+))", key)
    if match is None:
        return None
    where, number, branch, _, norm = match.groups()
    if where == "stem":
        layer = f"conv1_{int(number) + 1}"
    elif branch in _BRANCHES and (block := _paddleclas1_block(int(number), stages)):
        layer = f"{block}_{_BRANCHES[branch]}"
    else:
        return None
    # PaddleClas 1 removes three letters for a normalization: conv1_1 becomes bnv1_1.
    return f"bn{layer[3:]}_{_PLACES[norm]}" if norm else f"{layer}_weights"


def _paddleclas1_block(number: int, stages: list[range]) -> str | None:
    """Return a block's name in PaddleClas 1, such as ``res2a``; None when no stage has it."""
    for stage, blocks in enumerate(stages):
        if number in blocks:
            place = blocks.index(number)
            numbered = stage == 2 and len(blocks) > _LETTERED and place > 0
            letter = f"b{place}" if numbered else chr(ord("a") + place)
            return f"res{stage + 2}{letter}"
    return None
