"""The operators of PyTorch that a float image can reach, and the arguments that each needs.

It asks the package what it has: ``nn`` by the list of its modules, ``functional`` by its public
functions. A test is an expression of the values in ``EXPRESSIONS``; ``ARGUMENTS`` has those of
operators for which an image alone is not enough. ``UNREACHABLE`` says why an operator is
not tested.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from entries import rows_of_images
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable


def listed() -> dict[str, Callable[..., Any]]:
    """Return the operators that this PyTorch has, by name: ``nn.ReLU``, ``functional.relu``."""
    found = {f"nn.{name}": getattr(nn, name) for name in nn.modules.__all__}
    for name, function in vars(functional).items():
        is_own = getattr(function, "__module__", "") == "torch.nn.functional"
        is_own = is_own and inspect.isfunction(function)
        if (is_own or inspect.isbuiltin(function)) and not name.startswith("_"):
            found[f"functional.{name}"] = function
    return found


_CLASSES = "it is no operator: a container, a base class, options or a helper of the package"
_RANDOM = "its values are random, whatever the image is"
_TRAINING = "it is a loss that makes parameters of its own, for training only"
_DEVICE = "it has no kernel for a CPU, or for float32"
_GROUPS = {
    _CLASSES: "nn.Container nn.Module nn.ModuleDict nn.ModuleList nn.ParameterDict "
    "nn.ParameterList nn.RNNBase nn.RNNCellBase nn.Sequential nn.LinearCrossEntropyOptions "
    "functional.assert_int_or_pair functional.has_torch_function "
    "functional.has_torch_function_unary functional.has_torch_function_variadic "
    "functional.multi_head_attention_forward",
    _RANDOM: "functional.gumbel_softmax",
    _TRAINING: "nn.AdaptiveLogSoftmaxWithLoss nn.LinearCrossEntropyLoss "
    "functional.linear_cross_entropy",
    _DEVICE: "functional.grouped_mm functional.scaled_grouped_mm functional.scaled_mm",
}
UNREACHABLE = {name: why for why, names in _GROUPS.items() for name in names.split()}

EXPRESSIONS = {
    "pos": "torch.square(c) + 0.5",  # positive
    "unit": "torch.sigmoid(c) * 0.9 + 0.05",  # between 0 and 1
    "unit2": "torch.sigmoid(d) * 0.9 + 0.05",
    "s": "torch.flatten(c, 2)",  # a signal, [N, 4, 64]
    "tok": "torch.flatten(F.avg_pool2d(c, 2, 2), 2).transpose(1, 2)",  # tokens, [N, 16, 4]
    "v": "torch.flatten(F.avg_pool2d(c, 4, 4), 1)",  # features, [N, 16]
    "u": "torch.flatten(F.avg_pool2d(d, 4, 4), 1)",
    "vol": "c.reshape(-1, 2, 2, 8, 8)",  # a volume, [N, 2, 2, 8, 8]
    "i": "(unit * 4.0).long()",  # integers from 0 to 3
    "iv": "(torch.sigmoid(v) * 4.0).long()",  # [N, 16]
    "lab": "v.argmax(1)",  # a class of each image
    "signs": "torch.sign(d)",
}
"""What names stand for.

``x`` is the image, [N, 3, 8, 8]; ``c`` and ``d`` are convolutions of it, [N, 4, 8, 8]; ``w``
returns a parameter of the shape that it is given, and ``f`` is the operator.
"""

# An entry is the arguments, or of a module those that make it, a bar, and those that it takes.
ARGUMENTS = {
    "nn.AdaptiveAvgPool1d": "2 | s",
    "nn.AdaptiveAvgPool2d": "2 | c",
    "nn.AdaptiveAvgPool3d": "2 | vol",
    "nn.AdaptiveMaxPool1d": "2 | s",
    "nn.AdaptiveMaxPool2d": "2 | c",
    "nn.AdaptiveMaxPool3d": "2 | vol",
    "nn.AvgPool1d": "2 | s",
    "nn.AvgPool2d": "3, 2, 1 | c",
    "nn.AvgPool3d": "2 | vol",
    "nn.BCELoss": "| unit, unit2",
    "nn.BCEWithLogitsLoss": "| c, unit",
    "nn.BatchNorm1d": "4 | s",
    "nn.BatchNorm2d": "4 | c",
    "nn.BatchNorm3d": "2 | vol",
    "nn.Bilinear": "16, 16, 3 | v, u",
    "nn.CTCLoss": "| F.log_softmax(tok, 2).transpose(0, 1), iv[:, :2] % 3 + 1, "
    "torch.full_like(lab, 16), torch.full_like(lab, 2)",
    "nn.ChannelShuffle": "2 | c",
    "nn.Conv1d": "4, 3, 3 | s",
    "nn.Conv2d": "4, 3, 3 | c",
    "nn.Conv3d": "2, 3, 2 | vol",
    "nn.ConvTranspose1d": "4, 3, 3 | s",
    "nn.ConvTranspose2d": "4, 3, 3, 2 | c",
    "nn.ConvTranspose3d": "2, 3, 2 | vol",
    "nn.CosineEmbeddingLoss": "| v, u, signs[:, 0, 0, 0]",
    "nn.CosineSimilarity": "| c, d",
    "nn.CrossEntropyLoss": "| v, lab",
    "nn.CrossMapLRN2d": "3 | c",
    "nn.Dropout1d": "| s",
    "nn.Dropout3d": "| vol",
    "nn.Embedding": "4, 3 | i",
    "nn.EmbeddingBag": "4, 3 | iv",
    "nn.Fold": "[5, 5], 2 | F.unfold(c[:, :, :5, :5], 2)",
    "nn.FractionalMaxPool2d": "2, output_size=3, _random_samples=torch.full([3, 4, 2], 0.3) | c",
    "nn.FractionalMaxPool3d": "(1, 2, 2), output_size=(1, 3, 3), "
    "_random_samples=torch.full([3, 2, 3], 0.3) | vol",
    "nn.GLU": "1 | c",
    "nn.GRU": "4, 5, batch_first=True | tok",
    "nn.GRUCell": "16, 5 | v",
    "nn.GaussianNLLLoss": "| c, d, pos",
    "nn.GroupNorm": "2, 4 | c",
    "nn.HingeEmbeddingLoss": "| c, signs",
    "nn.HuberLoss": "| c, d",
    "nn.InstanceNorm1d": "4 | s",
    "nn.InstanceNorm2d": "4, affine=True | c",
    "nn.InstanceNorm3d": "2 | vol",
    "nn.KLDivLoss": "| c, unit",
    "nn.L1Loss": "| c, d",
    "nn.LPPool1d": "2, 2 | s",
    "nn.LPPool2d": "2, 2 | c",
    "nn.LPPool3d": "2, 2 | vol",
    "nn.LSTM": "4, 5, batch_first=True | tok",
    "nn.LSTMCell": "16, 5 | v",
    "nn.LayerNorm": "8 | c",
    "nn.LazyBatchNorm1d": "| s",
    "nn.LazyBatchNorm3d": "| vol",
    "nn.LazyConv1d": "3, 3 | s",
    "nn.LazyConv2d": "3, 3 | c",
    "nn.LazyConv3d": "3, 2 | vol",
    "nn.LazyConvTranspose1d": "3, 3 | s",
    "nn.LazyConvTranspose2d": "3, 3 | c",
    "nn.LazyConvTranspose3d": "3, 2 | vol",
    "nn.LazyInstanceNorm1d": "| s",
    "nn.LazyInstanceNorm3d": "| vol",
    "nn.LazyLinear": "5 | c",
    "nn.Linear": "8, 5 | c",
    "nn.LocalResponseNorm": "3 | c",
    "nn.LogSoftmax": "1 | c",
    "nn.MSELoss": "| c, d",
    "nn.MarginRankingLoss": "| c, d, signs",
    "nn.MaxPool1d": "2 | s",
    "nn.MaxPool2d": "3, 2, 1 | c",
    "nn.MaxPool3d": "2 | vol",
    "nn.MaxUnpool1d": "2 | *F.max_pool1d(s, 2, return_indices=True)",
    "nn.MaxUnpool2d": "2 | *F.max_pool2d(c, 2, return_indices=True)",
    "nn.MaxUnpool3d": "2 | *F.max_pool3d(vol, 2, return_indices=True)",
    "nn.MultiLabelMarginLoss": "| v, iv",
    "nn.MultiLabelSoftMarginLoss": "| v, (u > 0).float()",
    "nn.MultiMarginLoss": "| v, lab",
    "nn.MultiheadAttention": "4, 2, batch_first=True | tok, tok, tok",
    "nn.NLLLoss": "| F.log_softmax(v, 1), lab",
    "nn.NLLLoss2d": "| F.log_softmax(c, 1), i[:, 0]",
    "nn.PReLU": "4 | c",
    "nn.PairwiseDistance": "| v, u",
    "nn.PixelShuffle": "2 | c",
    "nn.PixelUnshuffle": "2 | c",
    "nn.PoissonNLLLoss": "| c, pos",
    "nn.RMSNorm": "8 | c",
    "nn.RNN": "4, 5, batch_first=True | tok",
    "nn.RNNCell": "16, 5 | v",
    "nn.SmoothL1Loss": "| c, d",
    "nn.SoftMarginLoss": "| c, signs",
    "nn.Softmax": "1 | c",
    "nn.Softmin": "1 | c",
    "nn.SyncBatchNorm": "4 | c",
    "nn.Threshold": "0.1, -1.0 | c",
    "nn.Transformer": "4, 2, 1, 1, 8, batch_first=True | tok, tok",
    "nn.TransformerDecoder": "nn.TransformerDecoderLayer(4, 2, 8, batch_first=True), 1 | tok, tok",
    "nn.TransformerDecoderLayer": "4, 2, 8, batch_first=True | tok, tok",
    "nn.TransformerEncoder": "nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2 | tok",
    "nn.TransformerEncoderLayer": "4, 2, 8, batch_first=True | tok",
    "nn.TripletMarginLoss": "| v, u, v * u",
    "nn.TripletMarginWithDistanceLoss": "| v, u, v * u",
    "nn.Unflatten": "1, (2, 2) | c",
    "nn.Unfold": "2 | c",
    "nn.Upsample": "scale_factor=2 | c",
    "nn.UpsamplingBilinear2d": "scale_factor=2 | c",
    "nn.UpsamplingNearest2d": "scale_factor=2 | c",
    "functional.adaptive_avg_pool1d": "s, 2",
    "functional.adaptive_avg_pool2d": "c, (3, 5)",
    "functional.adaptive_avg_pool3d": "vol, 2",
    "functional.adaptive_max_pool1d": "s, 2",
    "functional.adaptive_max_pool1d_with_indices": "s, 2",
    "functional.adaptive_max_pool2d": "c, (2, 4)",
    "functional.adaptive_max_pool2d_with_indices": "c, 2",
    "functional.adaptive_max_pool3d": "vol, 2",
    "functional.adaptive_max_pool3d_with_indices": "vol, 2",
    "functional.affine_grid": "v[:, :6].reshape(-1, 2, 3), [c.shape[0], 3, 4, 4], "
    "align_corners=False",
    "functional.avg_pool1d": "s, 2",
    "functional.avg_pool2d": "c, 2, ceil_mode=True, count_include_pad=False",
    "functional.avg_pool3d": "vol, 2",
    "functional.batch_norm": "c, torch.zeros(4), torch.ones(4)",
    "functional.bilinear": "v, u, w(3, 16, 16)",
    "functional.binary_cross_entropy": "unit, unit2",
    "functional.binary_cross_entropy_with_logits": "c, unit",
    "functional.celu": "c, 0.7",
    "functional.channel_shuffle": "c, 2",
    "functional.conv1d": "s, w(3, 4, 3), w(3)",
    "functional.conv2d": "c, w(4, 1, 3, 3), groups=4, padding='same'",
    "functional.conv3d": "vol, w(3, 2, 2, 3, 3)",
    "functional.conv_tbc": "tok.transpose(0, 1).contiguous(), w(3, 4, 3), w(3)",
    "functional.conv_transpose1d": "s, w(4, 3, 3)",
    "functional.conv_transpose2d": "c, w(4, 3, 3, 3)",
    "functional.conv_transpose3d": "vol, w(2, 3, 2, 3, 3)",
    "functional.cosine_embedding_loss": "v, u, signs[:, 0, 0, 0]",
    "functional.cosine_similarity": "c, d",
    "functional.cross_entropy": "v, lab, reduction='none'",
    "functional.ctc_loss": "F.log_softmax(tok, 2).transpose(0, 1), iv[:, :2] % 3 + 1, "
    "torch.full_like(lab, 16), torch.full_like(lab, 2)",
    "functional.dropout": "c, training=False",
    "functional.dropout1d": "s, training=False",
    "functional.dropout2d": "c, training=False",
    "functional.dropout3d": "vol, training=False",
    "functional.alpha_dropout": "c, training=False",
    "functional.feature_alpha_dropout": "c, training=False",
    "functional.embedding": "i, w(4, 3)",
    "functional.embedding_bag": "iv, w(4, 3)",
    "functional.fold": "F.unfold(c[:, :, :5, :5], 2), [5, 5], 2",
    "functional.fractional_max_pool2d": "c, 2, output_size=3, "
    "_random_samples=torch.full([c.shape[0], 4, 2], 0.3)",
    "functional.fractional_max_pool2d_with_indices": "c, 2, output_size=3, "
    "_random_samples=torch.full([c.shape[0], 4, 2], 0.3)",
    "functional.fractional_max_pool3d": "vol, (1, 2, 2), output_size=(1, 3, 3), "
    "_random_samples=torch.full([c.shape[0], 2, 3], 0.3)",
    "functional.fractional_max_pool3d_with_indices": "vol, (1, 2, 2), output_size=(1, 3, 3), "
    "_random_samples=torch.full([c.shape[0], 2, 3], 0.3)",
    "functional.gaussian_nll_loss": "c, d, pos",
    "functional.glu": "c, 1",
    "functional.grid_sample": "c, torch.tanh(d[:, :2].reshape(-1, 8, 8, 2)), align_corners=False",
    "functional.group_norm": "c, 2, w(4), w(4)",
    "functional.hinge_embedding_loss": "c, signs",
    "functional.huber_loss": "c, d",
    "functional.interpolate": "c, scale_factor=2, mode='bicubic'",
    "functional.kl_div": "c, unit",
    "functional.l1_loss": "c, d",
    "functional.layer_norm": "c, [8], w(8), w(8)",
    "functional.linear": "c, w(5, 8), w(5)",
    "functional.local_response_norm": "c, 3",
    "functional.log_softmax": "c, 1",
    "functional.lp_pool1d": "s, 2, 2",
    "functional.lp_pool2d": "pos, 3, 2",
    "functional.lp_pool3d": "vol, 2, 2",
    "functional.margin_ranking_loss": "c, d, signs",
    "functional.max_pool1d": "s, 2",
    "functional.max_pool1d_with_indices": "s, 2",
    "functional.max_pool2d": "c, 3, 2, ceil_mode=True",
    "functional.max_pool2d_with_indices": "c, 2",
    "functional.max_pool3d": "vol, 2",
    "functional.max_pool3d_with_indices": "vol, 2",
    "functional.max_unpool1d": "*F.max_pool1d(s, 2, return_indices=True), 2",
    "functional.max_unpool2d": "*F.max_pool2d(c, 2, return_indices=True), 2",
    "functional.max_unpool3d": "*F.max_pool3d(vol, 2, return_indices=True), 2",
    "functional.mse_loss": "c, d",
    "functional.multi_margin_loss": "v, lab",
    "functional.multilabel_margin_loss": "v, iv",
    "functional.multilabel_soft_margin_loss": "v, (u > 0).float()",
    "functional.native_channel_shuffle": "c, 2",
    "functional.nll_loss": "F.log_softmax(v, 1), lab",
    "functional.one_hot": "i, 4",
    "functional.pad": "c, (1, 2, 0, 1)",
    "functional.pairwise_distance": "v, u",
    "functional.pdist": "v",
    "functional.pixel_shuffle": "c, 2",
    "functional.pixel_unshuffle": "c, 2",
    "functional.poisson_nll_loss": "c, pos",
    "functional.prelu": "c, w(4)",
    "functional.rms_norm": "c, [8], w(8)",
    "functional.rrelu": "c, training=False",
    "functional.scaled_dot_product_attention": "*[tok.reshape(-1, 16, 2, 2).transpose(1, 2)] * 3",
    "functional.smooth_l1_loss": "c, d",
    "functional.soft_margin_loss": "c, signs",
    "functional.softmax": "c, 1",
    "functional.softmin": "c, 1",
    "functional.softplus": "c, 2, 1",
    "functional.threshold": "c, 0.1, 2.0",
    "functional.triplet_margin_loss": "v, u, v * u",
    "functional.triplet_margin_with_distance_loss": "v, u, v * u",
    "functional.unfold": "c, 2",
    "functional.upsample": "c, scale_factor=2",
    "functional.upsample_bilinear": "c, scale_factor=2",
    "functional.upsample_nearest": "c, scale_factor=2",
}
for _rank, _value in ((1, "s"), (2, "c"), (3, "vol")):
    for _kind in ("Circular", "Reflection", "Replication", "Zero"):
        ARGUMENTS[f"nn.{_kind}Pad{_rank}d"] = f"1 | {_value}"
    ARGUMENTS[f"nn.ConstantPad{_rank}d"] = f"1, 0.5 | {_value}"


def test_of(name: str) -> str:
    """Return the expression that tests an operator; one in place has the arguments of the other."""
    given = ARGUMENTS.get(name) or ARGUMENTS.get(name.rstrip("_"))
    return given or ("| c" if name.startswith("nn.") else "c")


def evaluate(expression: str, network: Network, x: Any) -> Any:
    """Return what an expression of these tables gives for a network and an image."""
    # The old exporter reads the names of a frame, so that they must be a dict.
    known: dict[str, Any] = {"torch": torch, "F": functional, "nn": nn, "x": x}
    known |= {"f": network.operator, "w": network.weight}
    add_values(expression, known, network)
    return eval(expression, known)


def add_values(expression: str, known: dict[str, Any], network: Network) -> None:
    """Compute the values that an expression names, each once."""
    for name in compile(expression, expression, "eval").co_names:
        if name in known:
            continue
        if name in EXPRESSIONS:
            add_values(EXPRESSIONS[name], known, network)
            known[name] = eval(EXPRESSIONS[name], known)
        elif name in ("c", "d"):
            convolution = network.first if name == "c" else network.second
            known[name] = convolution(known["x"])


class Network(nn.Module):
    """An operator behind a convolution, whose results become one row for each image."""

    def __init__(self, name: str) -> None:
        """Make the network of an operator that PyTorch has."""
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(3, 4, 3, padding=1)
        self.operator = listed()[name]
        made, bar, self.taken = (part.strip() for part in test_of(name).rpartition("|"))
        self.weights = nn.ParameterList()
        self.next_weight = 0
        self.by_image: list[bool] = []
        if bar:
            self.operator = evaluate(f"f({made})", self, None)

    def weight(self, *shape: int) -> Any:
        """Return the next parameter, which the first run makes."""
        if self.next_weight == len(self.weights):
            self.weights.append(nn.Parameter(torch.randn(shape) * 0.3))
        self.next_weight += 1
        return self.weights[self.next_weight - 1]

    def results(self, x: Any) -> list[Any]:
        """Return the tensors that the operator gives."""
        self.next_weight = 0
        return tensors_in(evaluate(f"f({self.taken})", self, x))

    def prepare(self, make: Callable[[int], Any]) -> None:
        """Find out which results have a row for each image."""
        self.by_image = rows_of_images(self.results(make(2)), self.results(make(3)))

    def forward(self, x: Any) -> Any:
        """Return a row for each image."""
        found = zip(self.results(x), self.by_image, strict=True)
        return torch.cat([row_of(x, value, by_image) for value, by_image in found], dim=1)


def tensors_in(given: Any) -> list[Any]:
    """Return the tensors of a result, which may be a tuple of tuples."""
    if isinstance(given, (list, tuple)):
        return [tensor for each in given for tensor in tensors_in(each)]
    return [given] if isinstance(given, torch.Tensor) else []


def row_of(x: Any, result: Any, by_image: bool) -> Any:
    """Return a float row for each image of what an operator gives."""
    value = result.float()
    if not by_image:
        return x.mean(dim=[2, 3]) + value.sum()
    return value.unsqueeze(1) if value.ndim == 1 else value.flatten(1)
