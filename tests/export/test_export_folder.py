"""Export into a folder that holds something: what is replaced, and what must not happen to it."""

from pathlib import Path

import numpy as np
import paddle
import pytest
from exports import COMBINED, sha256sum_check

from lenet_cpp import errors, export
from lenet_cpp.export import checks, separate_layout
from lenet_cpp.formats import manifest
from shared_models import contents


@pytest.fixture
def older(params, tmp_path):
    """An export of other parameters, and a file of the user's."""
    folder = tmp_path / "older"
    state = paddle.load(str(params))
    state["linear3.bias"] = state["linear3.bias"] + 1
    paddle.save(state, str(tmp_path / "older.pdparams"))
    export.export_model(tmp_path / "older.pdparams", folder)
    (folder / "notes.txt").write_text("mine")
    return folder


def test_export_with_other_outputs_is_not_installed(params, older, monkeypatch):
    before = contents(older)
    run = checks.run_model

    def run_with_a_fault(*arguments):
        runs = run(*arguments)
        runs.outputs[1][0][2, 3] += 3e-5 * max(1, np.abs(runs.outputs[1][0][2]).max())
        return runs

    monkeypatch.setattr(checks, "run_model", run_with_a_fault)
    with pytest.raises(errors.BadModel, match="does not compute what the layer computes"):
        export.export_model(params, older)
    assert contents(older) == before
    with pytest.raises(errors.BadModel):
        export.export_model(params, older.parent / "new" / "folder")
    assert not (older.parent / "new").exists()


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("moves", [0, 2, 4])
def test_interrupted_installation_is_undone(params, older, monkeypatch, failure, moves):
    # Export one format only: the new export then has a file that the older one lacks.
    export.export_model(older.parent / "older", older, name="lenet", formats=["pdmodel"])
    before = contents(older)
    replace = Path.replace
    left = [moves]

    def failing_replace(self, target):
        if self.parent.name.startswith(".export-") and target.parent == older:
            left[0] -= 1
            if left[0] == -1:
                raise failure
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing_replace)
    with pytest.raises(type(failure)):
        export.export_model(params, older)
    monkeypatch.undo()
    assert left[0] == -1
    assert contents(older) == before
    assert sha256sum_check(older) == 0


def test_half_of_an_installation_is_noticed(params, older, monkeypatch):
    """What a process killed at any moment leaves does not fit the checksums beside it."""
    replace = Path.replace
    moved = []

    def watched_replace(self, target):
        result = replace(self, target)
        if target.parent == older:
            moved.append(target.name)
            if target.name != "SHA256SUMS":
                with pytest.raises(errors.BadModel):
                    manifest.verify_checksums(older)
        return result

    monkeypatch.setattr(Path, "replace", watched_replace)
    export.export_model(params, older)
    assert set(moved) == COMBINED
    assert moved[-2:] == ["manifest.json", "SHA256SUMS"]


def test_replacement_leaves_nothing_stale(combined, params, older):
    (older / "lenet.pdiparams.info").write_bytes(b"from jit.save")
    export.export_model(params, older, formats=["pdmodel"])
    assert {path.name for path in older.iterdir()} == COMBINED - {"lenet.json"} | {"notes.txt"}
    assert sha256sum_check(older) == 0
    for name in ("lenet.pdmodel", "lenet.pdiparams"):
        assert (older / name).read_bytes() == (combined.folder / name).read_bytes()


@pytest.mark.parametrize("kind", ["changed", "without a manifest", "listed by another"])
def test_what_an_export_did_not_write_stays(params, older, kind):
    """lenet.json would be removed, or left with parameters that are not its own."""
    if kind == "without a manifest":
        (older / "manifest.json").unlink()
    if kind == "listed by another":  # a manifest may name any file of the folder
        (older / "manifest.json").write_text(
            (older / "manifest.json").read_text().replace('"lenet.json"', '"notes.txt"')
        )
        (older / "lenet.json").unlink()
    else:
        (older / "lenet.json").write_text("mine")
    before = contents(older)
    with pytest.raises(errors.BadInput, match="not as an export of ours wrote it"):
        export.export_model(params, older, formats=["pdmodel"])
    assert contents(older) == before


def test_damaged_export_is_replaced(params, older):
    (older / "manifest.json").write_text("{")
    export.export_model(params, older)
    assert sha256sum_check(older) == 0


def test_folders_of_others_are_refused(params, older, tmp_path):
    before = contents(older)
    with pytest.raises(errors.BadInput, match="'lenet'"):
        export.export_model(params, older, name="digits")
    assert contents(older) == before
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "manifest.json").write_text('{"name": "an app"}')
    with pytest.raises(errors.BadInput, match="not ours"):
        export.export_model(params, foreign)
    assert list(contents(foreign)) == ["manifest.json"]
    with pytest.raises(errors.BadInput, match="is a file"):
        export.export_model(params, older / "notes.txt")
    with pytest.raises(errors.BadInput, match="another output folder"):
        separate_layout.write_separate(older, older)
