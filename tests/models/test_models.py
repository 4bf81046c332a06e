"""The registry, the networks against their definitions, and their exports."""

import itertools
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F  # noqa: N812 - Paddle's own convention

import lenet_cpp
import shared_models
from lenet_cpp import errors, export, models, training
from lenet_cpp.agreement import compare
from lenet_cpp.cli.export_model import main
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir
from lenet_cpp.formats import checkpoint, manifest
from lenet_cpp.models.lenet import LeNet
from lenet_cpp.training.recipes import config_from_record
from snippets import run_command

pytestmark = pytest.mark.usefixtures("one_child")

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "models.md").read_text()

# From the papers: blocks of each stage, and whether they are bottlenecks.
BLOCKS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
    200: ((3, 12, 48, 3), True),
}

# Trainable parameters with 1,000 classes. The plain networks' are widely published. A deep stem has
# 3x3x(3x32 + 32x32 + 32x64) weights and 2x(32 + 32 + 64) of normalization where the plain one has
# 7x7x3x64 and 2x64: 19,232 more. The shallow networks get a projection of 64x64 + 2x64 besides.
# The 200 layers are those of 152 with 4 and 12 further blocks of 128 and 256 filters:
# 4 x 280,064 + 12 x 1,117,184.
DEEP_STEM = 9 * (3 * 32 + 32 * 32 + 32 * 64) + 2 * (32 + 32 + 64) - (49 * 3 * 64 + 2 * 64)
PROJECTION = 64 * 64 + 2 * 64
TRAINABLE = {
    "lenet": 61_706,
    "AlexNet": 61_100_840,
    "ResNet18": 11_689_512,
    "ResNet34": 21_797_672,
    "ResNet50": 25_557_032,
    "ResNet101": 44_549_160,
    "ResNet152": 60_192_808,
    "ResNet18_vd": 11_689_512 + DEEP_STEM + PROJECTION,
    "ResNet34_vd": 21_797_672 + DEEP_STEM + PROJECTION,
    "ResNet50_vd": 25_557_032 + DEEP_STEM,
    "ResNet101_vd": 44_549_160 + DEEP_STEM,
    "ResNet152_vd": 60_192_808 + DEEP_STEM,
    "ResNet200_vd": 60_192_808 + DEEP_STEM + 4 * 280_064 + 12 * 1_117_184,
    # As torchvision (Inception without its second classifier) and Keras (MobileNetV1) count them.
    "VGG11": 132_863_336,
    "VGG13": 133_047_848,
    "VGG16": 138_357_544,
    "VGG19": 143_667_240,
    "MobileNetV1": 4_231_976,
    "MobileNetV2": 3_504_872,
    "MobileNetV3_small": 2_542_856,
    "MobileNetV3_large": 5_483_032,
    "ResNeXt50_32x4d": 25_028_904,
    "WideResNet50_2": 68_883_240,
    "SqueezeNet1_0": 1_248_424,
    "SqueezeNet1_1": 1_235_496,
    "ShuffleNetV2": 2_278_604,
    "DenseNet121": 7_978_856,
    "InceptionV3": 23_834_568,
}


def lazy(name, num_classes=None):
    """A network whose parameters have shapes but no values, which is quick."""
    with paddle.LazyGuard():
        return models.build(name, num_classes)


def blocks(depth):
    """Each block's name, the inputs, filters, size and stride of its convolutions, whether it is
    the first of its stage.
    """
    stages, bottleneck = BLOCKS[depth]
    channels, numbers = 64, itertools.count()
    for stage, count in enumerate(stages):
        width, filters = 64 << stage, (256 if bottleneck else 64) << stage
        for i in range(count):
            stride = 2 if i == 0 and stage > 0 else 1
            if bottleneck:
                convolutions = [(channels, width, 1, 1), (width, width, 3, stride)]
            else:
                convolutions = [(channels, width, 3, stride)]
            last = (width, filters, 1 if bottleneck else 3, 1)
            yield f"blocks.{next(numbers)}", [*convolutions, last], i == 0
            channels = filters


def expected_shapes(depth, classes):
    """Names and shapes in PaddleClas 2.6's order, from the definition of the network."""
    table = {}

    def add(name, inputs, filters, kernel):
        table[f"{name}.conv.weight"] = (filters, inputs, kernel, kernel)
        for each in ("weight", "bias", "_mean", "_variance"):
            table[f"{name}.bn.{each}"] = (filters,)

    for i, (inputs, filters) in enumerate([(3, 32), (32, 32), (32, 64)]):
        add(f"stem.{i}", inputs, filters, 3)
    for name, convolutions, first in blocks(depth):
        for i, (inputs, filters, kernel, _) in enumerate(convolutions):
            add(f"{name}.conv{i}", inputs, filters, kernel)
        if first:
            add(f"{name}.short", convolutions[0][0], filters, 1)
    table["fc.weight"] = (filters, classes)
    table["fc.bias"] = (classes,)
    return table


def reference(state, depth, images):
    """The network, written once more from its definition, with plain functions."""

    def norm(name, x, stride=1):
        filters = state[f"{name}.conv.weight"]
        x = F.conv2d(x, filters, stride=stride, padding=filters.shape[2] // 2)
        mean, variance, scale, shift = (
            state[f"{name}.bn.{each}"].reshape([1, -1, 1, 1])
            for each in ("_mean", "_variance", "weight", "bias")
        )
        return (x - mean) / paddle.sqrt(variance + 1e-5) * scale + shift

    def halve(x):
        """Means of 2x2 pixels; at an odd edge of those that are there."""
        edges = [(0, 0), (0, 0), *((0, size % 2) for size in x.shape[2:])]
        padded = np.pad(x.numpy(), edges, constant_values=np.nan)
        cells = padded.reshape(*x.shape[:2], padded.shape[2] // 2, 2, padded.shape[3] // 2, 2)
        return paddle.to_tensor(np.nanmean(cells, axis=(3, 5)))

    x = paddle.to_tensor(images)
    for i in range(3):
        x = F.relu(norm(f"stem.{i}", x, stride=2 if i == 0 else 1))
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for name, convolutions, first in blocks(depth):
        out = x
        for i, (*_, stride) in enumerate(convolutions):
            out = norm(f"{name}.conv{i}", F.relu(out) if i else out, stride)
        if first:
            x = norm(f"{name}.short", x if out.shape[2:] == x.shape[2:] else halve(x))
        x = F.relu(out + x)
    return (x.mean(axis=[2, 3]) @ state["fc.weight"] + state["fc.bias"]).numpy()


def pictures(count, size):
    return np.random.default_rng(size).standard_normal((count, 3, size, size)).astype("float32")


def compute(layer, images):
    layer.eval()
    with paddle.no_grad():
        return layer(paddle.to_tensor(images)).numpy()


def test_names_are_listed():
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", DOCUMENT, re.MULTILINE)
    documented = [name for row in rows for name in re.findall(r"\w+", row)]
    assert models.list() == documented[: len(models.MODELS)]
    assert models.list("*VD") == [f"ResNet{depth}_vd" for depth in (18, 34, 50, 101, 152, 200)]
    assert models.list("lenet") == ["lenet"]
    assert models.list("nothing*") == models.list("") == []


def test_registry():
    assert set(models.MODELS) == set(TRAINABLE)
    for name, spec in models.MODELS.items():
        assert spec.name == name
        assert models.get(name.upper()) is spec
        assert models.get(name.lower()) is spec
    assert models.get("lenet").stem == "lenet"
    assert models.get("AlexNet").stem == "inference"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: models.get("resnet50-vd"), "did you mean ResNet50_vd or"),
        (lambda: models.get("alexnt"), "did you mean AlexNet"),
        (lambda: models.get("transformer"), r"known: lenet, AlexNet, .*FILE\.py:NAME"),
        (lambda: models.build("lenet", image_size=32), "lenet takes images of size 28, not 32"),
        (lambda: models.build("ResNet50", image_size=31), "32 to 1024, not 31"),
        (lambda: models.build("ResNet50", 0), "classes is 0"),
    ],
)
def test_what_there_is_not(call, said):
    with pytest.raises(errors.BadInput, match=said):
        call()


def test_lenet_alone_is_for_ten_digits():
    """As the guides make it: without arguments."""
    assert LeNet()(paddle.zeros([2, 1, 28, 28])).shape == [2, 10]


@pytest.mark.parametrize("name", TRAINABLE)
def test_parameter_counts(name):
    layer = lazy(name)
    trainable = [p for p in layer.parameters() if not p.stop_gradient]
    assert sum(int(np.prod(p.shape)) for p in trainable) == TRAINABLE[name]


def test_image_sizes_of_alexnet_are_those_that_its_layers_take():
    spec = models.get("AlexNet")
    layer = lazy("AlexNet", 2)
    for parameter in layer.parameters():
        parameter.initialize()
    layer.eval()
    for size in (spec.image_sizes[0], spec.image_sizes[-1]):
        assert layer(paddle.zeros([1, 3, size, size])).shape == [1, 2]
    for size in (spec.image_sizes[0] - 1, spec.image_sizes[-1] + 1):
        with pytest.raises(errors.BadInput, match=f"223 to 254, not {size}"):
            models.build("AlexNet", image_size=size)
        with pytest.raises(ValueError, match="InvalidArgument"):
            layer(paddle.zeros([1, 3, size, size]))


def test_other_sizes_and_classes():
    assert models.get("ResNet50").shape(96) == (3, 96, 96)
    assert models.get("resnet18").class_names() == ()
    assert models.get("lenet").class_names(10)[3] == "3"
    assert models.get("lenet").class_names(3) == ()


@pytest.mark.parametrize("depth", BLOCKS)
def test_names_and_shapes_are_those_of_paddleclas(depth):
    state = lazy(f"ResNet{depth}_vd", 7).state_dict()
    found = [(name, tuple(value.shape)) for name, value in state.items()]
    assert found == list(expected_shapes(depth, 7).items())


@pytest.mark.parametrize("depth", [18, 50])
def test_resnet_vd_computes_what_its_definition_says(depth):
    layer = models.build(f"ResNet{depth}_vd", 5, seed=2)
    for size in (64, 75):  # 75 makes odd maps of 38, 19, 10, 5 and 3
        images = pictures(2, size)
        with paddle.no_grad():
            expected = reference(dict(layer.state_dict()), depth, images)
        assert np.ptp(expected, axis=0).max() > 0.01
        assert compare(expected, compute(layer, images)).agrees


# Classes and the size of images; of the first two, those that tests/cli and tests/verify use too.
EXPORTED = {"SqueezeNet1_1": (7, 64), "ResNet18_vd": (7, 64)}
EXPORTED |= {"AlexNet": (10, 224), "ResNet50_vd": (10, 64)}
QUICK, *LARGE = EXPORTED
LARGE = [pytest.param(name, marks=pytest.mark.nightly) for name in LARGE]


@pytest.fixture(scope="module", params=[QUICK, *LARGE])
def exported(request):
    """A network, and the folders of its exports: in both formats, and in the separate layout."""
    name = request.param
    described = name, *EXPORTED[name]
    return name, shared_models.exported(*described), shared_models.separate(*described)


def test_exports_agree_with_the_layer_everywhere(exported, run_program, tmp_path):
    name, folder, separate = exported
    classes, size = EXPORTED[name]
    images = pictures(2, size)
    np.save(tmp_path / "images.npy", images)
    expected = compute(models.build(name, classes, seed=shared_models.SEED), images)
    assert np.ptp(expected, axis=0).max() > 1e-3
    pdmodel, json_ = ({"model_file": folder / f"inference.{end}"} for end in ("pdmodel", "json"))
    ways = itertools.product((pdmodel, json_, {"model_dir": separate}), ("plain", "onednn"))
    openvino = [(pdmodel, "openvino")] * (name != QUICK)  # which is refused what QUICK has
    for named, accelerator in (*ways, *openvino):
        with lenet_cpp.Predictor(**named, accelerator=accelerator, check_hashes=False) as predictor:
            found = predictor.run(images)
        assert compare(expected, found).agrees, (named, accelerator)
        if name == "AlexNet" and accelerator != "onednn":
            continue  # its 230 MB take their time
        flags = [f"--{key}={value}" for key, value in named.items()]
        flags += [f"--accelerator={accelerator}", "--check_hashes=false"]
        done = run_program(*flags, "--input=images.npy", "--output=out.npy", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (np.load(tmp_path / "out.npy") == found).all(), (named, accelerator)


def test_exports_say_what_they_are(exported):
    name, folder, separate = exported
    names = {"inference.pdmodel", "inference.json", "inference.pdiparams"}
    beside = {"inference.pdiparams.info", "preprocess.json", "manifest.json", "SHA256SUMS"}
    assert {path.name for path in folder.iterdir()} == names | beside
    found = manifest.read_manifest(folder)
    assert (found.topology, found.name, found.softmax) == (name, "inference", False)
    assert (found.num_classes, found.image_size) == EXPORTED[name]
    assert found.training == {"random_parameters": {"seed": shared_models.SEED}}
    assert found.classes == ()
    assert set(manifest.verify_checksums(folder)) == names | beside - {"SHA256SUMS"}
    written = json.loads((folder / "preprocess.json").read_text())
    crop = {"type": "CenterCrop", "size": [found.image_size] * 2}
    # PaddleClas's networks are prepared as there.
    assert written["steps"][1] == crop | ({"rounding": "down"} if name.endswith("_vd") else {})
    assert (separate / "preprocess.json").read_bytes() == (folder / "preprocess.json").read_bytes()


def test_another_network_is_not_overwritten(exported):
    name, folder, _ = exported
    before = (folder / "SHA256SUMS").read_bytes()
    with pytest.raises(errors.BadInput, match=f"holds a model {name}"):
        export.export_model(None, folder, model="MobileNetV3_small", seed=0)
    assert (folder / "SHA256SUMS").read_bytes() == before


OWN_MODEL = """
import paddle
from lenet_cpp.models import ModelSpec

class Tiny(paddle.nn.Layer):
    def __init__(self, num_classes):
        super().__init__()

    def forward(this, x):
        return x.mean([2, 3])

TINY = ModelSpec("tiny", Tiny, (3, 32, 32), 2)
"""


def snippet(number):
    return re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)[number]


def test_documented_use(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = models.build("lenet", seed=8).state_dict()
    paddle.save(state, "checkpoints/lenet/lenet.pdparams")
    names = {}
    exec(snippet(0), names)
    loaded = names["layer"].state_dict()
    assert all((loaded[name].numpy() == state[name].numpy()).all() for name in state)


def test_documented_model_of_ones_own(tmp_path):
    code = snippet(1)
    assert len(code.splitlines()) < 20
    (tmp_path / "my_net.py").write_text(code)
    spec = models.resolve(str(tmp_path / "my_net.py:SPEC"))
    paddle.save(spec.build(seed=3).state_dict(), str(tmp_path / "my_net.pdparams"))
    (command,) = re.findall(r"^    python (scripts/.*my_net\.py:SPEC.*)$", DOCUMENT, re.M)
    arguments = (ROOT / "scripts" / "export_model.py", *command.split()[1:])
    done = run_command(sys.executable, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    written = manifest.read_manifest(tmp_path / "my_net")
    assert (written.topology, written.classes) == ("my_net", ("cat", "dog"))
    expected = compute(spec.build(seed=3), pictures(2, 64))
    with lenet_cpp.Predictor(model_dir=tmp_path / "my_net") as predictor:
        assert compare(expected, predictor.run(pictures(2, 64))).agrees


def test_models_of_ones_own_that_are_wrong(tmp_path):
    path = tmp_path / "tiny.py"
    with pytest.raises(errors.FileNotFound, match=r"tiny\.py"):
        models.resolve(f"{path}:TINY")
    for text, said in (("1 / 0", "ZeroDivisionError"), (OWN_MODEL, "no ModelSpec called 'Tiny'")):
        path.write_text(text)
        with pytest.raises(errors.BadInput, match=said):
            models.resolve(f"{path}:Tiny")
    # What a file says, such as a manifest, must not become code.
    with pytest.raises(errors.BadInput, match="unknown model"):
        models.get(f"{path}:TINY")
    with pytest.raises(errors.BadInput, match="has to be called self"):
        export.export_model(None, tmp_path / "o", model=models.resolve(f"{path}:TINY"), seed=0)


def test_training_takes_a_model_of_ones_own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from lenet_cpp.models import ModelSpec\n"
        "NET = ModelSpec('mine', 'lenet_cpp.models.lenet:LeNet', (1, 28, 28), 10)\n"
    )
    recipe = training.Recipe("short", batch_size=8, epochs=None, steps=1)
    config = training.TrainingConfig(recipe, f"{path}:NET")
    mnist = read_mnist_dir(sample_dir())
    training.train(config, mnist, tmp_path, report=lambda _: None)
    longer = replace(config, recipe=replace(recipe, steps=2))
    result = training.train(longer, mnist, tmp_path, resume=True, report=lambda _: None)
    assert result.complete
    record = checkpoint.load_record(tmp_path / "mine.pdparams")
    assert record["model"] == "mine"
    # The record of a stranger does not run code.
    with pytest.raises(errors.BadModel, match="unknown model"):
        config_from_record({**record, "model": f"{path}:NET"})


def test_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments, code, said in (
        ("-m resnet18", 5, "ResNet18 needs trained parameters (-p), or --seed N"),
        ("-m AlexNet --seed 0 --img_size 32", 5, "223 to 254, not 32"),
        ("-m no.py:X", 3, "no.py"),
        ("-m resnet51", 5, "did you mean ResNet50"),
        ("-m resnet18 -p http://127.0.0.1:1/w", 5, "give its sha256"),
    ):
        assert main(arguments.split()) == code
        assert said in capsys.readouterr().err
    for arguments, said in (
        (["--seed", "1", "-p", "x"], "PARAMS cannot be combined with --seed"),
        (["--combine", "x", "--seed", "1"], "--seed cannot be combined with --combine"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    small = "-m squeezenet1_1 --class_dim 3 --img_size 32 --seed 0"
    assert main(f"{small} --format separate --softmax -o s".split()) == 0
    printed = capsys.readouterr().out
    assert f"and {len(list(Path('s').iterdir())) - 10} more files" in printed
    assert "untrained" in printed
    assert manifest.read_manifest(Path("s")).num_classes == 3
    with lenet_cpp.Predictor(model_dir="s") as predictor:
        assert predictor.run(pictures(2, 32)).sum(axis=1) == pytest.approx([1, 1], abs=1e-5)
