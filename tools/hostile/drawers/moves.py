"""Nodes that move numbers, and those that sum or order them along axes."""

import math

from tools.hostile.drawers.elementwise import to_float


def an_axis(g, x, *, named=True):
    """Return an axis without images, counted from either end where a node may name it so."""
    axis = g.d.pick(g.others(x))
    return axis - len(g.shape(x)) if named and g.opset >= 11 and g.d.chance(0.3) else axis


def transpose(g, x):
    rank = len(g.shape(x))
    perm = list(range(rank))
    if g.d.chance(0.3):
        g.d.shuffle(perm)
    else:
        places = g.others(x)
        order = g.d.sample(places, len(places))
        for place, axis in zip(places, order, strict=True):
            perm[place] = axis
    if perm == sorted(perm) and rank > 2:
        perm[-2:] = perm[-1], perm[-2]
    return g.add("Transpose", x, perm=perm)


def factors(number):
    return [each for each in range(1, number + 1) if number % each == 0]


def reshape(g, x):
    """Split an axis, join two that are neighbours, or put all of an image into some axes."""
    shape, axis = g.shape(x), g.axis(x)
    others = g.others(x)
    sizes = [{"images": g.entries(x)} if i == axis else size for i, size in enumerate(shape)]
    way = g.d.pick(["split", "split", "join", "flat", "windows"])
    if way == "split":
        at = g.d.pick(others)
        first = g.d.pick(factors(shape[at]))
        sizes[at : at + 1] = [first, shape[at] // first]
    elif way == "join":
        at = g.d.pick([i for i in others if i + 1 in others])
        sizes[at : at + 2] = [shape[at] * shape[at + 1]]
    elif way == "flat":
        if axis != 0:
            raise ValueError("other images would come between")
        count = math.prod(shape[1:])
        first = g.d.pick(factors(count))
        sizes = [{"images": g.entries(x)}, first, count // first][: g.d.pick([2, 3, 3])]
        if len(sizes) == 2:
            sizes[1] = count
    elif axis + 1 in others:  # the next axis becomes more entries of each image
        sizes[axis : axis + 2] = [{"images": g.entries(x) * shape[axis + 1]}]
    else:
        raise ValueError("nothing to join")
    return g.add("Reshape", x, {"ints": sizes})


def reshaped(g, x, sizes):
    """Reshape to ``sizes``, of which -1 is the number of images."""
    return g.add("Reshape", x, {"ints": [{"images": 1} if s == -1 else s for s in sizes]})


def flatten(g, x):
    rank = len(g.shape(x))
    return g.add("Flatten", x, axis=g.d.pick([g.axis(x) + 1, g.axis(x) + 1 - rank or 1]))


def squeeze(g, x):
    ones = [i for i in g.others(x) if g.shape(x)[i] == 1]
    return g.add("Squeeze", x, axes=g.d.sample(ones, g.d.randint(1, len(ones))))


def unsqueeze(g, x):
    rank = len(g.shape(x))
    return g.add("Unsqueeze", x, axes=[g.d.randint(0, rank)])


def slice_(g, x):
    shape = g.shape(x)
    axes = g.d.sample(g.others(x), g.d.pick([1, 1, min(2, len(shape) - 1)]))
    bounds = []
    for axis in axes:
        start = g.d.randrange(shape[axis])
        end = g.d.randint(start + 1, shape[axis])
        start = g.d.pick([start, start, start - shape[axis]])
        end = g.d.pick([end, end - shape[axis] or 2**31 - 1, *[2**63 - 1] * (end == shape[axis])])
        step = g.d.pick([1, 1, 1, 2, 3])
        if g.d.chance(0.12):  # from the last one to the first
            start, end, step = 2**31 - 1, -(2**63), g.d.pick([-1, -1, -2])
        if g.d.chance(0.01):
            start, end, step = 0, 0, 1
        bounds.append((start, end, step))
    starts, ends, steps = ([*each] for each in zip(*bounds, strict=True))
    if g.opset < 10:
        if any(step != 1 for step in steps):
            raise ValueError("no steps")
        return g.add("Slice", x, starts=starts, ends=ends, axes=axes)
    return g.add("Slice", x, *({"ints": each} for each in (starts, ends, axes, steps)))


def split(g, x):
    axis = an_axis(g, x)
    size = g.shape(x)[axis]
    count = g.d.pick([each for each in (2, 2, 3) if each <= size])
    cuts = sorted(g.d.sample(range(1, size), count - 1))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, size], strict=True)]
    parts = [g.add("Split", x, split=sizes, axis=axis, outputs=count, take=i) for i in range(count)]
    return g.d.pick(parts)


def concat(g, x):
    axis = an_axis(g, x, named=False)

    def fits(y):
        pairs = zip(g.shapes[x], g.shapes[y], strict=True)
        return g.is_float(y) and all(
            len(a) == len(b) and [*a[:axis], *a[axis + 1 :]] == [*b[:axis], *b[axis + 1 :]]
            for a, b in pairs
        )

    more = [g.d.pick(g.values(fits)) for _ in range(g.d.pick([1, 1, 2]))]
    pair = g.d.sample([x, *more], len(more) + 1)
    named = axis - len(g.shape(x)) if g.opset >= 11 and g.d.chance(0.3) else axis
    return g.add("Concat", *pair, axis=named)


def expand(g, x):
    shape = g.shape(x)
    sizes = [g.d.pick([2, 3, 5]) if size == 1 and g.d.chance(0.7) else 1 for size in shape]
    sizes = [1 if i == g.axis(x) else size for i, size in enumerate(sizes)]
    if g.d.chance(0.1) and len(shape) < 6:
        sizes = [g.d.pick([1, 2, 3]), *sizes]
    if max(sizes) == 1:
        raise ValueError("nothing to expand")
    return g.add("Expand", x, {"ints": sizes})


def tile(g, x):
    sizes = [1] * len(g.shape(x))
    sizes[g.d.pick(g.others(x))] = g.d.pick([2, 3])
    return g.add("Tile", x, {"ints": sizes})


def pad(g, x):
    shape = g.shape(x)
    mode = g.d.pick(["constant", "constant", "edge", "reflect", *["wrap"] * (g.opset >= 19)])
    pads = [[0] * len(shape), [0] * len(shape)]
    for axis in g.d.sample(g.others(x), g.d.pick([1, min(2, len(shape) - 1)])):
        most = 3 if mode in {"constant", "edge"} else min(3, shape[axis] - 1)
        for side in g.d.pick([[0], [1], [0, 1]]):
            pads[side][axis] = g.d.randint(0, most)
        if mode == "constant" and g.d.chance(0.15) and shape[axis] > 1:
            pads[g.d.pick([0, 1])][axis] = -g.d.randint(1, shape[axis] - 1)
    flat = pads[0] + pads[1]
    value = g.d.pick([0.0, 0.0, 0.5, -2.0]) if mode == "constant" else 0.0
    if g.opset < 11:
        return g.add("Pad", x, mode=mode, pads=flat, value=value)
    return g.add("Pad", x, {"ints": flat}, {"floats": value}, mode=mode)


def gather(g, x):
    axis = an_axis(g, x)
    size = g.shape(x)[axis]
    count = g.d.pick([0, 0, 1, 2, 3])
    places = [g.d.randrange(-size if g.opset >= 11 else 0, size) for _ in range(count)]
    indices = places if count else g.d.randrange(size)
    if count == 2 and g.d.chance(0.2):
        indices = [places]
    return g.add("Gather", x, {"ints": indices}, axis=axis)


def gather_nd(g, x):
    """Take entries of each image by the axes before that of the images; else it is moved."""
    if g.opset < 12:
        raise ValueError("indices of images")
    axis = g.axis(x)
    if axis == 0:
        axis = g.d.randint(1, len(g.shape(x)) - 1)
        behind = range(axis + 1, len(g.shape(x)))
        x = g.add("Transpose", x, perm=[*range(1, axis + 1), 0, *behind])
    sizes = g.shape(x)[: g.d.randint(1, axis)]
    places = [[g.d.randrange(size) for size in sizes] for _ in range(g.d.pick([1, 2, 4]))]
    return g.add("GatherND", x, {"ints": places})


def gather_elements(g, x):
    """Take elements by a table of places, which is expanded to the number of images."""
    shape, axis = g.shape(x), g.axis(x)
    at = g.d.pick(g.others(x))
    count = g.d.pick([1, 2, shape[at]])
    sizes = list(shape)
    sizes[at] = count
    sizes[axis] = 1
    places = nested(sizes, lambda: g.d.randrange(shape[at]))
    table = {"ints": places, "expand": axis}
    return g.add("GatherElements", x, table, axis=at)


def nested(sizes, draw):
    if not sizes:
        return draw()
    return [nested(sizes[1:], draw) for _ in range(sizes[0])]


def scatter_nd(g, x):
    """Overwrite entries of the first axis, where it has no images."""
    shape, axis = g.shape(x), g.axis(x)
    if axis == 0 or g.opset < 11:
        raise ValueError("indices of images")
    places = g.d.sample(range(shape[0]), g.d.randint(1, shape[0]))
    first = g.add("Gather", x, {"ints": places}, axis=0)
    return g.add("ScatterND", x, {"ints": [[place] for place in places]}, g.add("Neg", first))


def scatter_elements(g, x):
    """Overwrite a slice of an axis."""
    shape, axis = g.shape(x), g.axis(x)
    at = g.d.pick(g.others(x))
    if g.opset < 11:
        raise ValueError("Scatter is another operator")
    start = g.d.randrange(shape[at])
    part = g.add("Slice", x, {"ints": [start]}, {"ints": [start + 1]}, {"ints": [at]})
    sizes = [1 if i in (axis, at) else size for i, size in enumerate(shape)]
    place = g.d.randrange(shape[at])
    table = {"ints": nested(sizes, lambda: place), "expand": axis}
    return g.add("ScatterElements", x, table, g.add("Neg", part), axis=at)


def blocks_of(op, least, **more):
    """Return the drawer of DepthToSpace or SpaceToDepth."""

    def draw(g, x):
        shape = g.shape(x)
        fits = {
            "DepthToSpace": lambda b: shape[1] % (b * b) == 0,
            "SpaceToDepth": lambda b: shape[2] % b == 0 and shape[3] % b == 0,
        }[op]
        size = g.d.pick([b for b in (1, 2, 2, 3) if fits(b)])
        drawn = {k: v(g.d) for k, v in more.items()} if g.opset >= least else {}
        return g.add(op, x, blocksize=size, **drawn)

    return draw


def col2im(g, x):
    """Fold columns of windows, which are made of any values."""
    _, rows, columns = g.shape(x)
    if g.axis(x) != 0:
        raise ValueError("the images are not first")
    kernel = g.d.pick([k for k in ([1, 1], [2, 2], [1, 3], [2, 1]) if rows % math.prod(k) == 0])
    height = g.d.pick(factors(columns))
    sizes = [height + kernel[0] - 1, columns // height + kernel[1] - 1]
    return g.add("Col2Im", x, {"ints": sizes}, {"ints": kernel})


def resize(g, x):
    shape = g.shape(x)
    if g.axis(x) != 0 or g.opset < 11 or len(shape) not in (3, 4):
        raise ValueError("no pixels")
    mode = g.d.pick(["nearest", "linear", "cubic"])
    rules = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    how = {"mode": mode, "coordinate_transformation_mode": g.d.pick(rules)}
    if mode == "nearest":
        names = ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]
        how["nearest_mode"] = g.d.pick(names)
    empty = {"floats": []} if g.opset < 13 else {"none": 1}
    if g.d.chance(0.5):
        scales = [1.0, 1.0]
        scales += [g.d.pick([1.0, 2.0, 1.5, *[0.5] * (size > 1)]) for size in shape[2:]]
        return g.add("Resize", x, empty, {"floats": scales}, **how)
    sizes = [{"images": 1}, shape[1], *(g.d.randint(1, 2 * size) for size in shape[2:])]
    if g.network.options["batch"] == "N":  # no size of the images can be named
        if g.opset < 18:
            raise ValueError("no axes")
        how["axes"] = [*range(2, len(shape))]
        return g.add("Resize", x, empty, {"none": 1}, {"ints": sizes[2:]}, **how)
    return g.add("Resize", x, empty, empty, {"ints": sizes}, **how)


def upsample(g, x):
    if g.opset != 9 or len(g.shape(x)) != 4:
        raise ValueError("of the operator set 9")
    return g.add("Upsample", x, {"floats": [1.0, 1.0, *g.d.two([1.0, 2.0, 3.0])]}, mode="nearest")


def reduce(op):
    def draw(g, x):
        others = g.others(x)
        axes = sorted(g.d.sample(others, g.d.pick([1, 1, g.d.randint(1, len(others))])))
        named = [
            axis - len(g.shape(x)) if g.opset >= 11 and g.d.chance(0.3) else axis for axis in axes
        ]
        return g.add(op, x, axes=named, keepdims=g.d.pick([0, 1]))

    return draw


def arg(op):
    def draw(g, x):
        how = g.d.some(select_last_index=(0.2 * (g.opset >= 12), 1))
        keep = g.d.pick([0, 1])
        return to_float(g, g.add(op, x, axis=an_axis(g, x), keepdims=keep, **how))

    return draw


def along(op, **more):
    """Return the drawer of a node along one axis; before the set 13 softmaxes join those behind."""

    def draw(g, x):
        drawn = {k: v(g.d) for k, v in more.items()}
        if op in {"Softmax", "LogSoftmax", "Hardmax"} and g.opset < 13:
            axis = g.d.randint(g.axis(x) + 1, len(g.shape(x)) - 1)
        else:
            axis = an_axis(g, x)
        return g.add(op, x, axis=axis, **drawn)

    return draw


def top_k(g, x):
    axis = an_axis(g, x)
    count = g.d.randint(1, g.shape(x)[axis])
    if g.opset < 10:
        raise ValueError("the count is an attribute")
    largest = {"largest": g.d.pick([0, 1])} if g.opset >= 11 else {}
    take = g.d.pick([0, 0, 1])
    found = g.add("TopK", x, {"ints": [count]}, axis=axis, outputs=2, take=take, **largest)
    return to_float(g, found)


def cum_sum(g, x):
    if g.opset < 11:
        raise ValueError("no CumSum")
    how = g.d.some(exclusive=(0.3, 1), reverse=(0.3, 1))
    return g.add("CumSum", x, {"ints": an_axis(g, x)}, **how)
