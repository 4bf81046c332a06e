"""Which operators are side by side in the networks of blocks, and the table of them.

An item is an operator, or an operator with the class of its constant
(``drawers.constants.CLASSES``). A cell of the table is two items of which the second reads what the
first gives.
"""

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tools.hostile import graph
from tools.hostile.children import do_steps
from tools.hostile.drawers.constants import class_of
from tools.hostile.networks import InvalidNetworkError
from tools.hostile.operators import ITEMS, OPERATORS, WITH_CONSTANT

ENOUGH = 20  # times that each cell is to be drawn
CHUNK = 50  # networks that a child draws at once


def pair(seed, place):
    """Return two items; each pair comes once before one comes again, in the order of a seed."""
    total = len(ITEMS) ** 2
    steps = range(total * 5 // 8 + seed % 1000, 2 * total)
    step = next(each for each in steps if math.gcd(each, total) == 1)
    first, second = divmod((place * step + seed) % total, len(ITEMS))
    return ITEMS[first], ITEMS[second]


def item_of(layer, shape, axis):
    """Return an operator, with the class of its constant beside a value of a shape."""
    constants = [*layer.attributes.get("constants", {}).values()]
    if layer.op not in WITH_CONSTANT or len(constants) != 1:
        return layer.op
    (spec,) = constants
    if "shape" not in spec and not isinstance(spec.get("floats"), float):
        return layer.op
    return f"{layer.op} {class_of(spec.get('shape', []), shape, axis)}"


def cells_of(network):
    """Yield the pairs of items that are side by side in a network."""
    shapes = [[shape for shape, _ in graph.known(network, count)] for count in graph.COUNTS]
    items = [""]
    for layer in network.layers:
        first, second = (each[layer.inputs[-1]] for each in shapes)
        axes = [
            i for i, sizes in enumerate(zip(first, second, strict=True)) if sizes[0] != sizes[1]
        ]
        items.append(item_of(layer, first, axes[0] if axes else -1))
        for x in layer.inputs:
            if x:
                yield items[x], items[-1]


def count_cells(step):
    """Count the cells of some networks, in a child."""
    from tools.hostile.engines import drawn

    seed, first, last = step
    cells = Counter()
    for number in range(first, last):
        try:
            network, _ = drawn(seed, number, "blocks")
        except InvalidNetworkError:
            continue
        cells.update(cells_of(network))
    return {"cells": [[*cell, count] for cell, count in cells.items()]}


def count_all(seed, numbers, jobs, done):
    """Return how often each cell is drawn in networks of these numbers."""
    steps = [
        (seed, first, min(first + CHUNK, numbers.stop))
        for first in range(numbers.start, numbers.stop, CHUNK)
    ]
    cells = Counter()

    def heard(_, answer):
        for first, second, count in answer.get("cells", []):
            cells[first, second] += count
        done(CHUNK)

    with ThreadPoolExecutor(jobs) as executor:
        parts = [steps[i::jobs] for i in range(jobs)]
        name = "tools.hostile.neighbours:count_cells"
        list(executor.map(lambda part: do_steps(name, part, heard, seconds=600), parts))
    return cells


def print_table(cells):
    """Print which operators were side by side, and which never or seldom, by the first of them."""
    operator_cells = Counter()
    for (first, second), count in cells.items():
        operator_cells[first.split()[0], second.split()[0]] += count
    items = [
        " ".join(filter(None, item)) for item in ITEMS if item[1] or item[0] not in WITH_CONSTANT
    ]
    print_cells("operator beside operator", operator_cells, [*OPERATORS], details=True)
    print_cells("operator and class of constant beside the same", cells, items, details=False)


def print_cells(title, cells, items, *, details):
    total = len(items) ** 2
    counts = {(a, b): cells[a, b] for a in items for b in items}
    often = sum(count >= ENOUGH for count in counts.values())
    empty = sum(count == 0 for count in counts.values())
    print(f"{title}: {total} cells, {often} drawn at least {ENOUGH} times,")
    print(f"  {total - often - empty} less often, {empty} empty")
    if not details:
        return
    for first in items:
        missing = [second for second in items if not counts[first, second]]
        seldom = [f"{b} {counts[first, b]}" for b in items if 0 < counts[first, b] < ENOUGH]
        if missing:
            print(f"  {first}: never beside {' '.join(missing)}")
        if seldom:
            print(f"  {first}: seldom beside {', '.join(seldom)}")
