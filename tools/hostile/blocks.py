"""Whole blocks of networks, with more operators on their edges.

A block is what a network is made of, in the forms in which frameworks write it. On up to three of
its edges one or two operators more are drawn. Every second network has no blocks but pairs of
operators.
"""

import math

from tools.hostile import operators
from tools.hostile.drawers import layers
from tools.hostile.drawers.constants import numbers
from tools.hostile.drawers.elementwise import mask
from tools.hostile.drawers.layers import convolved, linear
from tools.hostile.drawers.moves import factors, reshaped
from tools.hostile.graph import Graph
from tools.hostile.networks import InvalidNetworkError
from tools.hostile.operators import ITEMS, OPERATORS, SETS, drawn
from tools.hostile.pairs import images_first, narrowest_sets, pairs_of, side_by_side

WIDTHS = (1, 2, 4, 6, 8, 12, 16, 17, 24, 32)
TOKENS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17)
SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 8, 11, 14)
ACTIVATIONS = ("Relu", "Sigmoid", "Tanh", "HardSwish", "Gelu", "LeakyRelu", "Clip", "Mish", "Elu")
INFINITE_AT_0 = ["Log", "Reciprocal", "c / x", "x ** -1"]
FUNCTIONS = [*operators.PLAIN.split(), *ACTIVATIONS, "Pow", *INFINITE_AT_0 * 3]


def edge(g, x):
    """Return a value, or what some more operators make of it, of the same shape."""
    if g.left <= 0 or not g.d.chance(g.share):
        return x
    g.left -= 1
    for _ in range(g.d.pick([1, 1, 2])):
        for _ in range(8):
            op, name = g.d.pick(ITEMS)
            before = len(g.layers)
            y = g.attempt(drawn, op, name, x)
            if y is not None and g.shapes[y] == g.shapes[x] and g.is_float(y):
                x = y
                break
            g.drop(before)
    return x


def activated(g, x):
    """Return an activation of a value, as one operator or as exporters write it in several."""
    way = g.d.pick([None, None, "silu", "gelu", "tanh", "hardswish"])
    if way is None:
        op = g.d.pick(ACTIVATIONS)
        return OPERATORS[op](g, x)
    if way == "silu":
        return g.add("Mul", *g.d.sample([x, edge(g, g.add("Sigmoid", x))], 2))
    if way == "hardswish":
        six = g.add("Clip", g.add("Add", x, {"floats": 3.0}), {"floats": 0.0}, {"floats": 6.0})
        return g.add("Div", g.add("Mul", x, six), {"floats": 6.0})
    if way == "gelu":
        erf = g.add("Erf", edge(g, g.add("Div", x, {"floats": math.sqrt(2)})))
        half = g.add("Mul", x, edge(g, g.add("Add", erf, {"floats": 1.0})))
        return g.add("Mul", half, {"floats": 0.5})
    cube = g.add("Mul", g.add("Pow", x, {"floats": 3.0}), {"floats": 0.044715})
    inner = g.add("Mul", g.add("Add", x, edge(g, cube)), {"floats": math.sqrt(2 / math.pi)})
    both = g.add("Add", g.add("Tanh", inner), {"floats": 1.0})
    return g.add("Mul", g.add("Mul", x, both), {"floats": 0.5})


def projected(g, x, out):
    """Multiply tokens by a matrix, mostly with a bias, and have operators more behind it."""
    y = edge(g, linear(g, x, out))
    if g.d.chance(0.7):
        y = g.add("Add", *g.d.sample([y, numbers(g, [out])], 2))
    return edge(g, y)


def residual(g, x, y):
    if g.shapes[x] != g.shapes[y]:
        return y
    return edge(g, g.add("Add", *g.d.sample([x, edge(g, y)], 2)))


def normalized(g, x):
    """Normalize the last axis: as one operator, or written in several ways."""
    width = g.shape(x)[-1]
    way = g.d.pick(["layer", "layer", "written", "rms", "l2", "softmax"])
    if way == "layer" and g.opset >= 17:
        return edge(g, layers.layer_norm(g, x))
    if way == "l2":
        squares = g.add("ReduceSum", g.add("Mul", x, x), axes=[-1], keepdims=1)
        norm = edge(g, g.add("Sqrt", g.add("Add", squares, {"floats": 1e-2})))
        return edge(g, g.add("Div", x, norm))
    if way == "softmax":
        most = g.add("ReduceMax", x, axes=[-1], keepdims=1)
        powers = g.add("Exp", edge(g, g.add("Sub", x, most)))
        return g.add("Div", powers, edge(g, g.add("ReduceSum", powers, axes=[-1], keepdims=1)))
    if way == "rms":
        centred = x
    else:
        centred = g.add("Sub", x, edge(g, g.add("ReduceMean", x, axes=[-1], keepdims=1)))
    squares = g.add("Pow", centred, {"floats": 2.0})
    mean = g.add("ReduceMean", edge(g, squares), axes=[-1], keepdims=1)
    norm = g.add("Sqrt", g.add("Add", mean, {"floats": 1e-2}))
    y = g.add("Div", centred, edge(g, norm))
    y = g.add("Mul", edge(g, y), numbers(g, [width]))
    return edge(g, g.add("Add", edge(g, y), numbers(g, [width])) if way == "written" else y)


# ---- attention


def heads_of(g, x, heads, *, turned):
    """Return tokens in heads: [images, heads, tokens, width], or of the last two in turn.

    With 0 heads they stay [images, tokens, width].
    """
    _, count, width = g.shape(x)
    if heads == 0:
        y = edge(g, x)
        return g.add("Transpose", y, perm=[0, 2, 1]) if turned else y
    apart = edge(g, reshaped(g, x, [-1, count, heads, width // heads]))
    if turned and g.d.chance(0.5):
        return edge(g, g.add("Transpose", apart, perm=[0, 2, 3, 1]))
    y = edge(g, g.add("Transpose", apart, perm=[0, 2, 1, 3]))
    return edge(g, g.add("Transpose", y, perm=[0, 1, 3, 2])) if turned else y


def query_key_value(g, x, heads):
    """Return query, key and value in heads, the key turned."""
    _, count, width = g.shape(x)
    way = g.d.pick(["three", "three", "split", "gather", "slice"])
    if way == "three":
        parts = [projected(g, x, width) for _ in range(3)]
    else:
        packed = projected(g, x, 3 * width)
        if way == "gather":
            heads = heads or 1
            apart = reshaped(g, packed, [-1, count, 3, heads, width // heads])
            apart = edge(g, g.add("Transpose", apart, perm=[2, 0, 3, 1, 4]))
            query, key, value = (
                edge(g, g.add("Gather", apart, {"ints": i}, axis=0)) for i in range(3)
            )
            return query, edge(g, g.add("Transpose", key, perm=[0, 1, 3, 2])), value
        if way == "split":
            how = {"split": [width] * 3, "axis": 2, "outputs": 3}
            parts = [edge(g, g.add("Split", packed, take=i, **how)) for i in range(3)]
        else:
            bounds = [([i * width], [(i + 1) * width], [2]) for i in range(3)]
            if g.opset < 10:
                raise ValueError("bounds are attributes")
            parts = [
                edge(g, g.add("Slice", packed, *({"ints": b} for b in each))) for each in bounds
            ]
    return tuple(heads_of(g, part, heads, turned=i == 1) for i, part in enumerate(parts))


def masked(g, scores):
    """Return scores with a mask or a bias, of each shape that is broadcast, added or multiplied."""
    shape = g.shape(scores)
    rank = len(shape)
    queries, keys = shape[-2:]
    sizes = [[keys], [1, keys], [queries, keys], [queries, 1], [], [1] * rank]
    sizes += [[1, 1, keys], [1, queries, keys], [*shape[1:-2], queries, keys], [1, *shape[1:]]]
    if rank == 4:
        sizes += [[1, 1, 1, keys], [shape[1], 1, 1], [shape[1], 1, keys], [1, shape[1], 1, 1]]
    size = g.d.pick(sizes)
    way = g.d.pick(["bias", "bias", "hidden", "factor", "where", "computed"])
    if way == "where":
        hidden = {"ints": mask(g, size), "bools": True}
        return g.add("Where", hidden, scores, {"floats": g.d.pick([-1e4, -1e9, -65504.0])})
    if way == "computed":  # from the values themselves, one of each key
        small = g.add("ReduceMean", scores, axes=[-2], keepdims=1)
        return g.add(g.d.pick(["Add", "Mul"]), scores, edge(g, small))
    if way == "hidden":
        return g.add("Add", *g.d.sample([scores, {"shape": size, "mask": -1e4}], 2))
    op = "Mul" if way == "factor" else g.d.pick(["Add", "Add", "Sub"])
    return g.add(op, *g.d.sample([scores, numbers(g, size)], 2))


def attention(g, x):
    """Attend to tokens [images, tokens, width]."""
    _, count, width = g.shape(x)
    heads = g.d.pick([0, *(k for k in (1, 2, 3, 4) if width % k == 0)])
    start = x
    if g.d.chance(0.4):
        x = normalized(g, x)
    query, key, value = query_key_value(g, x, heads)
    scale = {"floats": (width // max(1, heads)) ** -0.5}
    at = g.d.pick(["query", "key", "scores", "scores", "both", "none"])
    if at in {"query", "both"}:
        query = edge(g, g.add(g.d.pick(["Mul", "Mul", "Div"]), query, scale))
    if at == "key":
        key = edge(g, g.add("Mul", key, scale))
    scores = g.add("MatMul", query, key)
    if at in {"scores", "both"}:
        scores = g.add("Mul", *g.d.sample([edge(g, scores), scale], 2))
    scores = edge(g, scores)
    for _ in range(g.d.pick([0, 0, 1, 1, 2])):
        scores = edge(g, masked(g, scores))
    shares = edge(g, g.add("Softmax", scores, axis=g.d.pick([-1, len(g.shape(scores)) - 1])))
    mixed = edge(g, g.add("MatMul", shares, value))
    if len(g.shape(mixed)) == 4:
        mixed = edge(g, g.add("Transpose", mixed, perm=[0, 2, 1, 3]))
        mixed = edge(g, reshaped(g, mixed, [-1, count, width]))
    y = projected(g, mixed, width) if g.d.chance(0.7) else mixed
    return residual(g, start, y) if g.d.chance(0.7) else y


def mlp(g, x):
    width = g.shape(x)[-1]
    y = normalized(g, x) if g.d.chance(0.5) else x
    y = activated(g, projected(g, y, g.d.pick([width, 2 * width, 4 * width, 17])))
    y = projected(g, edge(g, y), width)
    return residual(g, x, y) if g.d.chance(0.7) else y


def sequence_first(g, x):
    """Attend or multiply with the tokens before the images."""
    y = edge(g, g.add("Transpose", x, perm=[1, 0, 2]))
    y = normalized(g, y) if g.d.chance(0.5) else y
    y = activated(g, projected(g, y, g.d.pick(WIDTHS)))
    back = edge(g, g.add("Transpose", edge(g, y), perm=[1, 0, 2]))
    return residual(g, x, back)


def some_tokens(g, x):
    """Go on with some of the tokens that a block gives: one of them, or those of a range."""
    y = g.d.pick([attention, mlp, mlp, normalized])(g, x)
    count = g.shape(y)[1]
    first = g.d.randrange(count)
    last = g.d.pick([first + 1, count])
    if last == first + 1 and g.d.chance(0.6):
        places = g.d.pick([first, [first], first - count if g.opset >= 11 else first])
        y = g.add("Gather", y, {"ints": places}, axis=1)
    elif g.opset < 10:
        y = g.add("Slice", y, starts=[first], ends=[last], axes=[1])
    else:
        y = g.add("Slice", y, *({"ints": [each]} for each in (first, last, 1)))
    y = edge(g, y)
    if g.d.chance(0.5):
        y = normalized(g, y)
    return projected(g, y, g.d.pick(WIDTHS))


def windowed(g, x):
    """Cut pixels [images, height, width, channels] into windows, and join them again."""
    _, height, width, channels = g.shape(x)
    size = g.d.pick([k for k in (1, 2, 3, 4) if height % k == 0 and width % k == 0])
    rows, columns = height // size, width // size
    apart = reshaped(g, x, [-1, rows, size, columns, size, channels])
    apart = edge(g, g.add("Transpose", apart, perm=[0, 1, 3, 2, 4, 5]))
    sizes = [{"images": rows * columns}, size * size, channels]
    windows = g.add("Reshape", apart, {"ints": sizes})
    y = g.d.pick([attention, attention, mlp])(g, edge(g, windows))
    back = g.add("Reshape", y, {"ints": [{"images": 1}, rows, columns, size, size, channels]})
    back = edge(g, g.add("Transpose", back, perm=[0, 1, 3, 2, 4, 5]))
    return residual(g, x, reshaped(g, back, [-1, height, width, channels]))


# ---- convolutions


def conv_norm(g, x, out=None, kernel=None, *, act=True):
    """A convolution, mostly with a normalization and an activation."""
    out = out or g.d.pick([g.shape(x)[1], layers.channels(g)])
    kernel = kernel or g.d.pick([1, 3, 3, 5])
    y = edge(g, padded(g, x, out, kernel))
    if g.d.chance(0.5):
        y = edge(g, layers.batch_norm(g, y))
    return edge(g, activated(g, y)) if act and g.d.chance(0.8) else y


def padded(g, x, out, kernel):
    """A convolution that keeps the size, with as many zeros on each side or more on one.

    Exporters write those as its attribute, or before it as an operator.
    """
    if g.d.chance(0.6):
        return convolved(g, x, out, [kernel] * 2, pads=[kernel // 2] * 4)
    top, left = g.d.randint(0, kernel - 1), g.d.randint(0, kernel - 1)
    pads = [top, left, kernel - 1 - top, kernel - 1 - left]
    if g.d.chance(0.4):
        return convolved(g, x, out, [kernel] * 2, pads=pads)
    flat = [0, 0, *pads[:2], 0, 0, *pads[2:]]
    if g.opset < 11:
        x = g.add("Pad", x, mode="constant", pads=flat, value=0.0)
    else:
        x = g.add("Pad", x, {"ints": flat}, {"floats": 0.0}, mode="constant")
    return convolved(g, x, out, [kernel] * 2)


def bottleneck(g, x):
    """Two or three convolutions beside the value that is added to them."""
    count = g.shape(x)[1]
    y = conv_norm(g, x)
    if g.d.chance(0.4):
        y = conv_norm(g, y)
    y = conv_norm(g, y, count, act=False)
    short = conv_norm(g, x, count, 1, act=False) if g.d.chance(0.4) else x
    total = g.add("Add", *g.d.sample([y, short], 2))
    y = edge(g, total)
    return edge(g, activated(g, y)) if g.d.chance(0.6) else y


def sum_between(g, x):
    """Sums of two values, functions of the sum, and convolutions that read those.

    Engines compute the functions with the sum, on whole vectors of channels; a function that is not
    0 at 0 shows which values the lanes behind the last channel get.
    """
    count = g.d.pick([1, 2, 3, 5, 7, 13, 16, 17, 17, 33])
    for _ in range(g.d.pick([1, 2, 3])):
        y = conv_norm(g, x, count, g.d.pick([1, 1, 3]), act=g.d.chance(0.3))
        other = y if g.d.chance(0.3) else conv_norm(g, x, count, 1, act=False)
        x = edge(g, g.add("Add", *g.d.sample([y, other], 2)))
        for _ in range(g.d.pick([1, 1, 2])):
            x = g.attempt(function, x) or x
        x = conv_norm(g, x, count, g.d.pick([3, 3, 5, 1]), act=g.d.chance(0.3))
    return x


def function(g, x):
    """Return a function of each number by itself."""
    op = g.d.pick(FUNCTIONS)
    if op == "c / x":
        return g.add("Div", {"floats": 2.0}, x)
    if op == "x ** -1":
        return g.add("Pow", x, {"floats": g.d.pick([-1.0, -0.5])})
    return OPERATORS[op](g, x)


def squeeze_excite(g, x):
    count = g.shape(x)[1]
    y = edge(g, conv_norm(g, x, count) if g.d.chance(0.5) else x)
    small = (
        g.add("GlobalAveragePool", y)
        if g.d.chance(0.6)
        else g.add("ReduceMean", y, axes=[2, 3], keepdims=1)
    )
    small = edge(g, small)
    middle = max(1, count // g.d.pick([1, 2, 4]))
    if g.d.chance(0.7):
        small = edge(g, convolved(g, small, middle, [1, 1]))
        small = edge(g, convolved(g, edge(g, activated(g, small)), count, [1, 1]))
    else:
        small = edge(g, reshaped(g, small, [-1, count]))
        small = projected(g, edge(g, activated(g, projected(g, small, middle))), count)
        small = edge(g, reshaped(g, small, [-1, count, 1, 1]))
    gate = edge(g, OPERATORS[g.d.pick(["Sigmoid", "HardSigmoid"])](g, small))
    return edge(g, g.add("Mul", *g.d.sample([y, gate], 2)))


def dense(g, x):
    """Concatenate what convolutions make of all values so far."""
    values = [x]
    for _ in range(g.d.pick([1, 2, 3])):
        joined = g.add("Concat", *values, axis=1) if len(values) > 1 else x
        values.append(conv_norm(g, edge(g, joined), layers.channels(g)))
    return edge(g, g.add("Concat", *g.d.sample(values, len(values)), axis=1))


def shuffled(g, x):
    """Mix the channels of groups, mostly those of two convolutions, and go on with some of them."""
    if g.d.chance(0.7):
        parts = [conv_norm(g, x, act=g.d.chance(0.5)), x if g.d.chance(0.4) else conv_norm(g, x)]
        x = edge(g, g.add("Concat", *g.d.sample(parts, 2), axis=1))
    _, count, height, width = g.shape(x)
    groups = g.d.pick([k for k in range(2, count + 1) if count % k == 0])
    apart = edge(g, reshaped(g, x, [-1, groups, count // groups, height, width]))
    turned = edge(g, g.add("Transpose", apart, perm=[0, 2, 1, 3, 4]))
    y = edge(g, reshaped(g, turned, [-1, count, height, width]))
    if g.d.chance(0.4):
        return conv_norm(g, y)
    at = g.d.randint(1, count - 1)
    sizes = {"split": [at, count - at], "axis": 1, "outputs": 2}
    first, second = (edge(g, g.add("Split", y, take=i, **sizes)) for i in range(2))
    pair = g.d.sample([first, conv_norm(g, second)], 2)
    return edge(g, g.add("Concat", *pair, axis=1))


def classifier(g, x):
    """The end of a classifier: a pool, a product and a softmax."""
    count = g.shape(x)[1]
    small = edge(g, g.add("GlobalAveragePool", x))
    flat = edge(
        g, g.add("Flatten", small, axis=1) if g.d.chance() else reshaped(g, small, [-1, count])
    )
    y = edge(g, layers.gemm(g, flat))
    return g.add("Softmax", y, axis=1) if g.d.chance() else y


def to_tokens(g, x):
    """Turn pixels into tokens, or the other way round."""
    shape = g.shape(x)
    if len(shape) == 4:
        flat = edge(g, reshaped(g, x, [-1, shape[1], shape[2] * shape[3]]))
        return edge(g, g.add("Transpose", flat, perm=[0, 2, 1]))
    turned = edge(g, g.add("Transpose", x, perm=[0, 2, 1]))
    rows = g.d.pick(factors(shape[1]))
    return edge(g, reshaped(g, turned, [-1, shape[2], rows, shape[1] // rows]))


BLOCKS = {
    3: [
        attention,
        attention,
        attention,
        mlp,
        some_tokens,
        some_tokens,
        sequence_first,
        normalized,
        to_tokens,
    ],
    4: [
        conv_norm,
        bottleneck,
        sum_between,
        sum_between,
        sum_between,
        squeeze_excite,
        dense,
        shuffled,
        shuffled,
        classifier,
        to_tokens,
    ],
}
"""Blocks by the rank of the value that they take; those of pixels are sometimes windows."""


def block(g, x):
    """Draw a block."""
    shape = g.shape(x)
    g.left = g.d.pick([0, 1, 2, 3])
    g.share = g.d.pick([0.1, 0.25, 0.5])
    if g.axis(x) != 0 or g.entries(x) != 1:
        raise ValueError("the images are not first")
    if len(shape) == 4 and g.d.chance(0.2):
        return windowed(g, x)
    return g.d.pick(BLOCKS.get(len(shape), []))(g, x)


# ---- whole networks


def draw(d):
    """Draw a network of blocks, of pairs of operators, and of operators by chance."""
    g = grown(d)
    if not g.layers:
        raise InvalidNetworkError("nothing was drawn")
    used = {i for layer in g.layers for i in layer.inputs}
    ends = [x for x in range(1, len(g.shapes)) if x not in used and g.is_float(x)]
    more = d.sample(range(1, len(g.shapes)), min(len(g.layers), d.pick([0, 0, 1, 2])))
    outputs = dict.fromkeys([*ends, *(x for x in more if g.is_float(x))])
    if d.chance(0.93):
        outputs = dict.fromkeys(images_first(g, x) for x in outputs)
    g.network.outputs = [*outputs]
    return g.network


def grown(d):
    seed, number = d.where
    of_pairs = number % 2 == 1
    opset = d.pick(SETS)
    if of_pairs:
        pairs = pairs_of(seed, number)
        fitting = narrowest_sets(pairs)
        if opset not in fitting:
            opset = d.pick(sorted(fitting))
    batch = d.pick(["N", "N", "N", "N", 1, 2, 3, 7])
    pixels = [d.pick([1, 2, 3, 4, 5, 8, 16, 17, 33]), *d.two(SIZES)]
    tokens = [d.pick(TOKENS), d.pick(WIDTHS)]
    shapes = [pixels, pixels, pixels, tokens, tokens, tokens]
    if of_pairs:
        shapes += [[d.pick(WIDTHS)], [d.pick([1, 2, 3]), *pixels]]
    shape = d.pick(shapes)
    if batch not in {"N", 1} and d.chance(0.6):  # no size says which axis is that of the images
        shape = [*shape]
        shape[d.randrange(len(shape))] = batch
    count = {"N": 7, 1: 7, 2: 6, 3: 6, 7: 7}[batch]
    how = {"nodes": True, "opset": opset, "images": count, "batch": batch, "threads": 2}
    how |= d.some(int8=(0.12 * (opset >= 13), True))
    how |= d.some(constants_as_nodes=(0.1, True), positive=(0.5, True), forget=(0.2, False))
    g = Graph(d, shape, **how)
    g.positive = "positive" in how
    if of_pairs:
        for items in pairs:
            side_by_side(g, items)
    else:
        draw_blocks(g)
    for _ in range(d.pick([0, 0, 0, 1, 3])):
        x = d.pick(g.values(g.is_float))
        op, name = d.pick(ITEMS)
        g.attempt(drawn, op, name, x)
    return g


def draw_blocks(g):
    for _ in range(g.d.pick([1, 1, 2])):
        for _ in range(6):
            x = g.d.pick(g.values(g.is_float)[-3:])
            if g.attempt(block, x) is not None:
                break
