"""The classifiers that the commands are tested with."""

import shutil

import pytest
from classifiers import Case, seeded, trained_lenet, write_digits, write_photos

import shared_models
from lenet_cpp import models
from lenet_cpp.export.separate_layout import write_separate


@pytest.fixture(scope="session")
def lenet(tmp_path_factory, model_dir):
    """The bundled model, trained, in every form."""
    folder = tmp_path_factory.mktemp("lenet")
    write_separate(model_dir, folder / "separate")
    trained_lenet(folder / "separate", folder / "lenet.pdparams")
    write_digits(folder / "digits", 8)
    return Case(
        "lenet", folder / "lenet.pdparams", model_dir, folder / "separate", folder / "digits", {}
    )


@pytest.fixture(scope="session")
def resnet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resnet")
    yield seeded(folder, "ResNet50_vd", img_size=64)
    shutil.rmtree(folder)  # 300 MB, which pytest would keep for the next three runs


@pytest.fixture(scope="session")
def alexnet(tmp_path_factory):
    import paddle

    folder = tmp_path_factory.mktemp("alexnet")
    params = folder / "AlexNet.pdparams"
    paddle.save(models.build("AlexNet", 10, seed=shared_models.SEED).state_dict(), str(params))
    write_photos(folder / "photos", 3)
    described = "AlexNet", 10, 224
    exports = shared_models.exported(*described), shared_models.separate(*described)
    yield Case("AlexNet", params, *exports, folder / "photos", {"class_dim": 10})
    shutil.rmtree(folder)  # 230 MB


@pytest.fixture
def case(request):
    return request.getfixturevalue(request.param)
