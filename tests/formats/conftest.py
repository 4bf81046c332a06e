"""The same LeNet in every format."""

import shutil
from contextlib import nullcontext, suppress

import pytest

from lenet_cpp import models

with suppress(ModuleNotFoundError):  # the tests, which import it too, are then skipped by name
    import paddle
    from paddle.pir_utils import DygraphOldIrGuard
    from paddle_formats import FORMATS, arrays, images, jit_save, save_variable, sorted_variables


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
