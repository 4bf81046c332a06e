"""Write the networks of Paddle 2 or 3, in the environment of such a version.

A layout is ``jit``, ``static`` or ``twice``, and the program's ending, which FLAGS_enable_pir_api
decides upon: ``jit_json``.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from paddle import inference, nn, static
from paddle.base import unique_name
from paddle.base.core import Scope

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.survey.worker import make_input, open_shape, parameter_values, write_all
from tools.versions.paddle_networks import NETWORKS, tail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.survey.worker import Report


def build(folder: str, layout: str, report: Report) -> dict[str, Any]:
    """Write all networks in a layout. ``twice`` reads what a process before wrote as ``static``."""
    write = {"jit": write_jit, "static": write_static, "twice": write_twice}[layout.split("_")[0]]
    return write_all(list(NETWORKS), lambda name: write(Path(folder, name, layout)), report)


def write_jit(path: Path) -> Iterator[tuple[Path, Any]]:
    name = path.parts[-2]
    layer, expected = run_layer(name)
    spec = static.InputSpec(open_shape(name), "float32", "image")
    with unique_name.guard():
        paddle.jit.save(layer, str(path / "model"), input_spec=[spec])
    yield path, infer(path, expected)


def write_static(path: Path) -> Iterator[tuple[Path, Any]]:
    name = path.parts[-2]
    expected = run_layer(name)[1]
    main, startup, executor = static.Program(), static.Program(), static.Executor()
    paddle.enable_static()
    try:
        with static.scope_guard(Scope()), static.program_guard(main, startup):
            with unique_name.guard():
                image = static.data("image", open_shape(name), "float32")
                layer = make_layer(name)
                output = layer(image)
            executor.run(startup)
            for key, value in values_of(layer, name).items():
                variable = static.global_scope().find_var(layer.state_dict()[key].name)
                variable.get_tensor().set(value, paddle.CPUPlace())
            with unique_name.guard():
                save = static.save_inference_model
                save(str(path / "model"), [image], [output], executor, program=main)
    finally:
        paddle.disable_static()
    yield path, infer(path, expected)


def write_twice(path: Path) -> Iterator[tuple[Path, Any]]:
    first = path.with_name(path.name.replace("twice", "static"))
    if not (first / "expected.npy").exists():
        return  # what was not written once
    executor = static.Executor()
    paddle.enable_static()
    try:
        with static.scope_guard(Scope()), unique_name.guard():
            loaded = static.load_inference_model(str(first / "model"), executor)
            program, feeds, fetches = loaded
            block = program.global_block()
            if path.name.endswith("json"):
                inputs = [op.result(0) for op in block.ops if op.name() == "pd_op.data"]
            else:
                inputs = [block.var(feed) for feed in feeds]
            save = static.save_inference_model
            save(str(path / "model"), inputs, fetches, executor, program=program)
    finally:
        paddle.disable_static()
    yield path, infer(path, np.load(str(first / "expected.npy")))


@functools.lru_cache(None)
def output_shape(name: str) -> tuple[int, ...]:
    return tuple(NETWORKS[name]()(paddle.to_tensor(make_input(name))).shape)


def make_layer(name: str) -> Any:
    layer = nn.Sequential(NETWORKS[name](), *tail(output_shape(name)))
    layer.eval()
    return layer


def run_layer(name: str) -> tuple[Any, Any]:
    """Return a network and its output, in imperative mode."""
    output_shape(name)
    with unique_name.guard():
        layer = make_layer(name)
    layer.set_state_dict(values_of(layer, name))
    return layer, layer(paddle.to_tensor(make_input(name))).numpy()


def values_of(layer: Any, name: str) -> dict[str, Any]:
    kinds = {prefix: type(part) for prefix, part in layer.named_sublayers()}

    def is_positive(key: str) -> bool:
        prefix, _, last = key.rpartition(".")
        return kinds.get(prefix) is nn.BatchNorm2D and last in ("weight", "_variance")

    shapes = {key: value.shape for key, value in layer.state_dict().items()}
    return dict(parameter_values(name, shapes, is_positive))


def infer(path: Path, expected: Any) -> Any:
    """Run a model by paddle.inference, without passes and oneDNN, which are not always right.

    Raises:
        ValueError: Its output is not the layer's.
    """
    (program,) = (file for file in path.iterdir() if file.suffix in (".json", ".pdmodel"))
    config = inference.Config(str(program), str(path / "model.pdiparams"))
    config.switch_ir_optim(False)
    config.disable_glog_info()
    if hasattr(config, "disable_mkldnn"):
        config.disable_mkldnn()
    predictor = inference.create_predictor(config)
    feed = predictor.get_input_handle(predictor.get_input_names()[0])
    feed.copy_from_cpu(make_input(path.parts[-2]))
    predictor.run()
    answer = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
    if not np.allclose(answer, expected, rtol=1e-5, atol=1e-5):
        raise ValueError("paddle.inference gives another answer than the layers")
    return answer
