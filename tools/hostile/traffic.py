"""Networks of channel traffic: what shares memory in the native engine.

Channels are cut out, joined, added and shuffled between small convolutions and pools; channels,
rows, columns and features are padded, repeated and cut; and many values are used several times.
They are networks of onnx_networks, whose layers are drawn so that they fit: dozens run in a second.
"""

import math

import numpy as np

from tools.hostile.networks import InvalidNetworkError, Layer

MOST = 96  # channels
MOST_VALUES = 1 << 15  # of one image
WORK = 2e7  # multiply-adds of all images
# The methods of Traffic that add layers, with their weights in the draw. The order of the names
# decides what a seed draws.
MOVES = {
    "conv": 6,
    "relu": 3,
    "pool": 1,
    "cut_out": 3,
    "split": 2,
    "join": 4,
    "combine": 4,
    "shuffle": 1,
    "pad": 3,
    "repeat": 2,
    "crop": 2,
    "flatten": 1,
    "unflatten": 1,
}
OF_ANY_RANK = {"relu", "cut_out", "split", "join", "combine", "pad", "repeat", "crop"}


class Traffic:
    """A network that grows; a move that does not fit raises IndexError or ValueError."""

    def __init__(self, d):
        self.d = d
        self.step = d.pick([1, 3, 4, 8, 16, 16, 32])
        self.most = d.pick([16, 48, MOST])
        images = d.pick([1, 3, 64])
        self.work = WORK / images  # multiply-adds of one image that are left
        shape = [self.channels(), *d.two(range(4, 13))]
        d.begin("onnx", shape, shapes, opset=d.pick(range(7, 23)), images=images)
        self.layers, self.shapes = d.network.layers, d.shapes

    def channels(self):
        if self.d.chance(0.15):
            return self.d.randint(1, self.most)
        return self.step * self.d.randint(1, max(1, self.most // self.step))

    def cut(self, channels):
        """Return a channel at which to cut, which may be 0: mostly a multiple of the step."""
        if self.d.chance(0.15):
            return self.d.randrange(channels)
        return self.step * self.d.randint(0, channels // self.step) % channels

    def value(self, fits=lambda shape: len(shape) == 4):
        """Return one of the values that fit: any, one of the last, or one that is unused."""
        values = [i for i, shape in enumerate(self.shapes) if fits(shape)]
        used = {i for layer in self.layers for i in layer.inputs}
        unused = [i for i in values if i not in used] or values
        return self.d.pick(self.d.pick([values, values[-4:], unused, unused]))

    def add(self, op, *inputs, **attributes):
        """Add a layer; return its value."""
        self.layers.append(Layer(op, [*inputs], attributes))
        self.shapes.append(shape_of(self.layers[-1], self.shapes))
        if math.prod(self.shapes[-1][1:]) > MOST_VALUES:
            raise ValueError("too large")
        return len(self.layers)

    def needs_opset(self, least):
        if self.d.network.options["opset"] < least:
            raise ValueError(f"needs opset {least}")

    def conv(self, x, out=None):
        _, channels, height, width = self.shapes[x]
        out = out or self.d.pick([self.shapes[self.value()][1], self.channels()])
        groups = (1, 1, 1, 1, 2, 4, channels)
        group = self.d.pick([each for each in groups if channels % each == 0 and out % each == 0])
        kernel = self.d.pick([1, 1, 1, 3])
        work = kernel**2 * channels * out / group * height * width
        if work > self.work:
            raise IndexError
        self.work -= work
        more = self.d.some(bias=(0.3, False), strides=(0.05, [2, 2]), group=(group > 1, group))
        return self.add("Conv", x, out=out, kernel=[kernel] * 2, pads=[kernel // 2] * 4, **more)

    def relu(self, x):
        self.add("Relu", x)

    def pool(self, x):
        halves = min(self.shapes[x][2:]) > 3 and self.d.chance(0.3)
        how = {"strides": [2, 2]} if halves else {"pads": [1] * 4}
        kernel = [2 if halves else 3] * 2
        self.add(self.d.pick(["MaxPool", "AveragePool"]), x, kernel_shape=kernel, **how)

    def cut_out(self, x):
        first, last = sorted(self.cut(self.shapes[x][1]) for _ in range(2))
        if first == last:
            raise IndexError
        self.add("Slice", x, axes=[1], starts=[first], ends=[last])

    def split(self, x):
        channels = self.shapes[x][1]
        cuts = {0, channels, *(self.cut(channels) for _ in range(self.d.pick([1, 1, 2, 3])))}
        sizes = np.diff(sorted(cuts)).tolist()
        for part in range(len(sizes)):
            self.add("Split", x, axis=1, sizes=sizes, take=part)

    def join(self, x):
        _, left, *pixels = self.shapes[x]
        most = MOST if pixels else MOST_VALUES
        values = [x]
        for _ in range(self.d.pick([1, 1, 2, 3])):
            left = most - sum(self.shapes[i][1] for i in values)
            values.append(
                self.value(lambda each, left=left: each[2:] == pixels and each[1] <= left)
            )
        self.add("Concat", *self.d.sample(values, len(values)), axis=1)

    def combine(self, x):
        """Add or multiply two values; the second is a gate, a new convolution or a known value."""
        shape = self.shapes[x]
        op = self.d.pick(["Add", "Add", "Add", "Mul"])
        if len(shape) == 2:
            other = self.value(lambda each: each == shape)
        elif op == "Mul" and self.d.chance():
            pooled = self.add("GlobalAveragePool", x)
            other = self.add("Sigmoid", self.conv(pooled, shape[1]))
        elif self.d.chance(0.3):
            same_pixels = self.value(lambda each: each[2:] == shape[2:])
            other = self.conv(same_pixels, shape[1])
        else:
            other = self.value(lambda each: each == shape)
        self.add(op, *self.d.sample([x, other], 2))

    def shuffle(self, x):
        _, channels, *pixels = self.shapes[x]
        groups = self.d.pick([each for each in range(2, channels) if channels % each == 0])
        apart = self.add("Reshape", x, shape=[0, groups, -1, *pixels])
        turned = self.add("Transpose", apart, perm=[0, 2, 1, 3, 4])
        self.add("Reshape", turned, shape=[0, -1, *pixels])

    def some_axes(self, x):
        """Return one axis or two: channels or features, rows, columns."""
        axes = range(1, len(self.shapes[x]))
        return self.d.sample(axes, min(len(axes), self.d.pick([1, 1, 2])))

    def pad(self, x):
        """Pad before, behind or on both sides, in every mode."""
        shape = self.shapes[x]
        modes = ["constant", "constant", "constant", "reflect", "edge"]
        if self.d.network.options["opset"] >= 19:
            modes.append("wrap")
        mode = self.d.pick(modes)
        pads = [[0] * len(shape), [0] * len(shape)]
        for axis in self.some_axes(x):
            most = {"reflect": shape[axis] - 1, "wrap": shape[axis]}.get(mode, MOST)
            some = self.step * self.d.pick([1, 1, 2]) if axis == 1 else self.d.randint(1, 3)
            for side in self.d.pick([[0], [1], [1], [0, 1]]):
                pads[side][axis] = min(self.d.pick([1, some]), most)
        if not any(map(sum, pads)):
            raise ValueError("nothing is padded")
        value = self.d.pick([0.0, 0.0, 0.5, -2.0]) if mode == "constant" else 0.0
        self.add("Pad", x, mode=mode, pads=pads[0] + pads[1], value=value)

    def repeat(self, x):
        """Repeat axes of one value, or all values one after the other."""
        shape = self.shapes[x]
        ones = [axis for axis in range(1, len(shape)) if shape[axis] == 1]
        sizes = [1] * len(shape)
        if ones and self.d.chance(0.7):
            self.needs_opset(8)
            for axis in self.d.sample(ones, self.d.randint(1, len(ones))):
                sizes[axis] = self.d.pick([2, 3, self.step])
            self.add("Expand", x, shape=sizes)
        else:
            sizes[self.d.randrange(1, len(shape))] = self.d.pick([2, 2, 3])
            self.add("Tile", x, repeats=sizes)

    def crop(self, x):
        """Cut rows, columns, channels or features, sometimes with a step."""
        shape, axes = self.shapes[x], self.some_axes(x)
        starts = [self.d.randrange(shape[axis]) for axis in axes]
        ends = [
            self.d.randint(start + 1, shape[axis]) for start, axis in zip(starts, axes, strict=True)
        ]
        steps = {"steps": [self.d.pick([1, 2, 3]) for _ in axes]}
        with_steps = self.d.network.options["opset"] >= 10 and self.d.chance(0.3)
        more = steps if with_steps else {}
        self.add("Slice", x, starts=starts, ends=ends, axes=axes, **more)

    def flatten(self, x):
        self.add("Flatten", x, axis=1)

    def unflatten(self, _):
        features = self.value(lambda shape: len(shape) == 2 and shape[1] <= MOST)
        self.add("Reshape", features, shape=[0, -1, 1, 1])


def draw(d):
    """Draw a network of up to 40 layers and several outputs."""
    traffic = Traffic(d)
    draw_layers(traffic, most=d.pick([d.randint(3, 37), 37]))
    d.network.outputs = draw_outputs(traffic)
    d.network.options |= d.some(open_sizes=(0.3, True))
    return d.network


def draw_layers(traffic, most):
    """Make moves until there are ``most`` layers, or many moves did not fit."""
    d, layers = traffic.d, traffic.layers
    for _ in range(4 * most):
        before = len(layers)
        try:
            move = d.choices([*MOVES], [*MOVES.values()])[0] if layers else "conv"
            ranks = (2, 4) if move in OF_ANY_RANK else (4,)
            x = traffic.value(lambda shape, ranks=ranks: len(shape) in ranks)
            getattr(traffic, move)(x)
        except (IndexError, ValueError):  # no value fits, or the move does not
            del layers[before:], traffic.shapes[before + 1 :]
        if len(layers) >= most:
            break


def draw_outputs(traffic):
    """Return the values that the network gives: some that no layer uses, and sometimes others."""
    d, layers = traffic.d, traffic.layers
    used = {i for layer in layers for i in layer.inputs}
    ends = [i for i in range(1, len(layers) + 1) if i not in used]
    more = [d.randint(1, len(layers)) for _ in range(d.pick([0, 0, 1, 2]))]
    some = d.sample(ends, min(len(ends), d.pick([1, 2, 3])))
    return [*dict.fromkeys(some + more)]


def shapes(network, of_layer=None):
    """Return the shapes of all values, of two images; a framework would take long.

    ``of_layer`` returns the shape that a layer gives; by default that of channel traffic.
    """
    known = [[2, *network.shape]]
    try:
        for layer in network.layers:
            known.append((of_layer or shape_of)(layer, known))
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise InvalidNetworkError(f"{layer.op} {layer.attributes}: {error!r}") from error
    return known


def combined(_, *every):
    return [*np.broadcast_shapes(*every)]


def transposed(of, shape):
    return [shape[axis] for axis in of["perm"]]


def reshaped(of, shape):
    sizes = [size or shape[i] for i, size in enumerate(of["shape"])]
    return [*np.empty(shape, bool).reshape(sizes).shape]


def joined(_, first, *others):
    images, channels, *pixels = first
    return [images, channels + sum(other[1] for other in others), *pixels]


def sliced(of, shape):
    sizes = [*shape]
    steps = of.get("steps", [1] * len(of["axes"]))
    for axis, start, end, step in zip(of["axes"], of["starts"], of["ends"], steps, strict=True):
        sizes[axis] = len(range(start, end, step))
    return sizes


def split(of, shape):
    images, _, *pixels = shape
    return [images, of["sizes"][of["take"]], *pixels]


def padded(of, shape):
    pads = zip(of["pads"][: len(shape)], of["pads"][len(shape) :], strict=True)
    return [size + sum(both) for size, both in zip(shape, pads, strict=True)]


def windowed(of, shape):
    images, channels, *pixels = shape
    kernel = of.get("kernel") or of["kernel_shape"]
    pads, strides = of.get("pads", [0] * 4), of.get("strides", [1, 1])
    room = [pixels[i] + pads[i] + pads[i + 2] - kernel[i] for i in range(2)]
    windows = [size // stride + 1 for size, stride in zip(room, strides, strict=True)]
    return [images, of.get("out", channels), *windows]


SHAPES = {
    **dict.fromkeys(["Add", "Mul"], combined),
    **dict.fromkeys(["Conv", "MaxPool", "AveragePool"], windowed),
    "Transpose": transposed,
    "Reshape": reshaped,
    "Concat": joined,
    "Slice": sliced,
    "Split": split,
    "Pad": padded,
    "GlobalAveragePool": lambda _, shape: [*shape[:2], 1, 1],
    "Tile": lambda of, shape: np.multiply(shape, of["repeats"]).tolist(),
    "Expand": lambda of, shape: combined(of, shape, of["shape"]),
    "Flatten": lambda _, shape: [shape[0], math.prod(shape[1:])],
}
"""Functions that return the shape of an operator's output from its attributes and input shapes.

The output of any other operator has the shape of its input."""


def shape_of(layer, known):
    first, *others = (known[i] for i in layer.inputs)
    if layer.op not in SHAPES:
        return [*first]
    return SHAPES[layer.op](layer.attributes, first, *others)
