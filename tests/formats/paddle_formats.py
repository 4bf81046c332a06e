"""The formats, and what a model in each of them computes in Paddle itself."""

import re

import numpy as np
import paddle

from lenet_cpp import models
from lenet_cpp.paddle_engines.loading import load
from shared_models import infer

FORMATS = ("pdparams", "persistables", "pdmodel", "model-params", "separate", "json")


def images(batch=3):
    return np.random.default_rng(batch).random((batch, 1, 28, 28), dtype=np.float32)


def sorted_variables(layer):
    """The generated name of each parameter, in the order of the state dict."""
    found = (re.fullmatch(r"(conv|linear)(\d)\.(\w).*", key) for key in layer.state_dict())
    kinds = {"conv": "conv2d", "linear": "linear"}
    return [f"{kinds[one[1]]}_{int(one[2]) - 1}.{one[3]}_0" for one in found]


def arrays(layer):
    return {key: value.numpy() for key, value in layer.state_dict().items()}


def jit_save(net, prefix):
    """Save a .json, or under DygraphOldIrGuard a .pdmodel, as a user does."""
    net.eval()
    spec = [paddle.static.InputSpec([None, 1, 28, 28], "float32", name="x")]
    paddle.jit.save(paddle.jit.to_static(net, input_spec=spec, full_graph=True), str(prefix))


def save_variable(tensor, path):
    paddle.save(tensor, str(path), use_binary_format=True)


def run_engine(engine, x, *files, **named):
    """What one of our engines computes."""
    loaded, _ = load(engine, *files, **named)
    try:
        return loaded.run(x, [0])[0]
    finally:
        loaded.close()


def run(format_, folder, x):
    """What a model computes, by Paddle itself: a layer, or paddle.inference."""
    if format_ in {"pdparams", "persistables"}:
        net = models.build("lenet")
        if format_ == "pdparams":
            (path,) = folder.glob("*.pdparams")
            state = paddle.load(str(path))
        else:  # Paddle's own reader of such files
            values = [paddle.load(str(folder / name)) for name in sorted_variables(net)]
            state = dict(zip(net.state_dict(), values, strict=True))
        assert net.set_state_dict(state) == ([], [])
        net.eval()
        return net(paddle.to_tensor(x)).numpy()
    names = {"model", "__model__", "lenet.pdmodel", "lenet.json", "inference.json"}
    (program,) = (path for path in folder.iterdir() if path.name in names)
    if program.name == "__model__":
        return infer(folder, None, x)
    params = folder / "params" if program.name == "model" else program.with_suffix(".pdiparams")
    return infer(program, params, x)
