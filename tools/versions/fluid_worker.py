"""Write the networks of Paddle 1.8.5, in its environment of Python 3.7."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddle import fluid

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.survey.worker import SIZES, make_input, open_shape, parameter_values, write_all
from tools.versions.fluid_networks import NETWORKS, TRACED, tail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.survey.worker import Report

LAYOUTS = {"separate": {}, "combined": {"model_filename": "model", "params_filename": "params"}}
EXECUTOR = fluid.Executor(fluid.CPUPlace())


def build(folder: str, report: Report) -> dict[str, Any]:
    def write(name: str) -> Iterator[tuple[Path, Any]]:
        with fluid.scope_guard(fluid.Scope()):
            yield from (trace if name in TRACED else write_program)(Path(folder, name))

    return write_all([*NETWORKS, *TRACED], write, report)


def write_program(folder: Path) -> Iterator[tuple[Path, Any]]:
    name = folder.name
    main, startup = fluid.Program(), fluid.Program()
    with fluid.unique_name.guard(), fluid.program_guard(main, startup):
        if name == "data_layer":
            x = fluid.layers.data("image", list(SIZES))
        else:
            x = fluid.data("image", open_shape(name))
        output = tail(NETWORKS[name](x))
    EXECUTOR.run(startup)
    shapes = {one.name: one.shape for one in main.list_vars() if one.persistable}
    for key, value in parameter_values(name, shapes, is_positive).items():
        fluid.global_scope().find_var(key).get_tensor().set(value, fluid.CPUPlace())
    if name in ("batch_norm_cloned", "dropout_cloned"):
        main = main.clone(for_test=True)
    for layout, files in LAYOUTS.items():
        path = str(folder / layout)
        with fluid.unique_name.guard():
            fluid.io.save_inference_model(
                path, ["image"], [output], EXECUTOR, main.clone(), **files
            )
        yield folder / layout, run(folder / layout, files)


def trace(folder: Path) -> Iterator[tuple[Path, Any]]:
    path, name = folder / "traced", folder.name
    with fluid.unique_name.guard(), fluid.dygraph.guard(fluid.CPUPlace()):
        layer = TRACED[name]()
        shapes = {one.name: one.shape for one in layer.state_dict().values()}
        values = parameter_values(name, shapes, is_positive)
        layer.set_dict({key: values[one.name] for key, one in layer.state_dict().items()})
        layer.eval()
        image = fluid.dygraph.to_variable(make_input(name))
        fluid.dygraph.TracedLayer.trace(layer, [image])[1].save_inference_model(str(path))
    yield path, run(path, {})


def is_positive(name: str) -> bool:
    """Say whether this is a batch normalization's scale or variance."""
    return name.startswith("batch_norm") and name.endswith(("w_0", "w_2"))


def run(path: Path, files: dict[str, str]) -> Any:
    with fluid.scope_guard(fluid.Scope()):
        program, (feed,), fetches = fluid.io.load_inference_model(str(path), EXECUTOR, **files)
        return EXECUTOR.run(program, {feed: make_input(path.parts[-2])}, fetches)[0]
