"""Any ONNX classifier as a Paddle model; what an operator computes is onnxruntime's word."""

import copy
import re
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from support import assert_same, run_onnx, save

import lenet_cpp
from lenet_cpp import models
from lenet_cpp.cli import import_model
from lenet_cpp.data.images import Normalize, Pipeline, Resize, ToCHW
from lenet_cpp.errors import BackendFailure, BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.formats import StateMismatch
from lenet_cpp.formats.manifest import read_manifest
from lenet_cpp.formats.onnx_metadata import read_onnx_metadata
from lenet_cpp.interchange import checks
from lenet_cpp.interchange.checks import outputs_by_route
from lenet_cpp.interchange.onnx import files as onnx_files
from lenet_cpp.interchange.onnx import import_
from lenet_cpp.interchange.onnx.import_ import import_onnx
from lenet_cpp.interchange.onnx.network import build_network
from lenet_cpp.interchange.onnx.reduce import to_steps, upgraded
from lenet_cpp.interchange.onnx.rules import RULES

_REASON = "ONNX is an extra: pip install '.[onnx]'"
onnx = pytest.importorskip("onnx", reason=_REASON)
pytest.importorskip("onnxruntime", reason=_REASON)
paddle = pytest.importorskip("paddle", reason="PaddlePaddle is an extra")

import onnx_models as made  # noqa: E402 - needs onnx

pytestmark = pytest.mark.timeout(300)


def answers(model, images):
    return run_onnx(model, images).reshape(len(images), -1)


def run_steps(steps, images):
    """What the Paddle network computes, which only names of ours reach."""
    names = [name for step in steps.steps for name in (step.output, *step.inputs)]
    assert all(re.fullmatch(r"x|[wt][0-9]+", name) for name in (*names, *steps.weights))
    options = [value for step in steps.steps for value in step.options.values()]
    assert not [value for value in options if isinstance(value, str)]
    return build_network(steps)(paddle.to_tensor(images)).numpy()


def test_every_operator_has_a_case():
    assert {one.op_type for case in made.CASES.values() for one in case.graph.node} >= RULES.keys()


EVERYWHERE = [(name, i % 4 > 0) for i, name in enumerate(made.CASES)]


@pytest.mark.parametrize(
    ("name", "exported"),
    [
        *((name, False) for name in made.CASES),
        *(pytest.param(n, True, marks=[pytest.mark.nightly] * later) for n, later in EVERYWHERE),
    ],
)
def test_an_operator_gives_the_same_answers(name, exported, tmp_path):
    source = made.CASES[name]
    onnx.checker.check_model(source, full_check=True)
    steps = to_steps(upgraded(source))
    batches = [np.random.default_rng(n).random((n, *steps.image), np.float32) for n in (1, 3)]
    expected = [answers(source, batch) for batch in batches]
    found = {"the layer": [run_steps(steps, batch) for batch in batches]}
    if exported:
        done, notes = import_._export("a.onnx", "a", steps, tmp_path)
        assert not notes
        found = outputs_by_route(done.folder, list(done.manifest.models), batches)
        assert len(found) == 4
    for route, outputs in found.items():
        for reference, output in zip(expected, outputs, strict=True):
            assert_same(reference, output, route)


def test_the_network_can_be_trained():
    network = build_network(to_steps(made.CASES["BatchNormalization"]))
    parameters = dict(network.named_parameters())
    trained = [name for name, value in parameters.items() if not value.stop_gradient]
    assert len(parameters) - len(trained) == 2  # the statistics of the normalization
    before = {name: parameters[name].numpy() for name in trained}
    images = paddle.rand([8, 3, made.SIDE, made.SIDE])
    labels = paddle.arange(8) % 4
    optimizer = paddle.optimizer.SGD(0.1, parameters=network.parameters())
    losses = []
    for _ in range(20):
        loss = paddle.nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all((parameters[name].numpy() != before[name]).any() for name in trained)


def test_a_model_of_2018_takes_any_number_of_images(tmp_path):
    path = save(made.squeezenet(), tmp_path / "squeezenet.onnx")
    described = tmp_path / "preprocess.json"
    lenet_cpp.images.imagenet(18).save(described)
    options = [f"--output={tmp_path / 'out'}", f"--preprocess={described}"]
    assert import_model.main([str(path), *options]) == 0
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.softmax, manifest.classes, manifest.num_classes) == (True, (), 5)
    images = np.random.default_rng(2).random((7, 3, 18, 18), np.float32)
    with lenet_cpp.Predictor(model_dir=tmp_path / "out") as predictor:
        assert_same(answers(path, images), predictor.run(images))
    assert (tmp_path / "out" / "preprocess.json").read_text() == described.read_text()


# As the target of an assignment in generated code, this makes a folder.
CODE = 'q=globals()[getattr(__import__("os"),"mkdir")("owned")]'


def test_no_name_becomes_code(tmp_path, monkeypatch):
    """Names are chosen so that whatever writes them into Python code would run them."""
    monkeypatch.chdir(tmp_path)
    names = [("Conv", ["input", "w1"], CODE), ("Relu", [CODE], "p=(1,)")]
    names += [("GlobalAveragePool", ["p=(1,)"], "p"), ("Flatten", ["p"], "f")]
    names += [("MatMul", ["f", "w);import os;("], "y")]
    nodes = [onnx.helper.make_node(kind, given, [out]) for kind, given, out in names]
    nodes[1].name = CODE
    weights = {"w1": made.values(8, 3, 3, 3), "w);import os;(": made.values(8, 4)}
    model = made.model(nodes, weights, 13)
    model.graph.name = model.producer_name = model.doc_string = CODE
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = CODE
    onnx_files.set_metadata(model, {"classes": ["\x1b[31m", "b", "c", "d"]})
    path = save(model, tmp_path / "hostile.onnx")
    result = import_onnx(path, tmp_path / "out").result
    assert not (tmp_path / "owned").exists()
    assert not any(CODE.encode() in file.read_bytes() for file in result.files)
    assert result.manifest.classes == ()
    images = np.random.default_rng(3).random((3, 3, made.SIDE, made.SIDE), np.float32)
    with lenet_cpp.Predictor(model_dir=tmp_path / "out") as predictor:
        assert_same(answers(path, images), predictor.run(images))


RELU = made.CASES["Relu"]
OPEN_SIZE = made.between("m = Relu(c)", shape=(3, "side", "side"))
TRAINS = made.between(
    "m, p, q = BatchNormalization<training_mode=1>(c, g, g, g, g)", {"g": made.values(8)}
)
PIXELS, NO_CLASSES = (
    made.model(f"c = Conv(input, w1) y = {last}", {"w1": made.values(8, 3, 3, 3)}, 17)
    for last in ("Relu(c)", "ReduceMean<axes=[1, 2, 3], keepdims=0>(c)")
)
TWO_OUTPUTS, FOREIGN = copy.deepcopy(RELU), copy.deepcopy(RELU)
TWO_OUTPUTS.graph.output.append(onnx.helper.make_tensor_value_info("pooled", 1, list("abcd")))
FOREIGN.graph.node[1].domain = "a.b"
FOREIGN.opset_import.append(onnx.helper.make_opsetid("a.b", 1))


@pytest.mark.parametrize(
    ("model", "error", "said"),
    [
        (made.between("m = NonZero(c)"), Unsupported, "NonZero cannot be converted; known are Abs"),
        (made.between("m = place_holder(c)"), BadModel, "not a valid ONNX model"),
        (FOREIGN, Unsupported, "'a.b.Relu' cannot be converted"),
        (OPEN_SIZE, BadInput, r"any size, \[3, -1, -1\]: say which \(--input_shape\)"),
        (made.between("m = ReduceMean(c)", channels=1), Unsupported, "over all images is not"),
        (TRAINS, Unsupported, "is supported as it is used after training only"),
        (PIXELS, Unsupported, r"is \[-1, 8, \d+, \d+\]: a classifier gives \[N, classes\]"),
        (NO_CLASSES, Unsupported, r"is \[-1\]: a classifier gives"),
        (TWO_OUTPUTS, BadInput, r"say which \(--output_name\): 'y', 'pooled'"),
    ],
)
def test_what_cannot_be_converted(model, error, said, tmp_path):
    path = save(model, tmp_path / "model.onnx")
    with pytest.raises(error, match=said):
        to_steps(onnx_files.read_onnx(path))


def test_what_was_left_open_can_be_said():
    images = np.random.default_rng(4).random((3, 3, 16, 14), np.float32)
    steps = to_steps(OPEN_SIZE, input_shape=(3, 16, 14))
    assert_same(answers(OPEN_SIZE, images), run_steps(steps, images))
    with pytest.raises(BadInput, match=r"takes images \[3, -1, -1\], not \[1, 16, 14\]"):
        to_steps(OPEN_SIZE, input_shape=(1, 16, 14))
    images = np.random.default_rng(5).random((3, 3, made.SIDE, made.SIDE), np.float32)
    chosen = to_steps(TWO_OUTPUTS, output="pooled")
    assert run_steps(chosen, images).shape == (3, 8)
    with pytest.raises(BadInput, match="no output 'z'"):
        to_steps(TWO_OUTPUTS, output="z")


def entries_of(path):
    """What the metadata says, without the program that wrote the file."""
    found = read_onnx_metadata(path)
    del found["producer_name"]
    return found


def test_damaged_metadata_is_left_out(tmp_path):
    model = copy.deepcopy(RELU)
    # Of some lengths the first byte is 128: those of a number's seven lowest bits, all zero.
    texts = {f"text{size}": "x" * size for size in range(100, 130)}
    wanted = {"classes": list("abcd"), "preprocess": {"steps": 1}, **texts}
    onnx_files.set_metadata(model, wanted)
    for key, value in {"lenet_cpp.data": "{", "lenet_cpp.top1": "NaN", "other": "1"}.items():
        model.metadata_props.add(key=key, value=value)
    path = save(model, tmp_path / "a.onnx")
    assert entries_of(path) == wanted
    with lenet_cpp.InferenceEngine("native").load_predictor(path) as engine:
        assert engine.topk(np.arange(4))[0][0].label == "d"
        with pytest.raises(BadModel, match=r"a\.onnx: the preprocessing in its metadata"):
            engine.pipeline  # noqa: B018 - the property raises when it is read
    whole = path.read_bytes()
    # In another field than ours, and in more bytes than an entry has.
    entry = onnx.StringStringEntryProto(key="lenet_cpp.fake", value="1").SerializeToString()
    other = b"\x12" + bytes([len(entry)]) + entry  # producer_name
    large = onnx.ModelProto()
    large.metadata_props.add(key="lenet_cpp.large", value=f'"{"x" * (1 << 20)}"')
    path.write_bytes(whole + other + large.SerializeToString())
    assert entries_of(path) == wanted
    for end in range(0, len(whole), 37):  # cut anywhere, or with a length that is too large
        path.write_bytes(whole[:end])
        entries_of(path)
        path.write_bytes(whole[:end] + b"\xff" * 20)
        assert entries_of(path).items() <= wanted.items()


def test_damaged_files(tmp_path, capsys):
    path, damaged = tmp_path / "model.onnx", "damaged, or is not an ONNX model"
    for content, said in ((b"", "is empty (0 bytes)"), (RELU.SerializeToString()[:500], damaged)):
        path.write_bytes(content)
        assert import_model.main([str(path), f"--output={tmp_path / 'out'}"]) == BadModel.exit_code
        message = capsys.readouterr().err
        assert said in message
        assert message.count("\n") == 1
        assert list(tmp_path.iterdir()) == [path]


def with_weights_at(location, length=8 * 3 * 3 * 3 * 4):
    model = copy.deepcopy(RELU)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": str(length)}.items():
        tensor.external_data.add(key=key, value=value)
    return model


def test_weights_beside_the_model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    data = RELU.graph.initializer[0].raw_data
    (folder / "weights.bin").write_bytes(data)
    read = onnx_files.read_onnx(save(with_weights_at("weights.bin"), folder / "a.onnx"))
    assert read == RELU
    (tmp_path / "secret.bin").write_bytes(data)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    for location in ("../secret.bin", str(tmp_path / "secret.bin"), "link.bin", ""):
        path = save(with_weights_at(location), folder / "b.onnx")
        with pytest.raises(BadModel, match="names weights outside its folder"):
            onnx_files.read_onnx(path)
    cache, blobs = tmp_path / "snapshots" / "1", tmp_path / "blobs"  # as Hugging Face's
    for each in (cache, blobs):
        each.mkdir(parents=True)
    (blobs / "1f").write_bytes(data)
    save(with_weights_at("weights.bin"), blobs / "2e")
    for name, blob in (("weights.bin", "1f"), ("a.onnx", "2e")):
        (cache / name).symlink_to(f"../../blobs/{blob}")
    assert onnx_files.read_onnx(cache / "a.onnx") == RELU
    with pytest.raises(FileNotFound, match=r"missing\.bin"):
        onnx_files.read_onnx(save(with_weights_at("missing.bin"), folder / "c.onnx"))
    with pytest.raises(BadModel, match="wrong size"):
        onnx_files.read_onnx(save(with_weights_at("weights.bin", 2**40), folder / "d.onnx"))
    (folder / "weights.bin").write_bytes(data[:-1])
    with pytest.raises(BadModel, match="truncated"):
        onnx_files.read_onnx(folder / "a.onnx")


def test_an_export_that_is_refused(tmp_path, monkeypatch):
    """A format is left out; an error keeps its kind, though it takes more than a message."""
    export_model, steps = import_.export_model, to_steps(RELU)

    def refuse_pdmodel(*arguments, **options):
        if "pdmodel" in options["formats"]:
            raise RuntimeError("a stack\nno such operator")
        return export_model(*arguments, **options)

    def refuse(*_, **__):
        raise StateMismatch(tmp_path, ["fc.weight"], [], {})

    monkeypatch.setattr(import_, "export_model", refuse_pdmodel)
    done, notes = import_._export("a.onnx", "a", steps, tmp_path)
    assert list(done.manifest.models) == ["a.json"]
    assert notes == [".pdmodel is left out: no such operator"]
    monkeypatch.setattr(import_, "export_model", refuse)
    with pytest.raises(BadModel, match=r"cannot be used.*missing fc\.weight"):
        import_._export("a.onnx", "a", steps, tmp_path)


def test_an_import_that_computes_something_else_is_refused(tmp_path, monkeypatch):
    outputs = np.array([[1.0, 2.0, 30.0]], np.float32)
    monkeypatch.setattr(checks, "outputs_by_route", lambda *_: {"it": [outputs + np.float32(4e-4)]})
    exported = SimpleNamespace(folder=tmp_path, manifest=SimpleNamespace(models={}))
    with pytest.raises(BackendFailure, match=r"what m\.onnx computes: .*; nothing was written"):
        checks.compare_routes("m.onnx", exported, [], [outputs])
    huge = made.between("m = Log(c)")  # of negative numbers
    with pytest.raises(BadModel, match="not finite"):
        import_onnx(save(huge, tmp_path / "a.onnx"), tmp_path / "out")


def test_images_are_prepared_as_the_named_network_has_them(tmp_path):
    nodes = [onnx.helper.make_node("GlobalAveragePool", ["input"], ["p"])]
    nodes.append(onnx.helper.make_node("Flatten", ["p"], ["f"]))
    nodes.append(onnx.helper.make_node("Mul", ["f", "w"], ["y"]))
    for number, (name, shape, fits) in enumerate(
        (
            ("ResNet18", (3, 32, 32), True),
            ("lenet", (1, 28, 28), True),
            ("ResNet18", (3, 32, 40), False),
            ("lenet", (3, 28, 28), False),
        )
    ):
        path = save(
            made.model(nodes, {"w": made.values(1)}, 13, shape=shape), tmp_path / f"{number}.onnx"
        )
        out = tmp_path / f"out{number}"
        if fits:
            import_onnx(path, out, model=name)
            expected = models.get(name).pipeline(shape[-1])
            assert Pipeline.load(out / "preprocess.json") == expected
        else:
            with pytest.raises(BadInput, match=f"which are not those of {name}"):
                import_onnx(path, out, model=name)
            assert not out.exists()


def colours(folder, producer="test"):
    """Write an .onnx of three classes for images of 3 x 32 x 32; return its path."""
    nodes = [onnx.helper.make_node("GlobalAveragePool", ["input"], ["p"])]
    nodes.append(onnx.helper.make_node("Flatten", ["p"], ["f"]))
    nodes.append(onnx.helper.make_node("Mul", ["f", "w"], ["y"]))
    folder.mkdir()
    model = made.model(nodes, {"w": made.values(1)}, 13, shape=(3, 32, 32))
    model.producer_name = producer
    return save(model, folder / "colours.onnx")


PREPARED = Pipeline(
    "RGB", (Resize(size=(32, 32)), Normalize(1 / 255, (0.5,) * 3, (0.3,) * 3), ToCHW())
)


def test_what_lies_beside_the_file_comes_along(tmp_path):
    """As a classifier of the .onnx uses it, which the imported one then gives the same answers."""
    path, photo = colours(tmp_path / "model"), np.full((40, 40, 3), (10, 200, 120), np.uint8)
    PREPARED.save(path.with_name("preprocess.json"))
    path.with_name("labels.txt").write_text("red\ngreen\nblue\n")
    done = import_onnx(path, tmp_path / "out")
    assert done.notes == ()
    assert Pipeline.load(tmp_path / "out" / "preprocess.json") == PREPARED
    assert read_manifest(tmp_path / "out").classes == ("red", "green", "blue")
    with lenet_cpp.Classifier(path) as source, lenet_cpp.Classifier(tmp_path / "out") as imported:
        expected, found = source(photo), imported(photo)
    assert [one.label for one in found.predictions] == [one.label for one in expected.predictions]
    # A description that the user names comes first, and the labels stay.
    given = Pipeline(
        "RGB", (*PREPARED.steps[:1], Normalize(1 / 255, (0.0,) * 3, (1.0,) * 3), ToCHW())
    )
    given.save(tmp_path / "given.json")
    import_onnx(path, tmp_path / "out", preprocess=tmp_path / "given.json")
    assert Pipeline.load(tmp_path / "out" / "preprocess.json") == given
    assert read_manifest(tmp_path / "out").classes == ("red", "green", "blue")
    path.with_name("labels.txt").write_text("red\ngreen\n")
    with pytest.raises(BadModel, match=r"model/labels\.txt' names 2 classes, the model has 3"):
        import_onnx(path, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_toolkits_description_comes_along(tmp_path):
    path = colours(tmp_path / "model")
    path.with_name("inference.yml").write_text(
        "PreProcess:\n  transform_ops:\n"
        "    - NormalizeImage: {scale: 1.0/255.0, mean: [0, 0, 0], std: [1, 1, 1], order: ''}\n"
        "    - ToCHWImage: null\n"
        "PostProcess:\n  Topk: {topk: 2, label_list: [red, green, blue]}\n"
    )
    import_onnx(path, tmp_path / "out")
    found = Pipeline.load(tmp_path / "out" / "preprocess.json")
    assert found == Pipeline.load(path.with_name("inference.yml"))
    assert found.labels == ("red", "green", "blue")


def test_a_folder_with_an_undescribed_file_of_pytorch(tmp_path, capsys):
    """The command takes the one .onnx of a folder; what it notes can be run, and is kept."""
    path = colours(tmp_path / "model", "pytorch")
    out = tmp_path / "out"
    assert import_model.main([str(path.parent), f"--output={out}"]) == 0
    note = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("note: nothing"))
    assert f"'{path}'" in note
    assert "torchvision" in note
    subprocess.run(["sh", "-c", note[note.index("printf") :]], check=True)
    with lenet_cpp.Classifier(out) as imported, lenet_cpp.Classifier(path) as source:
        with pytest.warns(UserWarning, match="nothing describes"):
            expected = source.model.pipeline
        assert imported.model.pipeline == expected
    save(onnx.load(path), path.with_name("second.onnx"))
    assert import_model.main([str(path.parent), f"--output={out}"]) == BadInput.exit_code
    assert f"name one of {path}, {path.with_name('second.onnx')}" in capsys.readouterr().err
