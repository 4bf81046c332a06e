"""The classifiers that the commands are tested with."""

import shutil

import pytest
from classifiers import Case, write_digits, write_photos

import shared_models
from lenet_cpp import models


@pytest.fixture(scope="session")
def lenet(tmp_path_factory, model_dir, params):
    """The bundled model, trained, in every form."""
    folder = tmp_path_factory.mktemp("lenet")
    write_digits(folder, 8)
    return Case("lenet", params, model_dir, shared_models.separate(), folder, {})


def shared(name, classes, image_size):
    """A network with random parameters, whose exports are made once per run of the suite."""

    @pytest.fixture(scope="session")
    def case(tmp_path_factory):
        import paddle

        folder = tmp_path_factory.mktemp(name)
        params = folder / f"{name}.pdparams"
        sizes = {"num_classes": classes, "image_size": image_size}
        paddle.save(models.build(name, **sizes, seed=shared_models.SEED).state_dict(), str(params))
        write_photos(folder / "photos", 3)
        described = name, classes, image_size
        exports = shared_models.exported(*described), shared_models.separate(*described)
        yield Case(name, params, *exports, folder / "photos", sizes)
        shutil.rmtree(folder)  # up to 230 MB, which pytest would keep for the next three runs

    return case


resnet = shared("ResNet18_vd", 7, 64)
resnet50 = shared("ResNet50_vd", 1000, 64)
alexnet = shared("AlexNet", 10, 224)
shufflenet = shared("ShuffleNetV2", 10, 224)


@pytest.fixture
def case(request):
    return request.getfixturevalue(request.param)
