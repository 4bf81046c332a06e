"""The operators of Paddle that a float image can reach, and the arguments that each needs.

It runs in the environment of any Paddle from 2.6 on, and asks the package what it has: ``nn`` and
``nn.functional`` by their ``__all__``, ``tensor`` by its list of methods. A test is an expression
of the values that :class:`Values` makes; ``ARGUMENTS`` has those of operators for which an image
alone is not enough. ``UNREACHABLE`` says why an operator is not tested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import paddle
from entries import rows_of_images
from paddle import nn
from paddle.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable


def listed() -> dict[str, Callable[..., Any]]:
    """Return the operators that this Paddle lists, by name: ``nn.ReLU``, ``functional.relu``."""
    groups = {
        "nn": (nn, nn.__all__),
        "functional": (functional, functional.__all__),
        "tensor": (paddle, sorted(set(paddle.tensor.tensor_method_func))),
    }
    found = {}
    for group, (module, names) in groups.items():
        for name in names:
            where = module if hasattr(module, name) else paddle.Tensor
            if hasattr(where, name):
                found[f"{group}.{name}"] = getattr(where, name)
    return found


_CLASSES = "it is no operator: a container, a base class or a rule for gradients"
_NO_TENSOR = "it gives no tensor"
_RANDOM = "its values are random, whatever the image is"
_SAMPLES = "it samples while training only"
_DEVICE = "it has no kernel for a CPU"
_SUBJECT = "it changes a tensor in place to another shape or other memory"
_GROUPS = {
    _CLASSES: "nn.RNNCellBase nn.RNN nn.BiRNN nn.dynamic_decode nn.BeamSearchDecoder "
    "nn.ClipGradByNorm nn.ClipGradByValue nn.ClipGradByGlobalNorm nn.Sequential nn.ParameterDict "
    "nn.ParameterList nn.Layer nn.LayerList nn.LayerDict nn.Parameter nn.Module nn.ModuleDict "
    "nn.ModuleList nn.SyncBatchNorm tensor.create_parameter tensor.create_tensor",
    _NO_TENSOR: "tensor.broadcast_shape tensor.broadcast_shapes tensor.is_complex "
    "tensor.is_floating_point tensor.is_integer tensor.is_tensor",
    _RANDOM: "tensor.bernoulli_ tensor.cauchy_ tensor.exponential_ tensor.geometric_ "
    "tensor.log_normal_ tensor.normal_ tensor.random_ tensor.uniform_ tensor.multinomial "
    "tensor.top_p_sampling functional.gumbel_softmax tensor.svd_lowrank tensor.pca_lowrank",
    _SAMPLES: "functional.class_center_sample functional.margin_cross_entropy "
    "functional.adaptive_log_softmax_with_loss nn.AdaptiveLogSoftmaxWithLoss "
    "functional.hsigmoid_loss nn.HSigmoidLoss",
    _DEVICE: "functional.moe_permute functional.moe_unpermute functional.sparse_attention "
    "functional.flashmask_attention functional.flash_attn_qkvpacked "
    "functional.flash_attention_v3_varlen functional.flash_attn_varlen_qkvpacked "
    "functional.rms_norm",
    _SUBJECT: "tensor.set_ tensor.resize_",
}
UNREACHABLE = {name: why for why, names in _GROUPS.items() for name in names.split()}


class Values:
    """The values that an expression may name, each computed where it is named.

    Attributes:
        x: The image, [N, 3, 8, 8]; ``c`` and ``d`` are convolutions of it, [N, 4, 8, 8].
    """

    def __init__(self, network: Network, x: Any) -> None:
        """Make the values of one run of a network."""
        self._network = network
        self.x = x
        self.p, self.F, self.nn = paddle, functional, nn
        self.f = network.operator
        self.w = network.weight
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Return a value, which is computed at most once."""
        if name in ("p", "F", "nn", "f", "w", "x"):
            return getattr(self, name)
        if name not in self._made:
            if name not in EXPRESSIONS:
                raise KeyError(name)
            if name == "c":
                self._made[name] = self._network.first(self.x)
            elif name == "d":
                self._made[name] = self._network.second(self.x)
            else:
                self._made[name] = evaluate(EXPRESSIONS[name], self)
        return self._made[name]


EXPRESSIONS = {
    "c": "",
    "d": "",
    "pos": "p.square(c) + 0.5",  # positive
    "more": "p.square(c) + 1.5",  # larger than 1
    "unit": "F.sigmoid(c) * 0.9 + 0.05",  # between 0 and 1
    "unit2": "F.sigmoid(d) * 0.9 + 0.05",
    "s": "p.flatten(c, 2)",  # a signal, [N, 4, 64]
    "t": "p.transpose(s, [0, 2, 1])",  # tokens, [N, 64, 4]
    "tok": "p.transpose(p.flatten(F.avg_pool2d(c, 2, 2), 2), [0, 2, 1])",  # tokens, [N, 16, 4]
    "v": "p.flatten(F.avg_pool2d(c, 4, 4), 1)",  # features, [N, 16]
    "u": "p.flatten(F.avg_pool2d(d, 4, 4), 1)",
    "m": "p.mean(c, axis=1)",  # matrices, [N, 8, 8]
    "m2": "p.mean(d, axis=1)",
    "spd": "p.matmul(m, m, transpose_y=True) + 8.0 * p.eye(8)",  # positive definite
    "chol": "p.linalg.cholesky(spd)",
    "g": "p.mean(c, axis=0)",  # of all images: [4, 8, 8]
    "k": "p.mean(c, axis=[0, 1])",  # [8, 8]
    "kk": "p.matmul(k, k, transpose_y=True) + 8.0 * p.eye(8)",
    "r": "p.mean(c, axis=[0, 1, 2])",  # [8]
    "r2": "p.mean(d, axis=[0, 1, 2])",
    "vol": "p.reshape(c, [-1, 2, 2, 8, 8])",
    "i": "p.cast(unit * 4.0, 'int64')",  # integers from 0 to 3
    "j": "p.cast(unit2 * 4.0, 'int64')",
    "i32": "p.cast(unit * 4.0, 'int32')",
    "j32": "p.cast(unit2 * 4.0, 'int32')",
    "iv": "p.cast(F.sigmoid(v) * 4.0, 'int64')",  # [N, 16]
    "b": "c > 0.0",
    "b2": "d > 0.0",
    "lab": "p.argmax(v, axis=1)",  # a class of each image
    "z": "p.complex(c, d)",
}
"""What names stand for, but for ``c`` and ``d``."""


def evaluate(expression: str, values: Values) -> Any:
    return eval(expression, {"__builtins__": {}}, values)  # of these tables


# An entry is the arguments, or of a layer those that make it, a bar, and those that it takes.
ARGUMENTS: dict[str, str] = {
    "nn.BatchNorm": "4 | c",
    "nn.GroupNorm": "2, 4 | c",
    "nn.LayerNorm": "8 | c",
    "nn.SpectralNorm": "[8, 8] | w(8, 8)",
    "nn.BatchNorm1D": "4 | s",
    "nn.BatchNorm2D": "4 | c",
    "nn.BatchNorm3D": "2 | vol",
    "nn.InstanceNorm1D": "4 | s",
    "nn.InstanceNorm2D": "4 | c",
    "nn.InstanceNorm3D": "2 | vol",
    "nn.LocalResponseNorm": "3 | c",
    "nn.Embedding": "4, 3 | i",
    "nn.Linear": "8, 5 | c",
    "nn.Upsample": "scale_factor=2 | c",
    "nn.UpsamplingNearest2D": "scale_factor=2 | c",
    "nn.UpsamplingBilinear2D": "scale_factor=2 | c",
    "nn.CosineSimilarity": "| c, d",
    "nn.Bilinear": "16, 16, 3 | v, u",
    "nn.Unfold": "2 | c",
    "nn.Fold": "[5, 5], 2 | F.unfold(c[:, :, :5, :5], 2)",
    "nn.SimpleRNNCell": "4, 5 | t[:, 0]",
    "nn.LSTMCell": "4, 5 | t[:, 0]",
    "nn.GRUCell": "4, 5 | t[:, 0]",
    "nn.SimpleRNN": "4, 5 | tok",
    "nn.LSTM": "4, 5 | tok",
    "nn.GRU": "4, 5 | tok",
    "nn.MultiHeadAttention": "4, 2 | tok",
    "nn.Maxout": "2 | c",
    "nn.Transformer": "4, 2, 1, 1, 8 | tok, tok",
    "nn.MSELoss": "| c, d",
    "nn.PairwiseDistance": "| v, u",
    "nn.BCEWithLogitsLoss": "| c, unit",
    "nn.SmoothL1Loss": "| c, d",
    "nn.MaxPool3D": "2 | vol",
    "nn.AvgPool3D": "2 | vol",
    "nn.AdaptiveMaxPool2D": "2 | c",
    "nn.KLDivLoss": "| c, unit",
    "nn.AvgPool2D": "2 | c",
    "nn.L1Loss": "| c, d",
    "nn.AvgPool1D": "2 | s",
    "nn.AdaptiveAvgPool3D": "2 | vol",
    "nn.AdaptiveMaxPool3D": "2 | vol",
    "nn.NLLLoss": "| F.log_softmax(v), lab",
    "nn.PoissonNLLLoss": "| c, pos",
    "nn.Conv1D": "4, 3, 3 | s",
    "nn.Conv1d": "4, 3, 3 | s",
    "nn.Conv1DTranspose": "4, 3, 3 | s",
    "nn.AdaptiveMaxPool1D": "2 | s",
    "nn.TransformerEncoderLayer": "4, 2, 8 | tok",
    "nn.TransformerEncoder": "nn.TransformerEncoderLayer(4, 2, 8), 1 | tok",
    "nn.TransformerDecoderLayer": "4, 2, 8 | tok, tok",
    "nn.TransformerDecoder": "nn.TransformerDecoderLayer(4, 2, 8), 1 | tok, tok",
    "nn.Conv2D": "4, 3, 3 | c",
    "nn.Conv2d": "4, 3, 3 | c",
    "nn.CrossEntropyLoss": "| v, lab",
    "nn.CTCLoss": "| p.transpose(F.log_softmax(tok), [1, 0, 2]), i32[:, :2, 0, 0] % 3 + "
    "1, p.full_like(lab, 16), p.full_like(lab, 2)",
    "nn.RNNTLoss": "| F.log_softmax(c), i32[:, :7, 0, 0], p.full_like(p.cast(lab, "
    "'int32'), 4), p.full_like(p.cast(lab, 'int32'), 7)",
    "nn.Conv2DTranspose": "4, 3, 3, 2 | c",
    "nn.AdaptiveAvgPool2D": "2 | c",
    "nn.MaxPool1D": "2 | s",
    "nn.Conv3D": "2, 3, 2 | vol",
    "nn.Conv3d": "2, 3, 2 | vol",
    "nn.Conv3DTranspose": "2, 3, 2 | vol",
    "nn.AdaptiveAvgPool1D": "2 | s",
    "nn.PReLU": "4 | c",
    "nn.MaxPool2D": "2 | c",
    "nn.MarginRankingLoss": "| c, d, p.sign(d)",
    "nn.BCELoss": "| unit, unit2",
    "nn.PixelShuffle": "2 | c",
    "nn.PixelUnshuffle": "2 | c",
    "nn.ChannelShuffle": "2 | c",
    "nn.ZeroPad2D": "1 | c",
    "nn.MaxUnPool1D": "2 | *F.max_pool1d(s, 2, return_mask=True)",
    "nn.MaxUnPool2D": "2 | *F.max_pool2d(c, 2, return_mask=True)",
    "nn.MaxUnPool3D": "2 | *F.max_pool3d(vol, 2, return_mask=True)",
    "nn.MultiLabelSoftMarginLoss": "| v, p.cast(u > 0, 'float32')",
    "nn.HingeEmbeddingLoss": "| c, p.sign(d)",
    "nn.CosineEmbeddingLoss": "| v, u, p.sign(v[:, 0])",
    "nn.MultiMarginLoss": "| v, lab",
    "nn.MultiLabelMarginLoss": "| v, iv",
    "nn.TripletMarginWithDistanceLoss": "| v, u, v * u",
    "nn.TripletMarginLoss": "| v, u, v * u",
    "nn.SoftMarginLoss": "| c, p.sign(d)",
    "nn.GaussianNLLLoss": "| c, d, pos",
    "nn.Unflatten": "1, [2, 2] | c",
    "nn.FractionalMaxPool2D": "3, random_u=0.3 | c",
    "nn.FractionalMaxPool3D": "2, random_u=0.3 | vol",
    "nn.LPPool1D": "2, 2 | s",
    "nn.LPPool1d": "2, 2 | s",
    "nn.LPPool2D": "2, 2 | c",
    "nn.LPPool2d": "2, 2 | c",
    "nn.AdaptiveMaxPool1d": "2 | s",
    "nn.AdaptiveMaxPool2d": "2 | c",
    "nn.AdaptiveMaxPool3d": "2 | vol",
    "nn.Dropout3D": "| vol",
    "nn.Softmax2D": "| c",
    "functional.conv1d": "s, w(3, 4, 3), w(3)",
    "functional.conv1d_transpose": "s, w(4, 3, 3)",
    "functional.conv2d": "c, w(3, 4, 3, 3), w(3)",
    "functional.conv2d_transpose": "c, w(4, 3, 3, 3)",
    "functional.conv3d": "vol, w(3, 2, 2, 3, 3)",
    "functional.conv3d_transpose": "vol, w(2, 3, 2, 3, 3)",
    "functional.pairwise_distance": "v, u",
    "functional.maxout": "c, 2",
    "functional.prelu": "c, w(4)",
    "functional.sequence_mask": "i[:, 0, 0], 5",
    "functional.dropout": "c, training=False",
    "functional.dropout1d": "s, training=False",
    "functional.dropout2d": "c, training=False",
    "functional.dropout3d": "vol, training=False",
    "functional.alpha_dropout": "c, training=False",
    "functional.feature_alpha_dropout": "c, training=False",
    "functional.rrelu": "c, training=False",
    "functional.label_smooth": "unit",
    "functional.linear": "c, w(8, 5), w(5)",
    "functional.pad": "c, [1, 2, 0, 1]",
    "functional.zeropad2d": "c, [1, 2, 0, 1]",
    "functional.unfold": "c, 2",
    "functional.interpolate": "c, scale_factor=2",
    "functional.upsample": "c, scale_factor=2",
    "functional.bilinear": "v, u, w(3, 16, 16)",
    "functional.cosine_similarity": "c, d",
    "functional.avg_pool1d": "s, 2",
    "functional.avg_pool2d": "c, 2",
    "functional.avg_pool3d": "vol, 2",
    "functional.lp_pool1d": "s, 2, 2",
    "functional.lp_pool2d": "c, 2, 2",
    "functional.max_pool1d": "s, 2",
    "functional.max_pool2d": "c, 2",
    "functional.max_pool3d": "vol, 2",
    "functional.max_unpool1d": "*F.max_pool1d(s, 2, return_mask=True), 2",
    "functional.max_unpool2d": "*F.max_pool2d(c, 2, return_mask=True), 2",
    "functional.max_unpool3d": "*F.max_pool3d(vol, 2, return_mask=True), 2",
    "functional.adaptive_avg_pool1d": "s, 2",
    "functional.adaptive_avg_pool2d": "c, 3",
    "functional.adaptive_avg_pool3d": "vol, 2",
    "functional.adaptive_max_pool1d": "s, 2",
    "functional.adaptive_max_pool2d": "c, 3",
    "functional.adaptive_max_pool3d": "vol, 2",
    "functional.fractional_max_pool2d": "c, 3, random_u=0.3",
    "functional.fractional_max_pool3d": "vol, 2, random_u=0.3",
    "functional.binary_cross_entropy": "unit, unit2",
    "functional.binary_cross_entropy_with_logits": "c, unit",
    "functional.cross_entropy": "v, lab, reduction='none'",
    "functional.dice_loss": "F.softmax(p.transpose(c, [0, 2, 3, 1])), p.transpose(i, [0, 2, 3, "
    "1])[:, :, :, :1]",
    "functional.kl_div": "c, unit",
    "functional.l1_loss": "c, d",
    "functional.log_loss": "p.reshape(unit, [-1, 1]), p.reshape(unit2, [-1, 1])",
    "functional.mse_loss": "c, d",
    "functional.margin_ranking_loss": "c, d, p.sign(d)",
    "functional.multi_label_soft_margin_loss": "v, p.cast(u > 0, 'float32')",
    "functional.nll_loss": "F.log_softmax(v), lab",
    "functional.poisson_nll_loss": "c, pos",
    "functional.npair_loss": "v, u, p.cast(lab, 'float32')",
    "functional.sigmoid_focal_loss": "c, p.cast(b2, 'float32')",
    "functional.smooth_l1_loss": "c, d",
    "functional.softmax_with_cross_entropy": "v, p.unsqueeze(lab, 1)",
    "functional.square_error_cost": "c, d",
    "functional.ctc_loss": "p.transpose(F.log_softmax(tok), [1, 0, 2]), i32[:, :2, 0, 0] % 3 + 1, "
    "p.full_like(lab, 16), p.full_like(lab, 2)",
    "functional.rnnt_loss": "F.log_softmax(c), i32[:, :7, 0, 0], p.full_like(p.cast(lab, 'int32'), "
    "4), p.full_like(p.cast(lab, 'int32'), 7)",
    "functional.hinge_embedding_loss": "c, p.sign(d)",
    "functional.affine_grid": "p.reshape(v[:, :6], [-1, 2, 3]), p.shape(c)",
    "functional.grid_sample": "c, p.tanh(p.reshape(d[:, :2], [-1, 8, 8, 2]))",
    "functional.local_response_norm": "c, 3",
    "functional.pixel_shuffle": "c, 2",
    "functional.pixel_unshuffle": "c, 2",
    "functional.channel_shuffle": "c, 2",
    "functional.embedding": "i, w(4, 3)",
    "functional.gather_tree": "i[:, 0], j[:, 0]",
    "functional.one_hot": "i, 4",
    "functional.normalize": "c",
    "functional.temporal_shift": "c, 1",
    "functional.batch_norm": "c, p.zeros([4]), p.ones([4]), w(4), w(4)",
    "functional.layer_norm": "c, 8, w(8), w(8)",
    "functional.rms_norm": "c, [8], w(8)",
    "functional.group_norm": "c, 2, weight=w(4), bias=w(4)",
    "functional.fold": "F.unfold(c[:, :, :5, :5], 2), [5, 5], 2",
    "functional.cosine_embedding_loss": "v, u, p.sign(v[:, 0])",
    "functional.triplet_margin_with_distance_loss": "v, u, v * u",
    "functional.triplet_margin_loss": "v, u, v * u",
    "functional.multi_margin_loss": "v, lab",
    "functional.multi_label_margin_loss": "v, iv",
    "functional.soft_margin_loss": "c, p.sign(d)",
    "functional.gaussian_nll_loss": "c, d, pos",
    "functional.scaled_dot_product_attention": "*[p.reshape(tok, [-1, 16, 2, 2])] * 3",
    "functional.swiglu": "c",
    "tensor.acosh": "more",
    "tensor.acos": "unit",
    "tensor.asin": "unit",
    "tensor.atanh": "unit",
    "tensor.addmm": "k, k, kk",
    "tensor.baddbmm": "m, m, m2",
    "tensor.add_n": "[c, d]",
    "tensor.all": "b, [1, 2, 3]",
    "tensor.any": "b, [1, 2, 3]",
    "tensor.allclose": "c, d",
    "tensor.amax": "c, [2, 3]",
    "tensor.amin": "c, [2, 3]",
    "tensor.angle": "z",
    "tensor.argmax": "c, 1",
    "tensor.argmin": "c, 1",
    "tensor.argsort": "c",
    "tensor.as_complex": "p.reshape(c, [-1, 4, 8, 4, 2])",
    "tensor.as_real": "z",
    "tensor.as_strided": "c, [2, 3], [1, 2]",
    "tensor.atan2": "c, d",
    "tensor.atleast_1d": "c",
    "tensor.bincount": "p.flatten(i)",
    "tensor.bitwise_invert": "i",
    "tensor.bitwise_not": "i",
    "tensor.block_diag": "[k, kk]",
    "tensor.bmm": "m, m2",
    "tensor.broadcast_tensors": "[c, d]",
    "tensor.broadcast_to": "v[:, :1], [-1, 5]",
    "tensor.bucketize": "c, p.to_tensor([-1.0, 0.0, 1.0])",
    "tensor.cast": "c, 'int32'",
    "tensor.cdist": "m, m2",
    "tensor.cholesky": "spd",
    "tensor.cholesky_inverse": "p.linalg.cholesky(kk)",
    "tensor.cholesky_solve": "m, chol",
    "tensor.chunk": "c, 2, 1",
    "tensor.clamp": "c, -0.5, 0.5",
    "tensor.clip": "c, -0.5, 0.5",
    "tensor.combinations": "r",
    "tensor.concat": "[c, d], 1",
    "tensor.cond": "m",
    "tensor.conj": "z",
    "tensor.cross": "p.reshape(c[:, :3], [-1, 3, 64]), p.reshape(d[:, :3], [-1, 3, 64]), 1",
    "tensor.corrcoef": "k",
    "tensor.cov": "k",
    "tensor.count_nonzero": "c, [1, 2]",
    "tensor.cummax": "c, 1",
    "tensor.cummin": "c, 1",
    "tensor.cumprod": "c, 1",
    "tensor.cumsum": "c, 1",
    "tensor.cumulative_trapezoid": "c",
    "tensor.diag": "r",
    "tensor.diagonal_scatter": "g, p.mean(g, axis=0)[:, :4], 0, 0, 1",
    "tensor.digamma": "pos",
    "tensor.dist": "c, d",
    "tensor.dot": "v, u",
    "tensor.dsplit": "c, 2",
    "tensor.hsplit": "c, 2",
    "tensor.vsplit": "g, 2",
    "tensor.eig": "kk",
    "tensor.eigvals": "kk",
    "tensor.eigvalsh": "spd",
    "tensor.erfinv": "unit",
    "tensor.expand": "v[:, :1], [-1, 5]",
    "tensor.expand_as": "v[:, :1], u",
    "tensor.flatten": "c, 1",
    "tensor.flip": "c, [3]",
    "tensor.reverse": "c, [3]",
    "tensor.gammainc": "pos, unit",
    "tensor.gammaincc": "pos, unit",
    "tensor.gammaln": "pos",
    "tensor.gather": "c, p.to_tensor([2, 0]), 1",
    "tensor.gather_nd": "c, p.zeros([2, 1], 'int64')",
    "tensor.gcd": "i, j",
    "tensor.lcm": "i, j",
    "tensor.histogram_bin_edges": "c",
    "tensor.histogramdd": "p.transpose(k[:3], [1, 0])",
    "tensor.householder_product": "m, p.mean(m, axis=1)",
    "tensor.imag": "z",
    "tensor.real": "z",
    "tensor.increment": "p.mean(c)",
    "tensor.index_add": "c, p.to_tensor([2, 0]), 1, d[:, :2]",
    "tensor.index_fill": "c, p.to_tensor([2, 0]), 1, 0.5",
    "tensor.index_put": "g, (p.to_tensor([2, 0]),), p.mean(g, axis=0)",
    "tensor.index_sample": "v, iv",
    "tensor.index_select": "c, p.to_tensor([2, 0]), 1",
    "tensor.isin": "i, p.to_tensor([1, 3])",
    "tensor.istft": "p.complex(p.reshape(c, [-1, 2, 16, 8])[:, 0, :5], p.reshape(d, [-1, 2,"
    " 16, 8])[:, 0, :5]), 8, center=True",
    "tensor.kron": "k, kk",
    "tensor.kthvalue": "c, 2",
    "tensor.ldexp": "c, i",
    "tensor.lerp": "c, d, unit",
    "tensor.lgamma": "pos",
    "tensor.log": "pos",
    "tensor.log10": "pos",
    "tensor.log1p": "pos",
    "tensor.log2": "pos",
    "tensor.logit": "unit",
    "tensor.logical_and": "b, b2",
    "tensor.logical_or": "b, b2",
    "tensor.logical_xor": "b, b2",
    "tensor.logical_not": "b",
    "tensor.logsumexp": "c, [2, 3]",
    "tensor.logcumsumexp": "c, 1",
    "tensor.lstsq": "spd, m",
    "tensor.lu": "spd",
    "tensor.lu_unpack": "*p.linalg.lu(spd)",
    "tensor.masked_fill": "c, b2, 0.5",
    "tensor.masked_scatter": "c, b2, d",
    "tensor.masked_select": "c, b2",
    "tensor.matmul": "c, d",
    "tensor.matrix_power": "m, 2",
    "tensor.max": "c, [2, 3]",
    "tensor.min": "c, [2, 3]",
    "tensor.mean": "c, [2, 3]",
    "tensor.median": "c, 1",
    "tensor.mm": "k, kk",
    "tensor.mode": "c",
    "tensor.moveaxis": "c, 1, 3",
    "tensor.multi_dot": "[k, kk, k]",
    "tensor.multigammaln": "more, 2",
    "tensor.multiplex": "[v, u], p.cast(p.unsqueeze(lab % 2, 1), 'int32')",
    "tensor.mv": "k, r",
    "tensor.nanmean": "c, [2, 3]",
    "tensor.nanmedian": "c, [2, 3]",
    "tensor.nanquantile": "c, 0.5, [2, 3]",
    "tensor.quantile": "c, 0.5, [2, 3]",
    "tensor.nansum": "c, [2, 3]",
    "tensor.narrow": "c, 1, 1, 2",
    "tensor.norm": "c, 'fro', [2, 3]",
    "tensor.ormqr": "spd, p.mean(m, axis=1), m2",
    "tensor.outer": "r, r2",
    "tensor.permute": "c, [0, 2, 3, 1]",
    "tensor.pinv": "m",
    "tensor.polar": "pos, d",
    "tensor.polygamma": "pos, 1",
    "tensor.pow": "pos, 1.5",
    "tensor.prod": "pos, [2, 3]",
    "tensor.put_along_axis": "v, iv[:, :3], 0.5, 1",
    "tensor.qr": "m",
    "tensor.reciprocal": "pos",
    "tensor.reduce_as": "c, v[0, 0]",
    "tensor.remainder": "c, pos",
    "tensor.mod": "c, pos",
    "tensor.floor_mod": "c, pos",
    "tensor.floor_divide": "i, j + 1",
    "tensor.renorm": "c, 2.0, 1, 0.5",
    "tensor.repeat": "c, 1, 2, 1, 1",
    "tensor.repeat_interleave": "c, 2, 1",
    "tensor.reshape": "c, [0, -1]",
    "tensor.roll": "c, 1, 2",
    "tensor.rot90": "c, 1, [2, 3]",
    "tensor.rsqrt": "pos",
    "tensor.sqrt": "pos",
    "tensor.scatter": "g, p.to_tensor([2, 0]), g[:2] * 2.0",
    "tensor.scatter_add": "v, 1, iv[:, :3], u[:, :3]",
    "tensor.scatter_nd": "p.zeros([2, 1], 'int64'), g[:2], [4, 8, 8]",
    "tensor.scatter_nd_add": "g, p.zeros([2, 1], 'int64'), g[:2]",
    "tensor.scatter_reduce": "v, 1, iv[:, :3], u[:, :3], 'amax'",
    "tensor.select_scatter": "c, p.mean(d, axis=1), 1, 2",
    "tensor.shard_index": "p.unsqueeze(lab, 1), 16, 2, 0",
    "tensor.slice": "c, [1, 2], [1, 2], [3, 7]",
    "tensor.slice_scatter": "c, d[:, 1:3], [1], [1], [3], [1]",
    "tensor.slogdet": "m",
    "tensor.solve": "spd, m",
    "tensor.split": "c, 2, 1",
    "tensor.split_with_sizes": "c, [1, 3], 1",
    "tensor.squeeze": "c[:, :1], 1",
    "tensor.stack": "[c, d], 1",
    "tensor.std": "c, [2, 3]",
    "tensor.var": "c, [2, 3]",
    "tensor.stft": "s[:, 0], 8",
    "tensor.strided_slice": "c, [2, 3], [0, 1], [8, 7], [2, 3]",
    "tensor.sum": "c, [2, 3]",
    "tensor.swapaxes": "c, 1, 2",
    "tensor.swapdims": "c, 1, 2",
    "tensor.t": "v",
    "tensor.take": "c, p.to_tensor([5, 0])",
    "tensor.take_along_axis": "v, iv[:, :3], 1",
    "tensor.take_along_dim": "v, iv[:, :3], 1",
    "tensor.tensor_split": "c, 3, 2",
    "tensor.tensordot": "c, w(8, 5), [[3], [0]]",
    "tensor.tile": "v, [1, 2]",
    "tensor.topk": "v, 3",
    "tensor.trace": "c, 0, 2, 3",
    "tensor.diagonal": "c, 0, 2, 3",
    "tensor.transpose": "c, [0, 2, 3, 1]",
    "tensor.trapezoid": "c",
    "tensor.triangular_solve": "chol, m, False",
    "tensor.unbind": "c, 1",
    "tensor.unflatten": "c, 1, [2, 2]",
    "tensor.unfold": "v, 1, 4, 2",
    "tensor.unsqueeze": "c, 2",
    "tensor.unstack": "c, 1, 4",
    "tensor.vander": "r",
    "tensor.view": "c, [-1, 256]",
    "tensor.view_as": "c, d",
    "tensor.div": "c, pos",
    "tensor.divide": "c, pos",
    "tensor.true_divide": "c, pos",
    "tensor.view_as_complex": "p.reshape(c, [-1, 4, 8, 4, 2])",
    "tensor.view_as_real": "z",
    "tensor.where": "b2, c, d",
    "tensor.multiply": "c, d",
    "tensor.inverse": "spd",
    "tensor.householder": "m",
    "tensor.diag_embed": "v",
    "tensor.diagflat": "r",
    "tensor.unique": "i",
    "tensor.unique_consecutive": "i",
    "tensor.copysign": "c, d",
    "tensor.less": "c, d",
    "tensor.logaddexp": "c, d",
    "tensor.inner": "c, d",
    "tensor.matrix_transpose": "c",
    "tensor.histogram": "c, 5, -1, 1",
    "tensor.frexp": "c",
    "tensor.sinc": "c",
    "tensor.isreal": "c",
    "tensor.i0": "c",
    "tensor.hypot": "c, d",
    "tensor.heaviside": "c, d",
    "tensor.nextafter": "c, d",
    "tensor.cumprod_": "c, 1",
    "tensor.squeeze_": "p.unsqueeze(c, 1), 1",
}
for _name in ("and", "or", "xor", "left_shift", "right_shift"):
    ARGUMENTS[f"tensor.bitwise_{_name}"] = "i32, j32"
for _rank, _value in ((1, "s"), (2, "c"), (3, "vol")):
    for _letter in ("D", "d"):
        for _kind in (
            "Pad",
            "ConstantPad",
            "CircularPad",
            "ReplicationPad",
            "ReflectionPad",
            "ZeroPad",
        ):
            _made = "1, 0.5" if _kind == "ConstantPad" else "1"
            ARGUMENTS.setdefault(f"nn.{_kind}{_rank}{_letter}", f"{_made} | {_value}")


def test_of(name: str) -> str:
    """Return the expression that tests an operator; one in place has the arguments of the other."""
    group = name.partition(".")[0]
    given = ARGUMENTS.get(name) or ARGUMENTS.get(name.rstrip("_"))
    if group == "nn":
        return given or "| c"
    return given or ""


class Network(nn.Layer):
    """An operator behind a convolution, whose results become one row for each image."""

    def __init__(self, name: str) -> None:
        """Make the network of an operator that Paddle lists."""
        super().__init__()
        self.first = nn.Conv2D(3, 4, 3, padding=1)
        self.second = nn.Conv2D(3, 4, 3, padding=1)
        self.operator = listed()[name]
        made, bar, self.taken = (part.strip() for part in test_of(name).rpartition("|"))
        self.weights = nn.ParameterList()
        self.next_weight = 0
        self.by_image: list[bool] = []
        if bar:
            values = Values(self, None)
            self.operator = evaluate(f"f({made})", values)

    def weight(self, *shape: int) -> Any:
        """Return the next parameter, which the first run makes."""
        if self.next_weight == len(self.weights):
            self.weights.append(self.create_parameter(list(shape)))
        self.next_weight += 1
        return self.weights[self.next_weight - 1]

    def results(self, x: Any) -> list[Any]:
        """Return the tensors that the operator gives."""
        self.next_weight = 0
        given = self.run_operator(x)
        found: list[Any] = []

        def add(value: Any) -> None:
            if isinstance(value, (list, tuple)):
                for each in value:
                    add(each)
            elif hasattr(value, "stop_gradient"):
                found.append(value)

        add(given)
        return found

    def run_operator(self, x: Any) -> Any:
        """Return what the operator gives for an image, or for two tensors."""
        values = Values(self, x)
        if self.taken:
            return evaluate(f"f({self.taken})", values)
        try:
            return evaluate("f(c)", values)
        except (TypeError, ValueError):
            self.taken = "c, d"
            return evaluate("f(c, d)", Values(self, x))

    def prepare(self, make: Callable[[int], Any]) -> None:
        """Find out which results have a row for each image."""
        self.by_image = rows_of_images(self.results(make(2)), self.results(make(3)))

    def forward(self, x: Any) -> Any:
        """Return a row for each image."""
        found = zip(self.results(x), self.by_image)  # noqa: B905 - Paddle translates no strict
        rows = [row_of(x, value, by_image) for value, by_image in found]
        return rows[0] if len(rows) == 1 else paddle.concat(rows, axis=1)


def row_of(x: Any, result: Any, by_image: bool) -> Any:
    """Return a float row for each image of what an operator gives."""
    value = result
    if value.dtype in (paddle.complex64, paddle.complex128):
        value = paddle.as_real(value)
    if value.dtype != paddle.float32:
        value = paddle.cast(value, "float32")
    if not by_image:
        return paddle.mean(x, axis=[2, 3]) + paddle.sum(value)
    if len(value.shape) == 1:
        return paddle.unsqueeze(value, 1)
    return value if len(value.shape) == 2 else paddle.flatten(value, 1)
