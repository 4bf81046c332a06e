"""The native engine on .onnx models that onnxruntime's quantizer wrote, QuantizeLinear and
DequantizeLinear around each operator, or operators of integers: against onnxruntime, which computes
them by the definition when it optimizes nothing.
"""

import numpy as np
import onnx_files
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare
from processor import INSTRUCTION_SETS, needs_vnni, processor_has

onnx = pytest.importorskip("onnx", reason="the models of these tests are made with it")
quantization = pytest.importorskip("onnxruntime.quantization")
from onnxruntime.quantization import shape_inference  # noqa: E402

AVAILABLE = [name for name in INSTRUCTION_SETS if processor_has(name)]
OPTIONS = {"engine": "native", "precision": "int8"}
UINT8, INT8 = quantization.QuantType.QUInt8, quantization.QuantType.QInt8
UNSIGNED = {"activation_type": UINT8}
ONE_SCALE = UNSIGNED | {"per_channel": False}
ZERO_POINTS = ONE_SCALE | {"weight_type": UINT8, "WeightSymmetric": False}
INTEGERS = {"quant_format": quantization.QuantFormat.QOperator}
SETTINGS = {
    "uint8": UNSIGNED,
    "symmetric uint8": UNSIGNED | {"symmetric": True},
    "int8": {"activation_type": INT8},
    "symmetric int8": {"activation_type": INT8, "symmetric": True},
    "one scale": ONE_SCALE,
    "weights with a zero point": ZERO_POINTS,
    "operators of integers": UNSIGNED | INTEGERS,
    "the same, one scale": ZERO_POINTS | INTEGERS,
    "weights quantized by the model": {"activation_type": INT8, "AddQDQPairToWeight": True},
}
"""The arguments of quantize_static, and its extra options."""
BY_DEFINITION = [name for name in SETTINGS if "quant_format" not in SETTINGS[name]]
"""Of operators of integers onnxruntime refuses unusual scales."""


def network(seed):
    """A float model: a first layer, a bottleneck with each channel by itself, what is added, pools,
    channels that are no multiple of a vector.
    """
    rng = np.random.default_rng(seed)
    a, b, c = (int(n) for n in rng.choice([3, 8, 16, 20, 33, 64, 70], 3))
    size, stride, groups = (int(rng.choice(each)) for each in ([17, 28], [1, 2], [1, 2]))
    b *= groups
    tensors = {}

    def weights(name, *shape):
        scale = np.sqrt(2 / np.prod(shape[1:])) * (0.5 + rng.random((shape[0],) + (1,) * 3))
        values = rng.standard_normal((*shape, 1, 1)[:4]) * scale
        tensors[name] = values.reshape(shape).astype("f4")
        tensors[name + "b"] = rng.standard_normal(shape[0]).astype("f4") * 0.3

    weights("w0", a, 3, 7, 7)
    weights("w1", b, a, 1, 1)
    weights("w2", b, 1, 3, 3)
    weights("w3", b, b // groups, 3, 3)
    weights("w4", c, b, 1, 1)
    weights("w5", c, c, 3, 3)
    weights("w6", 10, c)
    tensors |= {"low": np.float32(0), "high": np.float32(6), "flat": np.array([0, -1])}
    nodes = f"""
        c0 = Conv <strides = [2, 2], pads = [3, 3, 3, 3]> (x, w0, w0b)
        r0 = Relu (c0)
        p0 = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (r0)
        c1 = Conv (p0, w1, w1b)
        r1 = Clip (c1, low, high)
        c2 = Conv <strides = [{stride}, {stride}], pads = [1, 1, 1, 1], group = {b}> (r1, w2, w2b)
        r2 = Clip (c2, low, high)
        c3 = Conv <dilations = [2, 1], pads = [2, 1, 2, 1], group = {groups}> (r2, w3, w3b)
        s3 = Add (c3, r2)
        c4 = Conv (s3, w4, w4b)
        c5 = Conv <pads = [1, 1, 1, 1]> (c4, w5, w5b)
        s5 = Add (c4, c5)
        r5 = Relu (s5)
        p5 = GlobalAveragePool (r5)
        f = Reshape (p5, flat)
        y = Gemm <transB = 1> (f, w6, w6b)
    """
    return onnx_files.model(
        nodes, f"float[N,3,{size},{size}] x", "float[N,10] y", tensors
    ), rng.standard_normal((16, 3, size, size)).astype("f4")


def mobile_network(seed):
    """A float model of what MobileNetV3, EfficientNet and ShuffleNet have: functions with a curve,
    a product with a number for each channel, channels that change places.
    """
    rng = np.random.default_rng(seed)
    c = int(rng.choice([8, 16, 20, 36]))
    shapes = {"w0": (c, 3, 3, 3), "w1": (c, c, 1, 1), "w2": (c // 2, 1, 3, 3)}
    tensors = {
        name: rng.standard_normal(shape).astype("f4") * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        for name, shape in shapes.items()
    }
    tensors |= {name + "b": rng.standard_normal(shapes[name][0]).astype("f4") for name in shapes}
    tensors["w3"] = rng.standard_normal((c, 10)).astype("f4")
    lists = {"pairs": [0, 2, c // 2, 17, 17], "whole": [0, c, 17, 17], "flat": [0, -1]}
    tensors |= {name: np.array(sizes) for name, sizes in lists.items()}
    curve = rng.choice(["HardSigmoid", "Sigmoid"])
    nodes = f"""
        c0 = Conv <pads = [1, 1, 1, 1]> (x, w0, w0b)
        h0 = HardSwish (c0)
        p0 = GlobalAveragePool (h0)
        c1 = Conv (p0, w1, w1b)
        g1 = {curve} (c1)
        m1 = Mul (h0, g1)
        r1 = Reshape (m1, pairs)
        t1 = Transpose <perm = [0, 2, 1, 3, 4]> (r1)
        s1 = Reshape (t1, whole)
        a2, b2 = Split <axis = 1> (s1)
        c2 = Conv <pads = [1, 1, 1, 1], group = {c // 2}> (a2, w2, w2b)
        j2 = Concat <axis = 1> (b2, c2)
        g2 = Sigmoid (j2)
        m2 = Mul (g2, j2)
        n2 = LeakyRelu <alpha = 0.1> (m2)
        p2 = GlobalAveragePool (n2)
        f = Reshape (p2, flat)
        y = MatMul (f, w3)
    """
    return onnx_files.model(
        nodes, "float[N,3,17,17] x", "float[N,10] y", tensors
    ), rng.standard_normal((16, 3, 17, 17)).astype("f4")


def token_network(seed):
    """A float model of tokens between convolutions: norms, attention in windows of several shapes,
    products of tokens that lie on any axis, sums; a convolution of tokens that became pixels again.
    """
    rng = np.random.default_rng(seed)
    width, heads = int(rng.choice([16, 24, 40])), int(rng.choice([1, 2, 4]))
    each, hidden, odd = width // heads, int(rng.choice([2, 3])) * width, int(rng.choice([9, 17]))
    tensors = {}

    def weights(name, *shape):
        taps = np.prod(shape[1:]) if len(shape) == 4 else shape[0]
        values = rng.standard_normal(shape) * np.sqrt(1.5 / taps) * (0.5 + rng.random(shape[-1:]))
        tensors[name] = values.astype("f4")
        outputs = shape[0] if len(shape) == 4 else shape[-1]
        tensors[name + "b"] = rng.standard_normal(outputs).astype("f4") * 0.3

    weights("w0", width, 3, 4, 4)
    weights("qkv", width, 3 * width)
    weights("out", width, width)
    weights("up", width, hidden)
    weights("down", hidden, width)
    weights("first", width, odd)
    weights("again", odd, width)
    del tensors["againb"]
    weights("w1", width, width, 3, 3)
    weights("head", width, 10)
    lists = {
        "flat": [-1, width, 36],
        "windows": [-1, 2, 3, 2, 3, width],
        "each": [-1, 9, width],
        "apart": [-1, 9, 3, heads, each],
        "whole": [-1, 9, width],
        "rows": [-1, 2, 2, 3, 3, width],
        "tokens": [-1, 36, width],
        "pixels": [-1, width, 6, 6],
        "q": 0,
        "k": 1,
        "v": 2,
    }
    tensors |= {name: np.array(sizes) for name, sizes in lists.items()}
    tensors |= {"scale": np.float32(each**-0.5), "half": np.float32(0.5), "unit": np.float32(1)}
    tensors["root"] = np.float32(np.sqrt(2))
    for name in ("g1", "g2"):
        tensors[name] = (1 + rng.standard_normal(width) / 5).astype("f4")
    tensors["position"] = rng.standard_normal((1, 36, width)).astype("f4") * 0.3
    nodes = """
        c0 = Conv <strides = [4, 4]> (x, w0, w0b)
        f0 = Reshape (c0, flat)
        t0 = Transpose <perm = [0, 2, 1]> (f0)
        x0 = Add (t0, position)
        n0 = LayerNormalization <axis = -1> (x0, g1)
        r0 = Reshape (n0, windows)
        t1 = Transpose <perm = [0, 1, 3, 2, 4, 5]> (r0)
        w = Reshape (t1, each)
        m0 = MatMul (w, qkv)
        a0 = Add (m0, qkvb)
        r1 = Reshape (a0, apart)
        t2 = Transpose <perm = [2, 0, 3, 1, 4]> (r1)
        query = Gather <axis = 0> (t2, q)
        key = Gather <axis = 0> (t2, k)
        value = Gather <axis = 0> (t2, v)
        turned = Transpose <perm = [0, 1, 3, 2]> (key)
        scores = MatMul (query, turned)
        scaled = Mul (scores, scale)
        s0 = Softmax <axis = -1> (scaled)
        m1 = MatMul (s0, value)
        t3 = Transpose <perm = [0, 2, 1, 3]> (m1)
        r2 = Reshape (t3, whole)
        m2 = MatMul (r2, out)
        a2 = Add (m2, outb)
        r3 = Reshape (a2, rows)
        t4 = Transpose <perm = [0, 1, 3, 2, 4, 5]> (r3)
        r4 = Reshape (t4, tokens)
        x1 = Add (x0, r4)
        n1 = LayerNormalization <axis = -1> (x1, g2)
        m3 = MatMul (n1, up)
        a3 = Add (m3, upb)
        d3 = Div (a3, root)
        e3 = Erf (d3)
        u3 = Add (e3, unit)
        p3 = Mul (a3, u3)
        h3 = Mul (p3, half)
        m4 = MatMul (h3, down)
        a4 = Add (m4, downb)
        x2 = Add (x1, a4)
        t5 = Transpose <perm = [1, 0, 2]> (x2)
        m5 = MatMul (t5, first)
        a5 = Add (m5, firstb)
        r5 = Relu (a5)
        m6 = MatMul (r5, again)
        t6 = Transpose <perm = [1, 2, 0]> (m6)
        i6 = Reshape (t6, pixels)
        c6 = Conv <pads = [1, 1, 1, 1]> (i6, w1, w1b)
        r6 = Relu (c6)
        p6 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r6)
        g6 = ReduceMean <axes = [2, 3], keepdims = 0> (p6)
        y = Gemm (g6, head, headb)
    """
    return onnx_files.model(
        nodes, "float[N,3,24,24] x", "float[N,10] y", tensors
    ), rng.standard_normal((16, 3, 24, 24)).astype("f4")


def quantized(folder, name, given, model, images):
    """Return the path of the quantized model."""
    types = {key: given[key] for key in given if key.endswith("_type")}
    options = {"ActivationSymmetric": given.get("symmetric", False), "WeightSymmetric": True}
    options |= {key: value for key, value in given.items() if key[0].isupper()}
    (folder / "float.onnx").write_bytes(model)
    prepared, path = folder / "prepared.onnx", folder / f"{name}.onnx"
    shape_inference.quant_pre_process(folder / "float.onnx", prepared)
    calibration = iter([{"x": images}])

    class Reader(quantization.CalibrationDataReader):
        def get_next(self, left=calibration):
            return next(left, None)

    quantization.quantize_static(
        prepared,
        path,
        Reader(),
        quant_format=given.get("quant_format", quantization.QuantFormat.QDQ),
        per_channel=given.get("per_channel", True),
        extra_options=options,
        **{"weight_type": INT8} | types,
    )
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """By settings and seed: the quantized model and images."""
    folder = tmp_path_factory.mktemp("qdq")
    found = {}
    for index, (name, given) in enumerate(SETTINGS.items()):
        for seed in range(3 * index, 3 * index + 3):
            model, images = mobile_network(seed) if seed % 3 == 2 else network(seed)
            path = quantized(folder, seed, given, model, images)
            found[name, seed] = path, images * np.float32(1.1)
    return found


def run(path, images, **options):
    with lenet_cpp.Predictor(path, **{**OPTIONS, **options}) as predictor:
        assert predictor.quantized
        return predictor.run(images)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_quantized_onnx_answers_as_onnxruntime_does(made, name, monkeypatch):
    """To a step or two of the output where a value lies in the middle of two integers; the same
    bits alone, in a batch, with threads, and with each instruction set.
    """
    if name == "operators of integers":
        needs_vnni()
    for (each, seed), (path, images) in made.items():
        if each != name:
            continue
        found = run(path, images)
        expected = onnx_files.reference(path, images, optimize=False)
        step = np.diff(np.unique(expected)).min()
        apart = np.abs(found - expected) / step
        assert np.median(apart) < 0.01, seed
        assert apart.max() < 2.5, seed
        # The numbers that the integers stand for, without passes.
        apart = np.abs(run(path, images, ir_optim=False) - found) / step
        assert np.median(apart) < 0.01, seed
        assert apart.max() < 2.5, seed
        for others in (
            np.concatenate([run(path, images[i : i + 1]) for i in range(3)]),
            run(path, images[:3], threads=2),
            run(path, images[:1], threads=2),
        ):
            assert (others == found[: len(others)]).all()
        assert (run(path, images, threads=2) == found).all()
        for isa in AVAILABLE:
            monkeypatch.setenv("LENET_NATIVE_ISA", isa)
            assert (run(path, images) == found).all(), isa
        monkeypatch.delenv("LENET_NATIVE_ISA")


@pytest.mark.parametrize("name", SETTINGS)
def test_a_quantized_transformer_answers_as_onnxruntime_does(tmp_path, name, monkeypatch):
    """To a step or two of the output where a value between the layers lies in the middle of two
    integers; the same bits alone, in a batch and with threads. Every matrix product with weights
    and every convolution multiplies integers.
    """
    if name == "operators of integers":
        needs_vnni()
    for seed in range(3):
        model, images = token_network(seed)
        path = quantized(tmp_path, seed, SETTINGS[name], model, images)
        images = images * np.float32(1.1)
        expected = onnx_files.reference(path, images, optimize=False)
        step = np.diff(np.unique(expected)).min()
        for isa in AVAILABLE:
            monkeypatch.setenv("LENET_NATIVE_ISA", isa)
            found = run(path, images)
            apart = np.abs(found - expected) / step
            assert np.median(apart) < 0.01, (seed, isa)
            assert apart.max() < 2.5, (seed, isa)
            for others in (run(path, images[:1]), run(path, images[:3], threads=2)):
                assert (others == found[: len(others)]).all()
            assert (run(path, images, threads=2) == found).all()
        with lenet_cpp.Predictor(path, **OPTIONS) as predictor:
            layers = predictor.profile(images=1, runs=1).parts[0].layers
        multiplied = [layer.kernel for layer in layers if layer.multiply_adds > 0]
        count = sum(kernel.endswith("_int8") for kernel in multiplied)
        # A layer whose weights do not fit 8 bits is computed as two.
        assert count == 9 if SETTINGS[name].get("WeightSymmetric", True) else 9 < count <= 18
        assert sum(kernel == "matmul" for kernel in multiplied) == 2


def test_a_quantized_onnx_is_for_int8(made):
    path, images = next(iter(made.values()))
    with pytest.raises(lenet_cpp.Unsupported, match="precision int8, or engine onnxruntime"):
        lenet_cpp.Predictor(path, engine="native")
    with lenet_cpp.Predictor(path) as predictor:
        assert predictor.options["engine"] == "onnxruntime"
    with lenet_cpp.Predictor(path, precision="int8") as predictor:
        assert predictor.options["engine"] == "native"
        assert (predictor.run(images) == run(path, images)).all()


def test_a_precision_that_no_engine_has_for_an_onnx_is_refused_with_a_way_out(made):
    """What auto advises runs; options that leave no engine are refused by name."""
    path, _ = next(iter(made.values()))
    with pytest.raises(lenet_cpp.Unsupported, match="engine does not support precision int8"):
        lenet_cpp.Predictor(path, engine="onnxruntime", precision="int8")
    for precision in ("int8", "bf16"):  # native has no other accelerator than its own
        with pytest.raises(lenet_cpp.Unsupported, match=f"precision {precision}.*use fp32"):
            lenet_cpp.Predictor(path, precision=precision, accelerator="plain")
    with pytest.raises(lenet_cpp.Unsupported, match=r"quantized.*int8|avx512_bf16"):
        lenet_cpp.Predictor(path, precision="bf16")


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_integers_without_a_zero_point_are_left_to_onnxruntime(tmp_path, dtype):
    """They have the type of the operand; it is no damage where int8 comes."""
    nodes = """q = QuantizeLinear (x, s, z)  l = com.microsoft.{}, s)
        d = DequantizeLinear (l, s, z)  y = Relu (d)"""
    tensors = {"s": np.float32(1 / 64), "z": np.array(0, dtype)}
    made = onnx_files.model(nodes.format("QLinearAdd (q, s, z, q, s, z"), tensors=tensors)
    path = onnx_files.write(tmp_path / "m.onnx", made)
    x = onnx_files.array((20, 2))
    with lenet_cpp.Predictor(path) as predictor:
        assert compare(onnx_files.reference(path, x), predictor.run(x)).agrees
    with pytest.raises(lenet_cpp.Unsupported, match="no kernel for this operator"):
        lenet_cpp.Predictor(path, **OPTIONS)
    for name in ("QLinearSigmoid", "QLinearLeakyRelu"):  # for which it aborts the process
        path.write_bytes(onnx_files.model(nodes.format(f"{name} (q, s, z"), tensors=tensors))
        for options in ({}, OPTIONS, {"engine": "onnxruntime"}):
            with pytest.raises(lenet_cpp.Unsupported, match=r"without the zero point|no kernel"):
                lenet_cpp.Predictor(path, **options)


def test_values_in_the_middle_are_rounded_as_onnx_defines(tmp_path, monkeypatch):
    """They are divided by the scale, not multiplied by its inverse, and rounded to even."""
    rng = np.random.default_rng(0)
    nodes = "q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)  y = Relu (d)"
    for scale in rng.uniform(0.01, 0.1, 20).astype(np.float32):
        tensors = {"s": scale, "z": np.uint8(100)}
        path = onnx_files.write(tmp_path / "m.onnx", onnx_files.model(nodes, tensors=tensors))
        x = (np.arange(-50, 50).astype(np.float32) + np.float32(0.5)) * scale
        expected = np.maximum(np.clip(np.rint(x / scale), -100, 155), 0) * scale
        for isa in AVAILABLE:
            monkeypatch.setenv("LENET_NATIVE_ISA", isa)
            assert (run(path, x.reshape(-1, 2)) == expected.reshape(-1, 2)).all(), isa


def with_scale(path, name, scale, folder, times=False):
    """A quantized model in which one of the scales is another, or so many times what it was."""
    model = onnx.load(path)
    (found,) = (one for one in model.graph.initializer if one.name == name)
    numbers = np.array(onnx.numpy_helper.to_array(found))
    numbers[...] = numbers * np.float32(scale) if times else scale
    found.CopyFrom(onnx.numpy_helper.from_array(numbers, name))
    (folder / "scaled.onnx").write_bytes(model.SerializeToString())
    return folder / "scaled.onnx"


@pytest.mark.parametrize("scale", [1e7, 1e20, 1e35])
def test_what_is_added_in_large_steps_takes_nothing_from_the_rest(made, tmp_path, scale):
    """One branch of a sum is 0 in all steps that large, the other is not."""
    path, images = made["uint8", 0]
    scaled = with_scale(path, "c4_scale", scale, tmp_path)
    found, expected = run(scaled, images), onnx_files.reference(scaled, images, optimize=False)
    step = np.diff(np.unique(expected)).min()
    assert np.abs(found - expected).max() < 2.5 * step
    assert np.abs(run(path, images) - expected).max() > 2.5 * step


@pytest.mark.parametrize("name", ["w5_scale", "c4_scale"])
def test_scales_must_give_numbers(made, tmp_path, name):
    path, _ = made["uint8", 0]
    for scale in (-1, 2e36, np.inf, np.nan):
        with pytest.raises(lenet_cpp.BadModel, match=r"scale|NaN or infinity"):
            lenet_cpp.Predictor(with_scale(path, name, scale, tmp_path), **OPTIONS)


@pytest.mark.nightly
@pytest.mark.parametrize("name", BY_DEFINITION)
def test_with_any_other_scale_a_model_is_refused_or_answers_alike(made, tmp_path, name):
    """Up to 100,000 times as large: beyond, a sum that is 0 in integers is what onnxruntime rounds
    off in float32.
    """
    rng = np.random.default_rng(len(name))
    models = [made[key] for key in made if key[0] == name]
    answered = 0
    for _ in range(100):
        path, images = models[rng.integers(len(models))]
        tensors = [tensor.name for tensor in onnx.load(path).graph.initializer]
        which = rng.choice([tensor for tensor in tensors if tensor.endswith("_scale")])
        times = 10 ** rng.uniform(-40, 5)
        scaled = with_scale(path, which, times, tmp_path, times=True)
        try:
            found = run(scaled, images[:2])
        except lenet_cpp.BadModel:
            continue
        expected = onnx_files.reference(scaled, images[:2], optimize=False)
        steps = np.diff(np.unique(expected))
        near = max(2.5 * steps.min() if len(steps) else 0, 1e-4 * np.abs(expected).max())
        assert np.abs(found - expected).max() <= near, (path, which, times)
        answered += 1
    assert answered > 50
