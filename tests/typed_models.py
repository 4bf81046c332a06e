"""Small Paddle models whose input is no float32 tensor; run as a program it exports them.

    typed_models.py FOLDER

writes DTYPE.pdmodel or DTYPE.json (as FLAGS_enable_pir_api says) with DTYPE.pdiparams, and what the
layer computes of the numbers of DTYPE.npy, as DTYPE_expected.npy. exact.json is a model of int64
numbers whose answer float32 would change; other_DTYPE are models that no engine here takes.
outputs.json takes float32 and gives an output of each type; outputs_expected.npz has them in order.
"""

import sys
from pathlib import Path

import numpy as np

NUMBERS = {
    "uint8": [0, 1, 100, 254, 255],
    "int32": [-(2**31), -7, 0, 3, 2**24, 2**31 - 1],
    "int64": [-(2**40), -7, 0, 3, 2**24],
    "float64": [0.1, -1e-30, 3.75, 1e6],
}
"""Some numbers of each type that an input can have."""

NATIVE_NUMBERS = {"float16": [0.1, -6e-8, 3.75, 65504]}
"""Some numbers of each type that the native engine takes and Paddle's engine does not."""

OTHERS = ("int8", "bool", "int16")
"""Types that no engine here takes."""

SCALES = {"uint8": 255, "int32": 2**31, "int64": 2**40, "float64": 1e6, "float16": 65504}
EXACT = np.arange(2**24 - 3, 2**24 + 9, dtype=np.int64).reshape(1, 12)


def main(folder):
    import paddle
    from paddle import nn
    from paddle.static import InputSpec

    class Network(nn.Layer):
        """Normalizes numbers in the graph, and convolves them."""

        def __init__(self, scale):
            super().__init__()
            self.scale = scale
            self.convolution = nn.Conv2D(3, 4, 3)
            self.last = nn.Linear(4, 5)

        def forward(self, x):
            x = (x.astype("float32") / self.scale - 0.5) / 0.25
            return self.last(nn.functional.relu(self.convolution(x)).mean([2, 3])) * 9

    class Exact(nn.Layer):
        """Takes a number away before the type changes."""

        def __init__(self):
            super().__init__()
            self.zero = self.create_parameter([1], default_initializer=nn.initializer.Constant(0))

        def forward(self, x):
            return (x - (2**24)).astype("float32") + self.zero

    class Outputs(nn.Layer):
        """Gives integers and bools before floating-point values, and a scalar."""

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(12, 5)

        def forward(self, x):
            y = self.linear(x)
            numbers = [paddle.argmax(y, 1), paddle.argmax(y, 1, dtype="int32"), y > 0]
            return *numbers, (y > 0).astype("uint8"), y.astype("float64"), y, y.mean()

    class Means(nn.Layer):
        """Takes numbers of any type."""

        def forward(self, x):
            return x.astype("float32").mean([2, 3])

    def export(layer, name, shape, dtype, numbers):
        layer.eval()
        np.save(folder / f"{name}.npy", numbers)
        np.save(folder / f"{name}_expected.npy", layer(paddle.to_tensor(numbers)).numpy())
        paddle.jit.save(layer, str(folder / name), input_spec=[InputSpec(shape, dtype, "x")])

    for name in OTHERS:
        spec = InputSpec([None, 3, 4, 4], name, "x")
        paddle.jit.save(Means(), str(folder / f"other_{name}"), input_spec=[spec])
        (folder / f"other_{name}.pdiparams").touch()  # there are none
    for name, numbers in (NUMBERS | NATIVE_NUMBERS).items():
        paddle.seed(3)
        chosen = np.random.default_rng(0).choice(np.array(numbers, name), (4, 3, 8, 8))
        export(Network(SCALES[name]), name, [None, 3, 8, 8], name, chosen)
    if paddle.get_flags(["FLAGS_enable_pir_api"])["FLAGS_enable_pir_api"]:
        export(Exact(), "exact", [None, 12], "int64", EXACT)
        layer, x = Outputs(), np.random.default_rng(0).standard_normal((4, 12), np.float32)
        np.save(folder / "outputs.npy", x)
        made = [one.numpy() for one in layer(paddle.to_tensor(x))]
        np.savez(folder / "outputs_expected.npz", *made)
        spec = InputSpec([None, 12], "float32", "x")
        paddle.jit.save(layer, str(folder / "outputs"), input_spec=[spec])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
