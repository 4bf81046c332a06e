"""Exports networks with outputs of every role, and what their classes are, by Paddle's own layers.

A script: ``python output_networks.py FOLDER`` writes ``NAME/m`` in the format that
``FLAGS_enable_pir_api`` says, ``NAME/truth.npz`` and ``images.npy``, uint8 [N, H, W, 3].
"""

import sys
from pathlib import Path

import numpy as np
import paddle
from paddle.base.layer_helper import LayerHelper
from paddle.nn import functional
from paddle.static import InputSpec

IMAGES = np.random.default_rng(7).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
PLACES = 4
DTYPES = {"int32": 2, "int64": 3}  # of framework.proto


class Network(paddle.nn.Layer):
    """Features of an image, five logits of them, and what an end makes of both."""

    def __init__(self, end):
        super().__init__()
        self.convolution = paddle.nn.Conv2D(3, 8, 3)
        self.linear = paddle.nn.Linear(8, 5)
        self.others = paddle.nn.LayerList([paddle.nn.Linear(8, 5) for _ in range(PLACES)])
        self.places = paddle.nn.Linear(8, PLACES * 5)
        self.end = end

    def features(self, x):
        return functional.relu(self.convolution(x)).mean([2, 3])

    def logits(self, x):
        return self.linear(self.features(x)) * 9

    def forward(self, x):
        return self.end(self, x)


def operator(kind, values, given_dtype, **attributes):
    """An operator of a .pdmodel that Paddle 3.3 cannot export by its own function."""
    helper = LayerHelper(kind)
    given = helper.create_variable_for_type_inference(given_dtype)
    helper.append_op(type=kind, inputs={"X": values}, outputs={"Out": given}, attrs=attributes)
    return given


def class_of(values, dtype="int64"):
    """The number of the greatest value of each image."""
    if not isinstance(values, paddle.static.Variable):
        return paddle.argmax(values, 1, dtype=dtype)
    attributes = {"axis": 1, "keepdims": False, "flatten": False, "dtype": DTYPES[dtype]}
    return operator("arg_max", values, dtype, **attributes)


def marks(network, x):
    """Whether each class has a score above a half."""
    logits = network.logits(x)
    if isinstance(logits, paddle.static.Variable):
        return operator("sigmoid", logits, "float32") > 0.5
    return functional.sigmoid(logits) > 0.5


def both(network, x):
    """Features and logits of one computation, under names that Paddle sorts."""
    features = network.features(x)
    return {"features": features, "logits": network.linear(features) * 9}


def heads(network, x):
    features = network.features(x)
    return tuple(layer(features) * 9 for layer in network.others)


def label_and_score(network, x):
    shares = functional.softmax(network.logits(x))
    return class_of(shares), paddle.max(shares, 1)


ENDS = {
    "top_k": lambda net, x: paddle.topk(functional.softmax(net.logits(x)), 3),
    "score_and_label": lambda net, x: label_and_score(net, x)[::-1],
    "label_and_score": label_and_score,
    "label": lambda net, x: class_of(net.logits(x)),
    "float_label": lambda net, x: class_of(net.logits(x)).astype("float32"),
    "label_and_shares": lambda net, x: (
        class_of(net.logits(x), "int32"),
        functional.softmax(net.logits(x)),
    ),
    "marks": lambda net, x: marks(net, x).astype("int64"),
    "float_marks": lambda net, x: marks(net, x).astype("float32"),
    "features_first": both,
    "heads": heads,
    "places": lambda net, x: (net.places(net.features(x)) * 9).reshape([-1, PLACES, 5]),
    "first_axis": lambda net, x: functional.softmax(
        (net.places(net.features(x)) * 9).reshape([-1, 5, PLACES]), axis=1
    ),
    "maximum": lambda net, x: paddle.max(net.logits(x), 1),
    "pixels": lambda net, x: net.convolution(x),
}


def truth(network, x):
    """What an image shows by the layers themselves: logits [N, 5] or [N, places, 5]."""
    features = network.features(x)
    places = network.places(features) * 9
    return {
        "logits": network.logits(x),
        "features": features,
        "heads": paddle.stack(list(heads(network, x)), axis=1),
        "places": places.reshape([-1, PLACES, 5]),
        "first_axis": places.reshape([-1, 5, PLACES]).transpose([0, 2, 1]),
    }


def main(folder):
    np.save(folder / "images.npy", IMAGES)
    x = paddle.to_tensor(IMAGES.transpose(0, 3, 1, 2).astype("float32") / np.float32(255))
    for name, end in ENDS.items():
        paddle.seed(3)
        network = Network(end)
        network.eval()
        spec = InputSpec([None, 3, 16, 16], "float32", "x")
        paddle.jit.save(network, str(folder / name / "m"), input_spec=[spec])
        known = {key: value.numpy() for key, value in truth(network, x).items()}
        np.savez(folder / name / "truth.npz", **known)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
