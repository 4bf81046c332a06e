"""The formats, and what a model in each of them computes in Paddle itself."""

from typing import Any

import numpy as np
import paddle

from lenet_cpp import models

FORMATS = ("pdparams", "persistables", "pdmodel", "model-params", "separate", "json")
Array = Any


def images(batch=3):
    return np.random.default_rng(batch).random((batch, 1, 28, 28), dtype=np.float32)


def sorted_variables(layer):
    """The generated name of each parameter, in the order of the state dict."""
    names = []
    numbers = {"conv": 0, "linear": 0}
    for key in layer.state_dict():
        kind = "conv" if key.startswith("conv") else "linear"
        is_bias = key.endswith("bias")
        names.append(
            f"{kind.replace('conv', 'conv2d')}_{numbers[kind]}.{'b' if is_bias else 'w'}_0"
        )
        numbers[kind] += is_bias
    return names


def run(format_, folder, x):
    """What a model computes, by Paddle itself: a layer, or paddle.inference."""
    if format_ == "pdparams":
        net = models.build("lenet")
        (path,) = folder.glob("*.pdparams")
        assert net.set_state_dict(paddle.load(str(path))) == ([], [])
        net.eval()
        return net(paddle.to_tensor(x)).numpy()
    if format_ == "persistables":
        net = models.build("lenet")
        values = [
            paddle.load(str(folder / name)) for name in sorted_variables(net)
        ]  # Paddle's own reader of such files
        state = dict(zip(net.state_dict(), values, strict=True))
        assert net.set_state_dict(state) == ([], [])
        net.eval()
        return net(paddle.to_tensor(x)).numpy()
    from paddle.inference import Config, create_predictor

    (program,) = (
        path
        for path in folder.iterdir()
        if path.name in {"model", "__model__", "lenet.pdmodel", "lenet.json", "inference.json"}
    )
    params = {"model": folder / "params"}.get(program.name, program.with_suffix(".pdiparams"))
    paths = (folder,) if program.name == "__model__" else (program, params)
    config = Config(*map(str, paths))
    config.disable_glog_info()
    predictor = create_predictor(config)
    handle = predictor.get_input_handle("x")
    handle.reshape(x.shape)
    handle.copy_from_cpu(x)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
