"""Operators and LeNet in NumPy and float64, from their definitions: what the tests compare with.

Images are [N, channels, height, width]; pads are (top, left, bottom, right).
"""

import struct

import numpy as np

LENET = {
    "conv1.weight": (6, 1, 5, 5),
    "conv1.bias": (6,),
    "conv2.weight": (16, 6, 5, 5),
    "conv2.bias": (16,),
    "linear1.weight": (400, 120),
    "linear1.bias": (120,),
    "linear2.weight": (120, 84),
    "linear2.bias": (84,),
    "linear3.weight": (84, 10),
    "linear3.bias": (10,),
}


def windows(x, kernel, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), outside=0.0):
    """Return what the window sees at each place: [N, channels, rows, columns, *kernel]."""
    top, left, bottom, right = pads
    around = ((0, 0), (0, 0), (top, bottom), (left, right))
    padded = np.pad(np.asarray(x, np.float64), around, constant_values=outside)
    (down, across), (vertical, horizontal) = strides, dilations
    span = vertical * (kernel[0] - 1) + 1, horizontal * (kernel[1] - 1) + 1
    seen = np.lib.stride_tricks.sliding_window_view(padded, span, (2, 3))
    return seen[:, :, ::down, ::across, ::vertical, ::horizontal]


def conv2d(x, weight, bias=None, groups=1, **window):
    """Return the sums over the taps of the filters; ``window``: as of :func:`windows`."""
    seen = windows(x, weight.shape[2:], **window)
    weight = np.asarray(weight, np.float64)
    found = [
        np.tensordot(images, filters, ((1, 4, 5), (1, 2, 3)))
        for images, filters in zip(np.split(seen, groups, 1), np.split(weight, groups), strict=True)
    ]
    sums = np.concatenate(found, axis=-1).transpose(0, 3, 1, 2)
    return sums if bias is None else sums + np.reshape(bias, (-1, 1, 1))


def average_pool(x, kernel, *, exclusive=True, **window):
    """Return the means; ``exclusive``: of what is inside the image, otherwise of the pads too."""
    seen = windows(x, kernel, outside=np.nan if exclusive else 0, **window)
    return np.nanmean(seen, (4, 5))


def max_pool(x, kernel, **window):
    return windows(x, kernel, outside=-np.inf, **window).max((4, 5))


def batch_norm(x, scale, bias, mean, variance, epsilon):
    scale, bias, mean, variance = (
        np.asarray(values, np.float64)[:, None, None] for values in (scale, bias, mean, variance)
    )
    return (x - mean) / np.sqrt(variance + epsilon) * scale + bias


def softmax(x):
    """Return the probabilities of each row of [N, classes]."""
    x = np.asarray(x, np.float64)
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def lenet(parameters, images):
    """Return the logits; ``parameters``: by the names of LENET, or a .pdiparams file."""
    p = parameters if not hasattr(parameters, "read_bytes") else lenet_parameters(parameters)
    p = {name: np.asarray(p[name], np.float64) for name in LENET}
    assert {name: values.shape for name, values in p.items()} == LENET
    x = np.asarray(images, np.float64).reshape(-1, 1, 28, 28)
    x = conv2d(x, p["conv1.weight"], p["conv1.bias"], pads=(2, 2, 2, 2))
    x = max_pool(np.maximum(x, 0), (2, 2), strides=(2, 2))
    x = conv2d(x, p["conv2.weight"], p["conv2.bias"])  # no rectifier behind this one
    x = max_pool(x, (2, 2), strides=(2, 2)).reshape(-1, 400)
    x = np.maximum(x @ p["linear1.weight"] + p["linear1.bias"], 0)
    x = np.maximum(x @ p["linear2.weight"] + p["linear2.bias"], 0)
    return x @ p["linear3.weight"] + p["linear3.bias"]


def read_parameters(path):
    """Read a .pdiparams file of float32 tensors, by the definition of its format."""
    data, at, tensors = path.read_bytes(), 0, []
    while at < len(data):
        version, levels, tensor_version, size = struct.unpack_from("<IQIi", data, at)
        assert (version, levels, tensor_version) == (0, 0, 0)
        desc, position, numbers = data[at + 20 : at + 20 + size], 0, []
        while position < size:  # pairs of a tag and a varint
            tag, position, value, shift = desc[position], position + 1, 0, 0
            while desc[position] & 0x80:
                value |= (desc[position] & 0x7F) << shift
                position, shift = position + 1, shift + 7
            numbers.append((tag, value | desc[position] << shift))
            position += 1
        assert numbers[0] == (0x08, 5), "float32"
        shape = tuple(value for _, value in numbers[1:])
        at += 20 + size
        tensors.append(np.frombuffer(data, "<f4", int(np.prod(shape)), at).reshape(shape))
        at += tensors[-1].nbytes
    return tensors


def lenet_parameters(path):
    """Read LeNet's parameters by their names: no two of them have the same shape."""
    by_shape = {tensor.shape: tensor for tensor in read_parameters(path)}
    return {name: by_shape[shape] for name, shape in LENET.items()}
