import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from bloodcell.errors import UserError
from bloodcell.models.applications import application_name, applications


def test_every_published_architecture_is_known():
    assert {"MobileNetV2", "Xception", "ResNet50", "InceptionV3", "EfficientNetV2B0", "VGG16"} <= set(applications())


def test_only_classes_are_listed():
    assert not {"imagenet_utils", "xception", "preprocess_input"} & set(applications())


def test_every_module_has_the_preprocessing_of_its_classes():
    keras = importlib.util.find_spec("keras")
    assert keras is not None
    folder = Path(str(keras.origin)).parent
    for module in set(applications().values()):
        listing = folder.joinpath(*module.split(".")[1:], "__init__.py").read_text(encoding="utf-8")
        assert "preprocess_input" in listing, module


@pytest.mark.parametrize("name", ["mobilenetv2", "MOBILENETV2", "MobileNetV2"])
def test_names_match_in_any_case(name):
    assert application_name(name) == "MobileNetV2"


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"^backbone.name=InceptionV4: .*did you mean InceptionV3"):
        application_name("InceptionV4")


def test_a_name_without_similar_names_is_refused_with_all_names():
    with pytest.raises(UserError, match="Xception"):
        application_name("?")


def test_asking_for_names_does_not_import_keras():
    code = (
        "import sys; from bloodcell.models.applications import applications; applications(); print(sorted(sys.modules))"
    )
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'keras'" not in modules
    assert "'tensorflow'" not in modules
