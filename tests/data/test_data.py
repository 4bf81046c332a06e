"""IDX files, finding MNIST, the embedded sample."""

import gzip
import hashlib
import os
import re
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lenet_cpp.data import download
from lenet_cpp.data import mnist as data
from lenet_cpp.errors import BackendFailure, BadInput, FileNotFound
from pictures import refused
from scripts import draw_mnist_sample

NAMES = [
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
]


def idx(shape, content, *, kind=8):
    """An IDX file written from the format's definition."""
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape) + content


def write_set(folder, *, train=20, test=10, **replace):
    """Four consistent files of zeros; ``replace`` gives another content by position: f0 to f3."""
    folder.mkdir(exist_ok=True, parents=True)
    for number, name in enumerate(NAMES):
        count = train if number < 2 else test
        shape = (count, 28, 28) if number % 2 == 0 else (count,)
        content = replace.get(f"f{number}", idx(shape, bytes(int(np.prod(shape)))))
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("zipped", [False, True])
def test_read_idx_follows_the_format(tmp_path, zipped):
    content = idx((2, 3, 4), bytes(range(24)))
    path = tmp_path / "a"  # the name says nothing: the contents do
    path.write_bytes(gzip.compress(content) if zipped else content)
    array = data.read_idx(path)
    assert array.dtype == np.uint8
    rows = [[*range(first, first + 4)] for first in range(0, 24, 4)]
    assert array.tolist() == [rows[:3], rows[3:]]


def test_write_idx_follows_the_format(tmp_path, monkeypatch):
    array = np.arange(600, dtype=np.uint8).reshape(300, 2)[:, ::-1]  # not contiguous
    for name in ("a", "a.gz", "b.gz"):
        data.write_idx(tmp_path / name, array)
        monkeypatch.setattr(time, "time", lambda: 1e9)
    plain, zipped, later = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert plain == gzip.decompress(zipped) == idx((300, 2), array.tobytes())
    assert zipped == later
    assert zipped[3:8] == bytes(5)  # RFC 1952: no flags, so no file name; no modification time
    for array in (np.zeros(3, np.int64), np.zeros((), np.uint8)):
        with pytest.raises(BadInput, match="uint8"):
            data.write_idx(tmp_path / "c", array)
    assert not (tmp_path / "c").exists()


GOOD = idx((5, 28, 28), bytes(5 * 784))
NOISE = gzip.compress(idx((5, 28, 28), np.random.default_rng(0).bytes(5 * 784)))
DAMAGE = {
    "empty": (b"", "is empty \\(0 bytes\\)"),
    "text": (b"<html>not found</html>", "not an IDX file"),
    "element type": (idx((5, 28, 28), bytes(5 * 784), kind=0x0D), "element type 0x0d"),
    "dimensions": (idx((5,), bytes(5)), "1 dimensions, expected 3"),
    "header": (GOOD[:10], "truncated in its header"),
    "short by one byte": (GOOD[:-1], "truncated: 3919 of 3920 bytes"),
    "long by one byte": (GOOD + b"\0", "more data"),
    "absurd": (idx((1 << 31, 1 << 31, 1 << 31), b""), "absurd"),
    "gzip cut": (gzip.compress(GOOD)[:-4], "damaged gzip"),
    "gzip, one bit": (NOISE[:2000] + bytes([NOISE[2000] ^ 16]) + NOISE[2001:], "damaged gzip"),
    "gzip, then text": (gzip.compress(GOOD) + b"hello", "damaged gzip"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_idx_is_named(tmp_path, content, message):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with refused(BadInput, message, path):
        data.read_idx(path, dimensions=3)
    for missing in (tmp_path / "nothing", tmp_path):
        with refused(FileNotFound, "", missing):
            data.read_idx(missing)


def test_reads_a_folder_of_raw_and_gzipped_files(tmp_path):
    labels = bytes([3, 1, 4, 1, 5])
    pixels = bytes(range(256)) * 15 + bytes(80)
    write_set(tmp_path, train=5, f0=idx((5, 28, 28), pixels), f1=idx((5,), labels))
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(gzip.compress((tmp_path / NAMES[0]).read_bytes()))
    (tmp_path / NAMES[0]).unlink()
    mnist = data.load_mnist(tmp_path)
    assert mnist.kind == "other"
    assert (mnist.train.images.shape, mnist.train.images.tobytes()) == ((5, 28, 28), pixels)
    assert (mnist.train.labels.dtype, bytes(mnist.train.labels.tolist())) == (np.int64, labels)
    assert len(mnist.test) == 10
    assert mnist.md5[NAMES[1]] == hashlib.md5(idx((5,), labels)).hexdigest()
    assert "5 training and 10 test images" in mnist.describe()
    assert str(tmp_path) in mnist.describe()
    assert str(tmp_path) not in str(mnist.record())


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        ({"f1": idx((19,), bytes(19))}, "20 images but 19 labels"),
        ({"f2": idx((10, 28, 27), bytes(7560))}, r"images of \[28, 27\]"),
        ({"f3": idx((10,), bytes(9) + b"\x0a")}, "label 10, expected 0 to 9"),
        ({"f2": idx((0, 28, 28), b""), "f3": idx((0,), b"")}, "empty"),
    ],
)
def test_files_that_do_not_fit_each_other(tmp_path, replace, message):
    with refused(BadInput, message, tmp_path):
        data.load_mnist(write_set(tmp_path, **replace))


def test_missing_folder_and_missing_file(tmp_path):
    (write_set(tmp_path) / NAMES[3]).unlink()
    for folder, problem in ((tmp_path / "nothing", "there is no folder"), (tmp_path, NAMES[3])):
        with pytest.raises(FileNotFound, match=problem):
            data.load_mnist(folder)


@pytest.mark.parametrize(("position", "count"), [(1, 60_000), (3, 10_000)])
def test_size_of_the_full_set_means_its_checksum(tmp_path, position, count):
    labels = idx((count,), bytes(count))
    write_set(tmp_path, **{f"f{position}": labels})
    with refused(BadInput, f"MD5 {hashlib.md5(labels).hexdigest()}", NAMES[position]):
        data.load_mnist(tmp_path)


def known(folder, monkeypatch):
    """Take the files of this folder for the full MNIST."""
    sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in NAMES}
    monkeypatch.setattr(data, "IDX_FILES", sums)


def test_cache_is_used_only_when_complete(tmp_path, home):
    assert data.load_mnist().kind == "sample"
    cache = write_set(home / ".cache" / "paddle" / "dataset" / "mnist", train=7)
    assert len(data.load_mnist().train) == 7
    assert len(data.load_mnist(write_set(tmp_path / "given", train=3)).train) == 3
    (cache / NAMES[2]).unlink()
    assert data.load_mnist().kind == "sample"


def fake_loader(folder):
    """What takes the place of Paddle's, which zips too."""

    def load():
        for path in list(write_set(Path(folder, "mnist"), train=4).iterdir()):
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))

    return load


def test_download_moves_whole_files_into_the_cache(home, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setattr(download, "_LOADER", f"{__file__}:fake_loader")
    mnist = data.load_mnist(download=True)
    assert len(mnist.train) == 4
    dataset = home / ".cache" / "paddle" / "dataset"
    assert [path.name for path in dataset.iterdir()] == ["mnist"]
    assert {path.name for path in (dataset / "mnist").iterdir()} == {f"{n}.gz" for n in NAMES}


# A refusal is answered at once: no stall, however slow this machine is.
@pytest.mark.parametrize(
    ("stall", "expected"), [(1, "stalled for 1 s"), (120, "failed .*retry limit")]
)
def test_download_gives_up_on_a_bad_network(home, monkeypatch, stall, expected):
    """Paddle's real loader, behind a proxy that accepts and never answers, or is not there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if stall > 1:
            server.close()
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            for spelled in (name, name.upper()):
                value = "" if name == "no_proxy" else f"http://127.0.0.1:{port}"
                monkeypatch.setenv(spelled, value)
        with refused(BackendFailure, expected, "--data-dir"):
            download.download(data.paddle_cache_dir(), NAMES, stall_seconds=stall)
    assert list((home / ".cache" / "paddle" / "dataset").iterdir()) == []


def test_slow_download_is_not_a_stalled_one(tmp_path, monkeypatch):
    """A byte every two seconds of a clock that only this test moves."""
    seconds, seen = [0.0], threading.Event()
    (tmp_path / "mnist").mkdir()

    def load():
        with (tmp_path / "mnist" / "part").open("wb", buffering=0) as file:
            for _ in range(8):
                seconds[0] += 2
                file.write(b"x")
                assert seen.wait(60)
                seen.clear()

    def make_loader(_folder):
        return load

    monkeypatch.setattr(download, "load_function", lambda _name: make_loader)
    monkeypatch.setattr(download, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    download.fetch(str(tmp_path), "", 3, lambda *_: seen.set())
    assert seconds == [16]


# MNIST's own class counts, digits 0 to 9, and what a tenth of them comes to: floor, then one more
# for the largest remainders (training: 9, 2, 6, 7; test: 9, 6, 7, 1).
FULL_TRAIN = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
FULL_TEST = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
SAMPLE_TRAIN = [592, 674, 596, 613, 584, 542, 592, 627, 585, 595]
SAMPLE_TEST = [98, 114, 103, 101, 98, 89, 96, 103, 97, 101]


@pytest.fixture(scope="module")
def sample():
    return data.read_mnist_dir(data.sample_dir(), kind="sample")


def test_sample_is_stratified_and_as_described(sample, root):
    assert np.bincount(sample.train.labels).tolist() == SAMPLE_TRAIN
    assert np.bincount(sample.test.labels).tolist() == SAMPLE_TEST
    # The full MNIST holds none twice either, so a repeated one was drawn twice or put in both.
    images = np.concatenate([sample.train.images, sample.test.images])
    assert len({image.tobytes() for image in images}) == 7000
    text = (root / "data" / "README.md").read_text(encoding="utf-8")
    sums = dict(re.findall(r"(?m)^ +([0-9a-f]{32})  (\S+)$", text))
    assert {name: digest for digest, name in sums.items()} == sample.md5


def test_sample_is_read_alike_by_paddle(sample):
    from paddle.vision.datasets import MNIST
    from paddle.vision.transforms import ToTensor

    files = (str(data.sample_dir() / f"{name}.gz") for name in NAMES[2:])
    theirs = MNIST(*files, mode="test", transform=ToTensor(), download=False)
    ours = data.to_model_input(sample.test.images)
    assert (ours.dtype, ours.shape) == (np.float32, (1000, 1, 28, 28))
    for number in range(0, 1000, 7):
        image, label = theirs[number]
        assert np.array_equal(image.numpy(), ours[number])
        assert label == sample.test.labels[number]
    pixels = np.arange(784, dtype=np.uint8).reshape(28, 28)  # all 256 values
    assert np.array_equal(data.to_model_input(pixels[np.newaxis])[0], ToTensor()(pixels).numpy())


@pytest.mark.parametrize(
    ("full", "count", "expected"),
    [(FULL_TRAIN, 6000, SAMPLE_TRAIN), (FULL_TEST, 1000, SAMPLE_TEST), ((1, 1, 1), 2, [1, 1, 0])],
)
def test_stratified_shares(full, count, expected):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(full)), full))
    chosen = data.stratified_indices(labels, count, seed=(0, 0))
    assert np.bincount(labels[chosen], minlength=len(full)).tolist() == expected
    assert (np.diff(chosen) > 0).all()
    assert np.array_equal(chosen, data.stratified_indices(labels, count, seed=(0, 0)))
    if count > 2:
        assert not np.array_equal(chosen, data.stratified_indices(labels, count, seed=(1, 0)))
    for absurd in (0, len(labels) + 1):
        with pytest.raises(BadInput, match=f"cannot draw {absurd} of {len(labels)}"):
            data.stratified_indices(labels, absurd, seed=(0,))


def test_draw_command(tmp_path, monkeypatch, capsys):
    labels = bytes(number % 10 for number in range(200))
    pixels = np.arange(200, dtype=np.uint8).repeat(784).tobytes()  # an image's value is its number
    full = write_set(tmp_path / "full", train=200, f0=idx((200, 28, 28), pixels), test=100)
    (full / NAMES[1]).write_bytes(idx((200,), labels))
    command = [str(full), str(tmp_path / "out"), "--train", "20", "--test", "5"]
    assert draw_mnist_sample.main(command) == 5
    assert "does not hold the full MNIST" in capsys.readouterr().err
    known(full, monkeypatch)
    assert data.load_mnist(full).kind == "full"
    assert draw_mnist_sample.main(command) == 0
    assert "20 training and 5 test images" in capsys.readouterr().out
    drawn = data.read_mnist_dir(tmp_path / "out")
    assert np.bincount(drawn.train.labels).tolist() == [2] * 10
    # Each image still has its own label.
    assert (drawn.train.images[:, 0, 0] % 10 == drawn.train.labels).all()
