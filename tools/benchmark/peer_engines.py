"""Load the model and run batches in libraries that need an environment of their own.

As in ``engines.py``, each function takes a model and returns what runs a batch; a child process
loads this module by its path, in that environment. A model has ``onnx`` and ``cache``, a folder of
this contender, in which converted models stay for its next turns. pnnx, which converts for ncnn,
also writes the network as a module of PyTorch: that is what PyTorch compiles and ExecuTorch
exports.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Run = Callable[[NDArray[np.float32]], Any]
    Model = Mapping[str, Any]

_SECONDS = 600


def ncnn(model: Model) -> Run:
    """Run ncnn, which takes one image at a time."""
    import ncnn as library

    net: Any = library.Net()
    net.opt.num_threads = model["threads"]
    # Its default stores float16 where the processor converts it.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = model["precision"] == "bf16"
    folder: Path | None = None

    def run(batch: NDArray[np.float32]) -> Any:
        nonlocal folder
        if folder is None:
            folder = converted_by_pnnx(model, (1, *batch.shape[1:]))
            if net.load_param(str(folder / "model.ncnn.param")) != 0:
                raise RuntimeError("ncnn cannot load what pnnx wrote: it lacks an operator")
            net.load_model(str(folder / "model.ncnn.bin"))
        outputs = []
        for image in batch:
            with net.create_extractor() as extractor:
                extractor.input("in0", library.Mat(np.ascontiguousarray(image)))
                failed, output = extractor.extract("out0")
                if failed:
                    raise RuntimeError(f"ncnn cannot compute the network: error {failed}")
                outputs.append(np.array(output).reshape(-1))
        return np.stack(outputs)

    return run


def mnn(model: Model) -> Run:
    """Run MNN, converted by a function: the command that calls it would also install packages."""
    import MNN

    net: Any = MNN.Interpreter(str(converted_by_mnn(model)))
    session = net.createSession({"backend": "CPU", "numThread": model["threads"]})
    source = net.getSessionInput(session)
    shape: tuple[int, ...] = ()

    def run(batch: NDArray[np.float32]) -> Any:
        nonlocal shape
        if batch.shape != shape:
            net.resizeTensor(source, batch.shape)
            net.resizeSession(session)
            shape = batch.shape
        layout = MNN.Tensor_DimensionType_Caffe
        source.copyFrom(MNN.Tensor(shape, MNN.Halide_Type_Float, batch, layout))
        net.runSession(session)
        output = net.getSessionOutput(session)
        found: Any = output.getShape()
        answer = MNN.Tensor(found, MNN.Halide_Type_Float, np.empty(found, np.float32), layout)
        output.copyToHostTensor(answer)
        return np.array(answer.getNumpyData(), np.float32).reshape(found)

    return run


def torch_compile(model: Model) -> Run:
    """Run PyTorch with torch.compile, its weights frozen as for inference."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(model["cache"], "inductor"))
    os.environ["TORCHINDUCTOR_FREEZING"] = "1"
    import torch

    torch.set_num_threads(model["threads"])
    compiled: dict[tuple[int, ...], Any] = {}

    def run(batch: NDArray[np.float32]) -> Any:
        with torch.inference_mode():
            if batch.shape not in compiled:
                module = _module(model, batch.shape)
                compiled[batch.shape] = torch.compile(module, dynamic=False)
            return compiled[batch.shape](torch.from_numpy(batch)).numpy()

    return run


def executorch(model: Model) -> Run:
    """Run ExecuTorch with XNNPACK, on as many threads as asked for: its own choice is all."""
    import torch
    from executorch.extension.pybindings.portable_lib import (
        _load_for_executorch,
        _unsafe_reset_threadpool,
    )

    _unsafe_reset_threadpool(model["threads"])
    loaded: dict[tuple[int, ...], Any] = {}

    def run(batch: NDArray[np.float32]) -> Any:
        if batch.shape not in loaded:
            loaded[batch.shape] = _load_for_executorch(str(_lowered(model, batch.shape)))
        (output,) = loaded[batch.shape].forward([torch.from_numpy(batch)])
        return output.numpy()

    return run


def double(onnx: str, cache: str, images: str, target: str, **_: object) -> None:
    """Compute the outputs of an ``.onnx`` in float64, by the module that pnnx makes of it.

    ``images`` is a ``.npy``, [N, C, H, W]. The outputs go to ``expected.npy`` in ``target``.
    """
    import torch

    module: Any = None
    outputs = []
    for image in np.load(images):
        batch = image[None]
        module = module or _module({"onnx": onnx, "cache": cache}, batch.shape).double()
        with torch.inference_mode():
            outputs.append(module(torch.from_numpy(batch.astype(np.float64))).numpy())
    np.save(Path(target, "expected.npy"), np.concatenate(outputs))


def converted_by_mnn(model: Model) -> Path:
    """Return the file that MNN's converter writes."""
    import _tools

    file = Path(model["cache"], "model.mnn")
    if not file.exists():
        options = ("-f", "ONNX", "--bizCode", "benchmark", "--modelFile", model["onnx"])
        made = file.with_suffix(".part")
        _tools.mnnconvert(["mnnconvert", *options, "--MNNModel", str(made)])
        made.rename(file)
    return file


def converted_by_pnnx(model: Model, shape: tuple[int, ...]) -> Path:
    """Return the folder of what pnnx writes for such batches: their size becomes a constant."""
    folder = Path(model["cache"], f"pnnx-{shape[0]}")
    if folder.exists():
        return folder
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    source = part / "model.onnx"
    source.symlink_to(Path(model["onnx"]).absolute())
    sizes = ",".join(map(str, shape))
    program = Path(sys.executable).with_name("pnnx")
    command = [str(program), source.name, f"inputshape=[{sizes}]", "fp16=0"]
    done = subprocess.run(
        command,
        cwd=part,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode != 0 or not (part / "model_pnnx.py").is_file():
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise RuntimeError(f"pnnx cannot convert it: {lines[-1] if lines else 'it said nothing'}")
    part.rename(folder)
    return folder


def _module(model: Model, shape: tuple[int, ...]) -> Any:
    """Return the network for such batches as a module of PyTorch."""
    folder = converted_by_pnnx(model, shape)
    spec: Any = importlib.util.spec_from_file_location("model_pnnx", folder / "model_pnnx.py")
    found = importlib.util.module_from_spec(spec)
    before = Path.cwd()
    os.chdir(folder)  # it looks for its weights there
    try:
        spec.loader.exec_module(found)
        return found.Model().eval()
    finally:
        os.chdir(before)


def _lowered(model: Model, shape: tuple[int, ...]) -> Path:
    """Return ExecuTorch's file for such batches, in which XNNPACK has what it can compute."""
    file = Path(model["cache"], f"model-{shape[0]}.pte")
    if file.exists():
        return file
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with torch.no_grad():
        exported = torch.export.export(_module(model, shape), (torch.zeros(shape),))
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    part = file.with_suffix(".part")
    part.write_bytes(lowered.to_executorch().buffer)
    part.rename(file)
    return file
