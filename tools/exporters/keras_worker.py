"""Export by Keras 3 itself, on TensorFlow and on PyTorch, and by tf2onnx.

The layers are on NHWC, with the paddings of TensorFlow.
"""

from __future__ import annotations

import os
import sys
from functools import partial, reduce
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.exporters.networks import INPUTS, NETWORKS, draw, make_all

if TYPE_CHECKING:
    from tools.exporters.networks import Report


def _seq(*parts: Any) -> Any:
    return lambda x: reduce(lambda value, part: part(value), parts, x)


def make_layers(keras: Any) -> SimpleNamespace:
    """Return the layers for ``networks``."""
    layers, ops = keras.layers, keras.ops
    names = {"hardswish": "hard_silu", "hardsigmoid": "hard_sigmoid"}

    def conv(
        cin: int,
        cout: int,
        size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
        padding: int | None = None,
    ) -> Any:
        make = layers.DepthwiseConv2D if groups > 1 else partial(layers.Conv2D, cout)
        return make(
            size, strides=stride, padding="same" if padding is None else "valid", use_bias=bias
        )

    def act(name: str) -> Any:
        if name in {"relu", "relu6"}:
            return layers.ReLU(6.0 if name == "relu6" else None)
        if name == "gelu":  # the exact one becomes Erfc, which tf2onnx does not know
            return layers.Activation(partial(ops.gelu, approximate=True))
        return layers.Activation(names.get(name, name))

    def shuffle(x: Any) -> Any:
        height, width, channels = x.shape[1:]
        x = layers.Reshape((height, width, 2, channels // 2))(x)
        return layers.Reshape((height, width, channels))(layers.Permute((1, 2, 4, 3))(x))

    def halves(channels: int, branch: Any) -> Any:
        def both(x: Any) -> Any:
            first, second = ops.split(x, 2, axis=-1)
            return layers.Concatenate()([first, branch(second)])

        return both

    def join(make: Any) -> Any:
        def join_branches(*branches: Any) -> Any:
            return lambda x: make()([branch(x) for branch in branches])

        return join_branches

    def attention(width: int) -> Any:
        return lambda x: layers.MultiHeadAttention(2, width // 2)(x, x)

    return SimpleNamespace(
        seq=_seq,
        norm=lambda channels: layers.BatchNormalization(),
        linear=lambda cin, cout: layers.Dense(cout),
        dropout=lambda: layers.Dropout(0.2),
        flatten=layers.Flatten,
        average_pool=layers.AveragePooling2D,
        layer_norm=lambda channels: layers.LayerNormalization(),
        tokens=lambda width, count: layers.Reshape((count, width)),
        conv=conv,
        act=act,
        add=join(layers.Add),
        multiply=join(layers.Multiply),
        concatenate=join(layers.Concatenate),
        max_pool=lambda size, stride, around: layers.MaxPooling2D(size, stride, "same"),
        pool_to_1x1=lambda: layers.GlobalAveragePooling2D(keepdims=True),
        global_pool=layers.GlobalAveragePooling2D,
        shuffle=lambda channels: shuffle,
        halves=halves,
        attention=attention,
        channels_last=_seq,
        channels_first=_seq,
        first_token=layers.GlobalAveragePooling1D,
    )


def build(name: str) -> Any:
    """Return a network with drawn parameters."""
    import keras

    keras.utils.clear_session()
    channels, *sizes = INPUTS[name]
    image = keras.Input((*sizes, channels), name="image")
    net = keras.Model(image, NETWORKS[name](make_layers(keras))(image))
    drawn = draw(
        name,
        {variable.path: variable.shape[::-1] for variable in net.variables},
        lambda key: key.endswith(("/gamma", "/moving_variance")),
    )
    for variable in net.variables:
        if "seed" not in variable.path:
            variable.assign(drawn[variable.path].T)
    net(keras.ops.zeros((1, *sizes, channels)))  # Keras exports only what was called
    return net


def make(
    folder: str, backend: str, opsets: list[int], report: Report, packages: str = ""
) -> dict[str, Any]:
    """Export each network; by tf2onnx in operator sets, or by Keras in that of its choice.

    ``packages`` is a folder with Keras, where PyTorch is that of this interpreter.
    """
    sys.path.extend([packages] if packages else [])
    os.environ |= {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def export(network: str, path: Path, opset: int = 0) -> None:
        net = build(network)
        if not opset:
            net.export(str(path), format="onnx", verbose=False)
            return
        import tensorflow as tf
        import tf2onnx

        spec = tf.TensorSpec(net.inputs[0].shape, tf.float32, name="image")
        tf2onnx.convert.from_keras(net, (spec,), opset=opset, output_path=str(path))

    cases: Any = [(f"{name}-{n}", name, {"opset": n}) for name in INPUTS for n in opsets]
    return make_all(folder, cases or [(name, name, {}) for name in INPUTS], export, report)
