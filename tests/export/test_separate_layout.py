"""The layout with one file for each variable: made of the combined one and turned back."""

import os
import sys

import numpy as np
import pytest
from exports import COMBINED, SEPARATE, images, infer, sha256sum_check

from lenet_cpp import errors
from lenet_cpp._base import worker
from lenet_cpp.export import separate_layout
from shared_models import contents
from snippets import printed_by

pytestmark = pytest.mark.usefixtures("one_child")


def test_separate_layout(combined, separate):
    assert {path.name for path in separate.folder.iterdir()} == SEPARATE
    assert {path.name for path in separate.files} == SEPARATE
    assert sha256sum_check(separate.folder) == 0
    x = images(3)
    assert np.array_equal(infer(separate.folder, x, "__model__"), infer(combined.folder, x))
    assert separate.manifest.topology == "lenet"
    assert set(separate.manifest.models) == {"__model__"}


def test_combining_restores_every_byte(combined, separate, tmp_path):
    result = separate_layout.combine_separate(separate.folder, tmp_path)
    names = COMBINED - {"lenet.json", "lenet.pdiparams.info"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in ("lenet.pdmodel", "lenet.pdiparams"):
        assert (tmp_path / name).read_bytes() == (combined.folder / name).read_bytes()
    assert result.manifest.classes == combined.manifest.classes
    assert sha256sum_check(tmp_path) == 0


def test_a_guides_model_without_manifest(layer, tmp_path):
    """What the guide's own commands write is converted and back, with its call stacks and all."""
    code = (
        "import paddle, sys; from lenet_cpp import models; net = models.build('lenet');"
        "s = paddle.static.InputSpec([None, 1, 28, 28], name='x');"
        "paddle.jit.save(paddle.jit.to_static(net, input_spec=[s]), sys.argv[1])"
    )
    source = tmp_path / "inference_model" / "lenet"
    variables = os.environ | {"FLAGS_enable_pir_api": "0"}
    printed_by(sys.executable, "-W", "ignore", "-c", code, source, env=variables)
    apart = separate_layout.write_separate(source, tmp_path / "apart")
    written = apart.manifest
    assert (written.name, written.topology, written.softmax) == ("lenet", None, None)
    assert written.classes == ()
    separate_layout.combine_separate(tmp_path / "apart", tmp_path / "back")
    for suffix in (".pdmodel", ".pdiparams"):
        written = (tmp_path / "back" / f"lenet{suffix}").read_bytes()
        assert written == source.with_suffix(suffix).read_bytes()


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("linear_1.b_0", None, r"lacks files of variables: linear_1\.b_0"),
        ("linear_1.b_0", lambda old, _: old[:-4], "damaged"),
        ("linear_1.b_0", lambda old, _: old + b"\0" * 4, "damaged"),
        (
            "linear_1.b_0",
            lambda _, files: files["linear_2.w_0"],
            r"linear_1\.b_0 is \[84, 10\], expected \[84\]",
        ),
        ("linear_1.b_0", lambda *_: np.random.default_rng(0).bytes(300), "damaged"),
        ("__model__", lambda *_: np.random.default_rng(0).bytes(300), "damaged"),
    ],
)
def test_damaged_separate_layouts(separate, tmp_path, name, damage, said):
    source = tmp_path / "source"
    source.mkdir()
    files = contents(separate.folder)
    files[name] = damage and damage(files[name], files)
    for file, content in files.items():
        if content is not None:
            (source / file).write_bytes(content)
    with pytest.raises(errors.BadModel, match=rf"{name}"):  # the checksums say it first
        separate_layout.combine_separate(source, tmp_path / "out")
    for file in ("SHA256SUMS", "manifest.json"):
        (source / file).unlink()
    with pytest.raises(errors.BadModel, match=said):
        separate_layout.combine_separate(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_truncated_combined_parameters(combined, tmp_path):
    """Paddle itself loads them without a word."""
    for name, end in (("lenet.pdmodel", None), ("lenet.pdiparams", -4)):
        (tmp_path / name).write_bytes((combined.folder / name).read_bytes()[:end])
    with pytest.raises(errors.BadModel, match=r"lenet\.pdiparams"):
        separate_layout.write_separate(tmp_path / "lenet.pdmodel", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_crash_of_paddle_is_an_error(separate, tmp_path, monkeypatch):
    crash = tmp_path / "path"
    crash.mkdir()
    (crash / "paddle.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(sys, "path", [str(crash), *sys.path])
    monkeypatch.setattr(separate_layout, "call", worker.call)  # a child of its own
    with pytest.raises(errors.BadModel, match="SIGSEGV"):
        separate_layout.combine_separate(separate.folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
