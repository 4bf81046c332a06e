"""Which axis has the images: the native engine follows operators, and gives what onnxruntime does
or refuses the model by name, whatever other sizes equal the number of images.
"""

import re
from pathlib import Path

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare

pytest.importorskip("onnx", reason="the models of these tests are made with it")
pytest.importorskip("onnxruntime", reason="the answers are compared with its own")

# Where there is no onnx, the lines above skip this file; importing it first would fail.
import onnxruntime
from onnx_files import array, model
from test_kinds import rows as operator_rows

NUMBERS = [1, 2, 3, 4, 7]
DRAWN = 150
REFUSED = re.compile(
    r"could not prove that images stay apart \(\w+, which gives '\w+'\)"
    r"|there is no \w+.* \(\w+, which gives '\w+'\)"
    r"|operator \d+ \(\w+\)|takes no number of images|not computed from the image"
)


def ran_by(session, images):
    """Return what onnxruntime gives; None where it does not take so many images."""
    try:
        return session.run(None, {"x": images})[0]
    except Exception:  # noqa: BLE001 - it has no narrower class
        return None


def outcome(nodes, shape, tensors, opset=17):
    """Return "right" or "refused", or "invalid" for what onnxruntime does not run.

    A wrong answer or another error fails the test. The first size of `shape` may be "N".
    """
    x = f"float[{','.join(map(str, shape))}] x"
    program = model(nodes, x, "float y", tensors, opset=opset)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(program, options)
    except Exception:  # noqa: BLE001 - what was drawn is no network for it
        return "invalid"
    counts = NUMBERS if shape[0] == "N" else [shape[0]]
    try:
        predictor = lenet_cpp.Predictor.from_bytes(program, engine="native")
    except lenet_cpp.Unsupported as error:
        return "refused" if REFUSED.search(str(error)) else str(error)
    except lenet_cpp.BadModel:  # it contradicts itself
        assert not any(ran_by(session, array((count, *shape[1:]))) is not None for count in counts)
        return "invalid"
    ran = 0
    with predictor:
        for count in counts:
            images = array((count, *shape[1:]), count)
            expected = ran_by(session, images)
            if expected is None:
                continue
            try:
                found = predictor.run(images)
            except lenet_cpp.BadInput:  # it says so of this number of images
                continue
            assert found.shape == expected.shape, (nodes, count)
            assert compare(expected, found).agrees, (nodes, count)
            ran += 1
    return "right" if ran else "invalid"


# ---- one operator, whose other sizes are all the number of images

ONE = {
    "abcd,cb->cabd": 'y = Einsum<equation="abcd,cb->cabd">(x, c)',
    "abcd,cb->acbd": 'y = Einsum<equation="abcd,cb->acbd">(x, c)',
    "abcd->cabd": 'y = Einsum<equation="abcd->cabd">(x)',
    "abcd,acbd->cabd": 'y = Einsum<equation="abcd,acbd->cabd">(x, x)',
    "abcd,bc->badc": 'y = Einsum<equation="abcd,bc->badc">(x, s)',
    "abcd,cb->cad": 'y = Einsum<equation="abcd,cb->cad">(x, c)',
    "abcd,bacd->abcd": 'y = Einsum<equation="abcd,bacd->abcd">(x, x)',
    "Transpose": "y = Transpose<perm=[2,0,1,3]>(x)",
    "there and back": "t = Transpose<perm=[2,0,1,3]>(x) y = Transpose<perm=[1,2,0,3]>(t)",
    "there and elsewhere": "t = Transpose<perm=[2,0,1,3]>(x) y = Transpose<perm=[2,1,0,3]>(t)",
    "product behind": "t = Transpose<perm=[2,0,1,3]>(x) p = MatMul(t, s) "
    "y = Transpose<perm=[1,0,2,3]>(p)",
    "product before": "p = MatMul(x, s) t = Transpose<perm=[2,0,1,3]>(p) "
    "y = Transpose<perm=[1,2,0,3]>(t)",
    "constant times images": "y = MatMul(s, x)",
    "constant of the batch": "y = MatMul(b, x)",
    "softmax": "t = Transpose<perm=[2,0,1,3]>(x) u = Softmax<axis=3>(t) "
    "y = Transpose<perm=[1,0,2,3]>(u)",
    "softmax over the images": "t = Transpose<perm=[2,0,1,3]>(x) u = Softmax<axis=1>(t) "
    "y = Transpose<perm=[1,0,2,3]>(u)",
    "a constant of the images": "y = Add(x, b)",
    "a constant of the channels": "y = Add(x, k)",
    "a constant of the rows": "y = Add(x, s)",
    "chosen": "y = Gather<axis=2>(x, i)",
    "chosen images": "y = Gather<axis=0>(x, i)",
    "reversed": "y = Slice(x, last, first, axes, back)",
    "shifted": "y = Pad(x, shift)",
    "reshaped": "y = Reshape(x, shape)",
    "swapped by a reshape": "t = Transpose<perm=[1,0,2,3]>(x) y = Reshape(t, shape)",
    "mean over the images": "y = ReduceMean<axes=[0], keepdims=0>(x)",
    "mean over the channels": "y = ReduceMean<axes=[1], keepdims=0>(x)",
    "joined": "y = Concat<axis=1>(x, b)",
    "joined with itself": "y = Concat<axis=1>(x, x)",
    "repeated along the other": "m = ReduceMean<axes=[1], keepdims=0>(x) y = Mul(x, m)",
    "chosen by another": "y = Where(more, x, b)",
    "normalized": "y = BatchNormalization(x, one, one, one, one)",
    "normalized images": "t = Transpose<perm=[1,0,2,3]>(x) "
    "n = BatchNormalization(t, v, v, v, v) y = Transpose<perm=[1,0,2,3]>(n)",
    "scattered": "y = ScatterElements<axis=1>(x, places, b1)",
    "scattered into an image": "y = ScatterElements<axis=1>(x, places1, b0)",
    "picked": "y = GatherElements<axis=1>(x, picks)",
}


def constants(nodes, size):
    """Return those of the constants that some nodes name."""
    square, cube = (size, size), (size,) * 4
    places = np.random.default_rng(1).integers(0, size, (size, 2, *square))
    made = {"c": array(square, 1), "s": array(square, 2), "k": array((size, 1, 1), 3)}
    made |= {"b": array(cube, 4), "i": np.arange(size)[::-1].copy(), "one": np.ones(size, "f4")}
    made |= {"last": np.array([-1]), "first": np.array([-1000]), "axes": np.array([0])}
    made |= {"back": np.array([-1]), "shift": np.array([-1, 0, 0, 0, 1, 0, 0, 0])}
    made |= {"shape": np.array([-1, size, *square]), "more": array(cube, 6) > 0}
    made |= {"v": np.abs(array((size,), 5)) + 1, "picks": places}
    made |= {"places": np.zeros((size, 1, *square), "i8"), "b1": array((size, 1, *square))}
    made |= {"places1": np.zeros((1, 1, *square), "i8"), "b0": array((1, 1, *square))}
    return {key: value for key, value in made.items() if re.search(rf"\b{key}\b", nodes)}


@pytest.mark.parametrize("batch", ["N", *NUMBERS])
@pytest.mark.parametrize("name", ONE)
def test_one_operator(name, batch):
    for size in NUMBERS if batch == "N" else [batch]:
        if name == "shifted" and size == 1:
            continue  # nothing would be left of the one image
        used = constants(ONE[name], size)
        assert outcome(ONE[name], (batch, size, size, size), used) in ("right", "refused")


@pytest.mark.parametrize("batch", ["N", *NUMBERS])
def test_what_keeps_the_images_apart_runs(batch):
    """Refusing everything would be no answer."""
    size = 3 if batch == "N" else batch
    for name in ("abcd,cb->acbd", "there and back", "product behind", "product before", "softmax"):
        used = constants(ONE[name], size)
        assert outcome(ONE[name], (batch, size, size, size), used) == "right", name


def test_every_operator_has_a_rule():
    """An operator without one is refused in each network whose images it takes."""
    sources = Path(__file__).parents[2] / "cpp" / "src" / "model"
    rows = re.findall(
        r'\{((?:"[^"]*"\s*)+),\s*follow_\w+\}', (sources / "image_rules.cc").read_text()
    )
    known = [kind for row in rows for kind in "".join(re.findall(r'"([^"]*)"', row)).split()]
    wanted = set()
    for _, types, kinds in operator_rows():
        named = kinds or [name for words in types for name in words.split("/") if name]
        wanted.update(named)
    pools = {"GlobalMaxPool", "GlobalAveragePool", "AdaptiveMaxPool", "AdaptiveAveragePool"}
    pools |= {"AveragePool"}  # what a pool of Paddle may be
    assert len(known) == len(set(known)) > 200
    assert set(known) - pools == wanted - pools


# ---- drawn networks, most of whose sizes are the number of images


class Drawing:
    """A network of one value at a time, and where that has the images as far as it was followed."""

    def __init__(self, rng, shape):
        self.rng, self.shape, self.axis = rng, list(shape), 0
        self.nodes, self.tensors, self.now = [], {}, "x"

    def constant(self, shape, values=None):
        name = f"k{len(self.tensors)}"
        drawn = self.rng.standard_normal(shape).astype("f4")
        self.tensors[name] = drawn if values is None else values
        return name

    def add(self, node, shape=None, axis="same"):
        now = f"v{len(self.nodes)}"
        self.nodes.append(f"{now} = {node.format(self.now)}")
        self.now = now
        self.shape = list(self.shape if shape is None else shape)
        self.axis = self.axis if axis == "same" else axis

    def any_axis(self):
        return int(self.rng.integers(len(self.shape)))

    def transpose(self, perm=None):
        perm = [int(i) for i in (self.rng.permutation(len(self.shape)) if perm is None else perm)]
        shape = [self.shape[i] for i in perm]
        axis = None if self.axis is None else perm.index(self.axis)
        self.add(f"Transpose<perm={perm}>({{}})", shape, axis)

    def softmax(self):
        self.add(f"Softmax<axis={self.any_axis()}>({{}})")

    def cumsum(self):
        self.add(f"CumSum({{}}, {self.constant((), np.array(self.any_axis()))})")

    def normalize(self):
        axis = self.any_axis()
        scale = self.constant(self.shape[axis:])
        self.add(f"LayerNormalization<axis={axis}>({{}}, {scale})")

    def normalize_channels(self):
        if len(self.shape) > 1:
            ones = [self.constant((self.shape[1],)) for _ in range(3)]
            positive = self.constant((), np.abs(array((self.shape[1],))) + 1)
            self.add(f"BatchNormalization({{}}, {', '.join(ones)}, {positive})")

    def normalize_pixels(self):
        if len(self.shape) > 2:
            scale = self.constant((self.shape[1],))
            self.add(f"InstanceNormalization<epsilon=1.0>({{}}, {scale}, {scale})")

    def reduce(self):
        axis = self.any_axis()
        shape = [*self.shape[:axis], 1, *self.shape[axis + 1 :]]
        self.add(f"ReduceMean<axes=[{axis}]>({{}})", shape, None if axis == self.axis else "same")

    def combine(self):
        """With a constant of any shape that is repeated along it."""
        kind = self.rng.choice(["Add", "Mul", "Sub", "Max"])
        shape = [size if self.rng.random() < 0.4 else 1 for size in self.shape]
        constant = self.constant(shape[int(self.rng.integers(len(shape) + 1)) :])
        operands = f"{{}}, {constant}" if self.rng.random() < 0.7 else f"{constant}, {{}}"
        self.add(f"{kind}({operands})")

    def combine_with_itself(self):
        """In another order, if its sizes allow it."""
        before = self.now, list(self.shape), self.axis
        self.transpose()
        fits = all(a == b or 1 in (a, b) for a, b in zip(before[1], self.shape, strict=True))
        if not fits:
            self.now, self.shape, self.axis = before
            return
        shape = [max(sizes) for sizes in zip(before[1], self.shape, strict=True)]
        kind = self.rng.choice(["Add", "Mul", "Where"])
        if kind == "Where":
            condition = self.constant((), array(shape[-1:]) > 0)
            node = f"Where({condition}, {before[0]}, {{}})"
        else:
            node = f"{kind}({before[0]}, {{}})"
        self.add(node, shape, self.axis if self.axis == before[2] else None)

    def product(self):
        width = int(self.rng.choice([self.shape[0], 2]))
        if self.rng.random() < 0.5 or len(self.shape) < 2:
            constant = self.constant((self.shape[-1], width))
            lost = self.axis == len(self.shape) - 1
            shape, node = [*self.shape[:-1], width], f"MatMul({{}}, {constant})"
        else:
            constant = self.constant((width, self.shape[-2]))
            lost = self.axis == len(self.shape) - 2
            shape = [*self.shape[:-2], width, self.shape[-1]]
            node = f"MatMul({constant}, {{}})"
        self.add(node, shape, None if lost else "same")

    def scores(self):
        if len(self.shape) < 2:
            return
        before, shape, axis = self.now, self.shape, self.axis
        order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
        self.transpose(order)
        lost = axis is None or axis >= len(shape) - 2
        self.add(f"MatMul({before}, {{}})", [*shape[:-1], shape[-2]], None if lost else axis)

    def letters(self):
        rank = len(self.shape)
        own = "abcde"[:rank]
        a, b = self.rng.integers(rank, size=2)
        other, sizes = own[a], [self.shape[a]]
        if a != b:
            other, sizes = other + own[b], [*sizes, self.shape[b]]
        kept = [own[i] for i in self.rng.permutation(rank) if self.rng.random() < 0.85]
        to = "".join(kept) or own[0]
        sizes_of = dict(zip(own, self.shape, strict=True))
        axis = None
        if self.axis is not None and own[self.axis] in to:
            axis = to.index(own[self.axis])
        equation = f"{own},{other}->{to}"
        node = f'Einsum<equation="{equation}">({{}}, {self.constant(sizes)})'
        if self.rng.random() < 0.2:
            node = f'Einsum<equation="{own}->{to}">({{}})'
        self.add(node, [sizes_of[letter] for letter in to], axis)

    def reshape(self):
        """Join two axes, or take one apart."""
        at, rank = self.any_axis(), len(self.shape)
        if self.rng.random() < 0.5 and at + 1 < rank:
            shape = [*self.shape[:at], self.shape[at] * self.shape[at + 1], *self.shape[at + 2 :]]
            axis = self.axis
            if axis is not None:
                axis -= axis > at
        elif rank < 5:
            parts = [d for d in range(1, self.shape[at] + 1) if self.shape[at] % d == 0]
            part = int(self.rng.choice(parts))
            pair = [part, self.shape[at] // part]
            shape, axis = [*self.shape[:at], *pair, *self.shape[at + 1 :]], self.axis
            if axis is not None:
                axis += axis > at or (axis == at and self.rng.random() < 0.5)
        else:
            return
        target = list(shape)
        if axis is not None:
            target[axis] = -1
        self.add(f"Reshape({{}}, {self.constant((), np.array(target))})", shape, axis)

    def reshape_to_the_order(self):
        """Give the values other sizes in another order, which no transpose did."""
        order = self.rng.permutation(len(self.shape))
        shape = [self.shape[i] for i in order]
        self.add(f"Reshape({{}}, {self.constant((), np.array(shape))})", shape, None)

    def join(self):
        axis = self.any_axis()
        other = self.constant(self.shape) if self.rng.random() < 0.4 else "{0}"
        shape = list(self.shape)
        shape[axis] *= 2
        lost = None if axis == self.axis else "same"
        self.add(f"Concat<axis={axis}>({{0}}, {other})", shape, lost)

    def gather(self):
        axis = self.any_axis()
        count = int(self.rng.choice([self.shape[axis], 1, 2]))
        places = self.rng.integers(self.shape[axis], size=count)
        shape = [*self.shape[:axis], count, *self.shape[axis + 1 :]]
        node = f"Gather<axis={axis}>({{}}, {self.constant((), places)})"
        self.add(node, shape, None if axis == self.axis else "same")

    def gather_elements(self):
        if self.rng.random() < 0.7:
            return  # constants of the images, which are refused
        axis = self.any_axis()
        places = self.rng.integers(self.shape[axis], size=self.shape)
        self.add(f"GatherElements<axis={axis}>({{}}, {self.constant((), places)})")

    def look_up(self):
        """Rows of a constant, by the largest value."""
        axis = self.any_axis()
        if len(self.shape) > 3:
            return
        table = self.constant((self.shape[axis], 2))
        self.add(f"ArgMax<axis={axis}, keepdims=0>({{}})")
        shape = [*self.shape[:axis], *self.shape[axis + 1 :], 2]
        at = self.axis
        at = None if at in (None, axis) else at - (at > axis)
        self.add(f"Gather<axis=0>({table}, {{}})", shape, at)

    def slice(self):
        axis = self.any_axis()
        start, end, step = [(0, 1000, 1), (-1, -1000, -1), (0, 1, 1), (1, 1000, 1), (0, 1000, 2)][
            int(self.rng.integers(5))
        ]
        shape = list(self.shape)
        shape[axis] = len(range(shape[axis])[start:end:step] if step > 0 else range(shape[axis]))
        if shape[axis] == 0:
            return
        names = ", ".join(self.constant((), np.array([i])) for i in (start, end, axis, step))
        self.add(f"Slice({{}}, {names})", shape)

    def pad(self):
        axis = self.any_axis()
        pads = np.zeros(2 * len(self.shape), "i8")
        pads[axis], pads[axis + len(self.shape)] = [(1, 0), (0, 1), (-1, 1), (1, -1)][
            int(self.rng.integers(4))
        ]
        shape = list(self.shape)
        shape[axis] += int(pads.sum())
        if self.shape[axis] > 1:
            self.add(f"Pad({{}}, {self.constant((), pads)})", shape)

    def repeat(self):
        axis = self.any_axis()
        times = np.ones(len(self.shape), "i8")
        times[axis] = 2
        shape = list(self.shape)
        shape[axis] *= 2
        if self.rng.random() < 0.5 or self.shape[axis] != 1:
            self.add(f"Tile({{}}, {self.constant((), times)})", shape)
        else:
            self.add(f"Expand({{}}, {self.constant((), times)})", shape)

    def lift(self):
        if len(self.shape) == 5:
            return
        at = int(self.rng.integers(len(self.shape) + 1))
        axis = self.axis
        if axis is not None:
            axis += axis >= at
        shape = [*self.shape[:at], 1, *self.shape[at:]]
        self.add(f"Unsqueeze({{}}, {self.constant((), np.array([at]))})", shape, axis)

    def drop(self):
        ones = [i for i, size in enumerate(self.shape) if size == 1 and i != self.axis]
        if not ones or len(self.shape) < 2:
            return
        at = int(self.rng.choice(ones))
        axis = self.axis
        if axis is not None:
            axis -= axis > at
        shape = self.shape[:at] + self.shape[at + 1 :]
        self.add(f"Squeeze({{}}, {self.constant((), np.array([at]))})", shape, axis)

    def top(self):
        axis = self.any_axis()
        k = self.constant((), np.array([self.shape[axis]]))
        self.nodes.append(f"t{len(self.nodes)}, i = TopK<axis={axis}>({self.now}, {k})")
        self.now = self.nodes[-1].split(",")[0]

    def convolve(self):
        if len(self.shape) != 3:
            return
        kernel = self.constant((self.shape[0], self.shape[1], 1))
        self.add(f"Conv({{}}, {kernel})", [self.shape[0], self.shape[0], self.shape[2]])

    def picked(self):
        """Parts by their first two indices."""
        if len(self.shape) < 2 or self.rng.random() < 0.7:
            return
        places = np.stack([self.rng.integers(size, size=3) for size in self.shape[:2]], -1)
        node = f"GatherND({{}}, {self.constant((), places)})"
        self.add(node, [3, *self.shape[2:]], None)

    def overwrite(self):
        if self.rng.random() < 0.7:
            return  # constants of the images, which are refused
        axis = self.any_axis()
        part = list(self.shape)
        part[axis] = 1
        places, updates = self.constant((), np.zeros(part, "i8")), self.constant(part)
        self.add(f"ScatterElements<axis={axis}>({{}}, {places}, {updates})")

    def overwrite_with_a_part(self):
        axis = self.any_axis()
        part = list(self.shape)
        part[axis] = 1
        places, first = self.constant((), np.zeros(part, "i8")), self.constant((), np.array([0]))
        self.nodes.append(f"w{len(self.nodes)} = Gather<axis={axis}>({self.now}, {first})")
        value = self.nodes[-1].split(" ")[0]
        self.add(f"ScatterElements<axis={axis}>({{}}, {places}, {value})")


STEPS = [name for name in vars(Drawing) if not name.startswith("_")]
STEPS = [name for name in STEPS if name not in ("constant", "add", "any_axis")]


def draw(rng, number):
    """Return a network, the shape of its images, and its constants."""
    sizes = [int(rng.choice([number, number, number, 1, 2, 3])) for _ in range(rng.integers(1, 4))]
    drawing = Drawing(rng, [number, *sizes])
    for _ in range(int(rng.integers(1, 6))):
        before = len(drawing.nodes)
        while len(drawing.nodes) == before:
            getattr(drawing, rng.choice(STEPS))()
        if np.prod(drawing.shape) > 5000:
            break
    if drawing.axis and rng.random() < 0.8:
        rest = [i for i in range(len(drawing.shape)) if i != drawing.axis]
        drawing.transpose([drawing.axis, *rest])
    drawing.nodes.append(f"y = Identity({drawing.now})")
    return " ".join(drawing.nodes), sizes, drawing.tensors


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("is_open", [False, True], ids=["fixed", "open"])
def test_drawn_networks(is_open, seed):
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(DRAWN):
        number = int(rng.choice(NUMBERS))
        nodes, sizes, tensors = draw(rng, number)
        shape = ("N" if is_open else number, *sizes)
        found.append(outcome(nodes, shape, tensors))
    assert found.count("right") > len(found) / 10
    assert found.count("refused") > len(found) / 10
