"""The models that the page's commands quantized, and what others are quantized with."""

import pytest

from lenet_cpp import quantize as quantization
from lenet_cpp.data.mnist import sample_dir
from quantized_models import NETWORK, quantized_by_page


@pytest.fixture(scope="module")
def made(program, pytestconfig):
    """A folder in which the commands of the page's first half were typed."""
    return quantized_by_page(program, whole=pytestconfig.getoption("nightly"))


@pytest.fixture(scope="module")
def sample():
    return quantization.mnist_images(sample_dir(), 128)


@pytest.fixture
def residual(tmp_path):
    """A network of one's own, as commands take it."""
    (tmp_path / "residual.py").write_text(NETWORK, encoding="utf-8")
    return f"{tmp_path}/residual.py:SPEC"
