"""Draw random networks, each from a seed and a number.

A layer is drawn, and kept if the framework takes it; what the framework refuses is drawn anew, so
that nothing here has to know which shapes fit. A drawer is a function of the choices and the shape
of an input, and returns a layer's attributes.
"""

import contextlib
import math
import random

from tools.hostile.networks import InvalidNetworkError, Layer, Network

ATTEMPTS = 30


class Draw(random.Random):
    """The choices of one network, which grows by what the framework takes."""

    pick = random.Random.choice

    def chance(self, share=0.5):
        return self.random() < share

    def two(self, values):
        """Return a height and a width, which are equal half of the time."""
        first = self.pick(values)
        return [first, first if self.chance() else self.pick(values)]

    def some(self, **shares):
        """Return attributes, each with a probability; one left out is at its default."""
        return {name: value for name, (share, value) in shares.items() if self.chance(share)}

    def axis(self, rank):
        """Return an axis that is not that of the images, counted from either end."""
        axis = self.randrange(1, rank)
        return axis if self.chance(0.7) else axis - rank

    def axes(self, rank):
        """Return one or more axes that are not that of the images."""
        every = list(range(1, rank))
        chosen = self.sample(every, self.randint(min(1, len(every)), len(every)))
        return [axis if self.chance(0.8) else axis - rank for axis in chosen]

    def kernel(self):
        return self.two([1, 1, 2, 3, 3, 4, 5])

    def window(self, kernel, *, pool):
        most = [size - 1 for size in kernel] if pool else [min(size, 3) for size in kernel]
        pad = [self.randint(0, most[i // 2]) for i in range(4)]
        padding = self.pick([0, 0, pad[::2], pad[::2], pad, pad, "SAME", "VALID"])
        strides = self.some(stride=(0.55, self.two([1, 2, 2, 3])))
        return strides if padding == 0 else {**strides, "padding": padding}

    def begin(self, kind, shape, measure, **options):
        """Begin a network.

        ``measure`` returns the shapes of all its values, or raises InvalidNetworkError.
        """
        self.network = Network(
            kind=kind,
            shape=shape,
            layers=[],
            outputs=[0],
            seed=self.randrange(2**31),
            options=options,
        )
        self.measure = measure
        self.shapes = measure(self.network)

    def more_inputs(self, op, start):
        """Return the inputs of a layer after the first: of the same shape or the same rank."""
        if op not in SEVERAL_INPUTS:
            return []
        count = self.pick([1, 1, 2]) if op.lower() in ("concat", "stack") else 1
        shape = self.shapes[start]
        same_shape = [i for i, other in enumerate(self.shapes) if other == shape]
        same_rank = [i for i, other in enumerate(self.shapes) if len(other) == len(shape)]
        return [self.pick(same_shape if self.chance(0.7) else same_rank) for _ in range(count)]

    def add(self, op, draw, fixed):
        """Add a layer to the last value, or sometimes to an earlier one; return whether it fits."""
        last = len(self.shapes) - 1
        start = last if self.chance(0.9) or fixed else self.randint(0, last)
        try:
            attributes = {**draw(self, self.shapes[start]), **fixed}
        except (InvalidNetworkError, IndexError, ValueError):  # there is nothing to choose from
            return False
        attributes = self.shared(op, attributes)
        name = "conv2d" if op == "winograd" else op
        layer = Layer(name, [start, *self.more_inputs(op, start)], attributes)
        if self.chance(0.3):
            layer.inputs = [*layer.inputs[1:], layer.inputs[0]]
        return self.keep_if_taken(layer)

    def shared(self, op, attributes):
        """Return the attributes, or sometimes those of an earlier layer and its parameters."""
        twins = [i for i, layer in enumerate(self.network.layers, 1) if layer.op == op]
        if not twins or not self.chance(0.15):
            return attributes
        if "out" not in attributes and op != "batch_norm":
            return attributes
        twin = self.network.layers[twins[-1] - 1].attributes
        return {**twin, "like": twin.get("like", twins[-1])}

    def keep_if_taken(self, layer):
        """Add a layer if the framework takes it, and if its value is small and for each image."""
        network = self.network
        last = len(self.shapes) - 1
        network.layers.append(layer)
        network.outputs = [last + 1]
        with contextlib.suppress(InvalidNetworkError):
            shapes = self.measure(network)
            images = shapes[0][0]
            value = shapes[-1]
            if math.prod(value[1:]) <= 20000 and value and value[0] == images:
                self.shapes = shapes
                return True
        network.layers.pop()
        network.outputs = [last]
        return False

    def add_one_of(self, operators):
        """Add a layer of one of some operators; a key's last word is the operator."""
        for _ in range(ATTEMPTS):
            op = self.pick(list(operators))
            if self.add(op.split()[-1], operators[op], {}):
                return

    def finish(self):
        """Flatten in one of many ways, and then add layers that work on vectors."""
        if self.chance(0.3):
            self.add("adaptive_avg_pool2d", adaptive, {})
        count = math.prod(self.shapes[-1][1:])
        ways = [("flatten", {"start_axis": 1})] * 6
        ways += [("reshape", {"shape": [self.pick([0, -1]), count]})] * 2
        ways += [("squeeze", {"axis": [2, 3]}), ("view", {}), ("mean", {"axis": [2, 3]})]
        op, attributes = self.pick(ways)
        self.add(op, plain, attributes)
        for _ in range(self.pick(range(4))):
            self.add_one_of(AT_THE_END)
        if self.chance(0.2):
            self.add("softmax", axis, {})


# ---- drawers made of others


def plain(d, s):
    return {}


def one_of(**attributes):
    """Return a drawer of attributes, each of which is one of some values."""
    return lambda d, s: {name: d.pick(values) for name, values in attributes.items()}


def maybe(**shares):
    """Return a drawer of attributes, each of which is there with a probability."""
    return lambda d, s: d.some(**shares)


def all_of(*drawers):
    return lambda d, s: {name: value for each in drawers for name, value in each(d, s).items()}


last = maybe(data_format=(0.05, "NHWC"))


def axis(d, s):
    return {"axis": d.axis(len(s))}


def axes(d, s):
    return {"axis": d.axes(len(s))}


def groups_of(d, channels, among):
    return int(d.pick([groups for groups in among if channels % groups == 0]))


# ---- drawers of Paddle's operators: d makes the choices, s is the shape of the input


def conv2d(d, s):
    kernel = d.kernel()
    groups = groups_of(d, s[1], [1, 1, 1, 2, 3, s[1]])
    out = groups * d.pick([1, 1, 2, 3, 4, 5, 8, 17] if groups == 1 else [1, 1, 2])
    more = d.some(dilation=(0.25, d.two([1, 2, 3])), bias=(0.3, False), groups=(groups > 1, groups))
    window = d.window(kernel, pool=False)
    return {"out": out, "kernel": kernel, **window, **more, **last(d, s)}


def conv2d_transpose(d, s):
    groups = groups_of(d, s[1], [1, 1, s[1]])
    pads = [d.pick([0, 1, 2]) for _ in range(4)]
    shares = {"groups": (groups > 1, groups), "stride": (0.6, d.two([1, 2, 3]))}
    shares["padding"] = (0.5, d.pick([pads[:2], pads]))
    more = d.some(**shares, output_padding=(0.2, d.two([0, 1])), dilation=(0.2, d.two([1, 2])))
    return {"out": groups * d.pick([1, 2, 3]), "kernel": d.kernel(), **more, **last(d, s)}


def max_pool2d(d, s):
    kernel = d.two([1, 2, 2, 3, 3, 4, 5])
    more = {**d.window(kernel, pool=True), **d.some(ceil_mode=(0.35, True)), **last(d, s)}
    return {"kernel_size": kernel, **more}


def adaptive(d, s):
    sizes = [[1, 1], [1, 1], d.two(range(1, 6)), [d.pick(range(1, 5)), 1], [1, 3]]
    return {"output_size": d.pick(sizes)}


def pool1d(d, s):
    more = d.some(padding=(0.4, 1), stride=(0.5, d.pick([1, 2, 3])), ceil_mode=(0.3, True))
    return {"kernel_size": d.pick([2, 3]), **more}


def flatten(d, s):
    start = d.pick([1, 1, 1, d.randrange(1, len(s))])
    return {"start_axis": start, "stop_axis": d.pick([-1, -1, d.randrange(start, len(s))])}


def reshape(d, s):
    flat = [[-1], [math.prod(s[1:])], [*s[1:]], [s[1], -1], [-1, *s[2:]], [1, -1], [-1, 1]]
    wide = [[s[1], 1, -1], [-1, 1, 1], [*s[1:], 1], [1, *s[1:]], [s[-1], -1]]
    sizes = d.pick(flat + wide)
    return {"shape": [0 if -1 in sizes else d.pick([0, -1]), *sizes]}


def split(d, s):
    axis = d.axis(len(s))
    first = d.randint(1, max(1, s[axis] - 1))
    equal = groups_of(d, s[axis], [1, 2, 3, s[axis]])
    parts = d.pick([equal, [first, s[axis] - first], [first, -1]])
    count = parts if isinstance(parts, int) else 2
    return {"parts": parts, "axis": axis, **d.some(take=(0.5, d.randrange(count)))}


def reduce(d, s):
    axes = d.pick([d.axes(len(s)), [-2, -1], d.axis(len(s))])
    return {"axis": axes, **d.some(keepdim=(0.5, True))}


def sliced(d, s):
    axes = d.axes(len(s))
    ends = [d.pick([2**31 - 1, s[axis], max(1, s[axis] - 1), -1]) for axis in axes]
    return {"axes": axes, "starts": [d.pick([0, 0, 1, -2]) for _ in axes], "ends": ends}


def strided(d, s):
    bounds = sliced(d, s)
    return {**bounds, "strides": [d.pick([1, 2, 3]) for _ in bounds["axes"]]}


def interpolate(d, s):
    mode = d.pick(["nearest", "bilinear", "bicubic"])
    size = d.pick([{"size": d.two(range(1, 12))}, {"scale_factor": d.pick([2, 3, 1.5, [2, 0.5]])}])
    corners = d.some(align_corners=(0.4 * (mode != "nearest"), True))
    align = d.some(align_mode=(0.4 * (mode == "bilinear"), 1))
    return {"mode": mode, **size, **corners, **align, **last(d, s)}


def pad(d, s):
    mode = d.pick(["constant", "reflect", "replicate", "circular"])
    more = d.some(value=(0.5 * (mode == "constant"), 0.5))
    return {"pad": [d.pick([0, 1, 2]) for _ in range(4)], "mode": mode, **more}


def constant(d, s):
    """Draw a combination with a parameter, whose sizes are 0 where they are the input's."""
    rank = len(s)
    per_channel = [0, *[1] * (rank - 2)]
    shapes = [per_channel, [1, *per_channel], [1], [0], [1] * rank, [d.pick([0, 1]) for _ in s[1:]]]
    return {"of": d.pick(ELEMENTWISE), "shape": d.pick(shapes), **d.some(first=(0.3, True))}


def add_at(d, s):
    axis = d.randrange(1, len(s))
    more = d.some(of=(0.3, d.pick(["multiply", "subtract"])))
    return {"axis": axis, "count": d.randint(1, len(s) - axis), **more}


def joined(d, s):
    return {"axis": 1 if d.chance(0.7) else d.axis(len(s))}


ELEMENTWISE = ["add", "add", "add", "multiply", "subtract", "divide", "maximum", "minimum", "pow"]
COMPARED = ["greater_than", "greater_equal", "less_than", "less_equal", "equal", "not_equal"]
LINEAR = all_of(
    one_of(out=[1, 1, 2, 4, 7, 10, 17, 40]), maybe(bias=(0.3, False), transposed=(0.15, True))
)
# fmt: off
# In these tables an operator is a line or a part of one, of which ruff's format would make six.
# USUAL are the operators of classifiers, for which the native engine has kernels.
USUAL = {
    "conv2d": conv2d, "max_pool2d": max_pool2d, "relu": plain, "adaptive_avg_pool2d": adaptive,
    "avg_pool2d": all_of(max_pool2d, maybe(exclusive=(0.5, False))),
    "batch_norm": all_of(maybe(epsilon=(0.3, 1e-3)), last),
    "adaptive_max_pool2d": adaptive, "add_at": add_at, "binary": one_of(of=["add"]),
    "concat": joined, "constant": one_of(of=["add"], shape=[[1], [0], [0, 1, 1], [0, 1, 1]]),
    "dropout": one_of(p=[0.1, 0.5], mode=["upscale_in_train", "downscale_in_infer"]),
    "scale": one_of(scale=[1.0, 0.5, -2.0], bias=[0.0, 0.5, -1.0],
                    bias_after_scale=[True, True, False]),
    "assign": plain,
}
LAST = ("linear", "add_at", "batch_norm", "relu", "dropout", "scale", "concat", "binary")
AT_THE_END = {op: LINEAR if op == "linear" else USUAL[op] for op in LAST}
PLAIN = (
    "relu6 sigmoid tanh silu swish mish hardswish softsign tanhshrink exp abs square erf sin cos "
    "floor ceil sqrt rsqrt log log1p reciprocal log_sigmoid selu cast view"
)
EVERY = {
    **USUAL,
    **dict.fromkeys(PLAIN.split(), plain),
    **dict.fromkeys(["mean", "sum", "max", "min", "amax", "amin", "logsumexp"], reduce),
    "winograd": all_of(
        one_of(out=[4, 5, 8, 16, 17, 33]),
        lambda d, s: {"kernel": [5, 5], "padding": d.two([0, 1, 2])},
    ),
    "conv1d": one_of(out=[1, 2, 5], kernel=[1, 2, 3], stride=[1, 1, 2],
                     padding=[0, 1, [1, 0], "SAME"], dilation=[1, 1, 2]),
    "conv2d_transpose": conv2d_transpose, "max_pool1d": pool1d, "avg_pool1d": pool1d,
    "linear": LINEAR,
    "layer_norm": all_of(lambda d, s: {"axis": d.randrange(1, len(s))},
                         maybe(scale=(0.2, False), bias=(0.2, False))),
    "group_norm": all_of(lambda d, s: {"groups": groups_of(d, s[1], range(1, s[1] + 1))},
                         maybe(affine=(0.3, False)), last),
    "prelu": all_of(maybe(shared=(0.5, True)), last), "gelu": one_of(approximate=[False, True]),
    "elu": one_of(alpha=[1.0, 0.3]), "leaky_relu": one_of(negative_slope=[0.01, 0.2]),
    "power": one_of(factor=[2.0, 0.5, -1.0, 3.0]),
    "hardsigmoid": one_of(slope=[1 / 6, 0.3], offset=[0.5, 0.1]), "celu": one_of(alpha=[1.0, 0.5]),
    "softplus": one_of(beta=[1, 2], threshold=[20, 1]), "softshrink": one_of(threshold=[0.5, 0.1]),
    "hardtanh": one_of(min=[-1.0, -0.2], max=[1.0, 0.3]),
    "hardshrink": one_of(threshold=[0.5, 0.1]), "thresholded_relu": one_of(threshold=[1.0, 0.2]),
    "clip": one_of(min=[0.0, -0.5], max=[6.0, 0.7]),
    "softmax": axis, "log_softmax": axis, "reshape": reshape, "flatten": flatten,
    "stack": joined, "split": split,
    "transpose": lambda d, s: {"perm": [0, *d.sample(range(1, len(s)), len(s) - 1)]},
    "squeeze": axes, "flip": axes,
    "unsqueeze": one_of(axis=[[-1], [1], [2], [1, 2], [2, 3]]),
    "slice": sliced, "strided_slice": strided, "unbind": axis,
    "interpolate": interpolate, "pad": pad,
    "roll": lambda d, s: {"shifts": [d.randint(-3, 3)], "axis": [d.axis(len(s))]},
    "tile": lambda d, s: {"repeat_times": [1, *(d.pick([1, 1, 2]) for _ in s[1:])]},
    "expand": lambda d, s: {"shape": [-1, *(d.pick([1, 3] if n == 1 else [-1, n]) for n in s[1:])]},
    "norm": all_of(one_of(p=[1, 2, 3]), axis, maybe(keepdim=(0.5, True))),
    "pixel_shuffle": all_of(one_of(upscale_factor=[1, 2, 3]), last),
    "pixel_unshuffle": all_of(one_of(downscale_factor=[1, 2, 3]), last),
    "channel_shuffle": all_of(lambda d, s: {"groups": d.pick([1, 2, 3, s[1]])}, last),
    "maxout": one_of(groups=[2, 3], axis=[1, 1, 3, -1]),
    "constant": constant, "binary": one_of(of=ELEMENTWISE),
    "compare": one_of(of=COMPARED, cast=[True, False]), "gram": one_of(batched=[True, False]),
    "matmul": one_of(transpose_x=[False, True], transpose_y=[False, True]),
}
SEVERAL_INPUTS = {
    "binary", "concat", "stack", "compare", "matmul",
    "Add", "Mul", "Concat", "Sub", "Max", "Min", "Sum",
}
WITH_PARAMETERS = {
    *"conv2d conv1d conv2d_transpose linear batch_norm prelu constant add_at".split()
}
# Sequences of operators that engines fuse, with the attributes of each that are not drawn.
SMALL, FLAT = ("conv2d", {"kernel": [1, 1]}), ("flatten", {"start_axis": 1, "stop_axis": -1})
IDIOMS = [
    [SMALL, ("conv2d", {"kernel": [1, 1], "stride": 2, "padding": 1})], [SMALL, SMALL],
    [("conv2d", {}), ("batch_norm", {}), ("relu", {})],
    [("conv2d", {}), ("relu", {}), ("max_pool2d", {"kernel_size": 2})],
    [("winograd", {}), ("relu", {}), ("max_pool2d", {"kernel_size": 2})],
    [("conv2d", {}), ("conv2d", {}), ("binary", {"of": "add"}), ("relu", {})],
    [("conv2d_transpose", {}), ("add_at", {"axis": 1, "count": 1})],
    [FLAT, ("linear", {}), ("relu", {}), ("linear", {})],
    [FLAT, ("batch_norm", {}), ("linear", {})],
    [("linear", {"out": 1}), ("linear", {})],
    [("adaptive_avg_pool2d", {"output_size": 1}), ("conv2d", {}), ("sigmoid", {}),
     ("binary", {"of": "multiply"})],
    [("reshape", {}), ("transpose", {}), ("reshape", {})],
    [("scale", {}), ("linear", {})], [("transpose", {}), ("linear", {})],
    [("transpose", {}), ("flatten", {}), ("concat", {})],
    [("squeeze", {}), ("linear", {})],
    [("layer_norm", {}), ("linear", {}), ("gelu", {})],
    [("split", {}), ("concat", {})],
]
# fmt: on


def draw_paddle(d, shapes):
    """Draw a network of Paddle's operators."""
    alone = d.chance(0.3)  # single operators are tried with many of their attributes
    usual = not alone and d.chance(0.6)
    shape = draw_shape(d, usual=usual)
    d.begin("paddle", shape, shapes)
    if usual:
        d.add_one_of({"conv2d": conv2d, "a conv2d": conv2d, "winograd": EVERY["winograd"]})
    if alone and d.chance():
        d.add("conv2d", conv2d, {})
    if alone:
        d.add_one_of(EVERY)
    else:
        draw_several(d, usual=usual)
    if usual:
        d.finish()
    if not any(layer.op in WITH_PARAMETERS for layer in d.network.layers):
        d.add("linear", LINEAR, {})
    if d.chance(0.15):
        add_output(d)
    if len(shape) == 3:
        d.network.options.update(d.some(open_sizes=(0.4, True)))
    return d.network


def draw_shape(d, *, usual):
    """Draw the shape of an image; only a network of usual operators always takes pixels."""
    sizes = [*range(1, 15), 1, 2, 3, 4, 28] if d.chance(0.8) else range(1, 41)
    shape = [d.pick([1, 1, 2, 3, 4, 5, 8]), *d.two(sizes)]
    if usual or not d.chance(0.2):
        return shape
    return d.pick([shape[:1], shape[:2], [2, *shape], [d.pick(range(1, 30))]])


def draw_several(d, *, usual):
    """Add operators, or sequences of operators that engines fuse."""
    operators = USUAL if usual else EVERY
    idioms = IDIOMS
    if usual:
        known = {*USUAL, "winograd"}
        idioms = [idiom for idiom in IDIOMS if all(op in known for op, _ in idiom)]
    least = 1 if usual else 2
    for _ in range(d.pick(range(least, 6))):
        if d.chance(0.25):
            for op, fixed in d.pick(idioms):
                d.add(op, EVERY[op], fixed)
        else:
            d.add_one_of(operators)


def add_output(d):
    """Let the network give another of its values too, in any order."""
    network = d.network
    network.outputs.append(d.randint(1, len(network.layers)))
    d.shuffle(network.outputs)
    network.outputs = list(dict.fromkeys(network.outputs))
