"""InferenceEngine, which the commands use: every engine, what lies beside a model, any size."""

import json
import os
import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from classifiers import MAINS
from PIL import Image

import lenet_cpp
import shared_models
from lenet_cpp import InferenceEngine, _core, errors
from lenet_cpp.cli import export_onnx, verify
from lenet_cpp.data import images
from numpy_reference import softmax


def test_template_steps(lenet):
    engine = InferenceEngine()
    assert engine.load_predictor(*lenet.files("pdmodel").values()) is engine
    first, second = lenet.photos / "000.png", lenet.photos / "001.png"
    image = engine.preprocess(first)
    assert (image.shape, image.dtype) == ((1, 1, 28, 28), np.float32)
    expected = lenet_cpp.classify(np.asarray(Image.open(first)))
    answer = int(expected.labels[0]), float(expected.probabilities.max())
    assert engine.postprocess(engine.run(image)) == pytest.approx(answer, abs=1e-6)
    with Image.open(second) as opened:
        several = engine.preprocess([first, str(second), opened])
    np.testing.assert_array_equal(several[1], several[2])
    for wrong in (3, None, [None], []):
        with pytest.raises(lenet_cpp.BadInput):
            engine.preprocess(wrong)
    with pytest.raises(lenet_cpp.BadInput, match="topk"):
        engine.postprocess(engine.run(several))
    assert [len(row) for row in engine.topk(engine.run(several))] == [5, 5, 5]
    engine.close()
    engine.close()
    with pytest.raises(lenet_cpp.BadInput, match="load_predictor"):
        engine.run(image)


def test_topk_from_the_definition(lenet):
    logits = np.array([[0, 3, 1, 3, -2, 0, 0, 0, 0, 50]], np.float32)
    with InferenceEngine(labels=list("abcdefghij")).load_predictor(
        model_dir=lenet.exported
    ) as engine:
        (row,) = engine.topk(logits, 3)
        assert [(one.class_id, one.label) for one in row] == [(9, "j"), (1, "b"), (3, "d")]
        found = [one.probability for one in row]
        np.testing.assert_allclose(found, softmax(logits)[0, [9, 1, 3]], rtol=1e-6)
        for k in (0, 11):
            with pytest.raises(lenet_cpp.BadInput, match="classes"):
                engine.topk(logits, k)
        with pytest.raises(lenet_cpp.BadInput, match="outputs"):
            engine.topk(np.zeros((0, 10), np.float32))


@pytest.mark.parametrize("name", ["paddle", "python", "executor", "dygraph"])
def test_arrays_are_checked_in_every_engine(name, lenet):
    engine = InferenceEngine(name)
    model = ("lenet", lenet.params) if name == "dygraph" else lenet.files("json").values()
    zeros = np.zeros((2, 1, 28, 28))
    with engine.load_predictor(*model):
        assert engine.input_shape == (-1, 1, 28, 28)
        assert engine.run(zeros).shape == (2, 10)
        assert engine.run(zeros[:, :, ::-1]).dtype == np.float32
        for wrong in (zeros[:, :, 1:], zeros.astype(int), "zeros", np.full_like(zeros, np.nan)):
            with pytest.raises(lenet_cpp.BadInput):
                engine.run(wrong)
        with pytest.raises(lenet_cpp.BadInput, match="at least one"):
            engine.run(zeros[:0])
        assert engine.run(zeros).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("paddle ", {}, "unknown engine"),
        ("dygraph", {"threads": 2}, "threads"),
        ("executor", {"accelerator": "plain"}, "accelerator"),
        ("python", {"threads": 0}, "threads"),
        *((name, {"accelerator": "fast"}, "accelerator") for name in ("python", "paddle")),
        ("paddle", {"num_classes": 3}, "number of classes"),
    ],
)
def test_wrong_options(name, options, said, lenet):
    model = ("lenet", lenet.params) if name == "dygraph" else lenet.files("json").values()
    with pytest.raises(errors.BadInput, match=said):
        InferenceEngine(name, **options).load_predictor(*model)


@pytest.mark.parametrize("name", ["auto", "python", "dygraph", "executor"])
def test_unknown_options_are_refused_at_once(name):
    with pytest.raises(errors.BadInput, match=r"'thread'; did you mean 'threads'\?"):
        InferenceEngine(name, thread=2)
    with pytest.raises(errors.BadInput, match="'flux_capacitor'; choose among"):
        InferenceEngine(name, flux_capacitor=True)


def test_static_mode_is_left_as_it_was(lenet):
    import paddle

    with InferenceEngine("executor").load_predictor(model_dir=lenet.separate) as engine:
        before = paddle.get_flags("FLAGS_enable_pir_api")
        engine.run(np.zeros((1, 1, 28, 28)))
        assert paddle.in_dynamic_mode()
        assert paddle.get_flags("FLAGS_enable_pir_api") == before
        assert float(paddle.ones([2]).sum()) == 2


def test_threads_take_turns(lenet, monkeypatch):
    from lenet_cpp.paddle_engines.engines import PaddleInferenceEngine

    running, original = threading.Lock(), PaddleInferenceEngine.run

    def watched(self, batch, wanted):
        assert running.acquire(blocking=False)
        time.sleep(0.01)
        output = original(self, batch, wanted)
        running.release()
        return output

    monkeypatch.setattr(PaddleInferenceEngine, "run", watched)
    with InferenceEngine("python", memory_optim=True).load_predictor(
        model_dir=lenet.exported
    ) as engine:
        batches = [engine.preprocess(path) for path in sorted(lenet.photos.iterdir())] * 2
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(engine.run, batches))
        np.testing.assert_array_equal(found, [engine.run(batch) for batch in batches])


def test_labels_file(tmp_path):
    path = tmp_path / "labels.txt"
    for text, expected in {
        "0 tench, Tinca tinca\n1 goldfish\n": ["tench, Tinca tinca", "goldfish"],
        "tench\r\n goldfish \n\n": ["tench", "goldfish"],
        "3 doors\n5 doors\n": ["3 doors", "5 doors"],
        "0\n1\n": ["0", "1"],
        "\ufeffé\n": ["é"],
    }.items():
        path.write_text(text, encoding="utf-8")
        assert _core.read_class_names(path) == expected
    for contents, said in ((b"\xff\xfe", "labels"), (b"\n", "no label")):
        path.write_bytes(contents)
        with pytest.raises(lenet_cpp.BadInput, match=said):
            _core.read_class_names(path)


def bare_copy(source, folder):
    """A model as somebody else's export would leave it: nothing but program and parameters."""
    shutil.copytree(source, folder)
    for name in ("SHA256SUMS", "manifest.json", "preprocess.json"):
        (folder / name).unlink(missing_ok=True)
    return folder


def test_preprocessing_of_a_name_or_a_file(lenet, tmp_path):
    folder = bare_copy(lenet.exported, tmp_path / "bare")

    def predict(*flags):
        model = (f"--model_dir={folder}", f"--output={tmp_path / 'o.json'}")
        return MAINS["predict"]([f"-i={lenet.photos}", *model, *flags])

    with pytest.warns(UserWarning, match="prepared as digits"):
        assert predict() == 0
    assert predict("--model_name=lenet") == 0
    images.digit().save(tmp_path / "mine.json")
    assert predict(f"--preprocess={tmp_path / 'mine.json'}") == 0
    assert predict("--model_name=mine") == 5  # no such model
    images.digit().save(folder / "preprocess.json")
    assert predict("--model_name=mine") == 0  # needed for the report alone


@pytest.mark.parametrize("command", ["predict", "py_infer"])
def test_images_are_prepared_as_in_paddleclas_1(command, shufflenet, tmp_path):
    folder = bare_copy(shufflenet.separate, tmp_path / "bare")
    (folder / "__model__").rename(folder / "model")
    images.imagenet(library="opencv").save(tmp_path / "as_there.json")
    flags = [f"--i={shufflenet.photos}", f"-d={folder}", f"--output={tmp_path / 'o.json'}"]
    assert MAINS[command]([*flags, f"--preprocess={tmp_path / 'as_there.json'}"]) == 0
    found = (tmp_path / "o.json").read_text()
    with pytest.warns(UserWarning, match=f"for '{re.escape(str(folder / 'model'))}', so they are"):
        assert MAINS[command](flags) == 0
    assert (tmp_path / "o.json").read_text() == found
    assert MAINS[command]([*flags, f"--preprocess={tmp_path / 'none.json'}"]) == 3


def prepared(folder, photo, **options):
    with InferenceEngine(accelerator="plain", **options).load_predictor(model_dir=folder) as engine:
        return engine.preprocess(photo)


def test_a_changed_preprocess_json_is_noticed(resnet, tmp_path):
    folder = shutil.copytree(resnet.exported, tmp_path / "model", copy_function=os.symlink)
    changed = folder / "preprocess.json"
    changed.unlink()
    images.imagenet(64, library="opencv").save(changed)
    assert changed.read_text() == (resnet.exported / "preprocess.json").read_text()
    changed.write_text(changed.read_text().replace("0.485", "0.486"))
    with pytest.raises(lenet_cpp.BadModel, match=r"preprocess\.json"):
        prepared(folder, resnet.photos / "0.jpg")
    found = prepared(folder, resnet.photos / "0.jpg", preprocess=changed)
    assert (prepared(resnet.exported, resnet.photos / "0.jpg") != found).any()


def test_inference_yml_beside_the_model(resnet, tmp_path):
    for name in ("inference.pdmodel", "inference.pdiparams"):
        (tmp_path / name).symlink_to(resnet.exported / name)
    (tmp_path / "inference.yml").write_text("""\
PreProcess:
  transform_ops:
  - ResizeImage: {resize_short: 73}
  - CropImage: {size: 64}
  - NormalizeImage:
      {scale: 1.0/255.0, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], order: ''}
  - ToCHWImage:
""")
    found, expected = (
        prepared(place, resnet.photos / "1.jpg") for place in (tmp_path, resnet.exported)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def with_softmax(tmp_path_factory, lenet):
    from lenet_cpp import export

    folder = tmp_path_factory.mktemp("softmax") / "model"
    export.export_model(lenet.params, folder, model="lenet", softmax=True)
    return folder


@pytest.mark.parametrize("format_", ["pdmodel", "json"])
@pytest.mark.parametrize("bare", [False, True])
def test_softmax_is_applied_once(format_, bare, with_softmax, lenet, tmp_path):
    """Known from the manifest; without one seen from the program."""
    image = lenet.photos / "000.png"
    expected = lenet_cpp.classify(np.asarray(Image.open(image))).probabilities
    for source in (with_softmax, lenet.exported):
        folder = bare_copy(source, tmp_path / source.name) if bare else source
        made = InferenceEngine(model_name="lenet", accelerator="plain")
        with made.load_predictor(folder / f"lenet.{format_}") as engine:
            found = engine.probabilities(engine.run(engine.preprocess(image)))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    with made.load_predictor(with_softmax / f"lenet.{format_}") as engine:
        assert engine.run(engine.preprocess(image)).sum() == pytest.approx(1, abs=1e-5)


@pytest.fixture(scope="module")
def any_size(tmp_path_factory):
    """A layer of Paddle, and the folder that it was exported to, for images of 40 x 40."""
    import paddle
    from paddle import nn

    paddle.seed(1)
    convolutions = (nn.Conv2D(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2D(8, 16, 3))
    net = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(16, 5))
    folder = tmp_path_factory.mktemp("any size")
    shared_models.both_formats(net, (3, None, None), folder)
    images.imagenet(40).save(folder / "preprocess.json")
    return net, folder


@pytest.mark.parametrize("format_", ["pdmodel", "json"])
@pytest.mark.parametrize("engine", ["auto", "paddle", "python", "executor"])
def test_images_of_any_size(engine, format_, any_size, resnet):
    import paddle

    net, folder = any_size
    with InferenceEngine(engine).load_predictor(folder / f"{format_}.{format_}") as loaded:
        assert loaded.input_shape == (-1, 3, -1, -1)
        prepared = loaded.preprocess(sorted(resnet.photos.iterdir()))
        assert prepared.shape == (3, 3, 40, 40)
        for x in (prepared, np.random.default_rng(1).random((2, 3, 33, 57), np.float32)):
            expected = net(paddle.to_tensor(x)).numpy()
            np.testing.assert_allclose(loaded.run(x), expected, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(loaded.run(x[0]), loaded.run(x[:1]))
        for wrong in ((2, 4, 33, 57), (33, 57), (2, 3, 0, 57)):
            with pytest.raises(lenet_cpp.BadInput, match=r"expected shape \[N, 3, H, W\]"):
                loaded.run(np.zeros(wrong))


def test_images_that_keep_different_sizes_are_no_batch(any_size, tmp_path, capsys):
    steps = json.loads((any_size[1] / "preprocess.json").read_text())
    steps["steps"] = steps["steps"][2:]  # neither Resize nor CenterCrop
    (tmp_path / "mine.json").write_text(json.dumps(steps))
    photos = [tmp_path / f"{number}.png" for number in range(3)]
    for photo, size in zip(photos, [(30, 20), (40, 20), (30, 20)], strict=True):
        Image.new("RGB", size).save(photo)
    command = [
        f"-m={any_size[1] / 'json.json'}",
        f"--preprocess={tmp_path / 'mine.json'}",
        *map(str, photos),
    ]
    assert MAINS["predict"]([*command, "-b=3"]) == 5
    assert "1.png: 40 x 20 pixels after the steps" in capsys.readouterr().err
    assert MAINS["predict"]([*command, "-b=3", "--skip-errors", "--topk=1"]) == 0
    said = capsys.readouterr()
    problem = f"{photos[1]}: 40 x 20 pixels after the steps"
    assert f"1 of 3 images could not be classified: {problem}" in said.err
    assert [f"{photo}  " in said.out for photo in photos] == [True, False, True]
    assert MAINS["predict"]([*command, "--skip-errors"]) == 0


def test_commands_with_images_of_any_size(any_size, resnet, program, tmp_path, capsys):
    _, folder = any_size
    for name in ("predict", "py_infer"):
        flags = [f"-i={resnet.photos}", f"-m={folder / 'json.json'}", "--topk=1"]
        assert MAINS[name](flags) == 0
        assert len(capsys.readouterr().out.splitlines()) == 2 + 3
    bare = tmp_path / "bare"
    bare.mkdir()
    for suffix in ("json", "pdiparams"):
        (bare / f"net.{suffix}").symlink_to(folder / f"json.{suffix}")
    flags = [f"--model-dir={bare}", "--formats=json", "--accelerators=plain", "--batch-sizes=3"]
    flags += [f"--program={program}"]
    assert verify.main(flags) == 3
    assert "--preprocess" in capsys.readouterr().err
    assert verify.main([*flags, f"--preprocess={folder / 'preprocess.json'}"]) == 0
    pytest.importorskip("paddle2onnx", reason="export_onnx.py needs it")
    target = tmp_path / "open.onnx"
    assert export_onnx.main([str(folder / "json.json"), f"--output={target}"]) == 0
    x = np.random.default_rng(1).random((2, 3, 33, 57), np.float32)
    with lenet_cpp.Predictor(folder / "json.json") as ours, lenet_cpp.Predictor(target) as theirs:
        assert theirs.input_spec.shape == (-1, 3, -1, -1)
        np.testing.assert_allclose(ours.run(x), theirs.run(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("suffix", ["json", "pdmodel"])
def test_every_engine_gives_the_same_output(suffix, tmp_path):
    """The scores, also of a program whose first output are integers."""
    paddle = pytest.importorskip("paddle")

    class Numbered(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.linear = paddle.nn.Linear(4, 6)

        def forward(self, x):
            y = self.linear(x.mean([2, 3]).tile([1, 4]))
            return (y > 0).astype("int32"), y.astype("float64")

    layer = Numbered()
    shared_models.fixed_format(layer, [None, 1, 8, 8], tmp_path / "m", suffix)
    x = np.random.default_rng(0).random((3, 1, 8, 8), np.float32)
    expected = layer(paddle.to_tensor(x))[1].numpy().astype(np.float32)
    for name in ("paddle", "python", "executor"):
        with InferenceEngine(name).load_predictor(tmp_path / f"m.{suffix}") as engine:
            found = engine.run(x)
        assert (found.dtype, found.shape) == (np.float32, (3, 6)), name
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
