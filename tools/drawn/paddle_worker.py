"""Export operators of Paddle in one layout, in the environment of a Paddle.

    python paddle_worker.py FOLDER pdmodel|json [NAME...]

FOLDER/NAME/model.LAYOUT and what it needs is written for each operator, and ``truth.npz``: the
inputs of 1, 2 and 3 images, and what dygraph makes of them. FOLDER/NAME/entry.json says how it
went.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

LAYOUT = sys.argv[2]
os.environ["FLAGS_enable_pir_api"] = "1" if LAYOUT == "json" else "0"  # noqa: SIM112 - Paddle reads it so

import paddle  # noqa: E402 - it reads the flag
from paddle import inference, static  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from entries import BATCHES, SIZES, last_line, make_input, write_entries  # noqa: E402
from paddle_operators import UNREACHABLE, Network, listed  # noqa: E402


def write(name: str, folder: Path) -> dict[str, Any]:
    if name in UNREACHABLE:
        return {"outcome": "unreachable", "said": UNREACHABLE[name]}
    paddle.seed(7)
    network = Network(name)
    network.eval()
    inputs = {images: make_input(name, images) for images in BATCHES}
    with paddle.no_grad():
        network.prepare(lambda images: paddle.to_tensor(inputs[images]))
        answers = {n: network(paddle.to_tensor(x)).numpy() for n, x in inputs.items()}
        again = network(paddle.to_tensor(inputs[3])).numpy()
    if not all(np.isfinite(answer).all() for answer in answers.values()):
        return {"outcome": "not finite"}
    if not np.array_equal(again, answers[3]):
        return {"outcome": "random"}
    entry: dict[str, Any] = {"arguments": network.taken}
    for batch in (None, 2):
        try:
            spec = static.InputSpec([batch, *SIZES], "float32", "image")
            paddle.jit.save(network, str(folder / "model"), input_spec=[spec])
            break
        except Exception as error:  # noqa: BLE001 - a part of the result
            entry["said"] = last_line(error)
    else:
        return entry | {"outcome": "not exported"}
    sizes = BATCHES if batch is None else (batch,)
    arrays = {f"x{n}": inputs[n] for n in sizes} | {f"y{n}": answers[n] for n in sizes}
    np.savez(folder / "truth.npz", **arrays)
    if not says_the_same(folder, inputs[sizes[0]], answers[sizes[0]]):
        return entry | {"outcome": "exported otherwise"}
    files = sorted(p.name for p in folder.iterdir() if p.suffix in (".json", ".pdmodel"))
    params = sorted(p.name for p in folder.iterdir() if p.suffix == ".pdiparams")
    return entry | {"outcome": "exported", "batch": batch, "files": files + params}


def says_the_same(folder: Path, x: Any, expected: Any) -> bool:
    """Return False where Paddle's own inference, without passes, runs the file to another answer.

    Paddle leaves ``increment`` out of a .json, for example. A file that it refuses counts as the
    same: what is run later says more.
    """
    config = inference.Config(str(folder / f"model.{LAYOUT}"), str(folder / "model.pdiparams"))
    config.switch_ir_optim(False)
    config.disable_glog_info()
    try:
        predictor = inference.create_predictor(config)
        feed = predictor.get_input_handle(predictor.get_input_names()[0])
        feed.copy_from_cpu(x)
        predictor.run()
        answer = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
    except Exception:  # noqa: BLE001 - Paddle's errors are of many types
        return True
    return answer.shape == expected.shape and np.allclose(answer, expected, 1e-3, 1e-3)


def write_and_restore(name: str, folder: Path) -> dict[str, Any]:
    """Export an operator, and leave Paddle in dygraph whatever the export did."""
    try:
        return write(name, folder)
    finally:
        with contextlib.suppress(Exception):
            paddle.disable_static()


if __name__ == "__main__":
    write_entries(Path(sys.argv[1]), sys.argv[3:] or listed(), write_and_restore)
