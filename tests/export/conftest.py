"""The bundled model's parameters, exported in each layout."""

import pytest

from lenet_cpp import export


@pytest.fixture(scope="session")
def combined(params, tmp_path_factory):
    return export.export_model(params, tmp_path_factory.mktemp("combined") / "lenet")


@pytest.fixture(scope="session")
def softmax(params, tmp_path_factory):
    return export.export_model(params, tmp_path_factory.mktemp("softmax"), softmax=True)


@pytest.fixture(scope="session")
def separate(combined, tmp_path_factory):
    return export.write_separate(combined.folder, tmp_path_factory.mktemp("separate"))
