"""Models that compute with parameters alone before they add them to the input, made by Paddle.

    constant_models.py FOLDER

writes NAME.pdmodel or NAME.json (as FLAGS_enable_pir_api says) with NAME.pdiparams, and NAME.npy:
what Paddle gives for an input of zeros.
"""

import sys
from pathlib import Path

import numpy as np
import paddle
from paddle import nn
from paddle.static import InputSpec

OLD = not paddle.framework.use_pir_api()

ELEMENTWISE = ("add", "sub", "mul", "div", "max", "min", "floordiv", "pow")


def numbers(random, shape, dtype):
    if np.dtype(dtype).kind == "f":
        return random.uniform(0.5, 3, shape).astype(dtype)
    return random.integers(1, 9, shape).astype(dtype) * (1 if random.random() < 0.3 else -1)


def save_static(folder, name, kind, x, y, axis):
    """Save a program of `elementwise_KIND`, whose Y begins at an axis of X, and Paddle's answer."""
    main, start = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, start):
        shape = (x if x.size >= y.size else y).shape
        taken = paddle.static.data("x", [-1, int(np.prod(shape))], "float32")
        block = main.global_block()
        operands = []
        for label, values in (("a", x), ("b", y)):
            zero = nn.initializer.Constant(0)
            made = paddle.static.create_parameter(
                list(values.shape), str(values.dtype), label, default_initializer=zero
            )
            paddle.static.global_scope().var(label).get_tensor().set(values, paddle.CPUPlace())
            operands.append(made)
        given = block.create_var(name="s", shape=shape, dtype=str(x.dtype))
        block.append_op(
            type=f"elementwise_{kind}",
            inputs={"X": [operands[0]], "Y": [operands[1]]},
            outputs={"Out": [given]},
            attrs={"axis": axis},
        )
        row = paddle.reshape(paddle.cast(given, "float32"), [1, -1])
        answer = taken + row
    executor = paddle.static.Executor()
    zeros = np.zeros((1, int(np.prod(shape))), np.float32)
    (expected,) = executor.run(main, feed={"x": zeros}, fetch_list=[answer])
    paddle.static.save_inference_model(
        str(folder / name), [taken], [answer], executor, program=main
    )
    np.save(folder / f"{name}.npy", expected)


def save_axes(folder):
    """Save what Paddle's axis makes of parameters; Y may have fewer dimensions, or X."""
    paddle.enable_static()
    random = np.random.default_rng(0)
    for number in range(96):
        kind = ELEMENTWISE[number % len(ELEMENTWISE)]
        dtypes = (
            ("float32", "float64") if kind == "pow" else ("float32", "float64", "int32", "int64")
        )
        dtype = dtypes[number // len(ELEMENTWISE) % len(dtypes)]
        rank = int(random.integers(1, 6))
        sizes = random.integers(2, 5, rank)
        count = int(random.integers(1, rank + 1))
        axis = int(random.integers(0, rank - count + 1)) if count < rank else -1
        begin = axis if axis >= 0 else rank - count
        part = np.where(random.random(count) < 0.2, 1, sizes[begin : begin + count])
        sizes, part = ([int(size) for size in shape] for shape in (sizes, part))
        pair = [numbers(random, tuple(sizes), dtype), numbers(random, tuple(part), dtype)]
        if kind == "pow":
            pair[1] = np.round(pair[1])
        pair = pair[::-1] if random.random() < 0.3 else pair
        save_static(folder, f"axis_{number}_{kind}_{dtype}", kind, *pair, axis)
    paddle.disable_static()


class Parameters(nn.Layer):
    """Adds to its input what a function gives of three parameters."""

    def __init__(self, function, random):
        super().__init__()
        self.function = function
        for name, shape in (("a", [3, 4, 6]), ("b", [3, 4, 6]), ("c", [4, 1])):
            parameter = self.create_parameter(shape)
            parameter.set_value(numbers(random, shape, "float32"))
            setattr(self, name, parameter)

    def forward(self, x):
        return x + paddle.reshape(self.function(self), [1, -1])


def overwritten(p):
    x, values = p.a * 1, p.b
    x[:, 1] = values[:, 2]
    x[:, :, ::2] = 0.5
    x[0, 1:3, 5] = values[1, 0, 0]
    return x


FUNCTIONS = {
    "add": lambda p: p.a + p.c,
    "subtract": lambda p: p.c - p.a,
    "multiply": lambda p: p.a * p.c * p.b,
    "divide": lambda p: p.a / p.c,
    "maximum": lambda p: paddle.maximum(p.a, p.b),
    "minimum": lambda p: paddle.minimum(p.c, p.b),
    "floor_divide": lambda p: paddle.floor_divide(p.a, p.c),
    "power": lambda p: paddle.pow(p.a, p.b),
    "square": lambda p: paddle.pow(p.a, 2.5),
    "where": lambda p: paddle.where(p.a > p.b, p.a, p.b),
    "sum": lambda p: paddle.add_n([p.a, p.b, p.a]),
    "scale": lambda p: paddle.scale(p.a, 3.0, 2.0, bias_after_scale=False) * 0.5 + 1.0,
    "roots": lambda p: paddle.sqrt(p.a) + paddle.rsqrt(p.b) + paddle.square(p.c),
    "exponents": lambda p: paddle.exp(p.a) + paddle.log(p.b) - paddle.erf(p.c),
    "rounds": lambda p: paddle.floor(p.a) + paddle.ceil(p.b) + paddle.round(p.c),
    "activations": lambda p: nn.functional.relu(p.a - p.b) + nn.functional.sigmoid(p.c),
    "angles": lambda p: paddle.sin(p.a) + paddle.cos(p.b) + paddle.tanh(p.c),
    "signs": lambda p: paddle.abs(-p.a) - paddle.reciprocal(p.b),
    "clip": lambda p: paddle.clip(p.a, 1.0, 2.0),
    "transpose": lambda p: paddle.transpose(p.a, [2, 0, 1]),
    "concat": lambda p: paddle.concat([p.a, p.b], 1),
    "stack": lambda p: paddle.stack([p.a, p.b], 1),
    "expand": lambda p: paddle.expand(p.c, [3, 4, 5]),
    "tile": lambda p: paddle.tile(p.a, [1, 2, 3]),
    "flip": lambda p: paddle.flip(p.a, [0, 2]),
    "slice": lambda p: p.a[1:, :, 2:5],
    "strides": lambda p: p.a[:, ::2, ::3],
    "split": lambda p: paddle.split(p.a, [1, 3], 1)[1],
    "unbind": lambda p: paddle.unbind(p.a, 1)[2],
    "cast": lambda p: paddle.cast(paddle.cast(p.a * 2, "int32"), "float32"),
    "full": lambda p: paddle.full([4, 6], 1.5) * p.a + paddle.ones([6]),
    "full_small": lambda p: paddle.full([4, 6], 1e-5) * (p.a * 1e5),
    "full_large": lambda p: paddle.full([4, 6], -1.5e20) * (p.a * 1e-20),
    "full_infinite": lambda p: p.a + 1 / paddle.full([4, 6], -float("inf")),
    "gather": lambda p: paddle.gather(p.a, paddle.to_tensor([2, 0, 2]), axis=1),
    "index_select": lambda p: paddle.index_select(p.a, paddle.to_tensor([1, 1, 0, 2]), 2),
    "gather_nd": lambda p: paddle.gather_nd(p.a, paddle.to_tensor([[2, 0], [0, 3]])),
    "embedding": lambda p: nn.functional.embedding(
        paddle.to_tensor([[0, 2], [3, 1]]), p.a[0], padding_idx=2
    ),
    "take_along_axis": lambda p: paddle.take_along_axis(
        p.a, paddle.to_tensor([[[0, 2, 1, 3, 1, 0]]] * 3), 1, broadcast=False
    ),
    "index_sample": lambda p: paddle.index_sample(p.a[0], paddle.to_tensor([[0, 5, 1]] * 4)),
    "matmul": lambda p: paddle.matmul(p.a, p.b, transpose_y=True),
    "reduce": lambda p: paddle.sum(p.a, 1)
    + paddle.mean(p.b, [1]) * paddle.max(p.b, 1)
    - paddle.prod(p.a, 1),
    "cumsum": lambda p: paddle.cumsum(p.a, 1),
    "triangles": lambda p: paddle.tril(p.a, -1) + paddle.triu(p.b, 1),
    "softmax": lambda p: nn.functional.softmax(p.a, 1) + nn.functional.log_softmax(p.b, 2),
    "normalize": lambda p: nn.functional.normalize(p.a, axis=1),
    "norms": lambda p: paddle.norm(p.a, 1, 2) + paddle.norm(p.b, "fro", [0, 2]),
    "pad": lambda p: nn.functional.pad(p.a, [1, 2, 0, 1, 2, 0], value=0.5, pad_from_left_axis=True),
    "roll": lambda p: paddle.roll(p.a, [1, -2], [0, 2]),
    "expand_as": lambda p: paddle.expand_as(p.c, p.a[0]),
    "overwritten": overwritten,
    "meshgrid": lambda p: paddle.meshgrid(p.a[0, 0], p.b[0, :, 0])[1],
    "sequences": lambda p: p.a[0] * paddle.linspace(-1, 1, 6) * paddle.arange(6).astype("float32"),
    "eye": lambda p: p.a[0] * paddle.eye(4, 6),
    "like": lambda p: paddle.full_like(p.a, 2.5) * p.b,
    "one_hot": lambda p: nn.functional.one_hot(paddle.to_tensor([3, 0, 1]), 4) * p.a[0, :, 0],
    "pixel_shuffle": lambda p: nn.functional.pixel_shuffle(p.a.reshape([1, 12, 2, 3]), 2),
    "pixel_unshuffle": lambda p: nn.functional.pixel_unshuffle(p.a.reshape([1, 3, 4, 6]), 2),
    "channel_shuffle": lambda p: nn.functional.channel_shuffle(p.a.reshape([1, 12, 2, 3]), 4),
    "named": lambda p: p.a[0]
    * paddle.to_tensor(np.arange(96).reshape(4, 4, 6) / 96).astype("float32"),
}
NEW_ONLY = (
    "maximum",
    "minimum",
    "roots",
    "exponents",
    "rounds",
    "activations",
    "angles",
    "signs",
    "matmul",
    "reduce",
    "triangles",
    "normalize",
    "roll",
    "expand_as",
)
"""What Paddle 3.3 does not write as a .pdmodel; save_axes has the first two there."""
UNKNOWN = ("overwritten",)
"""What no rule knows of a .pdmodel."""


def main(folder):
    paddle.seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    for name, function in FUNCTIONS.items():
        if OLD and name in NEW_ONLY + UNKNOWN:
            continue
        network = Parameters(function, random)
        network.eval()
        count = int(np.prod(function(network).shape))
        spec = InputSpec([None, count], "float32", "x")
        paddle.jit.save(network, str(folder / name), input_spec=[spec])
        np.save(folder / f"{name}.npy", network(paddle.zeros([1, count])).numpy())
    if OLD:
        save_axes(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
