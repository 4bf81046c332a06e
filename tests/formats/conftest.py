"""The same LeNet in every format, and one child process for all conversions."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import paddle
import pytest
from paddle.pir_utils import DygraphOldIrGuard
from paddle_formats import FORMATS, arrays, images, jit_save, save_variable, sorted_variables

from lenet_cpp import errors, models
from lenet_cpp._base.worker import PROGRAM_DESC
from lenet_cpp.export import separate_layout

# A child process for each conversion takes two seconds to import Paddle: here one does them all.
# tests/export/test_export.py and test_commands have one for each, as users have.
_SERVER = """
import json, sys
from lenet_cpp.errors import Error
from lenet_cpp.export.separate_layout import transcribe
for line in sys.stdin:
    try:
        answer = {"result": transcribe(**json.loads(line), report=lambda *_: None)}
    except Error as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    print("ANSWER " + json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="module")
def one_child():
    child = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **PROGRAM_DESC, "GLOG_minloglevel": "3"},
        text=True,
    )

    def call(function, arguments, *, doing, variables):
        assert function == "lenet_cpp.export.separate_layout:transcribe"
        assert variables == PROGRAM_DESC
        child.stdin.write(json.dumps(arguments) + "\n")
        child.stdin.flush()
        line = next(line for line in child.stdout if line.startswith("ANSWER "))
        answer = json.loads(line.removeprefix("ANSWER "))
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"])
        return SimpleNamespace(result=answer["result"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separate_layout, "call", call)
        yield
    child.communicate()


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
