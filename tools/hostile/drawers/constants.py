"""Constants, of each shape that is broadcast beside a value."""

CLASSES = ("scalar", "row", "column", "channel", "full", "some")
"""The shapes of a constant beside a value; ``some`` is any other that is broadcast."""


def weights(g, shape, fan_in):
    """Return a constant that keeps values at about their size."""
    if g.positive:
        return {"shape": shape, "scale": 0.5 / fan_in, "least": 0.5 / fan_in}
    return {"shape": shape, "scale": fan_in**-0.5}


def numbers(g, shape):
    """Return a constant of numbers of about 1, which are positive in a graph of positive ones."""
    return {"shape": shape, "scale": 0.5, "least": 0.5} if g.positive else {"shape": shape}


def beside(g, x, name):
    """Return the shape of a constant of a class beside a value; the images' size is 1."""
    shape, axis = g.shape(x), g.axis(x)
    rank = len(shape)
    axes = {
        "scalar": [],
        "row": [rank - 1],
        "column": [rank - 2],
        "channel": [1],
        "full": g.others(x),
        "some": g.d.sample(range(rank), g.d.randint(0, rank)),
    }[name]
    if axes != [] and min(axes) < 0:
        raise ValueError("no such axis")
    sizes = [shape[i] if i in axes and i != axis else 1 for i in range(rank)]
    if class_of(sizes, shape, axis) != name:
        raise ValueError("the sizes make it of another class")
    if g.d.chance(0.06) and rank < 6:
        return [1, *sizes]
    leading = next((i for i, size in enumerate(sizes) if size != 1), rank)
    return sizes[g.d.randint(0, leading) if g.d.chance(0.5) else leading :]


def class_of(constant, shape, axis):
    """Return the class of a constant's shape beside a value."""
    rank = len(shape)
    sizes = [1] * (rank - len(constant)) + constant[-rank:]
    axes = [i for i, size in enumerate(sizes) if size != 1]
    for name, expected in (
        ("scalar", []),
        ("row", [rank - 1]),
        ("column", [rank - 2]),
        ("channel", [1]),
        ("full", [i for i in range(rank) if i != axis and shape[i] != 1]),
    ):
        if axes == expected:
            return name
    return "some"


def a_class(g, x):
    """Return a class of constants that there is beside a value."""
    for name in g.d.sample(CLASSES, len(CLASSES)):
        try:
            beside(g, x, name)
        except (ValueError, IndexError):
            continue
        return name
    raise ValueError("no constant fits")
