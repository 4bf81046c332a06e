"""The flags of predict, infer and py-infer, as the guides write them, and the answers they give."""

import itertools
import re
import shutil

import numpy as np
import pytest
from classifiers import ENGINES, FORMATS, MAINS, answers, run

import lenet_cpp
from lenet_cpp import InferenceEngine
from lenet_cpp.data import images


@pytest.mark.parametrize("style", ["-{}={}", "--{}={}", "-{} {}", "--{} {}"])
def test_model_flags_as_the_guide_writes_them(lenet, style, tmp_path):
    program = lenet.files("pdmodel")["model_file"]
    target = tmp_path / "out.json"
    exported = {"m": program, "p": program.with_suffix(".pdiparams")}
    trained = {"m": "LeNet", "p": lenet.params.with_suffix("")}
    for name, model in (("predict", exported), ("py_infer", exported), ("infer", trained)):
        given = {"i": lenet.photos, "b": 3, **model}
        flags = (word for pair in given.items() for word in style.format(*pair).split(" "))
        assert MAINS[name]([*flags, f"--output={target}"]) == 0, name
        assert len(answers(target)) == 8
        target.unlink()


def test_guide_commands_with_cpu(lenet, tmp_path):
    """Every flag of the guide at once."""
    program = lenet.files("pdmodel")["model_file"]
    params, target = program.with_suffix(".pdiparams"), tmp_path / "out.json"
    flags = (
        f"-m={program} -p={params} --use_gpu=0 --use_tensorrt=False --ir_optim=True --gpu_mem=8000 "
        "-b=1 --enable_benchmark=False --model_name=LeNet --cpu_threads=2 --use_mkldnn=True"
    )

    def best(name, *flags):
        image = lenet.photos / "000.png"
        assert MAINS[name](["-i", str(image), f"--output={target}", *flags]) == 0
        return answers(target)["000.png"][0][0]

    expected = best("predict", *flags.split())
    for model in (
        [f"--d={lenet.exported}", "--m=lenet.json", "--p=lenet.pdiparams"],
        [f"--d={lenet.exported}", f"--m={program}", f"--p={params}"],
        [f"-d={lenet.separate}"],
        [f"-d={lenet.separate}", "-m=__model__"],
    ):
        assert best("py_infer", "--use_gpu=No", *model) == expected


def test_model_and_params(lenet, tmp_path):
    """The names that the guide's files have."""
    program = lenet.files("pdmodel")["model_file"]
    shutil.copy(program, tmp_path / "model")
    shutil.copy(program.with_suffix(".pdiparams"), tmp_path / "params")
    target = tmp_path / "out.json"
    flags = [f"-i={lenet.photos}", "--model_name=lenet", "--topk=1", f"--output={target}"]
    flags += [f"-m={tmp_path / 'model'}", f"-p={tmp_path / 'params'}"]
    expected = lenet_cpp.classify(sorted(lenet.photos.iterdir())).labels
    for name, *more in (
        ("predict",),
        ("predict", "--engine=python"),
        ("py_infer",),
        ("py_infer", f"-d={tmp_path}"),
    ):
        assert MAINS[name]([*flags, *more]) == 0
        assert [label for [(_, label, _)] in answers(target).values()] == expected


def test_booleans():
    for flags, value in (
        *((f"--use_gpu={text}", True) for text in ("1", "True", "true", "yes", "on")),
        *((f"--use-gpu {text}", False) for text in ("0", "False", "false", "no", "off")),
        ("--use_gpu", True),
        ("--use_gpu -i x", True),
        ("--use_gpu x", True),
        ("", False),
    ):
        parsed = MAINS["infer"].make_context("", ["-i=x", "-m=x", "-p=x", *flags.split()])
        assert parsed.params["use_gpu"] is value, flags


WRONG = (
    "--use_gpu=maybe",
    "-b=0",
    "--topk=-1",
    "-i=",
    "--output=o.xls",
    "--output=",
    "--gpu_mem=-1",
)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        *(("infer", f"-m=lenet -p=x -i=x {flag}") for flag in WRONG),
        ("predict", "-i=x -p=x"),
        ("infer", "-i=x -m=lenet"),
        ("infer", "-i=x -p=x"),
        ("predict", "-m=x"),
        ("predict", "-i=x -m=x --use_onednn=1 --accelerator=plain"),
        ("predict", "-i=x -m=x --use_onednn=0 --accelerator=onednn"),
        ("predict", "-i=x -m=x --int8 --precision=bf16"),
    ],
)
def test_wrong_usage(name, flags, capsys):
    with pytest.raises(SystemExit) as caught:
        MAINS[name](flags.split())
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "error: " in line


def test_alexnets_sizes_of_the_preprocessing(lenet, tmp_path, capsys):
    """They replace sizes in preprocess.json; a step that is not in it cannot get one."""
    end = (images.Normalize(1 / 255, (0.0,), (1.0,)), images.ToCHW())
    steps = (images.Resize(size=(40, 40)), images.CenterCrop((20, 20)))
    description, target = tmp_path / "preprocess.json", tmp_path / "out.json"

    def best(short_side, size, *more):
        named = (images.Resize(short_side=short_side), images.CenterCrop((size, size)))
        images.Pipeline("L", (*(steps if more else named), *end)).save(description)
        flags = [f"-i={lenet.photos}", f"-d={lenet.exported}", f"--preprocess={description}"]
        assert MAINS["predict"]([*flags, *more, f"--output={target}"]) == 0
        return answers(target)

    assert best(36, 28) == best(0, 0, "--resize-size=36", "--crop_size", "28")
    images.Pipeline("L", end).save(description)
    flags = [f"-i={lenet.photos}", f"-d={lenet.exported}", f"--preprocess={description}"]
    assert MAINS["predict"]([*flags, "--crop-size=28"]) == 5
    assert "has no CenterCrop" in capsys.readouterr().err


def test_flags_of_the_guides_other_infer(lenet, capsys):
    """AlexNet's infer.py is predict.py here; the script alone knows its flags of TensorRT."""
    flags = ["--max-batch-size=16", "--min_subgraph_size", "3"]
    for name, arguments in (("infer", ["--model-dir=x", "-i=x.png"]), ("predict", flags)):
        with pytest.raises(SystemExit) as caught:
            MAINS[name](arguments)
        assert caught.value.code == 2
    assert "for an exported model: scripts/predict.py" in capsys.readouterr().err
    command = ("--model-dir", lenet.exported, "--img-path", lenet.photos / "000.png")
    done = run("predict", *command, *flags)
    assert done.returncode == 0
    assert re.findall("(--m[a-z-]+) has no effect: TensorRT", done.stderr) == [
        "--max-batch-size",
        "--min-subgraph-size",
    ]


@pytest.mark.parametrize(
    "case", ["lenet", "resnet", pytest.param("alexnet", marks=pytest.mark.nightly)], indirect=True
)
def test_three_ways_agree(case):
    photos = sorted(case.photos.iterdir())
    with InferenceEngine("dygraph", **case.sizes).load_predictor(case.name, case.params) as engine:
        reference = engine.run(engine.preprocess(photos))
    assert np.ptp(reference) > 0.1  # something is there to be different
    pairs = list(itertools.product(ENGINES, FORMATS))
    if case.name != "lenet":  # 45 and 230 MB take their time to load
        pairs = list(zip(ENGINES[1:], FORMATS, strict=True))
    for name, format_ in pairs:
        with InferenceEngine(name).load_predictor(**case.files(format_)) as engine:
            found = engine.run(engine.preprocess(photos))
            np.testing.assert_allclose(found, reference, rtol=1e-5, atol=1e-5)
            ids = [one.class_id for (one,) in engine.topk(found, 1)]
            assert ids == reference.argmax(axis=1).tolist()
