"""LeNet, recipes, augmentation, training and resuming, in Python and by the command."""

import json
import re
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import paddle
import pytest

from lenet_cpp import models
from lenet_cpp.cli import train as command
from lenet_cpp.data import mnist as data
from lenet_cpp.errors import BadInput, BadModel, FileNotFound
from lenet_cpp.formats import checkpoint
from lenet_cpp.training import evaluation, loop, recipes
from lenet_cpp.training.augment import Augmentation, sampling_grid, warp
from lenet_cpp.training.recipes import Recipe, TrainingConfig
from numpy_reference import LENET, lenet
from snippets import run_command

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
NAMES = ("lenet.pdopt", "lenet.pdparams", "lenet.train.json")


@pytest.fixture(scope="module")
def mnist():
    return data.read_mnist_dir(data.sample_dir(), kind="sample")


@pytest.fixture(scope="module")
def tiny(mnist):
    """200 training images: a step of 20 takes milliseconds, an epoch is 10 steps."""
    small = data.Split(mnist.train.images[::30], mnist.train.labels[::30])
    return replace(mnist, train=small)


def train(config, mnist, folder, **options):
    """Train a TrainingConfig, or a Recipe by one, without reports."""
    config = config if isinstance(config, TrainingConfig) else TrainingConfig(config)
    return loop.train(config, mnist, folder, report=lambda _: None, **options)


@pytest.fixture(scope="module")
def tiny_dir(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    for prefix, split in {"train": tiny.train, "t10k": tiny.test}.items():
        data.write_idx(folder / f"{prefix}-images-idx3-ubyte", split.images)
        data.write_idx(folder / f"{prefix}-labels-idx1-ubyte", split.labels.astype(np.uint8))
    return folder


def after(steps):
    """A ``should_stop`` that says yes after so many steps."""
    asked = iter(range(1, 1_000_000))
    return lambda: next(asked) >= steps


def assert_same_checkpoint(one, two):
    """Every parameter, moment and averaged weight is equal, bit for bit."""
    first, second = (checkpoint.load_checkpoint(folder, "lenet") for folder in (one, two))
    np.testing.assert_equal(first.parameters, second.parameters)
    np.testing.assert_equal(first.optimizer, second.optimizer)
    for name in ("test", "steps_done"):
        assert first.record[name] == second.record[name]


def test_topology_is_the_guides():
    layer = models.build("lenet")
    found = {name: tuple(tensor.shape) for name, tensor in layer.state_dict().items()}
    assert found == LENET
    assert sum(int(np.prod(shape)) for shape in found.values()) == 61_706
    assert {name for name, _ in layer.named_sublayers()} == {
        *("conv1", "max_pool1", "conv2", "max_pool2", "linear1", "linear2", "linear3")
    }


def test_forward_matches_the_definition(mnist):
    paddle.seed(3)
    layer = models.build("lenet")
    generator = np.random.default_rng(0)
    # Large biases on the second convolution: a rectifier behind it would show.
    state = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
    state["conv2.bias"] = generator.normal(-1, 1, 16).astype(np.float32)
    layer.set_state_dict(state)
    noise = generator.normal(0, 1, (5, 1, 28, 28)).astype(np.float32)
    images = np.concatenate([data.to_model_input(mnist.test.images[:20]), noise])
    expected = lenet(state, images)
    found = layer(paddle.to_tensor(images)).numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.maximum(1, np.abs(expected)).max()


def test_guide_recipe(mnist):
    full = replace(mnist, kind="full")
    config = TrainingConfig(recipes.recipe_for("guide", full))
    assert (config.recipe.batch_size, config.recipe.learning_rate) == (64, 1e-3)
    assert (config.recipe.optimizer, config.recipe.schedule) == ("adam", "constant")
    assert config.total_steps(60_000) == 1876  # 2 epochs of 937 batches of 64 and one of 32
    assert TrainingConfig(recipes.recipe_for("guide", mnist)).total_steps(6000) == 1876
    asked = TrainingConfig(recipes.recipe_for("guide", mnist, epochs=3))
    assert asked.total_steps(6000) == 3 * 94
    with pytest.raises(BadInput, match="unknown recipe 'x'; known: guide, best"):
        recipes.recipe_for("x", mnist)


def test_cosine_schedule():
    recipe = Recipe(name="t", learning_rate=8.0, schedule="cosine", warmup_epochs=0.5)
    rates = [recipes.learning_rate(recipe, step, total=12, per_epoch=8) for step in range(12)]
    # Four steps up in fifths of the peak, then (1 + cos(k pi / 8)) / 2 of it.
    assert rates[:5] == pytest.approx([1.6, 3.2, 4.8, 6.4, 8.0])
    assert rates[8] == pytest.approx(4.0)
    assert rates[11] == pytest.approx(8 * 0.0380602337)
    constant = replace(recipe, schedule="constant")
    assert recipes.learning_rate(constant, 11, total=12, per_epoch=8) == 8.0


WRONG = {
    "epochs": (0, None),
    "steps": (5,),
    "batch_size": (0,),
    "learning_rate": (0.0, float("nan")),
    "optimizer": ("sgd",),
    "schedule": ("step",),
    "average_decay": (1.0,),
}


@pytest.mark.parametrize("name", WRONG)
def test_settings_out_of_range_are_refused(name):
    for value in WRONG[name]:
        with pytest.raises(BadInput):
            TrainingConfig(Recipe(**{"name": "t", name: value}))
    for wrong in ({"seed": -1}, {"seed": 2**32}, {"model": "nothing"}):
        with pytest.raises(BadInput):
            TrainingConfig(Recipe(name="t"), **wrong)


class Largest:
    """A generator whose uniform draws are all the upper limit."""

    def uniform(self, _low, high, size):
        return np.full(size, high)


def warped(images, **strengths):
    return warp(images, Augmentation(**strengths), Largest()).numpy()


def test_the_units_of_the_distortions(mnist):
    digits = data.to_model_input(mnist.train.images[:8])
    shifted = np.zeros_like(digits)
    shifted[:, :, :-2, :-2] = digits[:, :, 2:, 2:]  # reading 2 further right and further down
    assert np.abs(warped(digits) - digits).max() < 1e-5
    assert np.abs(warped(digits, shift=2) - shifted).max() < 1e-4
    turned = np.rot90(digits, axes=(2, 3))
    assert np.abs(warped(digits, rotation=90) - turned).max() < 1e-4
    grid = sampling_grid(Augmentation(scale=0.25), 1, 28, Largest())[0]
    assert grid[0, 0] == pytest.approx([-1.25, -1.25])
    assert grid[27, 0] == pytest.approx([-1.25, 1.25])
    grid = sampling_grid(Augmentation(shear=0.5), 1, 28, Largest())[0] * 13.5  # to pixels
    assert grid[20] - grid[10] == pytest.approx(np.tile([5.0, 10.0], (28, 1)), abs=1e-4)


def test_elastic_displacement_has_the_stated_size_and_is_smooth():
    elastic, plain = (
        sampling_grid(augmentation, 2000, 28, np.random.default_rng(0))
        for augmentation in (Augmentation(elastic=0.8, elastic_sigma=4), Augmentation())
    )
    field = (elastic - plain) * 13.5
    # Per pixel and direction, over the images.
    assert field.std(axis=0) == pytest.approx(np.full((28, 28, 2), 0.8), abs=0.05)
    # White noise smoothed by a Gaussian of sigma s correlates over d as exp(-d^2 / 4 s^2).
    near = (field[:, :, 10] * field[:, :, 11]).mean() / (field[:, :, 10] ** 2).mean()
    far = (field[:, :, 4] * field[:, :, 24]).mean() / (field[:, :, 4] ** 2).mean()
    assert near == pytest.approx(np.exp(-1 / 64), abs=0.01)
    assert abs(far) < 0.05


def guide_loop(config, mnist, steps):
    """The plain loop that a Paddle user writes, over the same batches."""
    paddle.seed(config.seed)
    layer = models.build("lenet")
    rate, size = config.recipe.learning_rate, config.recipe.batch_size
    optimizer = paddle.optimizer.Adam(learning_rate=rate, parameters=layer.parameters())
    per_epoch = -(-len(mnist.train) // size)
    for step in range(steps):
        epoch, start = step // per_epoch, step % per_epoch * size
        order = np.random.default_rng((config.seed, 0, epoch)).permutation(len(mnist.train))
        chosen = order[start : start + size]
        images = mnist.train.images[chosen, None].astype(np.float32) / np.float32(255)
        logits = layer(paddle.to_tensor(images))
        labels = paddle.to_tensor(mnist.train.labels[chosen])
        paddle.nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        optimizer.clear_grad()
    return layer


def test_training_is_the_plain_loop(tmp_path, tiny):
    config = TrainingConfig(Recipe(name="t", batch_size=30, epochs=None, steps=17), seed=5)
    result = train(config, tiny, tmp_path)
    for mode in (result.layer.train, result.layer.eval):
        mode()
        before = result.layer.training
        part = data.Split(tiny.test.images[:7], tiny.test.labels[:7])
        assert evaluation.evaluate(result.layer, part, batch_size=3).count == 7
        assert result.layer.training == before
    expected = guide_loop(config, tiny, 17).state_dict()  # 2 epochs, each ending with 20 images
    for name, tensor in result.layer.state_dict().items():
        assert np.array_equal(tensor.numpy(), expected[name].numpy()), name


def test_sample_is_learned_and_reported(tmp_path, mnist):
    """375 steps of 16 images, one epoch: 92.9 % when this was written."""
    lines = []
    recipe = recipes.recipe_for("guide", mnist, epochs=1, batch_size=16)
    result = loop.train(TrainingConfig(recipe), mnist, tmp_path, report=lines.append)
    form = r"epoch: 0, batch_id: (\d+), loss is: (\d+\.\d{4}), acc is: \d\.\d{4}"
    first, last = (re.fullmatch(form, line) for line in lines)
    assert (first[1], last[1]) == ("0", "300")
    assert float(last[2]) < float(first[2])
    assert result.complete
    correct = result.accuracy.correct
    assert result.accuracy.fraction == correct / 1000
    assert result.accuracy.fraction > 0.85
    # The accuracy is that of the file, counted another way.
    state = checkpoint.read_state(tmp_path / "lenet.pdparams")
    logits = lenet(state, data.to_model_input(mnist.test.images))
    assert (logits.argmax(axis=1) == mnist.test.labels).sum() == correct
    record = json.loads((tmp_path / "lenet.train.json").read_text())
    assert record["test"] == {"correct": correct, "count": 1000, "accuracy": correct / 1000}
    assert record["data"]["md5"] == mnist.md5
    assert record["recipe"]["batch_size"] == 16
    assert (record["steps_done"], record["complete"], record["seed"]) == (375, True, 0)
    assert str(Path.cwd()) not in json.dumps(record)


def test_averaged_weights_follow_the_definition(tmp_path, tiny):
    """The saved parameters are the moving average of the weights after every step."""
    recipe = Recipe(name="t", batch_size=20, epochs=3, average_decay=0.4)
    raw, saved = [], None
    for step in range(1, 6):
        train(recipe, tiny, tmp_path, resume=step > 1, should_stop=after(1))
        saved = checkpoint.load_checkpoint(tmp_path, "lenet")
        assert saved.record["steps_done"] == step
        raw.append({name: saved.optimizer[f"training_weights/{name}"] for name in LENET})
    paddle.seed(0)
    average = models.build("lenet").state_dict()
    # The end of a training leaves the same as a stop at that step.
    train(replace(recipe, epochs=None, steps=5), tiny, tmp_path / "ended")
    last = checkpoint.load_checkpoint(tmp_path / "ended", "lenet")
    for name in LENET:
        value = average[name].numpy()
        for weights, decay in zip(raw, (2 / 11, 3 / 12, 4 / 13, 5 / 14, 0.4), strict=True):
            value = decay * value + (1 - decay) * weights[name]
        assert np.abs(saved.parameters[name] - value).max() < 1e-6
        assert not np.array_equal(saved.parameters[name], raw[-1][name])
        assert np.array_equal(last.parameters[name], saved.parameters[name])
        assert np.array_equal(last.optimizer[f"training_weights/{name}"], raw[-1][name])


def test_guides_own_lines_load_the_checkpoint(tmp_path, tiny):
    recipe = Recipe(name="t", batch_size=20, epochs=1, average_decay=0.9, optimizer="adamw")
    train(recipe, tiny, tmp_path)
    with paddle.utils.unique_name.guard():
        layer = models.build("lenet")
        optimizer = paddle.optimizer.AdamW(parameters=layer.parameters())
        missing, unexpected = layer.set_state_dict(paddle.load(str(tmp_path / "lenet.pdparams")))
        assert (missing, unexpected) == ([], [])
        optimizer.set_state_dict(paddle.load(str(tmp_path / "lenet.pdopt")))
        layer(paddle.zeros([1, 1, 28, 28])).sum().backward()
        optimizer.step()
    # The power of beta2 (Paddle keeps the next step's) goes on from the ten steps done, so the
    # moments were taken over.
    power = next(v for k, v in optimizer.state_dict().items() if "beta2_pow" in k)
    assert power.item() == pytest.approx(0.999**12, rel=1e-5)


SHORT = Recipe(name="t", batch_size=30, epochs=3)
BEST_LIKE = replace(
    SHORT,
    optimizer="adamw",
    learning_rate=3e-3,
    schedule="cosine",
    warmup_epochs=0.5,
    weight_decay=0.05,
    label_smoothing=0.05,
    average_decay=0.99,
    augmentation=Augmentation(rotation=10, scale=0.1, shear=0.1, shift=2, elastic=0.7),
)


@pytest.mark.parametrize("recipe", [SHORT, BEST_LIKE])
@pytest.mark.parametrize("stops", [(10,), (1, 6, 3)])  # an epoch has 7 steps
def test_resuming_is_exact(tmp_path, tiny, recipe, stops):
    config = TrainingConfig(recipe, seed=2)
    train(config, tiny, tmp_path / "whole")
    for number, steps in enumerate(stops):
        options = {"resume": number > 0, "should_stop": after(steps)}
        result = train(config, tiny, tmp_path / "parts", **options)
        assert (result.complete, result.accuracy) == (False, None)
        assert result.steps == sum(stops[: number + 1])
    assert train(config, tiny, tmp_path / "parts", resume=True).complete
    assert_same_checkpoint(tmp_path / "whole", tmp_path / "parts")
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == list(NAMES)


def test_a_finished_training_goes_on_as_a_longer_one(tmp_path, tiny):
    short, long = (replace(BEST_LIKE, schedule="constant", epochs=n) for n in (2, 3))
    first = train(short, tiny, tmp_path / "a")
    before = {name: (tmp_path / "a" / name).read_bytes() for name in NAMES}
    assert train(short, tiny, tmp_path / "a", resume=True).accuracy == first.accuracy
    assert {name: (tmp_path / "a" / name).read_bytes() for name in NAMES} == before
    train(long, tiny, tmp_path / "a", resume=True)
    train(long, tiny, tmp_path / "b")
    assert_same_checkpoint(tmp_path / "a", tmp_path / "b")


def test_resuming_differently_is_refused(tmp_path, tiny):
    train(BEST_LIKE, tiny, tmp_path, should_stop=after(3))
    for changed, message in (
        (TrainingConfig(BEST_LIKE, seed=1), "seed was 0, not 1"),
        (TrainingConfig(replace(BEST_LIKE, epochs=9)), "epochs was 3, not 9"),
        (TrainingConfig(replace(BEST_LIKE, batch_size=31)), "batch_size was 30, not 31"),
    ):
        with pytest.raises(BadInput, match=message):
            train(changed, tiny, tmp_path, resume=True)
    with pytest.raises(BadInput, match="lower the learning rate"):
        train(replace(SHORT, learning_rate=1e30), tiny, tmp_path / "diverges")
    other = replace(tiny, md5={**tiny.md5, "train-labels-idx1-ubyte": "0"})
    with pytest.raises(BadInput, match="other data"):
        train(BEST_LIKE, other, tmp_path, resume=True)


def test_damaged_optimizer_state_is_listed(tmp_path, tiny):
    train(BEST_LIKE, tiny, tmp_path, should_stop=after(3))
    saved = checkpoint.load_checkpoint(tmp_path, "lenet")
    key = next(name for name in saved.optimizer if name.endswith("moment1_0"))
    del saved.optimizer[key]
    saved.optimizer["training_weights/conv1.bias"] = np.zeros(7, np.float32)
    checkpoint.save_checkpoint(tmp_path, "lenet", **vars(saved), save=paddle.save)
    faults = f"lenet.pdopt.*missing {key}.*conv1.bias is float32\\[7\\]"
    with pytest.raises(BadModel, match=faults):
        train(BEST_LIKE, tiny, tmp_path, resume=True)


def test_two_trainings_do_not_share_a_folder(tmp_path, tiny):
    def second():
        with pytest.raises(BadInput, match="another training is writing"):
            train(SHORT, tiny, tmp_path)
        return True

    train(SHORT, tiny, tmp_path, should_stop=second)
    train(SHORT, tiny, tmp_path, should_stop=after(1))  # free again


# Runs the script, and sends its own process a signal in the middle of the second epoch.
INTERRUPTED = """
import os, runpy, sys
number, *sys.argv = sys.argv[1:]
class Output:
    def __getattr__(self, name):
        return getattr(sys.__stdout__, name)
    def write(self, text):
        sys.__stdout__.write(text)
        if text.startswith("epoch: 1, batch_id: 0,"):
            os.kill(os.getpid(), int(number))
sys.stdout = Output()
runpy.run_path(sys.argv[0], run_name="__main__")
"""


run = partial(run_command, sys.executable)


def test_interrupted_and_resumed_by_command_is_exact(tmp_path, tiny_dir):
    """The best recipe itself, Ctrl-C in mid-epoch, against never having stopped.

    Each in a process of its own: in that of the tests, libraries that other tests loaded may have
    changed how Paddle's products are summed up.
    """
    common = "--recipe=best", "--epochs=2", "--seed=3", f"--data-dir={tiny_dir}", "--output-dir"
    parts = tmp_path / "parts"
    done = run(SCRIPT, "--resume", "--data-dir", tiny_dir, "--output-dir", parts)
    assert done.returncode == FileNotFound.exit_code
    assert "train without --resume" in done.stderr
    done = run("-c", INTERRUPTED, int(signal.SIGINT), SCRIPT, *common, parts)
    assert done.returncode == 130, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "continue with --resume" in done.stderr
    record = checkpoint.load_checkpoint(parts, "lenet").record
    assert (record["steps_done"], record["test"]) == (record["steps_total"] // 2 + 1, None)
    done = run(SCRIPT, "--resume", "--data-dir", tiny_dir, "--output-dir", parts)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"(?m)^test accuracy: \d+\.\d\d % \(\d+ of 1000\)$", done.stdout)
    assert "IDX files that are not the full MNIST: 200 training and 1000 test" in done.stdout
    assert run(SCRIPT, *common, tmp_path / "whole").returncode == 0
    assert_same_checkpoint(tmp_path / "whole", parts)


def test_sigterm_leaves_a_checkpoint(tmp_path, tiny_dir):
    arguments = ("--data-dir", tiny_dir, "--output-dir", tmp_path)
    assert run("-c", INTERRUPTED, int(signal.SIGTERM), SCRIPT, *arguments).returncode == 143
    assert checkpoint.load_checkpoint(tmp_path, "lenet").record["steps_done"] == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == list(NAMES)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data-dir", "{tmp}/nothing"], 3, "there is no folder"),
        (["--data-dir", "{tmp}"], 3, "has neither train-images-idx3-ubyte.gz nor"),
        (["--resume"], 3, "lenet.train.json"),
        (["--epochs", "0"], 5, "epochs must be at least 1"),
        (["--lr", "nan"], 5, "learning rate"),
        (["--seed", "-1"], 5, "seed"),
    ],
)
def test_command_errors_are_one_line(tmp_path, capsys, arguments, code, message):
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    assert command.main([*given, "--output-dir", str(tmp_path / "out")]) == code
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 1
    assert message in errors


def test_resuming_by_another_recipe_is_refused(tmp_path, tiny, capsys):
    train(Recipe(name="guide"), tiny, tmp_path)
    assert command.main(["--resume", "--recipe=best", "--output-dir", str(tmp_path)]) == 5
    assert "recipe guide, not best" in capsys.readouterr().err
