"""Export operators of Paddle in one layout, in the environment of a Paddle.

    FLAGS_enable_pir_api=0 python paddle_worker.py FOLDER pdmodel [NAME...]
    FLAGS_enable_pir_api=1 python paddle_worker.py FOLDER json [NAME...]

FOLDER/NAME has for each operator model.LAYOUT and what it needs, ``truth.npz`` and entry.json
(``entries.py``). Paddle reads the flag when it is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paddle
from entries import SIZES, write_entries
from paddle import inference, static
from paddle_operators import UNREACHABLE, Network, listed

if TYPE_CHECKING:
    from collections.abc import Mapping


class Paddle:
    """Makes networks in dygraph, and runs files by ``paddle.inference`` without passes."""

    unreachable = UNREACHABLE

    def __init__(self, layout: str) -> None:
        """Export files of a layout, ``pdmodel`` or ``json``."""
        self._layout = layout

    def make(self, name: str, inputs: Mapping[int, Any]) -> Network:
        """As the protocol says."""
        # The operator before may have left the static mode on.
        paddle.disable_static()
        paddle.seed(7)
        network = Network(name)
        network.eval()
        with paddle.no_grad():
            network.prepare(lambda images: paddle.to_tensor(inputs[images]))
        return network

    def run(self, network: Network, x: Any) -> Any:
        """As the protocol says."""
        with paddle.no_grad():
            return network(paddle.to_tensor(x)).numpy()

    def export(self, network: Network, folder: Path, batch: int | None) -> None:
        """As the protocol says."""
        spec = static.InputSpec([batch, *SIZES], "float32", "image")
        paddle.jit.save(network, str(folder / "model"), input_spec=[spec])

    def files(self, folder: Path) -> list[str]:
        """As the protocol says."""
        return [
            path.name
            for suffix in (".json", ".pdmodel", ".pdiparams")
            for path in sorted(folder.glob(f"model{suffix}"))
        ]

    def run_file(self, folder: Path, x: Any) -> Any:
        """As the protocol says."""
        program = str(folder / f"model.{self._layout}")
        config = inference.Config(program, str(folder / "model.pdiparams"))
        config.switch_ir_optim(False)
        config.disable_glog_info()
        predictor = inference.create_predictor(config)
        feed = predictor.get_input_handle(predictor.get_input_names()[0])
        feed.copy_from_cpu(x)
        predictor.run()
        return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


if __name__ == "__main__":
    write_entries(Path(sys.argv[1]), sys.argv[3:] or listed(), Paddle(sys.argv[2]))
