"""The benchmark's arithmetic. No test asserts on how long anything takes."""

import itertools
import math
import re
import shlex

import numpy as np
import paddle
import pytest

import shared_models
from lenet_cpp.errors import Unsupported
from lenet_cpp.models import build
from numpy_reference import lenet
from processor import BF16
from tools.benchmark import child, cli, contenders, lifetime
from tools.benchmark.contenders import CONTENDERS, choose
from tools.benchmark.lenet import MULTIPLY_ADDS, activations, read_weights
from tools.benchmark.making import run_counted
from tools.benchmark.speed import best_peers, multiply_add_limit
from tools.benchmark.subject import lenet_subject
from tools.survey.summary import (
    Block,
    assess,
    block_of,
    is_accurate,
    judge,
    percentile,
    ratio,
    summarize,
)

NATIVE = "lenet_cpp/native"


def test_summary_is_by_nearest_rank():
    for count in (1, 3, 10, 99, 100, 101):
        values = np.random.default_rng(count).lognormal(size=count)
        for percent in (1, 50, 99, 100):
            rank = -(-percent * count // 100)
            assert percentile(values, percent) == sorted(values)[rank - 1]
    # 1 to 50 and 101 to 150 and 51 to 100 us, by hand: nearest rank, and the turns' medians.
    turns = [block_of(range(1000 * i, 1000 * (i + 50), 1000)) for i in (1, 101, 51)]
    assert turns[0] == Block(50, 25, 45, 50)
    found = {"runs": 150, "median_us": 75, "p90_us": 95, "p99_us": 100}
    assert summarize(turns) == {**found, "spread_between_turns": (125 - 25) / 75}


def test_ratios_pair_the_turns_of_a_round():
    # The machine is ten times as slow in the second round; the ratio is 2 in both.
    baseline = [block_of([100_000]), block_of([1_000_000]), block_of([100_000])]
    found = ratio(baseline, [block_of([50_000]), block_of([500_000]), block_of([40_000])])
    assert (found["median"], found["low"], found["high"]) == (2, 2, 2.5)
    assert ratio(None, baseline) is None
    figures = [("a", 2.0, 1, True), ("b", 2.0, 1, False), ("c", None, 1, True)]
    assert [one["holds"] for one in judge(figures)] == [True, False]


def test_the_best_peer_is_the_fastest_other_of_that_precision():
    medians = {
        NATIVE: (1, 1),
        "onnxruntime": (5, 9, 9),
        "litert": (7, 6, 7),  # its median is the least, not its best turn
        "litert/int8": (2, 2),
        f"{NATIVE}/int8": (1, 1),
    }
    blocks = {name: [block_of([1000 * one] * 3) for one in of] for name, of in medians.items()}
    found = best_peers([one for one in CONTENDERS if one.name in blocks], blocks)
    assert found == {"fp32": "litert", "int8": "litert/int8"}
    assert best_peers(choose([NATIVE]), {NATIVE: blocks[NATIVE]}) == {}


def test_block_times_each_run_after_warming_up(monkeypatch):
    class Clock:
        """Stands in for the module ``time``; a run takes what the list says."""

        def __init__(self, milliseconds):
            self.now, self.milliseconds = 0, iter(milliseconds)

        def run(self, batch):
            self.now += int(1e6 * next(self.milliseconds))
            return batch

        def perf_counter_ns(self):
            return self.now

    def times(milliseconds):
        clock = Clock(milliseconds)
        monkeypatch.setattr(child, "time", clock)
        return child.block(clock.run, np.zeros(1, np.float32), 0.02, 0.01)

    assert times([4, 4, 3, *range(1, 100)]) == [1_000_000 * i for i in range(1, 7)]
    assert times([100] * 10) == [100_000_000] * 3  # of long ones three at least


def test_growth_is_the_slope_after_the_first_fifth():
    # 50 MB at once, then 1,000 bytes a run.
    samples = [(0, 0), *((n, 50_000_000 + 1000 * n) for n in range(100, 1001, 100))]
    found = lifetime.summarize_series(samples)
    assert found["bytes_each"] == pytest.approx(1000)
    assert (found["settled_bytes"], found["last_bytes"]) == (50_200_000, 51_000_000)


def test_the_reference_and_its_multiply_adds(model_dir):
    weights = read_weights(model_dir / "lenet.pdiparams")
    images = np.random.default_rng(1).random((70, 1, 28, 28), np.float32)
    found = activations(weights, images)["linear3"]
    np.testing.assert_allclose(found, lenet(weights, images), rtol=1e-6)
    positions = {"conv1.weight": 28 * 28, "conv2.weight": 10 * 10}
    products = {name: one.size * positions.get(name, 1) for name, one in weights.items()}
    assert sum(n for name, n in products.items() if name.endswith("weight")) == MULTIPLY_ADDS
    layer = build("lenet", seed=0)
    layer.eval()
    outputs, counted = run_counted(layer, images[:3])
    assert counted == MULTIPLY_ADDS
    weights = {name: values.numpy() for name, values in layer.state_dict().items()}
    np.testing.assert_allclose(outputs, activations(weights, images[:3])["linear3"], atol=1e-5)
    # Groups, strides, a bare layer: 4 x 3 positions of 6 channels, each from 2 channels of 3 x 3.
    layer = paddle.nn.Conv2D(4, 6, 3, stride=2, groups=2)
    assert run_counted(layer, np.zeros((2, 4, 9, 7), np.float32))[1] == 4 * 3 * 6 * (2 * 9)
    with pytest.raises(Unsupported, match="LeNet with ten classes"):
        read_weights(shared_models.exported("lenet", 5) / "lenet.pdiparams")


def test_all_digits_are_checked_in_whole_batches(model_dir, tmp_path):
    for size in (1, 3, 1024):
        digits = lenet_subject(model_dir, (1, size), tmp_path)
        assert digits.count(size) == size * math.ceil(1000 / size)
        again = len(digits.images) - 1000
        assert again >= digits.count(size) - 1000
        np.testing.assert_array_equal(digits.images[1000:], digits.images[:again])


def test_multiply_add_limit_is_plausible(program):
    found = multiply_add_limit(program, 1, 0.02)
    # At 1 to 6 GHz: one unit of 4 lanes to two of 16.
    assert 1e9 < found["multiply_adds_per_second"] < 6e9 * 32


def test_contenders_are_chosen_by_group_and_pattern():
    names = [one.name for one in choose(["lenet_cpp/pdmodel/auto", "dygraph"])]
    assert names == ["dygraph", "lenet_cpp/pdmodel/auto"]
    assert [one.name for one in choose(["ncnn"])] == ["ncnn", "ncnn/bf16"]  # from Python
    assert len(choose(["ncnn*"])) == 4
    assert [one.name for one in choose(["openvino"], precisions=["fp32"])] == ["openvino"]
    assert "program/native" in [one.name for one in choose(["program"])]  # this project's, in C++
    assert choose(["*/int8"]) == choose(None, precisions=["int8"])
    (one,) = choose(["program/pdmodel/onednn/int8"])
    reads = ("paddle", "onednn", "int8", "quantized")
    assert (one.engine, one.accelerator, one.precision, one.reads) == reads


def test_bf16_is_measured_only_where_the_processor_has_it(monkeypatch):
    bf16 = choose(["lenet_cpp"], precisions=["bf16"])
    for lacking in BF16:
        monkeypatch.setattr(contenders, "processor_flags", lambda has=BF16 - {lacking}: has)
        assert all(f"no {lacking}: bf16 would be imitated" in one.missing() for one in bf16)
    monkeypatch.setattr(contenders, "processor_flags", lambda: BF16)
    assert [one.missing() for one in bf16] == [None] * 3


def test_float_answers_go_by_their_error():
    """A share of the largest output; who is near enough is measured, who is nearer is a peer."""
    expected = np.array([[100.0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [10.0] * 10])

    def found(difference):
        return assess(expected, np.float32(expected + difference), np.zeros(2), name="it")

    for difference, right, accurate in (
        (0.009, True, True),
        (0.02, True, False),
        (2, False, False),
    ):
        one = found(difference)
        assert one.error == pytest.approx(difference / 100, rel=1e-3)
        assert (one.wrong is None) == right
        assert is_accurate({"precision": "fp32", "error": one.error}) == accurate
        assert is_accurate({"precision": "bf16", "error": one.error})
    assert "differ by up to 2" in found(2).wrong
    assert assess(expected, np.float32(expected[:, :9]), None, name="it").wrong is not None
    assert found(np.nan).wrong is not None


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_reduced_answers_are_right_by_their_classes(precision):
    # 200 images, float is right in 190; the first of these become wrong, or 100 to 104 right.
    expected = np.eye(10, dtype=np.float32)[np.arange(200) % 10]
    labels = np.arange(200) % 10
    labels[:10] = (labels[:10] + 1) % 10

    def found(others, *, right=False):
        outputs = expected + np.float32(0.3)
        first = 0 if right else 100
        outputs[first : first + others] = np.roll(outputs[first : first + others], 1, axis=1)
        return assess(expected, outputs, labels, name="it", precision=precision)

    assert found(0).wrong is None
    assert found(0).largest_difference == pytest.approx(0.3)
    assert (found(2).wrong, found(2).same_class, found(2).accuracy) == (None, 0.99, 0.94)
    assert "98.5 % of the images get float's class" in found(3).wrong  # loses 1.5 points
    assert found(4, right=True)[:3] == (None, 0.98, 0.97)  # otherwise, but better
    assert "97.5 % of the images" in found(5, right=True).wrong
    bad = expected.copy()
    bad[7, 3] = np.inf
    assert "not finite" in assess(expected, bad, labels, name="it", precision=precision).wrong


def test_commands_of_the_pages_and_of_the_help_are_understood(root, capsys):
    least = {"README.md": 0, "docs/benchmark.md": 24, "docs/benchmark-more.md": 5}
    texts = {page: (root / page).read_text() for page in least} | {"--help": cli.main.epilog}
    pattern = re.compile(r"^(?:.*scripts/benchmark\.py|%prog) +([^&\n`]+)", re.MULTILINE)
    found = {page: pattern.findall(text.replace("\\\n", " ")) for page, text in texts.items()}
    assert all(len(found[page]) >= count for page, count in least.items())
    for command in itertools.chain(*found.values()):
        # Files that another command makes are not there.
        arguments = shlex.split(re.sub(r"\$\(.*\)", "ResNet18", command), comments=True)
        if "--help" not in arguments:
            assert cli.main([*arguments, "--list"]) == 0, command
            assert capsys.readouterr().out
