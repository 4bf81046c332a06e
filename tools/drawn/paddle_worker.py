"""Export operators in one layout, in the environment of a Paddle.

    python paddle_worker.py FOLDER pdmodel|json [NAME...]

FOLDER/NAME/model.LAYOUT and what it needs is written for each operator, and ``truth.npz``: the
inputs of 1, 2 and 3 images, and what dygraph makes of them. FOLDER/NAME/entry.json says how it
went. Operators that have one are left out, so that a crash costs one operator.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np

LAYOUT = sys.argv[2]
os.environ["FLAGS_enable_pir_api"] = "1" if LAYOUT == "json" else "0"  # noqa: SIM112 - Paddle reads it so

import paddle  # noqa: E402 - it reads the flag
from paddle import inference, static  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from operators import SIZES, UNREACHABLE, Network, listed  # noqa: E402

BATCHES = (1, 2, 3)


def make_input(name: str, images: int) -> Any:
    random = np.random.RandomState(zlib.crc32(name.encode()) % 10000 + images)
    return random.uniform(-1, 1, (images, *SIZES)).astype("float32")


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


def last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ((lines or [""])[-1].split(" (at /")[0])[:300] or type(error).__name__


def main() -> None:
    root = Path(sys.argv[1])
    chosen = sys.argv[3:] or list(listed())
    for name in chosen:
        folder = root / name
        if (folder / "entry.json").exists():
            continue
        if (folder / "begun").exists():
            entry: dict[str, Any] = {"outcome": "not exported", "said": "it ends the process"}
        else:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            (folder / "begun").touch()
            try:
                entry = write(name, folder)
            except Exception as error:  # noqa: BLE001 - a part of the result
                entry = {
                    "outcome": "not run",
                    "said": f"{type(error).__name__}: {last_line(error)}",
                }
            with contextlib.suppress(Exception):
                paddle.disable_static()
        (folder / "entry.json").write_text(json.dumps({"name": name, **entry}))


if __name__ == "__main__":
    main()
