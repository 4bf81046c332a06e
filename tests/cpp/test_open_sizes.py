"""The native engine on models that take images of any size, against onnxruntime and Paddle."""

import itertools
import json
import re
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import lenet_cpp
from lenet_cpp.agreement import compare
from lenet_cpp.cli.convert_model import main as convert_main

pytest.importorskip("onnx", reason="the models of these tests are made with it")
pytest.importorskip("onnxruntime", reason="the answers are compared with its own")

# Where there is no onnx, the lines above skip this file; importing it first would fail.
from onnx_files import model, reference

from predictor_cases import in_child
from shared_models import both_formats

# Convolutions of so many channels are rearranged by onnxruntime on any processor.
CHANNELS = 16
SIZES = [(48, 192), (48, 320), (32, 100), (33, 41), (41, 33), (96, 17), (3, 40)]
CONV = """
    c = Conv<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x, w, b) r = Relu(c)
    p = MaxPool<kernel_shape=[3,3], strides=[2,2]>(r)
"""
# The last value of each is the answer.
NETWORKS = {
    "pooled": (CONV + "m = GlobalAveragePool(p) f = Flatten(m) y = MatMul(f, k)", "N, 5"),
    # As PyTorch writes a view of (batch, channels, -1): its sizes are computed from the input's.
    "tokens": (
        CONV
        + """
        s = Shape(p) n = Gather<axis=0>(s, zero) o = Gather<axis=0>(s, one)
        nu = Unsqueeze(n, first) ou = Unsqueeze(o, first) to = Concat<axis=0>(nu, ou, rest)
        v = Reshape(p, to) t = Transpose<perm=[0,2,1]>(v) q = MatMul(t, k)
        y = ReduceMean<axes=[1], keepdims=0>(q)
        """,
        "N, 5",
    ),
    # Its output is as large as the image.
    "whole": (
        "c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, b) y = Sigmoid(c)",
        f"N, {CHANNELS}, H, W",
    ),
}


def tensors():
    random = np.random.default_rng(3)
    values = {"w": random.standard_normal((CHANNELS, 3, 3, 3)) / 5}
    values |= {"b": random.standard_normal(CHANNELS), "k": random.standard_normal((CHANNELS, 5))}
    found = {name: array.astype("float32") for name, array in values.items()}
    found |= {name: np.array(number) for name, number in (("zero", 0), ("one", 1))}
    return found | {"first": np.array([0]), "rest": np.array([-1])}


def write(folder, name, x="N, 3, H, W"):
    nodes, y = NETWORKS[name]
    used = {key: value for key, value in tensors().items() if re.search(rf"\b{key}\b", nodes)}
    path = folder / f"{name}.onnx"
    path.write_bytes(model(nodes, f"float[{x}] x", f"float[{y}] y", used))
    return path


def images(count, height, width):
    random = np.random.default_rng([count, height, width])
    return random.uniform(-1, 1, (count, 3, height, width)).astype("float32")


@pytest.mark.parametrize("x", ["N, 3, H, W", "2, 3, H, W", "batch, channels, height, width"])
@pytest.mark.parametrize("name", NETWORKS)
def test_answers_for_each_size(name, x, tmp_path):
    """More sizes than are kept, so that some are compiled a second time."""
    path = write(tmp_path, name, x)
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        assert predictor.input_spec.shape[2:] == (-1, -1)
        for _ in range(2):
            for size in [*SIZES, *((20 + i, 24) for i in range(5))]:
                batch = images(2, *size)
                assert compare(reference(path, batch), predictor.run(batch)).agrees, size
        if x[0] != "2":
            for count, size in itertools.product((1, 5, 20), SIZES):
                batch = images(count, *size)
                assert compare(reference(path, batch), predictor.run(batch)).agrees, size
    with lenet_cpp.Predictor(path) as predictor:
        assert predictor.options["engine"] == "native"


@pytest.mark.parametrize("open_axis", [2, 3])
def test_one_open_size(open_axis, tmp_path):
    sizes = ["N", "3", "40", "40"]
    sizes[open_axis] = "open"
    path = write(tmp_path, "tokens", ", ".join(sizes))
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        for size in (40, 56, 40):
            shape = [40, 40]
            shape[open_axis - 2] = size
            batch = images(2, *shape)
            assert compare(reference(path, batch), predictor.run(batch)).agrees
        shape[3 - open_axis] = 41
        with pytest.raises(lenet_cpp.BadInput, match="expected shape"):
            predictor.run(images(1, *shape))


def test_an_image_has_the_same_bits_in_any_batch_on_any_thread(tmp_path):
    """And the bits of the model for images of one size."""
    fixed = write(tmp_path, "pooled", "N, 3, 48, 64").rename(tmp_path / "fixed.onnx")
    path = write(tmp_path, "pooled")
    batch = images(40, 48, 64)
    with lenet_cpp.Predictor(fixed, engine="native") as predictor:
        expected = predictor.run(batch)
    with lenet_cpp.Predictor(path, engine="native", threads=3) as predictor:
        assert np.array_equal(predictor.run(batch), expected)
        assert np.array_equal(predictor.run(batch[7:8]), expected[7:8])


def test_threads_with_sizes_of_their_own(tmp_path):
    """Each size is compiled once, also when threads want it at the same time."""
    path = write(tmp_path, "tokens")
    random = np.random.default_rng(1)
    sizes = [tuple(map(int, size)) for size in random.integers(16, 90, (50, 2))]
    expected = {size: reference(path, images(2, *size)) for size in sizes}
    with lenet_cpp.Predictor(path, engine="native") as predictor, ThreadPoolExecutor(8) as pool:
        clones = [predictor.clone() for _ in range(8)]

        def work(clone):
            order = np.random.default_rng(id(clone) % 1000).integers(0, len(sizes), 40)
            for size in (sizes[i] for i in order):
                assert compare(expected[size], clone.run(images(2, *size))).agrees, size

        list(pool.map(work, clones))
    # Two forms of one size would be two of one that are allowed.
    with (
        lenet_cpp.Predictor(path, engine="native", max_sizes=1) as predictor,
        ThreadPoolExecutor(8) as pool,
    ):
        clones = [predictor.clone() for _ in range(8)]
        batch = images(2, *sizes[0])
        for found in pool.map(lambda clone: clone.run(batch), clones):
            assert compare(expected[sizes[0]], found).agrees


def test_what_a_size_may_be(tmp_path):
    path = write(tmp_path, "pooled")
    with lenet_cpp.Predictor(path, engine="native", max_sizes=2) as predictor:
        with pytest.raises(lenet_cpp.BadInput, match=r"does not take images of \[3, 1, 40\]"):
            predictor.run(images(1, 1, 40))
        for size in ((40, 40), (40, 41), (40, 40)):  # what was refused does not count
            batch = images(3, *size)
            assert compare(reference(path, batch), predictor.run(batch)).agrees
        with pytest.raises(lenet_cpp.Unsupported, match=r"\[1, 3, 41, 40\], and max_sizes=2"):
            predictor.clone().run(images(1, 41, 40))
        assert predictor.run(images(1, 40, 41)).shape == (1, 5)
    with pytest.raises(lenet_cpp.BadInput, match="max_sizes is -1"):
        lenet_cpp.Predictor(path, max_sizes=-1)


AVERAGES = """
    c = Conv<kernel_shape=[1,1]>(x, w1) r = AveragePool<kernel_shape=[3,3], strides=[2,2]>(c)
    p = AveragePool<kernel_shape=[3,3], strides=[2,2]>(r)
"""
END = "m = GlobalAveragePool(p) f = Flatten(m) y = MatMul(f, k)"
EMPTY = "e = Slice(x, eight, many, two) "
NOTHING_LEFT = {
    "pool": CONV + END,
    # The first gives one row of the two that there are.
    "second average": AVERAGES + END,
    "one image": "g = GlobalAveragePool(x) t = Reshape(g, gate) q = Mul(x, t)"
    + CONV.replace("(x", "(q")
    + END,
    "fill": "s = Shape(x) n = Gather(s, two) z = Sub(n, two) e = Concat<axis=0>(three, z, eight) "
    "f = ConstantOfShape(e) i = InstanceNormalization(f, ones, ones) g = GlobalAveragePool(i) "
    "m = GlobalAveragePool(x) a = Add(g, m) y = Flatten(a)",
    "normalization": EMPTY + "i = InstanceNormalization(e, ones, ones) y = Flatten(i)",
    "later normalization": EMPTY
    + "r = Relu(e) i = InstanceNormalization(r, ones, ones) y = Flatten(i)",
    "normalized groups": EMPTY
    + "r = Reshape(e, groups) i = InstanceNormalization(r, ones, ones) y = Flatten(i)",
    "reshaped with a size of 0": EMPTY + "n = Shape(e) r = Reshape<allowzero=1>(e, n) "
    "i = InstanceNormalization(r, ones, ones) y = Flatten(i)",
    "parts without values": EMPTY
    + "s, t = Split<axis=2>(e) i = InstanceNormalization(t, ones, ones) y = Flatten(i)",
    "padded": "c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, b) r = Relu(c) "
    + EMPTY.replace("(x", "(r")
    + "d = Pad(e, rows) g = Conv<kernel_shape=[1,1]>(d, w2) p = MaxPool<kernel_shape=[5,5]>(g) "
    + END,
    "joined channels": EMPTY
    + "c = Concat<axis=1>(e, e) i = InstanceNormalization(c, six, six) y = Flatten(i)",
    "pool behind an empty tensor": EMPTY
    + "c = Conv<kernel_shape=[3,3], pads=[2,1,2,1]>(e, w, b) p = MaxPool<kernel_shape=[3,3]>(c) "
    + END,
    "no padding": CONV.replace("strides=[2,2]>(r)", 'auto_pad="VALID", ceil_mode=1>(r)') + END,
    "before an unknown operator": CONV
    + "u = MeanVarianceNormalization(p) "
    + END.replace("(p)", "(u)"),
}


def tensors_of(nodes):
    """The constants that nodes take."""
    values = tensors() | {
        "w1": np.ones((CHANNELS, 3, 1, 1), "float32"),
        "ones": np.ones(3, "float32"),
    }
    values["w2"] = np.ones((CHANNELS, CHANNELS, 1, 1), "float32")
    values["six"] = np.ones(6, "float32")
    lists = {"eight": [8], "many": [999], "two": [2], "three": [1, 3], "nothing": [0]}
    lists |= {"gate": [1, 3, 1, 1], "groups": [0, 3, -1, 0], "rows": [0, 0, 1, 0, 0, 0, 1, 0]}
    values |= {name: np.array(numbers) for name, numbers in lists.items()}
    words = re.findall(r"\w+", nodes)
    return {name: values[name] for name in values if name in words}


# onnxruntime 1.32 ends the process at such an image: it divides by zero in the pools, and the
# normalization reads memory that is not there.
TOO_SMALL = """
import re, numpy, lenet_cpp

for engine in "onnxruntime", "native", "auto":
    try:
        lenet_cpp.Predictor("fixed.onnx", engine=engine)
    except lenet_cpp.Unsupported as error:
        assert re.search("a window larger|without values", str(error)), error
    else:
        print(engine, "takes the file")
small, taken = numpy.zeros((1, 3, 2, 40), "float32"), numpy.load("taken.npy")
with lenet_cpp.Predictor("any.onnx", engine="onnxruntime") as first, first.clone() as second:
    for predictor in first, second, first:
        try:
            predictor.run(small)
        except lenet_cpp.BadInput as error:
            assert "does not take images of [3, 2, 40]" in str(error), error
        else:
            print("it runs")
    numpy.save("found.npy", first.run(taken))
"""


@pytest.mark.parametrize("name", NOTHING_LEFT)
def test_nothing_is_left_of_an_image_for_onnxruntime(tmp_path, name):
    nodes = NOTHING_LEFT[name]
    for file, sizes in (("any.onnx", "H,W"), ("fixed.onnx", "2,40")):
        made = model(nodes, f"float[N,3,{sizes}] x", "float[N,K] y", tensors_of(nodes))
        (tmp_path / file).write_bytes(made)
    taken = images(1, 20, 40)
    np.save(tmp_path / "taken.npy", taken)
    assert in_child(TOO_SMALL, cwd=tmp_path) == ""
    expected = reference(tmp_path / "any.onnx", taken)
    assert compare(expected, np.load(tmp_path / "found.npy")).agrees


def test_an_image_for_which_a_tensor_is_too_large_for_onnxruntime(tmp_path):
    path = tmp_path / "any.onnx"
    nodes = 'r = Resize<mode="nearest">(x, , scales) y = ReduceMax<axes=[2,3], keepdims=0>(r)'
    scales = {"scales": np.array([1, 1, 1, 8192], "float32")}
    path.write_bytes(model(nodes, "float[N,3,H,W] x", "float[N,3] y", scales))
    with lenet_cpp.Predictor(path, engine="onnxruntime") as predictor:
        batch = images(2, 2, 4)
        assert compare(reference(path, batch), predictor.run(batch)).agrees
        said = r"does not take images of \[3, 2, 20000\].*a tensor larger"
        with pytest.raises(lenet_cpp.BadInput, match=said):
            predictor.run(images(1, 2, 20000))


def test_native_takes_no_size_below_that_of_an_average(tmp_path):
    """Networks for images of 224 end so, with a window of all of the 7 x 7 pixels."""
    nodes = (
        "c = Conv<kernel_shape=[32,32], strides=[32,32]>(x, w32) "
        "p = AveragePool<kernel_shape=[7,7], strides=[7,7]>(c) f = Flatten(p) y = MatMul(f, k)"
    )
    path = tmp_path / "any.onnx"
    used = tensors_of(nodes) | {"w32": np.full((CHANNELS, 3, 32, 32), 0.01, "float32")}
    path.write_bytes(model(nodes, "float[N,3,H,W] x", "float[N,5] y", used))
    batch = images(2, 224, 224)
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        assert compare(reference(path, batch), predictor.run(batch)).agrees
        with pytest.raises(lenet_cpp.BadInput, match="a window larger than the image"):
            predictor.run(images(2, 64, 64))


JUDGED = {
    "one image alone": ("m = GlobalAveragePool(x) y = Reshape(m, three)", "1,3", 1),
    "each image with each": (
        "m = GlobalAveragePool(x) f = Flatten(m) t = Transpose(f) y = MatMul(f, t)",
        *("N,N", 2),
    ),
    "an unknown operator": (
        "n = MeanVarianceNormalization(x) m = GlobalAveragePool(n) y = Flatten(m)",
        *("N,3", 2),
    ),
    "a tensor that is always empty, between normalizations": (
        "i = InstanceNormalization(x, ones, ones) s = Slice(i, nothing, nothing, two) "
        "c = Concat<axis=2>(s, i) j = InstanceNormalization(c, ones, ones) "
        "y = ReduceMax<axes=[2,3]>(j)",
        *("N,3,K,L", 2),
    ),
    "a window over the images": (
        "m = GlobalAveragePool(x) f = Flatten(m) t = Transpose(f) u = Unsqueeze(t, nothing) "
        "v = MaxPool<kernel_shape=[8]>(u) e = ReduceMax<axes=[2], keepdims=0>(v) y = Add(f, e)",
        *("N,3", 9),
    ),
    "an average of a larger window": (
        "p = AveragePool<kernel_shape=[3,3], strides=[4,4]>(x) y = ReduceMax<axes=[2,3]>(p)",
        *("N,3,K,L", 2),
    ),
}


@pytest.mark.parametrize("name", JUDGED)
def test_onnxruntime_judges_what_the_check_does_not_take(tmp_path, name):
    nodes, output, number = JUDGED[name]
    path = tmp_path / "any.onnx"
    made = model(nodes, "float[N,3,H,W] x", f"float[{output}] y", tensors_of(nodes))
    path.write_bytes(made)
    with lenet_cpp.Predictor(path, engine="onnxruntime") as predictor:
        for size in ((1, 1), (1, 40), (33, 7)):
            batch = images(number, *size)
            assert compare(reference(path, batch), predictor.run(batch)).agrees, size


def test_a_network_that_takes_no_size_is_refused_when_it_is_loaded(tmp_path):
    """A matrix for 7 features meets the 16 that there are, whatever the size."""
    nodes = CONV + "m = GlobalAveragePool(p) f = Flatten(m) y = MatMul(f, k)"
    used = {key: value for key, value in tensors().items() if key in "wbk"}
    used["k"] = used["k"][:7]
    path = tmp_path / "odd.onnx"
    path.write_bytes(model(nodes, "float[N,3,H,W] x", "float[N,5] y", used))
    said = r"does not take images of \[3, 224, 224\].*; use engine onnxruntime instead of native$"
    with pytest.raises(lenet_cpp.Unsupported, match=said):
        lenet_cpp.Predictor(path, engine="native")
    path.write_bytes(
        model("y = MeanVarianceNormalization(x)", "float[N,3,H,W] x", "float[N,3,H,W] y")
    )
    with pytest.raises(lenet_cpp.Unsupported, match="MeanVarianceNormalization") as raised:
        lenet_cpp.Predictor(path, engine="native")
    assert str(raised.value).count("instead of native") == 1


def test_what_outputs_are_said_to_be(tmp_path):
    """One of the sizes that are tried tells nothing of what the outputs depend on; two do."""
    weights = np.ones((3 * 32 * 32, 5), "float32")
    one = model(
        "f = Flatten(x) y = MatMul(f, k)", "float[N,3,H,W] x", "float[N,5] y", {"k": weights}
    )
    (tmp_path / "one.onnx").write_bytes(one)
    for path, shape in (
        (tmp_path / "one.onnx", (-1, -1)),
        (write(tmp_path, "pooled"), (-1, 5)),
        (write(tmp_path, "whole"), (-1, CHANNELS, -1, -1)),
        (write(tmp_path, "pooled", "N, C, 20, 20"), (-1, 5)),  # whose size is not open
    ):
        with lenet_cpp.Predictor(path, engine="native") as predictor:
            assert predictor.output_spec.shape == shape, path


# Each is followed by two sizes of images.
DEPENDING = {
    # It cuts off nothing of small images.
    "slice": ("a = Relu(x) y = Slice(a, zero, twenty, two)", (40, 20), (10, 30)),
    # The network takes only 299 x 299 of the sizes that are tried.
    "rows": (
        "m = MaxPool<kernel_shape=[1,1], strides=[2,2]>(x) y = Reshape(m, by_5)",
        (9, 1),
        (9, 3),
    ),
    # It has one row for the first size that is tried, and two for another one.
    "parts": ("a = Relu(x) y = Reshape(a, whole)", (224, 224), (448, 224)),
}


def write_depending(folder, name, batch):
    nodes, *sizes = DEPENDING[name]
    values = {"zero": [0], "twenty": [20], "two": [2], "by_5": [-1, 5], "whole": [-1, 1, 224, 224]}
    used = {key: np.array(value) for key, value in values.items() if f" {key}" in nodes}
    path = folder / f"{name}.onnx"
    path.write_bytes(model(nodes, f"float[{batch}, 1, H, W] x", "float y", used))
    return path, sizes


@pytest.mark.parametrize("engine", ["native", "plain", "auto"])
@pytest.mark.parametrize("batch", ["1", "N"])
@pytest.mark.parametrize("name", DEPENDING)
def test_an_output_whose_shape_is_another_for_other_images(tmp_path, name, batch, engine):
    """The sizes that were tried do not tell its shape for all others."""
    path, sizes = write_depending(tmp_path, name, batch)
    with lenet_cpp.Predictor(path, engine=engine) as predictor, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the output 'y' has the shape")  # of other sizes
        for size in sizes:
            one = images(1, *size)[:, :1]
            assert compare(reference(path, one), predictor.run(one)).agrees, size


def test_several_images_that_do_not_have_a_row_each(tmp_path):
    path, (size, other) = write_depending(tmp_path, "parts", "N")
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        three = images(3, *size)[:, :1]
        assert compare(reference(path, three), predictor.run(three)).agrees
        expected = (
            r"^the output 'y' has no row for each image, but the shape \[6, 1, 224, 224\] for"
        )
        with pytest.raises(lenet_cpp.Unsupported, match=expected):
            predictor.run(images(3, *other)[:, :1])


@pytest.mark.parametrize("engine", ["native", "onnxruntime"])
def test_an_image_with_several_rows_has_no_class(tmp_path, run_program, program, engine):
    """The first of the rows is not the answer for the image."""
    nodes = "v = Reshape(x, by) y = MatMul(v, k)"
    values = {"by": np.array([-1, 3 * 32 * 32]), "k": np.ones((3 * 32 * 32, 5), "float32")}
    path = tmp_path / "rows.onnx"
    path.write_bytes(model(nodes, "float[1, 3, H, W] x", "float[R, 5] y", values))
    steps = [{"type": "Normalize", "scale": 1, "mean": [0] * 3, "std": [255] * 3}]
    described = {"format_version": 1, "mode": "RGB", "steps": [*steps, {"type": "ToCHW"}]}
    (tmp_path / "preprocess.json").write_text(json.dumps(described))
    for size, status, said in (
        ((32, 32), 0, ""),
        ((64, 32), 6, "is no classifier: its output is [2, 5]"),
    ):
        Image.new("RGB", size).save(tmp_path / "a.png")
        given = (f"--model_file={path}", f"--engine={engine}", str(tmp_path / "a.png"))
        done = run_program(*given, program=program.with_name("lenet_classify"))
        assert done.returncode == status, done.stderr
        assert said in done.stderr


def test_a_profile_is_of_the_size_that_ran(tmp_path):
    with lenet_cpp.Predictor(write(tmp_path, "pooled"), engine="native") as predictor:
        for height, width in ((20, 40), (24, 80)):
            predictor.run(images(1, height, width))
            first = predictor.profile(images=1, runs=1).parts[0].layers[1]
            # A 3 x 3 convolution of 3 channels, of every second row and column.
            assert first.multiply_adds == 27 * CHANNELS * (height // 2) * (width // 2), first


def test_what_is_compiled_is_shown(tmp_path):
    """The last eight sizes, with the bytes of their weights, which they share."""
    values = tensors() | {"w": np.ones((128, 3, 3, 3), "float32"), "b": np.ones(128, "float32")}
    # Equal parts of a long sum would share their weights.
    values["v"] = np.random.default_rng(3).random((256, 128, 3, 3), "float32")
    values["k"] = np.ones((256, 5), "float32")
    nodes = NETWORKS["pooled"][0].replace("Relu(c)", "Conv<strides=[2,2]>(c, v)")
    used = {name: values[name] for name in "wbvk"}
    path = tmp_path / "wide.onnx"
    path.write_bytes(model(nodes, "float[N,3,H,W] x", "float[N,5] y", used))
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        clone = predictor.clone()
        for size in [*(40 + i for i in range(9)), 44]:
            (predictor if size % 2 else clone).run(images(2, size, 80))
        profile = predictor.profile(images=1, runs=1)
    wanted = [f"3x{size}x80" for size in (41, 42, 43, 45, 46, 47, 48, 44)]
    assert list(profile.compiled_sizes) == wanted
    for size in wanted:
        assert f"{size} (" in profile.table
    # Padded to whole vectors, beside what is too small to be shared.
    weights, small = sum(array.nbytes for array in used.values()), 2**17
    for found in profile.compiled_sizes.values():
        assert weights <= found <= weights + small
    assert weights <= profile.compiled_bytes <= weights + 8 * small
    assert weights > 8 * small
    with lenet_cpp.Predictor(engine="native") as predictor:
        assert predictor.profile(runs=1).compiled_sizes == {}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Paddle's network
def test_a_network_of_paddle(tmp_path):
    paddle = pytest.importorskip("paddle", reason="it exports and runs the network")
    paddle.seed(1)
    network = paddle.vision.models.mobilenet_v3_small(num_classes=7)
    for path in both_formats(network, (3, None, None), tmp_path):
        with (
            lenet_cpp.Predictor(path, engine="native") as predictor,
            lenet_cpp.Predictor(path, engine="paddle", accelerator="plain") as theirs,
        ):
            for count, size in itertools.product((1, 5), SIZES):
                batch = images(count, *size)
                assert compare(theirs.run(batch), predictor.run(batch)).agrees, size


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_sizes_share_weights_of_groups_and_of_int8(precision, tmp_path):
    """Eight sizes take hardly more than one."""
    random = np.random.default_rng(4)
    if precision == "fp32":  # groups of 24 channels, which are no whole vectors
        values = {"w": random.standard_normal((192, 24, 3, 3)).astype("float32")}
        values["v"] = random.standard_normal((192, 3, 1, 1)).astype("float32")
        nodes = "a = Conv(x, v) c = Conv<group=8>(a, w)"
    else:
        values = {"w": random.integers(-127, 128, (128, 3, 15, 15)).astype("int8")}
        values |= {"s": np.float32(2**-8), "t": np.float32(2**-10)}
        values |= {"z": np.uint8(128), "o": np.int8(0)}
        nodes = """q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
            f = DequantizeLinear(w, t, o) c = Conv(d, f)"""
    values = {name: np.asarray(value) for name, value in values.items()}
    path = tmp_path / "m.onnx"
    path.write_bytes(
        model(f"{nodes} y = GlobalAveragePool(c)", "float[N,3,H,W] x", "float[N,C,1,1] y", values)
    )
    with lenet_cpp.Predictor(path, engine="native", precision=precision) as predictor:
        for size in range(20, 28):
            batch = images(2, size, 30)
            if precision == "int8":
                batch = np.round(batch * 127) / 256
            assert compare(reference(path, batch), predictor.run(batch)).agrees
        found = predictor.profile(images=1, runs=1)
    assert len(found.compiled_sizes) == 8
    assert min(found.compiled_sizes.values()) >= values["w"].nbytes > 2**16
    assert found.compiled_bytes < 1.1 * min(found.compiled_sizes.values()) + 8 * 2**16


WRONG = {"4,48,48": "4, 48, 48", "1,3,48,48": "1, 3, 48, 48"}


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory):
    """Paddle's network of open sizes, by the suffix of its program."""
    paddle = pytest.importorskip("paddle", reason="it exports and runs the network")
    paddle.seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Paddle's network
        network = paddle.vision.models.squeezenet1_1(num_classes=7)
        paths = both_formats(network, (3, None, None), tmp_path_factory.mktemp("squeezenet"))
    return {path.suffix: path for path in paths}


@pytest.mark.parametrize("to", ["onnx", "json", "pdmodel", "separate"])
def test_fixed_sizes(to, request, tmp_path, capfd):
    """convert --image-size: another file of the same model, for one size."""
    if to == "onnx":
        path, reader = write(tmp_path, "tokens"), "onnxruntime"
    else:
        models = request.getfixturevalue("squeezenet")
        path, reader = models[".json" if to == "json" else ".pdmodel"], "paddle"
    (path.parent / "preprocess.json").write_text("{}")
    given_sizes = [("64", (64, 64)), ("48,192", (48, 192)), ("3,40,56", (40, 56))]
    few = None if to == "onnx" else 1  # Paddle rewrites its programs in a process for each
    for given, shape in given_sizes[:few]:
        out = tmp_path / given
        convert_main([str(path), "-o", str(out), "--to", to, f"--input_shape={given}"])
        assert (out / "preprocess.json").read_text() == "{}"
        batch = images(3, *shape)
        with lenet_cpp.Predictor(path, engine=reader, accelerator="plain") as predictor:
            expected = predictor.run(batch)
        for engine in (reader, "native"):
            with lenet_cpp.Predictor(model_dir=out, engine=engine) as predictor:
                assert predictor.input_spec.shape[1:] == (3, *shape)
                assert compare(expected, predictor.run(batch)).agrees
    if to in ("pdmodel", "separate"):
        return  # as in .json
    for given, said in [*WRONG.items()][:few]:
        out = tmp_path / "wrong"
        assert convert_main([str(path), "-o", str(out), "--to", to, f"--image-size={given}"]) == 5
        assert f"takes images [3, -1, -1], not [{said}]" in capfd.readouterr().err
        assert not out.exists()
    for given in ("0,48", "-1,48"):
        with pytest.raises(SystemExit, match="2"):
            convert_main([str(path), "-o", str(out), "--to", to, f"--image-size={given}"])
        assert not out.exists()
    fixed = tmp_path / "64"
    assert convert_main([str(fixed), "-o", str(out), "--to", to, "--image-size=48"]) == 5
    assert "takes images [3, 64, 64], not [48, 48]" in capfd.readouterr().err
    assert not out.exists()


def test_what_else_has_no_sizes_to_fix(tmp_path, capfd):
    """Other files and options than those of an .onnx, and inputs that are no images of float32."""
    path = write(tmp_path, "pooled")
    (tmp_path / "model.pdmodel").touch()
    out = tmp_path / "out"
    for said, *arguments in (
        ("--to onnx needs an .onnx", str(tmp_path / "model.pdmodel")),
        ("--num-classes cannot be combined with --to onnx", str(path), "--num-classes=3"),
    ):
        with pytest.raises(SystemExit, match="2"):
            convert_main([*arguments, "-o", str(out), "--to=onnx", "--image-size=48"])
        assert said in capfd.readouterr().err
    for declared in ("uint8[N,3,H,W] x", "float[N,3,H,W] x, float[N,3,H,W] z"):
        path.write_bytes(model("y = Identity(x)", declared, declared.split("]")[0] + "] y", {}))
        arguments = [str(path), "-o", str(out), "--to=onnx", "--image-size=48"]
        assert convert_main(arguments) == 6
        assert "the ONNX model" in capfd.readouterr().err
    assert not out.exists()


def test_sizes_that_a_model_does_not_take(tmp_path, capfd):
    path = write(tmp_path, "pooled")
    out = tmp_path / "out"
    assert convert_main([str(path), "-o", str(out), "--to", "onnx", "--image-size=1,40"]) == 5
    assert "does not take images [3, 1, 40]: onnxruntime failed" in capfd.readouterr().err
    assert not out.exists()
    with pytest.raises(SystemExit, match="2"):
        convert_main([str(path), "-o", str(out), "--to=onnx"])
    assert "add --image-size" in capfd.readouterr().err


def test_files_of_several_sizes(run_program, program, tmp_path):
    """More sizes than lenet_classify collects; in the order of the files whatever the batches."""
    path = write(tmp_path, "pooled")
    numbers = {"scale": 1 / 255, "mean": [0.5] * 3, "std": [0.25] * 3}
    steps = [{"type": "Normalize", **numbers}, {"type": "ToCHW"}]
    described = {"format_version": 1, "mode": "RGB", "steps": steps}
    (tmp_path / "preprocess.json").write_text(json.dumps(described))
    sizes = [*SIZES, *((20 + i, 24) for i in range(5))]
    files = []
    for i, size in enumerate(sizes * 3):
        files.append(tmp_path / f"{i:02}.png")
        pixels = np.random.default_rng(i).integers(256, size=(*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(files[-1])
    small = tmp_path / "40.png"
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(small)

    def classify(*arguments):
        options = (f"--model_file={path}", "--format=json", "--topk=5", *arguments)
        return run_program(*options, program=program.with_name("lenet_classify"))

    found = [json.loads(classify(f"--batch_size={n}", *files).stdout) for n in (1, 2, 4, 64)]
    assert [each["file"] for each in found[0]] == [str(file) for file in files]
    assert found.count(found[0]) == 4
    for file, each in zip(files, found[0], strict=True):
        pixels = np.asarray(Image.open(file), np.float32).transpose(2, 0, 1)
        expected = reference(path, (pixels[None] / 255 - 0.5) / 0.25)[0]
        scores = {
            one["class_id"]: one[next(iter({"score", "probability"} & {*one}))]
            for one in each["predictions"]
        }
        assert max(scores, key=scores.get) == expected.argmax()
    for engine in ("native", "onnxruntime"):
        skips = ("--batch_size=2", "--skip_errors", f"--engine={engine}")
        done = classify(*skips, *files[:3], small)
        assert (done.returncode, len(json.loads(done.stdout))) == (0, 4)
        assert "does not take images of [3, 1, 1]" in done.stderr
    done = classify(f"--output_tensor={tmp_path / 'x.npy'}", *files)
    assert done.returncode == 5
    assert "--output_tensor writes images of one size" in done.stderr


def test_images_that_an_operator_joins_stay_together(tmp_path):
    """A batch that the predictor would cut: the sum of all images is 1 in onnxruntime too."""
    nodes = "m = GlobalAveragePool(x) f = Flatten(m) y = Softmax<axis=0>(f)"
    path = tmp_path / "joins.onnx"
    path.write_bytes(model(nodes, "float[N,3,H,W] x", "float[N,3] y", {}))
    images = np.random.default_rng(5).random((200, 3, 8, 8), dtype=np.float32)
    with lenet_cpp.Predictor(path, engine="onnxruntime") as predictor:
        assert predictor.run(images).sum(axis=0) == pytest.approx([1, 1, 1])


def test_an_image_that_the_model_refuses_is_named(tmp_path, run_program, program):
    """And decides nothing about what --output_tensor writes of the others."""
    nodes = "c = Conv<kernel_shape=[9,9]>(x, w) m = GlobalAveragePool(c) y = Flatten(m)"
    weights = np.random.default_rng(1).standard_normal((4, 3, 9, 9)).astype(np.float32)
    path = tmp_path / "m.onnx"
    path.write_bytes(model(nodes, "float[N,3,H,W] x", "float[N,4] y", {"w": weights}))
    steps = [
        {"type": "Normalize", "scale": 1, "mean": [0, 0, 0], "std": [255] * 3},
        {"type": "ToCHW"},
    ]
    described = {"format_version": 1, "mode": "RGB", "steps": steps}
    (tmp_path / "preprocess.json").write_text(json.dumps(described))
    for name, size in (("a.png", 4), ("b.png", 20)):
        Image.new("RGB", (size, size)).save(tmp_path / name)
    tensor = tmp_path / "taken.npy"
    images = [str(tmp_path / name) for name in ("a.png", "b.png")]
    given = (f"--model_file={path}", "--skip_errors", f"--output_tensor={tensor}", *images)
    done = run_program(*given, program=program.with_name("lenet_classify"))
    assert done.returncode == 0
    problem = f"'{images[0]}': '{path}' does not take images of [3, 4, 4]"
    assert f"1 of 2 images could not be classified: {problem}" in done.stderr
    assert np.load(tensor).shape == (1, 3, 20, 20)
