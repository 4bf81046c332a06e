"""Attention with masks and biases of places, as PyTorch and Paddle export it: the native engine
against the framework in float64.

Every mask is crossed with every format. Its value, what else is done to the scores and the number
of tokens change from case to case.
"""

import math
from functools import partial

import numpy as np
import paddle
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare
from shared_models import fixed_format

torch = pytest.importorskip("torch", reason="the masks are exported by it too")
for _name in ("onnx", "onnxscript"):
    pytest.importorskip(_name, reason="PyTorch exports with it")

from mask_networks import (  # noqa: E402 - it needs torch
    BIASES,
    CLASSES,
    HEADS,
    MASKS,
    NETWORKS,
    WAYS,
    WAYS_OF_BIASES,
    WIDTH,
    OfPaddle,
    OfTorch,
    added,
    buckets_of_distances,
    later_by_cumsum,
    later_by_triangle,
    padding_and_later,
    padding_of_the_input,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of exporters
LEAST = {
    "minus infinity": -math.inf,
    "-1e4": -1e4,
    "float16's least": -65504.0,
    "float32's least": float(np.finfo(np.float32).min),
}
TOKENS = (6, 5, 10, 13)  # no multiple of a vector
FORMATS = ("onnx", "json", "pdmodel", "dynamo")
"""The exporters are PyTorch's older one, Paddle's, and PyTorch's newer one."""
OF_PADDLE = ("json", "pdmodel")


# ---- Layers of the frameworks


class TorchLayers(torch.nn.Module):
    """Run layers of PyTorch that take masks on tokens, and classify what they give."""

    def __init__(self, run, layer, tokens, least):
        super().__init__()
        self.run, self.layer, self.last = run, layer, torch.nn.Linear(WIDTH, CLASSES)
        row = torch.zeros(tokens)
        row[[1, tokens - 1]] = least
        self.register_buffer("row", row)
        later = torch.triu(torch.ones(tokens, tokens, dtype=torch.bool), 1)
        self.register_buffer("later", later)
        self.register_buffer("pairs", torch.zeros(tokens, tokens).masked_fill(later, least))

    def forward(self, x):
        x = x[:, 0]
        return self.last(self.run(self, x, (x * x).mean(-1) == 0).mean(1))


class PaddleLayers(paddle.nn.Layer):
    """Run layers of Paddle that take masks on tokens, and classify what they give."""

    def __init__(self, run, layer, tokens, least):
        super().__init__()
        self.run, self.layer, self.last = run, layer, paddle.nn.Linear(WIDTH, CLASSES)
        row = np.zeros((1, 1, 1, tokens), np.float32)
        row[..., [1, tokens - 1]] = least
        self.register_buffer("row", paddle.to_tensor(row))
        later = np.triu(np.ones((tokens, tokens), bool), 1)
        self.register_buffer("earlier", paddle.to_tensor(~later))
        self.register_buffer("pairs", paddle.to_tensor(np.where(later, least, 0).astype("f4")))

    def forward(self, x):
        x = x[:, 0]
        kept = ((x * x).mean(-1) > 0).unsqueeze(1).unsqueeze(1)
        return self.last(self.run(self, x, kept).mean(1))


def torch_attention():
    return torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)


def torch_encoder(**options):
    layer = torch.nn.TransformerEncoderLayer(
        WIDTH, HEADS, 12, batch_first=True, activation="gelu", **options
    )
    return torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def of_torch(**masks):
    """Return a function that calls MultiheadAttention with masks, each made of (net, padding)."""

    def run(net, x, padding):
        given = {name: make(net, padding) for name, make in masks.items()}
        return net.layer(x, x, x, need_weights=False, **given)[0]

    return run


def with_weights(net, x, padding):
    """When weights are asked for, PyTorch does not call scaled_dot_product_attention."""
    y, weights = net.layer(x, x, x, key_padding_mask=padding, attn_mask=net.pairs)
    return y + weights @ x


def scaled(mask, **options):
    """Return a function that calls scaled_dot_product_attention with a mask of (net, padding)."""

    def run(net, x, padding):
        parts = [
            part.reshape(-1, x.shape[1], HEADS, WIDTH // HEADS).transpose(1, 2)
            for part in net.layer(x).chunk(3, -1)
        ]
        made = mask(net, padding)
        y = torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=made, **options)
        return y.transpose(1, 2).reshape(-1, x.shape[1], WIDTH)

    return run


def encoder(**masks):
    def run(net, x, padding):
        return net.layer(x, **{name: make(net, padding) for name, make in masks.items()})

    return run


def padding(_net, padding):
    return padding


def padding_in_numbers(net, padding):
    least = torch.full((), float(net.row.min()), dtype=net.row.dtype)
    return torch.zeros_like(padding, dtype=net.row.dtype).masked_fill(padding, least)


def row(net, _padding):
    return net.row


def later(net, _padding):
    return net.later


def pairs(net, _padding):
    return net.pairs


def qkv():
    return torch.nn.Linear(WIDTH, 3 * WIDTH)


def before_norms():
    return torch_encoder(norm_first=True)


def row_of_pairs(net, _padding):
    return net.row.expand(len(net.row), -1)


def of_four_axes(net, _padding):
    return net.row.reshape(1, 1, 1, -1)


def no(_net, _padding):
    return False


TORCH_LAYERS = {
    "attention, padding": (of_torch(key_padding_mask=padding), torch_attention),
    "attention, row": (of_torch(attn_mask=row_of_pairs), torch_attention),
    "attention, later": (of_torch(attn_mask=later), torch_attention),
    "attention, both": (
        of_torch(key_padding_mask=padding_in_numbers, attn_mask=pairs),
        torch_attention,
    ),
    "attention, weights": (with_weights, torch_attention),
    "scaled, row": (scaled(lambda net, _: net.row[None]), qkv),
    "scaled, four axes": (scaled(of_four_axes), qkv),
    "scaled, padding": (scaled(lambda _, padding: ~padding[:, None, None]), qkv),
    "scaled, causal": (scaled(lambda *_: None, is_causal=True), qkv),
    "encoder, padding": (encoder(src_key_padding_mask=padding), torch_encoder),
    "encoder, pairs": (encoder(mask=pairs, is_causal=no), before_norms),
    "encoder, both": (
        encoder(mask=later, src_key_padding_mask=padding, is_causal=no),
        torch_encoder,
    ),
}


def paddle_attention():
    return paddle.nn.MultiHeadAttention(WIDTH, HEADS)


def paddle_encoder(**options):
    layer = paddle.nn.TransformerEncoderLayer(WIDTH, HEADS, 12, 0.0, **options)
    return paddle.nn.TransformerEncoder(layer, 2)


def of_paddle(mask):
    """Return a function that calls a layer of Paddle with a mask of (net, kept tokens)."""

    def run(net, x, kept):
        if isinstance(net.layer, paddle.nn.TransformerEncoder):
            return net.layer(x, mask(net, kept))
        return net.layer(x, x, x, mask(net, kept))

    return run


def kept(_net, kept):
    return kept


def earlier(net, _kept):
    return net.earlier


def row_and_kept(net, kept):
    return net.row + kept.astype(net.row.dtype)


def paddle_before_norms():
    return paddle_encoder(normalize_before=True)


PADDLE_LAYERS = {
    "attention, row": (of_paddle(row), paddle_attention),
    "attention, kept": (of_paddle(kept), paddle_attention),
    "attention, earlier": (of_paddle(earlier), paddle_attention),
    "attention, pairs": (of_paddle(pairs), paddle_attention),
    "attention, sum": (of_paddle(row_and_kept), paddle_attention),
    "encoder, row": (of_paddle(row), paddle_encoder),
    "encoder, kept": (of_paddle(kept), paddle_before_norms),
    "encoder, pairs": (of_paddle(pairs), paddle_encoder),
}


# ---- The tests

# What an exporter cannot write: Paddle's for .pdmodel has no triu and no log any more. PyTorch's
# newer one does not decompose the buckets.
UNWRITTEN = {
    (later_by_triangle, "pdmodel"),
    (buckets_of_distances, "pdmodel"),
    (buckets_of_distances, "dynamo"),
}
# Native has no kernel for values of a mask that are computed from the input as booleans.
REFUSED = {
    (mask.__name__, suffix)
    for mask in (later_by_cumsum, padding_of_the_input, padding_and_later)
    for suffix in OF_PADDLE
}
REFUSED |= {
    (name, "onnx")
    for name in TORCH_LAYERS
    if name.endswith(("both", "weights", "padding")) and "scaled" not in name
}


def draw_images(tokens):
    """Return three images [1, tokens, WIDTH]; of each, other tokens at its end are zeros."""
    images = np.random.default_rng(0).standard_normal((3, 1, tokens, WIDTH)).astype("f4")
    for number, image in enumerate(images):
        image[:, tokens - 1 - number :] = 0
    return images


def export_torch(net, images, folder, suffix):
    path, given = folder / "model.onnx", (torch.from_numpy(images),)
    if suffix == "dynamo":
        free = {"dynamic_shapes": ({0: torch.export.Dim("N")},), "opset_version": 18}
    else:
        free = {"input_names": ["x"], "dynamic_axes": {"x": {0: "N"}}, "opset_version": 17}
    torch.onnx.export(net, given, path, dynamo=suffix == "dynamo", verbose=False, **free)
    return path


def exported(make, images, folder, suffix):
    """Export the network that ``make`` gives; return the path, and its answers in float64."""
    if suffix in {"onnx", "dynamo"}:
        torch.manual_seed(0)
        net = make().eval()
        path = export_torch(net, images, folder, suffix)
        with torch.inference_mode():
            return path, net.double()(torch.from_numpy(images).double()).numpy()
    paddle.seed(0)
    net = make()
    fixed_format(net, [None, *images.shape[1:]], folder / "model", suffix)
    for layer in net.sublayers(include_self=True):  # Layer.to would change booleans too
        for tensors in (layer._parameters, layer._buffers):
            for name, values in tensors.items():
                if values is not None and values.dtype == paddle.float32:
                    tensors[name] = values.astype("float64")
    with paddle.no_grad():
        expected = net(paddle.to_tensor(images.astype("f8"))).numpy()
    return folder / f"model.{suffix}", expected


def check(name, make, tokens, folder, suffix):
    """Compare both engines with the framework, except for what native refuses."""
    images = draw_images(tokens)
    path, expected = exported(make, images, folder, suffix)
    assert expected.dtype == np.float64
    assert np.isfinite(expected).all()
    assert np.ptp(expected, axis=0).max() > 0.01
    for engine in ("native", "auto"):
        if engine == "native" and (name, suffix) in REFUSED:
            with pytest.raises(lenet_cpp.Unsupported, match="another type than float32"):
                lenet_cpp.Predictor(path, engine=engine)
            continue
        with lenet_cpp.Predictor(path, engine=engine) as predictor:
            for count in (1, 2, 3):
                found = compare(expected[:count].astype("f4"), predictor.run(images[:count]))
                assert found.agrees, f"{engine}, {count} images: {found.mismatch}"


def case(suffix, *given):
    """PyTorch's newer exporter takes seconds for a network."""
    return pytest.param(*given, suffix, marks=[pytest.mark.nightly] * (suffix == "dynamo"))


def cases():
    """Return each mask in each format: added, and used in another way."""
    found = []
    for i, mask in enumerate(MASKS.values()):
        for j, suffix in enumerate(FORMATS):
            ways = WAYS_OF_BIASES if mask in BIASES else WAYS
            for k, way in enumerate((added, ways[(i + j) % 4])):
                least, tokens = list(LEAST)[(i + 2 * j + k) % 4], TOKENS[(i + j + 2 * k) % 4]
                if (mask, suffix) not in UNWRITTEN:
                    found.append(case(suffix, mask.__name__, way, least, tokens))
    return found


@pytest.mark.parametrize(("mask", "way", "least", "tokens", "suffix"), cases())
def test_mask(mask, way, least, tokens, suffix, tmp_path):
    network = NETWORKS[OfPaddle if suffix in OF_PADDLE else OfTorch]
    make = partial(network, MASKS[mask], way, LEAST[least], tokens)
    check(mask, make, tokens, tmp_path, suffix)


LAYERS = [case(suffix, name) for name in TORCH_LAYERS for suffix in ("onnx", "dynamo")]
# Paddle writes no product of two tensors by a function into a .pdmodel any more.
LAYERS += [case("json", name) for name in PADDLE_LAYERS]


@pytest.mark.parametrize(("name", "suffix"), LAYERS)
def test_layer_of_a_framework(name, suffix, tmp_path):
    base, layers = (
        (PaddleLayers, PADDLE_LAYERS) if suffix == "json" else (TorchLayers, TORCH_LAYERS)
    )
    run, layer = layers[name]
    number = list(layers).index(name)
    least, tokens = list(LEAST.values())[number % 4], TOKENS[number % 4]
    check(name, lambda: base(run, layer(), tokens, least), tokens, tmp_path, suffix)
