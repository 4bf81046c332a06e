"""The native engine on the classifiers of paddle.vision.models, in every format, against Paddle."""

import shutil

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.vision import models

import lenet_cpp
from half_models import NUMBERS, rounded, to_half
from lenet_cpp.agreement import TOLERANCES, compare
from lenet_cpp.interchange.onnx import export
from lenet_cpp.models import MODELS
from one_child import one_child
from processor import needs_bf16
from references import check_references
from shared_models import both_formats, once

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Paddle's networks

CLASSES = 10


def linear_layers(inputs):
    """Return what has the operators of a classifier, and not its 100 million numbers."""
    hidden = (nn.Linear(inputs, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 32), nn.ReLU())
    return nn.Sequential(*hidden, nn.Dropout(), nn.Linear(32, CLASSES))


def vgg(name):
    net = getattr(models, name)(num_classes=0)
    net.num_classes, net.classifier = CLASSES, linear_layers(512 * 7 * 7)
    return net


def alexnet():
    net = models.AlexNet(num_classes=0)
    net.num_classes = CLASSES
    net._fc6, net._fc7, net._fc8 = nn.Linear(9216, 64), nn.Linear(64, 32), nn.Linear(32, CLASSES)
    net._drop1, net._drop2 = nn.Dropout(), nn.Dropout()
    return net


def of_paddle(name, **options):
    return lambda: getattr(models, name)(num_classes=CLASSES, **options)


# By name: the size of an image, and what makes the network. Some are for one size.
QUICK = {
    "LeNet": (28, of_paddle("LeNet")),
    "AlexNet": (224, alexnet),
    "MobileNetV1": (64, of_paddle("mobilenet_v1", scale=0.25)),
    "MobileNetV3 small": (64, of_paddle("mobilenet_v3_small", scale=0.5)),
    "ResNet18": (64, of_paddle("resnet18")),
    "GoogLeNet": (224, of_paddle("googlenet")),
}
NETWORKS = QUICK | {
    "MobileNetV2": (64, of_paddle("mobilenet_v2", scale=0.25)),
    "SqueezeNet1.1": (64, of_paddle("squeezenet1_1")),
    "ShuffleNetV2": (64, of_paddle("shufflenet_v2_x0_25")),
    "VGG11": (224, lambda: vgg("vgg11")),
    "VGG16": (224, lambda: vgg("vgg16")),
    "MobileNetV3 large": (64, of_paddle("mobilenet_v3_large", scale=0.35)),
    "ResNet50": (64, of_paddle("resnet50")),
    "ResNeXt50": (64, of_paddle("resnext50_32x4d")),
    "WideResNet50": (64, of_paddle("wide_resnet50_2")),
    "SqueezeNet1.0": (64, of_paddle("squeezenet1_0")),
    "ShuffleNetV2 swish": (64, of_paddle("shufflenet_v2_swish")),
    "InceptionV3": (96, of_paddle("inception_v3")),
    "DenseNet121": (64, of_paddle("densenet121")),
}
# How layers are computed and where tensors lie depends on the size of the images.
FULL = {f"{name} as registered": (of.input_shape[-1], of.build) for name, of in MODELS.items()}


def lively(net, images):
    """Give it weights after which values neither vanish nor explode: a difference would show.

    A normalization gets statistics of all channels together: those of each, from few images, would
    make rounding errors grow from layer to layer.
    """
    rng = np.random.default_rng(0)

    def normalize(norm, inputs):
        size = float((inputs[0] ** 2).mean())
        shape = norm._variance.shape
        norm._variance.set_value((size * rng.uniform(0.5, 1.5, shape)).astype(np.float32))
        norm._mean.set_value((0.1 * size**0.5 * rng.standard_normal(shape)).astype(np.float32))

    for parameter in net.parameters():
        values = rng.standard_normal(parameter.shape)
        fan_in = parameter.shape[:1] if parameter.ndim == 2 else parameter.shape[1:]
        values *= np.sqrt(2 / np.prod(fan_in)) if parameter.ndim > 1 else 0.1
        parameter.set_value(values.astype(np.float32))
    hooks = []
    for layer in net.sublayers():
        if isinstance(layer, nn.BatchNorm | nn.BatchNorm2D):
            layer.weight.set_value(layer.weight + 1)
            hooks.append(layer.register_forward_pre_hook(normalize))
    net.eval()
    with paddle.no_grad():
        net(images)
    for hook in hooks:
        hook.remove()
    return net


def exported(name):
    """Return a folder with the network in both of Paddle's formats, images, and its outputs."""
    size, make = (NETWORKS | FULL)[name]

    def write(folder):
        paddle.seed(0)
        shape = (1 if name.lower().startswith("lenet") else 3, size, size)
        images = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
        net = lively(make(), paddle.to_tensor(images))
        with paddle.no_grad():
            outputs = net(paddle.to_tensor(images))
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        np.savez(folder / "values.npz", images, *(output.numpy() for output in outputs))
        both_formats(net, shape, folder)

    return once(f"zoo {name}", write)


@pytest.fixture(scope="module", autouse=True)
def one_converter():
    """Convert all networks in one process; tests/interchange has one for each, as users have."""
    with one_child(export, {"POLYGRAPHY_AUTOINSTALL_DEPS": "0"}):
        yield


def converted(name):
    """Return the same network as paddle2onnx writes it."""
    pytest.importorskip("paddle2onnx", reason="the exporter is its own")
    source = exported(name)

    def write(folder):
        export.export_paddle(source / "json.json", source / "json.pdiparams", folder / "model.onnx")

    return once(f"zoo {name} onnx", write) / "model.onnx"


SUFFIXES = ("json", "pdmodel", "onnx")
# Each of the small networks in one format, and two in all of them.
QUICK_CASES = [(name, SUFFIXES[number % 3]) for number, name in enumerate(QUICK)]
QUICK_CASES += [(name, one) for name in ("LeNet", "MobileNetV3 small") for one in SUFFIXES]
QUICK_CASES = list(dict.fromkeys(QUICK_CASES))
LATER = [(name, suffix) for name in NETWORKS for suffix in SUFFIXES]
LATER = [case for case in LATER if case not in QUICK_CASES] + [(name, "pdmodel") for name in FULL]


@pytest.mark.parametrize(
    ("name", "suffix"),
    [*QUICK_CASES, *(pytest.param(*case, marks=pytest.mark.nightly) for case in LATER)],
)
def test_classifier_agrees_with_paddle(name, suffix):
    images, *expected = np.load(exported(name) / "values.npz").values()
    model = converted(name) if suffix == "onnx" else exported(name) / f"{suffix}.{suffix}"
    with lenet_cpp.Predictor(model, engine="native") as predictor:
        found = {count: predictor.run_outputs(images[:count]) for count in (1, 2, 3)}
    check_references(model, images=images[:1], found=found[1])
    if name in FULL:  # up to 1.1 GB, for this test alone
        shutil.rmtree(exported(name))
    for output, one in zip(found[3], expected, strict=True):
        assert np.ptp(one, axis=0).max() > 0.01
        for count, outputs in found.items():
            assert compare(one[:count], outputs[output]).agrees, count


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("suffix", ["json", "pdmodel"])
@pytest.mark.parametrize("name", ["LeNet", "MobileNetV2", "ResNet18"])
def test_half_programs_are_computed_in_float32(name, suffix, dtype, tmp_path):
    """As the layer computes with the same numbers in float32."""
    _, make = NETWORKS[name]
    images = np.load(exported(name) / "values.npz")["arr_0"]
    path = tmp_path / f"half.{suffix}"
    to_half(exported(name) / f"{suffix}.{suffix}", path, dtype)
    paddle.seed(0)
    net = lively(make(), paddle.to_tensor(images))
    for value in (*net.parameters(), *net.buffers()):
        value.set_value(rounded(value.numpy(), dtype))
    with paddle.no_grad():
        expected = net(paddle.to_tensor(rounded(images, dtype))).numpy()
    with lenet_cpp.Predictor(path) as predictor:
        assert predictor.options["engine"] == "native"
        assert predictor.input_spec.dtype == dtype
        assert compare(expected, predictor.run(images)).agrees
        reason = predictor.profile(1, runs=1).precision_reason
    assert reason == f"the model's {dtype} numbers are widened to float32"
    assert np.ptp(expected, axis=0).max() > 0.01
    match = rf"computes in {dtype}, .*export the model in float32, or use the native engine"
    with pytest.raises(lenet_cpp.Unsupported, match=match):
        lenet_cpp.Predictor(path, engine="paddle")


@pytest.mark.parametrize("dtype", NUMBERS)
def test_what_is_said_of_a_half_program_that_does_not_run(dtype, tmp_path):
    """Nothing of check_program=false, which would not help."""
    path = tmp_path / "half.json"
    to_half(exported("LeNet") / "json.json", path, dtype)
    path.write_text(path.read_text().replace('"1.relu"', '"1.erfcx"'))
    match = rf"'1.erfcx', which lenet cannot check; .*computes in {dtype}, .*export it in float32$"
    with pytest.raises(lenet_cpp.Unsupported, match=match):
        lenet_cpp.Predictor(path)


@pytest.mark.parametrize("name", QUICK)
def test_bf16_is_within_its_tolerance(name, monkeypatch):
    """And the bits do not depend on the batch."""
    needs_bf16()
    images, *expected = np.load(exported(name) / "values.npz").values()
    model = exported(name) / "pdmodel.pdmodel"
    monkeypatch.setenv("LENET_NATIVE_BF16", "on")  # also where float32 is faster
    with lenet_cpp.Predictor(model, engine="native", precision="bf16") as predictor:
        one, three = (predictor.run_outputs(images[:count]) for count in (1, 3))
    for output, outputs in zip(three, expected, strict=True):
        found = compare(outputs, three[output], tolerance=TOLERANCES["bf16"])
        assert found.agrees, found.mismatch
        assert (one[output] == three[output][:1]).all()
