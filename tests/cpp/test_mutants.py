"""Damaged models: none may crash the process that loads it.

cpp/tests/test_programs.cc refuses hostile programs by each rule; nox -s nightly takes 2,000
mutants.
"""

import numpy as np
import pytest

import lenet_cpp
from quantized_models import quantized_by_paddle
from tools.hostile import survey as surveys
from tools.hostile.__main__ import export_tokens, main
from tools.hostile.models import parse_message, serialize
from tools.hostile.mutants import make_mutant
from tools.hostile.survey import ACCELERATORS, read_model, survey

FORMATS = [name for name in ACCELERATORS if name != "onnx"]  # of the package's model
INT8 = {"accelerators": ["onednn"], "precision": "int8"}
COUNT = 60
SEED = 7


@pytest.fixture(scope="module")
def models(model_dir):
    return {name: read_model(model_dir, name) for name in FORMATS}


@pytest.fixture(scope="module")
def quantized_dir(model_dir):
    return quantized_by_paddle(model_dir) / "onnx"


@pytest.mark.parametrize(
    ("model_format", "how"),
    [
        # nox -s nightly has more of them, and the separate layout.
        *((name, {"accelerators": ["plain", "openvino"]}) for name in ("pdmodel", "json")),
        *((name, {"accelerators": ["plain"], "engine": "native"}) for name in FORMATS),
        ("pdmodel", INT8),
        pytest.param("separate", INT8, marks=pytest.mark.nightly),
    ],
)
def test_no_mutant_kills_the_process(request, model_format, how):
    folder = request.getfixturevalue("quantized_dir" if "precision" in how else "model_dir")
    tally = survey(folder, model_format, range(COUNT), seed=SEED, **how)
    assert not tally.killers
    # Were they all harmless, or all refused, this would show nothing.
    least = 0 if "precision" in how else 2
    assert sum(tally.outcomes.values()) == COUNT
    assert tally.outcomes["refused"] > COUNT / 2
    assert tally.outcomes["equal"] > least
    assert tally.outcomes["different"] > least
    # Of Paddle's own errors few are left: our checks refuse first.
    if len(how) == 1:
        assert tally.details["refused", "BadModel"] > 0.8 * tally.outcomes["refused"]


@pytest.fixture(scope="module")
def tokens_dir(tmp_path_factory):
    """Return a folder with a network of a transformer's operators in every format."""
    pytest.importorskip("onnx", reason="the .onnx is made with it")
    folder = tmp_path_factory.mktemp("tokens")
    export_tokens(3, folder)
    return folder


@pytest.mark.parametrize("model_format", ACCELERATORS)
def test_no_mutant_of_a_transformer_kills_the_process(tokens_dir, model_format):
    how = {"accelerators": ["plain"], "engine": "native"}
    tally = survey(tokens_dir, model_format, range(COUNT), seed=SEED, **how)
    assert not tally.killers
    assert tally.outcomes["refused"] > COUNT / 2
    assert tally.outcomes["equal"] > 0


def test_mutants_are_made_the_same_each_time(models):
    for model_format, files in models.items():
        made = [make_mutant(files, model_format, 3, index) for index in range(40)]
        assert made == [make_mutant(files, model_format, 3, index) for index in range(40)]
        assert len({tuple(mutant.files.items()) for mutant in made}) > 35
        assert made[0] != make_mutant(files, model_format, 4, 0)
        assert len({mutant.change.split(": ")[1] for mutant in made}) > 8


def test_the_separate_layout_is_the_combined_one_cut_up(models):
    combined, separate = models["pdmodel"], models["separate"]
    assert b"".join(list(separate.values())[1:]) == combined["lenet.pdiparams"]
    assert len(separate) == 11
    assert serialize(parse_message(separate["__model__"], "Program")) == separate["__model__"]


def test_a_model_that_no_child_can_load_is_an_error(model_dir, monkeypatch):
    """The instrument itself: a child that dies must not pass for a refusal."""
    monkeypatch.setenv("LENET_PADDLE_LIBRARY", "/nonexistent/libpaddle.so")
    with pytest.raises(lenet_cpp.Error, match="nonexistent"):
        survey(model_dir, "json", range(3), seed=SEED, accelerators=["plain"])


@pytest.fixture
def killing(monkeypatch):
    """Let the child end at the mutant 3, as often as a list has signals."""
    signals = []

    def do_steps(_function, steps, heard, **_):
        for number, index in enumerate(steps):
            outcome = {"kind": "equal"}
            if index == 3 and signals:
                outcome = {"outcome": signals.pop(0), "detail": "stack"}
            heard(number, outcome)

    monkeypatch.setattr(surveys, "do_steps", do_steps)
    return signals


@pytest.mark.parametrize(
    ("signals", "detail", "words"),
    [
        (["SIGSEGV", "SIGABRT"], "SIGABRT", "stack"),
        (["SIGALRM", "SIGALRM"], "timeout", "stack"),
        (["SIGKILL"], "SIGKILL", "(not when alone) stack"),
    ],
)
def test_a_killer_is_tried_alone(model_dir, killing, signals, detail, words):
    killing += signals
    tally = survey(model_dir, "json", range(6), seed=2, accelerators=["plain"])
    ((mutant, outcome),) = tally.killers
    assert (mutant.name, outcome.detail, outcome.message) == ("json/2/3", detail, words)
    assert tally.outcomes == {"equal": 5, "killed": 1}


# Mutants of seed 1 that killed the process (SIGSEGV, or 10 s without an answer), one or two of
# each reason for which they are refused now.
KILLER_MUTANTS = {
    "pdmodel": [
        *(77, 105, 108, 152, 368, 378, 414, 419, 447, 906, 958, 965, 1046, 1159, 1225, 1276),
        *(1338, 1404, 1405, 1667, 1713),
    ],
    "json": [693],
    "separate": [50, 56, 235, 288, 396, 739, 883, 1442, 1544, 1801],
}


@pytest.mark.parametrize("model_format", FORMATS)
def test_mutants_that_killed_the_process_do_so_no_more(models, tmp_path, model_format):
    files = models[model_format]
    for index in KILLER_MUTANTS[model_format]:
        mutant = make_mutant(files, model_format, 1, index)
        for name, contents in mutant.files.items():
            (tmp_path / name).write_bytes(contents)
        program = tmp_path / next(iter(files))
        try:
            predictor = lenet_cpp.Predictor(program, engine="paddle", check_hashes=False)
        except (lenet_cpp.BadModel, lenet_cpp.Unsupported):
            continue
        # What killed Paddle is not part of the program that it gets.
        assert np.isfinite(predictor.run(np.zeros((2, 1, 28, 28), np.float32))).all()


def test_an_unknown_field_is_left_out(models, digits):
    program, params = models["pdmodel"].values()
    found, expected = (
        lenet_cpp.Predictor.from_bytes(program + more, params, engine="paddle").run(digits[:3])
        for more in (b"\x10\x01", b"")
    )
    assert (found == expected).all()


def test_the_command(capsys, killing, tmp_path):
    arguments = ["mutants", "--count", "6", "--formats", "json", "--accelerators", "plain"]
    arguments += ["--seed", "2"]
    assert main(arguments) == 0
    assert "killed" in capsys.readouterr().out
    killing += ["SIGSEGV", "SIGSEGV"]
    assert main([*arguments, "--keep", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "killed by json/2/3" in out
    assert "SIGSEGV" in out
    assert (tmp_path / "json-2-3" / "lenet.json").is_file()
    assert main([*arguments, "--model-dir", str(tmp_path)]) == lenet_cpp.BadInput.exit_code
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--precision", "int8"])  # of a .json
    assert "nothing of a .json runs in int8" in capsys.readouterr().err
