"""Files of PyTorch parameters, from friend and foe."""

import contextlib
import io
import json
import os
import pickle
import pickletools
import random
import re
import struct
import sys
import warnings
import zipfile

import pytest
from support import contents, lively, written_by_torch

from lenet_cpp.errors import BadModel, FileNotFound, Unsupported
from lenet_cpp.interchange.torch import state as interchange
from lenet_cpp.interchange.torch.models import create_network, load_state, save_state

torch = pytest.importorskip("torch", reason="an extra: pip install '.[torch]'")
pytest.importorskip("safetensors", reason="of the same extra")
import safetensors.numpy  # noqa: E402
import safetensors.torch  # noqa: E402


def test_saved_as_the_guide_does(tmp_path):
    class Net(torch.nn.Linear):
        moved = 0

        def cpu(self):
            self.moved += 1
            return super().cpu()

    net = Net(3, 2)
    path = tmp_path / "net.prm"
    save_state(net, path)
    save_state(net, tmp_path / "again.prm")
    assert net.moved == 2
    assert path.read_bytes() == (tmp_path / "again.prm").read_bytes()
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        opcode, protocol, _ = next(pickletools.genops(archive.read(name)))
    assert (opcode.name, protocol) == ("PROTO", 4)
    # what the guide types to read it
    params = torch.load(path, map_location="cpu", weights_only=False)
    found = load_state(path)
    assert list(found) == list(params) == ["weight", "bias"]
    assert all(torch.equal(found[key], params[key]) for key in params)
    net.load_state_dict(found)


def test_safetensors(tmp_path):
    """What the package itself wrote; its own reader for NumPy says what is in it."""
    net = lively("lenet")
    path = tmp_path / "net.safetensors"
    safetensors.torch.save_file(net.state_dict(), path, metadata={"format": "pt"})
    found = load_state(path)
    expected = safetensors.numpy.load_file(path)
    assert found.keys() == expected.keys() == net.state_dict().keys()
    assert all((found[key].numpy() == expected[key]).all() for key in expected)
    result = interchange.import_state(path, "lenet", tmp_path / "out")
    assert result.manifest.training["source"]["file"] == "net.safetensors"
    half = {f"module.{key}": value.bfloat16() for key, value in net.state_dict().items()}
    safetensors.torch.save_file(half, path)
    assert {key: value.dtype for key, value in load_state(path).items()} == dict.fromkeys(
        expected, torch.bfloat16
    )


def of_safetensors(header, data=b"", size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def tensor(begin=0, end=4, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        b"\0" * 8,
        b"no file",
        pickle.dumps({"a": 1}),
        b"PK\3\4" + b"\0" * 40,
        of_safetensors({"a": tensor()}, size=1 << 62),
        of_safetensors({"a": tensor()}, size=1 << 27),
        of_safetensors(b'{"a":' + b"[" * 100_000),
        of_safetensors(b'{"a": \xff}', b"1234"),
        of_safetensors({"a": tensor()}, b"123"),
        of_safetensors({"a": tensor()}, b"12345678"),
        of_safetensors({"a": tensor(4, 8)}, b"12345678"),
        of_safetensors({"a": tensor(), "b": tensor()}, b"1234"),
        of_safetensors({"a": tensor(end=1 << 63)}, b"1234"),
        of_safetensors({"a": tensor(shape=(2,))}, b"1234"),
        of_safetensors({"a": tensor(shape=(1 << 40, 1 << 40))}, b"1234"),
        of_safetensors({"a": tensor(shape=(-1,))}, b"1234"),
        of_safetensors({"a": tensor(dtype="F33")}, b"1234"),
        of_safetensors({"a": tensor(begin=4, end=0)}, b"1234"),
        of_safetensors({"a": 1}, b"1234"),
        of_safetensors({"__metadata__": {"a": "b"}}),
        of_safetensors([]),
    ],
    ids=range(23),
)
def test_damaged_safetensors(tmp_path, data):
    path = tmp_path / "net.safetensors"
    path.write_bytes(data)
    with pytest.raises(BadModel, match=r"net\.safetensors") as caught:
        load_state(path)
    assert len(str(caught.value).splitlines()) == 1


def test_cut_and_changed_safetensors(tmp_path):
    whole = safetensors.torch.save(create_network("lenet", seed=1).state_dict())
    path = tmp_path / "net.safetensors"
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    for length in (*range(0, header, 29), header, header + 1, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(BadModel):
            load_state(path)
    rng = random.Random(3)
    for _ in range(200):
        changed = bytearray(whole)
        changed[rng.randrange(header)] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        with contextlib.suppress(BadModel):
            load_state(path)


def test_without_safetensors(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(Unsupported, match=r"safetensors: pip install '\.\[torch\]'"):
        load_state(tmp_path / "net.safetensors")


def test_a_failed_save_leaves_the_older_file(tmp_path, monkeypatch):
    path = tmp_path / "net.prm"
    save_state(create_network("lenet", seed=1), path)
    old = path.read_bytes()

    def full_disk(_state, file, **_options):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_state(create_network("lenet", seed=2), path)
    assert contents(tmp_path) == {"net.prm": old}


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "before 1.6"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol_is_read(tmp_path, protocol, archive):
    net = lively("resnet18")
    path = tmp_path / "net.prm"
    path.write_bytes(written_by_torch(net.state_dict(), protocol, archive=archive))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_state(path)
    expected = net.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_training_checkpoints_and_data_parallel(tmp_path, key, protocol):
    net = lively("lenet")
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.rand(1, 1, 28, 28)).sum().backward()
    optimizer.step()
    parallel = torch.nn.DataParallel(net)
    whole = {"epoch": 3, key: parallel.state_dict(), "optimizer": optimizer.state_dict()}
    path = tmp_path / "net.pth"
    path.write_bytes(written_by_torch(whole, protocol))
    found = load_state(path)
    expected = net.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch '{self.target}'",)


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "before 1.6"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("place", ["value", "key", "whole"])
def test_a_pickle_that_runs_code_does_not(tmp_path, place, protocol, archive):
    mark, path = tmp_path / "it-ran", tmp_path / "net.prm"
    hostile = Hostile(mark)
    states = {"value": {"a": torch.ones(1), "b": hostile}, "key": {hostile: 1}, "whole": hostile}
    path.write_bytes(written_by_torch(states[place], protocol, archive=archive))
    with pytest.raises(
        BadModel, match=r"net\.prm cannot be read: it asks for posix\.system"
    ) as info:
        load_state(path)
    assert "\n" not in str(info.value)
    assert not mark.exists()
    with pytest.raises(BadModel):
        interchange.import_state(path, "lenet", tmp_path / "out")
    assert not mark.exists()
    assert not (tmp_path / "out").exists()


def test_more_is_read_where_it_is_allowed_to(tmp_path):
    mark, path, net = tmp_path / "it-ran", tmp_path / "net.prm", lively("lenet")
    path.write_bytes(written_by_torch({"a": Hostile(mark)}, 4))
    with pytest.raises(BadModel):
        load_state(path, weights_only=False)
    assert mark.exists()
    path.write_bytes(written_by_torch(net, 4))
    found = load_state(path, weights_only=False)
    assert torch.equal(found["conv1.weight"], net.conv1.weight)


def rebuilt(archive, compression=zipfile.ZIP_STORED, index=None):
    """A file of torch.save, written anew: compressed, or with another pickle in it."""
    output = io.BytesIO()
    old, new = zipfile.ZipFile(io.BytesIO(archive)), zipfile.ZipFile(output, "w", compression)
    with old, new:
        for name in old.namelist():
            replaced = index is not None and name.endswith("data.pkl")
            new.writestr(name, index if replaced else old.read(name))
    return output.getvalue()


@pytest.mark.parametrize(
    "index",
    [
        # the name of a global is the second line of another, or is taken from the memo, or is made
        b"\x80\x04\x8c\x0bcollections\x8c\x1fOrderedDict\n)Rcos\nsystem\n\x8c\x01a\x93.",
        b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94h\x00h\x01\x93\x8c\x04true\x85R.",
        b"\x80\x04)\x8c\x06system\x93.",
        b"\x80\x04cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
        b"\x80\x04\x93.",
        b"\x80\x04\x94.",
        b"\x80\x04h\x05.",
        b"\x80\x04.",
        b"\x80\x04]\x94h\x00a.",
        b"\x80\x04\x8c\xff",
        b"\x80\x04\xff",
        b"",
    ],
)
def test_pickles_made_by_hand(tmp_path, index):
    path = tmp_path / "net.prm"
    for data in (rebuilt(written_by_torch({"a": torch.ones(1)}), index=index), index * 5, index):
        path.write_bytes(data)
        with pytest.raises(BadModel, match=r"net\.prm") as info:
            load_state(path)
        assert "\n" not in str(info.value)
        assert len(str(info.value)) < 500


def test_a_name_cannot_smuggle_instructions_in(tmp_path):
    """As text of protocol 2 the lines after the name would be instructions that are carried out."""
    attribute = b"OrderedDict\n)R(X\x01\x00\x00\x00aK\x01u."
    index = b"\x80\x04\x8c\x0bcollections\x8c" + bytes([len(attribute)]) + attribute + b"\x93."
    path = tmp_path / "net.prm"
    path.write_bytes(rebuilt(written_by_torch({"a": torch.ones(1)}), index=index))
    with pytest.raises(BadModel, match="the name of a global has two lines"):
        load_state(path)


def nested(archive, size=50_000):
    """A file of torch.save with one more part, and another in whose bytes that one lies."""
    file, inner, name = io.BytesIO(archive), io.BytesIO(), "archive/data/901"
    with zipfile.ZipFile(inner, "w") as other:
        other.writestr("archive/data/900", bytes(size))
        (part,) = other.infolist()
        raw = inner.getvalue()[: other.start_dir]
    with zipfile.ZipFile(file, "a") as outer:
        outer.writestr(name, raw)
        part.header_offset = outer.getinfo(name).header_offset + 30 + len(name)
        outer.filelist.append(part)
    return file.getvalue()


def bad_files():
    good = written_by_torch({"a": torch.ones(1000)}, 4)
    twice = io.BytesIO(good)
    with warnings.catch_warnings(), zipfile.ZipFile(twice, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(next(n for n in archive.namelist() if n.endswith("data.pkl")), b"\x80\x04")
    script = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), script)
    sparse = torch.eye(2).to_sparse()
    claims = torch.ones(1).expand(1 << 40)
    return {
        "empty file": (b"", "net.prm"),
        "cut": (good[: len(good) // 2], "damaged"),
        "compressed": (rebuilt(good, zipfile.ZIP_DEFLATED), "compressed parts"),
        "twice": (twice.getvalue(), "two of its parts have the same name"),
        "nested": (nested(good), "its parts are together larger than the file"),
        "no parameters": (written_by_torch({}), "does not hold a state_dict"),
        "a list": (written_by_torch([torch.ones(1)]), "does not hold a state_dict but a list"),
        "a number": (written_by_torch({"a": 1}), "'a' is a int"),
        "a whole network": (written_by_torch(torch.nn.Linear(2, 2)), "save net.state_dict"),
        "a script": (script.getvalue(), "net.prm"),
        "sparse": (written_by_torch({"a": sparse}), "a is not a plain tensor"),
        "nowhere": (written_by_torch({"a": torch.ones(2, device="meta")}), "not a plain tensor"),
        "four terabytes": (written_by_torch({"a": claims}), "holds fewer values"),
    }


@pytest.mark.parametrize("case", bad_files())
def test_files_that_are_none(tmp_path, case):
    data, message = bad_files()[case]
    path = tmp_path / "net.prm"
    path.write_bytes(data)
    with pytest.raises(BadModel, match=re.escape(message)) as info:
        load_state(path)
    assert str(path) in str(info.value)
    assert "\n" not in str(info.value)


def test_every_cut_is_noticed(tmp_path):
    path = tmp_path / "net.prm"
    for archive in (True, False):
        good = written_by_torch({"a": torch.ones(10)}, 4, archive=archive)
        for length in range(0, len(good), 41):
            path.write_bytes(good[:length])
            with pytest.raises(BadModel):
                load_state(path)
    path.unlink()
    with pytest.raises(FileNotFound, match=r"cannot read .*net\.prm: No such file"):
        load_state(path)
