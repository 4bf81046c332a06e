"""Networks of tokens: attention, norms, windows, and other parts of transformers.

Matrices are multiplied, transposed, cut into windows and heads, joined, gathered, normalized and
reduced, at any rank from 2 to 6, between convolutions. The images are not always the first axis,
and sometimes share it with windows. Each image's answer depends on that image alone, except in a
small share of the networks, whose option ``mixes`` says so. They are networks of onnx_networks,
whose layers are drawn so that they fit.
"""

import math
from functools import partial

import numpy as np

from tools.hostile import traffic
from tools.hostile.networks import InvalidNetworkError, Layer

MOST_VALUES = 1 << 14  # of one image
WORK = 2e7  # multiply-adds of all images
MIXING = 0.06  # of the networks
WIDTHS = (1, 2, 3, 4, 5, 7, 8, 12, 15, 16, 17, 20, 24, 31, 32, 33, 40, 48, 64)
COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 16, 17, 18, 25)
# The methods of Tokens that add layers, with their weights in the draw. The order of the names
# decides what a seed draws.
MOVES = {
    "linear": 5,
    "norm": 4,
    "attention": 4,
    "product": 2,
    "softmax": 2,
    "transpose": 3,
    "reshape": 4,
    "cut": 3,
    "gather": 2,
    "join": 3,
    "token": 2,
    "residual": 4,
    "activation": 4,
    "constant": 3,
    "gate": 2,
    "combine": 2,
    "reduce": 2,
    "conv": 3,
    "windows": 2,
    "block": 3,
    "to_tokens": 2,
    "to_pixels": 2,
    "pad": 1,
    "repeat": 1,
    "so_far": 1,
    "largest": 1,
    "unit": 1,
    "elements": 1,
}
# Moves that take a value of this rank only, with the images on its first axis.
RANKS = {"conv": 4, "windows": 4, "to_tokens": 4, "to_pixels": 3, "block": 3, "token": 3}
ACTIVATIONS = (
    "Relu",
    "Sigmoid",
    "Tanh",
    "written_gelu",
    "written_gelu",  # drawn twice as often
    "written_silu",
    "HardSwish",
    "LeakyRelu",
    "Softplus",
    "Neg",
    "Abs",
    "square",
    "Sin",
    "Atan",
)
MIXES = ("softmax", "mean", "first", "gram", "shuffle", "twice")


class Tokens:
    """A network that grows; a move that does not fit raises IndexError or ValueError.

    A value has a number, as in ``Layer.inputs``. ``shapes`` and ``axes`` are indexed by it.
    """

    def __init__(self, d):
        self.d = d  # the Draw, which makes all choices
        images = d.pick([1, 3, 64])
        how = {"images": images, "threads": d.pick([2, 3]), "forget": d.chance(0.8)}
        self.work = WORK / images  # multiply-adds of one image that are left
        self.width = d.pick(WIDTHS)
        self.opset = d.pick([*range(11, 23), 17, 17, 20])
        pixels = [d.pick([1, 3, 4, 8, self.width]), *d.two([4, 6, 7, 8, 12, 14])]
        shape = d.pick([pixels, pixels, [d.pick(COUNTS), self.width], [self.width]])
        d.begin("onnx", shape, shapes, opset=self.opset, **how)
        self.layers, self.shapes = d.network.layers, d.shapes
        self.axes = [0]  # the axis of the images, for each value; -1 where they are mixed

    def value(self, fits=lambda shape, axis: True):
        """Return one of the values that fit: any, one of the last, or one that is unused."""
        every = enumerate(zip(self.shapes, self.axes, strict=True))
        values = [i for i, (shape, axis) in every if axis >= 0 and fits(shape, axis)]
        used = {i for layer in self.layers for i in layer.inputs}
        unused = [i for i in values if i not in used] or values
        return self.d.pick(self.d.pick([values, values[-4:], values[-1:], unused, unused]))

    def add(self, op, *inputs, images=None, **attributes):
        """Add a layer and return its value.

        ``images`` is the axis of the images, where it is not that of the first input.
        """
        self.layers.append(Layer(op, [*inputs], attributes))
        self.shapes.append(shape_of(self.layers[-1], self.shapes))
        self.axes.append(self.axes[inputs[0]] if images is None else images)
        shape = self.shapes[-1]
        if math.prod(shape) // 2 > MOST_VALUES or not 2 <= len(shape) <= 6 or 0 in shape:
            raise ValueError("too large, or of another rank")
        return len(self.layers)

    def costs(self, work):
        """Take multiply-adds from what is left."""
        if work > self.work:
            raise ValueError("too much work")
        self.work -= work

    def of(self, x):
        """Return the shape of a value and the axis of its images."""
        return self.shapes[x], self.axes[x]

    def other_axes(self, x):
        """Return the axes that do not hold the images."""
        shape, axis = self.of(x)
        return [i for i in range(len(shape)) if i != axis]

    def new_width(self):
        return self.d.pick([self.width, self.width, self.d.pick(WIDTHS)])

    def heads(self, width):
        """Return a number of heads that divides a width."""
        return self.d.pick([count for count in (1, 2, 3, 4, 5, 8) if width % count == 0])

    # The next functions are parts of moves, and no moves by themselves.

    def turned(self, x, perm):
        """Transpose."""
        if perm == sorted(perm):
            return x
        return self.add("Transpose", x, images=perm.index(self.axes[x]), perm=perm)

    def shaped(self, x, sizes, axis):
        """Reshape to these sizes; the size -1 is that of the images, at ``axis``.

        Sometimes the network computes that size from the shape of the input, as exporters do.
        """
        before, at = self.of(x)
        reshaped = self.add("Reshape", x, images=axis, shape=sizes)
        if self.d.chance(0.4):
            after = self.shapes[reshaped]
            common = math.gcd(before[at], after[axis])
            factors = [after[axis] // common, before[at] // common]
            self.layers[-1].attributes["computed"] = [at, *factors]
        return reshaped

    def as_is(self, x):
        """Return the sizes of a value as a Reshape names them: -1 for the axis of the images."""
        shape, axis = self.of(x)
        return [-1 if i == axis else size for i, size in enumerate(shape)]

    def projected(self, x, out=None, **how):
        """Multiply by a matrix, mostly with a bias."""
        shape, axis = self.of(x)
        if axis == len(shape) - 1:
            raise ValueError("the images are the features")
        out = out or self.new_width()
        self.costs(math.prod(shape) // 2 * out)
        bias = self.d.pick([[0], [0], [0], None])
        first = {"bias_first": True} if bias and self.d.chance(0.3) else {}
        return self.add("linear", x, out=out, bias=bias, **first, **how)

    def multiplied(self, x, y, **scale):
        """Multiply two values, whose images are among their leading axes."""
        left, left_axis = self.of(x)
        right, right_axis = self.of(y)
        if max(left_axis, right_axis) > len(left) - 3 or left[-1] != right[-2]:
            raise ValueError("no such product")
        self.costs(math.prod(left) // 2 * right[-1])
        return self.add("Product", x, y, **scale)

    # Moves.

    def linear(self, x):
        shape, axis = self.of(x)
        kind = self.d.pick(["plain", "plain", "plain", "left", "batched"])
        if kind == "plain" or len(shape) < 3:
            self.projected(x)
        elif kind == "left" and axis < len(shape) - 2:
            out = self.d.pick(COUNTS)
            self.costs(math.prod(shape) // 2 * out)
            self.add("left_matmul", x, out=out)
        elif axis == 0 and len(shape) > 3:
            self.projected(x, batched=True)

    def norm(self, x):
        """Normalize the last axes, or one axis, or the channels, as written or fused."""
        shape, axis = self.of(x)
        last = [*range(axis + 1, len(shape))]
        if not last or self.d.chance(0.3):
            axes = [self.d.pick(self.other_axes(x))]
        else:
            axes = last[-self.d.pick([1, 1, 1, 1, 2]) :]
        ends = axes == [*range(len(shape) - len(axes), len(shape))]
        how = self.d.some(bias=(0.2, False), epsilon=(0.4, 1e-3))
        if ends and self.opset >= 17 and self.d.chance(0.7):
            at = self.d.pick([axes[0], axes[0] - len(shape)])
            return self.add("LayerNormalization", x, axis=at, **how)
        squares = self.d.pick(["Pow", "Mul"])
        return self.add("written_norm", x, axes=axes, squares=squares, **how)

    def softmax(self, x):
        allowed = self.other_axes(x)
        if self.opset < 13:  # which takes all axes from that one on as one
            allowed = [i for i in allowed if i > self.axes[x]]
        at = self.d.pick([*allowed, *allowed[-1:]])
        rank = len(self.shapes[x])
        op = self.d.pick(["Softmax", "Softmax", "Softmax", "LogSoftmax"])
        return self.add(op, x, axis=self.d.pick([at, at - rank]))

    def product(self, x):
        """Multiply two values that fit, or one with its transpose."""
        shape, axis = self.of(x)
        if axis > len(shape) - 3:
            raise ValueError("the images are in the matrices")

        def fits(other, at):
            return [*other[:-2], at, *other[-2:-1]] == [*shape[:-2], axis, *shape[-1:]]

        try:
            y = self.value(fits) if self.d.chance(0.5) else None
        except IndexError:
            y = None
        if y is None:
            rank = len(shape)
            y = self.turned(x, [*range(rank - 2), rank - 1, rank - 2])
        self.multiplied(x, y, **self.d.some(scale=(0.6, shape[-1] ** -0.5)))

    def attention(self, x):
        """Attend to tokens, which are the last axis but one of a value of rank 3 or 4."""
        shape, axis = self.of(x)
        rank, tokens, width = len(shape), shape[-2], shape[-1]
        if rank not in (3, 4) or axis != 0 or tokens == 1:
            raise ValueError("no tokens")
        if rank == 4:
            x = self.shaped(x, [-1, tokens, width], 0)
        heads = self.heads(width)
        head_width = width // heads
        query, key, value = self.query_key_value(x, heads)
        scale = {"scale": head_width**-0.5}
        if self.d.chance(0.4):
            query, scale = self.add("scaled", query, scale=head_width**-0.5), {}
        scores = self.multiplied(query, self.turned(key, [0, 1, 3, 2]), **scale)
        if self.d.chance(0.3):  # a bias for each position
            scores = self.add("constant_of", scores, of="Add", shape=[1, 0, 0, 0])
        weights = self.add("Softmax", scores, axis=-1)
        mixed = self.turned(self.multiplied(weights, value), [0, 2, 1, 3])
        joined_heads = self.shaped(mixed, [-1, tokens, width], 0)
        attended = self.projected(joined_heads, width)
        if rank == 4:
            attended = self.shaped(attended, [-1, *shape[1:]], 0)
        return attended

    def query_key_value(self, x, heads):
        """Return query, key and value, each of the shape [images, heads, tokens, head width]."""
        _, tokens, width = self.shapes[x]
        head_width = width // heads
        if self.d.chance(0.5):
            joint = self.projected(x, 3 * width)
            if self.d.chance(0.6):  # timm writes it in this way
                apart = self.shaped(joint, [-1, tokens, 3, heads, head_width], 0)
                apart = self.turned(apart, [2, 0, 3, 1, 4])
                return [self.add("Gather", apart, images=0, axis=0, places=i) for i in range(3)]
            sizes = [width] * 3
            parts = [self.add("Split", joint, axis=2, sizes=sizes, take=i) for i in range(3)]
        else:
            parts = [self.projected(x, width) for _ in range(3)]
        return [self.split_heads(part, heads) for part in parts]

    def split_heads(self, x, heads):
        _, tokens, width = self.shapes[x]
        split_width = self.shaped(x, [-1, tokens, heads, width // heads], 0)
        return self.turned(split_width, [0, 2, 1, 3])

    def windows(self, x):
        """Cut pixels into windows, do something in each, and mostly join the windows again."""
        shape, axis = self.of(x)
        if len(shape) != 4 or axis != 0:
            raise ValueError("no pixels")
        channels_first = self.d.chance(0.3)
        if channels_first:
            x = self.turned(x, [0, 2, 3, 1])
        _, height, width, channels = self.shapes[x]
        size = self.window_size(height, width)
        if self.d.chance(0.3):
            x = self.shifted(x, size // 2 or 1)
        grid = [height // size, width // size]
        apart = self.shaped(x, [-1, grid[0], size, grid[1], size, channels], 0)
        # Windows are neighbouring pixels, or pixels at equal distances.
        perm = self.d.pick([[0, 1, 3, 2, 4, 5], [0, 2, 4, 1, 3, 5]])
        windows = self.turned(apart, perm)
        neighbours = perm[1] == 1
        inner, outer = ([size, size], grid) if neighbours else (grid, [size, size])
        parts = self.in_each_window(windows, inner, channels)
        if parts is None:
            return
        back = self.shaped(parts, [-1, *outer, *inner, channels], 0)
        back = self.turned(back, [perm.index(i) for i in range(6)])
        whole = self.shaped(back, [-1, height, width, channels], 0)
        if channels_first:
            whole = self.turned(whole, [0, 3, 1, 2])
        if self.d.chance(0.5) and self.shapes[whole] == self.shapes[x]:
            self.add("Add", x, whole)

    def window_size(self, height, width):
        sizes = [size for size in (2, 3, 4, 7) if height % size == 0 and width % size == 0]
        return self.d.pick(sizes)

    def shifted(self, x, by):
        """Roll the rows and the columns of pixels."""
        return self.rolled(self.rolled(x, 1, by), 2, by)

    def in_each_window(self, windows, inner, channels):
        """Do something in each window; return None where the windows are not joined again."""
        flat = self.d.chance(0.7)
        last = [inner[0] * inner[1], channels] if flat else [*inner, channels]
        parts = self.shaped(windows, [-1, *last], 0)
        if self.d.chance(0.2):
            return None
        move = self.d.pick([self.norm, self.activated, self.attention, self.attention])
        parts = move(parts)
        if parts is None or self.shapes[parts][1:] != last:
            raise ValueError("another shape")
        return parts

    def rolled(self, x, axis, by):
        """Roll an axis, by joining two slices of it in the other order."""
        size = self.shapes[x][axis]
        if by >= size:
            raise ValueError("too far")
        behind = self.add("Slice", x, axes=[axis], starts=[by], ends=[size])
        before = self.add("Slice", x, axes=[axis], starts=[0], ends=[by])
        return self.add("Concat", behind, before, axis=axis)

    def block(self, x):
        """Add a block of a transformer."""
        shape, axis = self.of(x)
        if len(shape) != 3 or axis != 0:
            raise ValueError("no tokens")
        y = self.attention(self.norm_of_last(x)) if self.d.chance(0.7) else self.mixer(x)
        if self.d.chance(0.3):
            y = self.add("constant_of", y, of="Mul", shape=[0])
        x = self.add("Add", *self.d.sample([x, y], 2))
        y = self.norm_of_last(x)
        y = self.activated(self.projected(y, self.d.pick([2, 3, 4]) * shape[2]))
        self.add("Add", x, self.projected(y, shape[2]))

    def norm_of_last(self, x):
        if self.opset >= 17 and self.d.chance():
            return self.add("LayerNormalization", x, axis=-1)
        return self.add("written_norm", x, axes=[len(self.shapes[x]) - 1], squares="Pow")

    def mixer(self, x):
        """Mix the tokens of each channel."""
        tokens = self.shapes[x][1]
        turned = self.turned(self.norm_of_last(x), [0, 2, 1])
        mixed = self.projected(self.activated(self.projected(turned, 2 * tokens)), tokens)
        return self.turned(mixed, [0, 2, 1])

    def transpose(self, x):
        axes = [*range(len(self.shapes[x]))]
        perm = self.d.sample(axes, len(axes))
        if self.d.chance(0.4):  # frameworks often swap two axes
            one, two = self.d.sample(axes, 2)
            perm = axes
            perm[one], perm[two] = perm[two], perm[one]
        self.turned(x, perm)

    def reshape(self, x):
        """Split an axis or merge some."""
        if self.d.chance(0.5) and len(self.shapes[x]) < 6:
            self.split_axis(x)
        else:
            self.merge_axes(x)

    def split_axis(self, x):
        shape, axis = self.of(x)
        sizes = self.as_is(x)
        at = self.d.pick([*self.other_axes(x), axis])
        size = shape[at] // 2 if at == axis else shape[at]
        divisors = [divisor for divisor in range(2, size + 1) if size % divisor == 0]
        part = self.d.pick([*divisors, 1])
        inner = [-1, part] if at == axis else [size // part, part]
        new_axis = axis + 1 if at < axis else axis
        self.shaped(x, [*sizes[:at], *inner, *sizes[at + 1 :]], new_axis)

    def merge_axes(self, x):
        """Merge some axes; the images stay the outermost of those they are merged with."""
        shape, axis = self.of(x)
        sizes = self.as_is(x)
        at = self.d.pick([i for i in range(len(shape) - 1) if i + 1 != axis])
        count = self.d.pick([2, 2, 3])
        end = at + count
        if end > len(shape) or at < axis < end:
            raise ValueError("the images would not be outermost")
        merged = -1 if at == axis else math.prod(sizes[at:end])
        new_axis = axis - (count - 1) if end <= axis else axis
        self.shaped(x, [*sizes[:at], merged, *sizes[end:]], new_axis)

    def cut(self, x):
        """Cut out of axes, sometimes with a step, or split one."""
        shape = self.shapes[x]
        axes = self.d.sample(self.other_axes(x), self.d.pick([1, 1, min(2, len(shape) - 1)]))
        if self.d.chance(0.3):
            self.split_in_two(x, axes[0])
            return
        starts = [self.d.randrange(shape[i]) for i in axes]
        ends = [self.d.randint(start + 1, shape[i]) for start, i in zip(starts, axes, strict=True)]
        steps = {"steps": [self.d.pick([1, 2, 3]) for _ in axes]}
        attributes = {"starts": starts, "ends": ends, "axes": axes}
        if self.d.chance(0.3):
            attributes |= steps
        self.add("Slice", x, **attributes)

    def split_in_two(self, x, axis):
        size = self.shapes[x][axis]
        first = self.d.randrange(1, size)
        sizes = self.d.pick([[first, size - first], [size // 2] * 2])
        if sum(sizes) != size or 0 in sizes:
            raise ValueError("no halves")
        for part in range(2):
            self.add("Split", x, axis=axis, sizes=sizes, take=part)

    def gather(self, x):
        """Take places of an axis: one, some in any order, or a table of them."""
        shape, axis = self.of(x)
        at = self.d.pick(self.other_axes(x))
        place = self.d.randrange(shape[at])
        some = [self.d.randrange(shape[at]) for _ in range(self.d.pick([1, 2, 3, 6]))]
        table = [some, some[::-1]]
        places = self.d.pick([place, some, table if len(shape) < 6 else some])
        new_axis = axis + np.ndim(places) - 1 if at < axis else axis
        self.add("Gather", x, images=new_axis, axis=at, places=places)

    def join(self, x):
        """Concatenate values along any axis that has no images."""
        shape, axis = self.of(x)
        at = self.d.pick(self.other_axes(x))

        def fits(other, images):
            if len(other) != len(shape) or images != axis:
                return False
            return all(other[i] == shape[i] for i in range(len(shape)) if i != at)

        values = [x, *(self.value(fits) for _ in range(self.d.pick([1, 1, 2])))]
        self.add("Concat", *self.d.sample(values, len(values)), axis=at)

    def token(self, x):
        """Put a token that is the same for all images before the others, or behind them."""
        shape, axis = self.of(x)
        if axis != 0 or len(shape) != 3:
            raise ValueError("no tokens")
        how = {"count": self.d.pick([1, 1, 1, 2, 4]), "behind": self.d.chance(0.2)}
        how["written"] = self.d.pick(["shape", "shape", "where"])
        x = self.add("class_token", x, **how)
        if self.d.chance(0.6):  # positions
            self.add("constant_of", x, of="Add", shape=[1, 0, 0])

    def residual(self, x):
        shape, axis = self.of(x)
        other = self.value(lambda s, images: s == shape and images == axis)
        op = self.d.pick(["Add", "Add", "Add", "Mul", "Sub", "Max"])
        self.add(op, *self.d.sample([x, other], 2))

    def activated(self, x):
        kinds = [*ACTIVATIONS, "Gelu", "Gelu"] if self.opset >= 20 else ACTIVATIONS
        op = self.d.pick(kinds)
        if op == "HardSwish" and self.opset < 14:
            op = "Relu"
        more = {"approximate": self.d.pick(["none", "tanh"])} if op == "Gelu" else {}
        return self.add(op, x, **more)

    def activation(self, x):
        self.activated(x)

    def constant(self, x):
        """Combine with a constant that is broadcast along some axes; never along fewer images."""
        shape, axis = self.of(x)
        sizes = [1 if i == axis else self.d.pick([0, 0, 1]) for i in range(len(shape))]
        left_out = self.d.randint(0, axis if self.d.chance(0.4) else 0)
        if self.d.chance(0.5):  # leading ones may be left out
            left_out = next((i for i, size in enumerate(sizes) if size != 1), len(sizes) - 1)
        of = self.d.pick(["Add", "Add", "Mul", "Mul", "Sub", "Max"])
        self.add("constant_of", x, of=of, shape=sizes[left_out:], **self.d.some(first=(0.3, True)))

    def gate(self, x):
        """Reduce some axes, and combine the result with the value or with another reduction."""
        axes = self.d.sample(self.other_axes(x), self.d.randint(1, len(self.shapes[x]) - 1))
        small = self.reduced(x, axes, 1)
        if self.d.chance(0.3):
            other_axes = [i for i in self.other_axes(x) if i not in axes]
            if other_axes:
                x = self.reduced(x, other_axes, 1)
        if self.d.chance(0.5):
            small = self.add("Sigmoid", small)
        op = self.d.pick(["Mul", "Add", "Sub"])
        both = self.d.sample([x, small], 2)
        self.add(op, *both)

    def combine(self, x):
        """Combine two values of which one is broadcast; it may have a lower rank."""
        shape, axis = self.of(x)

        def fits(other, images):
            missing = len(shape) - len(other)
            if missing < 0 or images + missing != axis or other[images] != shape[axis]:
                return False
            pairs = zip(shape[missing:], other, strict=True)
            return all(size in (whole, 1) for whole, size in pairs)

        other = self.value(fits)
        op = self.d.pick(["Mul", "Add", "Sub"])
        if self.d.chance(0.5) or len(self.shapes[other]) < len(shape):
            self.add(op, x, other)
        else:
            self.add(op, other, x)

    def so_far(self, x):
        """Sum the values so far along an axis, scaled to about the size of the inputs."""
        at = self.d.pick(self.other_axes(x))
        how = self.d.some(reverse=(0.3, 1), exclusive=(0.3, 1))
        sums = self.add("CumSum", x, axis=at, **how)
        self.add("scaled", sums, scale=1 / self.shapes[x][at])

    def largest(self, x):
        at = self.d.pick(self.other_axes(x))
        count = self.d.randint(1, self.shapes[x][at])
        self.add("TopK", x, axis=at, count=count, largest=self.d.pick([0, 1, 1]))

    def unit(self, x):
        """Make unit vectors of at least two values: that of a single one is its sign."""
        shape, _ = self.of(x)
        at = self.d.pick([i for i in self.other_axes(x) if shape[i] > 1])
        self.add("LpNormalization", x, axis=at, p=self.d.pick([1, 2]))

    def elements(self, x):
        """Take values by a table of places, which is the same for all images."""
        shape, axis = self.of(x)
        if axis != 0 or shape[0] != 2:
            raise ValueError("several entries of an image")
        at = self.d.pick(self.other_axes(x))
        self.add("GatherElements", x, axis=at, count=self.d.pick([1, 2, shape[at]]))

    def reduced(self, x, axes, keepdims):
        op = self.d.pick(["ReduceMean", "ReduceMean", "ReduceMax", "ReduceSum", "ReduceMin"])
        axis = self.axes[x]
        new_axis = axis if keepdims else axis - sum(i < axis for i in axes)
        rank = len(self.shapes[x])
        named = [self.d.pick([i, i - rank]) for i in axes]
        small = self.add(op, x, images=new_axis, axes=named, keepdims=keepdims)
        if op == "ReduceSum":  # is scaled to about the size of its inputs
            count = math.prod(self.shapes[x][i] for i in axes)
            small = self.add("scaled", small, scale=1 / count)
        return small

    def reduce(self, x):
        axes = self.d.sample(self.other_axes(x), self.d.randint(1, len(self.shapes[x]) - 1))
        self.reduced(x, sorted(axes), self.d.pick([0, 0, 1]))

    def conv(self, x):
        shape, axis = self.of(x)
        if axis != 0 or len(shape) != 4:
            raise ValueError("no pixels")
        images, channels, height, width = shape
        if self.d.chance(0.15):
            self.add(self.d.pick(["MaxPool", "AveragePool"]), x, kernel_shape=[3, 3], pads=[1] * 4)
            return
        out = self.d.pick([channels, self.new_width()])
        fitting = [each for each in (1, 1, 1, channels) if channels % each == 0 and out % each == 0]
        group = self.d.pick(fitting)
        kernel = self.d.pick([1, 1, 3, 5, 2])
        stride = 2 if kernel == 2 else 1
        self.costs(kernel**2 * channels * out / group * height * width * images // 2)
        how = {"strides": [2, 2]} if stride == 2 else {"pads": [kernel // 2] * 4}
        how |= self.d.some(bias=(0.3, False), group=(group > 1, group))
        self.add("Conv", x, out=out, kernel=[kernel] * 2, **how)

    def to_tokens(self, x):
        """Turn pixels, with their channels first or last, into tokens."""
        shape, axis = self.of(x)
        if axis != 0 or len(shape) != 4:
            raise ValueError("no pixels")
        if self.d.chance(0.2):
            self.shaped(x, [-1, shape[1] * shape[2], shape[3]], 0)
        elif self.d.chance(0.7):
            flat = self.shaped(x, [-1, shape[1], shape[2] * shape[3]], 0)
            self.turned(flat, [0, 2, 1])
        else:
            turned = self.turned(x, [0, 2, 3, 1])
            self.shaped(turned, [-1, shape[2] * shape[3], shape[1]], 0)

    def to_pixels(self, x):
        """Turn tokens into pixels."""
        shape, axis = self.of(x)
        if axis != 0 or len(shape) != 3:
            raise ValueError("no tokens")
        _, count, width = shape
        rows = self.d.pick([each for each in range(1, count + 1) if count % each == 0])
        columns = count // rows
        if self.d.chance(0.6):
            self.shaped(self.turned(x, [0, 2, 1]), [-1, width, rows, columns], 0)
        else:
            whole = self.shaped(x, [-1, rows, columns, width], 0)
            self.turned(whole, [0, 3, 1, 2])

    def pad(self, x):
        shape = self.shapes[x]
        pads = [[0] * len(shape), [0] * len(shape)]
        for at in self.d.sample(self.other_axes(x), self.d.pick([1, min(2, len(shape) - 1)])):
            pads[self.d.pick([0, 1, 1])][at] = self.d.pick([1, 2, 3])
        fits = all(max(both) < size for *both, size in zip(*pads, shape, strict=True))
        modes = ["constant", "constant", "edge", "reflect"] if fits else ["constant", "constant"]
        mode = self.d.pick(modes)
        self.add("Pad", x, mode=mode, pads=pads[0] + pads[1])

    def repeat(self, x):
        sizes = [1] * len(self.shapes[x])
        sizes[self.d.pick(self.other_axes(x))] = self.d.pick([2, 3])
        self.add("Tile", x, repeats=sizes)

    def mix(self, x):
        """Let the answer of an image depend on others; no other move uses the values between."""
        shape, axis = self.of(x)
        before = len(self.layers)
        rank = len(shape)
        how = self.d.pick(MIXES)
        if how == "softmax" and self.opset >= 13:
            self.add("Softmax", x, axis=axis)
        elif how == "mean":
            small = self.add(self.d.pick(["ReduceMean", "ReduceMax"]), x, axes=[axis], keepdims=1)
            self.add(self.d.pick(["Sub", "Add"]), x, small)
        elif how == "first":
            first = self.add("Slice", x, axes=[axis], starts=[0], ends=[1])
            self.add("Add", x, first)
        elif how == "gram" and axis == rank - 2:
            perm = [*range(rank - 2), rank - 1, rank - 2]
            turned = self.add("Transpose", x, perm=perm)
            scores = self.add("Product", x, turned, scale=shape[-1] ** -0.5)
            self.add("Product", scores, x, images=axis)
        elif how == "shuffle" and axis == 0 and shape[1] > 1:
            swapped = self.add("Reshape", x, images=1, shape=[shape[1], -1, *shape[2:]])
            self.add("Transpose", swapped, images=0, perm=[1, 0, *range(2, rank)])
        elif how == "twice" and axis == 0:
            both = self.add("Concat", x, x, axis=0)
            self.add("Slice", both, axes=[0], starts=[1], ends=[2**31 - 1], steps=[2])
        else:
            raise ValueError("not of this value")
        self.axes[before + 1 : -1] = [-1] * (len(self.layers) - before - 1)
        self.d.network.options["mixes"] = True

    def end(self, x):
        """Return a value whose first axis is that of the images, made of any value."""
        shape, axis = self.of(x)
        rank = len(shape)
        if axis != 0:
            x = self.turned(x, [axis, *self.other_axes(x)])
        shape = self.shapes[x]
        if shape[0] != 2:
            flat = self.d.chance(0.5) or rank == 6
            of_one_image = [math.prod(shape) // 2] if flat else [shape[0] // 2, *shape[1:]]
            x = self.shaped(x, [-1, *of_one_image], 0)
        return x

    def drop(self, count):
        """Drop all layers but the first ``count``."""
        del self.layers[count:], self.shapes[count + 1 :], self.axes[count + 1 :]


def fits(rank, shape, axis):
    return rank is None or (len(shape) == rank and axis == 0)


def draw(d):
    """Draw a network of up to 40 layers and several outputs."""
    tokens = Tokens(d)
    most = d.pick([d.randint(2, 30), 12, 36])
    mixes = d.chance(MIXING)
    mix_from = d.randrange(most) if mixes else None
    draw_layers(tokens, most, mix_from)
    outputs = draw_outputs(tokens, every_end=mixes)
    d.network.outputs = [*dict.fromkeys(tokens.end(x) for x in outputs)]
    if not tokens.layers:
        raise InvalidNetworkError("nothing was drawn")
    return d.network


def draw_layers(tokens, most, mix_from):
    """Make moves until there are ``most`` layers, or many moves did not fit.

    ``mix_from`` is the number of layers from which on the images are mixed, once; or None.
    """
    d = tokens.d
    for _ in range(6 * most):
        before = len(tokens.layers)
        move = d.choices([*MOVES], [*MOVES.values()])[0]
        if mix_from is not None and before >= mix_from and "mixes" not in d.network.options:
            move = "mix"
        try:
            x = tokens.value(partial(fits, RANKS.get(move)))
            getattr(tokens, move)(x)
        except (IndexError, ValueError):  # no value fits, or the move does not
            tokens.drop(before)
        if len(tokens.layers) >= most:
            break


def draw_outputs(tokens, *, every_end):
    """Return the values that the network gives: some that no layer uses, and sometimes another.

    With ``every_end`` they are all that no layer uses: without them a mix of images might be left
    out.
    """
    d, layers = tokens.d, tokens.layers
    used = {i for layer in layers for i in layer.inputs}
    values = [i for i in range(1, len(layers) + 1) if tokens.axes[i] >= 0] or [0]
    ends = [i for i in values if i not in used]
    more = [d.pick(values) for _ in range(d.pick([0, 0, 1]))]
    some = d.sample(ends, min(len(ends), d.pick([1, 2, 3])))
    return (ends if every_end else some) + more


def shapes(network):
    """Return the shapes of all values, of two images; a framework would take long."""
    return traffic.shapes(network, shape_of)


def joined(of, *shapes):
    arrays = [np.empty(shape, bool) for shape in shapes]
    return [*np.concatenate(arrays, of["axis"]).shape]


def gathered(of, shape):
    return [*np.take(np.empty(shape, bool), of["places"], axis=of["axis"]).shape]


def split(of, shape):
    return [*shape[: of["axis"]], of["sizes"][of["take"]], *shape[of["axis"] + 1 :]]


def reduced(of, shape):
    axes = tuple(of["axes"])
    return [*np.empty(shape, bool).any(axis=axes, keepdims=bool(of["keepdims"])).shape]


def counted(of, shape):
    return [*shape[: of["axis"]], of["count"], *shape[of["axis"] + 1 :]]


def sliced(of, shape):
    sizes = [*shape]
    steps = of.get("steps", [1] * len(of["axes"]))
    for axis, start, end, step in zip(of["axes"], of["starts"], of["ends"], steps, strict=True):
        sizes[axis] = len(range(*slice(start, end, step).indices(shape[axis])))
    return sizes


SHAPES = {
    **traffic.SHAPES,
    **dict.fromkeys(["Sub", "Max"], traffic.combined),
    **dict.fromkeys(["ReduceMean", "ReduceMax", "ReduceSum", "ReduceMin"], reduced),
    "linear": lambda of, shape: [*shape[:-1], of["out"]],
    "left_matmul": lambda of, shape: [*shape[:-2], of["out"], shape[-1]],
    "Product": lambda _, x, y: [*np.broadcast_shapes(x[:-2], y[:-2]), x[-2], y[-1]],
    "class_token": lambda of, shape: [shape[0], shape[1] + of["count"], *shape[2:]],
    **dict.fromkeys(["TopK", "GatherElements"], counted),
    "Concat": joined,
    "Gather": gathered,
    "Split": split,
    "Slice": sliced,
}
"""Functions that return the shape of an operator's output from its attributes and input shapes.

The output of any other operator has the shape of its first input."""


def shape_of(layer, known):
    first, *others = (known[i] for i in layer.inputs)
    if layer.op not in SHAPES:
        return [*first]
    return SHAPES[layer.op](layer.attributes, first, *others)
