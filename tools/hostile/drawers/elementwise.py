"""Nodes that compute each number by itself, of one value or of several."""

from tools.hostile.drawers.constants import a_class, beside, numbers


def plain(op, **attributes):
    """Return the drawer of a node of one value, with attributes or functions that draw them."""

    def draw(g, x):
        drawn = {k: v(g.d) if callable(v) else v for k, v in attributes.items()}
        return g.add(op, x, **{k: v for k, v in drawn.items() if v is not None})

    return draw


def among(*choices):
    return lambda d: d.pick(choices)


def of_bools(op):
    """Return the drawer of a node of truth values, which are compared where none is given."""

    def draw(g, x):
        first = g.d.chance(0.5)
        condition = truth(g, x)
        if op == "Not":
            return to_float(g, g.add("Not", condition))
        other = truth(g, g.d.pick(g.values(lambda y: g.shapes[y] == g.shapes[x])))
        pair = [condition, other] if first else [other, condition]
        return to_float(g, g.add(op, *pair))

    return draw


COMPARISONS = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")


def truth(g, x):
    if not g.is_float(x):
        return x
    return g.add(g.d.pick(COMPARISONS[1:]), x, numbers(g, beside(g, x, a_class(g, x))))


def to_float(g, x):
    return g.add("Cast", x) if not g.is_float(x) else x


def cast(g, x):
    """Cast floats, which stay as they are, or truth values."""
    return g.add("Cast", x if g.d.chance(0.5) else truth(g, x))


def judged(op):
    """Return the drawer of a node that answers yes or no."""
    return lambda g, x: to_float(g, g.add(op, x))


def combined(op, finish=lambda g, x: x, least=None):
    """Return the drawer of a node that combines; ``name`` is the class of its constant, if any."""

    def draw(g, x, name=None):
        if name is None and g.d.chance(0.4):
            name = a_class(g, x)
        if name is None:
            pair = g.d.sample([x, other_beside(g, x)], 2)
        else:
            constant = numbers(g, beside(g, x, name))
            if least is not None and "least" not in constant:
                constant |= {"least": least}
            pair = [constant, x] if g.d.chance(0.35) else [x, constant]
        return finish(g, g.add(op, *pair))

    return draw


def other_beside(g, x):
    """Return a value that is combined with another one: of its shape, or broadcast."""
    shape = g.shape(x)

    def fits(y):
        other = g.shape(y)
        pairs = zip(shape[::-1], other[::-1], strict=False)
        return g.is_float(y) and all(a == b or 1 in (a, b) for a, b in pairs)

    same = g.values(lambda y: g.shapes[y] == g.shapes[x] and g.is_float(y))
    found = g.d.pick([same, same, g.values(fits)])
    return g.d.pick(found[-6:])


def power(g, x, name=None):
    if name == "scalar" or (name is None and g.d.chance(0.7)):
        exponents = [2.0, 3.0, 4.0, -1.0, 0.5, -0.5, 1.0]
        return g.add("Pow", x, {"floats": g.d.pick(exponents)})
    return combined("Pow")(g, x, name)


def modulo(g, x, name=None):
    constant = {"shape": beside(g, x, name or a_class(g, x)), "least": 0.7}
    return g.add("Mod", x, constant, fmod=1)


def several(op):
    def draw(g, x):
        count = g.d.pick([1, 1, 2, 3])
        values = [x, *(other_beside(g, x) for _ in range(count))]
        return g.add(op, *g.d.sample(values, len(values)))

    return draw


def prelu(g, x, name=None):
    sizes = beside(g, x, name or a_class(g, x))
    return g.add("PRelu", x, numbers(g, sizes[-len(g.shape(x)) :]))


def where(g, x, name=None):
    """Choose between a value and a constant, or between two values."""
    name = name or a_class(g, x)
    constant = numbers(g, beside(g, x, name))
    if g.d.chance(0.3):  # hide by a mask that is a constant
        hidden = {"ints": mask(g, beside(g, x, name)), "bools": True}
        return g.add("Where", hidden, *g.d.sample([x, numbers(g, [])], 2))
    condition = truth(g, x)
    other = x if g.is_float(x) and g.d.chance(0.7) else other_beside(g, x)
    return g.add("Where", condition, *g.d.sample([other, constant], 2))


def mask(g, shape):
    """Return a nested list of ones and zeros."""
    if not shape:
        return int(g.d.chance(0.6))
    return [mask(g, shape[1:]) for _ in range(shape[0])]


def clip(g, x):
    bounds = g.d.pick([(-0.5, 0.7), (0.0, 6.0), (0.0, None), (None, 0.9), (None, None)])
    names = {k: v for k, v in zip(("min", "max"), bounds, strict=True) if v is not None}
    if g.opset < 11:
        return g.add("Clip", x, **names)
    return g.add("Clip", x, *({"none": 1} if v is None else {"floats": v} for v in bounds))


def gelu(g, x):
    return g.add("Gelu", x, approximate=g.d.pick(["none", "tanh"]))
