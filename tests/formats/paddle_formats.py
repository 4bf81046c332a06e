"""The formats, and what a model in each of them computes in Paddle itself."""

import numpy as np
import paddle

from lenet_cpp import models
from lenet_cpp.inference.engine_loading import load

FORMATS = ("pdparams", "persistables", "pdmodel", "model-params", "separate", "json")


def ignore(*_):
    """Ignore the progress of a conversion, in a child process too."""


def images(batch=3):
    return np.random.default_rng(batch).random((batch, 1, 28, 28), dtype=np.float32)


def sorted_variables(layer):
    """The generated name of each parameter, in the order of the state dict."""
    names = []
    numbers = {"conv2d": 0, "linear": 0}
    for key in layer.state_dict():
        kind = "conv2d" if key.startswith("conv") else "linear"
        is_bias = key.endswith("bias")
        names.append(f"{kind}_{numbers[kind]}.{'b' if is_bias else 'w'}_0")
        numbers[kind] += is_bias
    return names


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
    loaded = load(engine, *files, **named)
    try:
        return loaded.engine.run(x)
    finally:
        loaded.engine.close()


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
