"""Networks of Paddle's operators: run in dygraph, and exported in each format."""

import contextlib
import math
import warnings

import numpy as np
import paddle
from paddle import nn, pir_utils
from paddle.nn import functional as F  # noqa: N812 - Paddle's own convention

from tools.hostile import draw
from tools.hostile.networks import InvalidNetworkError, moved
from tools.hostile.survey import read_model

# Attributes of the older operators, by the first word of their names.
RENAMED = {
    "reduce": {"axis": "dim", "keepdim": "keep_dim"},
    "matmul": {"transpose_x": "trans_x", "transpose_y": "trans_y"},
}


def writes_pdmodel():
    """Return whether a program of the format before PIR is being made."""
    return not paddle.in_dynamic_mode() and not paddle.framework.in_pir_mode()


def older(function, kind, places="X", dtype="float32", **defaults):
    """Return Paddle's function, which adds an operator where Paddle 3.3 writes no .pdmodel."""
    renamed = RENAMED.get(kind.partition("_")[0], {})

    def call(*inputs, **attributes):
        if not writes_pdmodel():
            return function(*inputs, **attributes)
        given = {renamed.get(name, name): value for name, value in attributes.items()}
        if isinstance(given.get("dim"), int):
            given["dim"] = [given["dim"]]
        helper = paddle.base.layer_helper.LayerHelper(kind)
        out = {"Out": helper.create_variable_for_type_inference(dtype)}
        inputs_of = dict(zip(places.split(), inputs, strict=True))
        helper.append_op(type=kind, inputs=inputs_of, outputs=out, attrs={**defaults, **given})
        return out["Out"]

    return call


OLDER = {
    name: older(F.sigmoid if name == "sigmoid" else getattr(paddle, name), name)
    for name in "sigmoid tanh exp abs sin cos floor ceil sqrt rsqrt log log1p reciprocal".split()
}
ELEMENTWISE = {  # by the first letters of their names
    name: older(getattr(paddle, name), f"elementwise_{name[:3]}", "X Y", axis=-1)
    for name in draw.ELEMENTWISE
}
POSITIVE = OLDER["abs"]
POWER = older(lambda x, factor: paddle.pow(x, factor), "pow")
# Layers of one input; of those that are not here, or below, attributes and name are Paddle's.
OPERATORS = {
    **OLDER,
    "gelu": older(F.gelu, "gelu", approximate=False),
    "softplus": older(F.softplus, "softplus", beta=1.0, threshold=20.0),
    # Of values that they are defined for.
    "sqrt": lambda x: OLDER["sqrt"](POSITIVE(x) + 0.25),
    "rsqrt": lambda x: OLDER["rsqrt"](POSITIVE(x) + 0.5),
    "log": lambda x: OLDER["log"](POSITIVE(x) + 0.5),
    "log1p": lambda x: OLDER["log1p"](paddle.square(x)),
    "reciprocal": lambda x: OLDER["reciprocal"](POSITIVE(x) + 0.5),
    "power": lambda x, factor: POWER(POSITIVE(x) + 0.5, factor=factor),
    **{
        name: older(getattr(paddle, name), f"reduce_{name}", keep_dim=False, reduce_all=False)
        for name in ("sum", "amax", "amin")
    },
    "logsumexp": older(paddle.logsumexp, "logsumexp", keepdim=False, reduce_all=False),
    "dropout": lambda x, **more: F.dropout(x, training=False, **more),
    # Flattens by the number of images that the program reads while it runs.
    "view": lambda x: paddle.reshape(
        x, [paddle.shape(x)[0], -1 if -1 in x.shape[1:] else math.prod(x.shape[1:])]
    ),
    "binary": lambda x, y, of: BINARY[of](x, y),
    "matmul": lambda x, y, **more: MATMUL(x, y, **more) / math.sqrt(x.shape[-1]),
    # The products of all rows with each other.
    "gram": lambda x, batched=True: (BMM if batched else MATMUL)(x, paddle.transpose(x, [0, 2, 1]))
    / math.sqrt(x.shape[2]),
    "concat": lambda *parts, axis: paddle.concat(list(parts), axis=axis),
    "stack": lambda *parts, axis: paddle.stack(list(parts), axis=axis),
}
BINARY = {
    **ELEMENTWISE,
    "divide": lambda x, y: ELEMENTWISE["divide"](x, POSITIVE(y) + 0.5),
    "pow": lambda x, y: ELEMENTWISE["pow"](POSITIVE(x) + 0.5, y),
}
MATMUL = older(paddle.matmul, "matmul_v2", "X Y", trans_x=False, trans_y=False)
BMM = older(paddle.bmm, "bmm", "X Y")
COMPARE = {
    name: older(getattr(paddle, name), name, "X Y", "bool", axis=-1) for name in draw.COMPARED
}
WHERE = older(paddle.where, "where", "Condition X Y")
SUMS = {"sum", "mean"}  # operators that give sums of many values
# Of other ranks, Paddle 3.3 makes operators that the checks of models do not accept, or, of gram,
# transposes the first dimensions alone, or matmul has products of the images with each other.
RANKS = {"interpolate": [4], "pad": [4], "gram": [3], "matmul": range(3, 9)}


def channels(x, more):
    return x.shape[-1 if more.get("data_format") == "NHWC" else 1]


class Run:
    """One evaluation of a network, on numbers or on the variables of a program."""

    def __init__(self, network, dtype="float32", nudge=0, unit=0.0, draw=0):
        """``nudge`` changes parameters by about that share; ``unit``, ``draw`` are of ``judge``."""
        self.network = network
        self.dtype = dtype
        self.nudge = nudge
        self.unit = unit
        self.numbers = np.random.default_rng(network.seed + draw)
        self.parameters = {}

    def parameter(self, place, shape, scale=1, least=None):
        """Return a parameter of the layer that runs, or of the one that it is ``like``."""
        key = (self.owner, place)
        if key not in self.parameters:
            self.parameters[key] = self.make(key, self.network.values(*key, shape, scale, least))
        if list(self.parameters[key].shape) != list(shape):
            raise InvalidNetworkError("a shared parameter of another shape")
        return self.parameters[key]

    def make(self, key, values):
        if not paddle.in_dynamic_mode():
            name, of = "p{}_{}".format(*key), {"default_initializer": nn.initializer.Assign(values)}
            return paddle.create_parameter(list(values.shape), "float32", name, **of)
        wide = values.astype(np.float64)
        if self.nudge:
            wide *= 1 + self.nudge * np.random.default_rng(1).standard_normal(values.shape)
        return paddle.to_tensor(wide.astype(self.dtype))

    def __call__(self, x):
        """Return all values of the network for its input."""
        values = [self.rounded(x)]
        for i, layer in enumerate(self.network.layers, 1):
            inputs, attributes = [values[i] for i in layer.inputs], dict(layer.attributes)
            self.owner = attributes.pop("like", i)
            if len(inputs[0].shape) not in RANKS.get(layer.op, range(9)):
                raise InvalidNetworkError("a tensor of another rank")
            found = self.function(layer.op)(*inputs, **attributes)
            values.append(self.rounded(found, inputs[0] if layer.op in SUMS else found))
            if paddle.in_dynamic_mode() and 0 in values[-1].shape:
                raise InvalidNetworkError("an empty output")
        return values

    def rounded(self, value, summed=None):
        """Return a value, moved at random by the ``unit``, if there is one.

        ``summed`` holds the terms, where each of its numbers is a sum.
        """
        if not self.unit:
            return value
        terms = 1 if summed is None else summed.size / max(1, value.size)
        return paddle.to_tensor(moved(value.numpy(), self.numbers, self.unit, terms))

    def function(self, op):
        """Return what does an operator, by these tables and methods or as Paddle has it."""
        places = (OPERATORS.get(op), *(getattr(place, op, None) for place in (self, F, paddle)))
        return next(filter(callable, places))

    def conv2d(self, x, out, kernel, bias=True, **more):
        kernel = [kernel] if isinstance(kernel, int) else kernel
        last = more.get("data_format") == "NHWC"
        padding, dilation = more.get("padding", 0), np.ravel(more.get("dilation", 1))
        pads = padding if isinstance(padding, list) else [0 if padding == "VALID" else padding]
        for i, size in enumerate(x.shape[1:-1] if last else x.shape[2:]):
            whole = len(pads) == 2 * len(kernel)
            both = pads[2 * i : 2 * i + 2] if whole else [pads[i % len(pads)]] * 2
            reach = dilation[i % len(dilation)] * (kernel[i] - 1)
            known = padding != "SAME" and size > 0
            if known and size + sum(both) <= reach:
                raise InvalidNetworkError("a window larger than the image: Paddle 3.3 faults")
        shape = [out, channels(x, more) // more.get("groups", 1), *kernel]
        weight = self.parameter(0, shape, 1 / math.sqrt(math.prod(shape[1:])))
        function = F.conv2d if len(kernel) == 2 else F.conv1d
        return function(x, weight, self.parameter(1, [out]) if bias else None, **more)

    conv1d = conv2d

    def conv2d_transpose(self, x, out, kernel, **more):
        inputs = channels(x, more)
        shape = [inputs, out // more.get("groups", 1), *kernel]
        weight = self.parameter(0, shape, 1 / math.sqrt(inputs))
        return F.conv2d_transpose(x, weight, self.parameter(1, [out]), **more)

    def linear(self, x, out, bias=True, transposed=False):
        inputs = x.shape[-1]
        scale = 1 / math.sqrt(inputs)
        if transposed:
            return MATMUL(x, self.parameter(0, [out, inputs], scale), transpose_y=True)
        weight = self.parameter(0, [inputs, out], scale)
        return F.linear(x, weight, self.parameter(1, [out])) if bias else MATMUL(x, weight)

    def batch_norm(self, x, **more):
        shape = [channels(x, more)]
        mean, variance = self.parameter(0, shape), self.parameter(1, shape, least=0.5)
        gain, bias = self.parameter(2, shape), self.parameter(3, shape)
        return F.batch_norm(x, mean, variance, gain, bias, training=False, **more)

    def layer_norm(self, x, axis, scale=True, bias=True):
        shape = list(x.shape[axis:])
        gain = self.parameter(0, shape) if scale else None
        return F.layer_norm(x, shape, gain, self.parameter(1, shape) if bias else None)

    def class_token(self, x, count, behind):
        """Expand a parameter to the number of images, and put it beside the tokens."""
        token = self.parameter(0, [1, count, x.shape[2]])
        both = [paddle.expand(token, [paddle.shape(x)[0], count, x.shape[2]]), x]
        return paddle.concat(both[::-1] if behind else both, 1)

    def group_norm(self, x, groups, affine=True, **more):
        parts = [self.parameter(i, [channels(x, more)]) if affine else None for i in range(2)]
        return F.group_norm(x, groups, 1e-5, *parts, **more)

    def prelu(self, x, shared=False, **more):
        return F.prelu(x, self.parameter(0, [1 if shared else channels(x, more)], 0.5), **more)

    def constant(self, x, of, shape, first=False):
        """Combine with a parameter; 0 in its shape stands for the size of x at that place."""
        rank = len(x.shape)
        sizes = [size or x.shape[rank - len(shape) + i] for i, size in enumerate(shape)]
        other = self.parameter(0, sizes)
        return BINARY[of](other, x) if first else BINARY[of](x, other)

    def add_at(self, x, axis, count=1, of="add"):
        """Combine with a parameter whose dimensions begin at an axis, as older programs do."""
        other = self.parameter(0, x.shape[axis : axis + count])
        if writes_pdmodel():
            return ELEMENTWISE[of](x, other, axis=axis)
        return BINARY[of](x, other.reshape([*other.shape, *[1] * (len(x.shape) - axis - count)]))

    def split(self, x, parts, axis, take=None):
        """Return one part, or all of them in the other order."""
        found = paddle.split(x, parts, axis)
        return found[take] if take is not None else paddle.concat(found[::-1], axis)

    def unbind(self, x, axis):
        found = paddle.unbind(x, axis)
        return found[0] - found[-1]

    def compare(self, x, y, of, cast=True):
        if x is y:
            raise InvalidNetworkError("a value with itself: Paddle 3.3 cannot load the .pdmodel")
        found = COMPARE[of](x, y)
        return found.astype(self.dtype) if cast else WHERE(found, x, y * 0.5)

    def cast(self, x):
        """To integers and back, of what is rounded first."""
        return (x * 4).astype("int32").astype(self.dtype)


def evaluate(network, images, dtype="float32", **changes):
    """Return all values in dygraph, as tensors; the changes are ``nudge`` or ``unit`` of Run."""
    try:
        with paddle.no_grad():
            return Run(network, dtype, **changes)(paddle.to_tensor(images.astype(dtype)))
    except InvalidNetworkError:
        raise
    # What Paddle raises has no common class below Exception.
    except Exception as error:
        raise InvalidNetworkError(f"{type(error).__name__}: {str(error)[:300]}") from error


def shapes(network):
    """Return the shapes of all values, for two images."""
    values = evaluate(network, network.images()[:2])
    if any(str(value.dtype) != "paddle.float32" for value in values):
        raise InvalidNetworkError("another type than float32")
    return [tuple(value.shape) for value in values]


def answers(network, images, nudged):
    """Return the only output judged, in dygraph, and what it must be close to: float64's first."""
    every = (
        evaluate(network, images),
        evaluate(network, images, "float64"),
        evaluate(network, nudged, "float64", nudge=3e-7),
    )
    if any(np.isnan(value.numpy()).any() for value in every[0]):
        raise InvalidNetworkError("a value that is no number, of which a ReLU may make 0 or NaN")
    return [[values[network.outputs[0]].numpy()] for values in every]


def judge(network, images, unit=0.0, draw=0):
    """Return the only output in dygraph, float64.

    With a ``unit``, the images and the value of each layer are moved at random by up to that share
    of them, as rounding does; sums of many values by more (``moved``). Each ``draw`` moves them in
    another way.
    """
    return [evaluate(network, images, "float64", unit=unit, draw=draw)[network.outputs[0]].numpy()]


def export(network, folder, formats):
    """Write net.json and, where Paddle still can, net.pdmodel and the folder separate.

    Only those of ``formats``, unless that is empty.
    """
    ranks = [len(shape) for shape in shapes(network)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            paddle.enable_static()
            if formats != {"json"}:
                with contextlib.suppress(TypeError), pir_utils.OldIrGuard():
                    _save(network, folder, ranks)
                    (folder / "separate").mkdir()
                    for name, contents in read_model(folder, "separate").items():
                        (folder / "separate" / name).write_bytes(contents)
            if not formats or formats - {"pdmodel", "separate"}:
                _save(network, folder, ranks)
        except Exception as error:
            message = f"export: {type(error).__name__}: {str(error)[-300:]}"
            raise InvalidNetworkError(message) from error
        finally:
            paddle.disable_static()


def _save(network, folder, ranks):
    if network.options.get("open_sizes"):
        with contextlib.suppress(Exception):  # where a parameter has the size of an image
            _save_for([network.shape[0], -1, -1], network, folder, ranks)
            return
    _save_for(network.shape, network, folder, ranks)


def _save_for(sizes, network, folder, ranks):
    static = paddle.static
    main, startup = static.Program(), static.Program()
    executor = static.Executor(paddle.CPUPlace())
    scope, names = static.scope_guard(static.Scope()), paddle.utils.unique_name.guard()
    with scope, static.program_guard(main, startup), names:
        x = static.data("x", [-1, *sizes], "float32")
        values = Run(network)(x)
        if [len(value.shape) for value in values] != ranks:
            raise InvalidNetworkError("a size that is not known is taken for 1, and squeezed")
        outputs = [values[i] for i in network.outputs]
        executor.run(startup)
        static.save_inference_model(str(folder / "net"), [x], outputs, executor, program=main)
