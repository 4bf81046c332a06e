"""Small quantized networks of random shapes, made by Paddle's PTQ in a process of its own."""

from pathlib import Path

import numpy as np
from quantized_reference import describe

from lenet_cpp._base.worker import PROGRAM_DESC, call

_IMAGES = 19


def make_networks(target, count):
    """Return the programs, described for quantized_reference.py.

    Beside ``0.pdmodel`` lies ``0.npy``, images of the range that it was calibrated with.
    """
    arguments = {"target": str(target), "count": count}
    call("quantized_networks:make", arguments, doing="quantizing", variables=PROGRAM_DESC)
    return [target / f"{i}.pdmodel" for i in range(count)]


def _network(rng):
    import paddle
    from paddle import nn

    class FloatLinear(nn.Linear):
        """Of no type that is quantized."""

    def pick(*values):
        return int(rng.choice(values))

    def convolution(inputs, outputs, groups):
        kernel, dilation = [pick(1, 2, 3, 5), pick(1, 2, 3)], [pick(1, 1, 2), pick(1, 1, 2)]
        stride = [pick(1, 1, 2), pick(1, 1, 2)]
        padding = [min(pick(0, 1, 2), size - 1) for size in kernel]
        layer = nn.Conv2D(inputs, outputs, kernel, stride, padding, dilation, groups)
        if layer.bias is not None:
            layer.bias.set_value(rng.normal(0, 0.3, outputs).astype(np.float32))
        return layer

    groups = pick(1, 1, 1, 2)
    shape = (groups * pick(1, 1, 2, 3), pick(13, 20, 32), pick(13, 20, 33))
    middle, last = 2 * pick(2, 3, 8, 9), groups * pick(1, 5, 16, 20)
    pools = (nn.MaxPool2D(2), nn.MaxPool2D(3, 2, 1), nn.AvgPool2D(2), nn.MaxPool2D(2, 1))

    class Network(nn.Layer):
        def __init__(self):
            super().__init__()
            self.first = convolution(shape[0], middle, groups)
            self.norm = nn.BatchNorm2D(middle)
            statistics = {
                "weight": rng.normal(0.3, 0.5, middle),  # some of them negative
                "bias": rng.normal(size=middle),
                "_mean": rng.normal(size=middle),
                "_variance": rng.random(middle) + 0.5,
            }
            for name, values in statistics.items():
                getattr(self.norm, name).set_value(values.astype(np.float32))
            more = {"groups": pick(1, middle), "bias_attr": None if pick(0, 1) else False}
            self.branch = nn.Conv2D(middle, middle, 3, padding=1, **more)
            self.other = nn.Conv2D(middle, middle, 1, bias_attr=False)
            self.pools = [pools[pick(0, 1, 2, 3)], pools[pick(0, 1, 3)]]
            self.normalizes, self.joins = rng.random() < 0.5, pick(0, 1, 2, 3)
            self.second = convolution(middle * (2 if self.joins == 2 else 1), last, groups)
            self.relus = [rng.random() < 0.6 for _ in range(3)]
            self.relu = (nn.functional.relu, nn.functional.relu6)[pick(0, 1)]
            self.softmax, self.pooled = rng.random() < 0.3, rng.random() < 0.3
            image = self.features(paddle.zeros([1, *shape]))
            size = int(np.prod(image.shape))
            self.hidden = nn.Linear(size, pick(5, 33, 130))
            linear = FloatLinear if rng.random() < 0.3 else nn.Linear
            hidden = self.hidden.weight.shape[1]
            self.out = linear(hidden, pick(2, hidden, 40))

        def features(self, x):
            x = self.first(x)
            x = self.norm(x) if self.normalizes else x
            x = self.relu(x) if self.relus[0] else x
            x = self.pools[0](x)
            if self.joins in (1, 3):
                x = (x if self.joins == 1 else self.other(x)) + self.branch(x)
                x = self.relu(x) if self.relus[2] else x
            if self.joins == 2:
                x = paddle.concat([x, self.branch(x)], axis=1)
            x = self.second(x)
            x = self.relu(x) if self.relus[1] else x
            if min(x.shape[2:]) >= 3:
                x = nn.functional.adaptive_avg_pool2d(x, 1) if self.pooled else self.pools[1](x)
            return x

        def forward(self, x):
            x = self.relu(self.hidden(self.features(x).flatten(1)))
            x = self.out(x)
            return nn.functional.softmax(x) if self.softmax else x

    return Network(), shape


def make(target, count, report):
    import paddle
    from paddle.quantization import PTQ

    from lenet_cpp.quantize.int8_weights import finish_program
    from lenet_cpp.quantize.methods import layer_config

    programs = [Path(target, f"{i}.pdmodel") for i in range(count)]
    for i, program in enumerate(programs):
        paddle.disable_static()
        paddle.seed(i)
        rng = np.random.default_rng(i)
        layer, shape = _network(rng)
        layer.eval()
        images = rng.normal(size=(_IMAGES, *shape)).astype(np.float32)
        np.save(program.with_suffix(".npy"), images)
        with paddle.static.scope_guard(paddle.static.Scope()):
            ptq = PTQ(layer_config("abs_max"))
            observed = ptq.quantize(layer, inplace=True)
            # What is run has larger values here and there.
            observed(paddle.to_tensor(images[:4]))
            spec = [paddle.static.InputSpec([None, *shape], "float32", name="x")]
            converted = ptq.convert(observed, inplace=True)
            converted.eval()
            paddle.jit.save(converted, str(program.with_suffix("")), input_spec=spec)
            paddle.enable_static()
            finish_program(program)
    describe(programs, report)
