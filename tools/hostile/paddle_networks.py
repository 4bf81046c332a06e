"""Networks of Paddle's operators: run in dygraph, and exported in each format."""

from __future__ import annotations

import contextlib
import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from paddle import nn, pir_utils
from paddle.nn import functional as F  # noqa: N812 - Paddle's own convention

from tools.hostile.networks import InvalidNetworkError, Layer, Network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Tensor = Any


def writes_pdmodel() -> bool:
    """Whether a program of the format before PIR is being made."""
    return not paddle.in_dynamic_mode() and not paddle.framework.in_pir_mode()


def older(
    function: Callable[..., Tensor],
    kind: str,
    places: str = "X",
    renamed: dict[str, str] | None = None,
    dtype: str = "float32",
    **defaults: Any,
) -> Callable[..., Tensor]:
    """Return Paddle's function, which adds an operator where Paddle 3.3 writes no .pdmodel."""

    def call(*inputs: Tensor, **attributes: Any) -> Tensor:
        if not writes_pdmodel():
            return function(*inputs, **attributes)
        given = {(renamed or {}).get(name, name): value for name, value in attributes.items()}
        if isinstance(given.get("dim"), int):
            given["dim"] = [given["dim"]]
        helper = paddle.base.layer_helper.LayerHelper(kind)
        out = helper.create_variable_for_type_inference(dtype)
        inputs_of = dict(zip(places.split(), inputs, strict=True))
        helper.append_op(
            type=kind, inputs=inputs_of, outputs={"Out": out}, attrs={**defaults, **given}
        )
        return out

    return call


def functions(module: Any, names: str) -> dict[str, Callable[..., Tensor]]:
    return {name: getattr(module, name) for name in names.split()}


OLDER = {
    name: older(getattr(paddle.nn.functional if name == "sigmoid" else paddle, name), name)
    for name in "sigmoid tanh exp abs sin cos floor ceil sqrt rsqrt log log1p reciprocal".split()
}
ELEMENTWISE = {
    name: older(getattr(paddle, name), f"elementwise_{short}", "X Y", axis=-1)
    for name, short in (
        ("add", "add"), ("subtract", "sub"), ("multiply", "mul"), ("divide", "div"),
        ("maximum", "max"), ("minimum", "min"), ("pow", "pow"),
    )
}  # fmt: skip
POSITIVE = OLDER["abs"]
ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    **OLDER,
    **functions(
        F,
        "relu relu6 silu swish mish elu leaky_relu hardswish hardsigmoid selu celu hardtanh "
        "softsign softshrink hardshrink tanhshrink thresholded_relu log_sigmoid",
    ),
    **functions(paddle, "square erf assign"),
    "gelu": older(F.gelu, "gelu", approximate=False),
    "softplus": older(F.softplus, "softplus", beta=1.0, threshold=20.0),
    # Of values that they are defined for.
    "sqrt": lambda x: OLDER["sqrt"](POSITIVE(x) + 0.25),
    "rsqrt": lambda x: OLDER["rsqrt"](POSITIVE(x) + 0.5),
    "log": lambda x: OLDER["log"](POSITIVE(x) + 0.5),
    "log1p": lambda x: OLDER["log1p"](paddle.square(x)),
    "reciprocal": lambda x: OLDER["reciprocal"](POSITIVE(x) + 0.5),
    "power": lambda x, factor: older(lambda x, factor: paddle.pow(x, factor), "pow")(
        POSITIVE(x) + 0.5, factor=factor
    ),
}
REDUCED = {"axis": "dim", "keepdim": "keep_dim"}
# Layers of one input whose attributes are those of Paddle's function.
FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    **functions(
        F,
        "max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d max_pool1d avg_pool1d "
        "softmax log_softmax pixel_shuffle pixel_unshuffle channel_shuffle maxout",
    ),
    **functions(
        paddle,
        "scale clip reshape flatten transpose squeeze unsqueeze mean max min slice strided_slice "
        "flip roll tile expand norm",
    ),
    **{
        name: older(
            getattr(paddle, name), f"reduce_{name}", "X", REDUCED, keep_dim=False, reduce_all=False
        )
        for name in ("sum", "amax", "amin")
    },
    "logsumexp": older(paddle.logsumexp, "logsumexp", keepdim=False, reduce_all=False),
    "dropout": lambda x, **more: F.dropout(x, training=False, **more),
}
BINARY: dict[str, Callable[..., Tensor]] = {
    **ELEMENTWISE,
    "divide": lambda x, y: ELEMENTWISE["divide"](x, POSITIVE(y) + 0.5),
    "pow": lambda x, y: ELEMENTWISE["pow"](POSITIVE(x) + 0.5, y),
}
TRANSPOSED = {"transpose_x": "trans_x", "transpose_y": "trans_y"}
MATMUL = older(paddle.matmul, "matmul_v2", "X Y", TRANSPOSED, trans_x=False, trans_y=False)
COMPARE = {
    name: older(getattr(paddle, name), name, "X Y", None, "bool", axis=-1)
    for name in ["greater_than", "greater_equal", "less_than", "less_equal", "equal", "not_equal"]
}
WHERE = older(paddle.where, "where", "Condition X Y")


class Run:
    """One evaluation of a network, on numbers or on the variables of a program."""

    def __init__(self, network: Network, dtype: str = "float32", nudge: float = 0) -> None:
        """``nudge`` changes each parameter by about that share."""
        self.network = network
        self.dtype = dtype
        self.nudge = nudge
        self.parameters: dict[tuple[int, int], Tensor] = {}
        self.at = 0
        self.owner = 0

    def parameter(
        self, place: int, shape: Any, scale: float = 1, least: float | None = None
    ) -> Tensor:
        """Return a parameter of the layer that runs, or of the one that it is ``like``."""
        key = (self.owner, place)
        if key not in self.parameters:
            values = self.network.values(*key, tuple(shape), scale)
            if least is not None:
                values = np.abs(values) + np.float32(least)
            self.parameters[key] = self.make(key, values)
        if list(self.parameters[key].shape) != list(shape):
            raise InvalidNetworkError("a shared parameter of another shape")
        return self.parameters[key]

    def make(self, key: tuple[int, int], values: np.ndarray) -> Tensor:
        if not paddle.in_dynamic_mode():
            initializer = nn.initializer.Assign(values)
            name = f"p{key[0]}_{key[1]}"
            shape = list(values.shape)
            return paddle.create_parameter(shape, "float32", name, default_initializer=initializer)
        wide = values.astype(np.float64)
        if self.nudge:
            wide *= 1 + self.nudge * np.random.default_rng(1).standard_normal(values.shape)
        return paddle.to_tensor(wide.astype(self.dtype))

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Return all values of the network for its input."""
        values = [x]
        for i, layer in enumerate(self.network.layers, 1):
            self.at = i
            values.append(self.layer(layer, [values[i] for i in layer.inputs]))
            if paddle.in_dynamic_mode() and 0 in values[-1].shape:
                raise InvalidNetworkError("an empty output")
        return values

    def layer(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        """Return what a layer gives."""
        attributes = dict(layer.attributes)
        self.owner = attributes.pop("like", self.at)
        if layer.op in ACTIVATIONS:
            return ACTIVATIONS[layer.op](inputs[0], **attributes)
        if layer.op in FUNCTIONS:
            return FUNCTIONS[layer.op](inputs[0], **attributes)
        return getattr(self, layer.op)(*inputs, **attributes)

    def conv2d(
        self, x: Tensor, out: int, kernel: list[int], bias: bool = True, **more: Any
    ) -> Tensor:
        last = more.get("data_format") == "NHWC"
        inputs = x.shape[3 if last else 1] // more.get("groups", 1)
        padding, dilation = more.get("padding", 0), more.get("dilation", [1, 1])
        for i, size in enumerate(x.shape[1:3] if last else x.shape[2:]):
            pads = 0 if padding in ("VALID", "SAME") else padding
            pads = pads if isinstance(pads, list) else [pads]
            pads = pads[2 * i : 2 * i + 2] if len(pads) == 4 else [pads[i % len(pads)]] * 2
            if padding != "SAME" and size + sum(pads) <= dilation[i] * (kernel[i] - 1):
                raise InvalidNetworkError("a window larger than the image: Paddle 3.3 faults")
        shape = [out, inputs, *kernel]
        weight = self.parameter(0, shape, 1 / math.sqrt(math.prod(shape[1:])))
        return F.conv2d(x, weight, self.parameter(1, [out]) if bias else None, **more)

    def conv1d(self, x: Tensor, out: int, kernel: int, **more: Any) -> Tensor:
        inputs = x.shape[1] // more.get("groups", 1)
        pads = more.get("padding", 0)
        room = x.shape[2] + (sum(pads) if isinstance(pads, list) else 2 * (pads != "SAME" and pads))
        if pads != "SAME" and room <= more.get("dilation", 1) * (kernel - 1):
            raise InvalidNetworkError("a window larger than the image: Paddle 3.3 faults")
        weight = self.parameter(0, [out, inputs, kernel], 1 / math.sqrt(inputs * kernel))
        return F.conv1d(x, weight, self.parameter(1, [out]), **more)

    def conv2d_transpose(self, x: Tensor, out: int, kernel: list[int], **more: Any) -> Tensor:
        inputs = x.shape[3 if more.get("data_format") == "NHWC" else 1]
        groups = more.get("groups", 1)
        weight = self.parameter(0, [inputs, out // groups, *kernel], 1 / math.sqrt(inputs))
        return F.conv2d_transpose(x, weight, self.parameter(1, [out]), **more)

    def linear(self, x: Tensor, out: int, bias: bool = True, transposed: bool = False) -> Tensor:
        inputs = x.shape[-1]
        scale = 1 / math.sqrt(inputs)
        if transposed:
            return MATMUL(x, self.parameter(0, [out, inputs], scale), transpose_y=True)
        weight = self.parameter(0, [inputs, out], scale)
        return F.linear(x, weight, self.parameter(1, [out])) if bias else MATMUL(x, weight)

    def matmul(self, x: Tensor, y: Tensor, **more: Any) -> Tensor:
        if len(x.shape) < 3:
            raise InvalidNetworkError("a product of the images with each other")
        return MATMUL(x, y, **more) / math.sqrt(x.shape[-1])

    def gram(self, x: Tensor, batched: bool = True) -> Tensor:
        """The products of all rows with each other."""
        if len(x.shape) != 3:
            raise InvalidNetworkError(
                "no matrices: Paddle 3.3 transposes the first dimensions alone"
            )
        turned = paddle.transpose(x, [0, 2, 1])
        return (older(paddle.bmm, "bmm", "X Y") if batched else MATMUL)(x, turned) / math.sqrt(
            x.shape[2]
        )

    def batch_norm(self, x: Tensor, **more: Any) -> Tensor:
        shape = [x.shape[-1 if more.get("data_format") == "NHWC" else 1]]
        mean, variance = self.parameter(0, shape), self.parameter(1, shape, least=0.5)
        gain, bias = self.parameter(2, shape), self.parameter(3, shape)
        return F.batch_norm(x, mean, variance, gain, bias, training=False, **more)

    def layer_norm(self, x: Tensor, axis: int, scale: bool = True, bias: bool = True) -> Tensor:
        shape = x.shape[axis:]
        parts = [
            self.parameter(i, shape) if given else None for i, given in enumerate((scale, bias))
        ]
        return F.layer_norm(x, list(shape), *parts)

    def group_norm(self, x: Tensor, groups: int, affine: bool = True, **more: Any) -> Tensor:
        shape = [x.shape[-1 if more.get("data_format") == "NHWC" else 1]]
        parts = [self.parameter(i, shape) if affine else None for i in range(2)]
        return F.group_norm(x, groups, 1e-5, *parts, **more)

    def prelu(self, x: Tensor, shared: bool = False, data_format: str = "NCHW") -> Tensor:
        channels = x.shape[-1 if data_format == "NHWC" else 1]
        return F.prelu(x, self.parameter(0, [1 if shared else channels], 0.5), data_format)

    def binary(self, x: Tensor, y: Tensor, of: str) -> Tensor:
        return BINARY[of](x, y)

    def constant(self, x: Tensor, of: str, shape: list[int], first: bool = False) -> Tensor:
        """Combine with a parameter; 0 in its shape stands for the size of x at that place."""
        rank = len(x.shape)
        sizes = [size or x.shape[rank - len(shape) + i] for i, size in enumerate(shape)]
        other = self.parameter(0, sizes)
        return BINARY[of](other, x) if first else BINARY[of](x, other)

    def add_at(self, x: Tensor, axis: int, count: int = 1, of: str = "add") -> Tensor:
        """Combine with a parameter whose dimensions begin at an axis, as older programs do."""
        other = self.parameter(0, x.shape[axis : axis + count])
        if writes_pdmodel():
            return ELEMENTWISE[of](x, other, axis=axis)
        return BINARY[of](x, other.reshape([*other.shape, *[1] * (len(x.shape) - axis - count)]))

    def concat(self, *parts: Tensor, axis: int) -> Tensor:
        return paddle.concat(list(parts), axis=axis)

    def stack(self, *parts: Tensor, axis: int) -> Tensor:
        return paddle.stack(list(parts), axis=axis)

    def split(self, x: Tensor, parts: Any, axis: int, take: int | None = None) -> Tensor:
        """One part, or all of them in the other order."""
        found = paddle.split(x, parts, axis)
        return found[take] if take is not None else paddle.concat(found[::-1], axis)

    def unbind(self, x: Tensor, axis: int) -> Tensor:
        found = paddle.unbind(x, axis)
        return found[0] - found[-1]

    def view(self, x: Tensor) -> Tensor:
        """Flatten by the number of images that the program reads while it runs."""
        return paddle.reshape(x, [paddle.shape(x)[0], math.prod(x.shape[1:])])

    def interpolate(self, x: Tensor, **more: Any) -> Tensor:
        if len(x.shape) != 4:
            raise InvalidNetworkError("no image, which the checks of models do not accept")
        return F.interpolate(x, **more)

    def pad(self, x: Tensor, pad: list[int], **more: Any) -> Tensor:
        if len(x.shape) != 4:
            raise InvalidNetworkError(
                "no image: another operator, which the checks of models do not accept"
            )
        return F.pad(x, pad, **more)

    def compare(self, x: Tensor, y: Tensor, of: str, cast: bool = True) -> Tensor:
        if x is y:
            raise InvalidNetworkError("a value with itself: Paddle 3.3 cannot load the .pdmodel")
        found = COMPARE[of](x, y)
        return found.astype(self.dtype) if cast else WHERE(found, x, y * 0.5)

    def cast(self, x: Tensor) -> Tensor:
        """To integers and back, of what is rounded first."""
        return (x * 4).astype("int32").astype(self.dtype)


def evaluate(network: Network, images: np.ndarray, dtype: str = "float32", nudge: float = 0) -> Any:
    """Return all values in dygraph, as tensors.

    Raises:
        InvalidNetworkError: Paddle refuses it.
    """
    try:
        with paddle.no_grad():
            return Run(network, dtype, nudge)(paddle.to_tensor(images.astype(dtype)))
    except InvalidNetworkError:
        raise
    # What Paddle raises has no common class below Exception.
    except Exception as error:
        raise InvalidNetworkError(f"{type(error).__name__}: {str(error)[:300]}") from error


def answer(network: Network, images: np.ndarray, dtype: str = "float32", nudge: float = 0) -> Any:
    """Return the first output in dygraph, as an array."""
    return evaluate(network, images, dtype, nudge)[network.outputs[0]].numpy()


def export(network: Network, folder: Path, formats: set[str]) -> None:
    """Write net.json and, where Paddle still can, net.pdmodel and the folder separate.

    Only those of ``formats``, unless that is empty.

    Raises:
        InvalidNetworkError: Paddle cannot export it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            paddle.enable_static()
            if formats != {"json"}:
                with contextlib.suppress(TypeError), pir_utils.OldIrGuard():
                    _save(network, folder, separate=folder / "separate")
            if not formats or formats - {"pdmodel", "separate"}:
                _save(network, folder)
        except Exception as error:
            raise InvalidNetworkError(
                f"export: {type(error).__name__}: {str(error)[-300:]}"
            ) from error
        finally:
            paddle.disable_static()


def _save(network: Network, folder: Path, separate: Path | None = None) -> None:
    static = paddle.static
    main, startup = static.Program(), static.Program()
    executor = static.Executor(paddle.CPUPlace())
    scope, names = static.scope_guard(static.Scope()), paddle.utils.unique_name.guard()
    with scope, static.program_guard(main, startup), names:
        x = static.data("x", [-1, *network.shape], "float32")
        values = Run(network)(x)
        outputs = [values[i] for i in network.outputs]
        executor.run(startup)
        static.save_inference_model(str(folder / "net"), [x], outputs, executor, program=main)
        if separate is None:
            return
        pruned = static.normalize_program(main, [x], outputs)
        separate.mkdir()
        (separate / "__model__").write_bytes(static.serialize_program([x], outputs, program=main))
        static.io.save_vars(
            executor,
            str(separate),
            pruned,
            predicate=lambda variable: variable.persistable
            and variable.name not in ("feed", "fetch"),
        )
