"""Pairs of operators, of which the second reads what the first gives.

The number of a network says which pairs it has, so that each comes as often as any other.
"""

import math

from tools.hostile.drawers.layers import linear
from tools.hostile.drawers.moves import reshaped
from tools.hostile.graph import COUNTS
from tools.hostile.operators import (
    GIVES_INTEGERS,
    GIVES_TRUTH,
    ITEMS,
    READS_TRUTH,
    drawn,
    sets_of,
)

OF_A_NETWORK = 12  # pairs
TRIES = 24  # to draw a pair
DEFINED_FROM = {
    **dict.fromkeys(("Acos", "Asin", "Atanh", "Tan"), 0.0),
    **dict.fromkeys(("Log", "Sqrt", "Pow", "Reciprocal", "Div", "ReduceLogSum"), 0.5),
    "Acosh": 3.0,
}
"""Operators that are not finite everywhere, and where an interval of length 1 begins for each."""


def reason(first, second):
    """Return why no graph has an operator beside another one, of which it reads the value."""
    if not sets_of(first) & sets_of(second):
        return "no set of operators has both"
    if first in GIVES_TRUTH and second not in READS_TRUTH:
        return "the first gives truth values, which the second does not read"
    if first in GIVES_INTEGERS and second != "Cast":
        return "the first gives integers, which only a Cast reads"
    if second in GIVES_TRUTH & READS_TRUTH and first not in GIVES_TRUTH:
        return "the second reads truth values, which the first does not give"
    return ""


PAIRS = [(one, other) for one in ITEMS for other in ITEMS if not reason(one[0], other[0])]
"""All pairs that can be side by side."""


def pair(seed, place):
    """Return a pair; each comes once before one comes again, in the order of a seed."""
    total = len(PAIRS)
    steps = range(total * 5 // 8 + seed % 1000, 2 * total)
    step = next(each for each in steps if math.gcd(each, total) == 1)
    return PAIRS[(place * step + seed) % total]


def pairs_of(seed, number):
    """Return the pairs of a network."""
    return [pair(seed, number // 2 * OF_A_NETWORK + place) for place in range(OF_A_NETWORK)]


def narrowest_sets(pairs):
    """Return the operator sets of the pair that the fewest sets have."""
    found = [sets_of(first) & sets_of(second) for (first, _), (second, _) in pairs]
    return min(found, key=len)


def images_first(g, x):
    """Return a value with the images on its first axis, one entry each."""
    axis = g.axis(x)
    if axis != 0:
        x = g.add("Transpose", x, perm=[axis, *g.others(x)])
    _, *sizes = g.shape(x)
    entries = g.entries(x)
    if entries == 1:
        return x
    apart = [entries, *sizes] if len(sizes) < 5 else [entries * math.prod(sizes)]
    return reshaped(g, x, [-1, *apart])


def of_another_shape(g, x):
    """Return a value of another rank, mostly of larger sizes, with the images on any axis."""
    rank = g.d.pick([1, 1, 2, 3, 3, 3, 4])
    sizes = [g.d.pick([1, 2, 2, 3, 4, 6]) for _ in range(rank)]
    flat = reshaped(g, images_first(g, x), [-1, math.prod(g.shape(x)) // COUNTS[0]])
    y = reshaped(g, linear(g, flat, math.prod(sizes)), [-1, *sizes])
    if g.d.chance(0.7):
        return y
    axis = g.d.randint(1, rank)
    return g.add("Transpose", y, perm=[*range(1, axis + 1), 0, *range(axis + 1, rank + 1)])


def within(g, x, least):
    """Return values from ``least`` to one more, or their negatives."""
    y = g.add("Sigmoid", x)
    if least:
        y = g.add("Add", y, {"floats": least})
    return g.add("Neg", y) if g.d.chance(0.1) else y


def side_by_side(g, items):
    """Draw two operators, of which the second reads the first."""
    operators = [op for op, _ in items]
    positive = g.positive
    least = max(DEFINED_FROM.get(op, -1) for op in operators)
    if least >= 0 and g.d.chance(0.9):
        g.positive = True
    floats = g.values(g.is_float)
    for attempt in range(TRIES):
        before = len(g.layers)
        x = g.d.pick(floats)
        if attempt >= TRIES // 6:  # the values that there are seem not to fit
            x = g.attempt(of_another_shape, x) or x
        if least >= 0 and g.d.chance(0.9):
            x = g.attempt(within, x, least) or x
        read = g.attempt(two_of, items, x)
        if read or (read is not None and attempt >= TRIES // 2):
            break
        g.drop(before)
    g.positive = positive


def two_of(g, items, x):
    """Draw two operators one after the other; return whether the second reads the first itself.

    Some read a value only behind another operator, such as a comparison.
    """
    (op, _), (reader, _) = items
    y = drawn(g, *items[0], x)
    if op in GIVES_TRUTH and reader in READS_TRUTH and g.layers[y - 1].op == "Cast":
        (y,) = g.layers[y - 1].inputs
    drawn(g, *items[1], y)
    return any(layer.op == reader and y in layer.inputs for layer in g.layers[y:])
