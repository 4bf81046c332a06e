"""LeNet, recipes, training, checkpoints, resuming. About 30 s on one core."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lenet_cpp import models
from lenet_cpp.cli import train as command
from lenet_cpp.data import mnist as data
from lenet_cpp.errors import BadInput, BadModel, FileNotFound
from lenet_cpp.formats import checkpoint
from lenet_cpp.models import load_parameters
from lenet_cpp.training import evaluation, recipes
from lenet_cpp.training import loop as training
from lenet_cpp.training.augment import Augmentation, sampling_grid, warp
from lenet_cpp.training.recipes import Recipe, TrainingConfig
from numpy_reference import LENET, lenet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import paddle

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train.py"
NAMES = ("lenet.pdopt", "lenet.pdparams", "lenet.train.json")


@pytest.fixture(scope="module")
def mnist() -> data.Mnist:
    return data.read_mnist_dir(data.sample_dir(), kind="sample")


@pytest.fixture(scope="module")
def tiny(mnist: data.Mnist) -> data.Mnist:
    """200 training images: a step of 20 takes milliseconds, an epoch is 10 steps."""
    small = data.Split(mnist.train.images[::30], mnist.train.labels[::30])
    return replace(mnist, train=small, test=data.Split(mnist.test.images, mnist.test.labels))


def quiet(_line: str) -> None:
    pass


def after(steps: int) -> Callable[[], bool]:
    """A ``should_stop`` that says yes after so many steps."""
    asked = iter(range(1, 1_000_000))
    return lambda: next(asked) >= steps


def assert_same_checkpoint(one: Path, two: Path) -> None:
    """Every parameter, moment and averaged weight is equal, bit for bit."""
    first, second = (checkpoint.load_checkpoint(folder, "lenet") for folder in (one, two))
    for a, b in ((first.parameters, second.parameters), (first.optimizer, second.optimizer)):
        assert a.keys() == b.keys()
        for name, value in a.items():
            assert np.array_equal(value, b[name]), name
    assert first.record["test"] == second.record["test"]
    assert first.record["steps_done"] == second.record["steps_done"]


# The model


def test_topology_is_the_guides() -> None:
    layer = models.build("lenet")
    found = {name: tuple(tensor.shape) for name, tensor in layer.state_dict().items()}
    assert found == LENET
    assert sum(int(np.prod(shape)) for shape in found.values()) == 61_706
    assert {name for name, _ in layer.named_sublayers()} == {
        *("conv1", "max_pool1", "conv2", "max_pool2", "linear1", "linear2", "linear3")
    }


def test_multiply_adds() -> None:
    import paddle

    layer = models.build("lenet")
    counted = []

    def count(sublayer: Any, _inputs: Any, output: Any) -> None:
        # Each output element of a convolution or a matrix product is one dot product.
        fan_in = int(np.prod(sublayer.weight.shape)) // output.shape[1]
        counted.append(int(np.prod(output.shape)) * fan_in)

    for name in ("conv1", "conv2", "linear1", "linear2", "linear3"):
        getattr(layer, name).register_forward_post_hook(count)
    layer(paddle.zeros([1, 1, 28, 28]))
    assert counted == [117_600, 240_000, 48_000, 10_080, 840]
    assert sum(counted) == 416_520


def test_forward_matches_the_definition(mnist: data.Mnist) -> None:
    import paddle

    paddle.seed(3)
    layer = models.build("lenet")
    generator = np.random.default_rng(0)
    # Large biases on the second convolution: a rectifier behind it would show.
    state = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
    state["conv2.bias"] = generator.normal(-1, 1, 16).astype(np.float32)
    layer.set_state_dict(state)
    images = data.to_model_input(mnist.test.images[:20])
    images = np.concatenate([images, generator.normal(0, 1, (5, 1, 28, 28)).astype(np.float32)])
    expected = lenet(state, images)
    found = layer(paddle.to_tensor(images)).numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.maximum(1, np.abs(expected)).max()


def test_registry() -> None:
    spec = models.get("lenet")
    assert (spec.input_shape, spec.classes) == ((1, 28, 28), 10)
    assert spec.labels == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    assert models.build("lenet", num_classes=3).linear3.weight.shape == [84, 3]
    with pytest.raises(BadInput, match=r"unknown model 'alexnet9'; did you mean AlexNet"):
        models.build("alexnet9")


def test_registry_data_and_training_import_no_paddle() -> None:
    program = (
        "import sys, lenet_cpp.models, lenet_cpp.data.mnist, lenet_cpp.training.loop\n"
        "import lenet_cpp.formats.checkpoint\n"
        "import lenet_cpp.cli.train\n"
        "sys.exit('paddle' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# Recipes


def test_guide_recipe(mnist: data.Mnist) -> None:
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


def test_cosine_schedule() -> None:
    recipe = Recipe(name="t", learning_rate=8.0, schedule="cosine", warmup_epochs=0.5)
    rates = [recipes.learning_rate(recipe, step, total=12, per_epoch=8) for step in range(12)]
    # Four steps up in fifths of the peak, then (1 + cos(k pi / 8)) / 2 of it.
    assert rates[:5] == pytest.approx([1.6, 3.2, 4.8, 6.4, 8.0])
    assert rates[8] == pytest.approx(4.0)
    assert rates[11] == pytest.approx(8 * 0.0380602337)
    constant = replace(recipe, schedule="constant")
    assert recipes.learning_rate(constant, 11, total=12, per_epoch=8) == 8.0


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"epochs": None},
        {"steps": 5},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"optimizer": "sgd"},
        {"schedule": "step"},
        {"average_decay": 1.0},
    ],
)
def test_recipes_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        TrainingConfig(Recipe(name="t", **changes))


def test_seed_and_model_out_of_range_are_refused() -> None:
    for wrong in ({"seed": -1}, {"seed": 2**32}, {"model": "nothing"}):
        with pytest.raises(BadInput):
            TrainingConfig(Recipe(name="t"), **wrong)


# Augmentation


class Largest:
    """A generator whose uniform draws are all the upper limit."""

    def uniform(self, _low: float, high: float, size: tuple[int, ...]) -> np.ndarray:
        return np.full(size, high)


def warped(images: np.ndarray, **strengths: float) -> np.ndarray:
    return warp(images, Augmentation(**strengths), Largest()).numpy()


@pytest.fixture(scope="module")
def digits(mnist: data.Mnist) -> np.ndarray:
    return data.to_model_input(mnist.train.images[:8])


def test_no_augmentation_is_the_identity(digits: np.ndarray) -> None:
    assert np.abs(warped(digits) - digits).max() < 1e-5


def test_shift_is_in_pixels(digits: np.ndarray) -> None:
    expected = np.zeros_like(digits)
    expected[:, :, :-2, :-2] = digits[:, :, 2:, 2:]  # reading 2 further right and further down
    assert np.abs(warped(digits, shift=2) - expected).max() < 1e-4


def test_rotation_is_in_degrees(digits: np.ndarray) -> None:
    found = warped(digits, rotation=90)
    assert np.abs(found - np.rot90(digits, axes=(2, 3))).max() < 1e-4


def test_scale_is_a_fraction(digits: np.ndarray) -> None:
    grid = sampling_grid(Augmentation(scale=0.25), 1, 28, Largest())[0]
    assert grid[0, 0] == pytest.approx([-1.25, -1.25])
    assert grid[27, 0] == pytest.approx([-1.25, 1.25])


def test_shear_is_in_pixels_per_pixel() -> None:
    grid = sampling_grid(Augmentation(shear=0.5), 1, 28, Largest())[0] * 13.5  # to pixels
    assert (grid[20] - grid[10])[:, 0] == pytest.approx(np.full(28, 5.0), abs=1e-4)
    assert (grid[20] - grid[10])[:, 1] == pytest.approx(np.full(28, 10.0), abs=1e-4)


def test_elastic_displacement_has_the_stated_size_and_is_smooth() -> None:
    plain = sampling_grid(Augmentation(), 2000, 28, np.random.default_rng(0))
    augmentation = Augmentation(elastic=0.8, elastic_sigma=4)
    field = sampling_grid(augmentation, 2000, 28, np.random.default_rng(0)) - plain
    field *= 13.5
    deviation = field.std(axis=0)  # per pixel and direction, over the images
    assert deviation.min() > 0.75
    assert deviation.max() < 0.85
    # White noise smoothed by a Gaussian of sigma s correlates over d as exp(-d^2 / 4 s^2).
    near = (field[:, :, 10] * field[:, :, 11]).mean() / (field[:, :, 10] ** 2).mean()
    far = (field[:, :, 4] * field[:, :, 24]).mean() / (field[:, :, 4] ** 2).mean()
    assert near == pytest.approx(np.exp(-1 / 64), abs=0.01)
    assert abs(far) < 0.05


# Training


def guide_loop(config: TrainingConfig, mnist: data.Mnist, steps: int) -> paddle.nn.Layer:
    """The plain loop that a Paddle user writes, over the same batches."""
    import paddle

    paddle.seed(config.seed)
    layer = models.build("lenet")
    optimizer = paddle.optimizer.Adam(
        learning_rate=config.recipe.learning_rate, parameters=layer.parameters()
    )
    size = config.recipe.batch_size
    done = 0
    for epoch in range(1000):
        order = np.random.default_rng((config.seed, 0, epoch)).permutation(len(mnist.train))
        for start in range(0, len(order), size):
            if done == steps:
                return layer
            chosen = order[start : start + size]
            images = mnist.train.images[chosen, None].astype(np.float32) / np.float32(255)
            logits = layer(paddle.to_tensor(images))
            labels = paddle.to_tensor(mnist.train.labels[chosen])
            paddle.nn.functional.cross_entropy(logits, labels).backward()
            optimizer.step()
            optimizer.clear_grad()
            done += 1
    raise AssertionError


def test_training_is_the_plain_loop(tmp_path: Path, tiny: data.Mnist) -> None:
    config = TrainingConfig(Recipe(name="t", batch_size=30, epochs=None, steps=17), seed=5)
    result = training.train(config, tiny, tmp_path, report=quiet)
    expected = guide_loop(config, tiny, 17).state_dict()  # 2 epochs, each ending with 20 images
    for name, tensor in result.layer.state_dict().items():
        assert np.array_equal(tensor.numpy(), expected[name].numpy()), name


def test_sample_is_learned_and_reported(tmp_path: Path, mnist: data.Mnist) -> None:
    """375 steps of 16 images, one epoch: 92.9 % when this was written."""
    lines: list[str] = []
    recipe = recipes.recipe_for("guide", mnist, epochs=1, batch_size=16)
    result = training.train(TrainingConfig(recipe), mnist, tmp_path, report=lines.append)
    matches = [
        re.fullmatch(r"epoch: 0, batch_id: (\d+), loss is: (\d+\.\d{4}), acc is: (\d\.\d{4})", line)
        for line in lines
    ]
    assert [match and match[1] for match in matches] == ["0", "300"]
    assert float(matches[1][2]) < float(matches[0][2])
    assert result.complete
    assert result.accuracy.count == 1000
    assert result.accuracy.fraction > 0.85
    # The accuracy is that of the file, counted another way.
    state = checkpoint.read_state(tmp_path / "lenet.pdparams")
    logits = lenet(state, data.to_model_input(mnist.test.images))
    assert (logits.argmax(axis=1) == mnist.test.labels).sum() == result.accuracy.correct
    record = json.loads((tmp_path / "lenet.train.json").read_text())
    assert record["test"] == {
        "correct": result.accuracy.correct,
        "count": 1000,
        "accuracy": result.accuracy.fraction,
    }
    assert record["data"]["md5"] == mnist.md5
    assert record["recipe"]["batch_size"] == 16
    assert (record["steps_done"], record["complete"], record["seed"]) == (375, True, 0)
    assert str(Path.cwd()) not in json.dumps(record)


def test_evaluate_leaves_the_mode(mnist: data.Mnist) -> None:
    layer = models.build("lenet")
    for mode in (layer.train, layer.eval):
        mode()
        before = layer.training
        part = data.Split(mnist.test.images[:7], mnist.test.labels[:7])
        assert evaluation.evaluate(layer, part, batch_size=3).count == 7
        assert layer.training == before


def test_averaged_weights_follow_the_definition(tmp_path: Path, tiny: data.Mnist) -> None:
    """The saved parameters are the moving average of the weights after every step."""
    recipe = Recipe(name="t", batch_size=20, epochs=3, average_decay=0.4)
    config = TrainingConfig(recipe)
    raw = []
    saved: checkpoint.Checkpoint | None = None
    for step in range(1, 6):
        training.train(config, tiny, tmp_path, resume=step > 1, should_stop=after(1), report=quiet)
        saved = checkpoint.load_checkpoint(tmp_path, "lenet")
        assert saved.record["steps_done"] == step
        raw.append({name: saved.optimizer[f"training_weights/{name}"] for name in LENET})
    import paddle

    paddle.seed(0)
    average = {name: t.numpy() for name, t in models.build("lenet").state_dict().items()}
    for step, weights in enumerate(raw, start=1):
        decay = min(0.4, (1 + step) / (10 + step))  # 2/11, 3/12, 4/13, 5/14, 0.4
        for name in LENET:
            average[name] = decay * average[name] + (1 - decay) * weights[name]
    for name in LENET:
        assert np.abs(saved.parameters[name] - average[name]).max() < 1e-6
        assert not np.array_equal(saved.parameters[name], raw[-1][name])
    # The end of a training leaves the same as a stop at that step.
    ended = TrainingConfig(replace(recipe, epochs=None, steps=5))
    training.train(ended, tiny, tmp_path / "ended", report=quiet)
    last = checkpoint.load_checkpoint(tmp_path / "ended", "lenet")
    for name in LENET:
        assert np.array_equal(last.parameters[name], saved.parameters[name])
        assert np.array_equal(last.optimizer[f"training_weights/{name}"], raw[-1][name])


def test_guides_own_lines_load_the_checkpoint(tmp_path: Path, tiny: data.Mnist) -> None:
    import paddle

    recipe = Recipe(name="t", batch_size=20, epochs=1, average_decay=0.9, optimizer="adamw")
    training.train(TrainingConfig(recipe), tiny, tmp_path, report=quiet)
    with paddle.utils.unique_name.guard():
        layer = models.build("lenet")
        optimizer = paddle.optimizer.AdamW(parameters=layer.parameters())
        missing, unexpected = layer.set_state_dict(paddle.load(str(tmp_path / "lenet.pdparams")))
        assert (missing, unexpected) == ([], [])
        state = paddle.load(str(tmp_path / "lenet.pdopt"))
        optimizer.set_state_dict(state)
        layer(paddle.zeros([1, 1, 28, 28])).sum().backward()
        optimizer.step()
    # The power of beta2 (Paddle keeps the next step's) goes on from the ten steps done, so the
    # moments were taken over.
    power = next(v for k, v in optimizer.state_dict().items() if "beta2_pow" in k)
    assert power.item() == pytest.approx(0.999**12, rel=1e-5)


def test_divergence_is_an_error(tmp_path: Path, tiny: data.Mnist) -> None:
    config = TrainingConfig(Recipe(name="t", batch_size=20, learning_rate=1e30))
    with pytest.raises(BadInput, match="lower the learning rate"):
        training.train(config, tiny, tmp_path, report=quiet)


# Resuming

BEST_LIKE = Recipe(
    name="t",
    batch_size=30,
    epochs=3,
    optimizer="adamw",
    learning_rate=3e-3,
    schedule="cosine",
    warmup_epochs=0.5,
    weight_decay=0.05,
    label_smoothing=0.05,
    average_decay=0.99,
    augmentation=Augmentation(rotation=10, scale=0.1, shear=0.1, shift=2, elastic=0.7),
)


@pytest.mark.parametrize("recipe", [Recipe(name="t", batch_size=30, epochs=3), BEST_LIKE])
@pytest.mark.parametrize("stops", [(10,), (1, 6, 3)])  # an epoch has 7 steps
def test_resuming_is_exact(
    tmp_path: Path, tiny: data.Mnist, recipe: Recipe, stops: tuple[int, ...]
) -> None:
    config = TrainingConfig(recipe, seed=2)
    training.train(config, tiny, tmp_path / "whole", report=quiet)
    for number, steps in enumerate(stops):
        result = training.train(
            config,
            tiny,
            tmp_path / "parts",
            resume=number > 0,
            should_stop=after(steps),
            report=quiet,
        )
        assert not result.complete
        assert result.accuracy is None
        assert result.steps == sum(stops[: number + 1])
    result = training.train(config, tiny, tmp_path / "parts", resume=True, report=quiet)
    assert result.complete
    assert_same_checkpoint(tmp_path / "whole", tmp_path / "parts")
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == list(NAMES)


def test_a_finished_training_goes_on_as_a_longer_one(tmp_path: Path, tiny: data.Mnist) -> None:
    short, long = (TrainingConfig(Recipe(name="t", batch_size=50, epochs=n)) for n in (2, 3))
    training.train(short, tiny, tmp_path / "a", report=quiet)
    training.train(long, tiny, tmp_path / "a", resume=True, report=quiet)
    training.train(long, tiny, tmp_path / "b", report=quiet)
    assert_same_checkpoint(tmp_path / "a", tmp_path / "b")


def test_resuming_what_is_finished_changes_nothing(tmp_path: Path, tiny: data.Mnist) -> None:
    config = TrainingConfig(BEST_LIKE)
    first = training.train(config, tiny, tmp_path, report=quiet)
    before = {name: (tmp_path / name).read_bytes() for name in NAMES}
    second = training.train(config, tiny, tmp_path, resume=True, report=quiet)
    assert second.accuracy == first.accuracy
    assert {name: (tmp_path / name).read_bytes() for name in NAMES} == before


def test_resuming_differently_is_refused(tmp_path: Path, tiny: data.Mnist) -> None:
    config = TrainingConfig(BEST_LIKE)
    training.train(config, tiny, tmp_path, should_stop=after(3), report=quiet)
    for changed, message in (
        (TrainingConfig(BEST_LIKE, seed=1), "seed was 0, not 1"),
        (TrainingConfig(replace(BEST_LIKE, epochs=9)), "epochs was 3, not 9"),
        (TrainingConfig(replace(BEST_LIKE, batch_size=31)), "batch_size was 30, not 31"),
    ):
        with pytest.raises(BadInput, match=message):
            training.train(changed, tiny, tmp_path, resume=True, report=quiet)
    other = replace(tiny, md5={**tiny.md5, "train-labels-idx1-ubyte": "0"})
    with pytest.raises(BadInput, match="other data"):
        training.train(config, other, tmp_path, resume=True, report=quiet)


def test_damaged_optimizer_state_is_listed(tmp_path: Path, tiny: data.Mnist) -> None:
    import paddle

    config = TrainingConfig(BEST_LIKE)
    training.train(config, tiny, tmp_path, should_stop=after(3), report=quiet)
    saved = checkpoint.load_checkpoint(tmp_path, "lenet")
    state = dict(saved.optimizer)
    key = next(name for name in state if name.endswith("moment1_0"))
    del state[key]
    state["training_weights/conv1.bias"] = np.zeros(7, np.float32)
    checkpoint.save_checkpoint(
        tmp_path,
        "lenet",
        parameters=saved.parameters,
        optimizer=state,
        record=saved.record,
        save=paddle.save,
    )
    with pytest.raises(BadModel, match=f"missing {key}.*conv1.bias is float32\\[7\\]") as caught:
        training.train(config, tiny, tmp_path, resume=True, report=quiet)
    assert "lenet.pdopt" in str(caught.value)


def test_two_trainings_do_not_share_a_folder(tmp_path: Path, tiny: data.Mnist) -> None:
    config = TrainingConfig(Recipe(name="t"))

    def second() -> bool:
        with pytest.raises(BadInput, match="another training is writing"):
            training.train(config, tiny, tmp_path, report=quiet)
        return True

    training.train(config, tiny, tmp_path, should_stop=second, report=quiet)
    training.train(config, tiny, tmp_path, should_stop=after(1), report=quiet)  # free again


# Saving


def state_of(value: float) -> dict[str, np.ndarray]:
    return {"weight": np.full(4, value, np.float32)}


def save(folder: Path, value: float) -> None:
    import paddle

    checkpoint.save_checkpoint(
        folder,
        "net",
        parameters=state_of(value),
        optimizer=state_of(-value),
        record={"value": value},
        save=paddle.save,
    )


def load(folder: Path) -> float:
    """The value of a checkpoint, of which all three files must agree."""
    found = checkpoint.load_checkpoint(folder, "net")
    value = found.record["value"]
    assert np.array_equal(found.parameters["weight"], state_of(value)["weight"])
    assert np.array_equal(found.optimizer["weight"], state_of(-value)["weight"])
    return value


@pytest.fixture
def snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], list[Path]]:
    """Copy the folder before and after everything that a save does to it: what a kill leaves."""

    def watch(folder: Path) -> list[Path]:
        taken: list[Path] = []

        def wrap(function: Any) -> Any:
            def wrapped(*args: Any, **options: Any) -> Any:
                for moment in ("before", "after"):
                    if moment == "after":
                        result = function(*args, **options)
                    taken.append(tmp_path / f"snapshot{len(taken)}")
                    shutil.copytree(folder, taken[-1])
                return result

            return wrapped

        import paddle

        monkeypatch.setattr(paddle, "save", wrap(paddle.save))
        for name in ("replace", "unlink", "write_text"):
            monkeypatch.setattr(Path, name, wrap(getattr(Path, name)))
        return taken

    return watch


def test_killed_at_any_instant_the_checkpoint_is_whole(
    tmp_path: Path,
    snapshots: Callable[[Path], list[Path]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "folder"
    save(folder, 1)
    taken = snapshots(folder)
    save(folder, 2)
    monkeypatch.undo()
    assert len(taken) >= 14  # two state dicts and the record staged, four renames
    # The record as it lies there, before anybody recovers, never describes other parameters
    # unless the journal that says so lies beside it.
    found = []
    for snapshot in taken:
        again = snapshot.with_name(f"{snapshot.name}-again")
        shutil.copytree(snapshot, again)
        value = load(snapshot)
        found.append(value)
        # Reading the parameters alone gives the same checkpoint, and saving over it works.
        record = checkpoint.load_record(again / "net.pdparams")
        assert record["value"] == value
        save(again, 3)
        assert load(again) == 3
        assert sorted(path.name for path in again.iterdir()) == [
            *("net.pdopt", "net.pdparams", "net.train.json")
        ]
    assert found == sorted(found)  # old, and from the commit point on new
    assert {1, 2} == set(found)


@pytest.mark.parametrize("number", [1, 2])
def test_a_full_disk_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    import paddle

    save(tmp_path, 1)
    real, calls = paddle.save, []

    def full(state: Any, path: str) -> None:
        calls.append(path)
        real(state, path)
        if len(calls) == number:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(paddle, "save", full)
    with pytest.raises(OSError, match="No space") as caught:
        save(tmp_path, 2)
    assert Path(caught.value.filename).suffix == (".pdparams", ".pdopt")[number - 1]
    assert load(tmp_path) == 1
    assert len(list(tmp_path.iterdir())) == 3


# Loading


@pytest.fixture
def parameters() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {name: generator.normal(size=s).astype(np.float32) for name, s in LENET.items()}


def test_load_parameters(tmp_path: Path, parameters: dict[str, np.ndarray]) -> None:
    import paddle

    layer = models.build("lenet")
    layer.set_state_dict(parameters)
    path = tmp_path / "x.pdparams"
    paddle.save(layer.state_dict(), str(path))  # as the guide does
    other = models.build("lenet")
    load_parameters(other, path)
    for name, tensor in other.state_dict().items():
        assert np.array_equal(tensor.numpy(), parameters[name])


def test_every_difference_is_listed_and_nothing_is_loaded(
    tmp_path: Path, parameters: dict[str, np.ndarray]
) -> None:
    import paddle

    del parameters["conv1.bias"], parameters["linear2.weight"]
    parameters["conv3.weight"] = np.zeros(3, np.float32)
    parameters["linear1.weight"] = parameters["linear1.weight"].T.copy()
    parameters["linear3.bias"] = parameters["linear3.bias"].astype(np.float64)
    path = tmp_path / "x.pdparams"
    paddle.save(parameters, str(path))
    layer = models.build("lenet")
    before = {name: tensor.numpy().copy() for name, tensor in layer.state_dict().items()}
    with pytest.raises(BadModel) as caught:
        load_parameters(layer, path)
    for fault in (
        str(path),
        "missing conv1.bias, linear2.weight;",
        "unexpected conv3.weight",
        "linear1.weight is float32[120, 400], expected float32[400, 120]",
        "linear3.bias is float64[10], expected float32[10]",
    ):
        assert fault in str(caught.value)
    for name, tensor in layer.state_dict().items():
        assert np.array_equal(tensor.numpy(), before[name])


def damaged(good: bytes) -> dict[str, bytes]:
    return {
        "empty": b"",
        "cut": good[: len(good) // 2],
        "short by one byte": good[:-1],
        "text": b"<html>not found</html>",
        "noise": np.random.default_rng(0).bytes(5000),
        "a list": pickle.dumps([1, 2]),
        "not names": pickle.dumps({1: np.zeros(3)}),
        "objects": pickle.dumps({"weight": np.array(["a"])}),
    }


@pytest.mark.parametrize("case", damaged(b"").keys())
def test_damaged_parameters_are_named(
    tmp_path: Path, parameters: dict[str, np.ndarray], case: str
) -> None:
    import paddle

    path = tmp_path / "x.pdparams"
    paddle.save(parameters, str(path))
    path.write_bytes(damaged(path.read_bytes())[case])
    with pytest.raises(BadModel, match=re.escape(str(path))) as caught:
        load_parameters(models.build("lenet"), path)
    assert "\n" not in str(caught.value)


def test_missing_parameters_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "x.pdparams", tmp_path):
        with pytest.raises(FileNotFound, match=re.escape(str(path))):
            load_parameters(models.build("lenet"), path)


class Hostile:
    """Unpickling this makes a file, where unpickling is naive."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


def test_reading_runs_no_code_from_the_file(tmp_path: Path) -> None:
    path, trace = tmp_path / "x.pdparams", tmp_path / "trace"
    path.write_bytes(pickle.dumps({"weight": Hostile(trace)}))
    with pytest.raises(BadModel, match="mkdir"):
        checkpoint.read_state(path)
    assert not trace.exists()


def test_checkpoint_files_of_another_training_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a", 1)
    save(tmp_path / "b", 2)
    for name in ("net.pdparams", "net.pdopt"):
        kept = (tmp_path / "a" / name).read_bytes()
        shutil.copy(tmp_path / "b" / name, tmp_path / "a" / name)
        with pytest.raises(BadModel, match=f"{name} is not the file"):
            checkpoint.load_checkpoint(tmp_path / "a", "net")
        (tmp_path / "a" / name).unlink()
        with pytest.raises(FileNotFound, match=name):
            checkpoint.load_checkpoint(tmp_path / "a", "net")
        (tmp_path / "a" / name).write_bytes(kept)
    assert load(tmp_path / "a") == 1


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1}', '{"format": 1, "files": 3}']
)
def test_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    save(tmp_path, 1)
    (tmp_path / "net.train.json").write_text(content)
    with pytest.raises(BadModel, match=r"net\.train\.json"):
        checkpoint.load_checkpoint(tmp_path, "net")


# The command


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, SCRIPT, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupt(number: int, *arguments: str | Path) -> tuple[int, str]:
    """Run the command, send a signal in the middle of the second epoch; return code and stderr."""
    process = start(*arguments)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch: 1, batch_id: 0,"):
            process.send_signal(number)
            break
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_interrupted_and_resumed_by_command_is_exact(tmp_path: Path) -> None:
    """The best recipe itself, Ctrl-C in mid-epoch, against never having stopped."""
    common = ("--recipe", "best", "--epochs", "2", "--seed", "3", "--output-dir")
    code, errors = interrupt(signal.SIGINT, *common, tmp_path / "parts")
    assert code == 130
    assert len(errors.splitlines()) == 1
    assert "continue with --resume" in errors
    record = checkpoint.load_checkpoint(tmp_path / "parts", "lenet").record
    per_epoch = record["steps_total"] // 2
    assert per_epoch < record["steps_done"] < record["steps_total"]
    assert record["test"] is None

    process = start("--resume", "--output-dir", tmp_path / "parts")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert re.search(r"(?m)^test accuracy: \d+\.\d\d % \(\d+ of 1000\)$", output)
    assert "embedded MNIST sample: 6000 training and 1000 test images" in output

    assert command.main([*common, str(tmp_path / "whole")]) == 0
    assert_same_checkpoint(tmp_path / "whole", tmp_path / "parts")


def test_sigterm_leaves_a_checkpoint(tmp_path: Path) -> None:
    code, _ = interrupt(signal.SIGTERM, "--output-dir", tmp_path)
    assert code == 143
    assert checkpoint.load_checkpoint(tmp_path, "lenet").record["steps_done"] > 94
    assert sorted(path.name for path in tmp_path.iterdir()) == list(NAMES)


@pytest.fixture
def restored_signals() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("restored_signals")
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
def test_command_errors_are_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    assert command.main([*given, "--output-dir", str(tmp_path / "out")]) == code
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 1
    assert message in errors


@pytest.mark.parametrize(
    "arguments", [["--recipe", "x"], ["--epochs", "two"], ["--batch-size", "0"], ["--nothing"]]
)
def test_usage_errors(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2


def test_resuming_by_another_recipe_is_refused(
    tmp_path: Path, tiny: data.Mnist, capsys: pytest.CaptureFixture[str]
) -> None:
    training.train(TrainingConfig(Recipe(name="guide")), tiny, tmp_path, report=quiet)
    arguments = ["--resume", "--recipe", "best", "--output-dir", str(tmp_path)]
    assert command.main(arguments) == 5
    assert "recipe guide, not best" in capsys.readouterr().err
