"""Which operators are side by side in the networks of blocks, and the table of them.

An item is an operator, or an operator with the class of its constant
(``drawers.constants.CLASSES``). A cell of the table is two items of which the second reads what the
first gives.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tools.hostile import graph
from tools.hostile.children import do_steps
from tools.hostile.drawers.constants import CLASSES, class_of
from tools.hostile.networks import InvalidNetworkError
from tools.hostile.operators import ITEMS, OPERATORS, WITH_CONSTANT
from tools.hostile.pairs import reason

ENOUGH = 20  # times that each cell is to be drawn
CHUNK = 50  # networks that a child draws at once


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
        operator_cells[first.partition(" ")[0], second.partition(" ")[0]] += count
    items = [
        " ".join(filter(None, item)) for item in ITEMS if item[1] or item[0] not in WITH_CONSTANT
    ]
    print_cells("operator beside operator", operator_cells, [*OPERATORS])
    print_cells("operator and class of constant beside the same", cells, items)


def print_cells(title, cells, items):
    """Print how often the cells of a table were drawn, and name those that were seldom."""
    reasons, never, seldom = Counter(), {}, {}
    for first in items:
        for second in items:
            why = reason(first.partition(" ")[0], second.partition(" ")[0])
            count = cells[first, second]
            if count == 0 and why:
                reasons[why] += 1
            elif count == 0:
                never.setdefault(first, []).append(second)
            elif count < ENOUGH:
                seldom.setdefault(first, []).append(f"{second} ({count})")
    total = len(items) ** 2 - sum(reasons.values())
    few, none = (sum(map(len, rows.values())) for rows in (seldom, never))
    print(f"{title}: {len(items) ** 2} cells. Those that cannot be:")
    for why, count in reasons.items():
        print(f"  {count}: {why}")
    print(f"Of the {total} others, {total - few - none} were drawn at least {ENOUGH} times,")
    print(f"{few} less often, {none} never.")
    print_rows("never", {first: folded(seconds) for first, seconds in never.items()})
    print_rows("seldom", seldom)


def folded(items):
    """Return items in their order; a class of constants of every operator is one entry."""
    found = set(items)
    for name in CLASSES:
        every = {f"{op} {name}" for op in WITH_CONSTANT}
        if every <= found:
            found = found - every | {f"[any {name}]"}
    return sorted(found)


def print_rows(often, rows):
    """Print the cells of each row; rows that are alike are one."""
    alike = {}
    for first, seconds in rows.items():
        alike.setdefault(tuple(seconds), []).append(first)
    for seconds, firsts in alike.items():
        print(f"  {', '.join(firsts)}: {often} beside {', '.join(seconds)}")
