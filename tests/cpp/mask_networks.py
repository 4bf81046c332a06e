"""Networks of one attention with a mask or a bias of places, in PyTorch and in Paddle."""

import math

import numpy as np
import paddle
import torch

from tools.survey.worker import seed_of

WIDTH, HEADS, CLASSES = 8, 2, 5


class OfTorch(torch.nn.Module):
    """What the networks below need of PyTorch, by names that Paddle's twin has too."""

    f = torch

    def keep(self, name, values):
        self.register_buffer(name, torch.tensor(values))

    @staticmethod
    def linear(inputs, outputs):
        return torch.nn.Linear(inputs, outputs)

    @staticmethod
    def constant(values):
        return torch.tensor(values)

    @staticmethod
    def cast(values, dtype):
        return values.to(dtype)

    @staticmethod
    def permute(x, axes):
        return x.permute(axes)


class OfPaddle(paddle.nn.Layer):
    """Have Paddle's functions under the names that the networks use."""

    f = paddle

    def keep(self, name, values):
        self.register_buffer(name, paddle.to_tensor(values))

    @staticmethod
    def linear(inputs, outputs):
        return paddle.nn.Linear(inputs, outputs)

    @staticmethod
    def constant(values):
        return paddle.to_tensor(values)

    @staticmethod
    def cast(values, dtype):
        return values.astype(dtype)

    @staticmethod
    def permute(x, axes):
        return x.transpose(axes)


# ---- Masks and biases: each function returns for tokens [N, T, WIDTH] what broadcasts to scores
# ---- [N, HEADS, T, T], and leaves at least one value in each row of scores.


def buffer_of_a_row(net, _x):
    return net.row


def buffer_of_four_axes(net, _x):
    return net.row_of_four_axes


def buffer_of_pairs(net, _x):
    return net.pairs


def buffer_by_head(net, _x):
    return net.by_head


def constant_row(net, _x):
    return net.constant(net.values["row"])


def constant_pairs(net, _x):
    return net.constant(net.values["pairs"])


def where_kept(net, x):
    return net.f.where(net.is_kept, net.number(x, 0), net.number(x, net.least))


def expanded_to_pairs(net, x):
    tokens = net.values["row"].size
    return net.row.reshape([1, 1, 1, tokens]).expand([1, HEADS, tokens, tokens])


def expanded_to_images(net, x):
    tokens = net.values["row"].size
    return net.row.reshape([1, 1, 1, tokens]).expand([x.shape[0], HEADS, tokens, tokens])


def later_by_cumsum(net, x):
    """Causal: positions are sums of ones that are computed from the input."""
    places = net.f.cumsum(x[:, :, 0] * 0 + 1, 1)
    later = places.unsqueeze(1) > places.unsqueeze(2)
    return net.f.where(later, net.number(x, net.least), net.number(x, 0)).unsqueeze(1)


def later_places(net, x):
    places = net.f.arange(x.shape[1])
    return places.unsqueeze(0) > places.unsqueeze(1)


def later_by_arange(net, x):
    return net.f.where(later_places(net, x), net.number(x, net.least), net.number(x, 0))


def later_by_triangle(net, x):
    tokens = net.values["row"].size
    return net.f.triu(net.f.full([tokens, tokens], net.least, dtype=x.dtype), 1)


def padding_of_the_input(net, x):
    """The tokens that are 0, other ones in each image."""
    kept = (x * x).mean(-1) > 0
    mask = net.f.where(kept, net.number(x, 0), net.number(x, net.least))
    return mask.unsqueeze(1).unsqueeze(1)


def padding_and_later(net, x):
    padding = padding_of_the_input(net, x)
    return net.f.where(later_places(net, x), net.number(x, net.least), padding)


def table_of_relative_places(net, _x):
    """Swin, BEiT: a table of biases, indexed by pairs of places."""
    tokens = net.values["row"].size
    biases = net.table[net.constant(net.index)].reshape([tokens, tokens, HEADS])
    return net.permute(biases, [2, 0, 1]).unsqueeze(0)


def buckets_of_distances(net, x):
    """T5: one bucket for each short distance, and buckets by logarithms for the others."""
    places = net.f.arange(0, net.values["row"].size, 1, dtype=x.dtype)
    between = places.unsqueeze(0) - places.unsqueeze(1)
    far = net.f.where(between < 0, -between, between)
    beyond = 2 + net.f.floor(net.f.log(net.f.clip(far, 1, 1e4) / 2 + 1e-3) / math.log(8) * 2)
    bucket = net.f.where(far < 2, far, net.f.clip(beyond, 2, 3))
    bucket = net.cast(bucket + net.f.where(between > 0, far * 0 + 4, far * 0), net.f.int64)
    return net.permute(net.buckets[bucket], [2, 0, 1]).unsqueeze(0)


def slopes_times_distances(net, x):
    """ALiBi: a slope of each head, and the distance back."""
    places = net.f.arange(net.values["row"].size)
    distances = net.cast(places.unsqueeze(0) - places.unsqueeze(1), x.dtype)
    return distances * net.slopes.reshape([HEADS, 1, 1])


MASKS = {
    function.__name__: function
    for function in (
        *(buffer_of_a_row, buffer_of_four_axes, buffer_of_pairs, buffer_by_head, constant_row),
        *(constant_pairs, where_kept, expanded_to_pairs, expanded_to_images, later_by_cumsum),
        *(later_by_arange, later_by_triangle, padding_of_the_input, padding_and_later),
        *(table_of_relative_places, buckets_of_distances, slopes_times_distances),
    )
}


BIASES = (buffer_by_head, table_of_relative_places, buckets_of_distances, slopes_times_distances)

# ---- What is done with a mask: each function returns the weights of the values for scores.


def added(net, scores, mask):
    return net.softmax(scores + mask)


def added_twice(net, scores, mask):
    return net.softmax(scores + mask + net.bias)


def behind_a_factor(net, scores, mask):
    return net.softmax(scores * net.factors + mask)


def behind_the_weights(net, scores, mask):
    """Multiply the weights, and divide them by their mean."""
    weights = net.softmax(scores + mask) * net.factors
    return weights / weights.mean(-1).unsqueeze(-1)


def filled(net, scores, mask):
    return net.softmax(net.f.where(mask > -100, scores, net.number(scores, net.least)))


def subtracted(net, scores, mask):
    return net.softmax(scores - mask * -1)


WAYS = (behind_a_factor, added_twice, behind_the_weights, filled)
WAYS_OF_BIASES = (behind_a_factor, added_twice, behind_the_weights, subtracted)


def attending(base):
    """Return the class of networks of a framework: attention, and a classifier of what it gives."""

    class Attending(base):
        def __init__(self, mask, way, least, tokens):
            super().__init__()
            self.mask, self.way, self.least = mask, way, least
            random = np.random.RandomState(seed_of(f"{mask.__name__} {tokens}"))
            row = np.zeros(tokens, np.float32)
            row[[1, tokens - 1]] = least
            later = np.triu(np.ones((tokens, tokens), bool), 1)
            self.values = {"row": row, "pairs": np.where(later, np.float32(least), np.float32(0))}
            between = np.arange(tokens) - np.arange(tokens)[:, None] + tokens - 1
            self.index = between.ravel()

            def draw(*shape):
                return random.uniform(-2, 2, shape).astype(np.float32)

            for name, values in {
                **self.values,
                "row_of_four_axes": row.reshape(1, 1, 1, tokens),
                "by_head": draw(HEADS, tokens, tokens),
                "is_kept": row == 0,
                "table": draw(2 * tokens - 1, HEADS),
                "buckets": draw(8, HEADS),
                "slopes": np.float32([0.5, 0.25]),
                "bias": draw(tokens),
                "factors": np.abs(draw(tokens)) + np.float32(0.5),
            }.items():
                self.keep(name, values)
            self.of_queries, self.of_keys, self.of_values = (
                self.linear(WIDTH, WIDTH) for _ in range(3)
            )
            self.of_all, self.last = self.linear(WIDTH, 3 * WIDTH), self.linear(WIDTH, CLASSES)

        def number(self, x, value):
            return self.f.full([1], value, dtype=x.dtype)

        def softmax(self, x):
            return self.f.nn.functional.softmax(x, -1)

        def forward(self, x):
            x = x[:, 0]
            tokens = self.values["row"].size
            each = WIDTH // HEADS
            if tokens % 2:  # as in ViT, three parts of one product
                parts = self.of_all(x).reshape([-1, tokens, 3, HEADS, each])
                queries, keys, values = self.permute(parts, [2, 0, 3, 1, 4])
                scores = queries @ self.permute(keys, [0, 1, 3, 2]) * each**-0.5
            else:  # as in BERT
                queries, keys, values = (
                    self.permute(layer(x).reshape([-1, tokens, HEADS, each]), [0, 2, 1, 3])
                    for layer in (self.of_queries, self.of_keys, self.of_values)
                )
                scores = (queries * each**-0.5) @ self.permute(keys, [0, 1, 3, 2])
            weights = self.way(self, scores, self.mask(self, x))
            y = self.permute(weights @ values, [0, 2, 1, 3]).reshape([-1, tokens, WIDTH])
            return self.last(y.mean(1))

    return Attending


NETWORKS = {base: attending(base) for base in (OfTorch, OfPaddle)}
