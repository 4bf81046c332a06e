"""What the tests of this folder share: networks of PyTorch, and how outputs are compared."""

import io
from pathlib import Path

import numpy as np

from lenet_cpp.agreement import compare
from lenet_cpp.interchange.torch.models import create_network

Array = np.ndarray
NETWORKS = {"lenet": (1, 28, 28), "resnet18": (3, 64, 64)}


def assert_same(expected, found, name=""):
    """The two agree, and no value of the reference is infinite or NaN."""
    assert expected.shape == found.shape, name
    assert np.isfinite(expected).all(), name
    comparison = compare(expected.astype(found.dtype), found)
    assert comparison.agrees, f"{name}: {comparison.mismatch}"


def run_onnx(model, images):
    """What onnxruntime computes; one image after the other when the model takes one.

    Args:
        model: The model, or its path.
        images: [N, ...].
    """
    import onnxruntime

    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    first = session.get_inputs()[0]
    size = first.shape[0] if isinstance(first.shape[0], int) else len(images)
    starts = range(0, len(images), size)
    parts = [session.run(None, {first.name: images[i : i + size]})[0] for i in starts]
    return np.concatenate(parts)


def save(model, path):
    """Write a model of ONNX, and return the path."""
    path.write_bytes(model.SerializeToString())
    return path


def lively(model, classes=None, seed=0):
    """A network in which no two parameters are alike: no zeros, no means of 0, no scales of 1."""
    return enliven(create_network(model, classes, seed=seed), seed)


def enliven(net, seed=0):
    """Make any network such a one."""
    import torch

    random = torch.Generator().manual_seed(seed + 1)
    for key, value in net.state_dict().items():
        if value.ndim == 1:
            positive = key.endswith(("running_var", "weight"))
            noise = torch.rand(value.shape, generator=random)
            value.copy_(noise / 2 + 0.6 if positive else noise - 0.5)
    return net.eval()


def images_for(model, count=3):
    return np.random.default_rng(7).random((count, *NETWORKS[model]), dtype=np.float32)


def torch_outputs(net, images):
    import torch

    with torch.no_grad():
        return net(torch.from_numpy(images)).numpy()


def written_by_torch(state, protocol=2, *, archive=True):
    import torch

    file = io.BytesIO()
    torch.save(state, file, pickle_protocol=protocol, _use_new_zipfile_serialization=archive)
    return file.getvalue()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def program_outputs(run_program, folder, images, *arguments):
    """What the C++ program computes; ``folder`` takes the arrays."""
    x, y = folder / "x.npy", folder / "y.npy"
    np.save(x, images)
    done = run_program(*arguments, f"--input={x}", f"--output={y}")
    assert done.returncode == 0, done.stderr
    return np.load(y)
