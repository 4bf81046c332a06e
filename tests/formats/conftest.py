"""The same LeNet in every format, and one child process for all conversions."""

import json
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext, suppress
from types import SimpleNamespace

import pytest

from lenet_cpp import models
from lenet_cpp._base.worker import PROGRAM_DESC
from lenet_cpp.export import separate_layout

with suppress(ModuleNotFoundError):  # the tests, which import it too, are then skipped by name
    import paddle
    from paddle.pir_utils import DygraphOldIrGuard
    from paddle_formats import (
        FORMATS,
        arrays,
        ignore,
        images,
        jit_save,
        save_variable,
        sorted_variables,
    )


@pytest.fixture(scope="module")
def one_child():
    """Do all conversions in one child process: Paddle takes two seconds to import.

    tests/export/test_export.py and test_commands have one for each, as users have.
    """
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**PROGRAM_DESC, "GLOG_minloglevel": "3"}.items():
            patch.setenv(name, value)
        pool.submit(ignore).result()

    def call(function, arguments, *, doing, variables):
        assert function == "lenet_cpp.export.separate_layout:transcribe"
        assert variables == PROGRAM_DESC
        done = pool.submit(separate_layout.transcribe, **arguments, report=ignore)
        return SimpleNamespace(result=json.loads(json.dumps(done.result())))

    with pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(separate_layout, "call", call)
        yield


@pytest.fixture(scope="session")
def layer():
    net = models.build("lenet", seed=5)
    net.eval()
    return net


@pytest.fixture(scope="session")
def expected(layer):
    return layer(paddle.to_tensor(images())).numpy()


@pytest.fixture(scope="session")
def sources(layer, tmp_path_factory):
    """The same LeNet in every format, made by Paddle's own functions where it still has them."""
    root = tmp_path_factory.mktemp("sources")
    for format_ in FORMATS:
        (root / format_).mkdir()
    paddle.save(layer.state_dict(), str(root / "pdparams" / "lenet.pdparams"))
    for format_, guard in (("pdmodel", DygraphOldIrGuard), ("json", nullcontext)):
        with guard(), paddle.utils.unique_name.guard():
            net = models.build("lenet")
            net.set_state_dict(arrays(layer))
            jit_save(net, root / format_ / "lenet")
        (root / format_ / "lenet.pdiparams.info").unlink(missing_ok=True)
    for old, new in (("lenet.pdmodel", "model"), ("lenet.pdiparams", "params")):
        shutil.copy(root / "pdmodel" / old, root / "model-params" / new)
    shutil.copy(root / "pdmodel" / "lenet.pdmodel", root / "separate" / "__model__")
    for name, tensor in zip(sorted_variables(layer), layer.state_dict().values(), strict=True):
        for format_ in ("persistables", "separate"):
            save_variable(tensor, root / format_ / name)
    return root
