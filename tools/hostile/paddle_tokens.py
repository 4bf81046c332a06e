"""Networks of tokens as Paddle's: what tools.hostile.tokens draws, in the operators of Paddle.

What Paddle computes is what is expected, so an operator may become another one of the same shape.
"""

from tools.hostile import tokens
from tools.hostile.networks import InvalidNetworkError, Layer, Network

BINARY = {"Add": "add", "Sub": "subtract", "Mul": "multiply", "Max": "maximum"}
REDUCED = {"ReduceMean": "mean", "ReduceMax": "max", "ReduceMin": "min", "ReduceSum": "sum"}
SIMPLE = {
    "Relu": ("relu", {}),
    "Sigmoid": ("sigmoid", {}),
    "Tanh": ("tanh", {}),
    "Abs": ("abs", {}),
    "square": ("square", {}),
    "written_silu": ("silu", {}),
    "HardSwish": ("hardswish", {}),
    "LeakyRelu": ("leaky_relu", {"negative_slope": 0.01}),
    "Softplus": ("softplus", {"beta": 1, "threshold": 20}),
    "written_gelu": ("gelu", {"approximate": False}),
    "Sin": ("sin", {}),
    "Atan": ("tanh", {}),
    "Neg": ("scale", {"scale": -1.0, "bias": 0.0, "bias_after_scale": True}),
}


class Translation:
    """A network of Paddle's operators that grows by the layers of one of ONNX's."""

    def __init__(self, network):
        self.known = tokens.shapes(network)
        self.layers = []

    def add(self, op, *inputs, **attributes):
        """Add a layer; return its value."""
        self.layers.append(Layer(op, [*inputs], attributes))
        return len(self.layers)

    def one(self, layer, inputs):
        """Add what a layer becomes; return its value."""
        of, op = layer.attributes, layer.op
        shape = self.known[layer.inputs[0]]
        if op in SIMPLE:
            kind, attributes = SIMPLE[op]
            return self.add(kind, *inputs, **attributes)
        if op in BINARY:
            return self.add("binary", *inputs, of=BINARY[op])
        if op in REDUCED:
            keepdim = bool(of["keepdims"])
            return self.add(REDUCED[op], *inputs, axis=of["axes"], keepdim=keepdim)
        method = getattr(self, op.lower(), None)
        if method is None:
            raise InvalidNetworkError(f"{op} has no counterpart in Paddle")
        return method(shape, *inputs, **of)

    def transpose(self, _, x, perm):
        return self.add("transpose", x, perm=perm)

    def reshape(self, _, x, shape, **__):
        return self.add("reshape", x, shape=shape)

    def linear(self, _, x, out, bias, **__):
        return self.add("linear", x, out=out, bias=bias is not None)

    def left_matmul(self, shape, x, out):
        rank = len(shape)
        perm = [*range(rank - 2), rank - 1, rank - 2]
        turned = self.add("linear", self.add("transpose", x, perm=perm), out=out)
        return self.add("transpose", turned, perm=perm)

    def product(self, _, x, y, **__):
        return self.add("matmul", x, y)

    def scaled(self, _, x, scale):
        return self.add("scale", x, scale=scale, bias=0.0, bias_after_scale=True)

    def softmax(self, _, x, axis):
        return self.add("softmax", x, axis=axis)

    def cumsum(self, _, x, axis, **__):
        return self.add("softmax", x, axis=axis)

    def lpnormalization(self, _, x, axis, p):
        return self.add("softmax", x, axis=axis)

    def topk(self, _, x, axis, count, largest):
        return self.add("slice", x, axes=[axis], starts=[0], ends=[count])

    def gatherelements(self, _, x, axis, count):
        return self.add("slice", x, axes=[axis], starts=[0], ends=[count])

    def logsoftmax(self, _, x, axis):
        return self.add("log_softmax", x, axis=axis)

    def layernormalization(self, shape, x, axis, **more):
        return self.written_norm(shape, x, [*range(axis % len(shape), len(shape))], **more)

    def written_norm(self, shape, x, axes, bias=True, **_):
        if axes == [len(shape) - 1]:
            return self.add("layer_norm", x, axis=axes[0], bias=bias)
        centred = self.add("binary", x, self.add("mean", x, axis=axes, keepdim=True), of="subtract")
        squares = self.add("mean", self.add("square", centred), axis=axes, keepdim=True)
        return self.add("binary", centred, self.add("rsqrt", squares), of="multiply")

    def slice(self, _, x, axes, starts, ends, steps=None):
        if steps is None:
            return self.add("slice", x, axes=axes, starts=starts, ends=ends)
        return self.add("strided_slice", x, axes=axes, starts=starts, ends=ends, strides=steps)

    def gather(self, _, x, axis, places):
        if isinstance(places, int):
            one = self.add("slice", x, axes=[axis], starts=[places], ends=[places + 1])
            return self.add("squeeze", one, axis=[axis])
        if isinstance(places[0], list):
            return self.add("stack", *(self.gather(_, x, axis, row) for row in places), axis=axis)
        parts = [self.add("slice", x, axes=[axis], starts=[i], ends=[i + 1]) for i in places]
        return self.add("concat", *parts, axis=axis)

    def split(self, _, x, axis, sizes, take):
        return self.add("split", x, parts=sizes, axis=axis, take=take)

    def concat(self, _, *parts, axis):
        return self.add("concat", *parts, axis=axis)

    def constant_of(self, _, x, of, shape, **more):
        return self.add("constant", x, of=BINARY[of], shape=shape, **more)

    def gelu(self, _, x, approximate):
        return self.add("gelu", x, approximate=approximate == "tanh")

    def class_token(self, _, x, count, behind, **__):
        return self.add("class_token", x, count=count, behind=behind)

    def conv(self, _, x, out, kernel, pads=None, strides=None, group=1, bias=True):
        padding, stride = (pads or [0])[0], (strides or [1])[0]
        how = {"padding": padding, "stride": stride, "groups": group}
        return self.add("conv2d", x, out=out, kernel=kernel, bias=bias, **how)

    def maxpool(self, _, x, kernel_shape, **__):
        return self.add("max_pool2d", x, kernel_size=kernel_shape, stride=1, padding=1)

    def averagepool(self, _, x, kernel_shape, **__):
        return self.add("avg_pool2d", x, kernel_size=kernel_shape, stride=1, padding=1)

    def pad(self, shape, x, pads, **_):
        rank = len(shape)
        if rank != 4 or any(pads[:2] + pads[4:6]):
            raise InvalidNetworkError("Paddle pads rows and columns")
        return self.add("pad", x, pad=[pads[3], pads[7], pads[2], pads[6]], mode="constant")

    def tile(self, _, x, repeats):
        return self.add("tile", x, repeat_times=repeats)


def translated(network):
    """Return a network of Paddle's operators, with the first output."""
    growing, values = Translation(network), [0]
    for layer in network.layers:
        values.append(growing.one(layer, [values[i] for i in layer.inputs]))
    outputs = [values[network.outputs[0]]]
    kept = ("images", "threads", "forget", "mixes")
    options = {name: network.options[name] for name in kept if name in network.options}
    return Network(
        kind="paddle",
        shape=network.shape,
        layers=growing.layers,
        outputs=outputs,
        seed=network.seed,
        options=options,
    )


def draw(d):
    """Draw a network."""
    return translated(tokens.draw(d).pruned())
