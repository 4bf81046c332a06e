"""Networks of ONNX's operators: drawn, written as .onnx of each operator set, run in onnxruntime.

The native engine has kernels for most of the operators.
"""

import math
from functools import partial

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from tools.hostile import nodes, tokens
from tools.hostile.draw import all_of, groups_of, maybe, one_of, plain
from tools.hostile.networks import InvalidNetworkError, moved

onnxruntime.set_default_logger_severity(4)
# Operators whose axes are an input since an operator set.
AXES = {"ReduceMean": 18, "Squeeze": 13, "Unsqueeze": 13}
AXES |= {"ReduceMax": 18, "ReduceMin": 18, "ReduceSum": 13}
FLOAT32_UNIT = 2**-24  # the most that rounding to float32 changes a number by, as a share of it
PRODUCTS = {"Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum"}
_SHAPES = {}


def window(d, kernel, opset, *, pool):
    """Draw strides and paddings; an attribute at its default is now and then left out."""
    most = [size - 1 for size in kernel] if pool else [4, 4]
    pads = [d.randint(0, min(most[i % 2], 3)) for i in range(4)]
    mode = d.pick(["NOTSET", "pads", "pads", None, None, "SAME_UPPER", "SAME_LOWER", "VALID"])
    attributes = {}
    if mode == "pads":
        attributes["pads"] = pads
    elif mode is not None:
        attributes["auto_pad"] = mode
    attributes |= d.some(strides=(0.6, d.two([1, 2, 2, 3])))
    if pool and opset >= 10:
        attributes |= d.some(ceil_mode=(0.35, 1))
    return attributes


def constant(d, s):
    per_channel = [0, *[1] * (len(s) - 2)]
    every = [per_channel, [1, *per_channel], [1], [1, 1], [], [0], [d.pick([0, 1]) for _ in s]]
    of = d.pick(["Add", "Mul", "Sub"])
    return {"of": of, "shape": d.pick(every), **d.some(first=(0.3, True))}


def opset(d):
    return d.network.options["opset"]


def sliced(d, s):
    axes = [axis % len(s) for axis in d.axes(len(s))]
    ends = [d.pick([2**31 - 1, s[axis], max(1, s[axis] - 1), -1]) for axis in axes]
    steps = [d.pick([1, 1, 2, 3]) for _ in axes]
    return {
        "axes": axes,
        "starts": [d.pick([0, 0, 1, -2]) for _ in axes],
        "ends": ends,
        **d.some(steps=(0.5 * (opset(d) >= 10), steps)),
    }


def split(d, s):
    axis = d.randrange(1, len(s))
    first = d.randint(1, max(1, s[axis] - 1))
    sizes = d.pick([[first, s[axis] - first], [s[axis] // 2] * 2])
    return {"axis": axis, "sizes": sizes, "take": d.pick([0, 1])}


def pad(d, s):
    mode = d.pick(["constant", "constant", "reflect", "edge", *["wrap"] * (opset(d) >= 19)])
    pads = [[0, *(d.pick([0, 0, 1, 2]) for _ in s[1:])] for _ in range(2)]
    more = d.some(value=(0.5 * (mode == "constant"), 0.5))
    return {"mode": mode, "pads": pads[0] + pads[1], **more}


def perm(d, s):
    return {"perm": [0, *d.sample(range(1, len(s)), len(s) - 1)]}


def tile(d, s):
    return {"repeats": [1, *(d.pick([1, 1, 2]) for _ in s[1:])]}


def gather(d, s):
    axis = d.randrange(1, len(s))
    return {"axis": axis, "places": [d.randrange(s[axis]) for _ in range(d.pick([1, 2, 3]))]}


def draw_onnx(d, shapes):
    """Draw a network of ONNX's operators."""
    version = d.pick(range(7, 23))
    batch = d.pick(["N", "N", 1])
    written = d.some(
        constants_as_nodes=(0.4, True),
        as_lists=(0.4, True),
        as_float16=(0.2, True),
        open_sizes=(0.4, True),
    )
    negative = version >= 11  # axes from the end
    biases = [None, None, [0], [1, 0], [1]]

    def conv(d, s):
        kernel, group = d.kernel(), groups_of(d, s[1], [1, 1, 1, 2, s[1]])
        out = group * d.pick([1, 2, 5, 8] if group == 1 else [1, 2])
        more = {"kernel_shape": (0.5, kernel), "dilations": (0.25, d.two([1, 2]))}
        more = d.some(**more, bias=(0.4, False), group=(1 if group > 1 else 0.2, group))
        return {"out": out, "kernel": kernel, **window(d, kernel, version, pool=False), **more}

    def pool(d, s):
        kernel = d.two([1, 2, 2, 3, 3, 4, 5])
        return {"kernel_shape": kernel, **window(d, kernel, version, pool=True)}

    def max_pool(d, s):
        newer = d.some(dilations=(0.15 * (version >= 10), d.two([1, 1, 2])))
        return pool(d, s) | d.some(storage_order=(0.15 * (version >= 8), 1)) | newer

    def concat(d, s):
        axis = d.pick([1, 1, 1, d.randrange(1, len(s))])
        return {"axis": axis - len(s) if negative and d.chance(0.3) else axis}

    def reshape(d, s):
        count, images = math.prod(s[1:]), 1 if batch == 1 else 0
        flat = [[0, -1], [-1, count], [0, count], [images, -1], [0, 0, -1]]
        wide = [[0, -1, 1, 1], [0, count, 1, 1], [0, s[1], 1, -1], [-1, *s[1:]]]
        return {"shape": d.pick(flat + wide)}

    def mean(d, s):
        axes = d.pick([[2, 3], [3, 2], d.axes(len(s)) if negative else [d.randrange(1, len(s))]])
        return {"axes": axes, **d.some(keepdims=(0.5, 0))}

    def gemm(d, s):
        bias = d.pick([*biases, []] if version >= 11 else [*biases[2:], []])
        more = d.some(transB=(0.5, 1), alpha=(0.3, 0.5), beta=(0.3, -2.0), transA=(0.04, 1))
        return {"out": d.pick([1, 1, 4, 17]), "bias": bias, **more}

    bounds = [{"min": 0.0}, {"min": 0.0}, {}, {"min": 0.0, "max": 6.0}, {"max": 0.5}]
    flatten = one_of(axis=[1, 1, 1, 2, *([-1, -3] if negative else [])])
    normalize = maybe(epsilon=(0.4, 0.01))
    softmax = one_of(axis=[1, 1, -1 if negative else 1])
    squeeze = one_of(axes=[[2, 3], [2], [1]])
    view = maybe(gather=(0.5, True), cast=(0.3, True))
    body = {
        "Conv": conv,
        "MaxPool": max_pool,
        "Relu": plain,
        "BatchNormalization": normalize,
        "AveragePool": all_of(pool, maybe(count_include_pad=(0.5, 1))),
        "Clip": lambda d, s: d.pick(bounds),
        "constant_of": constant,
        "Identity": plain,
        "Cast": plain,
        "Dropout": plain,
        "Add": plain,
        "Concat": concat,
        "Reshape": reshape,
        "Flatten": flatten,
    }
    joints = {op: body[op] for op in ("Add", "Concat", "Conv", "Relu")}
    any_axis = one_of(axis=[1, 2, 3, *([-1, -2] if negative else [])])
    others = {
        **dict.fromkeys(["Mul", "Sub", "Max", "Min", "Sum", "Sigmoid", "Tanh", "Softplus"], plain),
        **dict.fromkeys(["Selu", "HardSwish", "Mish", "Neg"], plain),
        **dict.fromkeys(["ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"], mean),
        "LeakyRelu": maybe(alpha=(0.5, 0.3)),
        "Elu": maybe(alpha=(0.5, 0.3)),
        "HardSigmoid": maybe(alpha=(0.5, 0.3), beta=(0.5, 0.6)),
        "PRelu": constant,
        "Gelu": one_of(approximate=["none", "tanh"]),
        "Softmax": any_axis,
        "LogSoftmax": any_axis,
        "LRN": all_of(one_of(size=[1, 3, 5]), maybe(alpha=(0.5, 0.5), beta=(0.5, 0.5))),
        "Transpose": perm,
        "Slice": sliced,
        "Split": split,
        "Pad": pad,
        "Tile": tile,
        "MatMul": one_of(out=[1, 4, 17]),
        "Gather": gather,
        "Pow": one_of(power=[1.0, 2.0, 3.0]),
    }
    flat = {
        "Flatten": flatten,
        "Reshape": reshape,
        "view": view,
        "ReduceMean": mean,
        "GlobalAveragePool": plain,
        "GlobalMaxPool": plain,
    }
    flatter = {"Flatten": flatten, "Squeeze": squeeze, "Reshape": reshape, "view": view}
    ends = {
        "Gemm": gemm,
        "a Gemm": gemm,
        "MatMul": one_of(out=[1, 1, 4, 17], bias=biases),
        "Relu": plain,
        "BatchNormalization": normalize,
        "constant_of": constant,
        "Reshape": reshape,
        "Squeeze": squeeze,
        "Unsqueeze": squeeze,
        "Concat": concat,
        "Add": plain,
    }
    shape = [d.pick([1, 1, 2, 3, 4, 8]), *d.two([*range(1, 15), 1, 2, 3, 4, 28])]
    d.begin("onnx", shape, shapes, opset=version, batch=batch, **written)
    d.add_one_of({"Conv": conv} if d.chance(0.95) else body)
    for _ in range(d.pick(range(5))):
        if d.chance(0.3):
            d.add_one_of(joints)
        else:
            d.add_one_of(others if d.chance(0.4) else body)
    if d.chance(0.9):
        end_with_vectors(d, flat, flatter, ends)
        if d.chance(0.25):
            d.add("Softmax", softmax, {})
    return d.network


def end_with_vectors(d, flat, flatter, ends):
    """Flatten, mostly down to vectors, and then add layers that work on vectors."""
    d.add_one_of(flat)
    if len(d.shapes[-1]) > 2 and d.chance(0.8):
        d.add_one_of(flatter)
    for _ in range(d.pick(range(4))):
        d.add_one_of(ends)


class Writer:
    """The nodes of a network, in the form that its operator set asks for.

    ``shapes`` are those of the first values, of which all but the last are taken by layers.
    ``dtype`` is that of all numbers: float64 for the judge.
    """

    def __init__(self, network, shapes, dtype=np.float32):
        self.network = network
        self.shapes = shapes
        self.dtype = dtype
        self.kind = TensorProto.FLOAT if dtype is np.float32 else TensorProto.DOUBLE
        self.opset = network.options["opset"]
        self.nodes = []
        self.tensors = {}
        self.written = set()  # layers whose values are outputs of another layer's node

    def node(self, kind, inputs, output=None, **attributes):
        if self.opset >= AXES.get(kind, math.inf) and "axes" in attributes:
            inputs = [*inputs, self.integers(*attributes.pop("axes"))]
        output = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, values, name=None):
        name = name or f"c{len(self.nodes)}_{len(self.tensors)}"
        if name in self.tensors:
            return name
        values = np.asarray(values)
        if values.dtype == np.float32:
            values = values.astype(self.dtype)
        if self.network.options.get("as_lists"):
            kind = helper.np_dtype_to_tensor_dtype(values.dtype)
            tensor = helper.make_tensor(name, kind, values.shape, values.ravel().tolist())
        else:
            tensor = numpy_helper.from_array(values, name)
        self.tensors[name] = tensor
        if self.network.options.get("constants_as_nodes"):
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        return name

    def integers(self, *values):
        return self.constant(np.array(values, np.int64))

    def parameter(self, place, shape, scale=1, least=None):
        values = self.network.values(self.owner, place, shape, scale, least)
        # Layers that are alike take one and the same; of another shape it is another.
        name = f"p{self.owner}_{place}_" + "x".join(map(str, shape))
        if not self.network.options.get("as_float16"):
            return self.constant(values, name)
        half = self.constant(values.astype(np.float16), f"{name}_half")
        written = any(name in node.output for node in self.nodes)
        return name if written else self.node("Cast", [half], name, to=self.kind)

    def write(self, number, layer):
        """Add a layer's nodes."""
        if "nodes" in self.network.options:
            nodes.write(self, number, layer)
            return
        attributes = dict(layer.attributes)
        self.owner = attributes.pop("like", number)
        inputs, output = [f"v{i}" for i in layer.inputs], f"v{number}"
        kind, method = layer.op, getattr(self, layer.op.lower(), None)
        if method is not None:
            shape = self.shapes[layer.inputs[0]]
            kind, inputs, attributes = method(inputs, shape, **attributes)
        self.node(kind, inputs, output, **attributes)

    # What these return is the last node.

    def conv(self, x, s, out, kernel, bias=True, **more):
        shape = [out, s[1] // more.get("group", 1), *kernel]
        weight = self.parameter(0, shape, 1 / math.sqrt(math.prod(shape[1:])))
        return "Conv", [*x, weight, *([self.parameter(1, [out])] if bias else [])], more

    def batchnormalization(self, x, s, **more):
        parts = [self.parameter(i, [s[1]], least=0.5 if i == 3 else None) for i in range(4)]
        return "BatchNormalization", [*x, *parts], more

    def constant_of(self, x, s, of, shape, first=False):
        sizes = [size or s[len(s) - len(shape) + i] for i, size in enumerate(shape)]
        inputs = [*x, self.parameter(0, sizes)]
        return of, inputs[::-1] if first else inputs, {}

    def clip(self, x, s, **bounds):
        if self.opset < 11:
            return "Clip", x, bounds
        names = ["min", "max"] if "max" in bounds else ["min"]
        parts = [self.constant(np.float32(bounds[k])) if k in bounds else "" for k in names]
        return "Clip", [*x, *parts], {}

    def prelu(self, x, s, **drawn):
        sizes = [
            size or s[len(s) - len(drawn["shape"]) + i] for i, size in enumerate(drawn["shape"])
        ]
        return "PRelu", [*x, self.parameter(0, sizes)], {}

    def slice(self, x, s, **bounds):
        if self.opset < 10:
            return "Slice", x, bounds
        names = ["starts", "ends", "axes", "steps"][: len(bounds)]
        return "Slice", [*x, *(self.integers(*bounds[name]) for name in names)], {}

    def split(self, x, s, axis, sizes, take):
        outputs = [f"{x[0]}_{axis}_{sizes}_{i}" for i in range(len(sizes))]
        given = [self.integers(*sizes)] if self.opset >= 13 else []
        more = {} if given else {"split": sizes}
        if not any(outputs[0] in node.output for node in self.nodes):  # else by another layer
            self.nodes.append(helper.make_node("Split", [*x, *given], outputs, axis=axis, **more))
        return "Identity", [outputs[take]], {}

    def pad(self, x, s, mode, pads, value=0.0):
        if self.opset < 11:
            return "Pad", x, {"mode": mode, "pads": pads, "value": value}
        return "Pad", [*x, self.integers(*pads), self.constant(np.float32(value))], {"mode": mode}

    def expand(self, x, s, shape):
        return "Expand", [*x, self.integers(*shape)], {}

    def tile(self, x, s, repeats):
        return "Tile", [*x, self.integers(*repeats)], {}

    def gather(self, x, s, axis, places):
        return "Gather", [*x, self.constant(np.array(places, np.int64))], {"axis": axis}

    def pow(self, x, s, power):
        return "Pow", [*x, self.constant(np.float32(power))], {}

    def squeeze(self, x, s, axes):
        if max(axes) >= len(s):
            raise InvalidNetworkError("an axis outside the tensor, which onnxruntime takes")
        return "Squeeze", x, {"axes": axes}

    def reshape(self, x, s, shape, computed=None):
        if computed is None:
            return "Reshape", [*x, self.integers(*shape)], {}
        axis, factor, divisor = computed
        images = self.size(x, axis)
        for op, number in (("Mul", factor), ("Div", divisor)):
            if number != 1:
                images = self.node(op, [images, self.integers(number)])
        first = shape.index(-1)
        around = (shape[:first], shape[first + 1 :])
        parts = [self.integers(*sizes) for sizes in around if sizes]
        parts.insert(min(first, 1), images)
        return "Reshape", [*x, self.node("Concat", parts, axis=0)], {}

    def size(self, x, axis):
        """Return the size of an axis, in a vector of one."""
        shape = self.node("Shape", x)
        one = self.node("Gather", [shape, self.constant(np.int64(axis))], axis=0)
        return self.node("Unsqueeze", [one], f"n{len(self.nodes)}u", axes=[0])

    def cast(self, x, s):
        return "Cast", x, {"to": self.kind}

    def view(self, x, s, gather=False, cast=False):
        """x.view(x.size(0), -1), as exporters write it."""
        shape = "" if gather else self.node("Shape", x)
        if gather:
            images = self.size(x, 0)
        elif self.opset < 10:
            images = self.node("Slice", [shape], starts=[0], ends=[1], axes=[0])
        else:
            images = self.node("Slice", [shape, *(self.integers(i) for i in (0, 1, 0))])
        both = self.node("Concat", [images, self.integers(-1)], axis=0)
        if cast:
            both = self.node("Cast", [both], to=TensorProto.INT64)
        return "Reshape", [*x, both], {}

    def matmul(self, x, s, out, bias=None):
        inputs = [*x, self.parameter(0, [s[-1], out], 1 / math.sqrt(s[-1]))]
        if bias is None:
            return "MatMul", inputs, {}
        product = self.node("MatMul", inputs)
        return "Add", [product, self.parameter(1, [size or out for size in bias])], {}

    def linear(self, x, s, out, bias, bias_first=False, batched=False):
        """As frameworks write layers of tokens; ``batched`` has a matrix for each of some axes."""
        before = s[1:-2] if batched else []
        weight = self.parameter(0, [*before, s[-1], out], 1 / math.sqrt(s[-1]))
        if bias is None:
            return "MatMul", [*x, weight], {}
        product = self.node("MatMul", [*x, weight])
        both = [product, self.parameter(1, [size or out for size in bias])]
        return "Add", both[::-1] if bias_first else both, {}

    def left_matmul(self, x, s, out):
        return "MatMul", [self.parameter(0, [out, s[-2]], 1 / math.sqrt(s[-2])), *x], {}

    def scaled(self, x, s, scale):
        return "Mul", [*x, self.constant(np.float32(scale))], {}

    def product(self, x, s, scale=None):
        if scale is None:
            return "MatMul", x, {}
        return self.scaled([self.node("MatMul", x)], s, scale)

    def layernormalization(self, x, s, axis, bias=True, **more):
        shape = s[axis:]
        parts = [self.parameter(i, shape) for i in range(2 if bias else 1)]
        return "LayerNormalization", [*x, *parts], {"axis": axis, **more}

    def written_norm(self, x, s, axes, squares="Pow", bias=True, epsilon=1e-5):
        """Write a normalization in single operators, of which the last one adds the bias."""
        mean = self.node("ReduceMean", x, axes=axes, keepdims=1)
        centred = self.node("Sub", [*x, mean])
        other = centred if squares == "Mul" else self.constant(np.float32(2))
        variance = self.node("ReduceMean", [self.node(squares, [centred, other])], axes=axes)
        variance = self.node("Add", [variance, self.constant(np.float32(epsilon))])
        normal = self.node("Div", [centred, self.node("Sqrt", [variance])])
        shape = [s[i] if i in axes else 1 for i in range(min(axes), len(s))]
        if not bias:
            return "Mul", [normal, self.parameter(0, shape)], {}
        return (
            "Add",
            [self.node("Mul", [normal, self.parameter(0, shape)]), self.parameter(1, shape)],
            {},
        )

    def written_gelu(self, x, s):
        scaled = self.node("Div", [*x, self.constant(np.float32(math.sqrt(2)))])
        more = self.node("Add", [self.node("Erf", [scaled]), self.constant(np.float32(1))])
        return "Mul", [self.node("Mul", [*x, more]), self.constant(np.float32(0.5))], {}

    def written_silu(self, x, s):
        return "Mul", [*x, self.node("Sigmoid", x)], {}

    def square(self, x, s):
        return "Mul", [*x, *x], {}

    def class_token(self, x, s, count, behind, written):
        """Expand a constant to the number of images, and put it beside the tokens."""
        token = self.parameter(0, [1, count, s[2]])
        if written == "where":  # as PyTorch writes expand
            sizes = self.node("Concat", [self.size(x, 0), self.integers(-1, -1)], axis=0)
            ones = self.node("ConstantOfShape", [self.integers(3)], value=_one())
            minus = self.node("Mul", [ones, self.integers(-1)])
            same = self.node("Equal", [sizes, minus])
            sizes = self.node("Where", [same, ones, sizes])
        else:
            sizes = self.node("Concat", [self.size(x, 0), self.integers(count, s[2])], axis=0)
        both = [self.node("Expand", [token, sizes]), *x]
        return "Concat", both[::-1] if behind else both, {"axis": 1}

    def cumsum(self, x, s, axis, **more):
        return "CumSum", [*x, self.constant(np.int64(axis))], more

    def topk(self, x, s, axis, count, largest):
        outputs = [f"{x[0]}_{axis}_{count}_{largest}_{i}_{len(self.nodes)}" for i in range(2)]
        inputs = [*x, self.integers(count)]
        self.nodes.append(helper.make_node("TopK", inputs, outputs, axis=axis, largest=largest))
        return "Identity", outputs[:1], {}

    def gatherelements(self, x, s, axis, count):
        """Gather elements by places that are expanded to the number of images."""
        sizes = [1, *s[1:]]
        sizes[axis] = count
        places = np.arange(math.prod(sizes)).reshape(sizes) * 7 % s[axis]
        shape = self.node("Concat", [self.size(x, 0), self.integers(*sizes[1:])], axis=0)
        places = self.node("Expand", [self.constant(places.astype(np.int64)), shape])
        return "GatherElements", [*x, places], {"axis": axis}

    def gemm(self, x, s, out, bias=None, **more):
        inputs = s[0 if more.get("transA") else -1]
        shape = (out, inputs) if more.get("transB") else (inputs, out)
        parts = [self.parameter(0, shape, 1 / math.sqrt(inputs))]
        parts += [] if bias is None else [self.parameter(1, [size or out for size in bias])]
        return "Gemm", [*x, *parts], more

    def model(self, outputs):
        """Return the model that gives those values."""
        options = self.network.options
        for number, layer in enumerate(self.network.layers[: len(self.shapes)], 1):
            self.write(number, layer)
        shape = [options.get("batch", "N"), *self.network.shape]
        if options.get("open_sizes"):
            shape[2:] = ["height", "width"]
        given = [helper.make_tensor_value_info("v0", self.kind, shape)]
        made = [helper.make_tensor_value_info(f"v{i}", self.kind, None) for i in outputs]
        tensors = [] if options.get("constants_as_nodes") else list(self.tensors.values())
        graph = helper.make_graph(self.nodes, "graph", given, made, tensors)
        imports = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()


def _one():
    return helper.make_tensor("one", TensorProto.INT64, [1], [1])


def shapes(network):
    """Return the shapes of all values, for two images or the fixed number, by onnxruntime."""
    batch = network.options.get("batch", "N")
    if "nodes" in network.options:
        return [[] for _ in [0, *network.layers]]  # Writer needs their number alone
    if "images" in network.options:
        return tokens.shapes(network)
    images = np.zeros((2 if batch == "N" else batch, *network.shape), np.float32)
    known = [images.shape]
    for count in range(1, len(network.layers) + 1):
        key = repr((network.shape, network.layers[:count], network.options))
        if key not in _SHAPES:
            if len(known[-1]) < 2:
                raise InvalidNetworkError("a vector")
            (found,) = run_onnx(Writer(network, known).model([count]), images)
            if found.dtype != np.float32 or 0 in found.shape:
                raise InvalidNetworkError("another type than float32, or an empty tensor")
            _SHAPES[key] = found.shape
        known.append(_SHAPES[key])
    return known


def run_onnx(model, images, *, optimize=False):
    """Return the outputs of onnxruntime, without optimizations unless they are asked for."""
    options = onnxruntime.SessionOptions()
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Its errors derive from Exception and from nothing else that they share.
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        fixed = session.get_inputs()[0].shape[0]
        parts = np.split(images, len(images) // fixed) if isinstance(fixed, int) else [images]
        found = [*zip(*(session.run(None, {"v0": part}) for part in parts), strict=True)]
    except Exception as error:
        raise InvalidNetworkError(f"{type(error).__name__}: {str(error)[:300]}") from error
    for output, (first, *_) in zip(session.get_outputs(), found, strict=True):
        sizes = zip(output.shape, first.shape, strict=False)
        if any(isinstance(size, int) and size != given for size, given in sizes):
            raise InvalidNetworkError("onnxruntime gives another shape than it infers")
    return [np.concatenate(each) if each[0].ndim else each[0] for each in found]


def model(network, dtype=np.float32):
    return Writer(network, shapes(network), dtype).model(network.outputs)


def export(network, folder, formats):
    """Write net.onnx."""
    (folder / "net.onnx").write_bytes(model(network))


def answers(network, images, nudged):
    """Return the outputs by onnxruntime, float32, and what they must be close to."""
    written = model(network)
    return [run_onnx(written, each) for each in (images, nudged)]


def judge(network, images, unit=0.0, draw=0):
    """Return the outputs by ONNX's own definitions in NumPy, float64.

    With a ``unit``, the images and each value that an operator gives are moved at random by up to
    that share of them, as rounding does. So are the weights of products: float32 rounds each term
    of a sum of products, unless the processor fuses the two, and bf16 rounds the weights. Within an
    operator the arithmetic stays float64, but for sums, which are rounded at each term.
    The outputs are then about as good as those of an engine with that rounding can be, whoever
    computes them. Each ``draw`` moves the values in another way.
    """
    from onnx.reference import ReferenceEvaluator

    from tools.hostile import definitions

    ours = definitions.of_set(network.options["opset"])
    evaluator = ReferenceEvaluator(model(network, np.float64), new_ops=ours)
    images = images.astype(np.float64)
    if unit:
        numbers = np.random.default_rng(network.seed + draw)
        constants = set(evaluator.rt_inits_)
        for node in evaluator.rt_nodes_:
            names = [*node.onnx_node.input]
            op, weights = node.onnx_node.op_type, []
            if op in PRODUCTS:
                weights = [i for i, name in enumerate(names[:2]) if name in constants]
            if constants.issuperset(names):  # such as a Constant, or a Cast of weights
                constants.update(node.onnx_node.output)
            node.run = partial(_run_rounded, op, node.run, numbers, unit, weights)
        images = moved(images, numbers, unit)
    batch = network.options.get("batch", "N")
    fixed = "nodes" in network.options and batch != "N"
    parts = np.split(images, len(images) // batch) if fixed else [images]
    with np.errstate(all="ignore"):  # of numbers that a Where does not take
        found = [evaluator.run(None, {"v0": part}) for part in parts]
    return [np.concatenate(each) for each in zip(*found, strict=True)]


def _run_rounded(op, run, numbers, unit, weights, *inputs, **options):
    """Run an operator; move its ``weights``, by their places, and the numbers that it gives."""
    if weights:
        rounded = [moved(x, numbers, unit) if i in weights else x for i, x in enumerate(inputs)]
        outputs = run(*rounded, **options)
    else:
        outputs = run(*inputs, **options)
    terms = terms_of(op, inputs, outputs[0])
    return tuple(moved(values, numbers, unit, terms) for values in outputs)


def terms_of(op, inputs, output):
    """Return how many numbers an operator adds up for each that it gives."""
    if op.startswith("Reduce"):
        return inputs[0].size / max(1, output.size)
    if op == "MatMul":
        return inputs[0].shape[-1]
    if op in {"Gemm", "Conv"}:
        return inputs[1].size / max(1, output.shape[1])
    return 1
